"""Measure how many labels the order of `aocr label` saves: least certain first, compared with random order.

    python benchmarks/labelling.py --data DATA --work WORK [--sets captcha,plates,kannada] [--seeds 0] [--steps 500]

DATA holds a folder per set with `train.txt`, whose known labels are revealed one after the other, and `test.txt`. Both
orders set aside every tenth label for validation, and start every training from `words`. The images of the first stage
are sorted by the confidence of `words`, those of the next by that of the model trained on the earlier labels. Each
training does about the same number of steps, so the load of the machine does not change the result. WORK keeps models
and results; an interrupted run resumes. Prints a table of all results in WORK.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

from machine import describe, environment

from aocr.data.annotations import split_line
from aocr.serving.labelling.queue import RANDOM_EVERY, Queue

BATCH_SIZE = 16
LEAST_CERTAIN, RANDOM = "least-sure", "random"
GOAL = 400
"""Number of labels in random order; least certain first should reach their accuracy with fewer."""
STAGES = [
    *((LEAST_CERTAIN, labels) for labels in (50, 100, 200)),
    (RANDOM, GOAL),
    *((LEAST_CERTAIN, labels) for labels in (300, GOAL)),
    *((RANDOM, labels) for labels in (200, 100)),
]
"""(order, number of labels after which a model is trained), the most informative first."""


ENV = environment()


def aocr(*args: object, log: Path, lines: str = "") -> str:
    with open(log, "a", encoding="utf-8") as file:
        argv = [sys.executable, "-m", "aocr", *map(str, args)]
        done = subprocess.run(argv, input=lines, stdout=subprocess.PIPE, stderr=file, text=True, check=True, env=ENV)
    return done.stdout


def confidences(model: str, paths: list[str], log: Path) -> list[float]:
    output = aocr("predict", "--json", "--model-dir", model, log=log, lines="".join(f"{path}\n" for path in paths))
    return [json.loads(line)["confidence"] for line in output.splitlines()]


def choose(order: str, model: str, paths: list[str], asked: list[list], labels: int, seed: int, log: Path) -> list:
    """Return (index, whether it is for validation) of the first `labels` labels; `asked` are the earlier ones."""
    if order == RANDOM:
        shuffled = random.Random(seed).sample(range(len(paths)), labels)
        return [[index, number % RANDOM_EVERY == 0] for number, index in enumerate(shuffled, 1)]
    earlier = {index for index, _ in asked}
    ranks = [(sure,) for sure in confidences(model, paths, log)]
    queue = Queue(ranks, [i for i in range(len(paths)) if i not in earlier], seed + len(asked), len(asked))
    while len(asked) < labels:
        image = queue.current()
        queue.decide([image.index])
        asked = [*asked, [image.index, image.at_random]]
    return asked


def stage(task: Path, order: str, labels: int, seed: int, steps: int, folder: Path, before: Path | None) -> None:
    """Choose the labels, train, test, and store the result."""
    if (folder / "result.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{task.name}, {order}, seed {seed}, {labels} labels ...", file=sys.stderr, flush=True)
    lines = (task / "train.txt").read_text("utf-8").splitlines()
    paths = [str(task / split_line(line)[0]) for line in lines]
    asked = json.loads((before / "asked.json").read_text("utf-8")) if before else []
    log, model = folder / "log.txt", folder / "model"
    base = str(before / "model") if before else "words"
    asked = choose(order, base, paths, asked, labels, seed, log)
    lists = {True: folder / "validation.txt", False: folder / "training.txt"}
    for validation, path in lists.items():
        selected = [lines[index] for index, is_validation in asked if is_validation == validation]
        path.write_text("".join(f"{line}\n" for line in selected), encoding="utf-8")
    steps_an_epoch = math.ceil(sum(not is_validation for _, is_validation in asked) / BATCH_SIZE)
    common = ["--data-base-dir", task, "--model-dir", model]
    settings = ["--init-from", "words", "--seed", seed, "--batch-size", BATCH_SIZE]
    limit = ["--num-epoch", round(steps / steps_an_epoch), "--patience", 1000]
    aocr("train", lists[False], "--validation", lists[True], *common, *settings, *limit, log=log)
    scores = json.loads(aocr("test", task / "test.txt", *common, "--json", log=log))
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    result = {name: scores[name] for name in ("word_accuracy", "cer")}
    (folder / "result.json").write_text(json.dumps({**result, "load": os.getloadavg()[0]}), encoding="utf-8")


def run(task: Path, seed: int, steps: int, work: Path) -> None:
    before: dict[str, Path] = {}  # folder of the previous stage, by order
    for order, labels in STAGES:
        folder = work / task.name / str(seed) / order / str(labels)
        stage(task, order, labels, seed, steps, folder, before.get(order))
        if order == LEAST_CERTAIN:
            before[order] = folder


def results(work: Path, name: str, order: str) -> dict[int, list[dict]]:
    """Return the results by number of labels, one per seed."""
    by_labels: dict[int, list[dict]] = {}
    for path in sorted(work.glob(f"{name}/*/{order}/*/result.json")):
        by_labels.setdefault(int(path.parent.name), []).append(json.loads(path.read_text("utf-8")))
    return dict(sorted(by_labels.items()))


def table(work: Path, names: list[str]) -> str:
    """Return all results as a Markdown table, and how many labels reach the accuracy of random order with `GOAL`."""
    rows = ["| set | labels | order | seeds | word accuracy | CER |", "|" + "---|" * 6]
    needed = []
    for name in names:
        means: dict[str, dict[int, float]] = {}
        for order in (LEAST_CERTAIN, RANDOM):
            for labels, runs in results(work, name, order).items():
                accuracy, cer = (sum(run[key] for run in runs) / len(runs) for key in ("word_accuracy", "cer"))
                means.setdefault(order, {})[labels] = accuracy
                rows.append(f"| {name} | {labels} | {order} | {len(runs)} | {accuracy:.2%} | {cer:.2%} |")
        goal = means.get(RANDOM, {}).get(GOAL)
        if goal is not None:
            enough = [labels for labels, accuracy in means.get(LEAST_CERTAIN, {}).items() if accuracy >= goal]
            verdict = f"with {min(enough)} labels" if enough else "not reached"
            needed.append(f"{name}: random order reached {goal:.2%} with {GOAL} labels; least certain first: {verdict}")
    return "\n".join([*rows, "", *needed])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", default="captcha,plates,kannada")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    names = args.sets.split(",")
    for seed in args.seeds.split(","):
        for name in names:
            run((args.data / name).resolve(), int(seed), args.steps, args.work.resolve())
    print(describe())
    print(table(args.work, names))


if __name__ == "__main__":
    main()
