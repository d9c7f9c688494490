"""Read images with an export in a process where aocr cannot be imported. Run by its path.

Standard input: a JSON object of `format` (path of the format's module), `folder`, `images` (base64), `channels`, and
`pixels` (pairs of base64 npy files). Standard output: a line of `MARK` and the JSON list of [text, probability], after
whatever libraries print.
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
    """Images that an export must read like the model."""

    images: list[bytes]
    """Encoded images; the first is a PNG."""
    channels: int
    """Number of channels of the network."""
    pixels: list[tuple[np.ndarray, np.ndarray]]
    """(images, widths) as the network takes them: each image alone, then all as one batch."""

    @staticmethod
    def texts(ids: np.ndarray, charset: str) -> list[bytes]:
        """Decode rows of symbol ids: 2 ends a text, 0 and 1 are not printed."""
        rows = (row[: row.index(2)] if 2 in row else row for row in ids.tolist())
        return ["".join(charset[i - 3] for i in row if i > 2).encode() for row in rows]


class Blocked:
    """An import hook that refuses aocr."""

    def find_spec(self, name: str, path=None, target=None) -> None:
        """Raise ImportError for aocr and its modules; leave others to the next hook."""
        if name.split(".")[0] == "aocr":
            raise ImportError("aocr is blocked")


def main() -> None:
    """Read the images of the request and print the results."""
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
