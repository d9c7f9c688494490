"""A running average of the weights, which is more accurate than the latest weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

MAX_DECAY = 0.995
"""Share of the old average that is kept at each step; less in the first steps."""
UPDATE_STEPS = 5
"""Steps between two updates. An update is slow, and the weights change little within a few steps."""


class WeightAverage:
    """Exponential moving average of all weights, batch statistics included (Polyak and Juditsky, 1992).

    At a constant learning rate the weights keep moving; their average is the centre of that movement.

    Args:
      weights: the model's variables by name.
    """

    def __init__(self, weights: dict[str, tf.Variable]):
        self.weights = weights
        self.averages = {
            name: tf.Variable(value.read_value(), trainable=False, name="average") for name, value in weights.items()
        }

    def update(self, step: tf.Tensor) -> None:
        """Update the average after a step (counted from 0). Called in the compiled step, on every replica."""

        def move():
            done = tf.cast(step, tf.float32)
            moved = 1.0 - tf.minimum(MAX_DECAY, (1.0 + done) / (10.0 + done)) ** UPDATE_STEPS
            for name, average in self.averages.items():
                average.assign_add(moved * (self.weights[name] - average))
            return step

        tf.cond((step + 1) % UPDATE_STEPS == 0, move, lambda: step)

    def adopt(self) -> None:
        """Assign the averaged weights to the model."""
        for name, value in self.weights.items():
            value.assign(self.averages[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Assign the averaged weights inside the block, then restore the model's own."""
        own = {name: tf.identity(value) for name, value in self.weights.items()}
        self.adopt()
        try:
            yield
        finally:
            for name, value in self.weights.items():
                value.assign(own[name])
