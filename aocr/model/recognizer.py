"""The whole network, wired from a ModelConfig."""

from __future__ import annotations

import keras
from keras import layers

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.model.cnn import ClassicCNN, ResidualCNN, column_mask, num_columns
from aocr.model.decoder import Decoder, Memory
from aocr.model.decoding import Reading, greedy
from aocr.model.encoder import Encoder


class Recognizer(keras.Model):
    """Sliding CNN, bidirectional LSTM, attention decoder.

    Args:
      config: fixes every shape.
      cnn_dtype: dtype policy of the convolutions, nearly all the cost; the rest runs in float32.
    """

    def __init__(self, config: ModelConfig, cnn_dtype: str = "float32"):
        super().__init__(name="recognizer")
        self.config, self.cnn_dtype = config, cnn_dtype
        classic = config.arch == "classic"
        units = config.attn_num_hidden * (config.attn_num_layers if classic else 1)
        self.cnn = (ClassicCNN if classic else ResidualCNN)(cnn_dtype, name="cnn")
        self.encoder = Encoder(units, unit_forget_bias=not classic, name="encoder")
        attention_units = 2 * units if classic else config.attn_num_hidden
        self.key = layers.Dense(attention_units, use_bias=False, name="key")
        self.decoder = Decoder(
            config.charset.vocabulary_size,
            config.attn_num_hidden,
            config.attn_num_layers,
            config.target_embedding_size,
            attention_units,
            use_gru=config.use_gru,
            classic=classic,
            name="decoder",
        )
        self.ctc = None if classic else layers.Dense(config.charset.vocabulary_size, name="ctc")

    def encode(self, images, widths, training: bool = False) -> Memory:
        """Images (B, 32, W, C), W a multiple of 4 (classic: any), valid widths (B,) -> memory of S columns."""
        features = self.cnn(images, widths, training=training)
        mask = (
            None if self.config.arch == "classic" else column_mask(widths, keras.ops.shape(features)[1], COLUMN_PIXELS)
        )
        values, states = self.encoder(features, mask=mask, training=training)
        return Memory(values, self.key(values), mask, states)

    def call(self, images, widths, tokens, training: bool = False):
        """Teacher forcing.

        Args:
          images: (B, 32, W, C) float32.
          widths: (B,) int32 valid pixels of each.
          tokens: (B, T) int32, GO and the label's symbols.
          training: dropout and batch statistics on.

        Returns:
          Logits (B, T, V), attention (B, T, S), and CTC logits (B, S, V) or None (classic).
        """
        memory = self.encode(images, widths, training=training)
        logits, attention = self.decoder(memory, tokens, training=training)
        return logits, attention, None if self.ctc is None else self.ctc(memory.values)

    def read(self, images, widths, stop_early: bool = True) -> Reading:
        """Greedy reading of a batch; arguments as for `call`."""
        steps = self.config.max_prediction + (2 if self.config.arch == "classic" else 1)
        return greedy(self.decoder, self.encode(images, widths), steps, stop_early)


def build_recognizer(config: ModelConfig, cnn_dtype: str = "float32") -> Recognizer:
    """A recognizer with all its variables made. Set the seed first (`keras.utils.set_random_seed`)."""
    model = Recognizer(config, cnn_dtype)
    images = keras.ops.zeros((1, 32, 32, config.channels))
    model(images, keras.ops.full((1,), 32, dtype="int32"), keras.ops.ones((1, 2), dtype="int32"))
    return model


__all__ = ["Recognizer", "build_recognizer", "num_columns"]
