"""Other views of an image, turned, levelled or stretched, whose readings are converted back to the image itself.

Angles are in degrees, counterclockwise.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from aocr.config import TURNS
from aocr.reading.predictions import turned_back
from aocr.report.pictures import levelled_size, positions
from aocr.results import Character, Prediction

HEIGHT, MAX_WIDTH = 32, 256
"""Size to which an image is scaled before its slope is found."""
ANGLES, FINER = sorted(range(-40, 41, 4), key=abs), (0, -2, 2)
"""Rotations that are tried, and then those near the best; of equally good ones the smallest counts."""
MIN_SLOPE = 6
"""Slopes below are left as they are."""


class View(NamedTuple):
    """One way to look at an image: one of the three."""

    turn: str = "none"
    """`left` or `right`: turned by 90 degrees."""
    angle: int = 0
    """Rotated around the middle, so that sloping text is level; what is above and below its line is cut off."""
    stretch: float = 1.0
    """Made wider by a factor."""

    def aspect(self, width: int, height: int) -> float:
        """Return the width of an image in its heights, as it looks in this view, roughly."""
        return height / width if self.turn != "none" else self.stretch * width / height

    def of(self, image: Image.Image) -> Image.Image:
        """Return an RGB image as it looks in this view."""
        if self.turn != "none":
            return image.rotate(90 * TURNS[self.turn], expand=True)
        if self.angle:
            return _level(image, self.angle)
        return image.resize((max(1, round(image.width * self.stretch)), image.height), Image.Resampling.BICUBIC)

    def back(self, prediction: Prediction, size: tuple[int, int]) -> Prediction:
        """Convert the reading of this view into that of the image, (width, height), itself; boxes contain theirs."""
        seen, ratio = (prediction.image_width, prediction.image_height), 1.0
        edges = np.array([(c.x0, c.x1, c.y0, c.y1) for c in prediction.characters]).reshape(-1, 4).T
        if self.turn != "none":
            x0, x1, y0, y1 = edges
            edges = np.array(turned_back(x0, x1, y0, y1, seen, self.turn))
        elif self.angle:
            x, y = positions(edges[[0, 1, 1, 0]], edges[[2, 2, 3, 3]], seen, size, -self.angle)
            edges = np.array([x.min(axis=0), x.max(axis=0), y.min(axis=0), y.max(axis=0)])
        else:
            ratio = size[0] / max(1, seen[0])
            edges[:2] *= ratio
        edges = np.clip(edges.T, 0, np.repeat(size, 2)).round(1).tolist()
        pairs = zip(prediction.characters, edges, strict=True)
        return replace(
            prediction,
            characters=tuple(Character(c.char, c.confidence, *places) for c, places in pairs),
            image_width=size[0],
            image_height=size[1],
            column_width=prediction.column_width * ratio,
            turn=self.turn,
            slope=self.angle,
        )


def slope_of(image: Image.Image) -> int:
    """Return the rotation that levels the text of an image, 0 if it hardly slopes.

    After it the rows differ most in ink, since letters and gaps are in rows of their own.
    """
    width = max(8, min(MAX_WIDTH, round(image.width * HEIGHT / image.height)))
    pixels = np.asarray(image.convert("RGB").resize((width, HEIGHT)), np.float32)
    ink = np.abs(pixels - np.median(pixels, axis=(0, 1))).max(axis=2)
    ink = np.minimum(ink / max(1.0, float(np.percentile(ink, 95))), 1.0)
    rough = max(ANGLES, key=lambda angle: _contrast(ink, angle))
    angle = max((rough + change for change in FINER), key=lambda angle: _contrast(ink, angle))
    return angle if abs(angle) >= MIN_SLOPE else 0


def _contrast(ink: np.ndarray, angle: int) -> float:
    """Return the sum of squared differences between neighbouring rows of the ink (H, W) after a rotation."""
    height, width = ink.shape
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rows = np.arange(height)[:, None] * cos - np.arange(width) * sin
    rows = (rows - rows.min()).ravel()
    above = rows.astype(int)
    share = rows - above
    length = above.max() + 2
    profile = np.bincount(above, ink.ravel() * (1 - share), length)
    profile += np.bincount(above + 1, ink.ravel() * share, length)
    return float((np.diff(np.convolve(profile, (0.25, 0.5, 0.25))) ** 2).sum())


def _level(image: Image.Image, angle: int) -> Image.Image:
    width, height = levelled_size(*image.size, angle)
    ground = tuple(int(value) for value in np.median(np.asarray(image), axis=(0, 1)))
    rotated = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=ground)
    left, top = (rotated.width - width) // 2, (rotated.height - height) // 2
    return rotated.crop((left, top, left + width, top + height))
