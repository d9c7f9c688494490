"""The wire format of protocol buffers, as far as ONNX files and records need it.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

VARINT, BYTES, FIXED32 = 0, 2, 5


def varint(value: int) -> bytes:
    """Encode an integer; a negative one as 64-bit two's complement."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | float | bytes | str) -> bytes:
    """Encode one field of a message; a float takes 4 bytes, an embedded message is given as bytes."""
    if isinstance(value, float):
        return varint(number << 3 | FIXED32) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | BYTES) + varint(len(data)) + data


def _read_varint(data: memoryview, offset: int) -> tuple[int, int]:
    """Decode an integer; return it and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
        shift += 7


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Any]]:
    """Iterate over the fields of a well-formed message as pairs (field number, integer or bytes)."""
    data = memoryview(data)
    offset = 0
    while offset < len(data):
        key, offset = _read_varint(data, offset)
        value, offset = _read_varint(data, offset)
        if key & 7 == VARINT:
            yield key >> 3, value
        else:  # bytes of this length; what is read here has no fields of another type
            yield key >> 3, data[offset : offset + value]
            offset += value
