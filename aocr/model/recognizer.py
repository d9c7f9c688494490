"""The whole network, wired from a ModelConfig."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.model.attention import symbol_counts
from aocr.model.cnn import ClassicCNN, ResidualCNN, column_mask, num_columns
from aocr.model.decoder import Decoder, Memory
from aocr.model.decoding import Constraint, Reading, search
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
        self.cnn = ClassicCNN(cnn_dtype, name="cnn") if classic else ResidualCNN(config.height, cnn_dtype, name="cnn")
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

    def _encode(self, images, widths, training: bool = False) -> tuple:
        """Memory, and CTC logits (B, S, V) or None (classic)."""
        features = self.cnn(images, widths, training=training)
        if self.ctc is None:
            values, states = self.encoder(features, training=training)
            return Memory(values, self.key(values), None, states), None
        mask = column_mask(widths, keras.ops.shape(features)[1], COLUMN_PIXELS)
        values, states = self.encoder(features, mask=mask, training=training)
        ctc_logits = self.ctc(features)  # not of `values`: what stands where is learnt sooner without the LSTM between
        counts = symbol_counts(ctc_logits, mask, self.config.charset.right_to_left)
        return Memory(values, self.key(values), mask, states, counts), ctc_logits

    def encode(self, images, widths) -> Memory:
        """Images (B, H, W, C), W a multiple of 4 (classic: any), valid widths (B,) -> memory of S columns."""
        return self._encode(images, widths)[0]

    def call(self, images, widths, tokens, training: bool = False):
        """Teacher forcing.

        Args:
          images: (B, H, W, C) float32, H the network's height.
          widths: (B,) int32 valid pixels of each.
          tokens: (B, T) int32, GO and the label's symbols.
          training: dropout and batch statistics on.

        Returns:
          Logits (B, T, V), attention (B, T, S), and CTC logits (B, S, V) or None (classic).
        """
        memory, ctc_logits = self._encode(images, widths, training=training)
        logits, attention = self.decoder(memory, tokens, training=training)
        return logits, attention, ctc_logits

    def read(
        self,
        images,
        widths,
        *,
        temperatures: Sequence[float] = (1.0,),
        beam: int = 1,
        constraints: Sequence[Constraint] = (),
        stop_early: bool = True,
    ) -> Reading:
        """Read a batch; images and widths as for `call`, the rest as for `search`."""
        upstream = self.config.arch == "classic"
        return search(
            self.decoder,
            self.encode(images, widths),
            self.max_steps,
            temperatures=temperatures,
            beam=beam,
            constraints=constraints,
            upstream=upstream,
            stop_early=stop_early,
        )

    @property
    def max_steps(self) -> int:
        """Limit on the steps of a text, its end counted; aocr 0.7.6 did one more."""
        return self.config.max_prediction + (2 if self.config.arch == "classic" else 1)


def build_recognizer(config: ModelConfig, cnn_dtype: str = "float32") -> Recognizer:
    """A recognizer with all its variables made. Set the seed first (`keras.utils.set_random_seed`)."""
    model = Recognizer(config, cnn_dtype)
    images = keras.ops.zeros((1, config.height, 32, config.channels))
    model(images, keras.ops.full((1,), 32, dtype="int32"), keras.ops.ones((1, 2), dtype="int32"))
    return model


__all__ = ["Recognizer", "build_recognizer", "num_columns"]
