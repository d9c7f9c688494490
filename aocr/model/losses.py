"""The training losses."""

from __future__ import annotations

from keras import ops

from aocr.model.ctc import ctc_losses
from aocr.text.charset import PAD


def sequence_loss(logits, targets, weights):
    """Compute the cross-entropy, summed over symbols.

    Args:
      logits: (B, T, V).
      targets: (B, T) int, the symbols and EOS.
      weights: (B, T), 1 on symbols and EOS, 0 on padding.

    Returns:
      A float32 scalar.
    """
    log_probs = ops.log_softmax(ops.cast(logits, "float32"))
    picked = ops.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]  # (B, T, V) -> (B, T)
    return -ops.sum(picked * weights)


def ctc_loss(logits, columns, targets, lengths, from_right: bool = False):
    """Compute the CTC loss (see `ctc_losses`), summed over images; blank is PAD.

    The loss of an image with too few columns for its label, or a negative length, is 0.

    Args:
      logits: (B, S, V).
      columns: (B,) int, valid columns of each image.
      targets: (B, T) int, the symbols without EOS, then any padding.
      lengths: (B,) int, number of symbols.
      from_right: the first symbol is at the right end.
    """
    if from_right:
        reversed_index = lengths[:, None] - 1 - ops.arange(ops.shape(targets)[1], dtype="int32")[None, :]
        targets = ops.take_along_axis(targets, ops.maximum(reversed_index, 0), axis=1)
    inside = ops.arange(ops.shape(targets)[1], dtype="int32")[None, :] < lengths[:, None]
    targets = ops.where(inside, targets, PAD)
    repeats = ops.sum(ops.cast((targets[:, 1:] == targets[:, :-1]) & inside[:, 1:], "int32"), axis=1)
    possible = (columns >= lengths + repeats) & (lengths >= 0)
    lengths = ops.where(possible, lengths, 0)  # an impossible label would give an infinite loss
    int32 = (ops.cast(value, "int32") for value in (columns, targets, lengths))
    losses = ctc_losses(ops.cast(logits, "float32"), *int32)
    return ops.sum(ops.where(possible, losses, 0.0))
