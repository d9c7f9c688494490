"""Steps that imitate cameras, scanners and file formats; each is called with (work, rng)."""

from __future__ import annotations

import io
from random import Random
from typing import cast

import numpy as np
from PIL import Image, ImageFilter

from aocr.synth.looks.textures import noise
from aocr.synth.looks.work import Work, rounded

MIN_CHAR_WIDTH = 5
"""Minimum width of a character in pixels."""
MIN_FAINT = 10
"""Minimum contrast of faint letters, 0 to 255."""


def faded(work: Work, rng: Random) -> None:
    """Reduce contrast, as haze, dusk and glare do."""
    veil = Image.new("RGB", work.picture.size, (rng.randint(0, 255),) * 3)
    work.picture = Image.blend(veil, work.picture, rng.uniform(0.4, 0.85))


def dark(work: Work, rng: Random) -> None:
    """Darken, as at night or by underexposure."""
    work.picture = Image.blend(Image.new("RGB", work.picture.size), work.picture, rng.uniform(0.25, 0.7))


def tinted(work: Work, rng: Random) -> None:
    """Tint, as coloured light does."""
    red, green, blue = (rng.gauss(1, 0.08) for _ in range(3))
    work.picture = work.picture.convert("RGB", (red, 0, 0, 0, 0, green, 0, 0, 0, 0, blue, 0))


def low_resolution(work: Work, rng: Random) -> None:
    """Shrink to few pixels, at least MIN_CHAR_WIDTH per character; `enlarged` restores the size."""
    width, height = work.size
    random_height = rng.randint(14, 30) if rng.random() < 0.8 else rng.randint(10, 16)
    min_height = MIN_CHAR_WIDTH * work.num_chars * height / width
    reduced = int(min(max(random_height, min_height), height))
    kernel = Image.Resampling.BOX if rng.random() < 0.3 else Image.Resampling.BILINEAR
    work.picture = work.picture.resize((max(4, round(width * reduced / height)), reduced), kernel)


def out_of_focus(work: Work, rng: Random) -> None:
    """Blur, less if a character has few pixels."""
    char_width = work.picture.width / max(work.num_chars, 1)
    max_radius = min(0.045 * work.picture.height, 0.11 * char_width) + 0.15
    work.picture = work.picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.25, max(0.3, max_radius))))


def blurred(work: Work, rng: Random) -> None:
    """Blur so far that single strokes run together."""
    char_width = work.picture.width / max(work.num_chars, 1)
    radius = rng.uniform(0.7, 1) * min(0.075 * work.picture.height, 0.15 * char_width)
    work.picture = work.picture.filter(ImageFilter.GaussianBlur(radius))


def moved(work: Work, rng: Random) -> None:
    """Blur along a line, as a moving camera does."""
    count = rng.randint(2, 3 if work.picture.height < 32 else 5)
    dx, dy = rng.choice(((1, 0), (1, 0), (0, 1), (1, 1), (1, -1)))
    pixels = np.asarray(work.picture, np.uint16)
    steps = [i - count // 2 for i in range(count)]
    total = np.sum([np.roll(pixels, (dy * step, dx * step), (0, 1)) for step in steps], 0)
    work.picture = Image.fromarray((total // count).astype(np.uint8))


def sharpened(work: Work, rng: Random) -> None:
    """Sharpen edges, as cameras do."""
    work.picture = work.picture.filter(ImageFilter.UnsharpMask(1, rng.randint(50, 200), 0))


def noisy(work: Work, rng: Random) -> None:
    """Add sensor noise, the same or different in each channel."""
    width, height = work.picture.size
    grain = noise(rng, (height, width, 3 if rng.random() < 0.6 else 1))
    pixels = np.asarray(work.picture, np.float32) + grain * np.float32(abs(rng.gauss(0, 6)) + 1)
    work.picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def speckled(work: Work, rng: Random) -> None:
    """Add black and white specks."""
    width, height = work.picture.size
    grain = noise(rng, (height, width))
    limit = rng.uniform(2.2, 3.2)
    pixels = np.array(work.picture)
    pixels[grain > limit], pixels[grain < -limit] = 255, 0
    work.picture = Image.fromarray(pixels)


def two_levels(work: Work, rng: Random) -> None:
    """Reduce to black and white, as fax machines do."""
    grey_picture = work.picture.convert("L")
    low, high = cast("tuple[int, int]", grey_picture.getextrema())  # the image has one band
    limit = low + (high - low) * rng.uniform(0.4, 0.65)
    work.picture = grey_picture.point([0 if level < limit else 255 for level in range(256)]).convert("RGB")


def spread_ink(work: Work, rng: Random) -> None:
    """Let ink bleed, or thin it."""
    kind = ImageFilter.MinFilter if rng.random() < 0.6 else ImageFilter.MaxFilter
    spread = work.picture.filter(kind(3))
    work.picture = Image.blend(work.picture, spread, rng.uniform(0.2, 0.7))


def stored(work: Work, rng: Random) -> None:
    """Compress as JPEG at the current size; the final image is compressed again."""
    file = io.BytesIO()
    work.picture.save(file, "JPEG", quality=rng.randint(30, 90))
    work.picture = Image.open(file).convert("RGB")


def grey(work: Work, rng: Random) -> None:
    """Remove colour but keep three channels."""
    work.picture = work.picture.convert("L").convert("RGB")


def enlarged(work: Work, rng: Random) -> None:
    """Restore the final size."""
    if work.picture.size != work.size:
        kernel = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
        work.picture = work.picture.resize(work.size, kernel)


def faint(work: Work, rng: Random) -> None:
    """Leave little contrast, mostly in the dark; applied at the final size."""
    target, current = rng.uniform(MIN_FAINT, 24), contrast(work.picture, work.letters)
    work.min_contrast = 0.9 * MIN_FAINT
    if current > target:
        level = rng.uniform(0.1, 0.6) if rng.random() < 0.6 else rng.uniform(0.6, 1)
        red, green, blue = (level * value for value in work.ground)
        veil = Image.new("RGB", work.picture.size, rounded((red, green, blue)))
        work.picture = Image.blend(veil, work.picture, target / current)


def contrast(picture: Image.Image, mask: Image.Image) -> float:
    """Measure the contrast, 0 to 255, between letters (given by a grey mask) and the pixels next to them.

    It is the difference in brightness or 0.7 times the largest channel difference, whichever is larger; 0 without ink.
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
