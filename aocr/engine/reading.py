"""From the network's tensors to predictions."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from aocr.charset import EOS, NUM_SPECIALS, Charset
from aocr.config import COLUMN_PIXELS, IMAGE_HEIGHT, ModelConfig
from aocr.model.recognizer import Recognizer
from aocr.results import Character, Prediction

MASS = 0.8
"""Share of a character's attention that its box holds."""


class Reader:
    """The compiled reading functions of a model: one trace each, whatever the batch's shape.

    Args:
      model: to read with.
      config: of the model.
    """

    def __init__(self, model: Recognizer, config: ModelConfig):
        images = tf.TensorSpec((None, IMAGE_HEIGHT, None, config.channels), tf.float32)
        widths = tf.TensorSpec((None,), tf.int32)
        ids = tf.TensorSpec((None, None), tf.int32)
        weights = tf.TensorSpec((None, None), tf.float32)
        self.read = tf.function(model.read, input_signature=(images, widths))

        def log_likelihood(images, widths, tokens, targets, weights):
            logits, *_ = model(images, widths, tokens)
            picked = tf.gather(tf.nn.log_softmax(logits), targets, axis=2, batch_dims=2)  # (B, T, V) -> (B, T)
            return tf.reduce_sum(picked * weights, 1)

        self.log_likelihood = tf.function(log_likelihood, input_signature=(images, widths, ids, ids, weights))


def padded_width(width):
    """Width a batch is padded to whose widest image is `width` pixels: the next multiple of 16."""
    return (width + 15) // 16 * 16


def _box(weights: np.ndarray, column_width: float, image_width: int) -> tuple[float, float]:
    """Edges of the narrowest middle that holds `MASS` of a row of attention, in original pixels."""
    total = np.concatenate([[0.0], np.cumsum(weights)])
    total /= max(total[-1], 1e-9)
    edges = np.interp([(1 - MASS) / 2, (1 + MASS) / 2], total, np.arange(len(total)))
    x0, x1 = np.clip(edges * column_width, 0, image_width)
    return round(float(x0), 1), round(float(x1), 1)


def to_prediction(
    ids: np.ndarray,
    probabilities: np.ndarray,
    attention: np.ndarray,
    confidence: float,
    scale: float,
    image_width: int,
    charset: Charset,
) -> Prediction:
    """One image's part of a `Reading` as a Prediction.

    Args:
      ids: (T,) chosen symbols.
      probabilities: (T,) of each.
      attention: (T, S).
      confidence: of the text and its end.
      scale: original pixels that a pixel of the network's image spans.
      image_width: original width in pixels.
      charset: of the model.
    """
    ends = np.flatnonzero(ids == EOS)
    steps = int(ends[0]) + 1 if len(ends) else len(ids)
    column_width = COLUMN_PIXELS * float(scale)
    characters = tuple(
        Character(charset.decode([ids[t]]), float(probabilities[t]), *_box(attention[t], column_width, image_width))
        for t in range(steps)
        if ids[t] >= NUM_SPECIALS
    )
    return Prediction(
        text=charset.decode(ids),
        confidence=float(confidence),
        characters=characters,
        attention=attention[:steps],
        image_width=image_width,
        column_width=column_width,
    )
