"""The index of a TensorFlow checkpoint, looked at before TensorFlow does, which ends the process at one that is forged.

A table of LevelDB: blocks of (key, value), each behind a checksum that TensorFlow compares; here only the contents
count. See tensorflow/core/lib/io/table_format.txt and tensorflow/core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from aocr import files
from aocr.protobuf import fields, read_varint

MOST_BYTES = 2**22
"""Of an index; one of the default network takes 18,000."""
MOST_DATA_BYTES = 2**33
"""Of all tensors together; those of the classic network and of its training take 160 million."""
MOST_KEY_BYTES = 1000
"""Of a variable's name; the longest of the default network has 93."""
_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER_BYTES = 48
_SIZES = {1: 4, 2: 8, 3: 4, 4: 1, 6: 1, 9: 8, 10: 1, 14: 2, 19: 2, 22: 4, 23: 8}
"""Number of a type in TensorFlow -> bytes of an element."""
_STRING = 7
_ENTRY, _HEADER = {1, 2, 3, 4, 5, 6}, {1, 2, 3}
"""Fields that messages have; a tensor in slices, for one, has more."""


def check_index(prefix: str) -> None:
    """Look at the index of a checkpoint.

    Raises:
      OSError: it cannot be read.
      ValueError: it is damaged, or not of aocr.
    """
    data = memoryview(files.read_plain(f"{prefix}.index", MOST_BYTES))
    if len(data) < _FOOTER_BYTES or data[-8:] != _MAGIC:
        raise ValueError("the index is not a table")
    _, at = _handle(data[-_FOOTER_BYTES:], 0)
    blocks, _ = _handle(data[-_FOOTER_BYTES:], at)
    left, data_left = len(data), MOST_DATA_BYTES
    for _, block in _entries(data, *blocks):
        (place, size), _ = _handle(block, 0)
        if (left := left - size) < 0:  # else a small file could name one block a million times
            raise ValueError("the index has blocks that overlap")
        for key, value in _entries(data, place, size):
            if not key:
                _check_header(value)
            elif (data_left := data_left - _check_entry(value)) < 0:
                raise ValueError(f"the index names more than {MOST_DATA_BYTES >> 30} GiB of tensors")


def _handle(data: memoryview, at: int) -> tuple[tuple[int, int], int]:
    """Where a block lies: (place, size), and where what follows it begins."""
    try:
        place, at = read_varint(data, at)
        size, at = read_varint(data, at)
    except IndexError:
        raise ValueError("the index is cut off") from None
    return (place, size), at


def _entries(data: memoryview, place: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """The pairs of a block, each key told by what it shares with the one before."""
    block = data[place : place + size]
    if len(block) != size or size < 4 or data[place + size : place + size + 1] != b"\0":
        raise ValueError("the index has a block that is cut off or compressed")
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        try:
            shared, at = read_varint(block, at)
            rest, at = read_varint(block, at)
            length, at = read_varint(block, at)
        except IndexError:
            raise ValueError("the index is cut off") from None
        if shared > len(key) or shared + rest > MOST_KEY_BYTES or at + rest + length > end:
            raise ValueError("the index is damaged")
        key = key[:shared] + bytes(block[at : at + rest])
        at += rest + length
        yield key, block[at - length : at]


def _known(message: memoryview, allowed: set[int]) -> Iterator[tuple]:
    for number, value in fields(message):
        if number not in allowed:
            raise ValueError("the index has an entry of another kind")
        yield number, value


def _check_header(value: memoryview) -> None:
    for number, part in _known(value, _HEADER):
        if number == 1 and part != 1:
            raise ValueError("the checkpoint has more than one part")


def _check_entry(value: memoryview) -> int:
    """Bytes of a tensor, once TensorFlow is known to bear its entry: it ends the process at odd types and sides."""
    kind, size, shape = 0, 0, memoryview(b"")
    for number, part in _known(value, _ENTRY):
        if isinstance(part, memoryview) != (number == 2) or isinstance(part, float) != (number == 6):
            raise ValueError("the index has a field of another type")
        if number == 1:
            kind = part
        elif number == 2:
            if len(shape):
                raise ValueError("the index has two shapes of one tensor")
            shape = part
        elif number == 5:
            size = part
        elif number in (3, 4) and part >= (1 if number == 3 else 2**62):
            raise ValueError("the index names a place that cannot be")
    dims = [dict(_known(dim, {1})).get(1, 0) for _, dim in _known(shape, {2})]
    if not all(isinstance(dim, int) for dim in dims):
        raise ValueError("the index has a field of another type")
    if kind != _STRING and kind not in _SIZES:
        raise ValueError(f"the index has a tensor of the type {kind}")
    if 0 in dims:  # then the others could be negative, or have a product that TensorFlow cannot hold
        raise ValueError("the index has a tensor without numbers")
    if kind != _STRING and (len(dims) > 8 or math.prod(dims) * _SIZES[kind] != size):
        raise ValueError("the index has a tensor whose size is not that of its shape")
    if kind == _STRING and dims:
        raise ValueError("the index has a list of texts")
    return size
