"""The small files of a model folder that say which checkpoint is meant: believed only where they can be true."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, TypeGuard

from aocr.errors import CheckpointError

LARGEST = 1e12
"""No number in these files is larger."""
TEMPERATURES = 0.01, 100.0
"""Between them every temperature lies: training tries those from 1/8 to 8."""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def check_literal(path: str) -> None:
    """Refuse a path that TensorFlow would take for a pattern.

    It looks for checkpoints and removes them by patterns: of `run[1]` it finds none, and removes those of `run1`.

    Raises:
      CheckpointError: it has such a character.
    """
    if found := re.search(r"[*?\[]" if os.sep == "\\" else r"[*?\[\\]", path):
        reason = f"TensorFlow takes {found[0]!r} in the path of a checkpoint for a pattern. Rename the folder"
        raise CheckpointError(path, f"{reason}, or go into it and give a path without it.")


def check_inside(folder: str, prefixes: Iterable[str]) -> None:
    """Refuse checkpoints outside the folder: a training that goes on removes the oldest of them.

    Raises:
      CheckpointError: one is not directly in the folder, or has no name of a training's, which TensorFlow would print
        as it is, or take for a pattern.
    """
    for prefix in prefixes:
        name = os.path.basename(prefix)
        if not re.fullmatch("ckpt-[0-9]+", name):
            raise CheckpointError(os.path.join(folder, "checkpoint"), f"names {name!r}. Restore the folder whole.")
        if prefix != os.path.join(folder, name):
            reason = f"names {prefix}, which is outside the folder. Restore the folder whole."
            raise CheckpointError(os.path.join(folder, "checkpoint"), reason)


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
        return f"last weights, which learnt from the held-out images too (on these, before they did: {score})"
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
