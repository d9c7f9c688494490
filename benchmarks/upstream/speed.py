"""Measure what versus_upstream.sh describes; use that script to run this one."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys

from compare import MAX_WIDTH, ROOT, Program, begin, prepare

BATCH = 65
WARM = 10
"""Number of steps, and of images, at the start that are not counted."""
STEPS = 45
LIMITS = ("--max-width", MAX_WIDTH, "--max-height", 60, "--max-prediction", 8, "--charset", "alphanumeric")
OURS = {
    "classic, float32": ("--arch", "classic", "--precision", "float32", "--optimizer", "adadelta"),
    "classic": ("--arch", "classic", "--optimizer", "adadelta"),
    "default, float32": ("--precision", "float32"),
    "default": (),
}


def narrow(program: Program, words: str, target: str) -> None:
    """Write records of the words that the released program does not drop for their width."""
    from PIL import Image

    lines = (program.folder / words).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if Image.open(program.folder / line.split()[0]).width <= MAX_WIDTH]
    (program.folder / "narrow.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    program.run("dataset", "narrow.txt", target, "--force-uppercase")


def released_speeds(program: Program) -> tuple[float, float]:
    """Return images per second of training and testing from the released program's log."""
    shutil.rmtree(program.folder / "checkpoints", ignore_errors=True)
    epochs = -(-STEPS * BATCH // len((program.folder / "narrow.txt").read_text(encoding="utf-8").splitlines()))
    log = program.run(
        "train", "train.tfrecords", f"--batch-size={BATCH}", f"--num-epoch={epochs}", "--steps-per-checkpoint=100000"
    )
    steps = [float(value) for value in re.findall(r"Step \d+: ([\d.]+)s", log)]
    log = program.run("test", "test.tfrecords")
    images = [float(value) for value in re.findall(r"Step \d+ \(([\d.]+)s\)", log)]
    return BATCH / statistics.median(steps[WARM:]), 1 / statistics.median(images[WARM:])


def our_speeds(program: Program, name: str) -> tuple[float, float]:
    """Return images per second of training and testing from our log; all images have one width."""
    flags = (*LIMITS, *OURS[name], "--batch-size", BATCH, "--no-resume", "--model-dir", "speed-model")
    epochs = ("--num-epoch", -(-STEPS * BATCH // 988), "--steps-per-checkpoint", 100000)
    log = program.run("train", "train.tfrecords", *flags, *epochs, "--no-augment", "--validation", "test.tfrecords")
    steps = [float(value) for value in re.findall(r"^Step \d+: ([\d.]+)s", log, re.MULTILINE)]
    precision = ("--precision", "float32") if "float32" in name else ("--precision", "auto")
    output = program.run("test", "train.tfrecords", "--model-dir", "speed-model", "--json", *precision)
    report = json.loads(output[output.index("{") : output.rindex("}") + 1])
    return BATCH / statistics.median(steps[WARM // 10 :]), report["images_per_second"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options, python = begin(parser)
    released = Program(python, prepare(options.work, "released-speed"), "out", ".")
    ours = Program(sys.executable, prepare(options.work, "our-speed"), "results", "1", str(ROOT))
    for words, target in (
        ("annotations-testing.txt", "test.tfrecords"),
        ("annotations-training.txt", "train.tfrecords"),
    ):
        narrow(ours, words, target)
        shutil.copy(ours.folder / target, released.folder / target)
    shutil.copy(ours.folder / "narrow.txt", released.folder / "narrow.txt")
    results: dict[str, list[tuple[float, float]]] = {}
    for number in range(options.rounds):
        for name in ("released", *OURS):
            speeds = released_speeds(released) if name == "released" else our_speeds(ours, name)
            results.setdefault(name, []).append(speeds)
            print(f"round {number + 1}, {name}: {speeds[0]:.0f}, {speeds[1]:.0f}", file=sys.stderr, flush=True)
    from machine import describe  # compare has put its folder on the path

    print(describe())
    print("| | training, images/s | ratio | testing, images/s | ratio |\n" + "|---" * 5 + "|")
    base = [statistics.median(values) for values in zip(*results["released"], strict=True)]
    for name, rounds in results.items():
        train, test = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"| {name} | {train:.0f} | {train / base[0]:.1f} | {test:.0f} | {test / base[1]:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
