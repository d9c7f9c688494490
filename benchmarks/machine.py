"""Put the checkout on the path and describe the machine. Import this before aocr."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports aocr from the checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def describe() -> str:
    """Describe CPU, cores, memory and load in one line."""
    name, flags, memory = platform.processor() or platform.machine(), "", ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = dict(line.split(":", 1) for line in file.read().replace("\t", "").splitlines() if ":" in line)
        name = facts.get("model name", name).strip()
        kinds = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        flags = ", " + " ".join(kind for kind in kinds if f" {kind} " in f"{facts.get('flags', '')} ")
        with open("/proc/meminfo", encoding="utf-8") as file:
            memory = f", {int(file.readline().split()[1]) / 2**20:.0f} GiB"
    except (OSError, ValueError, IndexError):
        pass
    load = " ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "?"
    return f"{name}, {os.cpu_count()} cores{memory}{flags}; load {load}; Python {platform.python_version()}"
