"""Turn a reader's arrays into predictions, with a box for each character."""

from __future__ import annotations

import numpy as np

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.reading.boxes import character_boxes
from aocr.reading.reader import Pixels
from aocr.results import NEVER, Alternative, Character, Prediction, Reading
from aocr.text.charset import EOS, NUM_SPECIALS


def to_predictions(
    reading: Reading, pixels: Pixels, config: ModelConfig, num_alternatives: int = 0
) -> list[Prediction]:
    """Return the Predictions of a batch of images, each with up to `num_alternatives` other readings."""
    return [_prediction(reading, b, pixels, config, num_alternatives) for b in range(len(pixels.widths))]


def _original_boxes(boxes: np.ndarray, width: float, height: float, scale: float, turn: str) -> np.ndarray:
    """Convert boxes (T, 4) in a turned image, scaled by 1 / `scale` to (width, height), to original pixels."""
    x0, y0, x1, y1 = np.clip(boxes, 0, [width, height, width, height]).T * scale
    if turn == "left":
        x0, y0, x1, y1 = height * scale - y1, x0, height * scale - y0, x1
    elif turn == "right":
        x0, y0, x1, y1 = y0, width * scale - x1, y1, width * scale - x0
    return np.stack([x0, x1, y0, y1], axis=1).round(1)


def _prediction(reading: Reading, b: int, pixels: Pixels, config: ModelConfig, num_alternatives: int) -> Prediction:
    charset, scale, width = config.charset, float(pixels.scales[b]), int(pixels.widths[b])
    image = pixels.images[b][:, :width]
    rows = np.flatnonzero(image.any(axis=(1, 2)))  # a shrunk image has padding of exactly 0 above and below
    image = image[rows[0] : rows[-1] + 1] if len(rows) else image
    ids, attention = reading.ids[b], reading.attention[b]
    if config.bands > 1 and charset.right_to_left:  # they are read from the bottom
        attention = attention.reshape(len(ids), config.bands, -1)[:, ::-1].reshape(attention.shape)
    ends = np.flatnonzero(ids == EOS)
    steps = int(ends[0]) + 1 if len(ends) else len(ids)
    written = [t for t in range(steps) if ids[t] >= NUM_SPECIALS]
    boxes = _original_boxes(
        character_boxes(attention[written], image, config), width, image.shape[0], scale, config.turn
    )
    characters = tuple(
        Character(charset.decode([ids[t]]), float(reading.probabilities[b, t]), *box.tolist())
        for t, box in zip(written, boxes, strict=True)
    )
    size = round(width * scale), round(image.shape[0] * scale)
    image_width, image_height = size if config.turn == "none" else size[::-1]
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
        image_height=image_height,
        column_width=COLUMN_PIXELS * scale,
        bands=config.bands,
        turn=config.turn,
        alternatives=tuple(alternatives[:num_alternatives]),
        uncalibrated=float(np.exp(reading.log_probs[b, 0, 0])),
    )
