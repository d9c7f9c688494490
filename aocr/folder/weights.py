"""A network's weights as one file, `weights.npz`: numpy arrays by name, without pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from aocr.config import ModelConfig
from aocr.errors import CheckpointError

MAX_BYTES = 2**29
"""Size limit of the arrays in a file; those of the default network take 7 million bytes."""


def pack_weights(weights: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a `weights.npz`; the same weights always give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: weights[name] for name in sorted(weights)})  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_weights(data: bytes) -> dict[str, np.ndarray]:
    """Return the float32 weights in the bytes of a `weights.npz`.

    Raises:
      ValueError: the bytes are damaged, contain anything but finite floats, or more than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES >> 20} MiB of weights")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            weights = {name: np.asarray(arrays[name]) for name in arrays.files}  # other entries give bytes
    except Exception as error:  # zipfile, its decompressors and numpy's headers raise errors of many types
        raise ValueError(str(error) or type(error).__name__) from None
    for name, array in weights.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name[:80]!r} is not an array of finite floats")
    return {name: array.astype(np.float32, copy=False) for name, array in weights.items()}


def check_shapes(source: str, weights: Mapping[str, np.ndarray], config: ModelConfig) -> None:
    """Check the variables that determine the sizes of all others, before a network is built.

    Args:
      source: origin of the weights, for the message.
      weights: arrays by name.
      config: settings of the network.

    Raises:
      CheckpointError: a variable is missing or has another shape.
    """
    units, gates = config.attn_num_hidden, 3 if config.use_gru else 4
    wide = units * config.attn_num_layers if config.traits.wide_encoder else units
    last = 0 if config.traits.shared_cells else config.attn_num_layers - 1
    expected = {
        "encoder/lstm/forward_lstm/lstm_cell/recurrent_kernel": (wide, 4 * wide),
        f"decoder/cell{last}/recurrent_kernel": (units, gates * units),
        "decoder/embedding/embeddings": (config.charset.vocabulary_size, config.target_embedding_size),
    }
    for name, shape in expected.items():
        if name not in weights or weights[name].shape != shape:
            raise mismatch(source, name)


def mismatch(source: str, name: str) -> CheckpointError:
    """Return the error for a variable that does not match the network's settings."""
    return CheckpointError(source, f"does not match model.json (variable {name!r}). Restore the folder from a backup.")
