"""Prepared surfaces and noise, from which an image takes random pieces."""

from __future__ import annotations

import functools
from random import Random

import numpy as np
from PIL import Image

from aocr.synth.looks.textures import photo, texture

HEIGHT, WIDTH = 160, 704
NUM_TEXTURES, NUM_PHOTOS = 200, 80


class Stock:
    """Surfaces, created on first use and cached, and noise.

    Args:
      seed: of the surfaces; workers with the same seed have the same stock.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._surfaces: dict[tuple[int, int], Image.Image] = {}
        self._noise = np.random.default_rng((seed, 0)).standard_normal(1 << 20).astype(np.float32)

    def _piece(self, rng: Random, kind: int, number: int, size: tuple[int, int]) -> Image.Image:
        """Cut a piece out of a surface, perhaps zoomed or mirrored."""
        if (kind, number) not in self._surfaces:
            generator = np.random.default_rng((self._seed, kind, number))
            make = photo if kind == 2 else texture
            self._surfaces[kind, number] = Image.fromarray(make(generator, HEIGHT, WIDTH))
        zoom = rng.choice((1, 1, 1, 2, 0.5))
        width, height = min(size[0] * zoom, WIDTH), min(size[1] * zoom, HEIGHT)
        left, top = rng.uniform(0, WIDTH - width), rng.uniform(0, HEIGHT - height)
        box = (left, top, left + width, top + height)
        piece = self._surfaces[kind, number].resize(size, Image.Resampling.BILINEAR, box)
        return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece

    def texture(self, rng: Random, size: tuple[int, int]) -> Image.Image:
        """Return a grey piece of `size` = (width, height) pixels."""
        return self._piece(rng, 1, rng.randrange(NUM_TEXTURES), size)

    def photo(self, rng: Random, size: tuple[int, int]) -> Image.Image:
        """Return an RGB piece of `size` = (width, height) pixels."""
        return self._piece(rng, 2, rng.randrange(NUM_PHOTOS), size)

    def noise(self, rng: Random, shape: tuple[int, ...]) -> np.ndarray:
        """Return standard normal noise, float32, up to a million values."""
        size = int(np.prod(shape))
        start = rng.randrange(self._noise.size - size)
        return self._noise[start : start + size].reshape(shape)


@functools.cache
def shared_stock(seed: int) -> Stock:
    """Return this process's stock for a seed."""
    return Stock(seed)
