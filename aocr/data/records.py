"""Records: images with labels in TFRecord files, as aocr 0.7.6 wrote them and with the image's size beside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from aocr import files
from aocr.checksum import HEAD_BYTES, is_head
from aocr.data.framing import TAIL_BYTES, num_fitting
from aocr.errors import DatasetError
from aocr.text.charset import normalise


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

    image, label, comment = (next(iter(features[name].bytes_list.value), b"") for name in ("image", "label", "comment"))
    width, height = (next(iter(features[name].int64_list.value), 0) for name in ("width", "height"))
    return Example(image, _text(label), _text(comment), width, height)


def _cut_off(path: str, num_whole: int) -> DatasetError:
    if num_whole == 0:
        return DatasetError(path, "is not a TFRecord file, or its start is damaged.")
    reason = f"record {num_whole + 1:,} is cut off or damaged; the {num_whole:,} before it are whole."
    return DatasetError(path, f"{reason} Build the file again with aocr dataset.")


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """As this, but not tuned by TensorFlow while it is read.

    What tunes is a thread that sleeps for up to a minute between its looks. At times it sleeps on when reading ends,
    which waits for it: at Ctrl-C, at the end of a validation.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def whole_records(path: str, limit: int | None = None) -> tf.data.Dataset:
    """The records of one file, serialized; it ends before one whose length goes beyond the file's end.

    Args:
      path: of the file.
      limit: on the number of records; None: all.

    Raises:
      DatasetError: the file cannot be read.
    """
    with reading(path):
        return without_autotune(tf.data.TFRecordDataset(path).take(num_fitting(path, limit)))


def check_end(path: str, num_records: int, num_bytes: int) -> None:
    """After the last of `whole_records`: there must be nothing behind it.

    Args:
      path: of the file.
      num_records: that were read from it.
      num_bytes: of all of them, without their frames.

    Raises:
      DatasetError: there is more in the file.
    """
    if files.size(path) != num_bytes + (HEAD_BYTES + TAIL_BYTES) * num_records:
        raise _cut_off(path, num_records)


def missing(path: str) -> DatasetError:
    """The error of a file that is not there."""
    return DatasetError(path, "there is no such file. Check the path; make records with aocr dataset.")


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns a failure to read inside the block into a DatasetError."""
    try:
        with files.tensorflow_errors(path):
            yield
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise DatasetError(path, f"cannot be read ({files.one_line(error)}).") from None


def read_examples(path: str, limit: int | None = None) -> Iterator[Example]:
    """The records of one file, in order; only the first ones where there is a limit.

    Raises:
      DatasetError: the file is missing, cut off, damaged, or another program's.
    """
    number = num_bytes = 0
    try:
        with reading(path):
            for serialized in whole_records(path, limit).as_numpy_iterator():
                number += 1
                num_bytes += len(serialized)
                yield parse(serialized, path, number)
            if number != limit:
                check_end(path, number, num_bytes)
    except tf.errors.DataLossError:
        raise _cut_off(path, number) from None


def is_tfrecord(path: str) -> bool:
    """Whether a file begins as a TFRecord does: a length of 8 bytes whose checksum of 4 bytes follows.

    Raises:
      DatasetError: the file cannot be read.
    """
    with reading(path):
        files.refuse_endless(path)  # what is read from it would be gone
        return is_head(files.read(path, HEAD_BYTES))


def is_verified(path: str) -> bool:
    """Whether aocr wrote the file, having looked at every image.

    Raises:
      DatasetError: it is damaged or another program's.
    """
    first = next(read_examples(path, limit=1), None)
    if first is None:
        raise DatasetError(path, "holds no record. Build it with aocr dataset.")
    return first.width > 0
