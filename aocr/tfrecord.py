"""TFRecord files without TensorFlow: encode a record with the checksums around it, and recognise such a file."""

from __future__ import annotations

import functools

from aocr import files
from aocr.errors import DatasetError
from aocr.protobuf import field, varint

HEAD_BYTES = 12
"""Bytes before the data of a record: its length (8), and the checksum of the length (4)."""
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_ROW = 256
"""Number of bytes in a row, which are added to the checksum together; a power of two."""


def encode_example(image: bytes, label: str, width: int, height: int, comment: str = "") -> bytes:
    """Encode an Example of image, label (UTF-8), comment, width and height; aocr 0.7.6 ignores the last two."""
    texts: dict[str, str | bytes] = {"image": image, "label": label, "comment": comment}
    numbers = {"width": width, "height": height}
    values = {name: field(1, field(1, value)) for name, value in texts.items()}
    values |= {name: field(3, field(1, varint(number))) for name, number in numbers.items()}
    return field(1, b"".join(field(1, field(1, name) + field(2, values[name])) for name in sorted(values)))


def frame(data: bytes) -> bytes:
    """Put the length and the checksums of a record around its data."""
    length = len(data).to_bytes(8, "little")
    return b"".join(part + masked_crc32c(part).to_bytes(4, "little") for part in (length, data))


def is_head(head: bytes) -> bool:
    """Whether a record can start with these bytes: a length of 8 bytes and its checksum."""
    return len(head) == HEAD_BYTES and int.from_bytes(head[8:], "little") == masked_crc32c(head[:8])


def check_replaceable(path: str) -> None:
    """Refuse, with a DatasetError, to overwrite anything but records."""
    if files.is_folder(path):
        raise DatasetError(path, "is a folder. Name a file to write.")
    if files.exists(path) and files.size(path) and not is_head(files.read(path, HEAD_BYTES)):
        raise DatasetError(path, "already exists and is not a file of records. Name another output, or remove it.")


def _shift(tables, state):
    """Return states after some zero bytes; (4, 256) `tables` give the effect of each byte of a state."""
    first, second, third, fourth = tables
    return first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]


@functools.cache
def _row_tables():
    """Return what each byte adds to the CRC at each position of a row, (_ROW, 256), and `_shift`'s tables."""
    import numpy as np

    byte = np.arange(256, dtype=np.uint32)
    state: np.ndarray = byte  # after each possible byte
    for _ in range(8):
        state = state >> 1 ^ (state & 1) * np.uint32(_POLYNOMIAL)
    shift_tables = np.array([state, byte, byte << 8, byte << 16])  # of one byte
    contributions = [state]
    for _ in range(_ROW - 1):
        contributions.append(_shift(shift_tables, contributions[-1]))
    for _ in range(_ROW.bit_length() - 1):
        shift_tables = _shift(shift_tables, shift_tables)
    return np.array(contributions[::-1]), shift_tables.tolist()


def masked_crc32c(data: bytes) -> int:
    """Compute the CRC-32C (Castagnoli) of at least 4 bytes as TensorFlow stores it: rotated, plus a constant.

    It is linear, so the bytes of a row are looked up together. Zeros before the first byte change nothing and fill the
    first row.
    """
    import numpy as np

    contributions, shift_tables = _row_tables()
    rows = np.zeros((-(-len(data) // _ROW), _ROW), np.uint8)
    flat = rows.reshape(-1)[-len(data) :]
    flat[:] = np.frombuffer(data, np.uint8)
    flat[:4] ^= 255
    crc = 0
    for row in np.bitwise_xor.reduce(contributions[np.arange(_ROW), rows], axis=1).tolist():
        crc = _shift(shift_tables, crc) ^ row
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
