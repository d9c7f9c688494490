"""Compare aocr with other programs on the same data, in the same processor time of one core.

    python benchmarks/peers/compare.py --data DATA --work WORK [--peers aocr,kraken] [--sets plates] [--minutes 2,6,20]

DATA holds a folder per set with `train.txt` and `test.txt`; displays has no `test.txt`, so every fifth image is used.
Each peer is installed into an environment of its own in WORK. A line of `results.jsonl` is a finished cell, which is
not repeated; a peer that cannot be installed, fails or leaves no model is a cell that says so (`--retry` repeats
these). Prints the tables and draws docs/peers.png once a training has two limits. Everything runs on one core, with
one thread. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from peer import Model, Peer, PeerError, Task
from score import score
from table import draw, table
from with_aocr import Aocr, AocrFromNothing, Words
from with_calamari import Calamari
from with_fast_plate_ocr import FastPlateOCR
from with_kraken import Kraken
from with_rapidocr import RapidOCR
from with_tesseract import Tesseract
from without_training import DocTR, PaddleOCR

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = [Aocr, AocrFromNothing, FastPlateOCR, Calamari, Kraken, PaddleOCR, DocTR, Words, RapidOCR, Tesseract]
SETS = ("plates", "captcha", "lines_fraktur", "kannada", "displays")
SEED = 7


def make_task(name: str, count: str, peer: Peer, args: argparse.Namespace) -> Task:
    """Read the lists of a set; `count` labels are chosen at random, the same for every peer."""
    import labels

    lists = labels.lists_of(labels.Task(name), args.data)
    train, test = ([tuple(line.split(" ", 1)) for line in lines if line.strip()] for lines in lists)
    if count.isdigit():
        train = random.Random(SEED).sample(train, min(len(train), int(count)))
    work = peer.folder / "-".join((*peer.name.split(), name, count))
    work.mkdir(parents=True, exist_ok=True)
    return Task(name, args.data / name, train, test, work)


def measure(peer: Peer, task: Task, minutes: list[float]) -> Iterator[dict]:
    """Train with each limit, read and score; a failure is a row for each limit that is left."""
    left = list(minutes)
    try:
        peer.install()
        for limit, model in peer.train(task, minutes) if peer.trains else [(0, None)]:
            row = read_and_score(peer, task, model)
            left.pop(0)
            yield {"minutes": limit, **row}
    except (PeerError, OSError, ValueError, LookupError) as e:
        reason = str(e) if isinstance(e, PeerError) else f"{type(e).__name__}: {e}"
        yield from ({"minutes": limit, "error": reason} for limit in left)


def read_and_score(peer: Peer, task: Task, model: Model | None) -> dict:
    """Return scores, times and speeds."""
    if model and not model.path:
        return {"error": "it has saved no model within this time"}
    reading = peer.read(task, model)
    row = {name: round(share, 4) for name, share in score(dict(task.test), reading.texts)._asdict().items()}
    if model:
        row |= {"cpu_minutes": round(model.cpu_seconds / 60, 2), "ended": model.ended}
        if model.images:
            row["trained_per_second"] = round(model.images / model.cpu_seconds, 1)
    row["read_per_second"] = round(reading.speed, 1)
    return row | ({"warm_per_second": round(reading.warm_speed, 1)} if reading.warm_speed else {})


def results(path: Path) -> list[dict]:
    """Return the rows of the file, the last of each cell."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return list({tuple(row[k] for k in ("peer", "set", "labels", "minutes")): row for row in rows}.values())


def fill(args: argparse.Namespace) -> None:
    """Measure the cells that have no row yet, set by set."""
    kinds = [kind for kind in PEERS if kind.name in args.peers.split(",")]
    cells = [(name, kind) for name in args.sets.split(",") for kind in kinds]
    for name, peer in ((name, kind(args.work)) for name, kind in cells):
        for count in args.labels.split(",") if peer.trains else ["none"]:
            key = {"peer": peer.name, "set": name, "labels": count}
            rows = [row for row in results(args.results) if row | key == row]
            done = {row["minutes"] for row in rows if not (args.retry and "error" in row)}
            minutes = sorted({float(m) for m in args.minutes.split(",")} if peer.trains else {0})
            if minutes := [limit for limit in minutes if limit not in done]:
                for row in measure(peer, make_task(name, count, peer, args), minutes):
                    store(key | row, args)


def store(row: dict, args: argparse.Namespace) -> None:
    """Append a row to the results, without the paths of this machine."""
    line = json.dumps(row)
    for path, short in ((args.work, "WORK"), (args.data, "DATA"), (ROOT, "ROOT"), (Path.home(), "HOME")):
        line = line.replace(str(path), short)
    print(line, file=sys.stderr, flush=True)
    with open(args.results, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peers", default=",".join(kind.name for kind in PEERS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--minutes", default="2,6,20", help="processor minutes of one core")
    parser.add_argument("--labels", default="all,100", help="numbers of labels")
    parser.add_argument("--retry", action="store_true", help="repeat cells that failed")
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs/peers.png")
    args = parser.parse_args()
    args.data, args.work = args.data.resolve(), args.work.resolve()
    sys.path.append(str(HERE.parent))
    from machine import describe

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    fill(args)
    rows, names = results(args.results), [kind.name for kind in PEERS]
    print(describe(), table(rows, SETS, names), sep="\n\n")
    draw(rows, SETS, names, args.plot)


if __name__ == "__main__":
    main()
