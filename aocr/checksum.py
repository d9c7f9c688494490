"""The checksum in TensorFlow's record files: CRC-32C (Castagnoli), masked."""

from __future__ import annotations

import functools

HEAD_BYTES = 12
"""Size of a record's header: its length and the checksum of that."""
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_SHORT = 64
"""Number of bytes up to which a loop is faster than arrays."""
_ROW, _CHUNK = 256, 4096
"""Bytes per row, a power of two, and rows per chunk."""


def _table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0) for crc in table]
    return table


_BYTE = _table()
"""Remainder of each byte value."""


def crc32c(data: bytes | memoryview) -> int:
    """Compute CRC-32C."""
    if len(data) > _SHORT:
        return _of_rows(data)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _BYTE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """Compute CRC-32C as TensorFlow stores it: rotated, with a constant added."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def is_head(head: bytes) -> bool:
    """Whether these bytes are a record's header: a length of 8 bytes and its checksum."""
    return len(head) == HEAD_BYTES and int.from_bytes(head[8:], "little") == masked_crc32c(head[:8])


def _advance(tables, state):
    """Advance CRC states over the zero bytes that the (4, 256) `tables` stand for, one table per byte of the state."""
    first, second, third, fourth = tables
    return first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]


@functools.cache
def _row_tables():
    """Each byte value's contribution at each position of a row, (_ROW, 256), and `_advance`'s tables of a whole row."""
    import numpy as np

    tables = np.array([_BYTE, *(np.arange(256) << shift for shift in (0, 8, 16))], np.uint32)  # of one zero byte
    contributions = [tables[0]]
    for _ in range(_ROW - 1):
        contributions.append(_advance(tables, contributions[-1]))
    for _ in range(_ROW.bit_length() - 1):
        tables = _advance(tables, tables)  # of twice as many
    return np.array(contributions[::-1]), tables.tolist()


def _of_rows(data: bytes | memoryview) -> int:
    """Compute CRC-32C row by row: the checksum is linear, so the rows' checksums can be combined.

    Zeros before the first byte change nothing, so they fill up the first row.
    """
    import numpy as np

    contributions, tables = _row_tables()
    rows = np.zeros((-(-len(data) // _ROW), _ROW), np.uint8)
    flat = rows.reshape(-1)[-len(data) :]
    flat[:] = np.frombuffer(data, np.uint8)
    flat[:4] ^= 255
    crc, positions = 0, np.arange(_ROW)
    for start in range(0, len(rows), _CHUNK):
        chunk = contributions[positions, rows[start : start + _CHUNK]]  # (rows, _ROW)
        for row in np.bitwise_xor.reduce(chunk, axis=1).tolist():
            crc = _advance(tables, crc) ^ row
    return crc ^ 0xFFFFFFFF
