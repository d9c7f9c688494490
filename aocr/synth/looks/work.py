"""An image under way, and how steps that change it are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import Image

from aocr.synth.looks.colours import Colour
from aocr.synth.looks.stock import Stock


@dataclass
class Work:
    """An image under way.

    Attributes:
      picture: RGB, of `size`; smaller while it is of low resolution.
      letters: grey mask of all ink, of `size`.
      size: (width, height) in pixels at the end.
      ink: colour of the letters.
      ground: colour of what is behind them.
      num_chars: of the label.
    """

    picture: Image.Image
    letters: Image.Image
    size: tuple[int, int]
    ink: Colour
    ground: Colour
    num_chars: int


Step = Callable[[Work, Random, Stock], None]
Group = tuple[tuple[float, Step], ...]
"""Steps of which at most one is taken, each with its share."""


def take(groups: tuple[Group, ...], work: Work, rng: Random, stock: Stock) -> None:
    """Run at most one step of each group, in order."""
    for group in groups:
        at = rng.random()
        for share, step in group:
            if at < share:
                step(work, rng, stock)
                break
            at -= share


def fill(colour: Colour) -> tuple[int, int, int]:
    """A colour as Pillow takes it."""
    red, green, blue = colour
    return round(red), round(green), round(blue)


def dimmed(mask: Image.Image, opacity: float) -> Image.Image:
    """A grey mask of `opacity` (0 to 1) of its strength."""
    return Image.blend(Image.new("L", mask.size), mask, opacity)


def blend(first: Colour, second: Colour, mask: Image.Image) -> Image.Image:
    """RGB: the first colour where a grey mask is black, the second where it is white."""
    picture = Image.new("RGB", mask.size, fill(first))
    picture.paste(fill(second), mask=mask)
    return picture
