"""The bidirectional LSTM on top of the CNN."""

from __future__ import annotations

from keras import layers, ops

from aocr.model.layers import collect_steps, step_reader


class Encoder(layers.Layer):
    """Bidirectional LSTM (Hochreiter and Schmidhuber, 1997) over the feature columns.

    The variables are those of Keras's layers. For speed the input's part of the gates is one product for all columns,
    and both directions share a loop. `units` is the width of each direction (U); the memory is 2 * units wide (M).
    """

    def __init__(self, units: int, unit_forget_bias: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units = units
        lstm = layers.LSTM(
            units, return_sequences=True, return_state=True, unit_forget_bias=unit_forget_bias, name="lstm"
        )
        self.lstm = layers.Bidirectional(lstm, name="lstm")

    def build(self, features_shape):
        self.lstm.build(features_shape)

    def call(self, features, mask=None, training=False):
        """Encode features (B, S, F), mask (B, S) -> memory (B, S, M), final states (h, c, h, c), forward first.

        Padding columns of the memory are zero, and the backward direction starts at the image's last column.
        """
        cells = self.lstm.forward_layer.cell, self.lstm.backward_layer.cell
        kernel = ops.concatenate([cell.kernel for cell in cells], axis=1)
        gates = ops.matmul(features, kernel) + ops.concatenate([cell.bias for cell in cells], axis=0)  # (B, S, 8U)
        forward, backward = ops.split(gates, 2, axis=2)
        gates = ops.transpose(ops.stack([forward, ops.flip(backward, axis=1)]), (2, 0, 1, 3))  # (S, 2, B, 4U)
        recurrent = ops.concatenate([cell.recurrent_kernel[None] for cell in cells], axis=0)  # (2, U, 4U)
        if mask is not None:
            mask = ops.cast(mask, features.dtype)
            mask = ops.transpose(ops.stack([mask, ops.flip(mask, axis=1)]), (2, 0, 1))[..., None]  # (S, 2, B, 1)

        gates_at = step_reader(gates)

        def step(i, state):
            h, c = state
            into, keep, new, out = ops.split(gates_at(i) + ops.matmul(h, recurrent), 4, axis=2)
            c = ops.sigmoid(keep) * c + ops.sigmoid(into) * ops.tanh(new)
            h = ops.sigmoid(out) * ops.tanh(c)
            if mask is not None:
                h, c = h * mask[i], c * mask[i]
            return (h,), (h, c)

        start = ops.zeros_like(gates[0, :, :, : self.units])
        (hidden,), (h, c) = collect_steps(step, (start, start), ops.shape(gates)[0])  # (S, 2, B, U)
        hidden = ops.transpose(hidden, (1, 2, 0, 3))  # (2, B, S, U)
        memory = ops.concatenate([hidden[0], ops.flip(hidden[1], axis=1)], axis=2)
        return memory, (h[0], c[0], h[1], c[1])
