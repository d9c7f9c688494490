"""An image in progress, and the random choice of steps that change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image

from aocr.synth.looks.colours import Colour


@dataclass
class Work:
    """An image in progress."""

    picture: Image.Image
    """RGB, of `size`; smaller while its resolution is reduced."""
    letters: Image.Image
    """Grey mask of all ink, of `size`."""
    size: tuple[int, int]
    """Final (width, height) in pixels."""
    ink: Colour
    ground: Colour
    num_chars: int
    """Number of characters in the label."""
    min_contrast: float = 0
    """Minimum contrast of the letters, 0 to 255; a picture below it is drawn again."""


Step = Callable[[Work, Random], None]
Group = dict[Step, float]
"""Alternative steps, at most one of which is applied, with their probabilities."""


def choose(choices: dict[Any, float], rng: Random) -> Any:
    """Choose an item by the given probabilities, or None with the probability that is left over."""
    position = rng.random()
    for choice, share in choices.items():
        if position < share:
            return choice
        position -= share
    return None


def apply_groups(groups: Sequence[Group], work: Work, rng: Random) -> None:
    """Apply at most one step of each group, in order."""
    for group in groups:
        if step := choose(group, rng):
            step(work, rng)


def rounded(colour: Colour) -> tuple[int, int, int]:
    """Round a colour to integers, for Pillow."""
    red, green, blue = colour
    return round(red), round(green), round(blue)


def dimmed(mask: Image.Image, opacity: float) -> Image.Image:
    """Scale a grey mask by `opacity`, 0 to 1."""
    return Image.blend(Image.new("L", mask.size), mask, opacity)


def blend(first: Colour, second: Colour, mask: Image.Image) -> Image.Image:
    """Mix two colours into an RGB image: the first where the grey mask is black, the second where it is white."""
    picture = Image.new("RGB", mask.size, rounded(first))
    picture.paste(rounded(second), mask=mask)
    return picture
