"""Weights in one small file, `weights.npz`: a model to pass on. Read by numpy alone."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from aocr import files
from aocr.errors import CheckpointError

MAX_BYTES = 2**30
"""Bytes that the weights of a file may take in memory; the default network takes 7 million."""


def write_compact(path: str, weights: dict[str, np.ndarray]) -> None:
    """Write weights as float16.

    Args:
      path: of the file.
      weights: float32 arrays by name.

    Raises:
      OSError: the file cannot be written.
      ValueError: a weight is too large for float16.
    """
    with np.errstate(over="ignore"):
        halves = {name: np.asarray(value, np.float16) for name, value in sorted(weights.items())}
    odd = [name for name, half in halves.items() if not np.isfinite(half).all()]
    if odd:
        raise ValueError(f"{odd[0]} has a value that float16 cannot hold")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:  # np.savez would write the time of day
        for name, half in halves.items():
            array = io.BytesIO()
            np.save(array, half)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED)
    files.write(path, buffer.getvalue())


def read_compact(path: str) -> dict[str, np.ndarray]:
    """The weights of a file by name, float32. Nothing in it can be executed.

    Raises:
      CheckpointError: it is missing, damaged, or would take more than `MAX_BYTES`.
    """
    try:
        data = files.read_plain(path, MAX_BYTES)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES // 2:
                raise CheckpointError(path, f"holds more than {MAX_BYTES >> 20} MiB of weights. It is not of aocr.")
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: as_float32(name, found[name]) for name in found.files}
    except CheckpointError:
        raise
    except Exception as error:  # zip, its ways to compress and numpy's headers have errors of many kinds
        raise CheckpointError(path, f"is missing or damaged ({files.one_line(error)}).") from None


def as_float32(name: str, array: np.ndarray) -> np.ndarray:
    """An array as weights are.

    Args:
      name: of it, for the message.
      array: of any type.

    Raises:
      ValueError: it holds no floats, or one that is no number.
    """
    if getattr(array, "dtype", np.dtype(object)).kind != "f":
        raise ValueError(f"{name[:80]!r} holds no floats")
    if not np.isfinite(array).all():
        raise ValueError(f"{name[:80]!r} holds what is no number")
    return array.astype(np.float32, copy=False)
