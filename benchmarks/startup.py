"""What the first prediction costs: `aocr predict` on one image against importing TensorFlow.

    python benchmarks/startup.py --model-dir MODEL IMAGE [--rounds 5]

Whole processes in turn, the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from machine import describe, environment


def seconds(command: list[str]) -> float:
    before = time.perf_counter()
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--model-dir", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(describe())
    python = sys.executable
    commands = {
        "import tensorflow": [python, "-c", "import tensorflow"],
        "import keras on TensorFlow": [python, "-c", "import keras"],
        "aocr --version": [python, "-m", "aocr", "--version"],
        "aocr predict, one image": [python, "-m", "aocr", "predict", options.image, "--model-dir", options.model_dir],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(options.rounds + 1):
        for name, command in commands.items():
            took = seconds(command)
            if number:  # the first round fills the disk cache
                times[name].append(took)
    base = statistics.median(times["import tensorflow"])
    print("| | seconds | of importing TensorFlow |\n|---|---|---|")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:.2f} | {middle / base:.2f} |")


if __name__ == "__main__":
    main()
