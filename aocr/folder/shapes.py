"""Shapes that weights must have, known before any network is built."""

from __future__ import annotations

import numpy as np

from aocr.config import ModelConfig
from aocr.errors import CheckpointError


def key_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables by whose sizes all others go, known before anything is built."""
    units, layers, gates = config.attn_num_hidden, config.attn_num_layers, 3 if config.use_gru else 4
    wide = units * layers if config.traits.wide_encoder else units
    last = 0 if config.traits.shared_cells else layers - 1
    return {
        "encoder/lstm/forward_lstm/lstm_cell/recurrent_kernel": (wide, 4 * wide),
        f"decoder/cell{last}/recurrent_kernel": (units, gates * units),
        "decoder/embedding/embeddings": (config.charset.vocabulary_size, config.target_embedding_size),
    }


def check_shapes(prefix: str, found: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    """Refuse weights that lack a variable or have it in another shape.

    Args:
      prefix: where they come from, for messages.
      found: weights by name.
      expected: shapes by name.

    Raises:
      CheckpointError: they do not fit.
    """
    for name, shape in expected.items():
        if name not in found:
            raise CheckpointError(prefix, f"does not fit model.json: {name!r} is missing. Restore the folder whole.")
        if found[name].shape != shape:
            shapes = f"{found[name].shape} against {shape}"
            raise CheckpointError(prefix, f"does not fit model.json: {name!r} is {shapes}. Restore the folder whole.")
