"""Protocol buffers on the wire, as far as ONNX files, records and checkpoints need them.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

VARINT, BYTES, FIXED32 = 0, 2, 5


def varint(value: int) -> bytes:
    """A whole number as its bytes; a negative one in two's complement of 64 bits."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | float | bytes | memoryview | str) -> bytes:
    """One field of a message. A float is written in 4 bytes; a message in a field is given as its own bytes."""
    if isinstance(value, float):
        return varint(number << 3 | FIXED32) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | BYTES) + varint(len(data)) + data


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number and where what follows it begins.

    Raises:
      IndexError: the data ends in it.
      ValueError: it is too long.
    """
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a whole number is too long")


def raw_fields(data: bytes | memoryview) -> Iterator[tuple[int, Any, bool]]:
    """(number, value, whether it is a FIXED32) of each field of a message: an int, or bytes as a memoryview.

    Raises:
      ValueError: it is not a message.
    """
    if isinstance(data, int | float):
        raise ValueError("a number in place of a message")
    data = memoryview(data)
    at = 0
    try:
        while at < len(data):
            key, at = read_varint(data, at)
            kind = key & 7
            if kind == VARINT:
                value, at = read_varint(data, at)
                yield key >> 3, value, False
                continue
            if kind not in (BYTES, FIXED32):
                raise ValueError("a field of a kind that is not ours")
            size, at = read_varint(data, at) if kind == BYTES else (4, at)
            if size > len(data) - at:
                raise ValueError("a field is longer than its message")
            yield key >> 3, data[at : at + size], kind == FIXED32
            at += size
    except IndexError:
        raise ValueError("is not a message of protocol buffers") from None


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message: an int, a float, or bytes as a memoryview.

    Other readers pass over a field whose value is not of the kind that they expect, so callers must compare it.

    Raises:
      ValueError: it is not a message.
    """
    for number, value, is_fixed in raw_fields(data):
        yield number, struct.unpack("<f", value)[0] if is_fixed else value
