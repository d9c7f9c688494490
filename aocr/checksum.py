"""The checksum of TFRecord files, for writing and recognising them without TensorFlow: masked CRC-32C (Castagnoli)."""

from __future__ import annotations

import functools

HEAD_BYTES = 12
"""Bytes before the data of a record: its length (8), and the checksum of the length (4)."""
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_SHORT = 64
"""Number of bytes up to which a loop is faster than arrays."""
_ROW, _ROWS_AT_ONCE = 256, 4096
"""Bytes in a row (a power of two), and rows that are processed together."""


def _make_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0) for crc in table]
    return table


_TABLE = _make_table()
"""Checksum state after each possible byte."""


def masked_crc32c(data: bytes | memoryview) -> int:
    """Compute the CRC-32C as TensorFlow stores it: rotated, and a constant added."""
    crc = _crc_of_rows(data) if len(data) > _SHORT else _crc_of_bytes(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def is_head(head: bytes) -> bool:
    """Whether a record can start with these bytes: a length of 8 bytes and its checksum."""
    return len(head) == HEAD_BYTES and int.from_bytes(head[8:], "little") == masked_crc32c(head[:8])


def _crc_of_bytes(data: bytes | memoryview) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _shift(tables, state):
    """Return states after a number of zero bytes, given by (4, 256) `tables`, one for each byte of a state."""
    first, second, third, fourth = tables
    return first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]


@functools.cache
def _row_tables():
    """Return (_ROW, 256) contributions of each byte by its position in a row, and `_shift`'s tables for one row."""
    import numpy as np

    shift_tables = np.array([_TABLE, *(np.arange(256) << bits for bits in (0, 8, 16))], np.uint32)  # of one byte
    contributions = [shift_tables[0]]
    for _ in range(_ROW - 1):
        contributions.append(_shift(shift_tables, contributions[-1]))
    for _ in range(_ROW.bit_length() - 1):
        shift_tables = _shift(shift_tables, shift_tables)
    return np.array(contributions[::-1]), shift_tables.tolist()


def _crc_of_rows(data: bytes | memoryview) -> int:
    """Compute the CRC-32C row by row: it is linear, so the bytes of a row are looked up together.

    Zeros before the first byte change nothing and fill the first row.
    """
    import numpy as np

    contributions, shift_tables = _row_tables()
    rows = np.zeros((-(-len(data) // _ROW), _ROW), np.uint8)
    flat = rows.reshape(-1)[-len(data) :]
    flat[:] = np.frombuffer(data, np.uint8)
    flat[:4] ^= 255
    crc, positions = 0, np.arange(_ROW)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        block = contributions[positions, rows[start : start + _ROWS_AT_ONCE]]
        for row in np.bitwise_xor.reduce(block, axis=1).tolist():
            crc = _shift(shift_tables, crc) ^ row
    return crc ^ 0xFFFFFFFF
