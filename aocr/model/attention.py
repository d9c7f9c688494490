"""Additive attention over the memory, guided by the CTC head's symbol counts."""

from __future__ import annotations

from keras import layers, ops

MAX_OFFSET = 4
"""Each offset from -MAX_OFFSET to MAX_OFFSET symbols has a bias."""
INITIAL_BIAS = 6.0
"""Initial bias of the columns where the next symbol is expected."""


class AdditiveAttention(layers.Layer):
    """Additive attention: e = v . tanh(U m + Q q + b), weights = softmax(e), context = sum of weights * m.

    Bahdanau, Cho and Bengio, 2015 ("Neural machine translation by jointly learning to align and translate"),
    in the form of Vinyals et al., 2015, which aocr 0.7.6 used. The keys U m are the same at every step, so the caller
    computes them once per image.

    Guided attention adds to e a learned function of each column's distance, in symbols, from the expected position
    (see `symbol_counts`). Initially it prefers the next symbol. This resembles location-aware attention (Chorowski et
    al., 2015), but a distance in symbols is the same for narrow and wide letters. `units` is A.
    """

    def __init__(self, units: int, ctc_guided: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.ctc_guided = units, ctc_guided
        self.supports_masking = True
        self.query = layers.Dense(units, name="query")

    def build(self, memory_shape, keys_shape, query_shape):
        self.query.build(query_shape)
        self.v = self.add_weight(shape=(self.units, 1), initializer="glorot_uniform", name="v")
        if self.ctc_guided:
            # saved weights call it "lead"
            self.offset_bias = self.add_weight(shape=(2 * MAX_OFFSET + 2,), initializer=_initial_bias, name="lead")

    def _position_bias(self, ahead):
        """Map symbols ahead of the expected position (B, S) to the bias added to e (B, S)."""
        ahead = ahead[..., None]
        near = ops.exp(-2.0 * ops.square(ahead - ops.arange(-MAX_OFFSET, MAX_OFFSET + 1, dtype="float32")))
        far = ops.clip(ahead / (2.0 * MAX_OFFSET), -1.0, 1.0)
        return ops.sum(ops.concatenate([near, far], axis=-1) * self.offset_bias, axis=-1)

    def call(self, memory, keys, query, mask=None, ahead=None):
        """Compute one step of attention.

        Args:
          memory: (B, S, M).
          keys: (B, S, A).
          query: (B, Q).
          mask: (B, S) boolean or None.
          ahead: (B, S), each column's symbols ahead of the expected position; None without guidance.

        Returns:
          Context (B, M), weights (B, S).
        """
        hidden = ops.tanh(keys + self.query(query)[:, None, :])
        scores = ops.squeeze(ops.matmul(hidden, self.v), axis=-1)  # (B, S, A) -> (B, S)
        if ahead is not None:
            scores = scores + self._position_bias(ahead)
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        weights = ops.softmax(scores)
        context = ops.squeeze(ops.matmul(weights[:, None, :], memory), axis=1)  # (B, 1, M) -> (B, M)
        return context, weights


def _initial_bias(shape, dtype=None):
    is_next_symbol = ops.equal(ops.arange(shape[0]), MAX_OFFSET)
    return ops.where(is_next_symbol, INITIAL_BIAS, 0.0)


def symbol_counts(ctc_logits, mask, from_right: bool):
    """Estimate from the CTC head how many symbols have begun up to each column.

    The count is the running sum of the probability that a column's symbol is not blank and differs from the previous
    column's. Gradients do not flow through it.

    Args:
      ctc_logits: (B, S, V), blank first.
      mask: (B, S) boolean.
      from_right: count from the right, for right-to-left scripts.

    Returns:
      (B, S) float32.
    """
    probabilities = ops.softmax(ops.cast(ctc_logits, "float32"))[..., 1:] * ops.cast(mask, "float32")[..., None]
    probabilities = ops.flip(probabilities, axis=1) if from_right else probabilities
    previous = ops.pad(probabilities[:, :-1], ((0, 0), (1, 0), (0, 0)))
    counts = ops.cumsum(ops.sum(probabilities * (1.0 - previous), axis=-1), axis=1)
    return ops.stop_gradient(ops.flip(counts, axis=1) if from_right else counts)


def next_position(position, ahead, weights):
    """Advance the reading position, in symbols.

    It moves by one symbol, corrected by where attention was among the nearby columns; distant columns have no effect.

    Args:
      position: (B,) before the step.
      ahead: (B, S), each column's distance from position + 1.
      weights: (B, S), the step's attention.
    """
    near = weights * ops.exp(-0.5 * ops.square(ahead))
    return position + 1.0 + ops.sum(near * ahead, axis=1) / (ops.sum(near, axis=1) + 0.1)
