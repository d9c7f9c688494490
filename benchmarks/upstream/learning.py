"""How well the released aocr 0.7.6 learns with its default flags within the minutes that ours is given.

    python benchmarks/upstream/learning.py --data DATA --work WORK [--sets captcha,captcha_varlen] [--minutes 10]

DATA holds a folder a set with `train.txt` and `test.txt`. The limits of width, height and length are those of the set,
as the released program drops what is beyond them. The minutes begin with its first step, and it is stopped at the
first checkpoint after them; texts are read by its `predict`. A model that is in WORK goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from compare import Program, install_released, predicted

STEPS_PER_CHECKPOINT = 10


def words(annotations: Path) -> list[tuple[str, str]]:
    """Path and label, in capitals, of each line."""
    lines = annotations.read_text(encoding="utf-8").splitlines()
    return [(path, label.upper()) for path, label in (line.split(" ", 1) for line in lines)]


def limits(source: Path) -> list[str]:
    """The flags that let every image and label of a set through."""
    from PIL import Image

    every = words(source / "train.txt") + words(source / "test.txt")
    widths, heights = zip(*(Image.open(source / path).size for path, _ in every), strict=True)
    longest = max(len(label) for _, label in every)
    return [f"--max-width={max(widths)}", f"--max-height={max(heights)}", f"--max-prediction={longest}"]


def train(program: Program, flags: list[str], minutes: float) -> list[str]:
    """Train from the first step on for so many minutes and up to a checkpoint; the lines of its log that tell steps."""
    log = program.folder / "train.log"
    log.unlink(missing_ok=True)
    command = [program.python, "-m", "aocr", "train", "train.tfrecords", "--log-path=train.log", "--num-epoch=100000"]
    command += [f"--steps-per-checkpoint={STEPS_PER_CHECKPOINT}", *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=program.folder, env=program.environment, **quiet) as training:
        end = enough = float("inf")
        while training.poll() is None:
            steps = re.findall(r"Step \d+: .*", log.read_text(encoding="utf-8")) if log.exists() else []
            if steps and end == float("inf"):
                end = time.monotonic() + 60 * minutes
            if time.monotonic() > end and enough == float("inf"):
                enough = len(steps) + STEPS_PER_CHECKPOINT
            if len(steps) > enough:
                training.terminate()
            time.sleep(1)
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", default="captcha,captcha_varlen")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--python37", default="python3.7")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    python = install_released(options.python37, work)
    from machine import describe  # compare has put its folder on the path

    from aocr.metrics import edit_distance

    print(describe())
    print("| set | minutes | steps | last step | word accuracy | CER |\n" + "|---" * 6 + "|")
    for name in options.sets.split(","):
        source = (options.data / name).resolve()
        program = Program(python, work / f"released-{name}", "out", ".")
        program.folder.mkdir(exist_ok=True)
        (program.folder / "images").unlink(missing_ok=True)
        (program.folder / "images").symlink_to(source / "images")
        program.run("dataset", source / "train.txt", "train.tfrecords")
        flags = limits(source)
        steps = train(program, flags, options.minutes)
        paths, labels = zip(*words(source / "test.txt"), strict=True)
        texts = predicted(program, *flags, told="".join(f"{path}\n" for path in paths))
        right = sum(text == label for text, label in zip(texts, labels, strict=True)) / len(labels)
        wrong = sum(map(edit_distance, texts, labels)) / sum(map(len, labels))
        print(f"| {name} | {options.minutes:g} | {len(steps)} | {steps[-1]} | {right:.2%} | {wrong:.2%} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
