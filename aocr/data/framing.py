"""The frames of TFRecord files: 8 bytes of length, their checksum, the record, its checksum.

TensorFlow trusts a length whose checksum is right and ends the process where memory for it cannot be had, so lengths
are compared with the file's size first.
"""

from __future__ import annotations

from aocr import files
from aocr.checksum import HEAD_BYTES

TAIL_BYTES = 4


def num_fitting(path: str, limit: int | None = None) -> int:
    """How many records from a file's start on are as long as the file has room for; what is in them is not read.

    Args:
      path: of the file.
      limit: of the count; None: all.

    Raises:
      OSError: the file cannot be read.
    """
    end, place, number = files.size(path), 0, 0
    with files.opened(path) as file:
        while number != limit:
            file.seek(place)
            head = file.read(HEAD_BYTES)
            place += HEAD_BYTES + int.from_bytes(head[:8], "little") + TAIL_BYTES
            if len(head) < HEAD_BYTES or place > end:
                break
            number += 1
    return number
