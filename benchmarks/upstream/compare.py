"""aocr 0.7.6 beside ours: its commands, records, checkpoints and exports, tried in both directions.

    python benchmarks/upstream/compare.py --work /tmp/upstream

Run it from a checkout, in the environment that ours is installed in. The released program needs Python 3.7
(`--python37`, or a python3.7 on PATH); it is installed from PyPI into WORK/released the first time. Prints a
line a check; exits 1 if any failed, 2 if the released program could not be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
RELEASED = ("aocr==0.7.6", "tensorflow==1.15.*", "protobuf<3.21")
PROBABILITY = 1e-4
LINES = (
    ["dataset", "annotations-training.txt", "training.tfrecords"],
    ["dataset", "annotations-testing.txt", "testing.tfrecords"],
    ["train", "training.tfrecords", "--num-epoch=1", "--steps-per-checkpoint=5"],
    ["test", "testing.tfrecords"],
    ["test", "--visualize", "testing.tfrecords"],
    ["export", "exported-model"],
    ["export", "--format=frozengraph", "frozen-model"],
    ["predict"],
)
"""The commands of the released program's README, and what it is told on standard input by the last."""


class Failed(Exception):
    """A program did not do what was asked; the message is the end of what it said."""


class Program:
    """One of the two programs, run as `python -m aocr` in a folder of its own."""

    def __init__(self, name: str, python: str, folder: Path, path: str = ""):
        self.name, self.python, self.folder = name, python, folder
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        self.environment = {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        if path:
            self.environment["PYTHONPATH"] = path

    def run(self, *arguments: object, told: str = "") -> str:
        """What the command prints, both streams; Failed if its exit code is not 0."""
        command = [self.python, "-m", "aocr", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"aocr {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout[-400:].strip()}")
        return done.stdout


def install_released(python37: str, work: Path) -> str:
    """The interpreter of an environment that holds the released program."""
    python = work / "released" / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([python37, "-m", "venv", str(work / "released")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *RELEASED], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the released program could not be installed with {python37}: {error}", file=sys.stderr)
        sys.exit(2)
    return str(python)


def prepare(work: Path, name: str) -> Path:
    """A folder with the toy words, for one of the two programs."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "datasets", folder)
    return folder


def results(log: str) -> list[tuple[str, str]]:
    """(text, probability) of each `Result: OK. 0.12 TEXT` line."""
    return [(text.strip(), p) for p, text in re.findall(r"Result: OK\. (\S+) ?(.*)", log)]


def outputs(saved_model: Path, images: list[bytes]) -> list[tuple[str, float]]:
    """Text and probability that a SavedModel's serving signature gives for each image."""
    import tensorflow as tf

    serve = tf.saved_model.load(str(saved_model), tags=["serve"]).signatures["serving_default"]
    read = []
    for image in images:
        answer = serve(input=tf.constant(image))
        read.append((answer["output"].numpy().item().decode(), float(answer["probability"].numpy().item())))
    return read


def signature(saved_model: Path) -> str:
    """Names and types that a client of the serving signature sees."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    serving = message.meta_graphs[0].signature_def["serving_default"]

    def names(tensors) -> str:
        return ", ".join(f"{name}: {types_pb2.DataType.Name(tensors[name].dtype)[3:].lower()}" for name in sorted(tensors))

    return f"({names(serving.inputs)}) -> ({names(serving.outputs)})"


class Comparison:
    """The checks in order; each is a method that returns what was seen and raises Failed if it is wrong."""

    def __init__(self, released: Program, ours: Program):
        self.released, self.ours = released, ours
        self.images = sorted((ours.folder / "images").glob("testing_*.jpg"))
        self.told = "".join(f"images/{image.name}\n" for image in self.images)
        self.exported: list[tuple[str, float]] = []

    def _lines(self, program: Program) -> str:
        for line in LINES:
            said = program.run(*line, told=self.told if line[0] == "predict" else "")
            if line[0] == "predict" and len(results(said)) != len(self.images):
                raise Failed(f"predict answered {len(results(said))} of {len(self.images)} images")
        wanted = ("exported-model/saved_model.pb", "frozen-model/frozen_graph.pb", "checkpoints/checkpoint", "results")
        missing = [name for name in wanted if not (program.folder / name).exists()]
        if missing:
            raise Failed(f"not written: {', '.join(missing)}")
        return f"{len(LINES)} commands, every one with exit code 0"

    def readme_of_released(self) -> str:
        """the released README's commands, with the released program"""
        return self._lines(self.released)

    def readme_of_ours(self) -> str:
        """the same commands, word for word, with ours"""
        return self._lines(self.ours)

    def our_records_there(self) -> str:
        """records of ours train and test in the released program"""
        (self.released.folder / "ours.tfrecords").write_bytes((self.ours.folder / "training.tfrecords").read_bytes())
        self.released.run("train", "ours.tfrecords", "--num-epoch=1", "--model-dir=from-ours", "--steps-per-checkpoint=5")
        said = self.released.run("test", "ours.tfrecords", "--model-dir=from-ours")
        steps = re.findall(r"Step (\d+) \(", said)
        if not steps or int(steps[-1]) != len((self.ours.folder / "annotations-training.txt").read_text().splitlines()):
            raise Failed(f"it tested {steps[-1] if steps else 'no'} images")
        return f"one epoch trained, {steps[-1]} images tested"

    def their_records_here(self) -> str:
        """records of the released program train and test in ours"""
        records = self.released.folder / "training.tfrecords"
        self.ours.run("train", records, "--arch=classic", "--num-epoch=1", "--model-dir=from-released")
        said = self.ours.run("test", records, "--model-dir=from-released", "--json")
        report = json.loads(said[said.index("{") : said.rindex("}") + 1])
        if report["num_images"] != 1000 or report["skipped"]:
            raise Failed(f"tested {report['num_images']} images, skipped {report['skipped']}")
        return f"one epoch trained, {report['num_images']} images tested, none skipped"

    def checkpoint_imported(self) -> str:
        """a checkpoint that the released program trained, in ours: texts and probabilities"""
        self.ours.run("import", self.released.folder / "checkpoints", "--model-dir=imported")
        self.ours.run("export", "exported-imported", "--model-dir=imported")
        pictures = [image.read_bytes() for image in self.images]
        there = outputs(self.released.folder / "exported-model", pictures)
        here = outputs(self.ours.folder / "exported-imported", pictures)
        self.exported = there
        texts = sum(a[0] == b[0] for a, b in zip(there, here, strict=True))
        largest = max(abs(a[1] - b[1]) for a, b in zip(there, here, strict=True))
        distinct = len({text for text, _ in there})
        if texts != len(pictures) or largest > PROBABILITY:
            raise Failed(f"{texts} of {len(pictures)} texts equal, probabilities differ by up to {largest:.1e}")
        return f"{texts} of {len(pictures)} texts equal ({distinct} different ones), probability within {largest:.1e}"

    def predict_from_stdin(self) -> str:
        """predict from standard input: both programs, that checkpoint"""
        there = [text for text, _ in results(self.released.run("predict", told=self.told))]
        here = [text for text, _ in results(self.ours.run("predict", "--model-dir=imported", told=self.told))]
        if there != here or there != [text for text, _ in self.exported]:
            raise Failed(f"{sum(a == b for a, b in zip(there, here, strict=False))} of {len(there)} lines agree")
        return f"{len(here)} lines agree"

    def tested(self) -> str:
        """test: the released program's own score of that checkpoint, and ours"""
        said = self.released.run("test", "testing.tfrecords")
        there = [float(share) / 100 for share in re.findall(r"probability: +\S+ +(\d+)%", said)]
        answer = self.ours.run("test", "testing.tfrecords", "--model-dir=imported", "--json")
        report = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])
        mean = sum(there) / max(1, len(there))
        if len(there) != report["num_images"] or abs(mean - report["upstream_accuracy"]) > 0.005:
            raise Failed(f"{mean:.4f} over {len(there)} images there, {report['upstream_accuracy']:.4f} here")
        return f"{mean:.4f} there (whole per cents an image), {report['upstream_accuracy']:.4f} here"

    def signatures(self) -> str:
        """the SavedModel's serving signature, both programs"""
        there = signature(self.released.folder / "exported-model")
        here = signature(self.ours.folder / "exported-imported")
        if there != here:
            raise Failed(f"there {there}; here {here}")
        return here

    def fine_tuned(self) -> str:
        """train --init-from the imported checkpoint"""
        said = self.ours.run("train", "training.tfrecords", "--init-from=imported", "--model-dir=tuned", "--num-epoch=1")
        if not re.search(r"Step \d+", said):
            raise Failed("no step was trained")
        return "one epoch trained"


CHECKS = (
    Comparison.readme_of_released,
    Comparison.readme_of_ours,
    Comparison.our_records_there,
    Comparison.their_records_here,
    Comparison.checkpoint_imported,
    Comparison.predict_from_stdin,
    Comparison.tested,
    Comparison.signatures,
    Comparison.fine_tuned,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for environments, models and records")
    parser.add_argument("--python37", default="python3.7", help="interpreter that TensorFlow 1.15 runs on")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import machine

    released = Program("aocr 0.7.6", install_released(options.python37, work), prepare(work, "released-work"))
    comparison = Comparison(released, Program("ours", sys.executable, prepare(work, "our-work"), str(ROOT)))
    print(machine.describe())
    failures = 0
    for check in CHECKS:
        start, verdict = time.perf_counter(), "ok    "
        try:
            seen = check(comparison)
        except Failed as error:
            seen, verdict = str(error), "FAILED"
            failures += 1
        took = time.perf_counter() - start
        print(f"{verdict} {check.__doc__}: {seen} ({took:.0f} s)", flush=True)
    print(f"{len(CHECKS) - failures} of {len(CHECKS)} hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
