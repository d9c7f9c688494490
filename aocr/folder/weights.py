"""A network's weights by name, out of a checkpoint or of `weights.npz`. Read by numpy alone."""

from __future__ import annotations

import numpy as np

from aocr import files
from aocr.errors import CheckpointError
from aocr.folder.bundle import MAX_NUMBER_BYTES, Bundle
from aocr.folder.compact import as_float32, read_compact
from aocr.folder.model_folder import COMPACT

WEIGHTS, AVERAGED = "model", "averaged"
"""Groups of a checkpoint: the weights, and their running average, which reading uses where it is there."""
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def read_weights(prefix: str) -> dict[str, np.ndarray]:
    """The weights in a checkpoint or in `weights.npz`, by name, float32: their average where it holds one.

    Raises:
      CheckpointError: it is missing or damaged.
    """
    if prefix.endswith(COMPACT):
        return read_compact(prefix)
    found = read_groups(prefix, AVERAGED) or read_groups(prefix, WEIGHTS)
    try:
        return {name.partition("/")[2]: as_float32(name, array) for name, array in found.items()}
    except ValueError as error:
        raise CheckpointError(prefix, f"is damaged ({error}).") from None


def read_groups(prefix: str, *groups: str) -> dict[str, np.ndarray]:
    """The arrays in some groups of a checkpoint, by `GROUP/NAME`.

    Raises:
      CheckpointError: it is missing or damaged.
    """
    try:
        bundle = Bundle(prefix, len(groups) * MAX_NUMBER_BYTES)
        keys = [key for key in bundle.shapes if key.endswith(_VALUE) and key.partition("/")[0] in groups]
        return {_name(key): array for key, array in bundle.read(keys).items()}
    except (OSError, ValueError) as error:
        raise CheckpointError(prefix, f"is missing or damaged ({files.one_line(error)}).") from None


def _name(key: str) -> str:
    """TensorFlow writes `GROUP/a.Sb/.ATTRIBUTES/VARIABLE_VALUE` for a name `a/b`."""
    return key.removesuffix(_VALUE).replace(".S", "/")
