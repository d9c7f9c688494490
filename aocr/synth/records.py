"""Records in TFRecord files, without TensorFlow: the features that `aocr dataset` writes.

A file is a run of records: length (8 bytes, little-endian), checksum of these, data, checksum of the data. A checksum
is CRC-32C, turned and shifted. The data is a `tf.train.Example` of protocol buffers.
"""

from __future__ import annotations

import struct

from aocr.checksum import masked_crc32c
from aocr.protobuf import field, varint


def _checksum(data: bytes) -> bytes:
    return masked_crc32c(data).to_bytes(4, "little")


def framed(data: bytes) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def example(image: bytes, label: str, width: int, height: int) -> bytes:
    """A serialized `tf.train.Example` with the features image, label, comment (empty), width and height."""
    values = [(name, field(1, field(1, value))) for name, value in
              (("image", image), ("label", label), ("comment", b""))]  # fmt: skip
    values += [(name, field(3, field(1, varint(value)))) for name, value in (("width", width), ("height", height))]
    features = b"".join(field(1, field(1, name) + field(2, value)) for name, value in sorted(values))
    return field(1, features)
