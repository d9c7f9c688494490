"""Files of records: which ones a path, a glob or the stem of shards names, and writing them whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import glob
import logging
import os
import re
from collections.abc import Sequence

import tensorflow as tf

from aocr import files
from aocr.data.records import Example, is_tfrecord, missing, reading, serialize
from aocr.errors import DatasetError

log = logging.getLogger("aocr")

_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})", re.DOTALL)
_TEMPORARY = re.compile(r".*\.\d+\.tmp", re.DOTALL)


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
            raise DatasetError(name, f"its shard {lost} is missing. Restore it, or build again with aocr dataset.")
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
    paths = sorted(_shards(glob.escape(pattern)) or {*_glob(pattern), *_shards(pattern)})  # a name may have brackets
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
        with reading(pattern):
            paths = matching_files(pattern)
        if not paths:
            raise missing(pattern)
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
        raise DatasetError(path, "already exists and holds no records. Name another output, or remove it.")


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
                folder = os.path.dirname(self.path)
                if folder and not files.is_folder(folder):
                    files.make_folder(folder)
                    log.info("Made the folder %s", folder)
                for temporary in self._temporary:
                    files.drop_link(temporary)
                    self._writers.append(tf.io.TFRecordWriter(temporary))
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
