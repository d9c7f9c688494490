"""Export a model and check in another process that the export reads like the model."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aocr import files, machine
from aocr.config import ModelConfig
from aocr.data.datasets import Dataset
from aocr.data.images import image_to_bytes
from aocr.errors import ConfigError, ExportError
from aocr.exchange import proof
from aocr.exchange.formats import FORMATS, Format
from aocr.reading.evaluator import evaluate
from aocr.reading.predictor import Predictor
from aocr.report.pictures import encode_image

TOLERANCE = 1e-3
"""Maximum difference in probability between an export and the model."""

MAX_LOSS = 0.01
"""Maximum loss of word accuracy of a quantised export."""

NUM_SAMPLES, SAMPLE_FORMATS = 32, ("PNG", "JPEG", "BMP", "GIF", "PNG", "PNG")

log = logging.getLogger("aocr")


def _samples(config: ModelConfig) -> list[bytes]:
    """Draw images of several sizes and formats."""
    symbols = [c for c in config.charset.symbols if c.isprintable()] or ["x"]
    draws = np.random.default_rng(0)
    samples = []
    for i in range(NUM_SAMPLES):
        width, height = int(draws.integers(20, 400)), int(draws.integers(16, 80))
        text = "".join(draws.choice(symbols, 1 + i % 6))
        image = Image.new("RGB", (width, height), tuple(draws.integers(150, 256, 3).tolist()))
        font = ImageFont.load_default(max(8, height * 2 // 3))
        ImageDraw.Draw(image).text((4, height // 8), text, tuple(draws.integers(0, 100, 3).tolist()), font)
        samples.append(encode_image(image, SAMPLE_FORMATS[i % len(SAMPLE_FORMATS)]))
    return samples


def _npy(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue()).decode()


def _read_elsewhere(
    predictor: Predictor, folder: str, kind: str, images: list[bytes], batches: list[list[bytes]]
) -> list[tuple[str, float]]:
    """Read images with an export in a process that cannot import aocr; return (text, probability) pairs."""
    request = {
        "folder": os.path.abspath(folder),
        "format": os.path.abspath(FORMATS[kind].__file__),
        "images": [base64.b64encode(image).decode() for image in images],
        "channels": predictor.config.channels,
        "pixels": [[_npy(part) for part in predictor.reader.transform(batch)[:2]] for batch in batches],
    }
    command = [sys.executable, os.path.abspath(proof.__file__)]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, cwd=folder)
    for line in done.stdout.splitlines():
        if line.startswith(proof.MARK):
            return json.loads(line.removeprefix(proof.MARK))
    last_line = (done.stderr.strip().splitlines() or ["no output"])[-1]
    raise ExportError(f"The {kind} export cannot be loaded without aocr: {last_line[:300]}")


def check_samples(predictor: Predictor, folder: str, kind: str) -> None:
    """Check that an export reads sample images like the model.

    Raises:
      ExportError: it cannot be loaded, or a text or a probability differs.
    """
    images = _samples(predictor.config)
    results = _read_elsewhere(predictor, folder, kind, images, [*([image] for image in images), images])
    expected = itertools.cycle(predictor.read_encoded(images))  # one by one, then as a batch
    for prediction, (text, probability) in zip(expected, results, strict=False):
        if text != prediction.text or abs(probability - prediction.confidence) > TOLERANCE:
            reading = f"{prediction.text!r} ({prediction.confidence:.4f})"
            reason = f"reads {text!r} ({probability:.4f}) where the model reads {reading}"
            raise ExportError(f"The {kind} export {reason}. It was not kept.")


def compare(predictor: Predictor, folder: str, kind: str, dataset: Dataset) -> None:
    """Check that a quantised export reads a dataset about as well as the model, and log the accuracy of both.

    Raises:
      ExportError: it cannot be loaded, or loses more than `MAX_LOSS`.
    """
    report, samples = evaluate(predictor, dataset, keep_source=True)
    images = [image_to_bytes(sample.image).data for sample in samples]
    results = _read_elsewhere(predictor, folder, kind, images, [[image] for image in images])
    num_correct = sum(text == sample.label for (text, _), sample in zip(results, samples, strict=True))
    after = num_correct / len(samples)
    before = report.word_accuracy
    accuracies = f"word accuracy on {len(samples)} images of {dataset.name}: {before:.2%} before, {after:.2%} after"
    if after < before - MAX_LOSS:
        raise ExportError(f"The {kind} export loses more than {MAX_LOSS:.0%}: {accuracies}. It was not kept.")
    log.info("%s quantised: %s", kind, accuracies)


def _move(folder: str, target: str, form: Format) -> None:
    """Move a finished export to its target: by one rename if the target is new and local, else file by file."""
    if form.IS_FOLDER and not files.is_remote(target) and not os.path.exists(target):
        os.chmod(folder, 0o755)
        os.rename(folder, target)
        os.makedirs(folder)  # for the temporary directory to remove
    else:
        if not form.IS_FOLDER:
            _check_replaceable(folder, target, form)
        files.copy_tree(folder, target, last=form.MAIN_FILE)


def _check_replaceable(folder: str, target: str, form: Format) -> None:
    """Refuse to overwrite files that have no main file of an earlier export beside them."""
    if files.exists(os.path.join(target, form.MAIN_FILE)):
        return
    for name in files.names_in(folder):
        path = os.path.join(target, name)
        if files.exists(path) and files.read(path) != files.read(os.path.join(folder, name)):
            raise ExportError(f"{path}: already exists and was not written by aocr export. Choose another DIR.")


def check_choice(kind: str, quantize: str | None, has_dataset: bool) -> None:
    """Refuse an export that cannot be made, before a model is loaded.

    Raises:
      ConfigError: the format cannot be quantised, or there is no dataset to check it on.
      ExportError: a package is missing.
    """
    form = FORMATS[kind]
    if quantize and not hasattr(form, "QUANTIZATIONS"):
        able = " or ".join(name for name, other in FORMATS.items() if hasattr(other, "QUANTIZATIONS"))
        raise ConfigError("--quantize", quantize, f"the {kind} format cannot be quantised. Use --format {able}.")
    if has_dataset != bool(quantize):
        reason = "a quantised export is checked on a dataset. Give both --quantize and --check DATASET, or neither."
        raise ConfigError("--quantize", quantize, reason)
    for package in form.NEEDED:
        if not machine.has_package(package):
            raise ExportError(f"The {kind} format needs {package}: pip install 'aocr[{kind}]'.")


def write_export(
    predictor: Predictor,
    export_dir: str,
    kind: str,
    numbered: bool = True,
    quantize: str | None = None,
    dataset: Dataset | None = None,
) -> str:
    """Export a model and check the export.

    Args:
      predictor: loaded by `load_network` in float32.
      export_dir: created if it is missing.
      kind: a name of `FORMATS`.
      numbered: whether to write a format that is a folder to a new numbered folder in `export_dir`.
      quantize: one of the format's `QUANTIZATIONS`; None: keep float32.
      dataset: labelled images to check a quantised export on.

    Returns:
      Path of the folder or the main file written.

    Raises:
      ConfigError, ExportError: as in `check_choice`; the export cannot be written or does not read like the model.
        Nothing is left behind.
    """
    form: Any = FORMATS[kind]
    check_choice(kind, quantize, dataset is not None)
    is_new = not files.is_folder(export_dir)
    local_dir = None if files.is_remote(export_dir) else export_dir
    try:
        with files.writing(export_dir, lambda reason: ExportError(f"{export_dir}: the export {reason}")):
            files.make_folder(export_dir)
            with tempfile.TemporaryDirectory(prefix=".aocr-", dir=local_dir) as folder:
                form.write(predictor, folder, **({"quantize": quantize} if quantize else {}))
                if dataset is not None:
                    compare(predictor, folder, kind, dataset)
                else:
                    check_samples(predictor, folder, kind)
                path = export_dir
                if form.IS_FOLDER and numbered:
                    numbers = [int(name) for name in files.names_in(export_dir) if name.isdecimal()]
                    path = os.path.join(export_dir, str(max(numbers, default=0) + 1))
                _move(folder, path, form)
        return path if form.IS_FOLDER else os.path.join(path, form.MAIN_FILE)
    finally:
        if is_new and local_dir and os.path.isdir(export_dir) and not os.listdir(export_dir):
            os.rmdir(export_dir)
