"""Measure what a second worker costs: one process on all cores, then two workers on the same machine.

    python benchmarks/cluster.py [--steps 60] [--rounds 3]

The cores are the same, so no speed-up is expected: the figure is the time that the second process adds to a step. Both
train the default network on the toy words, batch 64, float32, in turn. Each of two workers has its own half of the
cores, as two machines would; `--shared` lets both use all.
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
"""Log lines (ten steps each) at the start that are not counted: graphs are built and images decoded."""

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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def step_times(num_workers: int, steps: int, folder: Path, shared: bool) -> list[float]:
    """Return the seconds per step in each log line of the first worker, without the first `WARM`."""
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
    logs = [process.communicate()[1] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"a training failed: {logs[0][-400:]}")
    return [float(value) for value in re.findall(r"^Step \d+: ([\d.]+)s", logs[0], re.MULTILINE)][WARM:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()
    print(describe())
    print("| round | 1 process, s per step | 2 workers, s per step | overhead |\n|---|---|---|---|")
    overheads = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as work:
            single, double = (
                statistics.median(step_times(count, options.steps, Path(work) / str(count), options.shared))
                for count in (1, 2)
            )
        overheads.append(double / single - 1)
        print(f"| {number + 1} | {single:.3f} | {double:.3f} | {overheads[-1]:.1%} |", flush=True)
    print(f"median overhead of a second worker: {statistics.median(overheads):.1%} of a step")


if __name__ == "__main__":
    main()
