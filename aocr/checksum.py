"""The checksum in TensorFlow's records and checkpoints: CRC-32C (Castagnoli), turned and shifted."""

from __future__ import annotations

import functools

HEAD_BYTES = 12
"""Of a record in a file of records: its length, and the checksum of that."""
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_SHORT = 64
"""Bytes up to which a loop is faster than arrays."""
_ROW, _AT_ONCE = 256, 4096
"""Bytes of a row, a power of two, and rows that are looked up at once."""


def _table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0) for crc in table]
    return table


_BYTE = _table()
"""What a byte becomes when it has passed through the checksum."""


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of some bytes."""
    if len(data) > _SHORT:
        return _of_rows(data)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _BYTE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of some bytes as TensorFlow stores it: rotated, and a constant added."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def is_head(head: bytes) -> bool:
    """Whether a record can begin like this: a length of 8 bytes, and the checksum that belongs to it."""
    return len(head) == HEAD_BYTES and int.from_bytes(head[8:], "little") == masked_crc32c(head[:8])


def _passed(tables, state):
    """States once as many zeros have passed through the checksum as (4, 256) `tables`, one a byte, stand for."""
    first, second, third, fourth = tables
    return first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255] ^ fourth[state >> 24]


@functools.cache
def _row_tables():
    """What a byte of a row adds to the checksum by its place, (_ROW, 256), and `_passed`'s tables of a row of zeros."""
    import numpy as np

    passing = np.array([_BYTE, *(np.arange(256) << shift for shift in (0, 8, 16))], np.uint32)  # one zero
    of_places = [passing[0]]
    for _ in range(_ROW - 1):
        of_places.append(_passed(passing, of_places[-1]))
    for _ in range(_ROW.bit_length() - 1):
        passing = _passed(passing, passing)
    return np.array(of_places[::-1]), passing.tolist()


def _of_rows(data: bytes | memoryview) -> int:
    """As `crc32c`, for the bytes of a row at once: the checksum is linear, so those of rows are then put together.

    Zeros before the first byte change nothing, so there are as many as make the rows whole.
    """
    import numpy as np

    of_places, passing = _row_tables()
    rows = np.zeros((-(-len(data) // _ROW), _ROW), np.uint8)
    flat = rows.reshape(-1)[-len(data) :]
    flat[:] = np.frombuffer(data, np.uint8)
    flat[:4] ^= 255
    crc, places = 0, np.arange(_ROW)
    for at in range(0, len(rows), _AT_ONCE):
        for row in np.bitwise_xor.reduce(of_places[places, rows[at : at + _AT_ONCE]], axis=1).tolist():
            crc = _passed(passing, crc) ^ row
    return crc ^ 0xFFFFFFFF
