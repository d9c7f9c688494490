"""Read parts of images: the boxes that a detector found, or each image as a whole."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from aocr import files
from aocr.data.formats.boxes import regions_of
from aocr.data.images import CanonicalImage, canonical_image, read_file
from aocr.data.regions import Corners, cut_out, name_region, split_region
from aocr.errors import AnnotationError, ImageError
from aocr.reading.predictor import Predictor
from aocr.results import Prediction

BOX_ENDINGS = (".txt", ".csv", ".tsv", ".json", ".xml")
"""Extensions of the file with an image's boxes, in a folder."""

log = logging.getLogger("aocr")


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


class Boxes:
    """The regions that a detector found, from one file for all images or from a folder with a file for each.

    Args:
      path: a file that `regions_of` reads, or a folder of them, each named like its image.
      only: whether there is a single image; then a file that names one image, under whatever name, is about it.
    """

    def __init__(self, path: str, only: bool = False):
        self.path, self._only = path, only
        self._by_name: dict[str, list[Corners]] | None = None

    def __call__(self, image: str, width: int, height: int) -> list[Corners]:
        """Return the regions of an image of `width` x `height` pixels, in the order of the file; log if it has none.

        Raises:
          AnnotationError: the file is missing, damaged, or in no known format.
        """
        stem = os.path.splitext(os.path.basename(image))[0]
        path = self.path
        if files.is_folder(path):
            names = (os.path.join(path, stem + ending) for ending in BOX_ENDINGS)
            path = next((name for name in names if files.exists(name) and files.size(name)), "")
            regions = [region.corners for region in regions_of(path, (width, height))] if path else []
        else:
            regions = self._of_name(os.path.abspath(image), stem, (width, height))
        if not regions:
            log.warning("%s: no boxes of it in %s.", image, self.path)
        return regions

    def _of_name(self, image: str, stem: str, size: tuple[int, int]) -> list[Corners]:
        """Return the regions under an image's path, its last parts, its name, or its name without extension."""
        if self._by_name is None:
            regions = regions_of(self.path, size)
            named: dict[str, list[Corners]] = {}
            for region in regions:
                named.setdefault(region.image.replace("\\", "/").removeprefix("./"), []).append(region.corners)
            if named.keys() == {""}:
                if not self._only:
                    reason = "does not say of which images its boxes are. Give a folder with a file for each."
                    raise AnnotationError(self.path, None, reason)
                return named[""]
            self._by_name = named
        if self._only and len(self._by_name) == 1:
            return next(iter(self._by_name.values()))
        parts = image.replace(os.sep, "/").split("/")
        for key in (*("/".join(parts[i:]) for i in range(len(parts))), stem):
            if key in self._by_name:
                return self._by_name[key]
        ends = (f"/{parts[-1]}", f"/{stem}")
        return next((regions for name, regions in self._by_name.items() if name.endswith(ends)), [])


def _whole(path: str, width: int, height: int) -> list[Corners]:
    return [()]


def read_parts(
    predictor: Predictor, paths: Iterable[str], boxes: Callable[[str, int, int], Iterable[Corners]] = _whole
) -> Iterator[tuple[Part, Prediction | ImageError]]:
    """Read the parts of images, in order; an image that cannot be opened gives one ImageError.

    Args:
      predictor: reads them, in batches across images.
      paths: of the images, or of parts of them as `split_region` reads them.
      boxes: returns the parts of an image, given its path, width and height, if the path names none; by default all.
    """
    parts: deque[Part] = deque()

    def images() -> Iterator[Any]:
        for path, named in map(split_region, paths):
            try:
                page = canonical_image(read_file(path), path)
            except ImageError as error:
                parts.append(Part(path))
                yield error
                continue
            for region in [named] if named else boxes(path, page.width, page.height):
                part = Part(path, region, page.width, page.height)
                parts.append(part)
                yield _cut(page, part) if region else page

    for result in predictor.predict_each(images()):
        yield parts.popleft(), result


def _cut(page: CanonicalImage, part: Part) -> bytes | ImageError:
    try:
        return cut_out(page.data, part.region, part.name)
    except ImageError as error:
        return error
