"""Read with the CTC head, and score a text with it (Graves et al., 2006).

Written once for Keras's tensors and for numpy's arrays: `ops` is a module with functions named as in `keras.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from aocr.results import NEVER
from aocr.text.charset import EOS, GO, PAD


def column_log_probs(ops: Any, logits, mask, from_right: bool):
    """Compute the log-probability of each symbol in each column, in reading order: (B, S, V) float32.

    `logits` (B, S, V) of the CTC head, PAD is the blank; `mask` (B, S), False on padding, which becomes blank for
    certain; GO and EOS are never read; `from_right`: the text begins at the right.
    """
    symbols = ops.arange(logits.shape[-1], dtype="int32")
    log_probs = ops.log_softmax(ops.cast(logits, "float32"))
    log_probs = ops.where((symbols == GO) | (symbols == EOS), NEVER, log_probs)
    log_probs = ops.where(mask[:, :, None], log_probs, ops.where(ops.equal(symbols, PAD), 0.0, NEVER))
    return ops.flip(log_probs, axis=1) if from_right else log_probs


def best_path(ops: Any, log_probs, max_steps: int):
    """Take the likeliest symbol of each column, merge repeats and drop blanks.

    (B, S, V) of `column_log_probs` -> (B, T = max_steps) int32, EOS after each text; a longer text is cut.
    """
    symbols = ops.cast(ops.top_k(log_probs, 1)[1][:, :, 0], "int32")  # (B, S)
    is_new = (symbols != PAD) & (symbols != ops.pad(symbols[:, :-1], ((0, 0), (1, 0))))
    columns = ops.cast(ops.arange(ops.shape(symbols)[1], dtype="int32"), "float32")
    order = ops.where(is_new, -columns[None], NEVER)
    order, symbols = (
        ops.pad(part, ((0, 0), (0, max_steps)), constant_values=fill) for part, fill in ((order, NEVER), (symbols, PAD))
    )
    _, places = ops.top_k(order, max_steps)
    text = ops.take_along_axis(symbols, ops.cast(places, "int32"), axis=1)
    length = ops.sum(ops.cast(is_new, "int32"), axis=1)
    steps, end = ops.arange(max_steps, dtype="int32")[None], ops.minimum(length, max_steps - 1)[:, None]
    return ops.cast(ops.where(steps < end, text, ops.where(ops.equal(steps, end), EOS, PAD)), "int32")


def text_log_probs(ops: Any, collect_steps: Callable, log_probs, ids):
    """Compute the log-probability of texts, summed over all alignments, column by column.

    The states of a text are its symbols with blanks around them, U = 2 T + 1. A text that does not fit into the
    columns gets `NEVER` or less.

    Args:
      ops: array functions, as in `keras.ops`.
      collect_steps: as in `aocr.model.layers`.
      log_probs: (B, S, V), of `column_log_probs`.
      ids: (B, N, T) int32, N texts of each image; what follows an EOS is ignored.

    Returns:
      (B, N) float32.
    """
    batch, count, steps = (ops.shape(ids)[axis] for axis in range(3))
    num_columns = ops.shape(log_probs)[1]
    is_symbol = ops.equal(ops.cumsum(ops.cast(ops.equal(ids, EOS), "int32"), axis=2), 0)
    symbols = ops.where(is_symbol, ids, PAD)
    states = ops.reshape(ops.stack([ops.zeros_like(symbols), symbols], axis=3), (batch, count, 2 * steps))
    states = ops.pad(states, ((0, 0), (0, 0), (0, 1)))  # (B, N, U)
    two_before = ops.pad(states[:, :, :-2], ((0, 0), (0, 0), (2, 0)))
    leaps = ops.where((states != PAD) & (states != two_before), 0.0, NEVER)  # over the blank before a state
    flat = ops.reshape(states, (batch, 1, -1))
    flat = ops.tile(flat, (1, num_columns, 1))
    emitted = ops.take_along_axis(log_probs, flat, axis=2)  # (B, S, N U)
    emitted = ops.reshape(ops.transpose(emitted, (1, 0, 2)), (-1, batch, count, 2 * steps + 1))

    def step(i, state):
        (stay,) = state
        padded = ops.pad(stay, ((0, 0), (0, 0), (2, 0)), constant_values=NEVER)
        move, leap = padded[:, :, 1:-1], padded[:, :, :-2] + leaps
        largest = ops.maximum(ops.maximum(stay, move), leap)
        total = ops.exp(stay - largest) + ops.exp(move - largest) + ops.exp(leap - largest)
        return (), (largest + ops.log(total) + emitted[i],)

    places = ops.arange(2 * steps + 1, dtype="int32")
    start = ops.zeros_like(leaps) + ops.where(ops.equal(places, 0), 0.0, NEVER)  # before the first column
    _, (reached,) = collect_steps(step, (start,), num_columns)
    last = 2 * ops.sum(ops.cast(is_symbol, "int32"), axis=2, keepdims=True)  # (B, N, 1)
    is_end = (places == last) | (places == last - 1)
    ends = ops.where(is_end, reached, -math.inf)
    largest = ops.max(ends, axis=2)
    return largest + ops.log(ops.sum(ops.exp(ends - largest[:, :, None]), axis=2))
