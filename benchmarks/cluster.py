"""What a second worker costs: one process on all cores against two workers on the same machine.

    python benchmarks/cluster.py [--steps 60] [--rounds 3]

No speed-up is to be expected: the cores are the same. What is measured is the time that the second process adds to
a step. Both train the default network on the toy words, batch 64, float32, one after the other in rounds. Each of two
workers has its own half of the cores, as each of two machines would; `--shared` lets both use all.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import ROOT, describe, environment

WARM = 2
"""Lines of the log, ten steps each, that are not counted: graphs are built, data is decoded for the first time."""

PINNED = """
import os, sys
part, argv = sys.argv[1], sys.argv[2:]
if part != "all":
    number, count = map(int, part.split("/"))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[len(cores) * number // count : len(cores) * (number + 1) // count])
from aocr.cli.main import main
sys.exit(main(argv))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def step_times(num_workers: int, steps: int, folder: Path, shared: bool) -> list[float]:
    """Seconds a step of each log line of the chief, the warm ones left out."""
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(num_workers)]
    annotations = ROOT / "datasets" / "annotations-training.txt"
    command = [
        *("train", str(annotations), "--model-dir", str(folder), "--batch-size", "64"),
        *("--precision", "float32", "--num-epoch", str(-(-steps // 17)), "--steps-per-checkpoint", "100000"),
    ]
    processes = []
    for number in range(num_workers):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        process = subprocess.Popen(
            [sys.executable, "-c", PINNED, "all" if shared else f"{number}/{num_workers}", *command],
            env=environment(TF_CONFIG=json.dumps(task)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
    said = [process.communicate()[1] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"a training failed: {said[0][-400:]}")
    return [float(value) for value in re.findall(r"^Step \d+: ([\d.]+)s", said[0], re.MULTILINE)][WARM:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()
    print(describe())
    print("| round | 1 process, s a step | 2 workers, s a step | overhead |\n|---|---|---|---|")
    overheads = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as work:
            one, two = (
                statistics.median(step_times(count, options.steps, Path(work) / str(count), options.shared))
                for count in (1, 2)
            )
        overheads.append(two / one - 1)
        print(f"| {number + 1} | {one:.3f} | {two:.3f} | {overheads[-1]:.1%} |", flush=True)
    print(f"median overhead of a second worker: {statistics.median(overheads):.1%} of a step")


if __name__ == "__main__":
    main()
