"""Text on displays: seven segments, and dot matrix."""

from __future__ import annotations

from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aocr.synth.sheet.lettering import Ink

SEGMENTS = {
    "0": "abcdef", "1": "bc", "2": "abdeg", "3": "abcdg", "4": "bcfg", "5": "acdfg", "6": "acdefg", "7": "abc",
    "8": "abcdefg", "9": "abcdfg", "-": "g", " ": "", "A": "abcefg", "b": "cdefg", "C": "adef", "d": "bcdeg",
    "E": "adefg", "F": "aefg", "H": "bcefg", "L": "def", "P": "abefg", "U": "bcdef", "_": "d", "=": "dg",
}  # fmt: skip
"""Lit segments of each character: a at the top, then clockwise, g in the middle."""
POINTS = ".:,"
HEIGHT = 48
"""Height of a seven-segment character, in pixels."""


class Segments:
    """A seven-segment display with random dimensions, in pixels."""

    def __init__(self, rng: Random):
        self._width, self._thickness = rng.randint(20, 32), rng.randint(4, 9)  # of a character, of a segment
        self._gap, self._space = rng.uniform(0, 1.6), rng.randint(6, 16)  # between segments, between characters

    def _polygons(self, left: float) -> dict[str, list[tuple[float, float]]]:
        """Return the corners of each segment of a character at `left`."""
        half = self._thickness / 2
        top, middle, bottom = half, HEIGHT / 2, HEIGHT - half
        left, right = left + half, left + self._width - half

        def flat(y: float, start: float, stop: float) -> list[tuple[float, float]]:
            x0, x1 = start + self._gap, stop - self._gap
            upper, lower = y - half, y + half
            return [(x0, y), (x0 + half, upper), (x1 - half, upper), (x1, y), (x1 - half, lower), (x0 + half, lower)]

        def upright(x: float, start: float, stop: float) -> list[tuple[float, float]]:
            return [(x, y) for y, x in flat(x, start, stop)]

        return {
            "a": flat(top, left, right), "g": flat(middle, left, right), "d": flat(bottom, left, right),
            "f": upright(left, top, middle), "b": upright(right, top, middle),
            "e": upright(left, middle, bottom), "c": upright(right, middle, bottom),
        }  # fmt: skip

    def write(self, text: str, unlit: bool = False) -> Ink:
        """Write a text of characters in SEGMENTS and POINTS; if `unlit`, with all segments of each."""
        widths = [2 * self._thickness if char in POINTS else self._width + self._space for char in text]
        image = Image.new("L", (sum(widths) + self._space, HEIGHT + self._thickness))
        draw, left, boxes = ImageDraw.Draw(image), 0, []
        for char, width in zip(text, widths, strict=True):
            if char in POINTS:
                x = left - self._space // 2
                for y in (HEIGHT * 0.3, HEIGHT * 0.65) if char == ":" else (HEIGHT - self._thickness,):
                    draw.rectangle((x, y, x + self._thickness, y + self._thickness), fill=255)
            else:
                polygons = self._polygons(left)
                for name in "abcdefg" if unlit else SEGMENTS[char]:
                    draw.polygon(polygons[name], fill=255)
            empty = self._space if char not in POINTS else self._thickness
            boxes.append((left, 0, left + (0 if char == " " else width - empty), HEIGHT))
            left += width
        return Ink(image, HEIGHT, tuple(boxes))


def has_segments(text: str) -> bool:
    """Check that seven segments can show a text."""
    return all(char in SEGMENTS or char in POINTS for char in text) and any(char not in POINTS + " " for char in text)


def dot_matrix(text: str, font: ImageFont.FreeTypeFont, rng: Random) -> Ink | None:
    """Write a text with a dot for each inked pixel of a small font; None if it has no ink."""
    mask = font.getmask(text, mode="1")
    cells = np.frombuffer(bytes(mask), np.uint8).reshape(mask.size[1], mask.size[0]) > 0
    if not cells.any():
        return None
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    cells = cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pitch = max(3, round(44 / max(len(cells), 7)))
    dot = Image.new("L", (pitch * 4, pitch * 4))
    spare = rng.uniform(0, 0.8) * pitch
    shape = ImageDraw.Draw(dot).ellipse if rng.random() < 0.6 else ImageDraw.Draw(dot).rectangle
    shape((spare, spare, 4 * pitch - 1 - spare, 4 * pitch - 1 - spare), fill=255)
    tile = np.asarray(dot.resize((pitch, pitch), Image.Resampling.BOX))
    return Ink(Image.fromarray(np.kron(cells.astype(np.uint8), tile)), len(cells) * pitch)
