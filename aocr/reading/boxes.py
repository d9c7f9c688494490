"""Locate each character in an image, from the attention and the ink.

The attention gives the rough position of a character's middle. The edges of its box are found in the image: neighbours
are separated where there is the least ink between their middles, and each box is trimmed to the ink inside it.
Coordinates are in pixels of the network's image, H x W.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from aocr.config import BAND_PIXELS, BAND_STRIDE, COLUMN_PIXELS, ModelConfig

LAG = 1.0
"""Pixels by which the attention's centre is behind the middle of a character, in the direction of reading."""
PEAK_COLUMNS = 2
"""Columns on each side of the peak of attention that count."""
REACH = 0.7
"""Maximum distance from the middle of a line's first and last character to its edge, in distances between middles."""
MIDDLE_COST = 2.0
"""Cost of a cut one such distance away from halfway, compared with a cut through the darkest column."""
GROUND_PERCENT = 10
"""Percentage of a row that is ground at least."""
INK = 0.2
"""Share of the darkest ink above which a column or row belongs to a character."""


def character_boxes(attention: np.ndarray, image: np.ndarray, config: ModelConfig, top: int = 0) -> np.ndarray:
    """Return the box of each character as (T, 4) left, top, right, bottom.

    Args:
      attention: (T, S) weights of the T characters over the columns of all bands, from the top.
      image: (H, W, C) float, the network's input without padding.
      config: settings of the network.
      top: rows of padding above the image.
    """
    if not len(attention):
        return np.zeros((0, 4))
    direction = -1 if config.charset.right_to_left else 1
    xs, ys = _middles(attention, config.bands)
    ys -= top
    xs = np.clip(xs - direction * LAG, 0, image.shape[1])
    ink = _ink(image)
    lines = _lines(xs * direction, ys)
    tops = _cuts(ink.max(axis=1), np.array([ys[line].mean() for line in lines]), 0, len(ink))
    boxes = np.empty((len(xs), 4))
    for line, top, bottom in zip(lines, tops, tops[1:], strict=False):
        boxes[line] = _boxes_in_line(ink[int(top) : max(int(bottom), int(top) + 1)], xs[line], direction, int(top))
    return boxes


def _middles(attention: np.ndarray, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of attention around its peak for each character: (T,) x and (T,) y."""
    weights = attention.reshape(len(attention), bands, -1)
    columns = np.arange(weights.shape[2])
    peaks = weights.sum(axis=1).argmax(axis=1)
    weights = weights * (np.abs(columns - peaks[:, None]) <= PEAK_COLUMNS)[:, None, :]
    weights = weights / np.maximum(weights.sum((1, 2), keepdims=True), 1e-9)
    xs = weights.sum(1) @ ((columns + 0.5) * COLUMN_PIXELS)
    return xs, weights.sum(2) @ (np.arange(bands) * BAND_STRIDE + BAND_PIXELS / 2)


def _ink(image: np.ndarray) -> np.ndarray:
    """Return how much each pixel differs from the ground, the median colour, and from the rest of its row: (H, W).

    The second part removes rules and frames above and below the text.
    """
    ground = _percentile(image.reshape(-1, image.shape[2]).T, 50)[:, 0]
    ink = np.abs(image - ground).max(axis=2)
    return np.maximum(ink - _percentile(ink, GROUND_PERCENT), 0.0)


def _percentile(values: np.ndarray, percent: int) -> np.ndarray:
    """Return the percentile of each row as (..., 1): a value of the row, found twice as fast as by numpy.percentile."""
    rank = values.shape[-1] * percent // 100
    return np.partition(values, rank, axis=-1)[..., rank : rank + 1]


def _lines(xs: np.ndarray, ys: np.ndarray) -> list[slice]:
    """Group characters, in reading order from left to right, into lines: a new one begins further left and lower."""
    is_new = (np.diff(xs) < 0) & (np.diff(ys) > BAND_STRIDE / 2)
    starts = [0, *(np.flatnonzero(is_new) + 1).tolist(), len(xs)]
    return [slice(start, stop) for start, stop in pairwise(starts)]


def _cuts(profile: np.ndarray, middles: np.ndarray, first: float, last: float) -> np.ndarray:
    """Separate N middles where the profile is lowest between them; return N + 1 edges from `first` to `last`."""
    edges = [first]
    darkest = max(float(profile.max()), 1e-6)
    for left, right in pairwise(middles):
        halfway, distance = (left + right) / 2, right - left
        x = np.arange(int(np.ceil(left + 0.2 * distance)), int(right - 0.2 * distance) + 1)
        x = x[(x > 0) & (x < len(profile))]
        if not len(x):
            edges.append(halfway)
            continue
        cost = (profile[x - 1] + profile[x]) / 2 / darkest + MIDDLE_COST * ((x - halfway) / distance) ** 2
        edges.append(float(x[np.argmin(cost)]))
    return np.maximum.accumulate(np.array([*edges, last]))


def _boxes_in_line(ink: np.ndarray, xs: np.ndarray, direction: int, top: int) -> np.ndarray:
    """Return the boxes (T, 4) of a line's characters, whose middles are `xs` and whose ink is (height, W)."""
    xs = np.maximum.accumulate(xs[::direction])
    pitch = float(np.median(np.diff(xs))) if len(xs) > 1 else ink.shape[1]
    first, last = max(0.0, xs[0] - REACH * pitch), min(float(ink.shape[1]), xs[-1] + REACH * pitch)
    edges = _cuts(ink.mean(axis=0), xs, first, last)
    columns = ink.max(axis=0)
    limit = INK * float(_percentile(columns, 90)[0])
    boxes = np.empty((len(xs), 4))
    for i, (left, right) in enumerate(pairwise(edges)):
        x0, x1 = _trimmed(columns, left, right, limit)
        boxes[i] = x0, top, x1, top + len(ink)
    start = min(int(boxes[:, 0].min()), ink.shape[1] - 1)  # the classic network may attend to padding
    inside = ink[:, start : max(start + 1, int(np.ceil(boxes[:, 2].max())))]
    y0, y1 = _trimmed(inside.max(axis=1), 0, len(ink), limit)
    boxes[:, 1], boxes[:, 3] = top + y0, top + y1
    return boxes[::direction]


def _trimmed(profile: np.ndarray, start: float, stop: float, limit: float) -> tuple[float, float]:
    """Return the part of `start` to `stop` with more ink than `limit`; all of it if there is none, as of a space."""
    first = int(start)
    dark = np.flatnonzero(profile[first : int(np.ceil(stop))] > limit)
    return (first + float(dark[0]), first + float(dark[-1]) + 1) if len(dark) else (start, stop)
