"""How are letters that stand one above the other read best: turned, or in bands?

    aocr synth DIR --style plate --count 2000 --seed 10 --boxes
    python benchmarks/stacked.py DIR OUTPUT

Cuts the letters out of drawn images at their true boxes and stacks them. Lists the images, four of five in
OUTPUT/train.txt, the rest in OUTPUT/test.txt. Train on them with `--turn left` and with `--turn none --lines 4`;
figures are in README.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from aocr.synth.writer import BOXES

MARGIN = 2
"""Pixels around a letter's box."""


def stack(image: Image.Image, boxes: list[list[float]]) -> Image.Image:
    """Paste the letters of an RGB image below each other, in the middle."""
    limits = np.array([(0, 0), image.size])
    corners = np.array(boxes).reshape(-1, 2, 2)
    corners += [[-MARGIN], [MARGIN]]
    letters = [image.crop(tuple(box)) for box in np.clip(corners, *limits).astype(int).reshape(-1, 4).tolist()]
    ground = tuple(int(value) for value in np.median(np.asarray(image), axis=(0, 1)))
    width = max(letter.width for letter in letters)
    result = Image.new("RGB", (width, sum(letter.height for letter in letters)), ground)
    top = 0
    for letter in letters:
        result.paste(letter, ((width - letter.width) // 2, top))
        top += letter.height
    return result


def main() -> None:
    """Write the images and both lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    (args.output / "images").mkdir(parents=True, exist_ok=True)
    items = map(json.loads, (args.folder / BOXES).read_text("utf-8").splitlines())
    items = [item for item in items if item["text"].isalnum() and 3 <= len(item["boxes"]) == len(item["text"]) <= 8]
    for name, part in (("test", items[::5]), ("train", [item for i, item in enumerate(items) if i % 5])):
        lines = []
        for item in part:
            path = f"images/{Path(item['path']).stem}.png"
            with Image.open(args.folder / item["path"]) as image:
                stack(image.convert("RGB"), item["boxes"]).save(args.output / path)
            lines.append(f"{path} {item['text']}\n")
        (args.output / f"{name}.txt").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
