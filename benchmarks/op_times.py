"""Where a training step's time goes: seconds by kind of operation, from TensorFlow's profiler.

    python benchmarks/op_times.py [--arch classic] [--precision bfloat16] [--batch 65] [--width 86] [--steps 5]

Sums the time of every operation over all threads, so that the sum may exceed the time of the step.
"""

from __future__ import annotations

import argparse
import collections
import tempfile
import time
from pathlib import Path

from machine import describe
from train_speed import noise, step_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="classic")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch", type=int, default=65)
    parser.add_argument("--width", type=int, default=86)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rows", type=int, default=15)
    options = parser.parse_args()
    step = step_of(options.arch, options.precision, options.width)
    data = noise(options.arch, options.batch, options.width)
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for number in range(4):
        float(step(data, 1e-4, number))
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        before = time.perf_counter()
        for number in range(options.steps):
            float(step(data, 1e-4, number))
        took = time.perf_counter() - before
        tf.profiler.experimental.stop()
        found = next(Path(folder).rglob("*.xplane.pb"))
        space = xplane_pb2.XSpace.FromString(found.read_bytes())
    times = collections.Counter()
    for plane in space.planes:
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                _, colon, kind = names[event.metadata_id].partition(":")
                if colon and kind.isidentifier():
                    times[kind] += event.duration_ps / 1e12
    print(describe())
    print(f"{options.arch}, {options.precision}, batch {options.batch}, {took / options.steps * 1e3:.0f} ms a step")
    print("| operation | ms a step, all threads | share |\n|---|---|---|")
    total = sum(times.values())
    for kind, seconds in times.most_common(options.rows):
        print(f"| {kind} | {seconds / options.steps * 1e3:.1f} | {seconds / total:.0%} |")


if __name__ == "__main__":
    main()
