"""Records: images with labels in TFRecord files, in the format of aocr 0.7.6 plus each image's size.

Files are found by path, glob or shard stem, and written completely or not at all.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from aocr import files
from aocr.errors import DatasetError
from aocr.text.charset import normalise
from aocr.tfrecord import HEAD_BYTES, check_replaceable, encode_example, is_head

log = logging.getLogger("aocr")

_SHARD = re.compile(r".*-\d{5}-of-\d{5}", re.DOTALL)
_TEMPORARY = re.compile(r".*\.\d+\.tmp", re.DOTALL)

FRAME_BYTES = 16
"""Bytes around each record in a TFRecord file: its length (8) and two checksums (4 each)."""

without_autograph = tf.autograph.experimental.do_not_convert
"""Decorator for functions that build a dataset: functions they map are traced without AutoGraph, which is faster."""


@dataclass(frozen=True)
class Example:
    """One record."""

    image: bytes
    """The encoded image."""
    label: str
    """The text in it, NFC."""
    comment: str = ""
    """Any text; the image's path with `--save-filename`."""
    width: int = 0
    """Width of the image in pixels; 0 if unknown (a record of aocr 0.7.6)."""
    height: int = 0
    """Height of the image in pixels; 0 if unknown."""
    is_blank: bool = False
    """Whether the image was checked and shows nothing; not stored."""


def _text(value: bytes) -> str:
    """Decode UTF-8, or Latin-1 in records of aocr 0.7.6."""
    try:
        return normalise(value.decode("utf-8"))
    except UnicodeDecodeError:
        return normalise(value.decode("latin-1"))


def parse(serialized: bytes, path: str, number: int) -> Example:
    """Decode record `number` of the file `path`, of aocr or of the form of FSNS (`image/encoded`, `image/text`).

    Raises:
      DatasetError: it is of neither.
    """
    try:
        features = tf.train.Example.FromString(serialized).features.feature
        if "image/encoded" in features:
            image, label = (features[name].bytes_list.value[0] for name in ("image/encoded", "image/text"))
            return Example(image, _text(label))  # of unknown size: not verified
        image, label = features["image"].bytes_list.value[0], features["label"].bytes_list.value[0]
    except Exception:  # protobuf's DecodeError, which has no public home, or IndexError
        reason = f"record {number:,} lacks the features 'image' and 'label'. Build the file with aocr dataset."
        raise DatasetError(path, reason) from None
    comment = next(iter(features["comment"].bytes_list.value), b"")
    width, height = (next(iter(features[name].int64_list.value), 0) for name in ("width", "height"))
    return Example(image, _text(label), _text(comment), width, height)


def damaged_record(path: str, num_intact: int) -> DatasetError:
    """Return the error for a file that is damaged after `num_intact` records."""
    if num_intact == 0:
        return DatasetError(path, "is not a TFRecord file, or its start is damaged.")
    reason = f"record {num_intact + 1:,} is cut off or damaged. Build the file again with aocr dataset."
    return DatasetError(path, reason)


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Raise a DatasetError in place of an error of the file system inside the block."""
    try:
        with files.tensorflow_errors(path):
            yield
    except FileNotFoundError:
        reason = "there is no such file. Check the path; make records with aocr dataset."
        raise DatasetError(path, reason) from None
    except OSError as error:
        raise DatasetError(path, f"cannot be read ({files.one_line(error)}).") from None


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turn off tf.data's autotuning: its thread sleeps up to a minute and delays Ctrl-C and the end of a validation."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def check_lengths(path: str, limit: int | None = None) -> None:
    """Check that the records of a file, or the first `limit` of them, end within it.

    TensorFlow reserves memory for whatever length a record claims, and ignores a file cut inside a length.

    Raises:
      DatasetError: the file cannot be read, is cut off, or contains a wrong length.
    """
    position = number = 0
    with reading(path):
        size = files.size(path)
        with files.opened(path) as file:
            while position < size and number != limit:
                file.seek(position)
                position += int.from_bytes(file.read(8), "little") + FRAME_BYTES
                number += 1
    if position > size:
        raise damaged_record(path, number - 1)


def read_examples(path: str, limit: int | None = None) -> Iterator[Example]:
    """Read the records of one file in order, up to `limit`.

    Raises:
      DatasetError: the file is missing, cut off, damaged, or was written by another program.
    """
    check_lengths(path, limit)
    records = tf.data.TFRecordDataset(path).take(-1 if limit is None else limit)
    number = 0
    try:
        with reading(path):
            for number, serialized in enumerate(without_autotune(records).as_numpy_iterator(), 1):
                yield parse(serialized, path, number)
    except tf.errors.DataLossError:
        raise damaged_record(path, number) from None


def is_tfrecord(path: str) -> bool:
    """Whether a file starts like a TFRecord, with an 8-byte length and its checksum."""
    with reading(path):
        files.refuse_device(path)  # bytes read from a pipe cannot be read again
        return is_head(files.read(path, HEAD_BYTES))


def is_verified(path: str) -> bool:
    """Whether aocr wrote a record file after checking every image; raise a DatasetError if it is not a record file."""
    first = next(read_examples(path, limit=1), None)
    if first is None:
        raise DatasetError(path, "contains no records. Build it with aocr dataset.")
    return first.width > 0


def shard_paths(path: str, num_shards: int) -> list[str]:
    """List `path` itself for one shard, otherwise `path-00000-of-00004` and so on."""
    if num_shards == 1:
        return [path]
    return [f"{path}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]


def _shards(stem: str) -> list[str]:
    """Find the shards of a stem, sorted; raise a DatasetError if they are incomplete or from different builds."""
    paths = [path for path in files.find(f"{glob.escape(stem)}-*-of-*") if _SHARD.fullmatch(path)]
    totals = {int(path[-5:]) for path in paths}
    if len(totals) > 1:
        raise DatasetError(stem, "has shards of different builds. Remove the older files.")
    for total in totals:
        if missing_paths := set(shard_paths(stem, total)) - set(paths):
            reason = f"its shard {min(missing_paths)} is missing. Restore it, or build again with aocr dataset."
            raise DatasetError(stem, reason)
    return paths


def matching_files(pattern: str) -> list[str]:
    """Find the files that a path, a glob, or the stem of shards names, sorted.

    Raises:
      DatasetError: the shards are incomplete.
    """
    if files.exists(pattern):
        return [pattern]
    paths = _shards(pattern) or [path for path in files.find(pattern) if not _TEMPORARY.fullmatch(path)]
    return [path for path in paths if files.size(path)] or paths  # a shard may be empty


def expand_datasets(patterns: Sequence[str]) -> list[str]:
    """Find the files that paths, globs and stems of shards name, each once; sorted within a pattern.

    Raises:
      DatasetError: a pattern names nothing or incomplete shards.
    """
    by_real_path: dict[str, str] = {}
    for pattern in patterns:
        with reading(pattern):
            paths = matching_files(pattern)
            if not paths:
                raise FileNotFoundError
        for path in paths:
            by_real_path.setdefault(path if files.is_remote(path) else os.path.realpath(path), path)
    return list(by_real_path.values())


class RecordWriter:
    """Context manager that writes records to temporary files and renames them at the end.

    Only record files are replaced, never files of another type. Records go to the shards in turn.

    Raises:
      DatasetError: the folder cannot be written, the disk is full, or a file of another type has the name.
    """

    def __init__(self, path: str, num_shards: int = 1):
        self.path = path
        self.paths = shard_paths(path, num_shards)
        self._temporary = [f"{p}.{os.getpid()}.tmp" for p in self.paths]
        self._writers: list[tf.io.TFRecordWriter] = []
        self._count = 0

    def _writing(self) -> contextlib.AbstractContextManager:
        return files.writing(self.path, functools.partial(DatasetError, self.path), "Free space or check rights.")

    def __enter__(self) -> RecordWriter:
        try:
            with self._writing():
                for path in self.paths:
                    check_replaceable(path)
                folder = os.path.dirname(self.path)
                if folder and not files.is_folder(folder):
                    files.make_folder(folder)
                    log.info("Made the folder %s", folder)
                self._writers += map(tf.io.TFRecordWriter, self._temporary)
        except BaseException:
            self._clear()
            raise
        return self

    def write(self, example: Example) -> None:
        """Add a record."""
        with self._writing():
            record = encode_example(example.image, example.label, example.width, example.height, example.comment)
            self._writers[self._count % len(self._writers)].write(record)
        self._count += 1

    def __exit__(self, kind, error, trace) -> None:
        try:
            with self._writing():
                for writer in self._writers:
                    writer.close()
                if kind is None:
                    for temporary, path in zip(self._temporary, self.paths, strict=True):
                        files.rename(temporary, path)
        except DatasetError:
            if kind is None:  # otherwise the first error says more
                raise
        finally:
            self._clear()

    def _clear(self) -> None:
        """Remove the temporary files that are left."""
        for temporary in self._temporary:
            with contextlib.suppress(OSError):
                files.remove(temporary)
