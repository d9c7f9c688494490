"""Additive attention over the memory."""

from __future__ import annotations

from keras import layers, ops


class AdditiveAttention(layers.Layer):
    """e = v . tanh(U m + Q q + b), weights = softmax(e), context = sum of weights * m.

    Bahdanau, Cho and Bengio, 2015 ("Neural machine translation by jointly learning to align and translate"),
    in the form of Vinyals et al., 2015, which aocr 0.7.6 used.

    The keys U m are the same at every step, so that the caller computes them once an image.

    Args:
      units: width of the comparison (A).
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.supports_masking = True
        self.query = layers.Dense(units, name="query")

    def build(self, memory_shape, keys_shape, query_shape):
        self.query.build(query_shape)
        self.v = self.add_weight(shape=(self.units, 1), initializer="glorot_uniform", name="v")

    def call(self, memory, keys, query, mask=None):
        """Memory (B, S, M), keys (B, S, A), query (B, Q), mask (B, S) -> context (B, M), weights (B, S)."""
        hidden = ops.tanh(keys + self.query(query)[:, None, :])
        scores = ops.squeeze(ops.matmul(hidden, self.v), axis=-1)  # (B, S, A) -> (B, S)
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        weights = ops.softmax(scores)
        context = ops.squeeze(ops.matmul(weights[:, None, :], memory), axis=1)  # (B, 1, M) -> (B, M)
        return context, weights
