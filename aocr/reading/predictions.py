"""Turn a reader's arrays into predictions, with a box for each character."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.results import NEVER, Alternative, Character, Prediction, Reading
from aocr.text.charset import EOS, NUM_SPECIALS

BOX_SHARE = 0.8
"""Share of a character's attention inside its box."""

MIN_END = 0.5
"""Probability of the end of a text of the greatest length, below which the text was cut there."""


def _box(weights: np.ndarray, column_width: float, image_width: int) -> tuple[float, float]:
    """Return the left and right edge, in original pixels, between which `BOX_SHARE` of the attention lies."""
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    cumulative /= max(cumulative[-1], 1e-9)
    edges = np.interp([(1 - BOX_SHARE) / 2, (1 + BOX_SHARE) / 2], cumulative, np.arange(len(cumulative)))
    x0, x1 = np.clip(edges * column_width, 0, image_width)
    return round(float(x0), 1), round(float(x1), 1)


def to_predictions(
    reading: Reading,
    scales: Sequence[float] | np.ndarray,
    image_widths: Sequence[int],
    config: ModelConfig,
    num_alternatives: int = 0,
) -> list[Prediction]:
    """Return the Predictions of a batch, each with up to `num_alternatives` other readings.

    `image_widths` are in original pixels, `scales` in original pixels per pixel of the network's image.
    """
    images = zip(scales, image_widths, strict=True)
    return [_prediction(reading, b, *image, config, num_alternatives) for b, image in enumerate(images)]


def _prediction(
    reading: Reading, b: int, scale: float, image_width: int, config: ModelConfig, num_alternatives: int
) -> Prediction:
    charset, ids, attention = config.charset, reading.ids[b], reading.attention[b]
    ends = np.flatnonzero(ids == EOS)
    steps = int(ends[0]) + 1 if len(ends) else len(ids)
    ends_unwillingly = not len(ends) or reading.probabilities[b, steps - 1] < MIN_END  # at the limit the end is forced
    column_width = COLUMN_PIXELS * float(scale)
    characters = tuple(
        Character(
            charset.decode([ids[t]]), float(reading.probabilities[b, t]), *_box(attention[t], column_width, image_width)
        )
        for t in range(steps)
        if ids[t] >= NUM_SPECIALS
    )
    alternatives = [
        Alternative(charset.decode(beam), float(np.exp(log_probs[-1])))
        for beam, log_probs in zip(reading.beam_ids[b, 1:], reading.log_probs[b, 1:], strict=True)
        if log_probs[-1] > NEVER / 2
    ]
    return Prediction(
        text=charset.decode(ids),
        confidence=float(reading.confidence[b]),
        characters=characters,
        attention=attention[:steps],
        image_width=image_width,
        column_width=column_width,
        alternatives=tuple(alternatives[:num_alternatives]),
        cut=steps > config.max_prediction and bool(ends_unwillingly),
        uncalibrated=float(np.exp(reading.log_probs[b, 0, 0])),
    )
