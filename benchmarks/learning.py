"""Measure how well `aocr train` with default flags trains from scratch, by set and seed, within a time limit.

    python benchmarks/learning.py --data DATA --work WORK [--sets plates,kannada] [--seeds 0,1,2] [--arch default]

DATA holds a folder per set with `train.txt` and `test.txt`. WORK keeps models and results: an interrupted run resumes,
and a result is not measured again. Prints a table of all results in WORK.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from machine import describe


@dataclass(frozen=True)
class Task:
    """A data set, a time limit and the scores to reach."""

    name: str
    """Name of the task."""
    folder: str
    """Folder of the set."""
    limit: str
    """Training time, as `--max-time` takes it."""
    goals: dict[str, float]
    """Score to reach by its name: a minimum for word accuracy, a maximum for CER."""
    test: str = "test.txt"
    """Annotation file to score the model on."""


TASKS = [
    Task("captcha-3m", "captcha", "3m", {"word_accuracy": 0.98}),
    Task("captcha-10m", "captcha", "10m", {"word_accuracy": 0.99}),
    Task("captcha_varlen", "captcha_varlen", "20m", {"word_accuracy": 0.95}),
    Task("plates", "plates", "15m", {"word_accuracy": 0.70}),
    Task("kannada", "kannada", "20m", {"word_accuracy": 0.60, "cer": 0.15}),
    Task("lines_english", "lines_english", "15m", {"cer": 0.02}, test="train.txt"),
    Task("lines_fraktur", "lines_fraktur", "60m", {"cer": 0.15}),
]


def measure(task: Task, arch: str, seed: int, data: Path, work: Path) -> None:
    """Train or resume, score, and store the result."""
    folder = work / arch / task.name / str(seed)
    if (folder / "result.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    source, model = data / task.folder, str(folder / "model")
    common = ["--data-base-dir", str(source), "--model-dir", model]
    aocr = [sys.executable, "-m", "aocr"]
    print(f"{arch} {task.name} seed {seed} ...", file=sys.stderr, flush=True)
    before = os.getloadavg()[0]
    settings = ["--init-from", "none", "--arch", arch, "--seed", str(seed), "--max-time", task.limit]
    with open(folder / "train.log", "a", encoding="utf-8") as log:
        subprocess.run([*aocr, "train", str(source / "train.txt"), *common, *settings], stderr=log, check=True)
    done = subprocess.run(
        [*aocr, "test", str(source / task.test), *common, "--json"], capture_output=True, text=True, check=True
    )
    points = json.loads((folder / "model" / "history.json").read_text("utf-8"))["points"]
    result = {"scores": json.loads(done.stdout), "steps": points[-1]["step"], "load": [before, os.getloadavg()[0]]}
    (folder / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def is_met(task: Task, score: str, value: float) -> bool:
    return value >= task.goals[score] if score == "word_accuracy" else value < task.goals[score]


def table(work: Path) -> str:
    """Return all results as a Markdown table, the seeds side by side."""
    lines = ["| network | set | time limit | score | goal | by seed | median | met | load |", "|" + "---|" * 9]
    for arch in sorted(path.name for path in work.iterdir() if path.is_dir()):
        for task in TASKS:
            files = sorted((work / arch / task.name).glob("*/result.json"))
            results = [json.loads(path.read_text("utf-8")) for path in files]
            for score, goal in task.goals.items() if results else ():
                values = [result["scores"][score] for result in results]
                middle = statistics.median(values)
                seeds = ", ".join(f"{path.parent.name}: {v:.2%}" for path, v in zip(files, values, strict=True))
                load = max(max(result["load"]) for result in results)
                sign = "at least" if score == "word_accuracy" else "below"
                met = "yes" if is_met(task, score, middle) else "no"
                cells = (
                    arch,
                    task.name,
                    task.limit,
                    score,
                    f"{sign} {goal:.0%}",
                    seeds,
                    f"{middle:.2%}",
                    met,
                    f"{load:.1f}",
                )
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(task.name for task in TASKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arch", default="default")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    chosen = [task for task in TASKS if task.name in args.sets.split(",") or task.folder in args.sets.split(",")]
    for seed in args.seeds.split(","):
        for task in chosen:
            for arch in args.arch.split(","):
                measure(task, arch, int(seed), args.data, args.work)
    print(describe())
    print(table(args.work))


if __name__ == "__main__":
    main()
