"""Images without labels, made ready to be read: none of those that must not be learnt."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from aocr import files
from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine
from aocr.data.builder import BuildOptions, examine, items_in
from aocr.data.datasets import Dataset, summarise
from aocr.data.images import pixel_digest
from aocr.data.record_files import RecordWriter
from aocr.data.records import Example, read_examples
from aocr.report.lines import warn_of

log = logging.getLogger("aocr")


def digests_of(dataset: Dataset, chosen: np.ndarray | None = None) -> Iterator[bytes]:
    """What the images of a dataset are told from others by.

    Args:
      dataset: whose images are meant.
      chosen: (N,) bool, which of them; None: all.
    """
    records = (record for path in dataset.paths for record in read_examples(path))
    for number, record in enumerate(records):
        if chosen is None or chosen[number]:
            yield pixel_digest(record.image)


def _items(source: str, data_base_dir: str | None) -> Iterator[tuple[str, Example | str]]:
    """(name, the image or why it cannot be read) of a folder, an annotation file, records, or one image."""
    is_folder = files.is_folder(source)
    options = BuildOptions(data_base_dir=data_base_dir, label_from_filename=is_folder)
    items = (
        [(1, AnnotationLine(os.path.abspath(source), "", 1))]
        if source.lower().endswith(IMAGE_ENDINGS)
        else items_in(source, options)
    )
    if not isinstance(items, enumerate):  # records stay as they stand: they are read one by one
        items = list(items)
        Random(0).shuffle(items)
    for number, item in items:
        name = item.path if isinstance(item, AnnotationLine) else f"record {number}"
        result = examine(number, replace(item, label=""), source, options)
        yield name, result if isinstance(result, Example) else result.detail


def build_unlabelled(
    sources: Sequence[str], output: str, never: dict[bytes, str], data_base_dir: str | None = None
) -> Dataset | None:
    """Write the images to read as records without labels, each picture once.

    Args:
      sources: folders, image files, annotation files or records; labels in them are ignored.
      output: path of the records.
      never: `pixel_digest` -> what it belongs to, of images to leave out.
      data_base_dir: where the paths of annotation files may start.

    Returns:
      The images; None: there are none left.

    Raises:
      AnnotationError, DatasetError: a source is missing, empty or damaged.
    """
    seen, left_out, broken, count = set(never), Counter[str](), [], 0
    with RecordWriter(output) as writer:
        for name, found in (item for source in sources for item in _items(source, data_base_dir)):
            if isinstance(found, str):
                broken.append(f"{name}: left out: {found}")
                continue
            digest = pixel_digest(found.image)
            if digest in seen:
                left_out[never.get(digest, "other unlabelled images")] += 1
                continue
            seen.add(digest)
            writer.write(found)
            count += 1
    warn_of(log, broken, "unlabelled images cannot be read")
    for where, number in left_out.items():
        log.info("%d unlabelled images left out: they show the same as %s.", number, where)
    log.info("%d unlabelled images to read.", count)
    name = ", ".join(sources)
    return Dataset(name, (output,), summarise([output])) if count else None
