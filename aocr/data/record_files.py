"""Record files: find them by path, glob or shard stem; write them completely or not at all."""

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
from aocr.data.records import Example, reading
from aocr.errors import DatasetError
from aocr.tfrecord import check_replaceable, encode_example

log = logging.getLogger("aocr")

_SHARD = re.compile(r".*-\d{5}-of-\d{5}", re.DOTALL)
_TEMPORARY = re.compile(r".*\.\d+\.tmp", re.DOTALL)


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
            self._writers[self._count % len(self._writers)].write(encode_example(**vars(example)))
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
