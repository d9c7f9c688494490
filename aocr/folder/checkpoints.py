"""Writing checkpoints into a model folder, and going on from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from aocr import files
from aocr.errors import CheckpointError, TrainingError
from aocr.folder.model_folder import MAX_POINTER_BYTES, NEWEST, POINTER, ModelFolder
from aocr.folder.pointers import INDEX, NUMBERS, pointer_to
from aocr.folder.variables import assign_all, weights_of
from aocr.folder.weights import AVERAGED, WEIGHTS, read_groups

NUM_KEPT = 2
_ENDINGS = "_temp", INDEX, NUMBERS
"""Of what TensorFlow writes of a checkpoint."""
RESUMES = "Free space or check rights, then run the same command: it resumes from the last checkpoint."
"""What to do where a training cannot write."""


def check_free(folder: ModelFolder, step: int) -> None:
    """See that weights can be written as those of a step: over nothing but what was left when that broke off.

    Raises:
      CheckpointError: the folder holds files, of another program perhaps, that a model of aocr would write over.
    """
    name, pointer = f"{NEWEST}-{step}", folder.file(POINTER)
    is_left = not files.exists(pointer) or files.read(pointer, MAX_POINTER_BYTES) == pointer_to(name)
    folder.check_clear((f"{name}.*", POINTER) if is_left else ())


def is_closed(folder: ModelFolder) -> bool:
    """Whether the newest checkpoint has learnt from what was held out, or does not tell."""
    newest = folder.newest()
    return newest is None or bool(read_groups(newest, "state").get("state/closed", np.array(1)) != 0)


def write_weights(folder: ModelFolder, model: keras.Model, step: int) -> None:
    """Write a model's weights as the folder's newest checkpoint, without anything to resume from.

    Raises:
      TrainingError: the disk is full or the folder cannot be written.
    """
    weights = tf.train.Checkpoint(model=weights_of(model))
    name = f"{NEWEST}-{step}"
    with _writing(folder, folder.file(name), "the weights", ""):
        files.make_folder(folder.path)
        weights.write(folder.file(name))
        files.write(folder.file(POINTER), pointer_to(name))


@contextlib.contextmanager
def _writing(folder: ModelFolder, path: str, what: str, advice: str) -> Iterator[None]:
    """Tells a failure to write checkpoint `path` inside the block, and removes what it left half-written.

    TensorFlow would follow a link of these names, in a folder from a stranger anywhere.

    Args:
      folder: that it lies in.
      path: without ending.
      what: it is, in words.
      advice: what to do; empty: as of `files.writing`.
    """
    with files.writing(folder.path, lambda reason: TrainingError(f"{folder}: {what} {reason}"), advice):
        for ending in _ENDINGS:
            files.drop_link(path + ending)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                files.remove(f"{path}_temp")
            raise


class Checkpoints:
    """Writes and restores the checkpoints of one training.

    Not by TensorFlow's CheckpointManager: it takes paths for patterns, of what it removes too.

    Args:
      folder: the model folder.
      model: whose weights are kept.
      averages: the averaged weights by name, which reading uses.
      optimizer: whose slots are kept.
      state: tf.Variables by name: step, position in the data, ...
    """

    def __init__(
        self,
        folder: ModelFolder,
        model: keras.Model,
        averages: dict[str, tf.Variable],
        optimizer: keras.optimizers.Optimizer,
        state: dict[str, tf.Variable],
    ):
        self.folder = folder
        slots = {f"{i:04d}": v.value for i, v in enumerate(optimizer.variables)}
        self._groups = {WEIGHTS: weights_of(model), AVERAGED: averages, "optimizer": slots, "state": state}

    def restore_newest(self) -> str | None:
        """Restore the newest checkpoint, all of it, and return its path; None where there is none.

        Raises:
          CheckpointError: it is damaged, or of another network or optimizer.
        """
        newest = self.folder.newest()
        if newest is None:
            return None
        found = read_groups(newest, *self._groups)
        if "closed" in self._groups["state"] and "state/fall_start" in found:  # versions before 1.0 did not keep it
            best = self.folder.best() or {}
            has_closed = best.get("closed") or found["state/fall_start"] >= 0
            found.setdefault("state/closed", np.array(bool(has_closed), np.int64))
        variables = {f"{group}/{name}": v for group, values in self._groups.items() for name, v in values.items()}
        slots = {name for name in found if name.startswith("optimizer/")}
        if not slots:
            reason = f"has weights alone. To start from it, give --init-from {self.folder} and another --model-dir."
            raise CheckpointError(newest, reason)
        if slots != {name for name in variables if name.startswith("optimizer/")}:
            raise CheckpointError(newest, "is of another --optimizer. Start anew with --no-resume.")
        assign_all(newest, variables, found)
        return newest

    def save(self, step: int) -> None:
        """Write everything; the oldest of the newest few goes.

        Raises:
          CheckpointError: as `ModelFolder.newest_names`.
          TrainingError: the disk is full or the folder cannot be written.
        """
        name = f"{NEWEST}-{step}"
        names = [*(other for other in self.folder.newest_names() if other != name), name]
        with _writing(self.folder, self.folder.file(name), "a checkpoint", RESUMES):
            tf.train.Checkpoint(**self._groups).write(self.folder.file(name))
            files.write(self.folder.file(POINTER), pointer_to(*names[-NUM_KEPT:]))
            for other in names[:-NUM_KEPT]:
                self.folder.remove_checkpoint(other)

    def save_best(self, step: int, word_accuracy: float, cer: float, last: bool = False, closed: bool = False) -> None:
        """Write the averaged weights as the best.

        Args:
          step: number of steps done.
          word_accuracy, cer: of these weights, fractions.
          last: whether they are those of the end of a training, and not worse than the best by more than chance.
          closed: whether they learnt from the validation images at the end; the scores are from before.

        Raises:
          TrainingError: the disk is full or the folder cannot be written.
        """
        path = self.folder.best_path(step)
        with _writing(self.folder, path, "a checkpoint", RESUMES):
            tf.train.Checkpoint(**{AVERAGED: self._groups[AVERAGED]}).write(path)
            self.folder.write_best(step, word_accuracy, cer, last, closed)
