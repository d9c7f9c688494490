"""Measure how cost grows with the number of images, their width, and the batch size.

    python benchmarks/cost_curves.py [--plot cost.png] [--rounds 3]

Times training steps of the default network on noise (width at batch 64, batch size at width 128), and reading with an
untrained network. Prints and plots the medians of the rounds, which should be on straight lines.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable

from machine import describe
from train_speed import SYMBOLS, step_seconds

WIDTHS, BATCHES, COUNTS = (64, 128, 256, 384, 512), (16, 32, 64, 128, 256), (100, 200, 400, 800, 1600)
PANEL, GAP = 240, 70


def reading(count: int) -> float:
    """Return the seconds to read `count` images of 32 x 96 px with an untrained network."""
    import numpy as np
    from PIL import Image

    from aocr import machine
    from aocr.config import ModelConfig
    from aocr.model.recognizer import build_recognizer
    from aocr.reading.network import NetworkReader
    from aocr.reading.predictor import Predictor
    from aocr.text.charset import Charset

    if not hasattr(reading, "predictor"):
        machine.set_seed(0)
        config = ModelConfig(Charset(SYMBOLS), max_width=96, max_height=32, max_prediction=6)
        precision, _ = machine.choose_precision("auto")
        reading.predictor = Predictor(NetworkReader(build_recognizer(config, machine.POLICIES[precision]), config))
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 96)).astype(np.uint8)).save(buffer, "PNG")
        reading.image = buffer.getvalue()
        reading.predictor.predict([reading.image] * 128)
    before = time.perf_counter()
    reading.predictor.predict([reading.image] * count)
    return time.perf_counter() - before


def medians(sizes: tuple[int, ...], cost: Callable[[int], float], rounds: int) -> list[float]:
    costs = [[cost(size) for size in sizes] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*costs, strict=True)]


def draw(curves: dict[str, tuple[tuple[int, ...], list[float], str]], path: str) -> None:
    """Draw each curve in a panel, with the straight line from zero that fits it best."""
    from PIL import Image, ImageDraw, ImageFont

    font, ink = ImageFont.load_default(13), (40, 40, 40)
    picture = Image.new("RGB", (len(curves) * (PANEL + GAP) + 20, PANEL + 100), "white")
    pen = ImageDraw.Draw(picture)
    for number, (name, (sizes, values, unit)) in enumerate(curves.items()):
        left, top = GAP + number * (PANEL + GAP), 40
        slope = sum(s * v for s, v in zip(sizes, values, strict=True)) / sum(s * s for s in sizes)
        wide, high = sizes[-1], max(*values, slope * sizes[-1]) * 1.05

        def at(x, y, left=left, top=top, wide=wide, high=high):
            return left + PANEL * x / wide, top + PANEL * (1 - y / high)

        pen.rectangle((left, top, left + PANEL, top + PANEL), outline=(200, 200, 200))
        pen.line((*at(0, 0), *at(wide, slope * wide)), (170, 170, 170), 2)
        pen.line([at(s, v) for s, v in zip(sizes, values, strict=True)], (30, 100, 190), 3)
        for size, value in zip(sizes, values, strict=True):
            x, y = at(size, value)
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), (30, 100, 190))
        for size in (0, *sizes[-3:]):
            pen.text((at(size, 0)[0], top + PANEL + 8), f"{size}", ink, font, anchor="mt")
        for value in (high / 1.05 / 2, high / 1.05):
            pen.text((left - 6, at(0, value)[1]), f"{value:.2g}", ink, font, anchor="rm")
        pen.text((left, 14), f"{unit}, by {name}", ink, font)
    pen.text((GAP, PANEL + 72), "blue: measured; grey: a straight line from zero", ink, font)
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", default="cost.png")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from aocr import machine

    precision, _ = machine.choose_precision("auto")

    def step(batch: int, width: int) -> float:
        return statistics.median(step_seconds("default", precision, batch, width, 10))

    print(describe())
    curves = {
        "width in px": (WIDTHS, medians(WIDTHS, lambda w: step(64, w), options.rounds), "training, s per step"),
        "batch": (BATCHES, medians(BATCHES, lambda b: step(b, 128), options.rounds), "training, s per step"),
        "images": (COUNTS, medians(COUNTS, reading, options.rounds), "reading, s"),
    }
    for name, (sizes, values, unit) in curves.items():
        print(f"| {name} | {' | '.join(map(str, sizes))} |\n" + "|---" * (len(sizes) + 1) + "|")
        print(f"| {unit} | {' | '.join(f'{value:.3f}' for value in values)} |")
        print(f"| per thousand | {' | '.join(f'{v / s * 1e3:.3f}' for s, v in zip(sizes, values, strict=True))} |\n")
    draw(curves, options.plot)


if __name__ == "__main__":
    main()
