"""Ink of displays: seven segments, and a matrix of dots."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aocr.synth.sheet.ink import Ink

SEGMENTS = {
    "0": "abcdef", "1": "bc", "2": "abdeg", "3": "abcdg", "4": "bcfg", "5": "acdfg", "6": "acdefg", "7": "abc",
    "8": "abcdefg", "9": "abcdfg", "-": "g", " ": "", "A": "abcefg", "b": "cdefg", "C": "adef", "d": "bcdeg",
    "E": "adefg", "F": "aefg", "H": "bcefg", "L": "def", "P": "abefg", "U": "bcdef", "_": "d", "=": "dg",
}  # fmt: skip
"""Lit segments of each character; a is the top, then clockwise, g the middle."""
POINTS = ".:,"
HEIGHT = 48
"""Pixels of a character of segments."""


@dataclass(frozen=True)
class Segments:
    """The make of a display.

    Attributes:
      width: of a character, pixels.
      thickness: of a segment, pixels.
      gap: between segments, pixels.
      space: between characters, pixels.
    """

    width: int
    thickness: int
    gap: float
    space: int

    @classmethod
    def random(cls, rng: Random) -> Segments:
        """Any make."""
        return cls(rng.randint(20, 32), rng.randint(4, 9), rng.uniform(0, 1.6), rng.randint(6, 16))

    def _polygons(self, left: float) -> dict[str, list[tuple[float, float]]]:
        """Corners of each segment of a character at `left`."""
        half, width = self.thickness / 2, self.width
        rows, columns = (half, HEIGHT / 2, HEIGHT - half), (left + half, left + width - half)

        def flat(y: float) -> list[tuple[float, float]]:
            x0, x1 = columns[0] + self.gap, columns[1] - self.gap
            tips = [(x0, y), (x0 + half, y - half), (x1 - half, y - half)]
            return [*tips, (x1, y), (x1 - half, y + half), (x0 + half, y + half)]

        def upright(x: float, upper: float, lower: float) -> list[tuple[float, float]]:
            y0, y1 = upper + self.gap, lower - self.gap
            tips = [(x, y0), (x + half, y0 + half), (x + half, y1 - half)]
            return [*tips, (x, y1), (x - half, y1 - half), (x - half, y0 + half)]

        top, middle, bottom = rows
        return {
            "a": flat(top), "g": flat(middle), "d": flat(bottom),
            "f": upright(columns[0], top, middle), "b": upright(columns[1], top, middle),
            "e": upright(columns[0], middle, bottom), "c": upright(columns[1], middle, bottom),
        }  # fmt: skip

    def write(self, text: str, unlit: bool = False) -> Ink:
        """A text of the characters of SEGMENTS and POINTS.

        Args:
          text: to write.
          unlit: all segments of each character in place of the lit ones.
        """
        widths = [2 * self.thickness if char in POINTS else self.width + self.space for char in text]
        image = Image.new("L", (sum(widths) + self.space, HEIGHT + self.thickness))
        draw, left = ImageDraw.Draw(image), 0
        for char, width in zip(text, widths, strict=True):
            if char in POINTS:
                places = (HEIGHT * 0.3, HEIGHT * 0.65) if char == ":" else (HEIGHT - self.thickness,)
                for y in places:
                    x = left - self.space // 2
                    draw.rectangle((x, y, x + self.thickness, y + self.thickness), fill=255)
            else:
                polygons = self._polygons(left)
                for name in "abcdefg" if unlit else SEGMENTS[char]:
                    draw.polygon(polygons[name], fill=255)
            left += width
        return Ink(image, HEIGHT)


def has_segments(text: str) -> bool:
    """Whether seven segments can show a text."""
    return all(char in SEGMENTS or char in POINTS for char in text) and any(char not in POINTS + " " for char in text)


def dot_matrix(text: str, font: ImageFont.FreeTypeFont, rng: Random) -> Ink | None:
    """A text as dots, each where the font's own picture of few pixels has ink.

    Args:
      text: to write.
      font: at the number of dots that a character is high, about.
      rng: randomness of the dots' size and form.
    """
    mask = font.getmask(text, mode="1")
    if not mask.size[0] or not mask.size[1]:
        return None
    cells = np.frombuffer(bytes(mask), np.uint8).reshape(mask.size[1], mask.size[0]) > 0
    rows, columns = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    if not len(rows):
        return None
    cells = cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pitch = max(3, round(44 / max(len(cells), 7)))
    dot = Image.new("L", (pitch * 4, pitch * 4))
    spare = rng.uniform(0, 0.8) * pitch
    shape = ImageDraw.Draw(dot).ellipse if rng.random() < 0.6 else ImageDraw.Draw(dot).rectangle
    shape((spare, spare, 4 * pitch - 1 - spare, 4 * pitch - 1 - spare), fill=255)
    tile = np.asarray(dot.resize((pitch, pitch), Image.Resampling.BOX))
    return Ink(Image.fromarray(np.kron(cells.astype(np.uint8), tile)), len(cells) * pitch)
