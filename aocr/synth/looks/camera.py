"""What a camera, a scanner and a file do to a picture. Steps as in `looks`."""

from __future__ import annotations

import io
from random import Random
from typing import cast

import numpy as np
from PIL import Image, ImageFilter

from aocr.synth.looks.stock import Stock
from aocr.synth.looks.work import Work

BILINEAR, BICUBIC, BOX = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX
MIN_CHAR = 5
"""Pixels of width that a character keeps at the lowest resolution."""


def faded(work: Work, rng: Random, stock: Stock) -> None:
    """Less contrast: haze, dusk, glare."""
    veil = Image.new("RGB", work.picture.size, (rng.randint(0, 255),) * 3)
    work.picture = Image.blend(veil, work.picture, rng.uniform(0.4, 0.85))


def dark(work: Work, rng: Random, stock: Stock) -> None:
    """Night, or too short an exposure."""
    work.picture = Image.blend(Image.new("RGB", work.picture.size), work.picture, rng.uniform(0.25, 0.7))


def tinted(work: Work, rng: Random, stock: Stock) -> None:
    """The colour of the light."""
    red, green, blue = (rng.gauss(1, 0.08) for _ in range(3))
    work.picture = work.picture.convert("RGB", (red, 0, 0, 0, 0, green, 0, 0, 0, 0, blue, 0))


def low_resolution(work: Work, rng: Random, stock: Stock) -> None:
    """A word far away: few pixels, which the last step enlarges. No less than MIN_CHAR pixels a character."""
    width, height = work.size
    wanted = rng.randint(14, 30) if rng.random() < 0.8 else rng.randint(10, 16)
    least = MIN_CHAR * work.num_chars * height / width
    small = int(min(max(wanted, least), height))
    size = (max(4, round(width * small / height)), small)
    work.picture = work.picture.resize(size, BOX if rng.random() < 0.3 else BILINEAR)


def out_of_focus(work: Work, rng: Random, stock: Stock) -> None:
    """Gaussian blur, less where there are few pixels a character."""
    pixels = work.picture.width / max(work.num_chars, 1)
    most = min(0.045 * work.picture.height, 0.11 * pixels) + 0.15
    work.picture = work.picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.25, max(0.3, most))))


def moved(work: Work, rng: Random, stock: Stock) -> None:
    """Blur along a line."""
    longest = 3 if work.picture.height < 32 else 5
    count = rng.randint(2, longest)
    dx, dy = rng.choice(((1, 0), (1, 0), (0, 1), (1, 1), (1, -1)))
    pixels = np.asarray(work.picture, np.uint16)
    steps = [i - count // 2 for i in range(count)]
    total = np.sum([np.roll(pixels, (dy * step, dx * step), (0, 1)) for step in steps], 0)
    work.picture = Image.fromarray((total // count).astype(np.uint8))


def sharpened(work: Work, rng: Random, stock: Stock) -> None:
    """The bright edges that cameras add."""
    work.picture = work.picture.filter(ImageFilter.UnsharpMask(1, rng.randint(50, 200), 0))


def noisy(work: Work, rng: Random, stock: Stock) -> None:
    """Noise of the sensor, of one colour or of three."""
    width, height = work.picture.size
    noise = stock.noise(rng, (height, width, 3 if rng.random() < 0.6 else 1))
    pixels = np.asarray(work.picture, np.float32) + noise * np.float32(abs(rng.gauss(0, 6)) + 1)
    work.picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def speckled(work: Work, rng: Random, stock: Stock) -> None:
    """Points of full black or white."""
    width, height = work.picture.size
    noise = stock.noise(rng, (height, width))
    limit = rng.uniform(2.2, 3.2)
    pixels = np.array(work.picture)
    pixels[noise > limit], pixels[noise < -limit] = 255, 0
    work.picture = Image.fromarray(pixels)


def two_levels(work: Work, rng: Random, stock: Stock) -> None:
    """Black and white only, as fax machines and old scanners have it."""
    grey_picture = work.picture.convert("L")
    low, high = cast("tuple[int, int]", grey_picture.getextrema())  # of one band
    limit = low + (high - low) * rng.uniform(0.4, 0.65)
    work.picture = grey_picture.point([0 if level < limit else 255 for level in range(256)]).convert("RGB")


def spread_ink(work: Work, rng: Random, stock: Stock) -> None:
    """Print that has run a little, or is worn thin."""
    kind = ImageFilter.MinFilter if rng.random() < 0.6 else ImageFilter.MaxFilter
    spread = work.picture.filter(kind(3))
    work.picture = Image.blend(work.picture, spread, rng.uniform(0.2, 0.7))


def stored(work: Work, rng: Random, stock: Stock) -> None:
    """A jpeg at the size it has now; another one follows at the end."""
    file = io.BytesIO()
    work.picture.save(file, "JPEG", quality=rng.randint(30, 90))
    work.picture = Image.open(file).convert("RGB")


def grey(work: Work, rng: Random, stock: Stock) -> None:
    """No colour; still three channels."""
    work.picture = work.picture.convert("L").convert("RGB")


def enlarged(work: Work, rng: Random, stock: Stock) -> None:
    """Back to the size at the end, if it is smaller."""
    if work.picture.size != work.size:
        work.picture = work.picture.resize(work.size, BICUBIC if rng.random() < 0.5 else BILINEAR)


def contrast(picture: Image.Image, mask: Image.Image) -> float:
    """How far letters differ from what is close round them: of the brightness, or 0.7 of one colour's.

    Args:
      picture: RGB.
      mask: grey, of the letters, of the same size.

    Returns:
      0 to 255; 0 too where there are hardly any letters.
    """
    mask, picture = mask.reduce(2), picture.reduce(2)
    letters = np.asarray(mask, np.float32) * np.float32(1 / 255)
    near = np.asarray(mask.filter(ImageFilter.MaxFilter(3)), np.float32) * np.float32(1 / 255) - letters
    inner, outer = float(letters.sum()), float(near.sum())
    if inner < 4 or outer < 1:
        return 0.0
    pixels = np.asarray(picture, np.float32).reshape(-1, 3)
    difference = letters.reshape(-1) @ pixels / inner - near.reshape(-1) @ pixels / outer
    return max(abs(float(difference @ (0.30, 0.59, 0.11))), 0.7 * float(np.abs(difference).max()))
