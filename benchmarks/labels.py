"""Measure how many labels a training needs: test scores with 25 to all labels, from scratch and from `words`.

    python benchmarks/labels.py --data DATA --work WORK [--sets plates,captcha] [--sizes 100,all]

A training ends by itself or after `--images` images, never by the clock, so the load of the machine does not matter.

DATA holds a folder per set with `train.txt` and `test.txt`; displays has no `test.txt`, so every fifth image is used.
Labels are chosen at random, the same for every way to train. WORK keeps `labels.jsonl`, one line per training; finished
trainings are not repeated, and an interrupted one resumes. Prints a table of all results; `--plot` also plots them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machine import ROOT, describe, environment

SIZES = (25, 50, 100, 200, 400)
UNLABELLED = ("--unlabeled", "{all}", "--exclude", "{test}")
WAYS = {
    "from-scratch": ("--init-from", "none"),
    "default": (),
    "no-look-alikes": ("--look-alikes", "0"),
    "three-bands": ("--lines", "2"),
    "unlabelled": UNLABELLED,
    "unlabelled-and-look-alikes": (*UNLABELLED, "--look-alikes", "2000"),
}
"""Flags of each way to train. {all}: annotations of the whole training set, whose labels are ignored; {test}: those of
the test set. All but the first start from `words`."""
ALL_SIZES = ("from-scratch", "default", "three-bands")
"""Ways that are measured with every number of labels; the others only with a hundred."""
COLOURS = ((200, 60, 30), (30, 100, 190), (40, 140, 80), (90, 90, 90), (130, 70, 160), (210, 150, 20))
PANEL, GAP = 220, 60


@dataclass(frozen=True)
class Task:
    """A data set, the number of random selections of its labels, and its score."""

    folder: str
    draws: int = 1
    score: str = "word_accuracy"


TASKS = [
    Task("captcha", 3),
    Task("plates", 3),
    Task("kannada", 3),
    Task("displays", 3),
    Task("lines_english", score="cer"),
    Task("captcha_varlen"),
]


@dataclass(frozen=True)
class Cell:
    """One training."""

    task: Task
    labels: int
    draw: int
    way: str

    @property
    def key(self) -> tuple:
        """Key of the training in the results."""
        return self.task.folder, self.labels, self.draw, self.way


def lists_of(task: Task, data: Path) -> tuple[list[str], list[str]]:
    """Return the training and the test lines."""
    lines = (data / task.folder / "train.txt").read_text("utf-8").splitlines()
    test = data / task.folder / "test.txt"
    if test.exists():
        return lines, test.read_text("utf-8").splitlines()
    return [line for i, line in enumerate(lines) if i % 5], lines[::5]


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """Return the trainings to run, sorted by `draw`, then by how close the number of labels is to a hundred."""
    selected = []
    for task in TASKS:
        if task.folder in args.sets.split(","):
            total = len(lists_of(task, args.data)[0])
            sizes = {min(total, int(size)) if size != "all" else total for size in args.sizes.split(",")}
            draws = range(min(task.draws, args.draws))
            selected += [Cell(task, n, draw, way) for n in sizes for draw in draws for way in args.ways.split(",")]
    selected = [cell for cell in selected if cell.way in ALL_SIZES or cell.labels == 100]
    return iter(sorted(selected, key=lambda cell: (cell.draw, abs(math.log(cell.labels / 100)))))


def results(work: Path) -> dict[tuple, dict]:
    """Return the stored results by `Cell.key`."""
    path = work / "labels.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return {(row["set"], row["labels"], row["draw"], row["way"]): row for row in rows}


def measure(cell: Cell, args: argparse.Namespace) -> None:
    """Train or resume, test, and add a line to the results."""
    lines, test = lists_of(cell.task, args.data)
    folder = args.work / "-".join(map(str, cell.key))
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(cell.draw).sample(lines, cell.labels)
    for name, some in (("train.txt", chosen), ("test.txt", test), ("all.txt", lines)):
        (folder / name).write_text("".join(f"{line}\n" for line in some), "utf-8")
    aocr = [sys.executable, "-m", "aocr"]
    common = ["--data-base-dir", str(args.data / cell.task.folder), "--model-dir", str(folder / "model")]
    way = [flag.format(all=folder / "all.txt", test=folder / "test.txt") for flag in WAYS[cell.way]]
    limit = ["--num-epoch", str(-(-args.images // cell.labels)), "--seed", str(cell.draw), *way]
    known = {"env": environment(), "cwd": ROOT, "check": True}
    print(*cell.key, "...", file=sys.stderr, flush=True)
    before, load = resource.getrusage(resource.RUSAGE_CHILDREN), os.getloadavg()[0]
    with open(folder / "train.log", "a", encoding="utf-8") as log:
        subprocess.run([*aocr, "train", str(folder / "train.txt"), *common, *limit], stderr=log, stdout=log, **known)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [*aocr, "test", str(folder / "test.txt"), *common, "--json"]
    scores = json.loads(subprocess.run(words, capture_output=True, text=True, **known).stdout)
    points = json.loads((folder / "model" / "history.json").read_text("utf-8"))["points"]
    row = dict(zip(("set", "labels", "draw", "way"), cell.key, strict=True))
    row |= {name: scores[name] for name in ("word_accuracy", "cer")}
    row |= {"steps": points[-1]["step"], "cpu_seconds": round(after.ru_utime - before.ru_utime), "load": round(load, 1)}
    with open(args.work / "labels.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def medians(rows: dict[tuple, dict], task: Task, way: str) -> dict[int, tuple[float, int]]:
    """Map the number of labels to the median score and the number of trainings."""
    by_labels: dict[int, list[float]] = {}
    for row in rows.values():
        if (row["set"], row["way"]) == (task.folder, way):
            by_labels.setdefault(row["labels"], []).append(row[task.score])
    return {labels: (statistics.median(v), len(v)) for labels, v in sorted(by_labels.items())}


def _name(way: str) -> str:
    return way.replace("-", " ").replace("look alikes", "look-alikes")


def table(rows: dict[tuple, dict]) -> str:
    """Return a table: a row per set and number of labels, a column per way; numbers of trainings in brackets."""
    lines = [f"| set | score | labels | {' | '.join(map(_name, WAYS))} |", "|---" * (3 + len(WAYS)) + "|"]
    for task in TASKS:
        columns = [medians(rows, task, way) for way in WAYS]
        for labels in sorted(set().union(*columns)):
            scores = [column.get(labels) for column in columns]
            values = ["" if v is None else f"{v[0]:.1%}" + (f" ({v[1]})" if v[1] > 1 else "") for v in scores]
            score = task.score.replace("_", " ").replace("cer", "CER")
            lines.append(f"| {task.folder} | {score} | {labels:,} | {' | '.join(values)} |")
    return "\n".join(lines)


def draw(rows: dict[tuple, dict], path: str) -> None:
    """Plot the score by number of labels, on a logarithmic axis, in a panel for each set."""
    from PIL import Image, ImageDraw, ImageFont

    tasks = [task for task in TASKS if any(len(medians(rows, task, way)) > 1 for way in WAYS)]
    font, ink, across = ImageFont.load_default(13), (40, 40, 40), min(3, len(tasks))
    down = -(-len(tasks) // across)
    legend = [(way, colour) for way, colour in zip(WAYS, COLOURS, strict=True) if any(key[-1] == way for key in rows)]
    wide = max(across * (PANEL + GAP), GAP + 150 * len(legend)) + 30
    picture = Image.new("RGB", (wide, down * (PANEL + GAP) + 50), "white")
    pen = ImageDraw.Draw(picture)
    for number, task in enumerate(tasks):
        left, top = GAP + number % across * (PANEL + GAP), 40 + number // across * (PANEL + GAP)
        curves = [medians(rows, task, way) for way in WAYS]
        sizes = sorted(set().union(SIZES, *curves))
        low, span = math.log(sizes[0]), math.log(sizes[-1] / sizes[0])

        def at(labels, value, left=left, top=top, low=low, span=span):
            return left + PANEL * (math.log(labels) - low) / span, top + PANEL * (1 - value)

        for share in (0, 0.25, 0.5, 0.75, 1):
            pen.line((*at(sizes[0], share), *at(sizes[-1], share)), (225, 225, 225))
            pen.text((left - 6, at(sizes[0], share)[1]), f"{share:.0%}", ink, font, anchor="rm")
        for labels in (25, 100, sizes[-1]):
            pen.text((at(labels, 0)[0], top + PANEL + 6), f"{labels}", ink, font, anchor="mt")
        name = "1 - CER" if task.score == "cer" else "word accuracy"
        pen.text((left, top - 18), f"{task.folder}, {name}", ink, font)
        for curve, colour in zip(curves, COLOURS, strict=False):
            points = [at(n, min(1.0, max(0.0, 1 - v if task.score == "cer" else v))) for n, (v, _) in curve.items()]
            if len(points) > 1:
                pen.line(points, colour, 3)
            for x, y in points:
                pen.ellipse((x - 4, y - 4, x + 4, y + 4), colour)
    for number, (way, colour) in enumerate(legend):
        pen.text((GAP + 150 * number, picture.height - 24), _name(way), colour, font)
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(task.folder for task in TASKS))
    parser.add_argument("--sizes", default=",".join(map(str, (*SIZES, "all"))), help="numbers of labels")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--draws", type=int, default=3, help="maximum number of random selections of the labels")
    parser.add_argument("--images", type=int, default=160_000, help="maximum number of images per training")
    parser.add_argument("--plot", help="plot the results to this file (PNG)")
    args = parser.parse_args()
    args.data, args.work = args.data.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    for cell in cells(args):
        if cell.key not in results(args.work):
            measure(cell, args)
    rows = results(args.work)
    print(describe())
    print(table(rows))
    if args.plot and rows:
        draw(rows, args.plot)


if __name__ == "__main__":
    main()
