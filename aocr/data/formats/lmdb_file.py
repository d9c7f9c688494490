"""LMDB of scene text (`num-samples`, `image-000000001`, `label-000000001`), as CRNN, PARSeq and PaddleOCR use.

The file is read here and not by the lmdb package, which trusts it: a damaged one ends the process. Its layout is that
of 64-bit, little-endian machines: https://github.com/LMDB/lmdb/blob/mdb.RE/0.9/libraries/liblmdb/mdb.c
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import partial

from aocr import files
from aocr.data.annotations import AnnotationLine
from aocr.data.formats.source import Format, Source
from aocr.errors import AnnotationError
from aocr.text.charset import normalise

_MAGIC = b"\xde\xc0\xef\xbe"
_META = struct.Struct("<16x4sI16xI50xH24xQQ8xQ")
"""Magic, version and page size; depth, number of entries and root page of the main database; transaction."""
_HEADER = struct.Struct("<10xHH2x")
"""Flags of a page, end of the pointers to its nodes."""
_POINTER, _BIG_PAGE = struct.Struct("<H"), struct.Struct("<Q")
_NODE = struct.Struct("<HHHH")
"""Size of a value or number of a page, in two parts; flags or third part; size of the key."""
_LEAF, _BIG = 2, 1
"""Flags of a page of values, and of a value on a page of its own."""


def _data_file(path: str) -> str:
    return os.path.join(path, "data.mdb") if files.is_folder(path) else path


def _is_lmdb(source: Source) -> bool:
    if source.is_folder:
        return files.exists(_data_file(source.path))
    return source.head[16:20] == _MAGIC


class Database:
    """The main database of an LMDB file, read without trust: what is wrong with it raises a ValueError."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        metas = [self._unpack(_META, offset) for offset in (0, self._unpack(_META, 0)[2])]
        _, version, self._page_size, self._depth, self.num_entries, self._root, _ = max(
            (meta for meta in metas if meta[0] == _MAGIC), key=lambda meta: meta[-1]
        )
        if version != 1:
            raise ValueError(f"version {version}; version 1 can be read")
        if self.num_entries * _NODE.size > len(self._data):
            raise ValueError("it is cut off")

    def _unpack(self, layout: struct.Struct, offset: int) -> tuple:
        try:
            return layout.unpack_from(self._data, offset)
        except (struct.error, OverflowError):
            raise ValueError("it is cut off or damaged") from None

    def find(self, key: bytes) -> slice | None:
        """Return where the value of a key is, or None."""
        page = self._root
        for _ in range(self._depth):
            start = page * self._page_size
            flags, lower = self._unpack(_HEADER, start)
            nodes, key_at = range(max(0, lower - _HEADER.size) // 2), partial(self._key, start)
            if flags & _LEAF:
                index = bisect_left(nodes, key, key=key_at)
                return self._value(start, index) if index < len(nodes) and key_at(index) == key else None
            index = bisect_right(nodes, key, lo=1, key=key_at) - 1  # the first node of a branch has no key
            low, high, top, _ = self._node(start, index)[1]
            page = low | high << 16 | top << 32
        return None

    def read(self, where: slice) -> bytes:
        """Return a value."""
        return self._data[where]

    def _node(self, start: int, index: int) -> tuple[int, tuple[int, int, int, int]]:
        """Return the offset and the header of a node of the page that begins at `start`."""
        offset = start + self._unpack(_POINTER, start + _HEADER.size + _POINTER.size * index)[0]
        return offset, self._unpack(_NODE, offset)

    def _key(self, start: int, index: int) -> bytes:
        offset, (*_, size) = self._node(start, index)
        return self._data[offset + _NODE.size : offset + _NODE.size + size]

    def _value(self, start: int, index: int) -> slice:
        offset, (low, high, flags, key_size) = self._node(start, index)
        offset += _NODE.size + key_size
        if flags & _BIG:
            offset = self._unpack(_BIG_PAGE, offset)[0] * self._page_size + _HEADER.size
        end = offset + (low | high << 16)
        if end > len(self._data):
            raise ValueError("it is cut off")
        return slice(offset, end)


def read(source: Source) -> Iterator[AnnotationLine]:
    """Yield the samples; the images are read when they are used.

    Raises:
      AnnotationError: it is damaged, or not of scene text.
    """
    try:
        database = Database(_data_file(source.path))
        count = database.find(b"num-samples")
        if not count:
            reason = "is an LMDB without 'num-samples', so not one of scene text. Write 'path label' lines."
            raise AnnotationError(source.path, None, reason)
        num_samples = int(database.read(count))
        if num_samples > database.num_entries:
            raise ValueError(f"{num_samples:,} samples but {database.num_entries:,} entries")
        for number in range(1, num_samples + 1):
            yield _sample(database, number)
    except (OSError, ValueError) as error:
        raise AnnotationError(source.path, None, f"is a damaged LMDB ({files.one_line(error)}).") from None


def _sample(database: Database, number: int) -> AnnotationLine:
    name, label, problem = f"image-{number:09d}", None, ""
    image, text = database.find(name.encode()), database.find(b"label-%09d" % number)
    try:
        label = normalise(database.read(text).decode()) if text else None
    except UnicodeDecodeError:
        problem = f"label-{number:09d} is not UTF-8."
    return AnnotationLine(name, label, number, problem, image=partial(database.read, image) if image else None)


LMDB = Format("LMDB of scene text", _is_lmdb, read)
