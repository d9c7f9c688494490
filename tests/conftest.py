"""Functions and fixtures for all tests: running aocr, drawing small data sets, models trained once per test run."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ["TF_NUM_INTRAOP_THREADS"] = "1"  # pytest-xdist keeps the cores busy; sums come out the same on any machine

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from aocr import machine
from aocr.cli.main import main

machine.start_tensorflow()

WITHOUT_GRAPPLER = """
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
"""
exec(WITHOUT_GRAPPLER)  # optimising a graph costs more than the few steps of a test gain

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


AS_IN_TESTS = f"""
import sys
from aocr import machine
from aocr.cli.main import main
machine.start_tensorflow()
{WITHOUT_GRAPPLER}
sys.exit(main(sys.argv[1:]))
"""
"""Code that runs aocr with the same graphs as in the tests' own process, so that results are bit-identical."""


def start_aocr(*args, env=None, program=("-m", "aocr"), **options) -> subprocess.Popen:
    """Start `aocr ARGS` in a separate process, to test signals, imports, environments and pipes."""
    return subprocess.Popen(
        [sys.executable, *program, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        text=True,
        **options,
    )


def run_aocr(*args, cwd=ROOT, input: str | None = None, env=None) -> subprocess.CompletedProcess:
    """Run `aocr ARGS` in this process, where TensorFlow is already loaded; return what a process would."""
    out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
    with contextlib.ExitStack() as stack:
        stdin = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
        stdin.write(input or "")
        stdin.seek(0)
        stack.enter_context(mock.patch.dict(os.environ, env or {}))
        stack.enter_context(mock.patch.object(sys, "stdin", stdin))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.callback(os.chdir, before)
        os.chdir(cwd)
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as error:
            code = error.code
    if code == 130:
        raise KeyboardInterrupt  # Ctrl-C was meant for pytest
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


BLOCKED = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "onnx"):
            raise ImportError(name + " is blocked")


sys.meta_path.insert(0, Blocker())
"""


BLOCKED_AOCR = BLOCKED + "from aocr.cli.main import main\nsys.exit(main(sys.argv[1:]))"


def run_blocked(*args, code: str | None = None) -> subprocess.CompletedProcess:
    """Run aocr, or `code`, in a process that can import neither TensorFlow nor Keras nor onnx."""
    command = [sys.executable, "-c", BLOCKED + code if code else BLOCKED_AOCR, *map(str, args)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def assert_clean_failure(done: subprocess.CompletedProcess, *words: str, code: int = 1) -> str:
    """Check the exit code, and that stderr has no traceback but one error line, with `words`; return that line."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("aocr: ")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def draw_numbers(folder: Path, count: int, seed: int = 0) -> Path:
    """Draw `count` clean images of one to three digits; return their annotation file."""
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
    """Return a batch of noise: `count` images, `width` pixels wide, each with a text of `length` symbols."""
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
"""Flags of a network that trains quickly on any machine."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return `shared(name, make)`: it returns a folder that `make(folder)` fills once per test run."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        path, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.mkdir()
                make(path)
                done.touch()
        assert done.exists(), f"{name} could not be created; see the error of the first test that uses it"
        return path

    return folder


@pytest.fixture(autouse=True)
def same_start():
    """Reset random numbers, kernels and environment for each test, whatever ran in its process before."""
    from tensorflow.python.framework.config import disable_op_determinism

    machine.set_seed(0)
    disable_op_determinism()
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def numbers(shared) -> Path:
    """Annotation file of 240 drawn numbers."""
    return shared("numbers", lambda folder: draw_numbers(folder, 240)) / "numbers.txt"


@pytest.fixture(scope="session")
def trained(numbers, shared) -> Path:
    """Model folder trained on `numbers`, well enough to read most of them."""

    def train(folder):
        done = run_aocr(
            "train", numbers, "--model-dir", folder, "--num-epoch", "40", "--precision", "float32",
            "--attn-num-hidden", "64", "--no-augment", "--steps-per-checkpoint", "50", "--patience", "4",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return shared("trained", train)


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """Copy of `trained` that a test may change."""
    shutil.copytree(trained, tmp_path / "m")
    return tmp_path / "m"
