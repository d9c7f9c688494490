"""Other views of an image: level it if its text slopes, stretch it; and convert readings back.

The slope is found from the ink. Angles are in degrees, counterclockwise.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from aocr.results import Character, Prediction

HEIGHT, MAX_WIDTH = 32, 256
"""Size to which an image is scaled before its slope is found."""
ANGLES = range(-40, 41, 2)
"""Rotations that are tried."""
MIN_SLOPE = 6
"""Slopes below are left as they are."""
LINE_SHARE, MIN_SHARE = 0.6, 0.45
"""An image is higher than its sloping line by this share of the line's rise; a levelled image keeps this height."""


def slope_of(image: Image.Image) -> int:
    """Return the rotation that levels the text of an image, 0 if it hardly slopes.

    After it the rows differ most in ink, since letters and gaps are in rows of their own.
    """
    width = max(8, min(MAX_WIDTH, round(image.width * HEIGHT / image.height)))
    pixels = np.asarray(image.convert("RGB").resize((width, HEIGHT)), np.float32)
    ink = np.abs(pixels - np.median(pixels, axis=(0, 1))).max(axis=2)
    ink = np.minimum(ink / max(1.0, float(np.percentile(ink, 95))), 1.0)
    angle = max(ANGLES, key=lambda angle: _contrast(ink, math.radians(angle)))
    return angle if abs(angle) >= MIN_SLOPE else 0


def _contrast(ink: np.ndarray, angle: float) -> float:
    """Return the sum of squared differences between neighbouring rows of the ink (H, W) after a rotation."""
    height, width = ink.shape
    rows = np.arange(height)[:, None] * math.cos(angle) - np.arange(width) * math.sin(angle)
    rows = (rows - rows.min()).ravel()
    above = rows.astype(int)
    share = rows - above
    length = above.max() + 2
    profile = np.bincount(above, ink.ravel() * (1 - share), length)
    profile += np.bincount(above + 1, ink.ravel() * share, length)
    return float((np.diff(np.convolve(profile, (0.25, 0.5, 0.25))) ** 2).sum())


def levelled_size(width: int, height: int, angle: int) -> tuple[int, int]:
    """Return the (width, height) of an image after `level`."""
    cos, sin = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    line = max(height * cos - LINE_SHARE * width * sin, MIN_SHARE * height)
    return round(width * cos + height * sin), int(line) + 1


def level(image: Image.Image, angle: int) -> Image.Image:
    """Rotate an RGB image around its middle and keep the line of text through it."""
    width, height = levelled_size(*image.size, angle)
    ground = tuple(int(value) for value in np.median(np.asarray(image), axis=(0, 1)))
    rotated = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=ground)
    left, top = (rotated.width - width) // 2, (rotated.height - height) // 2
    return rotated.crop((left, top, left + width, top + height))


def positions(x: np.ndarray, y: np.ndarray, source: tuple[int, int], target: tuple[int, int], angle: int) -> tuple:
    """Rotate positions from an image of size `source` to one of size `target` around their middles."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = x - source[0] / 2, y - source[1] / 2
    return x * cos + y * sin + target[0] / 2, y * cos - x * sin + target[1] / 2


def unlevel(prediction: Prediction, size: tuple[int, int], angle: int) -> Prediction:
    """Convert the reading of a levelled image into that of the image (width, height) before; boxes contain theirs."""
    levelled = prediction.image_width, prediction.image_height
    characters = []
    for char in prediction.characters:
        x, y = np.array([char.x0, char.x1, char.x1, char.x0]), np.array([char.y0, char.y0, char.y1, char.y1])
        x, y = positions(x, y, levelled, size, -angle)
        x, y = np.clip(x, 0, size[0]).round(1), np.clip(y, 0, size[1]).round(1)
        edges = [float(edge) for edge in (x.min(), x.max(), y.min(), y.max())]
        characters.append(Character(char.char, char.confidence, *edges))
    return replace(prediction, characters=tuple(characters), image_width=size[0], image_height=size[1], slope=angle)


def stretch(image: Image.Image, factor: float) -> Image.Image:
    """Make an image wider by a factor."""
    return image.resize((max(1, round(image.width * factor)), image.height), Image.Resampling.BICUBIC)


def unstretch(prediction: Prediction, width: int) -> Prediction:
    """Convert the reading of a stretched image into that of the image before, which was `width` pixels wide."""
    ratio = width / max(1, prediction.image_width)
    characters = tuple(replace(c, x0=round(c.x0 * ratio, 1), x1=round(c.x1 * ratio, 1)) for c in prediction.characters)
    column_width = prediction.column_width * ratio
    return replace(prediction, characters=characters, image_width=width, column_width=column_width)
