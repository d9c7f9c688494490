"""Measure the resident memory of a training with default flags (Linux only).

    python benchmarks/memory.py ANNOTATIONS [--data-base-dir DIR] [--epochs 50]

Samples the process while it trains and prints the memory of the first and last tenth, and the maximum.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe, environment


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    try:
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
    except (OSError, TypeError):
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations")
    parser.add_argument("--data-base-dir", default=".")
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "aocr", "train", options.annotations, "--data-base-dir", options.data_base_dir]
        command += ["--model-dir", folder, "--num-epoch", str(options.epochs), "--patience", "1000"]
        log = Path(folder) / "log.txt"
        with open(log, "w") as file:
            process = subprocess.Popen(command, env=environment(), stderr=file, stdout=subprocess.DEVNULL)
            samples = []
            while process.poll() is None:
                if "Step 10:" in log.read_text():
                    samples.append(resident(process.pid))
                time.sleep(1)
        if process.returncode:
            sys.exit(log.read_text()[-400:])
    samples = [value for value in samples if value]
    tenth = max(1, len(samples) // 10)
    print(f"| {options.epochs} epochs | MiB |\n|---|---|")
    for name, value in (
        ("first tenth", statistics.median(samples[:tenth])),
        ("last tenth", statistics.median(samples[-tenth:])),
        ("maximum", max(samples)),
    ):
        print(f"| {name} | {value:.0f} |")


if __name__ == "__main__":
    main()
