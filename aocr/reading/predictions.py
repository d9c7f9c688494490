"""Turn a reader's arrays into predictions, with a box for each character."""

from __future__ import annotations

from typing import Any

import numpy as np

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.reading.boxes import character_boxes
from aocr.reading.reader import Pixels, Reader
from aocr.results import NEVER, Alternative, Character, Prediction, Reading
from aocr.text.charset import EOS, NUM_SPECIALS

MIN_END = 0.5
"""Probability of EOS at the length limit below which the text was cut."""


def to_predictions(reading: Reading, pixels: Pixels, reader: Reader) -> list[Prediction]:
    """Return the Predictions of a batch that a reader has read, each with up to `num_alternatives` other readings."""
    predictions = (_prediction(reading, b, pixels, reader) for b in range(len(pixels.widths)))
    return list(map(reader.symbol_filter.apply, predictions))


def _locate(
    attention: np.ndarray, image: np.ndarray, scale: float, config: ModelConfig
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return x0, x1, y0 and y1 of each character in the original image, (T, 4), and that image's (width, height)."""
    rows = np.flatnonzero(image.any(axis=(1, 2)))  # a shrunk image has padding of exactly 0 above and below
    top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, len(image))
    width, height = image.shape[1] * scale, (bottom - top) * scale
    boxes = character_boxes(attention, image[top:bottom], config, top) * scale
    x0, y0, x1, y1 = np.clip(boxes, 0, (width, height, width, height)).T
    size = (width, height) if config.turn == "none" else (height, width)
    places = np.stack(turned_back(x0, x1, y0, y1, (width, height), config.turn), axis=1)
    return places.round(1), (round(size[0]), round(size[1]))


def turned_back(x0: Any, x1: Any, y0: Any, y1: Any, size: tuple[float, float], turn: str) -> tuple[Any, Any, Any, Any]:
    """Convert edges in a turned image of this (width, height) to those in the image before it was turned."""
    width, height = size
    if turn == "left":
        return height - y1, height - y0, x0, x1
    if turn == "right":
        return y0, y1, width - x1, width - x0
    return x0, x1, y0, y1


def _prediction(reading: Reading, b: int, pixels: Pixels, reader: Reader) -> Prediction:
    config, scale, width = reader.config, float(pixels.scales[b]), int(pixels.widths[b])
    charset = config.charset
    ids, attention = reading.ids[b], reading.attention[b]
    if config.bands > 1 and charset.right_to_left:  # they are read from the bottom
        attention = attention.reshape(len(ids), config.bands, -1)[:, ::-1].reshape(attention.shape)
    ends = np.flatnonzero(ids == EOS)
    steps = int(ends[0]) + 1 if len(ends) else len(ids)
    is_forced = not len(ends) or reading.probabilities[b, steps - 1] < MIN_END  # the end, at the limit
    written = [t for t in range(steps) if ids[t] >= NUM_SPECIALS]
    image = pixels.images[b][:, :width]
    boxes, (image_width, image_height) = _locate(attention[written], image, scale, config)
    characters = tuple(
        Character(charset.decode([ids[t]]), float(reading.probabilities[b, t]), *box.tolist())
        for t, box in zip(written, boxes, strict=True)
    )
    text = charset.decode(ids)
    alternatives = [
        Alternative(charset.decode(beam), float(np.exp(log_probs[-1])))
        for beam, log_probs in zip(reading.beam_ids[b, 1:], reading.log_probs[b, 1:], strict=True)
        if log_probs[-1] > NEVER / 2 and charset.decode(beam) != text
    ]
    return Prediction(
        text=text,
        confidence=float(reading.confidence[b]),
        characters=characters,
        attention=attention[:steps],
        image_width=image_width,
        image_height=image_height,
        column_width=COLUMN_PIXELS * scale,
        bands=config.bands,
        turn=config.turn,
        alternatives=tuple(alternatives[: reader.num_alternatives]),
        cut=steps > config.max_prediction and bool(is_forced),
        uncalibrated=float(np.exp(reading.log_probs[b, 0, 0])),
    )
