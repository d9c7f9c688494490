"""What a checkpoint holds: the model, its optimizer, its averaged weights, and the state of the training."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from aocr import files
from aocr.errors import CheckpointError, TrainingError
from aocr.folder.model_folder import CHECKPOINT, ModelFolder
from aocr.folder.variables import weights_of
from aocr.model.recognizer import Recognizer
from aocr.training.schedule import TrainState

MAX_DECAY = 0.995
"""Share of the old average that is kept at each step; less in the first steps."""
UPDATE_STEPS = 5
"""Steps between two updates. An update is slow, and the weights change little within a few steps."""
NUM_KEPT = 2
"""Number of checkpoints to keep."""
ADVICE = "Free space or check rights, then run the same command: it resumes from the last checkpoint."
_STATE = "state/.ATTRIBUTES/VARIABLE_VALUE"


class WeightAverage:
    """Exponential moving average of all weights, batch statistics included (Polyak and Juditsky, 1992).

    At a constant learning rate the weights keep moving; their average is the centre of that movement.
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

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Assign the averaged weights inside the block, then restore the model's own."""
        own = {name: tf.identity(value) for name, value in self.weights.items()}
        self.adopt()
        try:
            yield
        finally:
            for name, value in self.weights.items():
                value.assign(own[name])


@dataclass(frozen=True)
class Learner:
    """A model in training."""

    model: Recognizer
    """The network."""
    optimizer: keras.optimizers.Optimizer
    """Updates the network's weights."""
    average: WeightAverage
    """Running average of the weights, which validation and reading use."""
    state: TrainState
    """Progress of the training."""

    def _checkpoint(self, state: tf.Variable) -> tf.train.Checkpoint:
        slots = {f"{i:04d}": v.value for i, v in enumerate(self.optimizer.variables)}
        return tf.train.Checkpoint(
            model=weights_of(self.model), averaged=self.average.averages, optimizer=slots, state=state
        )

    def averaged_weights(self) -> dict[str, np.ndarray]:
        """Return the averaged weights by name."""
        return {name: variable.numpy() for name, variable in self.average.averages.items()}

    def digest(self) -> str:
        """Return a digest of all variables, to compare the workers of a cluster."""
        variables = [*weights_of(self.model).values(), *self.average.averages.values()]
        digest = hashlib.blake2b()
        for variable in (*variables, *(v.value for v in self.optimizer.variables)):
            digest.update(variable.numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: ModelFolder) -> None:
        """Write a checkpoint and remove old ones.

        Raises:
          TrainingError: the disk is full or the folder cannot be written.
        """
        path = folder.file(CHECKPOINT.format(self.state.step))
        with files.writing(folder.path, lambda reason: TrainingError(f"{folder}: a checkpoint {reason}"), ADVICE):
            try:
                self._checkpoint(tf.Variable(self.state.to_json())).write(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    files.remove(f"{path}_temp")
                raise
            for step in _steps(folder)[:-NUM_KEPT]:
                for name in folder.names(f"{CHECKPOINT.format(step)}.*"):
                    files.remove(folder.file(name))

    def restore(self, path: str) -> None:
        """Restore everything from a checkpoint except the state, which `read_state` returns.

        Raises:
          CheckpointError: the checkpoint is damaged, or of another network or optimizer.
        """
        try:
            names = tf.compat.v1.train.NewCheckpointReader(path).get_variable_to_shape_map()
            num_slots = sum(name.startswith("optimizer/") for name in names)
            if num_slots != len(self.optimizer.variables):
                raise CheckpointError(path, "was written with another --optimizer. Start again with --no-resume.")
            self._checkpoint(tf.Variable("", dtype=tf.string)).read(path).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise CheckpointError(
                path, f"is damaged ({files.one_line(error)}). Start again with --no-resume."
            ) from None


def _steps(folder: ModelFolder) -> list[int]:
    """Return the steps of the folder's checkpoints, ascending; TensorFlow writes `.index` last."""
    matches = (re.fullmatch(r"ckpt-(\d+)\.index", name) for name in folder.names(CHECKPOINT.format("*.index")))
    return sorted(int(match[1]) for match in matches if match)


def newest_checkpoint(folder: ModelFolder) -> str | None:
    """Return the path of the newest checkpoint without its extension, or None."""
    steps = _steps(folder)
    return folder.file(CHECKPOINT.format(steps[-1])) if steps else None


def read_state(path: str) -> TrainState:
    """Return the state of a training from its checkpoint.

    Raises:
      CheckpointError: the checkpoint is damaged.
    """
    try:
        return TrainState.from_json(tf.compat.v1.train.NewCheckpointReader(path).get_tensor(_STATE))
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise CheckpointError(path, f"is damaged ({files.one_line(error)}). Start again with --no-resume.") from None
