"""The background of a real image, with its text removed."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from aocr.synth.like.originals import Look

MIN_INKINESS = 0.3
"""Inkiness of pixels that are removed."""
BLUR = 0.35
"""Blur that leaves only broad shades: standard deviation as a share of the height."""


def _shrunk(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve the size: return the means of each four pixels, weighted by `known`, and their total weight up to 1."""
    high, wide = known.shape
    pad = ((0, high % 2), (0, wide % 2))
    values, known = np.pad(values * known[..., None], (*pad, (0, 0))), np.pad(known, pad)
    total = sum(values[i::2, j::2] for i in (0, 1) for j in (0, 1))
    count = sum(known[i::2, j::2] for i in (0, 1) for j in (0, 1))
    return total / np.maximum(count, 1e-6)[..., None], np.minimum(count, 1.0)


def filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill unknown pixels from their surroundings, near and far, by a pyramid of means.

    Args:
      values: (H, W, 3).
      known: (H, W), 0 to 1.
    """
    if min(known.shape) == 1 or known.min() > 0.99:
        mean = (values * known[..., None]).sum((0, 1)) / max(float(known.sum()), 1e-6)
        return values * known[..., None] + mean * (1 - known[..., None])
    smaller = filled(*_shrunk(values, known))
    size = (known.shape[1], known.shape[0])
    planes = [Image.fromarray(smaller[..., c].astype(np.float32)) for c in range(3)]
    enlarged = [np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return values * known[..., None] + np.stack(enlarged, -1) * (1 - known[..., None])


def bare_ground(look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return the image without its text, (H, W, 3), with its usual grain.

    If the text's location is unknown, only broad shades are kept, since remains of the text could be readable.
    """
    left, right = look.columns
    located = look.original.centres is not None
    inked = np.zeros(look.inkiness.shape, np.uint8)
    inked[:, left:right] = 255 * (look.inkiness[:, left:right] > MIN_INKINESS)
    size = 3 if len(inked) < 32 else 5
    inked = np.asarray(Image.fromarray(inked).filter(ImageFilter.MaxFilter(size)))
    ground = filled(look.pixels, 1 - inked.astype(np.float32) / 255)
    if not located:
        picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
        ground = np.asarray(picture.filter(ImageFilter.GaussianBlur(BLUR * len(inked))), np.float32)
    grain = rng.normal(0, 1, (*inked.shape, 1)).astype(np.float32) * np.float32(look.noise)
    return ground + grain * ((inked[..., None] > 0) | (not located))
