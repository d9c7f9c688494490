"""Measure word accuracy on scene text (letters and digits only, case ignored) of aocr, Tesseract and RapidOCR.

    python benchmarks/scene.py LIST... [--model-dir words] [--base DIR] [--sample N] [--tesseract] [--rapidocr]

LIST: annotation files ("path label" per line). Images whose names are equal up to the first underscore are one source.
--base: folder of the paths (default: the list's). --sample N: N images chosen at random with seed 0. --tesseract
needs Debian's tesseract-ocr (run with --psm 8), --rapidocr the package rapidocr (recognition only).
"""

import argparse
import os
import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from machine import describe

from aocr import load
from aocr.text.metrics import alnum_lower


def read_lists(lists: Iterable[str], base: str | None, sample: int | None) -> list[tuple[str, Path, str]]:
    """Return (source, path, label) of the images whose label has a letter or a digit."""
    rows = []
    for name in lists:
        for line in Path(name).read_text("utf-8").splitlines():
            path, label = line.split(" ", 1)
            source = Path(path).stem.split("_")[0]
            if alnum_lower(label):
                rows.append((source, Path(base or Path(name).parent) / path, label))
    return random.Random(0).sample(rows, min(sample, len(rows))) if sample else rows


def aocr_reader(model_dir: str) -> Callable[[list[Path]], Iterator[str]]:
    """Return a function that reads images with a model folder."""
    predictor = load(model_dir)
    return lambda paths: (prediction.text for prediction in predictor.predict([str(path) for path in paths]))


def tesseract(paths: list[Path]) -> Iterator[str]:
    """Read with Tesseract, one process per image, one thread."""
    for path in paths:
        command = ["tesseract", str(path), "-", "--psm", "8"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_THREAD_LIMIT": "1"})
        yield done.stdout.strip()


def rapidocr(paths: list[Path]) -> Iterator[str]:
    """Read the whole image with RapidOCR's recogniser."""
    from rapidocr import RapidOCR

    engine = RapidOCR()
    for path in paths:
        result = engine(str(path), use_det=False, use_cls=False, use_rec=True)
        yield "".join(result.txts or ())


def main() -> None:
    """Read and score the images, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", nargs="+")
    parser.add_argument("--model-dir", action="append")
    parser.add_argument("--base")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--tesseract", action="store_true")
    parser.add_argument("--rapidocr", action="store_true")
    args = parser.parse_args()
    rows = read_lists(args.lists, args.base, args.sample)
    readers = {name: aocr_reader(name) for name in args.model_dir or ["words"]}
    readers |= {"Tesseract": tesseract} if args.tesseract else {}
    readers |= {"RapidOCR": rapidocr} if args.rapidocr else {}
    print(describe())
    sources = sorted({source for source, *_ in rows})
    print(f"| | {' | '.join(sources)} | all | images/s |\n|---{'|---' * (len(sources) + 2)}|")
    for name, read in readers.items():
        start, right = time.perf_counter(), defaultdict(list)
        for (source, _, label), text in zip(rows, read([path for _, path, _ in rows]), strict=True):
            right[source].append(alnum_lower(text) == alnum_lower(label))
        seconds = time.perf_counter() - start
        shares = [sum(right[source]) / len(right[source]) for source in sources]
        total = sum(map(sum, right.values())) / len(rows)
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in (*shares, total))} | {len(rows) / seconds:.0f} |")
    print("images:", ", ".join(f"{source} {len(right[source]):,}" for source in sources))


if __name__ == "__main__":
    main()
