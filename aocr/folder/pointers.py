"""The small files of a model folder that say which checkpoint is meant: believed only where they can be true."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

from aocr.errors import CheckpointError

INDEX, NUMBERS = ".index", ".data-00000-of-00001"
"""Endings of the two files of a checkpoint."""
LARGEST = 1e12
"""No number in these files is larger."""
TEMPERATURES = 0.01, 100.0
"""Between them every temperature lies: training tries those from 1/8 to 8."""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def named(pointer: bytes) -> list[str]:
    """Names of checkpoints in a file `checkpoint`, as TensorFlow writes it: the newest, then all from the oldest on."""
    found = re.findall(rb'^(?:all_)?model_checkpoint_paths?: "(.*)"\r?$', pointer, re.MULTILINE)
    return [name.decode(errors="replace") for name in found]


def pointer_to(*names: str) -> bytes:
    """The file `checkpoint` of checkpoints in its own folder, the newest last."""
    lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
    return "".join(f"{line}\n" for line in lines).encode()


def check_names(path: str, names: list[str]) -> None:
    """Refuse names of other things than checkpoints in the folder: a training that goes on removes the oldest of them.

    Args:
      path: of the file `checkpoint`, for messages.
      names: in it.

    Raises:
      CheckpointError: one is not that of a checkpoint of a training, or there is none.
    """
    if not names:
        raise CheckpointError(path, "is damaged (it names no checkpoint). Restore the folder whole.")
    if odd := next((name for name in names if not re.fullmatch("ckpt-[0-9]{1,18}", name)), None):
        raise CheckpointError(path, f"names {odd[:100]!r}, which is no checkpoint of it. Restore the folder whole.")


def read_best(value: dict[str, Any] | None, path: str) -> dict[str, Any] | None:
    """What best.json says; None where there is none.

    Args:
      value: what stands in it.
      path: of the file, for messages.

    Raises:
      CheckpointError: it is damaged, or names something else than a best checkpoint of the folder.
    """
    if value is None:
        return None
    name, numbers = value.get("checkpoint"), {key: value.get(key) for key in ("step", "word_accuracy", "cer")}
    odd = {key: number for key, number in numbers.items() if not _is_number(number)}
    if not (isinstance(name, str) and re.fullmatch("best-[0-9]+", name)):
        odd = {"checkpoint": name, **odd}
    if odd:
        told = ", ".join(f"{key} = {number!r}" for key, number in odd.items())[:100]
        reason = f"is damaged ({told}). Restore it, or remove it: then the newest checkpoint is used."
        raise CheckpointError(path, reason)
    return value


def why_best(best: dict[str, Any]) -> str:
    """Why the checkpoint that best.json names is read with, in words."""
    score = f"word accuracy {best['word_accuracy']:.2%}, CER {best['cer']:.2%}"
    if best.get("closed"):
        return f"last weights, trained on all images after the last validation (then: {score})"
    what = "last weights, as good as the best on validation" if best.get("last") else "best on validation"
    return f"{what} ({score} at step {best['step']})"


def read_temperature(value: dict[str, Any] | None, path: str, checkpoint: str) -> float:
    """The temperature of a checkpoint; 1 where none was fitted to it.

    Args:
      value: what stands in calibration.json; None: there is none.
      path: of the file, for messages.
      checkpoint: name of the checkpoint.

    Raises:
      CheckpointError: it is damaged.
    """
    if value is None:
        return 1.0
    temperature, fitted_to = value.get("temperature"), value.get("checkpoint")
    lowest, highest = TEMPERATURES
    if not (_is_number(temperature) and lowest <= temperature <= highest and isinstance(fitted_to, str)):
        told = f"temperature = {temperature!r}, checkpoint = {fitted_to!r}"[:100]
        reason = f"is damaged ({told}). Restore it, or remove it: then confidences are not calibrated."
        raise CheckpointError(path, reason)
    return float(temperature) if fitted_to == checkpoint else 1.0
