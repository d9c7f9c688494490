"""Shared by the tests: running the real program, drawing small data sets, one small trained model."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from aocr import machine

machine.start_tensorflow()
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="aocr-cache-")  # not the user's own

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


def run_aocr(*args, cwd=None, input=None, env=None, timeout=600) -> subprocess.CompletedProcess:
    """`aocr ARGS` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "aocr", *map(str, args)],
        cwd=cwd or ROOT,
        input=input,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def assert_clean_failure(done: subprocess.CompletedProcess, *words: str, code: int = 1) -> str:
    """The process failed as a user should see it: its code, one line, no traceback. Returns the line."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("aocr: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def draw_numbers(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` clean pictures of one to three digits, and their annotation file."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    font = ImageFont.load_default(24)
    lines = []
    for i in range(count):
        text = "".join(rng.choice(list("0123456789"), rng.integers(1, 4)))
        image = Image.new("L", (20 + 15 * len(text) + int(rng.integers(0, 12)), 32), int(rng.integers(180, 256)))
        ImageDraw.Draw(image).text((int(rng.integers(3, 12)), 1), text, int(rng.integers(0, 80)), font)
        image.save(folder / f"{i}.png")
        lines.append(f"{i}.png {text}\n")
    annotations = folder / "numbers.txt"
    annotations.write_text("".join(lines), encoding="utf-8")
    return annotations


def random_batch(config, count: int = 8, width: int = 48, length: int = 2):
    """A batch of noise for a network: `count` images, `width` pixels wide, each with a text of `length` symbols."""
    import tensorflow as tf

    from aocr.data.pipeline import Batch
    from aocr.text.charset import EOS, GO

    rng = np.random.default_rng(0)
    ids = rng.integers(3, config.charset.vocabulary_size, (count, length)).astype(np.int32)
    known = {
        "images": rng.normal(size=(count, 32, width, config.channels)).astype(np.float32),
        "widths": np.full(count, width, np.int32),
        "tokens": np.concatenate([np.full((count, 1), GO, np.int32), ids], 1),
        "targets": np.concatenate([ids, np.full((count, 1), EOS, np.int32)], 1),
        "weights": np.ones((count, length + 1), np.float32),
    }
    return Batch(**{name: tf.constant(known.get(name, 0)) for name in Batch._fields})


SMALL = ("--attn-num-hidden", "16", "--target-embedding-size", "8", "--precision", "float32")
"""A network that trains quickly on any machine."""


@pytest.fixture(scope="session")
def numbers(tmp_path_factory) -> Path:
    """Annotation file of 240 drawn numbers."""
    return draw_numbers(tmp_path_factory.mktemp("numbers"), 240)


@pytest.fixture(scope="session")
def trained(numbers, tmp_path_factory) -> Path:
    """A model folder trained on `numbers` by the real program, well enough to read most of them."""
    model_dir = tmp_path_factory.mktemp("model") / "m"
    done = run_aocr(
        "train", numbers, "--model-dir", model_dir, "--num-epoch", "40", "--precision", "float32",
        "--attn-num-hidden", "64", "--no-augment", "--steps-per-checkpoint", "50", "--patience", "4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return model_dir
