"""Records in TFRecord files, without TensorFlow: the features that `aocr dataset` writes.

A file is a run of records: length (8 bytes, little-endian), checksum of these, data, checksum of the data. A checksum
is CRC-32C, turned and shifted. The data is a `tf.train.Example` of protocol buffers.
"""

from __future__ import annotations

import functools
import struct

import numpy as np

from aocr.protobuf import field, varint

_POLYNOMIAL = 0x82F63B78
_CHUNK = 4096
_MASK_DELTA = 0xA282EAD8


@functools.cache
def _tables() -> np.ndarray:
    """(_CHUNK, 256) uint32: what a byte adds to the checksum when k bytes follow it."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ np.uint32(_POLYNOMIAL), first >> 1).astype(np.uint32)
    tables = np.empty((_CHUNK, 256), np.uint32)
    tables[0] = first
    for k in range(1, _CHUNK):
        tables[k] = (tables[k - 1] >> 8) ^ first[tables[k - 1] & 0xFF]
    return tables


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes. It is linear: each byte's share is looked up by its distance to the end."""
    tables, state = _tables(), 0xFFFFFFFF
    for start in range(0, len(data), _CHUNK):
        chunk = np.frombuffer(data, np.uint8, min(_CHUNK, len(data) - start), start)
        head = np.frombuffer(state.to_bytes(4, "little"), np.uint8)[: len(chunk)]
        rest = state >> (8 * len(chunk))  # of a chunk shorter than the state
        chunk = np.concatenate([chunk[: len(head)] ^ head, chunk[len(head) :]])
        places = np.arange(len(chunk) - 1, -1, -1)
        state = int(np.bitwise_xor.reduce(tables[places, chunk])) ^ rest
    return state ^ 0xFFFFFFFF


def _checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF)


def framed(data: bytes) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def is_record_start(head: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a TFRecord file."""
    return len(head) == 12 and _checksum(head[:8]) == head[8:]


def example(image: bytes, label: str, width: int, height: int) -> bytes:
    """A serialized `tf.train.Example` with the features image, label, comment (empty), width and height."""
    values = [(name, field(1, field(1, value))) for name, value in
              (("image", image), ("label", label), ("comment", b""))]  # fmt: skip
    values += [(name, field(3, field(1, varint(value)))) for name, value in (("width", width), ("height", height))]
    features = b"".join(field(1, field(1, name) + field(2, value)) for name, value in sorted(values))
    return field(1, features)
