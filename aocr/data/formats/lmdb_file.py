"""LMDB of scene text (`num-samples`, `image-000000001`, `label-000000001`), as CRNN, PARSeq and PaddleOCR use.

The file is read here and not by the lmdb package, which trusts it: a damaged one ends the process. Its layout is that
of 64-bit, little-endian machines: https://github.com/LMDB/lmdb/blob/mdb.RE/0.9/libraries/liblmdb/mdb.c
"""

from __future__ import annotations

import functools
import mmap
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

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
_BIG_PAGE = struct.Struct("<Q")
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
        self._page = functools.lru_cache(maxsize=64)(self._read_page)

    def _unpack(self, layout: struct.Struct, offset: int) -> tuple:
        try:
            return layout.unpack_from(self._data, offset)
        except (struct.error, OverflowError):
            raise ValueError("it is cut off or damaged") from None

    def find(self, key: bytes) -> slice | None:
        """Return where the value of a key is, or None."""
        page = self._root
        for _ in range(self._depth):
            is_leaf, nodes, keys = self._page(page * self._page_size)
            if is_leaf:
                index = bisect_left(keys, key)
                return self._value(nodes[index]) if keys[index : index + 1] == [key] else None
            index = bisect_right(keys, key, lo=min(1, len(keys))) - 1  # the first node of a branch has no key
            if index < 0:
                break
            low, high, top, _ = self._unpack(_NODE, nodes[index])
            page = low | high << 16 | top << 32
        return None

    def read(self, where: slice) -> bytes:
        """Return a value."""
        return self._data[where]

    def _read_page(self, start: int) -> tuple[bool, list[int], list[bytes]]:
        """Return whether a page has values, and the offsets and the keys of its nodes."""
        flags, lower = self._unpack(_HEADER, start)
        pointers = struct.Struct(f"<{max(0, lower - _HEADER.size) // 2}H")
        nodes = [start + pointer for pointer in self._unpack(pointers, start + _HEADER.size)]
        sizes = [self._unpack(_NODE, node)[-1] for node in nodes]
        keys = [
            self._data[node + _NODE.size : node + _NODE.size + size] for node, size in zip(nodes, sizes, strict=True)
        ]
        return bool(flags & _LEAF), nodes, keys

    def _value(self, node: int) -> slice:
        low, high, flags, key_size = self._unpack(_NODE, node)
        start = node + _NODE.size + key_size
        if flags & _BIG:
            start = self._unpack(_BIG_PAGE, start)[0] * self._page_size + _HEADER.size
        end = start + (low | high << 16)
        if end > len(self._data):
            raise ValueError("it is cut off")
        return slice(start, end)


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
    return AnnotationLine(
        name, label, number, problem, image=functools.partial(database.read, image) if image else None
    )


LMDB = Format("LMDB of scene text", _is_lmdb, read)
