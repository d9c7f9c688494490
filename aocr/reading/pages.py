"""Read parts of images: the boxes that a detector found, or each image as a whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from aocr.data.images import CanonicalImage, canonical_image, read_file
from aocr.errors import ImageError
from aocr.reading.predictor import Predictor
from aocr.results import Prediction

Corners = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels, clockwise from the top left of the text; (): the whole image."""
Boxes = Callable[[str, int, int], Iterable[Corners]]
"""Returns the parts of the image at a path, whose width and height in pixels are given."""


class Part(NamedTuple):
    """A part of an image."""

    path: str
    """Path of the image."""
    region: Corners = ()
    """Its corners."""
    width: int = 0
    """Width of the whole image in pixels; 0: unknown."""
    height: int = 0
    """Height of the whole image in pixels; 0: unknown."""

    @property
    def name(self) -> str:
        """The path, with the region behind it as in annotation files."""
        return f"{self.path}#{','.join(f'{v:g}' for v in _numbers(self.region))}" if self.region else self.path


def _numbers(region: Corners) -> list[float]:
    """Return x, y, width and height of an upright region; of another, x and y of each corner."""
    (x0, y0), *_ = region
    x1, y1 = max(region)
    if set(region) == {(x0, y0), (x1, y0), (x1, y1), (x0, y1)}:
        return [x0, y0, x1 - x0, y1 - y0]
    return [value for corner in region for value in corner]


def _whole(path: str, width: int, height: int) -> list[Corners]:
    return [()]


def read_parts(
    predictor: Predictor, paths: Iterable[str], boxes: Boxes = _whole
) -> Iterator[tuple[Part, Prediction | ImageError]]:
    """Read the parts of images, in order; an image that cannot be opened gives one ImageError.

    Args:
      predictor: reads them, in batches across images.
      paths: of the images.
      boxes: returns the parts of an image; by default the whole image.
    """
    parts: deque[Part] = deque()

    def images() -> Iterator[Any]:
        for path in paths:
            try:
                page = canonical_image(read_file(path), path)
            except ImageError as error:
                parts.append(Part(path))
                yield error
                continue
            for region in boxes(path, page.width, page.height):
                parts.append(Part(path, region, page.width, page.height))
                yield _cut(page, region, path) if region else page.data

    for result in predictor.predict_each(images()):
        yield parts.popleft(), result


def _cut(page: CanonicalImage, region: Corners, path: str) -> bytes | ImageError:
    from aocr.data.formats.regions import cut_out

    try:
        return cut_out(page.data, region, path)
    except ImageError as error:
        return error
