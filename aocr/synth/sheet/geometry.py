"""The camera's place: one homography from a flat sheet to the picture, with margins round the word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
MAX_WIDTH = 640
"""Pixels of the widest picture of up to 20 characters; longer texts have as many more."""


@dataclass(frozen=True)
class Geometry:
    """How far the camera may stand from straight before the word. Angles in degrees; others are ratios.

    Attributes:
      angle: deviation of the angle of most words.
      steep: share of words at any angle up to 28 degrees.
      shear: deviation of the slant.
      stretch: deviation of the logarithm of width to height.
      narrow: share of words seen from one side, and so narrower.
      perspective: deviation of the difference in size from one end to the other.
      tight, loose: shares of crops close to the word, and of those with much around it; the rest is between.
      cut: share of sides that are cut off a little too far in.
    """

    angle: float = 2.2
    steep: float = 0.09
    shear: float = 0.06
    stretch: float = 0.15
    narrow: float = 0.15
    perspective: float = 0.15
    tight: float = 0.45
    loose: float = 0.15
    cut: float = 0.06


@dataclass(frozen=True)
class View:
    """A picture's size and what it shows of the sheet.

    Attributes:
      size: (width, height) in pixels.
      inverse: the eight numbers that take a picture's point to the sheet's, as Pillow wants them.
    """

    size: tuple[int, int]
    inverse: tuple[float, ...]

    def show(self, sheet: Image.Image, sharp: bool = False) -> Image.Image:
        """The sheet as the camera sees it; `sharp` takes twice as long."""
        kind = Image.Resampling.BICUBIC if sharp else Image.Resampling.BILINEAR
        return sheet.transform(self.size, Image.Transform.PERSPECTIVE, self.inverse, kind)


def _matrix(rng: Random, geometry: Geometry, width: float, height: float) -> np.ndarray:
    """(3, 3) float64: stretch, slant and perspective, then a turn, about the origin."""
    kind = rng.random()
    spread = geometry.angle if kind < 0.65 else 3 * geometry.angle
    angle = math.radians(rng.uniform(-28, 28) if kind > 1 - geometry.steep else rng.gauss(0, spread))
    shear = rng.gauss(0, geometry.shear) if rng.random() < 0.75 else rng.gauss(0, 4 * geometry.shear)
    stretch = math.exp(rng.gauss(0, geometry.stretch))
    if rng.random() < geometry.narrow:
        stretch *= rng.uniform(0.5, 0.9)
    tall = 1.3 if rng.random() < 0.35 else 0
    across = rng.gauss(0, geometry.perspective) * (3 if rng.random() < 0.2 else 1)
    across, along = max(-0.5, min(0.5, across)), rng.gauss(0, geometry.perspective) * tall * 0.7
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    lean = np.array([[stretch, shear, 0], [0, 1, 0], [across / max(width, 40), along / max(height, 30), 1]])
    return turn @ lean


def _margin(rng: Random, geometry: Geometry, kind: float) -> float:
    """Space at one side, in heights of the word; below 0: the word is cut."""
    if rng.random() < geometry.cut:
        return -rng.uniform(0, 0.08)
    if kind < geometry.tight:
        return abs(rng.gauss(0, 0.06))
    return rng.uniform(0.08, 0.45) if kind > 1 - geometry.loose else abs(rng.gauss(0, 0.15))


def look_at(
    rng: Random,
    geometry: Geometry,
    sheet: tuple[int, int],
    box: Box,
    limits: Sequence[float],
    height: int,
    num_chars: int,
) -> View:
    """A view of the word.

    Args:
      rng: randomness.
      geometry: how far it may be from straight.
      sheet: (width, height) of the sheet in pixels.
      box: left, top, right, bottom of the word on it.
      limits: the most space to show at these sides, in pixels of the sheet: there other words begin.
      height: of the picture in pixels.
      num_chars: of the word.
    """
    left, top, right, bottom = box
    centre = np.array([[1, 0, -sheet[0] / 2], [0, 1, -sheet[1] / 2], [0, 0, 1.0]])
    matrix = _matrix(rng, geometry, right - left, bottom - top) @ centre
    corners = matrix @ np.array([[left, right, right, left], [top, top, bottom, bottom], [1, 1, 1, 1.0]])
    corners = corners[:2] / corners[2]
    (x0, y0), (x1, y1) = corners.min(1), corners.max(1)
    tall, kind = y1 - y0, rng.random()
    margins = [min(_margin(rng, geometry, kind) * tall, limit) for limit in limits]
    x0, x1, y0, y1 = x0 - margins[0], x1 + margins[2], y0 - margins[1], y1 + margins[3]
    width = int(min(max((x1 - x0) * height / (y1 - y0), 12), MAX_WIDTH * max(1, num_chars / 20)))
    across, down = width / (x1 - x0), height / (y1 - y0)
    inverse = np.linalg.inv(np.array([[across, 0, -x0 * across], [0, down, -y0 * down], [0, 0, 1]]) @ matrix)
    return View((width, height), tuple((inverse / inverse[2, 2]).ravel()[:8].tolist()))
