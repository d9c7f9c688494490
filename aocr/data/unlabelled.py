"""Prepare unlabelled images for pseudo-labels, leaving out those that must not be trained on."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from aocr import files
from aocr.config import DEFAULT_SOURCE, SourceOptions
from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine, images_in
from aocr.data.builder import BuildOptions, examine, items_in
from aocr.data.datasets import Dataset, summarise
from aocr.data.images import pixel_digest
from aocr.data.records import Example, RecordWriter
from aocr.errors import AnnotationError
from aocr.report.lines import warn_of

log = logging.getLogger("aocr")


def digests_of(dataset: Dataset, chosen: np.ndarray | None = None) -> Iterator[bytes]:
    """Compute the `pixel_digest` of each image of a dataset, or of those in `chosen`, (N,) bool."""
    return (pixel_digest(record.image) for record in dataset.records(chosen))


def _items(source: str, options: SourceOptions) -> Iterator[tuple[str, Example | str]]:
    """Yield (name, image or error) from a folder, an annotation file, records, or one image."""
    is_image = source.lower().endswith(IMAGE_ENDINGS)
    if is_image or files.is_folder(source):
        if not (paths := [source] if is_image else images_in(source)):
            raise AnnotationError(source, None, "contains no images.")
        items: Iterable = [(1, AnnotationLine(os.path.abspath(path), "", 1)) for path in paths]
    else:
        items = items_in(source, options)
    if not isinstance(items, enumerate):  # shuffle lines, but not records, which are read one by one
        items = list(items)
        Random(0).shuffle(items)
    build = BuildOptions(data_base_dir=options.data_base_dir, empty_labels=True)
    for number, item in items:
        name = item.path if isinstance(item, AnnotationLine) else f"record {number}"
        result = examine(number, replace(item, label=""), source, build)
        yield name, result if isinstance(result, Example) else result.detail


def build_unlabelled(
    sources: Sequence[str], output: str, never: dict[bytes, str], options: SourceOptions = DEFAULT_SOURCE
) -> Dataset | None:
    """Write unlabelled images as records, each picture once.

    Args:
      sources: folders, image files, annotation files or records; their labels are ignored.
      output: path of the records.
      never: `pixel_digest` -> source, of images to leave out.
      options: how annotation files are read.

    Returns:
      The images; None if all are left out.
    """
    digests, left_out, errors, count = set(never), Counter[str](), [], 0
    with RecordWriter(output) as writer:
        for name, image in (item for source in sources for item in _items(source, options)):
            if isinstance(image, str):
                errors.append(f"{name}: left out: {image}")
                continue
            digest = pixel_digest(image.image)
            if digest in digests:
                left_out[never.get(digest, "other unlabelled images")] += 1
                continue
            digests.add(digest)
            writer.write(image)
            count += 1
    warn_of(log, errors, "unlabelled images cannot be read")
    for source, number in left_out.items():
        log.info("%d unlabelled images left out: identical to %s.", number, source)
    log.info("%d unlabelled images.", count)
    return Dataset(", ".join(sources), (output,), summarise([output])) if count else None
