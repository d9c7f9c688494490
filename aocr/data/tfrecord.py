"""Records: images with labels in TFRecord files, as aocr 0.7.6 wrote them and with the image's size beside."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from aocr.charset import normalise
from aocr.errors import DatasetError


@dataclass(frozen=True)
class Example:
    """One record.

    Attributes:
      image: the encoded image.
      label: the text in it, NFC.
      comment: anything; the image's path where it was asked for.
      width, height: of the image in pixels; 0: not known (a record of aocr 0.7.6).
    """

    image: bytes
    label: str
    comment: str = ""
    width: int = 0
    height: int = 0


def first_line(error: BaseException) -> str:
    """What an error says, shortened to one line."""
    text = re.sub(r"\{\{function_node \S+\}\}|\[Op:.*", "", str(getattr(error, "message", error)))
    lines = text.strip().splitlines()
    return lines[0].strip()[:160] if lines else type(error).__name__


def serialize(example: Example) -> bytes:
    """A record's bytes: features image, label (UTF-8), comment; and width, height, which aocr 0.7.6 ignores."""
    texts = {"image": example.image, "label": example.label.encode(), "comment": example.comment.encode()}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in texts.items()}
    for name, value in (("width", example.width), ("height", example.height)):
        features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _text(value: bytes) -> str:
    """UTF-8, or Latin-1 where it is not: records of aocr 0.7.6."""
    try:
        return normalise(value.decode("utf-8"))
    except UnicodeDecodeError:
        return normalise(value.decode("latin-1"))


def parse(serialized: bytes, path: str, number: int) -> Example:
    """The record in `serialized`, number `number` of `path`.

    Raises:
      DatasetError: it is another program's.
    """
    try:
        features = tf.train.Example.FromString(serialized).features.feature
    except Exception:  # protobuf's DecodeError has no public home
        raise DatasetError(path, f"record {number:,} is not of aocr. Build it with aocr dataset.") from None
    if any(name not in features or features[name].WhichOneof("kind") != "bytes_list" for name in ("image", "label")):
        kinds = (f"{name} ({features[name].WhichOneof('kind')})" for name in sorted(features))
        reason = f"record {number:,} has no image and label of bytes; its features: {', '.join(kinds) or 'none'}."
        raise DatasetError(path, f"{reason} Build it with aocr dataset.")

    def one(name):
        values = features[name].bytes_list.value if name in features else ()
        return values[0] if values else b""

    def size(name):
        values = features[name].int64_list.value if name in features else ()
        return values[0] if values else 0

    return Example(one("image"), _text(one("label")), _text(one("comment")), size("width"), size("height"))


def read_examples(path: str) -> Iterator[Example]:
    """The records of one file, in order.

    Raises:
      DatasetError: the file is missing, cut off, damaged, or another program's.
    """
    number = 0
    try:
        for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
            number += 1
            yield parse(serialized, path, number)
    except tf.errors.DataLossError:
        if number == 0:
            raise DatasetError(path, "is not a TFRecord file, or its start is damaged.") from None
        reason = f"record {number + 1:,} is cut off or damaged; the {number:,} before it are whole."
        raise DatasetError(path, f"{reason} Build the file again with aocr dataset.") from None
    except tf.errors.NotFoundError:
        raise DatasetError(path, "there is no such file. Check the path; make records with aocr dataset.") from None
    except tf.errors.OpError as error:
        raise DatasetError(path, f"cannot be read ({first_line(error)}).") from None


def is_tfrecord(path: str) -> bool:
    """Whether a file begins as a TFRecord does: a length whose checksum follows.

    Raises:
      DatasetError: the file cannot be read.
    """
    try:
        return next(tf.data.TFRecordDataset(path).take(1).as_numpy_iterator(), None) is not None
    except tf.errors.DataLossError:
        with tf.io.gfile.GFile(path, "rb") as file:  # cut in its first record: the length's high bytes are zero
            head = file.read(12)
        return len(head) == 12 and head[4:8] == bytes(4)
    except tf.errors.OpError as error:
        raise DatasetError(path, f"cannot be read ({first_line(error)}).") from None


def is_verified(path: str) -> bool:
    """Whether aocr wrote the file, having looked at every image.

    Raises:
      DatasetError: it is damaged or another program's.
    """
    first = next(read_examples(path), None)
    if first is None:
        raise DatasetError(path, "holds no record. Build it with aocr dataset.")
    return first.width > 0


def expand_datasets(patterns: Sequence[str]) -> list[str]:
    """Files that paths and globs name, each once; of one glob in sorted order.

    Raises:
      DatasetError: one names nothing.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        try:
            exists = tf.io.gfile.exists(pattern)
            paths = [pattern] if exists else sorted(tf.io.gfile.glob([pattern, f"{pattern}-*-of-*"]))
        except tf.errors.UnimplementedError:
            scheme = pattern.split("://")[0]
            advice = "For gs:// install tensorflow[gcs-filesystem]."
            raise DatasetError(pattern, f"TensorFlow has no file system for {scheme}://. {advice}") from None
        except tf.errors.OpError as error:
            raise DatasetError(pattern, f"cannot be read ({first_line(error)}).") from None
        if not paths:
            raise DatasetError(pattern, "there is no such file. Check the path; make records with aocr dataset.")
        found.update(dict.fromkeys(paths))
    return list(found)


def shard_paths(path: str, num_shards: int) -> list[str]:
    """`path` itself, or `path-00000-of-00004` and so on."""
    if num_shards == 1:
        return [path]
    return [f"{path}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]


class RecordWriter:
    """Writes records under temporary names and renames the files once all is well: a context manager.

    Args:
      path: of the file, or the stem of the shards.
      num_shards: files that records are dealt to in turn.

    Raises:
      DatasetError: the folder cannot be written or the disk is full.
    """

    def __init__(self, path: str, num_shards: int = 1):
        self.path = path
        self.paths = shard_paths(path, num_shards)
        self._temporary = [f"{p}.{os.getpid()}.tmp" for p in self.paths]
        self._writers: list[tf.io.TFRecordWriter] = []
        self._count = 0

    def _fail(self, error: Exception) -> DatasetError:
        return DatasetError(self.path, f"cannot be written ({first_line(error)}). Free space or check rights.")

    def __enter__(self) -> RecordWriter:
        try:
            if any(tf.io.gfile.isdir(path) for path in self.paths):
                raise DatasetError(self.path, "is a folder. Name a file to write.")
            folder = os.path.dirname(self.path)
            if folder:
                tf.io.gfile.makedirs(folder)
            for path in self._temporary:
                self._writers.append(tf.io.TFRecordWriter(path))
        except BaseException as error:
            self._clear()
            if isinstance(error, tf.errors.OpError):
                raise self._fail(error) from None
            raise
        return self

    def write(self, example: Example) -> None:
        """Add a record."""
        try:
            self._writers[self._count % len(self._writers)].write(serialize(example))
        except tf.errors.OpError as error:
            raise self._fail(error) from None
        self._count += 1

    def __exit__(self, kind, error, trace) -> None:
        try:
            for writer in self._writers:
                writer.close()
            if kind is None:
                for temporary, path in zip(self._temporary, self.paths, strict=True):
                    tf.io.gfile.rename(temporary, path, overwrite=True)
        except tf.errors.OpError as failure:
            if kind is None:  # else what is under way says more
                raise self._fail(failure) from None
        finally:
            self._clear()

    def _clear(self) -> None:
        """Remove what is left under temporary names."""
        for temporary in self._temporary:
            with contextlib.suppress(tf.errors.OpError):
                tf.io.gfile.remove(temporary)
