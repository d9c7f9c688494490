"""A network's variables by name, and how to assign weights to them."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from aocr.folder.weights import mismatch


def weights_of(model: keras.Model) -> dict[str, tf.Variable]:
    """Return the model's variables by name, without the seeds of dropout, which each step sets."""
    return {v.path.split("/", 1)[1]: v.value for v in model.variables if not v.path.endswith("seed_generator_state")}


def assign_weights(source: str, model: keras.Model, weights: Mapping[str, np.ndarray]) -> None:
    """Assign weights to a model.

    Args:
      source: origin of the weights, for the message.
      model: changed in place.
      weights: arrays by name, for each of the model's variables.

    Raises:
      CheckpointError: a variable is missing, unknown, or has another shape.
    """
    variables = weights_of(model)
    for name in sorted(set(weights) ^ set(variables)):
        raise mismatch(source, name)
    for name, variable in variables.items():
        if weights[name].shape != tuple(variable.shape):
            raise mismatch(source, name)
        variable.assign(weights[name])
