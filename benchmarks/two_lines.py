"""Do texts in two lines read as well as the same texts in one?

    python benchmarks/two_lines.py LIST OUTPUT

Cuts each image of an annotation file in two, where there is the least ink in its middle third, and pastes the right
half below the left one: OUTPUT/two.txt lists these images, OUTPUT/one.txt the same images as they are. Train and test
on each with the same flags; figures are in README.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from aocr.data.annotations import parse_annotations


def cut(image: Image.Image) -> int:
    """Return the column of least ink in the middle third of an image."""
    pixels = np.asarray(image.convert("L"), np.float32)
    rows = pixels[len(pixels) // 5 : -len(pixels) // 5]  # without the frame
    ink = np.abs(rows - np.median(rows)).mean(axis=0)
    start, stop = image.width // 3, 2 * image.width // 3 + 1
    near = np.convolve(ink, np.ones(3) / 3, "same")[start:stop]
    return start + int(np.argmin(near))


def in_two_lines(image: Image.Image) -> Image.Image:
    """Return an image with its right half below its left one, both in the middle."""
    middle = cut(image)
    halves = image.crop((0, 0, middle, image.height)), image.crop((middle, 0, image.width, image.height))
    width = max(half.width for half in halves)
    ground = tuple(int(value) for value in np.median(np.asarray(image).reshape(-1, 3), axis=0))
    both = Image.new("RGB", (width, 2 * image.height), ground)
    for line, half in enumerate(halves):
        both.paste(half, ((width - half.width) // 2, line * image.height))
    return both


def main() -> None:
    """Write the images and both lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    (args.output / "images").mkdir(parents=True, exist_ok=True)
    one, two = [], []
    for line in parse_annotations(args.list.read_bytes(), str(args.list)):
        path = (args.list.parent / line.path).resolve()
        with Image.open(path) as image:
            in_two_lines(image.convert("RGB")).save(args.output / "images" / f"{line.lineno}.png")
        one.append(f"{path}\t{line.label}\n")
        two.append(f"images/{line.lineno}.png\t{line.label}\n")
    (args.output / "one.txt").write_text("".join(one), "utf-8")
    (args.output / "two.txt").write_text("".join(two), "utf-8")


if __name__ == "__main__":
    main()
