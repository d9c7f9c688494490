"""Additive attention over the memory, guided along the text by the CTC head's count of symbols."""

from __future__ import annotations

from keras import layers, ops

MAX_OFFSET = 4
"""Offsets from -MAX_OFFSET to MAX_OFFSET symbols have a bias of their own."""
FIRST_BIAS = 6.0
"""Bias at the start of training of the columns where the next symbol is expected."""


class AdditiveAttention(layers.Layer):
    """e = v . tanh(U m + Q q + b), weights = softmax(e), context = sum of weights * m.

    Bahdanau, Cho and Bengio, 2015 ("Neural machine translation by jointly learning to align and translate"),
    in the form of Vinyals et al., 2015, which aocr 0.7.6 used.

    The keys U m are the same at every step, so that the caller computes them once an image.

    A guided attention adds to e a learned function of how many symbols ahead of the last place read each column is (see
    `symbol_counts`); at first it prefers the next symbol. In the manner of location-aware attention (Chorowski et
    al., 2015), but measured in symbols, which makes it the same for narrow and for wide letters.

    Args:
      units: width of the comparison (A).
      ctc_guided: whether the count of symbols guides it.
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
            # the stored name is older than the attribute's
            self.offset_bias = self.add_weight(shape=(2 * MAX_OFFSET + 2,), initializer=_first_bias, name="lead")

    def _bias_at(self, ahead):
        """(B, S) symbols ahead of the expected place -> (B, S), what that adds to e."""
        ahead = ahead[..., None]
        near = ops.exp(-2.0 * ops.square(ahead - ops.arange(-MAX_OFFSET, MAX_OFFSET + 1, dtype="float32")))
        far = ops.clip(ahead / (2.0 * MAX_OFFSET), -1.0, 1.0)
        return ops.sum(ops.concatenate([near, far], axis=-1) * self.offset_bias, axis=-1)

    def call(self, memory, keys, query, mask=None, ahead=None):
        """Attend once.

        Args:
          memory: (B, S, M).
          keys: (B, S, A).
          query: (B, Q).
          mask: (B, S) boolean or None.
          ahead: (B, S) symbols that each column is ahead of the place expected; None where nothing guides.

        Returns:
          Context (B, M), weights (B, S).
        """
        hidden = ops.tanh(keys + self.query(query)[:, None, :])
        scores = ops.squeeze(ops.matmul(hidden, self.v), axis=-1)  # (B, S, A) -> (B, S)
        if ahead is not None:
            scores = scores + self._bias_at(ahead)
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        weights = ops.softmax(scores)
        context = ops.squeeze(ops.matmul(weights[:, None, :], memory), axis=1)  # (B, 1, M) -> (B, M)
        return context, weights


def _first_bias(shape, dtype=None):
    here = ops.equal(ops.arange(shape[0]), MAX_OFFSET)
    return ops.where(here, FIRST_BIAS, 0.0)


def symbol_counts(ctc_logits, mask, from_right: bool):
    """How many symbols have begun up to each column, by the CTC head: the chance that a column's symbol is not blank
    and not the one of the column before, summed up. A constant for the gradient.

    Args:
      ctc_logits: (B, S, V), blank first.
      mask: (B, S) boolean.
      from_right: whether to count from the right, for scripts that run to the left.

    Returns:
      (B, S) float32.
    """
    chances = ops.softmax(ops.cast(ctc_logits, "float32"))[..., 1:] * ops.cast(mask, "float32")[..., None]
    chances = ops.flip(chances, axis=1) if from_right else chances
    before = ops.pad(chances[:, :-1], ((0, 0), (1, 0), (0, 0)))
    counts = ops.cumsum(ops.sum(chances * (1.0 - before), axis=-1), axis=1)
    return ops.stop_gradient(ops.flip(counts, axis=1) if from_right else counts)


def next_place(place, ahead, weights):
    """Where reading stands after a step, in symbols.

    One symbol on, set right by where attention was among the columns near there; far ones do not pull.

    Args:
      place: (B,) before the step.
      ahead: (B, S), of each column from place + 1.
      weights: (B, S), the step's attention.
    """
    near = weights * ops.exp(-0.5 * ops.square(ahead))
    return place + 1.0 + ops.sum(near * ahead, axis=1) / (ops.sum(near, axis=1) + 0.1)
