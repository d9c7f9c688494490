"""Measure speed and memory of `aocr dataset` and `aocr train` as the number of small images grows.

    python benchmarks/big_data.py --work WORK [--sizes 50000,200000] [--shards 8] [--seconds 60]

Draws tiny images into TFRecords (image and label only, as aocr 0.7.6 wrote them), builds shards from them with
`aocr dataset`, and trains on the shards. Prints speed and peak resident memory of each.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe, environment


def draw(path: Path, count: int) -> None:
    """Write `count` distinct images of three digits, 24 x 12 px, as records."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image, ImageDraw

    digits = []
    for digit in "0123456789":
        image = Image.new("L", (8, 12), 255)
        ImageDraw.Draw(image).text((1, 0), digit, 0)
        digits.append(np.asarray(image))
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for _ in range(count):
            label = random.integers(0, 10, 3)
            pixels = np.hstack([digits[d] for d in label]) - random.integers(0, 60, (12, 24)).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            values = {"image": buffer.getvalue(), "label": "".join(map(str, label)).encode()}
            features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def run(*args: object) -> tuple[float, float, str]:
    """Run `aocr ARGS`; return its seconds, peak resident memory in MiB, and log."""
    before = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "aocr", *map(str, args)], env=environment(), stderr=subprocess.PIPE, text=True
    )
    log = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"aocr {args[0]} failed: {log[-400:]}")
    return time.perf_counter() - before, usage.ru_maxrss / 1024, log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", default="50000,200000")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(describe())
    print(
        "| images | build, images/s | build, MiB | train, images/s | train, MiB | outside training, s |\n"
        + "|---" * 6
        + "|"
    )
    validation = options.work / "validation.tfrecords"
    draw(validation, 500)
    for size in map(int, options.sizes.split(",")):
        records, shards = options.work / f"{size}.tfrecords", options.work / f"{size}-shards"
        if not records.exists():
            draw(records, size)
        took, build_memory, _ = run("dataset", records, shards, "--shards", options.shards, "--log-step", 1000000)
        flags = ("--max-time", f"{options.seconds}s", "--model-dir", options.work / f"model-{size}", "--no-resume")
        wall, train_memory, log = run("train", shards, *flags, "--validation", validation)
        speeds = [int(value) for value in re.findall(r"(\d+) images/s", log)][1:]
        speed = statistics.median(speeds) if speeds else float("nan")
        cells = (size, f"{size / took:.0f}", f"{build_memory:.0f}", f"{speed:.0f}", f"{train_memory:.0f}")
        print("| " + " | ".join(map(str, cells)) + f" | {wall - options.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
