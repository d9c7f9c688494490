"""Records: images with labels in TFRecord files, as aocr 0.7.6 wrote them and with the image's size beside."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from aocr import files
from aocr.errors import DatasetError
from aocr.text.charset import normalise

_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})", re.DOTALL)
_TEMPORARY = re.compile(r".*\.\d+\.tmp", re.DOTALL)


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
    reason = f"record {num_whole + 1:,} is cut off or damaged; the {num_whole:,} before it are whole."
    return DatasetError(path, f"{reason} Build the file again with aocr dataset.")


def check_end(path: str, num_records: int, num_bytes: int) -> None:
    """After a file's last record: TensorFlow takes one that is cut in its first 12 bytes for the end.

    Args:
      path: of the file.
      num_records: that were read from it.
      num_bytes: of all of them; each has 16 more in the file.

    Raises:
      DatasetError: there is more in the file.
    """
    if files.size(path) != num_bytes + 16 * num_records:
        raise _cut_off(path, num_records)


def _missing(path: str) -> DatasetError:
    return DatasetError(path, "there is no such file. Check the path; make records with aocr dataset.")


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turns a failure to read inside the block into a DatasetError."""
    try:
        with files.tensorflow_errors(path):
            yield
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise DatasetError(path, f"cannot be read ({files.one_line(error)}).") from None


def read_examples(path: str) -> Iterator[Example]:
    """The records of one file, in order.

    Raises:
      DatasetError: the file is missing, cut off, damaged, or another program's.
    """
    number = num_bytes = 0
    try:
        with _reading(path):
            for serialized in tf.data.TFRecordDataset(path).as_numpy_iterator():
                number += 1
                num_bytes += len(serialized)
                yield parse(serialized, path, number)
            check_end(path, number, num_bytes)
    except tf.errors.DataLossError:
        if number == 0:
            raise DatasetError(path, "is not a TFRecord file, or its start is damaged.") from None
        raise _cut_off(path, number) from None


def _masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord files: CRC-32C (Castagnoli), rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def is_tfrecord(path: str) -> bool:
    """Whether a file begins as a TFRecord does: a length of 8 bytes whose checksum of 4 bytes follows.

    Raises:
      DatasetError: the file cannot be read.
    """
    with _reading(path):
        head = files.read(path, 12)
    return len(head) == 12 and int.from_bytes(head[8:], "little") == _masked_crc32c(head[:8])


def is_verified(path: str) -> bool:
    """Whether aocr wrote the file, having looked at every image.

    Raises:
      DatasetError: it is damaged or another program's.
    """
    first = next(read_examples(path), None)
    if first is None:
        raise DatasetError(path, "holds no record. Build it with aocr dataset.")
    return first.width > 0


def _glob(pattern: str) -> list[str]:
    """Files of a glob, sorted, without those that a writer has not finished."""
    return [path for path in files.find(pattern) if not _TEMPORARY.fullmatch(path)]


def _shards(stem: str) -> list[str]:
    """The shards that a stem (or a glob of stems) names.

    Raises:
      DatasetError: one is missing.
    """
    found = {path: shard for path in _glob(f"{stem}-*-of-*") if (shard := _SHARD.fullmatch(path))}
    for name, total in {shard.group(1, 3) for shard in found.values()}:
        lost = next((path for i in range(int(total)) if (path := _shard_path(name, i, int(total))) not in found), None)
        if lost:
            raise DatasetError(stem, f"its shard {lost} is missing. Restore it, or build again with aocr dataset.")
    return list(found)


def _check_one_build(pattern: str, paths: Sequence[str]) -> None:
    """Refuse files of which some are left from an earlier build under the same name."""
    builds: dict[str, tuple[str | None, str]] = {}
    for path in paths:
        shard = _SHARD.fullmatch(path)
        name, total = shard.group(1, 3) if shard else (path, None)
        before, other = builds.setdefault(name, (total, path))
        if before != total:
            raise DatasetError(pattern, f"{other} and {path} are of different builds. Remove those of the older one.")


def matching_files(pattern: str) -> list[str]:
    """Files that a path, a glob, or the stem of shards names, sorted; none is no error.

    Shards without a record are left out.

    Raises:
      DatasetError: a shard is missing, or files of two builds under one name are among them.
      OSError: the place cannot be reached.
    """
    if files.exists(pattern):
        beside = [path for path in _glob(f"{pattern}-*-of-*") if _is_shard_of(path, pattern)]
        if beside and not files.is_folder(pattern) and is_tfrecord(pattern):
            _check_one_build(pattern, [pattern, *beside])
        return [pattern]
    paths = sorted({*_glob(pattern), *_shards(pattern)})
    _check_one_build(pattern, paths)
    return [path for path in paths if not _SHARD.fullmatch(path) or files.size(path)] or paths


def _is_shard_of(path: str, stem: str) -> bool:
    shard = _SHARD.fullmatch(path)
    return shard is not None and shard[1] == stem


def expand_datasets(patterns: Sequence[str]) -> list[str]:
    """Files that paths, globs and stems of shards name, each once; of one pattern in sorted order.

    Raises:
      DatasetError: one names nothing, or shards that are not whole or not of one build.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        with _reading(pattern):
            paths = matching_files(pattern)
        if not paths:
            raise _missing(pattern)
        for path in paths:
            found.setdefault(path if files.is_remote(path) else os.path.realpath(path), path)
    return list(found.values())


def _shard_path(stem: str, number: int, total: int) -> str:
    return f"{stem}-{number:05d}-of-{total:05d}"


def shard_paths(path: str, num_shards: int) -> list[str]:
    """`path` itself, or `path-00000-of-00004` and so on."""
    if num_shards == 1:
        return [path]
    return [_shard_path(path, i, num_shards) for i in range(num_shards)]


def _check_replaceable(path: str) -> None:
    """Refuse to write over anything but records.

    Raises:
      DatasetError: something else is there.
    """
    if files.is_folder(path):
        raise DatasetError(path, "is a folder. Name a file to write.")
    if not files.exists(path):
        return
    if not files.is_remote(path) and not os.path.isfile(path):
        raise DatasetError(path, "is not a plain file. Name a file to write.")
    if files.size(path) and not is_tfrecord(path):
        raise DatasetError(path, "is there and holds no records. Name another output, or remove it.")


class RecordWriter:
    """Writes records under temporary names and renames the files once all is well: a context manager.

    Records of before are replaced; a file of any other kind is not.

    Args:
      path: of the file, or the stem of the shards.
      num_shards: files that records are dealt to in turn.

    Raises:
      DatasetError: the folder cannot be written, the disk is full, or a file that holds no records has the name.
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
                    _check_replaceable(path)
                if folder := os.path.dirname(self.path):
                    files.make_folder(folder)
                self._writers += map(tf.io.TFRecordWriter, self._temporary)
        except BaseException:
            self._clear()
            raise
        return self

    def write(self, example: Example) -> None:
        """Add a record."""
        with self._writing():
            self._writers[self._count % len(self._writers)].write(serialize(example))
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
            if kind is None:  # else what is under way says more
                raise
        finally:
            self._clear()

    def _clear(self) -> None:
        """Remove what is left under temporary names."""
        for temporary in self._temporary:
            with contextlib.suppress(OSError):
                files.remove(temporary)
