"""Regions of a larger image: named in a path, and cut out along a box, four corners or a polygon."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageStat

from aocr.data.images import picture
from aocr.errors import ImageError
from aocr.report.pictures import encode_image

Corners = tuple[tuple[float, float], ...]

NOWHERE: Corners = ((0.0, 0.0),)
"""The region of a text whose place in the image is not known; `cut_out` refuses it."""
MIN_ELONGATION = 3
"""Length of a polygon in units of its width from which it has a direction, and is turned to the nearest axis."""
MAX_COORDINATE = 1e9
"""Upper limit of coordinates, in pixels."""
MIN_ANGLE = np.radians(0.5)
"""A polygon turned by less is cut out along its bounding box, without resampling."""
_NUMBER = r"-?\d+(?:\.\d+)?"
_NAMED = re.compile(rf"(.+)#({_NUMBER}(?:,{_NUMBER}){{3,}})", re.DOTALL)


class RegionError(ImageError):
    """A region is empty or outside its image."""


def box(x: float, y: float, width: float, height: float) -> Corners:
    """Return the corners of a box, clockwise from its top left; x and y are those of its top left."""
    return ((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def pairs(numbers: Sequence[float]) -> Corners:
    """Group x1, y1, x2, y2, ... into corners."""
    return tuple(zip(numbers[::2], numbers[1::2], strict=False))


def bounds(corners: Iterable[tuple[float, float]]) -> Corners:
    """Return the corners of the bounding box."""
    xs, ys = zip(*corners, strict=True)
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def split_region(path: str) -> tuple[str, Corners]:
    """Split `path#x,y,width,height` or `path#x1,y1,x2,y2,...` (three corners or more) into path and corners."""
    match = _NAMED.fullmatch(path)
    numbers = [float(number) for number in match[2].split(",")] if match else []
    if not match or len(numbers) % 2:
        return path, ()
    return match[1], box(*numbers) if len(numbers) == 4 else pairs(numbers)


def name_region(path: str, corners: Corners) -> str:
    """Name a region of an image, as `split_region` reads it, to a thousandth of a pixel."""
    if not corners:
        return path
    (x, y), (x2, y2) = corners[0], corners[2 % len(corners)]
    flat = (x, y, x2 - x, y2 - y) if corners == bounds(corners) else [value for corner in corners for value in corner]
    return f"{path}#{','.join(f'{round(value, 3):.12g}' for value in flat)}"


def upright(corners: Corners) -> Corners:
    """Order four corners clockwise from the top left of the region as it is seen, and leave others as they are.

    For formats in which a polygon may begin at any corner and run either way.
    """
    if len(corners) != 4 or not np.isfinite(corners).all():
        return corners
    points = _clockwise(np.array(corners, float))
    first = int(np.argmax((np.roll(points, -1, 0) - points) @ (1, 1e-6)))  # the edge that runs furthest to the right
    return tuple((x, y) for x, y in np.roll(points, -first, 0).tolist())


def cut_out(data: bytes, region: Corners, name: str) -> bytes:
    """Cut a region out of an encoded image and return it as PNG.

    A box is cropped. Four corners, clockwise from the top left of the text, are straightened. Any other polygon is
    turned so that its longer side is level or upright, and what surrounds it is filled with the median colour.

    Args:
      data: the encoded image; the last few are kept decoded for their next regions.
      region: corners (x, y) in pixels of the upright image.
      name: the image's name in messages.

    Raises:
      RegionError: the region is empty, or more of it is outside the image than inside.
      ImageError: the image cannot be decoded.
    """
    return encode_image(_cut(_page(data).picture(name), np.array(region, float), name), "PNG")


class _Page:
    """An image that is decoded once, by the first thread that needs it."""

    def __init__(self, data: bytes):
        self._data = data
        self._lock = threading.Lock()
        self._picture: Image.Image | None = None

    def picture(self, name: str) -> Image.Image:
        """Return the upright picture."""
        with self._lock:
            if self._picture is None:
                self._picture = picture(self._data, name)
            return self._picture


@functools.lru_cache(maxsize=4)
def _page(data: bytes) -> _Page:
    return _Page(data)


def _cut(image: Image.Image, points: np.ndarray, name: str) -> Image.Image:
    """Cut the polygon with corners (N, 2) out of an image."""
    if len(points) < 3 or not (np.abs(points) < MAX_COORDINATE).all() or abs(_area(points)) < 1:
        raise RegionError(name, "the region is unknown or empty. Give it a width and a height.")
    low, high, size = points.min(0), points.max(0), np.array(image.size)
    inside = np.clip(high, 0, size) - np.clip(low, 0, size)
    if 2 * inside.prod() < (high - low).prod():
        where = name_region("", bounds(points.tolist()))[1:]
        advice = "Was the image scaled after it was labelled?"
        raise RegionError(
            name, f"the region {where} is outside the image of {image.width} x {image.height} pixels. {advice}"
        )
    left, top = np.minimum(np.clip(low, 0, size).round(), size - 1).astype(int).tolist()
    right, bottom = np.maximum(np.clip(high, 0, size).round(), (left + 1, top + 1)).astype(int).tolist()
    crop = image.crop((left, top, right, bottom))
    if np.array_equal(points, bounds(points.tolist())):
        return crop
    median = ImageStat.Stat(crop).median
    colour = tuple(median) if len(median) > 1 else median[0]
    if len(points) == 4 and _is_convex(points):
        return _straighten(image, _clockwise(points), colour, name)
    angle = _direction(points)
    if abs(angle) < MIN_ANGLE:
        cut, seen = crop, points - (left, top)
    else:
        axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        seen = points @ axes  # (N, 2) in the axes of the text
        quad = np.array(bounds(seen.tolist()), float) @ axes.T
        cut, seen = _straighten(image, quad, colour, name), seen - seen.min(0)
    mask = Image.new("L", cut.size)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in seen.tolist()], fill=255, outline=255)
    return Image.composite(cut, Image.new(cut.mode, cut.size, colour), mask)


def _is_convex(points: np.ndarray) -> bool:
    """Whether a polygon turns the same way at each corner."""
    edges = np.roll(points, -1, 0) - points
    after = np.roll(edges, -1, 0)
    turns = np.sign(edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0])
    return bool(abs(turns.sum()) == len(points))


def _clockwise(points: np.ndarray) -> np.ndarray:
    """Return a polygon clockwise, from the same corner."""
    return np.roll(points[::-1], 1, 0) if _area(points) < 0 else points


def _area(points: np.ndarray) -> float:
    """Return a polygon's area in pixels, negative if it runs the other way round."""
    x, y = (points - points.mean(0)).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _direction(points: np.ndarray) -> float:
    """Find how far a polygon is turned from the nearest axis, in radians; 0 for one that has no longer side.

    From the second moments of its area (https://en.wikipedia.org/wiki/Second_moment_of_area#Any_polygon).
    """
    x, y = (points - points.mean(0)).T
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    cross, area = x * y2 - x2 * y, _area(points)
    centre_x, centre_y = ((x + x2) @ cross / (6 * area), (y + y2) @ cross / (6 * area))
    xx = (x * x + x * x2 + x2 * x2) @ cross / (12 * area) - centre_x**2
    yy = (y * y + y * y2 + y2 * y2) @ cross / (12 * area) - centre_y**2
    xy = (x * y2 + 2 * x * y + 2 * x2 * y2 + x2 * y) @ cross / (24 * area) - centre_x * centre_y
    spread, middle = np.hypot((xx - yy) / 2, xy), (xx + yy) / 2
    if middle + spread < MIN_ELONGATION**2 * (middle - spread):
        return 0.0
    return float((np.arctan2(2 * xy, xx - yy) / 2 + np.pi / 4) % (np.pi / 2) - np.pi / 4)


def _straighten(image: Image.Image, quad: np.ndarray, colour: float | tuple[float, ...], name: str) -> Image.Image:
    """Map the convex quadrilateral (4, 2) to an upright rectangle; what is outside the image gets `colour`."""
    sides = np.linalg.norm(np.roll(quad, -1, 0) - quad, axis=1)  # top, right, bottom, left
    width, height = (max(1, round(max(sides[i], sides[i + 2]))) for i in (0, 1))
    if width * height > (Image.MAX_IMAGE_PIXELS or np.inf):
        raise RegionError(name, "the region is too large.")
    rows, values = [], []
    for (u, v), (x, y) in zip(box(0, 0, width, height), quad, strict=True):
        rows += [(u, v, 1, 0, 0, 0, -x * u, -x * v), (0, 0, 0, u, v, 1, -y * u, -y * v)]
        values += [x, y]
    coefficients = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    transform, bicubic = Image.Transform.PERSPECTIVE, Image.Resampling.BICUBIC
    return image.transform((width, height), transform, coefficients, bicubic, fillcolor=colour)
