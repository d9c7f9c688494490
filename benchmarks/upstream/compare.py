"""Check that aocr 0.7.6 and this version accept each other's commands, records, checkpoints and exports.

    python benchmarks/upstream/compare.py --work /tmp/upstream

Run it from a checkout ("ours"), in an environment with its packages. The released program needs Python 3.7
(`--python37`, or a python3.7 on PATH); it is installed from PyPI into WORK/released the first time. Prints a line per
check; exits with 1 if any failed, with 2 if the released program could not be installed.
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
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
RELEASED = ("aocr==0.7.6", "tensorflow==1.15.*", "protobuf<3.21")
PROBABILITY = 1e-4
MAX_WIDTH = 160
"""Pixels, the default of both programs."""
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
"""The commands of the released program's README; the last reads paths from standard input."""


class Failed(Exception):
    """A check failed; the message is the end of the program's output."""


class Program:
    """One of the two programs, run as `python -m aocr` in a folder of its own.

    Args:
      python: interpreter that has the program.
      folder: working directory.
      pictures: output folder of `test --visualize`.
      version: subfolder of an exported SavedModel.
      path: PYTHONPATH.
    """

    def __init__(self, python: str, folder: Path, pictures: str, version: str, path: str = ""):
        self.python, self.folder, self.pictures, self.version = python, folder, pictures, version
        inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        self.environment = {**inherited, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        if path:
            self.environment["PYTHONPATH"] = path

    def run(self, *arguments: object, stdin: str = "") -> str:
        """Run a command and return its stdout and stderr; raise Failed if its exit code is not 0."""
        command = [self.python, "-m", "aocr", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"aocr {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout[-400:].strip()}")
        return done.stdout


def install_released(python37: str, work: Path) -> str:
    """Install the released program and return its interpreter."""
    python = work / "released" / "bin" / "python"
    try:
        if not python.exists():
            subprocess.run([python37, "-m", "venv", str(work / "released")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", *RELEASED], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the released program could not be installed with {python37}: {error}", file=sys.stderr)
        sys.exit(2)
    return str(python)


def begin(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, str]:
    """Parse options with `--work` and `--python37`; return them and the interpreter of the released program."""
    parser.add_argument("--work", type=Path, required=True, help="folder for environments, models and records")
    parser.add_argument("--python37", default="python3.7", help="interpreter that TensorFlow 1.15 runs on")
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return options, install_released(options.python37, options.work)


def prepare(work: Path, name: str) -> Path:
    """Make a folder with the toy words for one of the two programs."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "datasets", folder)
    return folder


def results(log: str) -> list[str]:
    """Return the text of each `Result: OK. 0.12 TEXT` line in a log of either program."""
    return [text.strip() for text in re.findall(r"Result: OK\. \S+ ?(.*)", log)]


def predict(program: Program, *flags: str, stdin: str) -> list[str]:
    """Return the texts that `aocr predict` logs for paths from standard input."""
    log = program.folder / "predict.log"
    log.unlink(missing_ok=True)
    program.run("predict", "--log-path=predict.log", *flags, stdin=stdin)
    return results(log.read_text(encoding="utf-8"))


def served(saved_model: Path, images: list[bytes]) -> list[tuple[str, float]]:
    """Return the text and probability that a SavedModel's serving signature gives for each image."""
    import numpy as np
    import tensorflow as tf

    serve = tf.saved_model.load(str(saved_model), tags=["serve"]).signatures["serving_default"]
    read = []
    for image in images:
        answer = serve(input=tf.constant(image))
        text, probability = (np.ravel(answer[name].numpy())[0] for name in ("output", "probability"))
        read.append((text.decode(), float(probability)))
    return read


def read_to_the_end(model_dir: Path, images: list[bytes]) -> list[tuple[str, float]]:
    """Return text and probability of each image as the released program defines it: the product over all steps."""
    import numpy as np
    import tensorflow as tf

    from aocr.data.preprocess import preprocess
    from aocr.reading.predictor import load_network

    predictor = load_network(str(model_dir))
    read = []
    for image in images:
        pixels, width, _ = preprocess(tf.constant(image), predictor.config)
        reading = predictor.reader.model.read(pixels[None], width[None], stop_early=False)
        text = predictor.config.charset.decode(reading.ids.numpy()[0])
        read.append((text, float(np.prod(reading.probabilities.numpy()[0].astype(np.float64)))))
    return read


def signature(saved_model: Path) -> str:
    """Return names and types in the serving signature."""
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    serving = message.meta_graphs[0].signature_def["serving_default"]

    def names(tensors) -> str:
        return ", ".join(
            f"{name}: {types_pb2.DataType.Name(tensors[name].dtype)[3:].lower()}" for name in sorted(tensors)
        )

    return f"({names(serving.inputs)}) -> ({names(serving.outputs)})"


class Comparison:
    """The checks; each method returns a summary or raises Failed."""

    def __init__(self, released: Program, ours: Program, checkpoint: Path | None):
        self.released, self.ours = released, ours
        self.checkpoint = checkpoint.resolve() if checkpoint else released.folder / "checkpoints"
        self.images = sorted((ours.folder / "images").glob("testing_*.jpg"))
        self.paths = "".join(f"images/{image.name}\n" for image in self.images)

    def _lines(self, program: Program) -> str:
        for line in LINES:
            program.run(*line, stdin=self.paths if line[0] == "predict" else "")
        saved_model = f"exported-model/{program.version}/saved_model.pb"
        expected = (saved_model, "frozen-model/frozen_graph.pb", "checkpoints/checkpoint", program.pictures)
        missing = [name for name in expected if not (program.folder / name).exists()]
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
        self.released.run(
            "train", "ours.tfrecords", "--num-epoch=1", "--model-dir=from-ours", "--steps-per-checkpoint=5"
        )
        output = self.released.run("test", "ours.tfrecords", "--model-dir=from-ours")
        own_output = self.released.run("test", "training.tfrecords", "--model-dir=from-ours")
        tested, expected = output.count("perplexity:"), own_output.count("perplexity:")
        if not tested or tested != expected:  # it skips images wider than --max-width silently
            raise Failed(f"{tested} images tested, {expected} of its own records")
        return f"one epoch trained, {tested} images tested, as many as of its own records"

    def their_records_here(self) -> str:
        """records of the released program train and test in ours"""
        records = self.released.folder / "training.tfrecords"
        self.ours.run("train", records, "--arch=classic", "--num-epoch=1", "--model-dir=from-released")
        output = self.ours.run("test", records, "--model-dir=from-released", "--json")
        report = json.loads(output[output.index("{") : output.rindex("}") + 1])
        if report["num_images"] != 1000 or report["skipped"]:
            raise Failed(f"tested {report['num_images']} images, skipped {report['skipped']}")
        return f"one epoch trained, {report['num_images']} images tested, none skipped"

    def checkpoint_imported(self) -> str:
        """a checkpoint that the released program trained, in ours: texts and probabilities"""
        self.ours.run("import", self.checkpoint, "--model-dir=imported")
        self.released.run("export", "exported-again", f"--model-dir={self.checkpoint}")
        pictures = [image.read_bytes() for image in self.images]
        there = served(self.released.folder / "exported-again", pictures)
        here = read_to_the_end(self.ours.folder / "imported", pictures)
        texts = sum(a[0] == b[0] for a, b in zip(there, here, strict=True))
        largest = max(abs(a[1] - b[1]) for a, b in zip(there, here, strict=True))
        summary = f"{texts} of {len(pictures)} texts equal, {len({text for text, _ in there})} of them distinct, "
        summary += f"probabilities to {max(p for _, p in there):.2g}, apart by up to {largest:.1e}"
        if texts != len(pictures) or largest > PROBABILITY:
            raise Failed(summary)
        return summary

    def export_read(self) -> str:
        """our SavedModel of the imported checkpoint: the texts of the released program's"""
        self.ours.run("export", "exported-imported", "--model-dir=imported")
        pictures = [image.read_bytes() for image in self.images]
        there = [text for text, _ in served(self.released.folder / "exported-again", pictures)]
        here = [text for text, _ in served(self.ours.folder / "exported-imported" / self.ours.version, pictures)]
        if there != here:
            raise Failed(f"{sum(a == b for a, b in zip(there, here, strict=True))} of {len(there)} texts agree")
        return f"{len(there)} texts agree"

    def predict_from_stdin(self) -> str:
        """predict, paths on standard input: both programs, that checkpoint"""
        there = predict(self.released, f"--model-dir={self.checkpoint}", stdin=self.paths)
        here = predict(self.ours, "--model-dir=imported", stdin=self.paths)
        if len(there) != len(self.images) or there != here:
            raise Failed(f"{sum(a == b for a, b in zip(there, here, strict=False))} of {len(there)} lines agree")
        return f"{len(here)} lines agree"

    def tested(self) -> str:
        """test: the released program's own score of that checkpoint, and ours"""
        from PIL import Image

        # it skips images wider than --max-width silently, so both get the others only
        lines = (self.ours.folder / "annotations-testing.txt").read_text(encoding="utf-8").splitlines()
        narrow = [line for line in lines if Image.open(self.ours.folder / line.split()[0]).width <= MAX_WIDTH]
        (self.ours.folder / "narrow.txt").write_text("\n".join(narrow) + "\n", encoding="utf-8")
        records = self.ours.folder / "narrow.tfrecords"
        self.ours.run("dataset", "narrow.txt", records)
        model = f"--model-dir={self.checkpoint}"
        there = re.findall(r"Accuracy: +([\d.]+)%", self.released.run("test", records, model))
        answer = self.ours.run("test", records, "--model-dir=imported", "--json")
        report = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])
        score = float(there[-1]) / 100 if there else float("nan")
        if len(there) != report["num_images"] or not abs(score - report["upstream_accuracy"]) < 1e-4:
            raise Failed(f"{score:.4f} of {len(there)} there, {report['upstream_accuracy']:.4f} here")
        return f"{score:.4f} there, {report['upstream_accuracy']:.4f} here, {len(there)} images"

    def signatures(self) -> str:
        """the SavedModel's serving signature, both programs"""
        there = signature(self.released.folder / "exported-model")
        here = signature(self.ours.folder / "exported-imported" / self.ours.version)
        if there != here:
            raise Failed(f"there {there}; here {here}")
        return here

    def fine_tuned(self) -> str:
        """train --init-from the imported checkpoint"""
        output = self.ours.run(
            "train", "training.tfrecords", "--init-from=imported", "--model-dir=tuned", "--num-epoch=1"
        )
        if not re.search(r"Step \d+", output):
            raise Failed("no step was trained")
        return "one epoch trained"


CHECKS = (
    Comparison.readme_of_released,
    Comparison.readme_of_ours,
    Comparison.our_records_there,
    Comparison.their_records_here,
    Comparison.checkpoint_imported,
    Comparison.export_read,
    Comparison.predict_from_stdin,
    Comparison.tested,
    Comparison.signatures,
    Comparison.fine_tuned,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="folder of a checkpoint to import (default: trained here)")
    options, python = begin(parser)
    import machine

    # the released program saves its pictures in `out`, whatever its --output-dir says
    released = Program(python, prepare(options.work, "released-work"), "out", ".")
    ours = Program(sys.executable, prepare(options.work, "our-work"), "results", "1", str(ROOT))
    comparison = Comparison(released, ours, options.checkpoint)
    print(machine.describe())
    failures = 0
    for check in CHECKS:
        start, verdict = time.perf_counter(), "ok    "
        try:
            summary = check(comparison)
        except Failed as error:
            summary, verdict = str(error), "FAILED"
            failures += 1
        took = time.perf_counter() - start
        print(f"{verdict} {check.__doc__}: {summary} ({took:.0f} s)", flush=True)
    print(f"{len(CHECKS) - failures} of {len(CHECKS)} hold")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
