"""The LSTM on top of the CNN."""

from __future__ import annotations

from keras import layers


class Encoder(layers.Layer):
    """One bidirectional LSTM (Hochreiter and Schmidhuber, 1997) over the feature columns.

    Args:
      units: width of each direction; the memory is 2 * units wide (M).
      unit_forget_bias: whether the forget gate starts open; aocr 0.7.6 starts it at 0.
    """

    def __init__(self, units: int, unit_forget_bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

        lstm = layers.LSTM(
            units, return_sequences=True, return_state=True, unit_forget_bias=unit_forget_bias, name="lstm"
        )
        self.lstm = layers.Bidirectional(lstm, name="lstm")

    def call(self, features, mask=None, training=False):
        """(B, S, F), mask (B, S) -> memory (B, S, M), final states (h, c, h, c), forward first."""
        memory, *states = self.lstm(features, mask=mask, training=training)
        return memory, tuple(states)
