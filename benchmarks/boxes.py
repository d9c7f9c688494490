"""How exact are the boxes of characters?

    aocr synth DIR --style print --count 1000 --seed 9 --boxes
    python benchmarks/boxes.py DIR [DIR ...] [--model-dir MODEL]

Of the images that are read correctly it prints the mean intersection over union of read and drawn boxes (of their
widths alone, and of whole boxes), and how far the middles are from the drawn ones, in median widths of a letter.
"""

from __future__ import annotations

import argparse
import json
import os

import numpy as np

from aocr.reading.predictor import load
from aocr.synth.writer import BOXES


def overlap(boxes: np.ndarray, true: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lengths of the intersections and of the boxes' and true boxes' sum along an axis, each (T,)."""
    low, high = np.maximum(boxes[:, axis], true[:, axis]), np.minimum(boxes[:, axis + 2], true[:, axis + 2])
    return np.maximum(high - low, 0), high


def iou(boxes: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the intersection over union of widths and of boxes: (T, 4) each -> (T,), (T,)."""
    wide, tall = (overlap(boxes, true, axis)[0] for axis in (0, 1))
    sizes = [(b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]) for b in (boxes, true)]
    widths = sizes[0][0] + sizes[1][0] - wide
    areas = sizes[0][0] * sizes[0][1] + sizes[1][0] * sizes[1][1] - wide * tall
    return wide / np.maximum(widths, 1e-6), wide * tall / np.maximum(areas, 1e-6)


def measure(folder: str, predictor) -> str:
    """Return a line of figures about the images of a folder."""
    with open(os.path.join(folder, BOXES), encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    items = [item for item in items if item["boxes"] and len(item["boxes"]) == len(item["text"])]
    results = predictor.predict([os.path.join(folder, item["path"]) for item in items])
    across, whole, offsets = [], [], []
    for item, result in zip(items, results, strict=True):
        if result.text != item["text"]:
            continue
        visible = np.array([char != " " for char in item["text"]])
        true = np.array(item["boxes"])[visible]
        boxes = np.array([(c.x0, c.y0, c.x1, c.y1) for c in result.characters])[visible]
        widths, areas = iou(boxes, true)
        across.append(widths.mean())
        whole.append(areas.mean())
        shift = (boxes[:, 0] + boxes[:, 2] - true[:, 0] - true[:, 2]) / 2
        offsets += (shift / max(1e-6, np.median(true[:, 2] - true[:, 0]))).tolist()
    count, offset = len(across), np.array(offsets)
    return (
        f"{folder}: {count} of {len(items)} read; IoU of widths {np.mean(across):.3f}, of boxes {np.mean(whole):.3f}; "
        f"offset {offset.mean():+.3f}, without its sign {np.abs(offset).mean():.3f} of a letter"
    )


def main() -> None:
    """Measure each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="DIR")
    parser.add_argument("--model-dir", default="words", metavar="MODEL")
    args = parser.parse_args()
    predictor = load(args.model_dir)
    for folder in args.folders:
        print(measure(folder, predictor), flush=True)


if __name__ == "__main__":
    main()
