"""The wire format of protocol buffers, as far as ONNX files and records need it.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

VARINT, BYTES, FIXED32 = 0, 2, 5


def varint(value: int) -> bytes:
    """Encode a whole number; a negative one in two's complement of 64 bits."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | float | bytes | memoryview | str) -> bytes:
    """Encode one field of a message; a float takes 4 bytes, an embedded message is given as bytes."""
    if isinstance(value, float):
        return varint(number << 3 | FIXED32) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | BYTES) + varint(len(data)) + data


def read_varint(data: memoryview, offset: int) -> tuple[int, int]:
    """Decode a whole number; return it and the offset behind it.

    Raises:
      IndexError: the data ends inside it.
      ValueError: it is too long.
    """
    value = 0
    for shift in range(0, 70, 7):
        byte = data[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
    raise ValueError("a varint is too long")


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Iterate over the fields of a message as (number, value): an int, a float, or bytes as a memoryview.

    Other parsers ignore a field whose value has an unexpected type, so callers must check it.

    Raises:
      ValueError: the data is not a message.
    """
    if isinstance(data, int | float):
        raise ValueError("a number instead of a message")
    data = memoryview(data)
    offset = 0
    try:
        while offset < len(data):
            key, offset = read_varint(data, offset)
            number, kind = key >> 3, key & 7
            if kind == VARINT:
                value, offset = read_varint(data, offset)
                yield number, value
                continue
            if kind not in (BYTES, FIXED32):
                raise ValueError("a field of an unsupported wire type")
            size, offset = read_varint(data, offset) if kind == BYTES else (4, offset)
            if size > len(data) - offset:
                raise ValueError("a field is longer than its message")
            part = data[offset : offset + size]
            yield number, struct.unpack("<f", part)[0] if kind == FIXED32 else part
            offset += size
    except IndexError:
        raise ValueError("not a message of protocol buffers") from None
