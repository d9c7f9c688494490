"""Exports: written, loaded again in a process without aocr, compared with the model, and only then kept."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import os
import re
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

TOLERANCE = 1e-3
"""Largest difference in probability between an export and the model."""

MAX_LOSS = 0.01
"""Largest share of the images of a dataset that a quantised export may read less than the model."""

NUM_SAMPLES = 32

log = logging.getLogger("aocr")


def _samples(config: ModelConfig) -> list[bytes]:
    """Drawn images of several sizes and formats."""
    symbols = [c for c in config.charset.symbols if c.isprintable()] or ["x"]
    draws = np.random.default_rng(0)
    samples = []
    kinds = [(100, 32, "PNG"), (160, 60, "JPEG"), (60, 20, "BMP"), (300, 40, "GIF"), (40, 64, "PNG"), (90, 33, "JPEG")]
    kinds += [
        (int(draws.integers(20, 400)), int(draws.integers(16, 80)), "PNG") for _ in range(NUM_SAMPLES - len(kinds))
    ]
    for i, (width, height, kind) in enumerate(kinds):
        text = "".join(draws.choice(symbols, 1 + i % 6))
        image = Image.new("RGB", (width, height), tuple(draws.integers(150, 256, 3).tolist()))
        font = ImageFont.load_default(max(8, height * 2 // 3))
        ImageDraw.Draw(image).text((4, height // 8), text, tuple(draws.integers(0, 100, 3).tolist()), font)
        buffer = io.BytesIO()
        image.save(buffer, kind)
        samples.append(buffer.getvalue())
    return samples


def _npy(array: np.ndarray) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return base64.b64encode(buffer.getvalue()).decode()


def _read_elsewhere(
    predictor: Predictor, folder: str, kind: str, images: list[bytes], batches: list[list[bytes]]
) -> list[tuple[str, float]]:
    """What the format's `read_back` finds in a process that cannot import aocr."""
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
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    raise ExportError(f"The {kind} export cannot be loaded on its own: {last[:300]}")


def prove(predictor: Predictor, folder: str, kind: str) -> None:
    """Check that an export reads sample images as the model does.

    Raises:
      ExportError: it cannot be loaded, or a text or a probability differs.
    """
    images = _samples(predictor.config)
    found = _read_elsewhere(predictor, folder, kind, images, [*([image] for image in images), images])
    if len(found) < 2 * len(images):
        raise ExportError(f"The {kind} export reads {len(found)} of the sample images. Nothing was kept.")
    for prediction, (text, probability) in zip(itertools.cycle(predictor.read_encoded(images)), found, strict=False):
        if text != prediction.text or abs(probability - prediction.confidence) > TOLERANCE:
            ours = f"{prediction.text!r} ({prediction.confidence:.4f})"
            raise ExportError(
                f"The {kind} export reads {text!r} ({probability:.4f}) where the model reads {ours}. Nothing was kept."
            )


def compare(predictor: Predictor, folder: str, kind: str, dataset: Dataset) -> None:
    """Check that a quantised export reads a dataset about as well as the model does, and tell how well both do.

    Raises:
      ExportError: it cannot be loaded, or reads more than `MAX_LOSS` of the images less.
    """
    report, samples = evaluate(predictor, dataset, keep_source=True)
    images = [image_to_bytes(sample.image).data for sample in samples]
    found = _read_elsewhere(predictor, folder, kind, images, [[image] for image in images])
    right = sum(text == sample.label for (text, _), sample in zip(found, samples, strict=True))
    after = right / len(samples)
    before = report.word_accuracy
    told = f"word accuracy on {len(samples)} images of {dataset.name}: {before:.2%} before, {after:.2%} after"
    if after < before - MAX_LOSS:
        raise ExportError(f"The {kind} export loses more than {MAX_LOSS:.0%}: {told}. Nothing was kept.")
    log.info("%s quantised: %s", kind, told)


def _next_number(folder: str) -> str:
    """1, or the next number that no folder has."""
    return str(max((int(name) for name in files.names_in(folder) if name.isdecimal()), default=0) + 1)


def _put(folder: str, target: str, form: Format) -> None:
    """Move a finished export to its place: by one rename where the place is new and local, else file by file."""
    if form.IS_FOLDER and not files.is_remote(target) and not os.path.exists(target):
        os.chmod(folder, 0o755)
        os.rename(folder, target)
        os.makedirs(folder)  # for the temporary directory to remove
    else:
        if not form.IS_FOLDER:
            _check_replaceable(folder, target, form)
        files.copy_tree(folder, target, last=form.MAIN_FILE)


def _check_replaceable(folder: str, target: str, form: Format) -> None:
    """See that the files beside an export's main one take the place of none but an earlier export's.

    Raises:
      ExportError: without the main file, a file of such a name is somebody else's.
    """
    if files.exists(os.path.join(target, form.MAIN_FILE)):
        return
    for name in files.names_in(folder):
        path = os.path.join(target, name)
        if files.exists(path) and files.read(path) != files.read(os.path.join(folder, name)):
            raise ExportError(f"{path}: already exists, and is of no export. Choose another DIR, or remove it.")


def check_choice(kind: str, quantize: str | None, has_dataset: bool) -> None:
    """Refuse an export that cannot be made, before a model is loaded.

    Raises:
      ConfigError: the format cannot be quantised so, or there is no dataset to check it on.
      ExportError: a package is missing.
    """
    form = FORMATS[kind]
    known = getattr(form, "QUANTIZATIONS", ())
    if quantize and quantize not in known:
        able = " or ".join(name for name, other in FORMATS.items() if hasattr(other, "QUANTIZATIONS"))
        raise ConfigError("--quantize", quantize, f"the {kind} format has no such thing. Use --format {able}.")
    if has_dataset != bool(quantize):
        reason = "an export with rounded weights is checked on a dataset: --quantize and --check DATASET go together."
        raise ConfigError("--quantize", quantize, reason)
    for package in form.NEEDED:
        if not machine.has_package(package):
            raise ExportError(f"The {kind} format needs {package}: pip install 'aocr[{kind}]'.")


def _check_literal(path: str) -> None:
    """Refuse a path that TensorFlow would take for a pattern: it looks for the weights of a SavedModel by one.

    Raises:
      ExportError: it has such a character.
    """
    if found := re.search(r"[*?\[]" if os.sep == "\\" else r"[*?\[\\]", path):
        reason = f"TensorFlow takes {found[0]!r} in the path of a SavedModel for a pattern. Choose another folder"
        raise ExportError(f"{path}: {reason}, or go into it and give a path without it.")


def export(
    predictor: Predictor,
    export_dir: str,
    kind: str,
    numbered: bool = True,
    quantize: str | None = None,
    dataset: Dataset | None = None,
) -> str:
    """Export a model and prove the export.

    Args:
      predictor: the model, in float32.
      export_dir: folder to write to; made if it is missing.
      kind: a name of `FORMATS`.
      numbered: whether an export that is a folder gets a numbered one inside `export_dir`.
      quantize: how to round the weights, one of the format's `QUANTIZATIONS`; None: not at all.
      dataset: to check a quantised export on.

    Returns:
      Path of what was written.

    Raises:
      ConfigError: as `check_choice`.
      ExportError: a package is missing, TensorFlow takes the path for a pattern, it cannot be written, or does not
        read as the model does; then nothing is left behind.
    """
    form: Any = FORMATS[kind]
    check_choice(kind, quantize, dataset is not None)
    if form.IS_FOLDER:
        _check_literal(export_dir)
    made = not files.is_folder(export_dir)
    local = None if files.is_remote(export_dir) else export_dir
    try:
        with files.writing(export_dir, lambda reason: ExportError(f"{export_dir}: the export {reason}")):
            files.make_folder(export_dir)
            with tempfile.TemporaryDirectory(prefix=".aocr-", dir=local) as folder:
                form.write(predictor, folder, **({"quantize": quantize} if quantize else {}))
                if dataset is not None:
                    compare(predictor, folder, kind, dataset)
                else:
                    prove(predictor, folder, kind)
                inner = _next_number(export_dir) if form.IS_FOLDER and numbered else ""
                _put(folder, path := os.path.join(export_dir, inner) if inner else export_dir, form)
        return path if form.IS_FOLDER else os.path.join(path, form.MAIN_FILE)
    finally:
        if made and local and os.path.isdir(export_dir) and not os.listdir(export_dir):
            os.rmdir(export_dir)
