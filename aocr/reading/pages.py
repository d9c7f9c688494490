"""Read parts of images: the boxes that a detector found, or each image as a whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from aocr.data.images import CanonicalImage, canonical_image, read_file
from aocr.data.regions import Corners, cut_out, name_region
from aocr.errors import ImageError
from aocr.reading.predictor import Predictor
from aocr.results import Prediction

Boxes = Callable[[str, int, int], Iterable[Corners]]
"""Returns the parts of the image at a path, whose width and height in pixels are given."""


class Part(NamedTuple):
    """A part of an image."""

    path: str
    """Path of the image."""
    region: Corners = ()
    """Its corners; (): the whole image."""
    width: int = 0
    """Width of the whole image in pixels; 0: unknown."""
    height: int = 0
    """Height of the whole image in pixels; 0: unknown."""

    @property
    def name(self) -> str:
        """The path, with the region behind it as in annotation files."""
        return name_region(self.path, self.region)


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
    try:
        return cut_out(page.data, region, path)
    except ImageError as error:
        return error
