"""The model folder: model.json, train.json, the newest checkpoints and the best.

    model.json     {"format": 1, "aocr": version, "model": ModelConfig}; written before step 0
    train.json     a record of the last training
    ckpt-N.*       everything a training needs to go on: weights, their average, optimizer, position; the newest
    best-N.*       averaged weights only, of the best validation so far; best.json says which and how good

Every json is written to a temporary name and renamed; a checkpoint counts only once the file that names it
has been replaced. So a process killed at any moment leaves a folder that can be read.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import aocr
from aocr.config import ModelConfig
from aocr.data.files import first_line, write_file
from aocr.errors import AocrError, CheckpointError, ConfigError, TrainingError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FORMAT = 1
NUM_KEPT = 2
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def path_in(model_dir: str, name: str) -> str:
    """`name` inside the model folder."""
    return os.path.join(model_dir, name)


def write_json(path: str, value: dict[str, Any]) -> None:
    """Write `value` so that readers see the old file or the new one, never half.

    Raises:
      TrainingError: the disk is full or the folder cannot be written.
    """
    try:
        write_file(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
    except (tf.errors.OpError, OSError) as error:
        raise TrainingError(f"{path}: cannot be written ({first_line(error)}). Free space or check rights.") from None


def read_json(path: str) -> dict[str, Any] | None:
    """The object in a json file; None where there is no file.

    Raises:
      CheckpointError: it is not a json object.
    """
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path, "r") as file:
            value = json.loads(file.read())
    except (ValueError, tf.errors.OpError) as error:
        raise CheckpointError(path, f"is damaged ({first_line(error)}). Restore it, or train anew.") from None
    if not isinstance(value, dict):
        raise CheckpointError(path, "is not a model description of aocr.")
    return value


def write_config(model_dir: str, config: ModelConfig) -> None:
    """Make the folder and its model.json."""
    try:
        tf.io.gfile.makedirs(model_dir)
    except (tf.errors.OpError, OSError) as error:
        reason = f"the folder cannot be made ({first_line(error)}). Choose another --model-dir."
        raise CheckpointError(model_dir, reason) from None
    value = {"format": FORMAT, "aocr": aocr.__version__, "model": config.to_dict()}
    write_json(path_in(model_dir, "model.json"), value)


def read_config(model_dir: str) -> ModelConfig | None:
    """The folder's ModelConfig; None where the folder has no model.

    Raises:
      CheckpointError: the folder's model is of a newer format, of aocr 0.7.6 or of another program.
    """
    value = read_json(path_in(model_dir, "model.json"))
    if value is None:
        if tf.io.gfile.isdir(model_dir) and tf.io.gfile.glob(path_in(model_dir, "*.ckpt-*.index")):
            reason = "holds a checkpoint of aocr 0.7.6 or of another program, without model.json."
            raise CheckpointError(model_dir, f"{reason} Use aocr import first, or choose another folder.")
        if tf.io.gfile.isdir(model_dir) and tf.io.gfile.glob(path_in(model_dir, "saved_model.pb")):
            raise CheckpointError(model_dir, "holds a SavedModel, not a model folder. Give the folder of training.")
        return None
    if value.get("format") != FORMAT or "model" not in value:
        if isinstance(value.get("format"), int) and value["format"] > FORMAT:
            reason = f"was written by a newer aocr ({value.get('aocr', '?')}). Upgrade aocr."
        else:
            reason = "model.json is not of aocr. Choose another folder."
        raise CheckpointError(model_dir, reason)
    try:
        return ModelConfig.from_dict(value["model"])
    except (AocrError, TypeError) as error:
        raise CheckpointError(model_dir, f"model.json is damaged: {first_line(error)}") from None


def check_typed(model_dir: str, config: ModelConfig, typed: dict[str, Any]) -> None:
    """Refuse flags that contradict the folder.

    Args:
      model_dir: named in the message.
      config: the folder's.
      typed: settings the user typed, by field of ModelConfig.

    Raises:
      ConfigError: naming both values.
    """
    for name, value in typed.items():
        kept = getattr(config, name)
        if value != kept:
            shown = getattr(kept, "symbols", kept)
            value = getattr(value, "symbols", value)
            reason = f"the model in {model_dir} has {shown!r}. Leave the flag out, or train anew with --no-resume."
            raise ConfigError(f"--{name.replace('_', '-')}", value, reason)


def weights_of(model: keras.Model) -> dict[str, tf.Variable]:
    """The model's variables by name; random number states are left out, they follow from the step."""
    return {v.path.split("/", 1)[1]: v.value for v in model.variables if not v.path.endswith("seed_generator_state")}


def load_weights(prefix: str, model: keras.Model) -> None:
    """Put the weights of checkpoint `prefix` into the model; every variable must be there with its shape.

    Raises:
      CheckpointError: the checkpoint is damaged or does not fit model.json.
    """
    weights = weights_of(model)
    found = read_weights(prefix)
    if set(found) != set(weights):
        odd = sorted(set(found) ^ set(weights))[0]
        raise CheckpointError(prefix, f"does not fit model.json: {odd!r} is in one only. Restore the folder whole.")
    for name, variable in weights.items():
        if tuple(found[name].shape) != tuple(variable.shape):
            shapes = f"{tuple(found[name].shape)} against {tuple(variable.shape)}"
            raise CheckpointError(prefix, f"does not fit model.json: {name!r} is {shapes}. Restore the folder whole.")
        variable.assign(found[name])


def read_weights(prefix: str) -> dict[str, np.ndarray]:
    """The weights in a checkpoint, by name: their average where it holds one.

    Raises:
      CheckpointError: the checkpoint is missing or damaged.
    """
    try:
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)  # load_checkpoint would take it for a folder on ram://
        keys = [key for key in reader.get_variable_to_shape_map() if key.endswith(_VALUE)]
        group = "averaged/" if any(key.startswith("averaged/") for key in keys) else "model/"
        names = {key[len(group) : -len(_VALUE)].replace(".S", "/"): key for key in keys if key.startswith(group)}
        return {name: reader.get_tensor(key) for name, key in names.items()}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise CheckpointError(prefix, f"is missing or damaged ({first_line(error)}).") from None


def write_weights(model_dir: str, model: keras.Model, step: int) -> None:
    """Write a model's weights as the folder's newest checkpoint, without anything to resume from.

    Raises:
      TrainingError: the disk is full or the folder cannot be written.
    """
    try:
        weights = tf.train.Checkpoint(model=weights_of(model))
        tf.train.CheckpointManager(weights, model_dir, 1, checkpoint_name="ckpt").save(checkpoint_number=step)
    except (tf.errors.OpError, OSError) as error:
        raise TrainingError(f"{model_dir}: cannot be written ({first_line(error)}). Free space.") from None


@dataclass(frozen=True)
class Chosen:
    """The checkpoint that reading uses.

    Attributes:
      prefix: its path.
      why: in words, for people.
      temperature: what its logits are divided by for the confidence; 1 where none was fitted to this checkpoint.
    """

    prefix: str
    why: str
    temperature: float = 1.0


def choose(model_dir: str) -> Chosen:
    """The best checkpoint if there is one, else the newest.

    Raises:
      CheckpointError: the folder has no checkpoint.
    """
    best = read_json(path_in(model_dir, "best.json"))
    if best and tf.io.gfile.exists(path_in(model_dir, f"{best.get('checkpoint')}.index")):
        score = f"word accuracy {best['word_accuracy']:.2%}, CER {best['cer']:.2%}"
        what = "last, as good as the best on validation" if best.get("last") else "best on validation"
        why = f"{what} ({score} at step {best['step']})"
        return Chosen(path_in(model_dir, best["checkpoint"]), why, _temperature(model_dir, best["checkpoint"]))
    newest = tf.train.latest_checkpoint(model_dir)
    if newest is None:
        raise CheckpointError(model_dir, "has no checkpoint. Train first: aocr train DATASET --model-dir DIR.")
    return Chosen(newest, "newest (there was no validation)", _temperature(model_dir, os.path.basename(newest)))


def _temperature(model_dir: str, name: str) -> float:
    value = read_json(path_in(model_dir, "calibration.json")) or {}
    return float(value["temperature"]) if value.get("checkpoint") == name else 1.0


def write_calibration(model_dir: str, prefix: str, temperature: float, num_images: int) -> None:
    """Keep the temperature fitted to checkpoint `prefix` on `num_images` images; it holds for no other checkpoint."""
    value = {"checkpoint": os.path.basename(prefix), "temperature": temperature, "num_images": num_images}
    write_json(path_in(model_dir, "calibration.json"), value)


class Checkpoints:
    """Writes and restores the checkpoints of one training.

    Args:
      model_dir: the folder.
      model: whose weights are kept.
      averages: the averaged weights by name, which reading uses.
      optimizer: whose slots are kept.
      state: tf.Variables by name: step, position in the data, ...
    """

    def __init__(
        self,
        model_dir: str,
        model: keras.Model,
        averages: dict[str, tf.Variable],
        optimizer,
        state: dict[str, tf.Variable],
    ):
        self.model_dir, self.model = model_dir, model
        slots = {f"{i:04d}": v.value for i, v in enumerate(optimizer.variables)}
        self._all = tf.train.Checkpoint(model=weights_of(model), averaged=averages, optimizer=slots, state=state)
        self._averages = tf.train.Checkpoint(averaged=averages)
        self._manager = tf.train.CheckpointManager(self._all, model_dir, NUM_KEPT, checkpoint_name="ckpt")

    def restore_newest(self) -> str | None:
        """Restore the newest checkpoint, all of it, and return its path; None where there is none.

        Raises:
          CheckpointError: it is damaged, or of another network or optimizer.
        """
        newest = self._manager.latest_checkpoint
        if newest is None:
            return None
        try:
            self._all.restore(newest).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            reason = f"does not fit ({first_line(error)}). With another --optimizer, start anew with --no-resume."
            raise CheckpointError(newest, reason) from None
        return newest

    def save(self, step: int) -> None:
        """Write everything; the oldest of the newest few goes."""
        self._guarded(lambda: self._manager.save(checkpoint_number=step))

    def save_best(self, step: int, word_accuracy: float, cer: float, last: bool = False) -> None:
        """Write the weights as the best, point best.json at them, then drop the ones before.

        `last`: they are those of the end of a training, and not worse than the best by more than chance.
        """
        name = f"best-{step}"
        self._guarded(lambda: self._averages.write(path_in(self.model_dir, name)))
        best = {"checkpoint": name, "step": step, "last": last, "word_accuracy": word_accuracy, "cer": cer}
        write_json(path_in(self.model_dir, "best.json"), best)
        for path in tf.io.gfile.glob(path_in(self.model_dir, "best-*")):
            if not os.path.basename(path).startswith(f"{name}."):
                tf.io.gfile.remove(path)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (tf.errors.OpError, OSError) as error:
            reason = f"cannot be written ({first_line(error)})"
            advice = "Free space or check rights, then run the same command: it resumes from the last checkpoint."
            raise TrainingError(f"{self.model_dir}: a checkpoint {reason}. {advice}") from None


OURS = (
    *("ckpt-*", "best-*", "checkpoint", "model.json", "train.json", "best.json"),
    *("calibration.json", "history.json", "curves.png", "logs/*"),
)
"""Files of a training in a model folder."""


def clear(model_dir: str) -> None:
    """Remove the files of an earlier training from the folder, and nothing else."""
    for pattern in OURS:
        for path in tf.io.gfile.glob(path_in(model_dir, pattern)):
            tf.io.gfile.remove(path)


@contextlib.contextmanager
def only_trainer(model_dir: str) -> Iterator[None]:
    """Holds a folder for one training; the system lets go of it with the process, however that ends.

    Local folders only, and no Windows: elsewhere nothing is held.

    Raises:
      TrainingError: another training holds it.
    """
    if fcntl is None or "://" in model_dir:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # what cannot be written is told where it is written
            os.makedirs(model_dir, exist_ok=True)
            handle = os.open(model_dir, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                reason = "another training is at work in it. Wait for it, stop it, or give another --model-dir."
                raise TrainingError(f"{model_dir}: {reason}") from None
        yield
