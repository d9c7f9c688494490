"""The whole network, built from a ModelConfig."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.model.attention import symbol_counts
from aocr.model.classic import ClassicCNN
from aocr.model.cnn import ResidualCNN, column_mask
from aocr.model.decoder import Decoder, Memory
from aocr.model.encoder import Encoder
from aocr.model.layers import collect_steps
from aocr.results import Reading
from aocr.text.charset import PAD
from aocr.text.ctc import column_log_probs
from aocr.text.search import Constraint, search

NO_SYMBOL = -30.0
"""CTC logit of every symbol on padding between two bands, where that of the blank is 0."""


class Recognizer(keras.Model):
    """CNN, bidirectional LSTM and attention decoder.

    Args:
      config: determines every shape.
      cnn_dtype: dtype policy of the convolutions, which are nearly all of the work; the rest is float32.
    """

    def __init__(self, config: ModelConfig, cnn_dtype: str = "float32"):
        super().__init__(name="recognizer")
        self.config, self.cnn_dtype = config, cnn_dtype
        traits = config.traits
        units = attention_units = config.attn_num_hidden
        if traits.wide_encoder:
            units *= config.attn_num_layers
            attention_units = 2 * units
        if traits.residual_cnn:
            self.cnn = ResidualCNN(config.height, config.bands, cnn_dtype, name="cnn")
        else:
            self.cnn = ClassicCNN(config.height, cnn_dtype, name="cnn")
        self.encoder = Encoder(units, unit_forget_bias=traits.forget_bias, name="encoder")
        self.key = layers.Dense(attention_units, use_bias=False, name="key")
        self.decoder = Decoder(config, attention_units, name="decoder")
        self.ctc = layers.Dense(config.charset.vocabulary_size, name="ctc") if traits.ctc else None

    def _encode(self, images, widths, training: bool = False) -> tuple:
        """Return the memory, and the CTC logits (B, S, V) or None without a CTC head; S columns of all bands."""
        ops, bands = keras.ops, self.config.bands
        features = self.cnn(images, widths, training=training)
        if self.ctc is None:
            values, states = self.encoder(features, training=training)
            return Memory(values, self.key(values), None, states), None
        mask = column_mask(widths, ops.shape(features)[1], COLUMN_PIXELS)
        mask = mask if bands == 1 else ops.repeat(mask, bands, axis=0)
        values, states = self.encoder(features, mask=mask, training=training)
        ctc_logits = self.ctc(features)  # from `features`: alignment is learned sooner without the LSTM in between
        if bands > 1:
            values, mask, ctc_logits = map(self._in_succession, (values, mask, ctc_logits))
            is_blank = ops.arange(self.config.charset.vocabulary_size) == PAD
            ctc_logits = ops.where(mask[..., None], ctc_logits, ops.where(is_blank, 0.0, NO_SYMBOL))
        counts = symbol_counts(ctc_logits, mask, self.config.charset.right_to_left)
        return Memory(values, self.key(values), mask, states, counts), ctc_logits

    def _in_succession(self, x):
        """Join the bands of an image in reading order: (B * R, S, ...) -> (B, R * S, ...).

        From the top, or for right-to-left scripts from the bottom, so that a line's last column is next to the first
        of the line below.
        """
        bands, columns, rest = self.config.bands, keras.ops.shape(x)[1], x.shape[2:]
        x = keras.ops.reshape(x, (-1, bands, columns, *rest))
        if self.config.charset.right_to_left:
            x = keras.ops.flip(x, axis=1)
        return keras.ops.reshape(x, (-1, bands * columns, *rest))

    def encode(self, images, widths) -> tuple:
        """Encode images (B, H, W, C), W a multiple of 4, with valid widths (B,).

        Returns the memory, and the `column_log_probs` of the CTC head or None if it takes no part in reading.
        """
        memory, logits = self._encode(images, widths)
        if not self.config.ctc_weight:
            return memory, None
        return memory, column_log_probs(keras.ops, logits, memory.mask, self.config.charset.right_to_left)

    def call(self, images, widths, tokens, training: bool = False):
        """Compute the logits of given texts (teacher forcing).

        Args:
          images: (B, H, W, C) float32.
          widths: (B,) int32, valid pixels.
          tokens: (B, T) int32, GO and the label's symbols.
          training: use dropout and batch statistics.

        Returns:
          Logits (B, T, V), attention (B, T, S), and CTC logits (B, S, V) or None without a CTC head.
        """
        memory, ctc_logits = self._encode(images, widths, training=training)
        logits, attention = self.decoder(memory, tokens, training=training)
        return logits, attention, ctc_logits

    def read(
        self,
        images,
        widths,
        *,
        temperatures: Sequence = (1.0,),
        beam: int = 1,
        constraints: Sequence[Constraint] = (),
        stop_early: bool = True,
    ) -> Reading:
        """Read a batch; images and widths as for `call`, other arguments as for `search`."""
        memory, log_probs = self.encode(images, widths)
        return search(
            keras.ops,
            collect_steps,
            self.decoder,
            memory,
            self.config.max_steps,
            temperatures=temperatures,
            beam=beam,
            constraints=constraints,
            free_symbols=self.config.traits.free_symbols,
            stop_early=stop_early,
            ctc_log_probs=log_probs,
            ctc_weight=self.config.ctc_weight,
        )


def build_recognizer(config: ModelConfig, cnn_dtype: str = "float32") -> Recognizer:
    """Create a recognizer with all variables built. Set the seed first (`keras.utils.set_random_seed`)."""
    model = Recognizer(config, cnn_dtype)
    images = keras.ops.zeros((1, config.height, 32, config.channels))
    model(images, keras.ops.full((1,), 32, dtype="int32"), keras.ops.ones((1, 2), dtype="int32"))
    return model
