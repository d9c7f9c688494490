"""Datasets as commands name them: records of aocr as they are, anything else through the builder first."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr import files
from aocr.config import MAX_LENGTH
from aocr.data.automatic import split_key, validation_mask
from aocr.data.builder import BuildOptions, BuildReport, build_records
from aocr.data.record_files import expand_datasets
from aocr.data.records import check_end, is_tfrecord, is_verified, whole_records
from aocr.errors import DatasetError

log = logging.getLogger("aocr")

MAX_PIXELS = 2**27
"""Of an image; Pillow takes fewer."""
FEATURES = {
    "image": tf.io.FixedLenFeature((), tf.string),
    "label": tf.io.FixedLenFeature((), tf.string),
    "comment": tf.io.FixedLenFeature((), tf.string, default_value=""),
    "width": tf.io.FixedLenFeature((), tf.int64, default_value=0),
    "height": tf.io.FixedLenFeature((), tf.int64, default_value=0),
}
"""What a record holds."""


class Summary(NamedTuple):
    """What one look at every record tells. N records.

    Attributes:
      labels: N texts.
      sizes: (N, 2) int width and height in pixels.
      split_keys: (N,) int64, `split_key` each image.
      held_out: (N,) bool, not to be trained on; at first those that the split holds out.
      num_bytes: bytes of all encoded images.
      files: (N,) int, number of the file each is in.
    """

    labels: list[str]
    sizes: np.ndarray
    split_keys: np.ndarray
    held_out: np.ndarray
    num_bytes: int
    files: np.ndarray


def summarise(paths: Sequence[str]) -> Summary:
    """Read labels and sizes of all records without decoding an image.

    Raises:
      DatasetError: a file is cut off within the head of a record, or a label is longer than any network reads.
      tf.errors.OpError: it is cut off or damaged elsewhere, or another program's.
    """

    def look(serialized):
        parsed = tf.io.parse_example(serialized, FEATURES)
        size = tf.stack([parsed["width"], parsed["height"]], 1)
        num_bytes = tf.reduce_sum(tf.strings.length(parsed["image"])), tf.reduce_sum(tf.strings.length(serialized))
        return parsed["label"], size, split_key(parsed["image"]), *num_bytes

    labels: list[str] = []
    sizes, places, numbers, num_bytes = [], [], [], 0
    for number, path in enumerate(paths):
        num_before, file_bytes = len(labels), 0
        for label, size, place, image_bytes, record_bytes in whole_records(path).batch(1024).map(look):
            labels += [value.decode("utf-8") for value in label.numpy()]
            if len(longest := max(labels[-len(label) :], key=len)) > MAX_LENGTH:
                reason = f"has a label of {len(longest):,} characters, which no network reads."
                raise DatasetError(path, f"{reason} Build it anew with aocr dataset, which leaves it out.")
            sizes.append(size.numpy())
            places.append(place.numpy())
            numbers.append(np.full(len(label), number))
            num_bytes += int(image_bytes)
            file_bytes += int(record_bytes)
        check_end(path, len(labels) - num_before, file_bytes)
    all_keys = np.concatenate(places)
    held_out = validation_mask(all_keys)
    return Summary(labels, np.concatenate(sizes), all_keys, held_out, num_bytes, np.concatenate(numbers))


@dataclass(frozen=True)
class Dataset:
    """Records ready for the pipeline.

    Attributes:
      name: as the user wrote it.
      paths: TFRecord files whose images have been checked.
      summary: of all records.
      skipped: reason -> number of lines or records that could not be used.
    """

    name: str
    paths: tuple[str, ...]
    summary: Summary
    skipped: dict[str, int] = field(default_factory=dict)


def _sources(patterns: Sequence[str]) -> list[str]:
    """Folders as they are; everything else expanded to files."""
    folders = [pattern for pattern in patterns if files.is_folder(pattern)]
    others = [pattern for pattern in patterns if pattern not in folders]
    return folders + (expand_datasets(others) if others else [])


def _tell(source: str, report: BuildReport) -> None:
    for reason, count in report.num_dropped.items():
        first = next(drop for drop in report.drops if drop.reason == reason)
        log.warning(
            "%s: %d left out (%s). The first is line or record %d: %s",
            source,
            count,
            reason,
            first.number,
            first.detail,
        )


@contextmanager
def open_dataset(
    patterns: Sequence[str], data_base_dir: str | None = None, written: frozenset[str] = frozenset()
) -> Iterator[Dataset]:
    """Make the datasets ready; what had to be built is removed on leaving.

    Args:
      patterns: TFRecords (globs, shards), annotation files, or folders whose file names are the labels.
      data_base_dir: where the paths of annotation files may start.
      written: real paths of files that are written, which no line may name.

    Raises:
      AnnotationError, DatasetError: a file is missing, damaged, of another program, or has no usable line; or a line
        names one of `written`.
    """
    with tempfile.TemporaryDirectory(prefix="aocr-") as folder:
        paths: list[str] = []
        skipped: dict[str, int] = {}
        for source in _sources(patterns):
            is_folder = files.is_folder(source)
            if not is_folder and is_tfrecord(source) and is_verified(source):
                paths.append(source)
                continue
            options = BuildOptions(
                data_base_dir=data_base_dir, label_from_filename=is_folder, save_filename=True, written=written
            )
            path = os.path.join(folder, f"{len(paths)}.tfrecords")
            log.info("Checking the images of %s%s", source, ", whose file names are the labels" if is_folder else "")
            report = build_records(source, path, options)
            _tell(source, report)
            for reason, count in report.num_dropped.items():
                skipped[reason] = skipped.get(reason, 0) + count
            paths.append(path)
        name = ", ".join(patterns)
        summary = checked_summary(name, paths)
        with _reading_images(name, all_checked=all(os.path.dirname(path) == folder for path in paths)):
            yield Dataset(name, tuple(paths), summary, skipped)


@contextmanager
def _reading_images(name: str, all_checked: bool) -> Iterator[None]:
    """Tells an image that TensorFlow cannot read, inside the block: of a file of records only the first was looked at.

    Args:
      name: of the dataset.
      all_checked: whether all were.

    Raises:
      DatasetError: there is such an image.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.InternalError) as error:
        _, of_a_record, reason = error.message.partition("Iterator::Root")
        if "bucket_boundaries" in error.message:
            of_a_record, reason = "yes", "it is wider than its record says"
        if all_checked or not of_a_record:
            raise
        reason = re.sub(r"^\S*: |\[\[.*", "", reason, flags=re.DOTALL).strip().rstrip(".")[:160]
        reason = f"holds an image that cannot be read ({reason})"
        raise DatasetError(name, f"{reason}. Build it again with aocr dataset, which looks at each.") from None


def checked_summary(name: str, paths: Sequence[str]) -> Summary:
    """As `summarise`, of records that anybody may have written.

    Args:
      name: of them, for messages.
      paths: TFRecord files, each of at least one record.

    Raises:
      DatasetError: they are damaged or another program's, or have labels or sizes that cannot be.
    """
    try:
        summary = summarise(paths)
        sizes = summary.sizes.astype(float)
        if sizes.min() < 1 or sizes.prod(1).max() > MAX_PIXELS:
            reason = "has images of sizes that cannot be. Build it again with aocr dataset."
            raise DatasetError(name, reason)
        return summary
    except tf.errors.DataLossError as error:
        reason = f"a record is cut off or damaged ({files.one_line(error)})"
        raise DatasetError(name, f"{reason}. Build it again with aocr dataset.") from None
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):
        raise DatasetError(name, "has records of another program. Build it with aocr dataset.") from None
