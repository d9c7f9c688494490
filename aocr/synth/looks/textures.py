"""Procedural surfaces, (height, width) float32 of any range, and pieces of them for images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Rng = np.random.Generator
BICUBIC = Image.Resampling.BICUBIC
HEIGHT, WIDTH = 160, 704
NUM_TEXTURES, NUM_PHOTOS = 200, 80
SEED = 20


def smooth(rng: Rng, height: int, width: int, cell: int) -> np.ndarray:
    """Interpolate a grid of random values, one per `cell` pixels."""
    grid = rng.random((max(2, height // cell + 2), max(2, width // cell + 2)), dtype=np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), BICUBIC))


def octaves(rng: Rng, height: int, width: int) -> np.ndarray:
    """Sum noise of several cell sizes, like stone, plaster, clouds or cloth."""
    cells = (64, 32, 16, 8, 4, 2)[int(rng.integers(0, 3)) :]
    return sum(smooth(rng, height, width, cell) * cell**0.7 for cell in cells)


def stripes(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw bent stripes, soft or hard."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 40)
    bend = octaves(rng, height, width) * rng.uniform(0, 0.5)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle) + bend) * 2 * np.pi / period)
    return (wave > rng.uniform(-0.7, 0.7)).astype(np.float32) if rng.random() < 0.5 else wave


def bricks(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw bricks or tiles with joints."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    tall, wide = rng.integers(14, 50), rng.integers(24, 90)
    row = y // tall
    x = x + (row % 2) * wide / 2
    joints = ((y % tall < 2) | (x % wide < 2)) * rng.uniform(-1.2, 1.2)
    return joints + smooth(rng, height, width, 3) * 0.4 + np.sin(row * 12.9 + (x // wide) * 78.2) * 0.3


def wood(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw horizontal grain, like wood or brushed metal."""
    grain = rng.random((height, 24), dtype=np.float32)
    return np.asarray(Image.fromarray(grain).resize((width, height), BICUBIC)) + smooth(rng, height, width, 64)


def blobs(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw patches with hard edges, like leaves, stains or camouflage."""
    field = octaves(rng, height, width)
    return (field > np.quantile(field, rng.uniform(0.3, 0.7))) + 0.2 * smooth(rng, height, width, 2)


def clutter(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw overlapping boxes, lines and ellipses, as in streets and on shelves, perhaps out of focus."""
    picture = Image.new("L", (width, height), int(rng.integers(60, 200)))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(10, 60))):
        x, y = int(rng.integers(-40, width)), int(rng.integers(-40, height))
        shade, kind = int(rng.integers(0, 256)), rng.random()
        if kind < 0.5:
            draw.rectangle((x, y, x + int(rng.integers(4, 160)), y + int(rng.integers(4, 90))), fill=shade)
        elif kind < 0.75:
            end = (x + int(rng.integers(-200, 200)), y + int(rng.integers(-90, 90)))
            draw.line((x, y, *end), fill=shade, width=int(rng.integers(1, 9)))
        else:
            draw.ellipse((x, y, x + int(rng.integers(4, 120)), y + int(rng.integers(4, 90))), fill=shade)
    blurred = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3))))
    return np.asarray(blurred, np.float32) / 255 + 0.1 * smooth(rng, height, width, 2)


def checks(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw a mesh or chequered cloth."""
    y, x = np.mgrid[0:height, 0:width]
    cell = int(rng.integers(3, 14))
    return (x // cell + y // cell) % 2 + 0.3 * octaves(rng, height, width)


def shading(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw a gradual change of brightness."""
    return smooth(rng, height, width, int(rng.integers(60, 160)))


def grain(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw fine noise on gradual shading, like asphalt, paper or sand."""
    return smooth(rng, height, width, 1) + smooth(rng, height, width, 3) + 2 * smooth(rng, height, width, 90)


TEXTURES: dict[Callable[[Rng, int, int], np.ndarray], float] = {
    octaves: 3.5, grain: 1, stripes: 1, bricks: 1, wood: 1, blobs: 1, clutter: 2, checks: 0.6, shading: 1,
}  # fmt: skip
"""Procedures and their relative frequencies."""


def texture(rng: Rng, height: int, width: int) -> np.ndarray:
    """Draw a random surface, (height, width) uint8, stretched to the range 0 to 255."""
    weights = np.array(list(TEXTURES.values()))
    surface = list(TEXTURES)[rng.choice(len(weights), p=weights / weights.sum())](rng, height, width)
    surface = np.asarray(surface, np.float32)
    surface = surface - surface.min()
    return (surface * (255 / max(float(surface.max()), 1e-6))).astype(np.uint8)


def photo(rng: Rng, height: int, width: int) -> np.ndarray:
    """Combine surfaces of several colours, as in a street: (height, width, 3) uint8."""
    palette = rng.integers(0, 256, (6, 3)) * rng.uniform(0.3, 1, (6, 1)) + rng.uniform(0, 60)
    grey = palette.mean(1, keepdims=True)
    palette = np.clip(grey + (palette - grey) * rng.uniform(0.1, 0.9), 0, 255)
    picture = palette[0] + (texture(rng, height, width)[..., None] / 255.0) * (palette[1] - palette[0])
    for i in range(2, 2 + int(rng.integers(1, 4))):
        region = texture(rng, height, width)[..., None] / 255.0
        mask = np.clip((region - rng.uniform(0.3, 0.6)) * rng.choice([3.0, 20.0]), 0, 1)
        shade = palette[i] + (texture(rng, height, width)[..., None] / 255.0 - 0.5) * rng.uniform(10, 80)
        picture = picture + mask * (shade - picture)
    return np.clip(picture, 0, 255).astype(np.uint8)


@functools.cache
def _surface(make: Callable[[Rng, int, int], np.ndarray], kind: int, number: int) -> Image.Image:
    """Draw a surface to cut pieces from; equal arguments give the same one in every process."""
    return Image.fromarray(make(np.random.default_rng((SEED, kind, number)), HEIGHT, WIDTH))


def _piece(rng: Random, surface: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut a piece out of a surface, perhaps zoomed or mirrored."""
    zoom = rng.choice((1, 1, 1, 2, 0.5))
    width, height = min(size[0] * zoom, WIDTH), min(size[1] * zoom, HEIGHT)
    left, top = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
    box = (left, top, left + width, top + height)
    piece = surface.resize(size, Image.Resampling.BILINEAR, box)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece


def texture_piece(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Return a random grey texture of `size` = (width, height) pixels."""
    return _piece(rng, _surface(texture, 1, rng.randrange(NUM_TEXTURES)), size)


def photo_piece(rng: Random, size: tuple[int, int]) -> Image.Image:
    """Return a random RGB background of `size` = (width, height) pixels."""
    return _piece(rng, _surface(photo, 2, rng.randrange(NUM_PHOTOS)), size)


@functools.cache
def _all_noise() -> np.ndarray:
    return np.random.default_rng((SEED, 0)).standard_normal(1 << 20).astype(np.float32)


def noise(rng: Random, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard normal noise, float32, up to a million values."""
    size = int(np.prod(shape))
    start = rng.randrange(_all_noise().size - size)
    return _all_noise()[start : start + size].reshape(shape)
