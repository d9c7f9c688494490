"""Measure how many images per CPU second `aocr synth` draws, encoding and records included, by style.

    python benchmarks/synth_speed.py --fonts DIR... [--count 1000] [--styles scene ...]

CPU seconds are hardly affected by other work on the machine. The first `--warm` images are not counted: surfaces and
fonts are prepared for them.
"""

import argparse
import os
import platform
import time

from aocr.synth.pipeline import SynthOptions, make_job
from aocr.synth.styles import STYLES
from aocr.tfrecord import encode_example, frame


def main() -> None:
    """Draw images in this process and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fonts", nargs="+")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--warm", type=int, default=1000)
    parser.add_argument("--styles", nargs="+", default=list(STYLES))
    args = parser.parse_args()
    print(f"{platform.machine()}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("style    images/CPU s  images/s  bytes  font families")
    for style in args.styles:
        job = make_job(SynthOptions(args.count, style=style), args.fonts, workers=1)
        painter = job.painter()
        for number in range(args.warm):
            painter.draw(number)
        cpu, wall, size = time.process_time(), time.perf_counter(), 0
        for number in range(args.warm, args.warm + args.count):
            drawn = painter.draw(number)
            size += len(frame(encode_example(drawn.data, drawn.label, drawn.width, drawn.height)))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        families = len({face.family for face in job.faces})
        print(f"{style:8} {args.count / cpu:12.0f} {args.count / wall:9.0f} {size / args.count:6.0f} {families:9}")


if __name__ == "__main__":
    main()
