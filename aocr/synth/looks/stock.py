"""Surfaces and noise kept ready, so that an image need only cut a piece out of them."""

from __future__ import annotations

import functools
from random import Random

import numpy as np
from PIL import Image

from aocr.synth.looks.textures import photo, texture

HEIGHT, WIDTH = 160, 704
NUM_TEXTURES, NUM_PHOTOS = 200, 80
_BILINEAR = Image.Resampling.BILINEAR


class Stock:
    """Pieces of surfaces and of noise. All are made of `seed`, each when it is first asked for, and then kept.

    Args:
      seed: of the surfaces: with the same one every worker has the same stock.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._made: dict[tuple[int, int], Image.Image] = {}
        self._noise = np.random.default_rng((seed, 0)).standard_normal(1 << 20).astype(np.float32)

    def _piece(self, rng: Random, kind: int, number: int, size: tuple[int, int]) -> Image.Image:
        """A piece of a surface, enlarged or made smaller, turned round or not."""
        if (kind, number) not in self._made:
            generator = np.random.default_rng((self._seed, kind, number))
            make = photo if kind == 2 else texture
            self._made[kind, number] = Image.fromarray(make(generator, HEIGHT, WIDTH))
        width, height = size
        zoom = rng.choice((1, 1, 1, 2, 0.5))
        wide, tall = min(width * zoom, WIDTH), min(height * zoom, HEIGHT)
        left, top = rng.uniform(0, WIDTH - wide), rng.uniform(0, HEIGHT - tall)
        piece = self._made[kind, number].resize(size, _BILINEAR, (left, top, left + wide, top + tall))
        return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece

    def texture(self, rng: Random, size: tuple[int, int]) -> Image.Image:
        """A grey piece of `size` = (width, height) pixels."""
        return self._piece(rng, 1, rng.randrange(NUM_TEXTURES), size)

    def photo(self, rng: Random, size: tuple[int, int]) -> Image.Image:
        """A colour piece of `size` = (width, height) pixels."""
        return self._piece(rng, 2, rng.randrange(NUM_PHOTOS), size)

    def noise(self, rng: Random, shape: tuple[int, ...]) -> np.ndarray:
        """Normal noise of deviation 1, float32, of any shape up to a million values."""
        size = int(np.prod(shape))
        start = rng.randrange(self._noise.size - size)
        return self._noise[start : start + size].reshape(shape)


@functools.cache
def shared_stock(seed: int) -> Stock:
    """The one stock of this process that is made of `seed`."""
    return Stock(seed)
