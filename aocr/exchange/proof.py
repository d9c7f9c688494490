"""Reads images with an export in a process where aocr cannot be imported.

Run by path. Standard input: a JSON object of `format` (path of its module), `folder`, `images` (base64), `channels`,
and `pixels` (pairs of base64 npy files).
Standard output: what libraries say, then a line of `MARK` and the JSON list of [text, probability].
"""

from __future__ import annotations

import base64
import io
import json
import os
import runpy
import sys
from typing import NamedTuple

import numpy as np

MARK = "RESULT "


class Samples(NamedTuple):
    """What an export must read.

    Attributes:
      images: encoded; the first is a png.
      channels: of the network.
      pixels: (images, widths) as the network takes them: each image alone, then all as one batch.
    """

    images: list[bytes]
    channels: int
    pixels: list[tuple[np.ndarray, np.ndarray]]

    @staticmethod
    def texts(ids: np.ndarray, charset: str) -> list[bytes]:
        """The texts of rows of symbols: 2 ends a text; 0 and 1 print nothing."""
        rows = (row[: row.index(2)] if 2 in row else row for row in ids.tolist())
        return ["".join(charset[i - 3] for i in row if i > 2).encode() for row in rows]


class Blocked:
    """An import hook that refuses aocr."""

    def find_spec(self, name: str, path=None, target=None) -> None:
        """Raise for aocr and its modules; leave others to the next hook."""
        if name.split(".")[0] == "aocr":
            raise ImportError("aocr is out of reach here")


def main() -> None:
    """Read, and print what was read."""
    sys.meta_path.insert(0, Blocked())
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    request = json.load(sys.stdin)
    images = [base64.b64decode(image) for image in request["images"]]
    pixels = [tuple(np.load(io.BytesIO(base64.b64decode(part))) for part in pair) for pair in request["pixels"]]
    samples = Samples(images, request["channels"], pixels)
    read_back = runpy.run_path(request["format"])["read_back"]
    rows = [(text.decode(), float(p)) for text, p in read_back(request["folder"], samples)]
    print(MARK + json.dumps(rows))


if __name__ == "__main__":
    main()
