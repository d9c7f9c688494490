"""The model folder: what lies in it, how it is read, written, held and cleared.

    model.json        {"format": 1, "aocr": version, "model": ModelConfig}; written before step 0
    train.json        a record of the last training
    ckpt-N.*          everything a training needs to go on: weights, their average, optimizer, position; the newest
    best-N.*          averaged weights only, of the best validation so far; best.json says which and how good
    seen.bin          of each image that training was given what became of it, 8 bytes each (see training/seen.py)
    calibration.json  the temperature of the confidence, and the checkpoint that it was fitted to
    weights.npz       in place of checkpoints: the weights of a model that is passed on, float16
    history.json      the checks of the training, drawn in curves.png; aocr.log and logs/ (TensorBoard) beside them

Every json is written to a temporary name and renamed; a checkpoint counts only once the file that names it has been
replaced. So a process killed at any moment leaves a folder that can be read. Nothing in it is ever executed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aocr
from aocr import files
from aocr.config import ModelConfig
from aocr.errors import AocrError, CheckpointError, TrainingError
from aocr.folder.pointers import INDEX, NUMBERS, check_names, named, read_best, read_temperature, why_best

FORMAT = 1
MAX_JSON_BYTES, MAX_HISTORY_BYTES = 2**22, 2**24
"""Of a json file, which may take fifty times as many in memory; a charset of 100,000 symbols takes a million, the
history of 100,000 checks fifteen."""

MAX_POINTER_BYTES = 2**20
"""Of the file that names the newest checkpoints; two names take 100."""

MODEL, TRAIN, BEST = "model.json", "train.json", "best.json"
CALIBRATION, HISTORY, CURVES, LOG = "calibration.json", "history.json", "curves.png", "aocr.log"
SEEN = "seen.bin"
MIXED = "mixed-in-{}.tfrecords"
"""Images that are mixed in among the labelled ones from a step on; gone when the training has ended."""
COMPACT, POINTER = "weights.npz", "checkpoint"
NEWEST, BEST_PREFIX = "ckpt", "best-"
"""Checkpoints: `ckpt-N` of the newest, `best-N` of the best."""

_NAMED = MODEL, TRAIN, BEST, CALIBRATION, HISTORY, CURVES, POINTER, COMPACT, SEEN
_BEST = tuple(f"{BEST_PREFIX}[0-9]*{end}" for end in (".index", ".data-*-of-*"))
OURS = (
    *_NAMED,
    *_BEST,
    *(f"{NEWEST}-[0-9]*{end}" for end in (".index", ".data-*-of-*")),
    MIXED.format("*"),
    "reading.pb",  # a graph that versions before 1.0 kept here
)
"""Files of a training, for `clear`; `logs/` beside them."""
_PARTS = (
    *(f"{name}.[0-9]*.tmp" for name in _NAMED),
    *(f"{name}[0-9]*_temp" for name in (f"{NEWEST}-", BEST_PREFIX)),
    f"{POINTER}.tmp*",
)
"""What one that was killed left half-written."""
EVENTS = "events.out.tfevents.*"
"""Files of TensorBoard in `logs/`."""


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

    def __str__(self) -> str:
        return f"{self.prefix}, the {self.why}"


def _follows(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


class ModelFolder:
    """A model folder on any file system, whether it is there or not.

    Args:
      path: of the folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        self._hold: contextlib.ExitStack | None = None
        self._locked = False

    def __str__(self) -> str:
        return self.path

    def file(self, name: str) -> str:
        """Path of what is called `name` in the folder."""
        return os.path.join(self.path, name)

    # JSON

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The object in a json file; None where there is no file.

        Raises:
          CheckpointError: it is not a json object.
        """
        path = self.file(name)
        try:
            most = MAX_HISTORY_BYTES if name == HISTORY else MAX_JSON_BYTES
            value = json.loads(files.read_plain(path, most))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError, OSError) as error:
            reason = f"is damaged ({files.one_line(error)}). Restore it, or train anew."
            raise CheckpointError(path, reason) from None
        if not isinstance(value, dict):
            raise CheckpointError(path, "is not a model description of aocr.")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write `value` so that readers see the old file or the new one, never half.

        Raises:
          TrainingError: the disk is full or the folder cannot be written.
        """
        path = self.file(name)
        with files.writing(path, lambda reason: TrainingError(f"{path}: {reason}")):
            files.write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    # The model's settings

    def begin(self, config: ModelConfig) -> None:
        """Make the folder, free of what an earlier training left there, and its model.json.

        Raises:
          CheckpointError: the folder cannot be made, or files in it are not of aocr.
          TrainingError: another training holds it (only inside `held`), or the file cannot be written.
        """
        self._make()
        self.clear()
        self.write_config(config)

    def write_config(self, config: ModelConfig) -> None:
        """Make the folder and its model.json.

        Raises:
          As `begin`.
        """
        self._make()
        self.write_json(MODEL, {"format": FORMAT, "aocr": aocr.__version__, "model": config.to_dict()})

    def _make(self) -> None:
        try:
            files.make_folder(self.path)
        except OSError as error:
            reason = f"the folder cannot be made ({files.one_line(error)}). Choose another --model-dir."
            raise CheckpointError(self.path, reason) from None
        self._lock()

    def find_config(self) -> ModelConfig | None:
        """The folder's ModelConfig; None where the folder has no model.

        Raises:
          CheckpointError: the folder's model is of a newer format, of aocr 0.7.6 or of another program.
        """
        self._refuse_endless()
        value = self.read_json(MODEL)
        if value is None:
            self._refuse_other_programs()
            return None
        if value.get("format") != FORMAT or "model" not in value:
            if isinstance(value.get("format"), int) and value["format"] > FORMAT:
                reason = f"was written by a newer aocr ({value.get('aocr', '?')}). Upgrade aocr."
            else:
                reason = f"{MODEL} is not of aocr. Choose another folder."
            raise CheckpointError(self.path, reason)
        try:
            return ModelConfig.from_dict(value["model"])
        except (AocrError, TypeError) as error:
            raise CheckpointError(self.path, f"{MODEL} is damaged: {files.one_line(error)}") from None

    def _refuse_endless(self) -> None:
        if files.is_remote(self.path) or not files.is_folder(self.path):
            return
        for name in self._names(OURS):
            if files.is_endless(self.file(name)):
                raise CheckpointError(self.file(name), "is a pipe or a device, not a file. Restore the folder whole.")

    def _refuse_other_programs(self) -> None:
        names = files.names_in(self.path) if files.is_folder(self.path) else []
        if fnmatch.filter(names, "*.ckpt-*.index"):
            reason = f"holds a checkpoint of aocr 0.7.6 or of another program, without {MODEL}."
            raise CheckpointError(self.path, f"{reason} Use aocr import first, or choose another folder.")
        if "saved_model.pb" in names:
            raise CheckpointError(self.path, "holds a SavedModel, not a model folder. Give the folder of training.")

    def read_config(self) -> ModelConfig:
        """The folder's ModelConfig.

        Raises:
          CheckpointError: there is none, or as `find_config`.
        """
        config = self.find_config()
        if config is None:
            state = "is empty or not a model folder" if files.is_folder(self.path) else "does not exist"
            raise CheckpointError(self.path, f"{state}. Train first (aocr train DATASET), or give --model-dir.")
        return config

    # Checkpoints

    def newest(self) -> str | None:
        """Path of the newest checkpoint, without ending; None where there is none.

        Raises:
          CheckpointError: as `newest_names`.
        """
        names = self.newest_names()
        newest = self.file(names[-1]) if names else None
        return newest if newest and files.exists(f"{newest}{INDEX}") else None

    def check_goes_on(self, steps: int) -> None:
        """See that a training goes on with the weights that are there, and does not put fresh ones in their place.

        Args:
          steps: to the first checkpoint. The best up to there may be of a training that was killed before it wrote
            that; it is found again.

        Raises:
          CheckpointError: there are weights, but none to go on with; or a file of the folder is damaged.
        """
        if self.newest():
            return
        best = self.best()
        if self.newest_names() or files.exists(self.file(COMPACT)) or (best and best["step"] > steps):
            advice = f"To start from it, give --init-from {self.path} and another --model-dir"
            reason = f"has a model, but no checkpoint to go on from. {advice}; --no-resume removes it and starts anew."
            raise CheckpointError(self.path, reason)

    def newest_names(self) -> list[str]:
        """Names of the newest checkpoints, the last one last; empty where there is none.

        Raises:
          CheckpointError: the file that names them is damaged, or names one outside the folder.
        """
        path = self.file(POINTER)
        try:
            names = named(files.read_plain(path, MAX_POINTER_BYTES))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            reason = f"is damaged ({files.one_line(error)}). Restore the folder whole."
            raise CheckpointError(path, reason) from None
        check_names(path, names)
        newest, *every = names
        return [*(name for name in every if name != newest), newest]

    def remove_checkpoint(self, name: str) -> None:
        """Remove the files of a checkpoint, as far as they are there."""
        for ending in (INDEX, NUMBERS):
            with contextlib.suppress(FileNotFoundError):
                files.remove(self.file(f"{name}{ending}"))

    def choose(self) -> Chosen:
        """The best checkpoint if there is one, else the newest.

        Raises:
          CheckpointError: the folder has no checkpoint, or best.json or calibration.json is damaged.
        """
        best = self.best()
        if best and files.exists(self.file(f"{best['checkpoint']}{INDEX}")):
            return Chosen(self.file(best["checkpoint"]), why_best(best), self._temperature(best["checkpoint"]))
        if newest := self.newest():
            return Chosen(newest, "newest (there was no validation)", self._temperature(os.path.basename(newest)))
        if files.exists(self.file(COMPACT)):
            return Chosen(self.file(COMPACT), "weights of a model that was passed on", self._temperature(COMPACT))
        raise CheckpointError(self.path, "has no checkpoint. Train first: aocr train DATASET --model-dir DIR.")

    def weight_files(self, chosen: Chosen) -> list[str]:
        """Paths of the files that hold the weights of a checkpoint."""
        if chosen.prefix.endswith(COMPACT):
            return [chosen.prefix]
        return [f"{chosen.prefix}{ending}" for ending in (INDEX, NUMBERS)]

    def write_best(self, step: int, word_accuracy: float, cer: float, last: bool, closed: bool = False) -> None:
        """Let best.json point at `best_path(step)`, whose files are there, then drop the ones before."""
        name = f"{BEST_PREFIX}{step}"
        best = {"checkpoint": name, "step": step, "last": last, "closed": closed}
        best |= {"word_accuracy": word_accuracy, "cer": cer}
        self.write_json(BEST, best)
        for other in self._names(_BEST):
            if not other.startswith(f"{name}."):
                files.remove(self.file(other))

    def best(self) -> dict[str, Any] | None:
        """What best.json says; None where there is none.

        Raises:
          CheckpointError: it is damaged.
        """
        return read_best(self.read_json(BEST), self.file(BEST))

    def best_path(self, step: int) -> str:
        """Path of the best checkpoint of a step, without ending."""
        return self.file(f"{BEST_PREFIX}{step}")

    def _temperature(self, name: str) -> float:
        return read_temperature(self.read_json(CALIBRATION), self.file(CALIBRATION), name)

    def write_calibration(self, prefix: str, temperature: float, num_images: int) -> None:
        """Keep the temperature fitted to checkpoint `prefix` on `num_images` images; it holds for no other."""
        value = {"checkpoint": os.path.basename(prefix), "temperature": temperature, "num_images": num_images}
        self.write_json(CALIBRATION, value)

    # The folder as a whole

    def _names(self, patterns: Sequence[str]) -> list[str]:
        """Names in the folder that follow one of these patterns; of folders only those that TensorFlow writes in."""
        names = files.names_in(self.path) if files.is_folder(self.path) else []
        found = (name for name in names if _follows(name, patterns))
        return [name for name in found if name.endswith("_temp") or not files.is_folder(self.file(name))]

    def check_clear(self, but: Sequence[str] = ()) -> None:
        """See that what `clear` would remove is of aocr: without a model.json it may be anybody's.

        Args:
          but: patterns of names that are known to be.

        Raises:
          CheckpointError: it is not.
        """
        others = [name for name in self._names(OURS) if not _follows(name, but)]
        if MODEL in others:
            try:
                model = self.read_json(MODEL)
            except CheckpointError:  # damaged: a training anew is the way out
                return
            others = [] if model and "format" in model and "model" in model else [MODEL]
        if others:
            reason = f"{others[0]} in it is not of a model of aocr, and would be written over. Choose another folder."
            raise CheckpointError(self.path, reason)

    def clear(self) -> None:
        """Remove the files of an earlier training from the folder, and nothing else.

        Raises:
          CheckpointError: as `check_clear`.
        """
        self.check_clear()
        for name in sorted(self._names([*OURS, *_PARTS]), key=lambda name: name == MODEL):  # it tells whose the rest is
            files.remove(self.file(name))
        logs = self.file("logs")
        if files.is_folder(logs) and not os.path.islink(logs):  # what a link leads to may be anybody's
            for name in fnmatch.filter(files.names_in(logs), EVENTS):
                files.remove(os.path.join(logs, name))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder for one training, from when it is there; the system lets go of it with the process.

        Local folders only, and no Windows: elsewhere nothing is held.

        Raises:
          TrainingError: another training holds it, or what it would write to is a link.
        """
        with contextlib.ExitStack() as self._hold:
            if os.path.isdir(self.path):
                self._refuse_links()
                self._lock()
            yield
        self._hold = None

    def is_in_training(self) -> bool:
        """Whether a training holds the folder now."""
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

    def _refuse_links(self) -> None:
        """Write nothing where a link of a stranger's leads."""
        for name in sorted(os.listdir(self.path)):
            if _follows(name, ("logs", *OURS, *_PARTS)) and os.path.islink(self.file(name)):
                reason = "is a link, which may lead out of the folder. Remove it, or give another --model-dir."
                raise TrainingError(f"{self.file(name)}: {reason}")

    def _lock(self) -> None:
        """Lock the folder, once, if it is to be held."""
        if self._hold is None or self._locked or files.is_remote(self.path):
            return
        with contextlib.suppress(OSError):  # what cannot be written is told where it is written
            handle = os.open(self.path, os.O_RDONLY)
            self._hold.callback(os.close, handle)
            if not files.lock(handle):
                reason = "another training is at work in it. Wait for it, stop it, or give another --model-dir."
                raise TrainingError(f"{self.path}: {reason}")
            self._locked = True
