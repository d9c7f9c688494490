"""The model folder: the names of its files, and how they are read, written, locked and removed.

    model.json      {"format": 2, "aocr": version, "model": ModelConfig, "reading": WeightsInfo}
    weights.npz     the weights to read with, float32 by name (numpy without pickle)
    learnt.npy      sorted digests of the images that the model was trained on
    train.json      a record of the last training
    ckpt-N.*        tf.train.Checkpoint of the Learner at step N; opened only by the training that resumes
    extra-N.*       extra training images from step N on; removed when the training has ended
    history.json    the validations, plotted in curves.png; aocr.log and logs/ (TensorBoard) beside them

Reading, exports and `--init-from` only need model.json and weights.npz. Both are replaced atomically, so the folder
can be read even if a training is killed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import aocr
from aocr import files
from aocr.config import ModelConfig
from aocr.errors import AocrError, CheckpointError, TrainingError
from aocr.folder.weights import MAX_BYTES, check_shapes, pack_weights, unpack_weights

FORMAT = 2
MAX_JSON_BYTES = 2**24
"""Size limit of a JSON file. The largest charset takes a million bytes, a history of 100,000 validations 15 million."""

MODEL, WEIGHTS, LEARNT, TRAIN = "model.json", "weights.npz", "learnt.npy", "train.json"
HISTORY, CURVES, LOG, LOGS = "history.json", "curves.png", "aocr.log", "logs"
CHECKPOINT, EXTRA = "ckpt-{}", "extra-{}.tfrecords"
RUN = "run.toml"
EVENTS = "events.out.tfevents.*"
"""TensorBoard's files in `logs/`."""

_NAMED = MODEL, WEIGHTS, LEARNT, TRAIN, HISTORY, CURVES, RUN
_OURS = (*_NAMED, CHECKPOINT.format("[0-9]*"), EXTRA.format("[0-9]*"), *(f"{name}.[0-9]*.tmp" for name in _NAMED))
"""Patterns of the files that a training writes and replaces."""


@dataclass(frozen=True)
class WeightsInfo:
    """The `reading` block of model.json: the scores of the weights, and the calibration of their confidence."""

    step: int = 0
    """Training step of the weights."""
    word_accuracy: float | None = None
    """Word accuracy on the validation set, 0 to 1; None: no validation."""
    cer: float | None = None
    """Character error rate on the validation set; None: no validation."""
    is_last: bool = False
    """Whether these are the last weights of a training, which are not significantly worse than the best ones."""
    is_closed: bool = False
    """Whether the validation images were trained on after the scores had been measured."""
    temperature: float = 1.0
    """Divisor of the logits when the confidence is computed."""
    num_calibration_images: int = 0
    """Number of images that the temperature was fitted to."""

    def describe(self) -> str:
        """Describe the weights in words."""
        if not self.step:
            return "weights without a training record"
        if self.word_accuracy is None or self.cer is None:
            return f"weights of step {self.step:,} (no validation)"
        score = f"word accuracy {self.word_accuracy:.2%}, CER {self.cer:.2%}"
        if self.is_closed:
            return f"last weights, trained on all images after the last validation (then: {score})"
        what = "last weights, as good as the best on validation" if self.is_last else "best on validation"
        return f"{what} ({score} at step {self.step})"


class ModelFolder:
    """A model folder, which need not exist yet, on any file system."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._stack: contextlib.ExitStack | None = None
        self._locked = False

    def __str__(self) -> str:
        return self.path

    def file(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return os.path.join(self.path, name)

    def _read(self, name: str, limit: int) -> bytes | None:
        """Return the bytes of a file, or None if it does not exist."""
        path = self.file(name)
        try:
            if files.size(path) > limit:
                raise CheckpointError(path, f"is larger than {limit >> 20} MiB. It was not written by aocr.")
            return files.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CheckpointError(path, f"cannot be read ({files.one_line(error)}).") from None

    def _write(self, name: str, data: bytes) -> None:
        path = self.file(name)
        with files.writing(path, lambda reason: TrainingError(f"{path}: {reason}")):
            files.write(path, data)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the object in a JSON file, or None if there is no such file.

        Raises:
          CheckpointError: the file is not a JSON object.
        """
        data = self._read(name, MAX_JSON_BYTES)
        if data is None:
            return None
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            reason = f"is damaged ({files.one_line(error)}). Restore it from a backup, or train again."
            raise CheckpointError(self.file(name), reason) from None
        if not isinstance(value, dict):
            raise CheckpointError(self.file(name), "was not written by aocr.")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write a JSON file atomically.

        Raises:
          TrainingError: the disk is full or the folder cannot be written.
        """
        self._write(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    # Model and weights

    def find_config(self) -> ModelConfig | None:
        """Return the folder's ModelConfig, or None if the folder has no model.

        Raises:
          CheckpointError: the model was written by a newer aocr, by aocr 0.7.6 or by another program.
        """
        value = self.read_json(MODEL)
        if value is None:
            self._refuse_other_programs()
            return None
        if value.get("format") != FORMAT or "model" not in value:
            reason = f"{MODEL} was not written by aocr. Choose another folder."
            if isinstance(value.get("format"), int) and value["format"] > FORMAT:
                reason = f"was written by a newer aocr ({value.get('aocr', '?')}). Upgrade aocr."
            raise CheckpointError(self.path, reason)
        try:
            return ModelConfig.from_dict(value["model"])
        except (AocrError, TypeError) as error:
            raise CheckpointError(self.path, f"{MODEL} is damaged: {files.one_line(error)}") from None

    def _refuse_other_programs(self) -> None:
        names = files.names_in(self.path) if files.is_folder(self.path) else []
        if fnmatch.filter(names, "*.ckpt-*.index"):
            reason = f"holds a checkpoint of aocr 0.7.6 or of another program, but no {MODEL}."
            raise CheckpointError(self.path, f"{reason} Convert it with aocr import, or choose another folder.")
        if "saved_model.pb" in names:
            raise CheckpointError(self.path, "holds a SavedModel. Give the model folder that it was exported from.")

    def read_config(self) -> ModelConfig:
        """Return the folder's ModelConfig.

        Raises:
          CheckpointError: the folder has no model, or `find_config` raises it.
        """
        config = self.find_config()
        if config is None:
            state = "is empty or not a model folder" if files.is_folder(self.path) else "does not exist"
            raise CheckpointError(self.path, f"{state}. Train first (aocr train DATASET), or name another --model-dir.")
        return config

    def weights_info(self) -> WeightsInfo:
        """Return the `reading` block of model.json.

        Raises:
          CheckpointError: model.json is missing or damaged.
        """
        block = (self.read_json(MODEL) or {}).get("reading", {})
        try:
            info = WeightsInfo(**block)
            if not 0.01 < info.temperature < 100:
                raise ValueError(f"temperature {info.temperature}")
            info.describe()
        except (TypeError, ValueError) as error:
            reason = f'is damaged (in its "reading" block: {files.one_line(error)}). Restore it from a backup.'
            raise CheckpointError(self.file(MODEL), reason) from None
        return info

    def has_weights(self) -> bool:
        """Return whether there are weights to read with."""
        return files.exists(self.file(WEIGHTS))

    def read_weights(self) -> dict[str, np.ndarray]:
        """Return the weights by name, float32.

        Raises:
          CheckpointError: the weights are missing, damaged, or do not match model.json.
        """
        path, config = self.file(WEIGHTS), self.read_config()
        data = self._read(WEIGHTS, MAX_BYTES)
        if data is None:
            raise CheckpointError(self.path, "has no weights yet. Train first: aocr train DATASET --model-dir DIR.")
        try:
            weights = unpack_weights(data)
        except ValueError as error:
            reason = f"is damaged ({files.one_line(error)}). Restore it from a backup."
            raise CheckpointError(path, reason) from None
        check_shapes(path, weights, config)
        return weights

    def write_weights(
        self, weights: dict[str, np.ndarray], info: WeightsInfo, config: ModelConfig | None = None
    ) -> None:
        """Write the weights to read with, and model.json.

        Args:
          weights: arrays by name.
          info: description of the weights.
          config: settings of the network; None: unchanged.

        Raises:
          CheckpointError: there is no model.json, and no `config`.
          TrainingError: the disk is full or the folder cannot be written.
        """
        self._make()
        self._write(WEIGHTS, pack_weights(weights))
        self.write_config(config or self.read_config(), info)

    def write_config(self, config: ModelConfig, info: WeightsInfo | None = None) -> None:
        """Write model.json, creating the folder if needed.

        Raises:
          CheckpointError: the folder cannot be created.
          TrainingError: another training is running in it, or the file cannot be written.
        """
        self._make()
        value = {"format": FORMAT, "aocr": aocr.__version__, "model": config.to_dict()}
        self.write_json(MODEL, {**value, "reading": asdict(info)} if info else value)

    def read_learnt(self) -> np.ndarray | None:
        """Return (N,) int64, the sorted digests of the images the model was trained on; None if not recorded.

        Raises:
          CheckpointError: the file is damaged.
        """
        data = self._read(LEARNT, 2**31)
        if data is None:
            return None
        try:
            return np.load(io.BytesIO(data), allow_pickle=False).astype(np.int64, casting="safe").reshape(-1)
        except (ValueError, TypeError, EOFError) as error:
            reason = f"is damaged ({files.one_line(error)}). Restore it from a backup, or scores may be too good."
            raise CheckpointError(self.file(LEARNT), reason) from None

    def write_learnt(self, digests: np.ndarray) -> None:
        """Record the images the model was trained on: (N,) int64 digests, in any order.

        Raises:
          TrainingError: the disk is full or the folder cannot be written.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.unique(digests))
        self._write(LEARNT, buffer.getvalue())

    # The folder as a whole

    def begin(self, config: ModelConfig) -> None:
        """Create the folder, remove the files of an earlier training, and write model.json.

        Raises:
          CheckpointError: the folder cannot be created, or holds files that aocr did not write.
          TrainingError: another training is running in it, or the file cannot be written.
        """
        self._make()
        self.clear()
        self.write_config(config)

    def _make(self) -> None:
        try:
            files.make_folder(self.path)
        except OSError as error:
            reason = f"the folder cannot be created ({files.one_line(error)}). Choose another --model-dir."
            raise CheckpointError(self.path, reason) from None
        self._lock()

    def names(self, *patterns: str) -> list[str]:
        """Return the sorted names of files in the folder that match one of the patterns."""
        names = files.names_in(self.path) if files.is_folder(self.path) else []
        matching = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
        return [name for name in matching if name.endswith("_temp") or not files.is_folder(self.file(name))]

    def check_clear(self) -> None:
        """Check that the files `clear` would remove were written by aocr.

        Raises:
          CheckpointError: there are files of these names, but no model.json of aocr beside them.
        """
        names = self.names(*_OURS)
        if MODEL in names:
            try:
                model = self.read_json(MODEL)
            except CheckpointError:  # damaged, so it may be replaced
                return
            names = [] if model and "format" in model and "model" in model else [MODEL]
        if names:
            reason = f"{names[0]} was not written by aocr and would be overwritten. Choose another folder."
            raise CheckpointError(self.path, reason)

    def clear(self) -> None:
        """Remove the files of an earlier training.

        Raises:
          CheckpointError: `check_clear` raises it.
        """
        self.check_clear()
        for name in sorted(self.names(*_OURS), key=lambda name: name == MODEL):  # last: `check_clear` needs it
            files.remove(self.file(name))
        if files.is_folder(self.file(LOGS)):
            for name in fnmatch.filter(files.names_in(self.file(LOGS)), EVENTS):
                files.remove(os.path.join(self.file(LOGS), name))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder for one training inside the block, once the folder exists.

        The lock ends with the process at the latest. Remote folders, and those on Windows, are not locked.

        Raises:
          TrainingError: another training is running in it.
        """
        with contextlib.ExitStack() as self._stack:
            if os.path.isdir(self.path):
                self._lock()
            yield
        self._stack = None

    def _lock(self) -> None:
        if self._stack is None or self._locked or files.is_remote(self.path):
            return
        with contextlib.suppress(OSError):  # if the folder cannot be written, the first write reports it
            handle = os.open(self.path, os.O_RDONLY)
            self._stack.callback(os.close, handle)
            if not files.lock(handle):
                reason = "another training is running in it. Wait for it, stop it, or give another --model-dir."
                raise TrainingError(f"{self.path}: {reason}")
            self._locked = True

    def is_in_training(self) -> bool:
        """Return whether a training is running in the folder."""
        if files.is_remote(self.path):
            return False
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            return not files.lock(handle)
        finally:
            os.close(handle)
