"""Measure how well the released aocr 0.7.6 trains with its default flags within a time limit.

    python benchmarks/upstream/learning.py --data DATA --work WORK [--sets captcha,captcha_varlen] [--minutes 10]

DATA holds a folder per set with `train.txt` and `test.txt`. Limits of width, height and length are those of the set,
because the released program drops what exceeds them. The time starts at its first step, and it is stopped at the first
checkpoint after the limit; texts are read by its `predict`. If WORK has a model, its training continues.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from compare import Program, begin, predict

if TYPE_CHECKING:
    from aocr.results import EvalReport

STEPS_PER_CHECKPOINT = 10


def words(annotations: Path) -> list[tuple[str, str]]:
    """Return path and label of each line, in capitals as the released program trains on them."""
    from aocr.data.annotations import parse_annotations

    lines = parse_annotations(annotations.read_bytes(), str(annotations))
    return [(line.path, line.label.upper()) for line in lines]


def limits(source: Path) -> list[str]:
    """Return flags that admit every image and label of a set."""
    from PIL import Image

    every = words(source / "train.txt") + words(source / "test.txt")
    widths, heights = zip(*(Image.open(source / path).size for path, _ in every), strict=True)
    longest = max(len(label) for _, label in every)
    return [f"--max-width={max(widths)}", f"--max-height={max(heights)}", f"--max-prediction={longest}"]


def step_lines(log: Path) -> list[str]:
    """Return the lines about steps in a training's log."""
    return re.findall(r"Step \d+: .*", log.read_text(encoding="utf-8")) if log.exists() else []


def train(program: Program, flags: list[str], minutes: float) -> list[str]:
    """Train for `minutes` from the first step, then up to a checkpoint; return the lines about steps."""
    log = program.folder / "train.log"
    log.unlink(missing_ok=True)
    command = [program.python, "-m", "aocr", "train", "train.tfrecords", "--log-path=train.log", "--num-epoch=100000"]
    command += [f"--steps-per-checkpoint={STEPS_PER_CHECKPOINT}", *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def wait_for_step(number: int) -> None:
        while len(step_lines(log)) < number and training.poll() is None:
            time.sleep(1)

    with subprocess.Popen(command, cwd=program.folder, env=program.environment, **quiet) as training:
        wait_for_step(1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            training.wait(60 * minutes)
        wait_for_step(len(step_lines(log)) + STEPS_PER_CHECKPOINT + 1)
        training.terminate()
    return step_lines(log)


def scores(texts: list[str], labels: list[str]) -> EvalReport:
    """Score texts that the released program read; their confidence is not used."""
    from aocr.results import Prediction, Sample
    from aocr.text.metrics import score

    read = zip(labels, texts, strict=True)
    return score([Sample("", label, Prediction(text, 0.0)) for label, text in read])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="captcha,captcha_varlen")
    parser.add_argument("--minutes", type=float, default=10)
    options, python = begin(parser)
    from machine import describe  # compare has put its folder on the path

    print(describe())
    print("| set | minutes | steps | last step | word accuracy | CER |\n" + "|---" * 6 + "|")
    for name in options.sets.split(","):
        source = (options.data / name).resolve()
        program = Program(python, options.work / f"released-{name}", "out", ".")
        program.folder.mkdir(exist_ok=True)
        (program.folder / "images").unlink(missing_ok=True)
        (program.folder / "images").symlink_to(source / "images")
        program.run("dataset", source / "train.txt", "train.tfrecords")
        flags = limits(source)
        steps = train(program, flags, options.minutes)
        paths, labels = zip(*words(source / "test.txt"), strict=True)
        texts = predict(program, *flags, stdin="".join(f"{path}\n" for path in paths))
        report = scores(texts, labels)
        rates = f"{report.word_accuracy:.2%} | {report.cer:.2%}"
        print(f"| {name} | {options.minutes:g} | {len(steps)} | {steps[-1]} | {rates} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
