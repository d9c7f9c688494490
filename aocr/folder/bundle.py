"""TensorFlow's checkpoints, read by numpy alone: TensorFlow ends the process at bytes that are forged.

A checkpoint `P` is a table of LevelDB, `P.index`, and one file of numbers, `P.data-00000-of-00001`. See
tensorflow/core/lib/io/table_format.txt and tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from aocr import files
from aocr.checksum import masked_crc32c
from aocr.folder.pointers import INDEX, NUMBERS
from aocr.protobuf import raw_fields, read_varint

MAX_BYTES = 2**20
"""Of an index, and of all names in it; those of the default network take 18,000 and 40,000."""
MAX_NUMBER_BYTES = 2**31
"""Of the arrays that are read, unless it is told otherwise: a file with holes is small on a disk."""
MAX_KEY_BYTES = 1000
"""Of an array's name; the longest of the default network has 93."""
MAX_SIDES = 8
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER_BYTES = 48
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 6: "i1", 9: "<i8", 19: "<f2", 22: "<u4", 23: "<u8"}
"""Number of a type in TensorFlow -> numpy's. Arrays of other types, and those in slices, are passed over."""
_SLICES = 7


class Entry(NamedTuple):
    """Where an array lies."""

    dtype: np.dtype
    shape: tuple[int, ...]
    place: int
    size: int
    checksum: int


class Bundle:
    """The arrays of a checkpoint.

    Args:
      prefix: its path, without ending.
      most: bytes that the arrays that are read may take, all together.

    Attributes:
      shapes: of its arrays, by name.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or names more than its file of numbers has.
    """

    def __init__(self, prefix: str, most: int = MAX_NUMBER_BYTES):
        self._left = most
        self._path = f"{prefix}{NUMBERS}"
        self._entries = dict(_entries_of(files.read_plain(f"{prefix}{INDEX}", MAX_BYTES)))
        self.shapes = {name: entry.shape for name, entry in self._entries.items()}
        files.refuse_endless(self._path)
        end = files.size(self._path)
        if any(entry.place + entry.size > end for entry in self._entries.values()):
            raise ValueError("the numbers are cut off")
        if sum(entry.size for entry in self._entries.values()) > end:  # else a small file could fill the memory
            raise ValueError("the index has arrays that overlap")

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Some of the arrays, by name.

        Raises:
          OSError: they cannot be read.
          ValueError: they are damaged, or would take more than the most bytes.
        """
        names = list(names)
        self._left -= sum(self._entries[name].size for name in names)
        if self._left < 0:
            raise ValueError("it has too many numbers to be of aocr")
        with files.opened(self._path) as file:
            return {name: _read(file, name, self._entries[name]) for name in names}


def _read(file, name: str, entry: Entry) -> np.ndarray:
    file.seek(entry.place)
    parts, left = [], entry.size
    while left:  # a system gives less than 2 GiB at once
        part = file.read(left)
        if not part:
            raise ValueError("the numbers are cut off")
        parts.append(part)
        left -= len(part)
    data = b"".join(parts)
    if masked_crc32c(data) != entry.checksum:
        raise ValueError(f"{name!r} is not what its checksum says")
    return np.frombuffer(data, entry.dtype).reshape(entry.shape)


def _entries_of(index: bytes) -> Iterator[tuple[str, Entry]]:
    """(name, entry) of the arrays in an index.

    Raises:
      ValueError: it is damaged, or of a checkpoint in several parts.
    """
    data = memoryview(index)
    if len(data) < _FOOTER_BYTES or data[-8:] != _MAGIC:
        raise ValueError("the index is not a table")
    _, at = _handle(data[-_FOOTER_BYTES:], 0)
    blocks, _ = _handle(data[-_FOOTER_BYTES:], at)
    left, names_left, before = len(data), MAX_BYTES, b""
    for _, block in _pairs(data, *blocks):
        (place, size), _ = _handle(block, 0)
        if (left := left - size) < 0:  # else a small file could name one block a million times
            raise ValueError("the index has blocks that overlap")
        for key, value in _pairs(data, place, size):
            if not key:
                _check_header(value)
                continue
            if key <= before:
                raise ValueError("the index is not in order")
            before = key
            if (names_left := names_left - len(key)) < 0:  # each is told by what it shares with the one before
                raise ValueError("the index has too many names")
            if entry := _entry(value):
                yield key.decode(errors="replace"), entry  # those of parts of arrays are no text


def _handle(data: memoryview, at: int) -> tuple[tuple[int, int], int]:
    """Where a block lies: (place, size), and where what follows it begins."""
    try:
        place, at = read_varint(data, at)
        size, at = read_varint(data, at)
    except IndexError:
        raise ValueError("the index is cut off") from None
    return (place, size), at


def _pairs(data: memoryview, place: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """(key, value) of a block, each key told by what it shares with the one before.

    Behind a block stand a byte, 0 where it is not compressed, and the checksum of both.
    """
    block, after = data[place : place + size], data[place + size : place + size + 5]
    if size < 4 or len(after) != 5 or after[0]:
        raise ValueError("the index has a block that is cut off or compressed")
    if masked_crc32c(data[place : place + size + 1]) != int.from_bytes(after[1:], "little"):
        raise ValueError("the index is not what its checksum says")
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        try:
            shared, at = read_varint(block, at)
            rest, at = read_varint(block, at)
            length, at = read_varint(block, at)
        except IndexError:
            raise ValueError("the index is cut off") from None
        if shared > len(key) or shared + rest > MAX_KEY_BYTES or at + rest + length > end:
            raise ValueError("the index is damaged")
        key = key[:shared] + bytes(block[at : at + rest])
        at += rest + length
        yield key, block[at - length : at]


def _message(value: memoryview) -> dict[int, int | memoryview]:
    """The fields of a message that has each once; what is fixed at 4 bytes as a number."""
    found: dict[int, int | memoryview] = {}
    for number, part, is_fixed in raw_fields(value):
        if number in found:
            raise ValueError("the index has a field twice")
        found[number] = int.from_bytes(part, "little") if is_fixed else part
    return found


def _number(message: dict[int, int | memoryview], key: int) -> int:
    value = message.get(key, 0)
    if not isinstance(value, int):
        raise ValueError("the index has a field of another type")
    return value


def _part(message: dict[int, int | memoryview], key: int) -> memoryview:
    value = message.get(key, memoryview(b""))
    if isinstance(value, int):
        raise ValueError("the index has a field of another type")
    return value


def _check_header(value: memoryview) -> None:
    message = _message(value)
    if _number(message, 1) != 1 or _number(message, 2):
        raise ValueError("the checkpoint has more than one part, or is of another kind of machine")


def _entry(value: memoryview) -> Entry | None:
    """Where an array lies; None for what is none that we read."""
    message = _message(value)
    kind, shape = _TYPES.get(_number(message, 1)), _part(message, 2)
    if kind is None or _SLICES in message:
        return None
    sides = tuple(_side(side) for number, side, _ in raw_fields(shape) if number == 2)
    dtype, size = np.dtype(kind), _number(message, 5)
    if len(sides) > MAX_SIDES or math.prod(sides) * dtype.itemsize != size or _number(message, 3):
        raise ValueError("the index has an array whose size is not that of its shape")
    return Entry(dtype, sides, _number(message, 4), size, _number(message, 6))


def _side(value: memoryview) -> int:
    return _number(_message(value), 1)
