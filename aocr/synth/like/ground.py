"""What is behind the text of a real image, with the text taken out."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from aocr.synth.like.originals import Look

INKED = 0.3
"""Inkiness from which on a pixel is taken out."""
BROAD = 0.35
"""Blur that leaves no more than broad shades, standard deviation as a share of the height."""


def _shrunk(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the size: means of the known pixels of each four, and how many are known."""
    high, wide = known.shape
    pad = ((0, high % 2), (0, wide % 2))
    values, known = np.pad(values * known[..., None], (*pad, (0, 0))), np.pad(known, pad)
    total = sum(values[i::2, j::2] for i in (0, 1) for j in (0, 1))
    count = sum(known[i::2, j::2] for i in (0, 1) for j in (0, 1))
    return total / np.maximum(count, 1e-6)[..., None], np.minimum(count, 1.0)


def filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pixels with the unknown ones taken from their surroundings, near and far (a pyramid of means).

    Args:
      values: (H, W, 3).
      known: (H, W) 0 to 1.
    """
    if min(known.shape) == 1 or known.min() > 0.99:
        mean = (values * known[..., None]).sum((0, 1)) / max(float(known.sum()), 1e-6)
        return values * known[..., None] + mean * (1 - known[..., None])
    below = filled(*_shrunk(values, known))
    size = (known.shape[1], known.shape[0])
    planes = [Image.fromarray(below[..., c].astype(np.float32)) for c in range(3)]
    larger = [np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return values * known[..., None] + np.stack(larger, -1) * (1 - known[..., None])


def bare_ground(look: Look, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) the image without its text, the grain as elsewhere in it.

    Where it is not known where the text stands, only its broad shades are left: the rest could be read.
    """
    left, right = look.columns
    located = look.original.centres is not None
    inked = np.zeros(look.inkiness.shape, np.uint8)
    inked[:, left:right] = 255 * (look.inkiness[:, left:right] > INKED)
    size = 3 if len(inked) < 32 else 5
    inked = np.asarray(Image.fromarray(inked).filter(ImageFilter.MaxFilter(size)))
    ground = filled(look.pixels, 1 - inked.astype(np.float32) / 255)
    if not located:
        picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
        ground = np.asarray(picture.filter(ImageFilter.GaussianBlur(BROAD * len(inked))), np.float32)
    grain = rng.normal(0, 1, (*inked.shape, 1)).astype(np.float32) * np.float32(look.noise)
    return ground + grain * ((inked[..., None] > 0) | (not located))
