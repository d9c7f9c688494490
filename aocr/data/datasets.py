"""Open the datasets of a command: records of aocr are used as they are, others are converted first."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import chain, compress
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr import files
from aocr.config import DEFAULT_SOURCE, MAX_LENGTH, SourceOptions
from aocr.data.automatic import split_key, validation_mask
from aocr.data.builder import BuildOptions, BuildReport, build_records
from aocr.data.formats import folders
from aocr.data.records import (
    Example,
    check_lengths,
    expand_datasets,
    is_tfrecord,
    is_verified,
    read_examples,
    without_autotune,
)  # fmt: skip
from aocr.errors import DatasetError

log = logging.getLogger("aocr")

MAX_PIXELS = 2**27
"""Upper limit of an image's pixels; Pillow's is lower."""
FEATURES = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "label": tf.io.FixedLenFeature((), tf.string),
    "comment": tf.io.FixedLenFeature((), tf.string, default_value=""),
    "width": tf.io.FixedLenFeature((), tf.int64, default_value=0),
    "height": tf.io.FixedLenFeature((), tf.int64, default_value=0),
}
"""Features of a record."""


class Summary(NamedTuple):
    """Labels, sizes and split of N records."""

    labels: list[str]
    """N texts."""
    sizes: np.ndarray
    """(N, 2) int width and height in pixels."""
    split_keys: np.ndarray
    """(N,) int64, `split_key` of each image."""
    held_out: np.ndarray
    """(N,) bool, not to be trained on; at first the validation images of `validation_mask`."""
    num_bytes: int
    """Bytes of all encoded images."""
    files: np.ndarray
    """(N,) int, index of the file that holds each record."""


def _summarise_file(path: str) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """Read labels, (N, 2) sizes, (N,) split keys and the bytes of all images from one file."""
    labels: list[str] = []
    sizes, keys, num_bytes = [], [], 0
    for serialized in without_autotune(tf.data.TFRecordDataset(path).batch(1024)):
        records = tf.io.parse_example(serialized, FEATURES)
        labels += [label.decode() for label in records["label"].numpy()]
        sizes.append(np.stack([records["width"], records["height"]], 1))
        keys.append(split_key(records["image"]).numpy())
        num_bytes += int(tf.reduce_sum(tf.strings.length(records["image"])))
    return labels, np.concatenate(sizes), np.concatenate(keys), num_bytes


def summarise(paths: Sequence[str]) -> Summary:
    """Read labels and sizes of all records, at least one a file, without decoding an image.

    Raises:
      DatasetError: a file is damaged, was written by another program, or has impossible labels or sizes.
    """
    parts = []
    for path in paths:
        check_lengths(path)
        try:
            parts.append(_summarise_file(path))
        except tf.errors.DataLossError as error:
            reason = f"a record is damaged ({files.one_line(error)}). Build the file again with aocr dataset."
            raise DatasetError(path, reason) from None
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
            reason = "contains records of another program. Build the file with aocr dataset."
            raise DatasetError(path, reason) from None
        labels, sizes, *_ = parts[-1]
        if sizes.min() < 1 or sizes.astype(float).prod(1).max() > MAX_PIXELS:
            raise DatasetError(path, "has impossible image sizes. Build the file again with aocr dataset.")
        if (length := max(map(len, labels))) > MAX_LENGTH:
            raise DatasetError(path, f"has a label of {length:,} characters. Build the file again with aocr dataset.")
    all_labels, all_sizes, all_keys, num_bytes = zip(*parts, strict=True)
    keys = np.concatenate(all_keys)
    return Summary(
        labels=[label for labels in all_labels for label in labels],
        sizes=np.concatenate(all_sizes),
        split_keys=keys,
        held_out=validation_mask(keys),
        num_bytes=sum(num_bytes),
        files=np.repeat(np.arange(len(paths)), [len(labels) for labels in all_labels]),
    )


@dataclass(frozen=True)
class Dataset:
    """Records ready for the pipeline."""

    name: str
    """The dataset as the user typed it."""
    paths: tuple[str, ...]
    """TFRecord files."""
    summary: Summary
    """Labels, sizes and split of all records."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> number of lines or records that could not be used."""

    def records(self, chosen: np.ndarray | None = None) -> Iterator[Example]:
        """Yield the records, or those in `chosen`, (N,) bool."""
        records = chain.from_iterable(map(read_examples, self.paths))
        return records if chosen is None else compress(records, chosen)


def spread(usable: np.ndarray, limit: int) -> np.ndarray:
    """Choose up to `limit` of the usable records, evenly spread: (N,) bool -> (N,) bool."""
    indices = np.flatnonzero(usable)
    chosen = np.zeros(len(usable), bool)
    chosen[indices[:: max(1, -(-len(indices) // limit))]] = True
    return chosen


def _warn_of_labels(source: str, report: BuildReport) -> None:
    """Log the labels that are empty, doubtful or left out."""
    for doubt in report.doubts:
        log.warning("%s: %s", source, doubt)
    if report.num_empty:
        log.info("%s: %d of %d labels are empty", source, report.num_empty, report.num_images)
    for reason, count in report.num_dropped.items():
        first = next(drop for drop in report.drops if drop.reason == reason)
        message = "%s: %d left out (%s). The first is line or record %d: %s"
        log.warning(message, source, count, reason, first.number, first.detail)


@contextmanager
def open_dataset(
    patterns: Sequence[str], options: SourceOptions = DEFAULT_SOURCE, written: frozenset[str] = frozenset()
) -> Iterator[Dataset]:
    """Prepare datasets for the pipeline; temporary records are removed on leaving.

    Args:
      patterns: TFRecords (globs, shards), annotation files, folders.
      options: how they are read.
      written: real paths of output files, which no line may name.

    Raises:
      AnnotationError, DatasetError: a file is missing, damaged, of another program, or has no usable line; a line
        names one of `written`; or, inside the block, an image of a record cannot be decoded.
    """
    with tempfile.TemporaryDirectory(prefix="aocr-") as folder:
        settings = {field.name: getattr(options, field.name) for field in fields(SourceOptions)}
        build = BuildOptions(**settings, save_filename=True, written=written)
        paths: list[str] = []
        skipped = Counter[str]()
        sources = expand_datasets(patterns)
        texts = set(folders.pair_texts(sources))
        for source in [*(path for path in sources if path not in texts), *sorted(texts)[:1]]:
            if not files.is_folder(source) and is_tfrecord(source) and is_verified(source):
                paths.append(source)
                continue
            log.info("Checking the images of %s", source)
            path = os.path.join(folder, f"{len(paths)}.tfrecords")
            report = build_records(source, path, build, texts=sorted(texts) if source in texts else ())
            _warn_of_labels(source, report)
            skipped.update(report.num_dropped)
            paths.append(path)
        name = ", ".join(patterns)
        dataset = Dataset(name, tuple(paths), summarise(paths), dict(skipped))
        with _decoding_images(name):
            yield dataset


@contextmanager
def _decoding_images(name: str) -> Iterator[None]:
    """Raise a DatasetError if TensorFlow cannot decode an image; record files are not checked again."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.InternalError) as error:
        match = re.search(r"Iterator::Root\S*: ([^\[\n]*)", error.message)
        if not match and "bucket_boundaries" not in error.message:
            raise
        reason = match[1].rstrip(". ")[:160] if match else "it is wider than its record says"
        reason = f"contains an image that cannot be read ({reason}). Build it again with aocr dataset."
        raise DatasetError(name, reason) from None
