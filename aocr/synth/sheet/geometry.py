"""The camera: a homography from a flat sheet to the image, with margins around the word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from aocr.synth.sheet.layout import Sheet

MAX_WIDTH = 640
"""Maximum width of an image in pixels for up to 20 characters; proportionally more for longer texts."""


@dataclass(frozen=True)
class Geometry:
    """How far the camera may deviate from a frontal view."""

    angle: float = 2.2
    """Standard deviation of the angle, degrees."""
    steep: float = 0.12
    """Share of words at 10 to 35 degrees; less for long words, which would be too small in their crop."""
    shear: float = 0.06
    """Standard deviation of the slant."""
    stretch: float = 0.15
    """Standard deviation of the logarithm of the aspect ratio."""
    narrow: float = 0.15
    """Share of words narrowed, as if seen from one side."""
    perspective: float = 0.15
    """Standard deviation of the difference in size between the two ends."""
    tight: float = 0.45
    """Share of crops close to the word."""
    loose: float = 0.15
    """Share of crops with wide margins."""
    cut: float = 0.06
    """Share of sides where the word is slightly cut off."""
    filled: float = 0.0
    """Share of texts of up to three characters that fill the crop and are cut off at its edges."""


@dataclass(frozen=True)
class View:
    """An image's size and its perspective on the sheet."""

    size: tuple[int, int]
    """(width, height) in pixels."""
    inverse: tuple[float, ...]
    """Pillow's eight coefficients from image to sheet coordinates."""

    def show(self, sheet: Image.Image, sharp: bool = False) -> Image.Image:
        """Transform the sheet into the image; `sharp` takes twice as long."""
        kind = Image.Resampling.BICUBIC if sharp else Image.Resampling.BILINEAR
        return sheet.transform(self.size, Image.Transform.PERSPECTIVE, self.inverse, kind)


def _matrix(rng: Random, geometry: Geometry, width: float, height: float) -> np.ndarray:
    """Return a random (3, 3) matrix of stretch, slant and perspective, then a rotation about the origin."""
    kind = rng.random()
    spread = geometry.angle if kind < 0.65 else 3 * geometry.angle
    angle = math.radians(rng.gauss(0, spread))
    if kind > 1 - geometry.steep:
        angle = math.radians(rng.choice((-1, 1)) * rng.uniform(10, max(12, min(35, 150 * height / width))))
    shear = rng.gauss(0, geometry.shear) if rng.random() < 0.75 else rng.gauss(0, 4 * geometry.shear)
    stretch = math.exp(rng.gauss(0, geometry.stretch))
    if rng.random() < geometry.narrow:
        stretch *= rng.uniform(0.5, 0.9)
    strength = 1.3 if rng.random() < 0.35 else 0
    horizontal = rng.gauss(0, geometry.perspective) * (3 if rng.random() < 0.2 else 1)
    horizontal = max(-0.5, min(0.5, horizontal)) / max(width, 40)
    vertical = rng.gauss(0, geometry.perspective) * strength * 0.7 / max(height, 30)
    rotation = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    return rotation @ np.array([[stretch, shear, 0], [0, 1, 0], [horizontal, vertical, 1]])


def _margin(rng: Random, geometry: Geometry, kind: float) -> float:
    """Choose the margin at one side, in word heights; if it is negative, the word is cut off."""
    if rng.random() < geometry.cut:
        return -rng.uniform(0, 0.08)
    if kind < geometry.tight:
        return abs(rng.gauss(0, 0.06))
    return rng.uniform(0.08, 0.45) if kind > 1 - geometry.loose else abs(rng.gauss(0, 0.15))


def random_view(rng: Random, geometry: Geometry, sheet: Sheet, height: int, num_chars: int) -> View:
    """Choose a random view of the word on a sheet, for an image `height` pixels high."""
    left, top, right, bottom = sheet.box
    centre = np.array([[1, 0, -sheet.letters.width / 2], [0, 1, -sheet.letters.height / 2], [0, 0, 1.0]])
    matrix = _matrix(rng, geometry, right - left, bottom - top) @ centre
    corners = matrix @ np.array([[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1.0]])
    corners = corners[:2] / corners[2]
    (x0, y0), (x1, y1) = corners.min(1), corners.max(1)
    word_height, kind = y1 - y0, rng.random()
    margins = [
        max(min(_margin(rng, geometry, kind) * word_height, most), least)
        for least, most in zip(sheet.min_margins, sheet.max_margins, strict=True)
    ]
    if num_chars <= 3 and rng.random() < geometry.filled:
        margins = [-rng.uniform(0, 0.15) * min(word_height, (x1 - x0) / num_chars) for _ in margins]
    x0, x1, y0, y1 = x0 - margins[0], x1 + margins[2], y0 - margins[1], y1 + margins[3]
    width = int(min(max((x1 - x0) * height / (y1 - y0), 12), MAX_WIDTH * max(1, num_chars / 20)))
    scale_x, scale_y = width / (x1 - x0), height / (y1 - y0)
    crop = np.array([[scale_x, 0, -x0 * scale_x], [0, scale_y, -y0 * scale_y], [0, 0, 1]])
    inverse = np.linalg.inv(crop @ matrix)
    return View((width, height), tuple((inverse / inverse[2, 2]).ravel()[:8].tolist()))
