"""What a person is told: each thing that would otherwise pass in silence, and in letters that any terminal takes."""

import ast
import io
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL, draw_numbers, run_aocr
from PIL import Image

from aocr import __version__
from aocr.cli import main as command_line
from aocr.report.lines import scores
from aocr.results import Prediction, Sample
from aocr.text.metrics import score


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Annotation file of 3 drawn numbers."""
    return draw_numbers(tmp_path_factory.mktemp("few"), 3)


def test_labels_that_are_all_empty_are_told(few, tmp_path):
    (few.parent / "empty.txt").write_text("0.png\t\n1.png\t\n", "utf-8")
    done = run_aocr("dataset", few.parent / "empty.txt", tmp_path / "d.tfrecords")
    assert "warning" in done.stderr and "empty.txt: every label is empty" in done.stderr


def test_a_folder_that_dataset_makes_is_told(few, tmp_path):
    for number in range(2):
        done = run_aocr("dataset", few, tmp_path / "new" / "x" / "d.tfrecords")
        assert (f"Made the folder {tmp_path / 'new' / 'x'}\n" in done.stderr) == (number == 0)
        assert "every label is empty" not in done.stderr


def test_files_that_a_folder_holds_besides_images_are_told(few, tmp_path):
    Image.new("L", (40, 32), 99).save(tmp_path / "word.png")
    for name in ("a.avif", "b.AVIF", "README"):
        (tmp_path / name).write_bytes(b"x")
    done = run_aocr("dataset", tmp_path, tmp_path / "d.tfrecords", "--label-from-filename")
    assert done.returncode == 0
    assert "2 .avif, 1 without ending" in done.stderr


def test_labels_that_the_model_cannot_write_are_told(trained, few):
    (few.parent / "letters.txt").write_text("0.png abc\n1.png 12\n", "utf-8")
    done = run_aocr("test", few.parent / "letters.txt", "--model-dir", trained)
    assert "cannot write 1 of the 2 labels" in done.stderr
    assert "cannot write" not in run_aocr("test", few, "--model-dir", trained).stderr


def test_a_perplexity_of_nothing_is_no_number():
    report = score([Sample("a.png", "x", Prediction("y", 0.5), log_likelihood=float("nan"))])
    assert dict(scores(report))["perplexity"] == "-"


def test_a_training_without_validation_says_that_it_reads_nothing_yet(few, tmp_path):
    """One image is enough to train on."""
    (few.parent / "one.txt").write_text(few.read_text("utf-8").splitlines(keepends=True)[0], "utf-8")
    done = run_aocr(
        "train",
        few.parent / "one.txt",
        "--model-dir",
        tmp_path / "m",
        *SMALL,
        "--num-epoch",
        "1",
        "--init-from",
        "none",
    )
    assert done.returncode == 0, done.stderr
    assert "Training on 1 image, without" in done.stderr and ", 1 step an epoch" in done.stderr
    shown = done.stderr.partition("What the model reads now in training images")[2]
    assert sum(line.startswith("  '") for line in shown.splitlines()) == 1
    assert "The model cannot read yet" in done.stdout
    assert "Next: aocr test" not in done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_what_is_printed_is_utf_8_on_every_system(encoding, monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(command_line, "main", lambda: print("\u0c95 \u6f22 \ud800") or 0)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            command_line.entry_point()
    finally:
        signal.signal(signal.SIGINT, before)
    streams["stdout"].flush()
    assert streams["stdout"].buffer.getvalue().decode().strip() == "\u0c95 \u6f22 \\ud800"


def test_aocr_debug_shows_where_every_error_comes_from(monkeypatch, capsys):
    for debug in (False, True):
        if debug:
            monkeypatch.setenv("AOCR_DEBUG", "1")
        assert command_line.main(["predict", "x.png", "--model-dir", "no/such"]) == 1
        err = capsys.readouterr().err
        assert err.splitlines()[-1].startswith("aocr: no/such: does not exist")
        assert ("Traceback" in err) == debug


def test_no_time_is_measured_by_a_clock_that_may_be_set():
    """Durations come from the monotonic clocks; the time of day stands in no file but the log."""
    for path in sorted((ROOT / "aocr").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("time", "time"), ("datetime", "now"), ("time", "time_ns")}, (
                    path
                )


def test_a_file_system_that_renames_over_nothing_is_told(few, tmp_path, monkeypatch):
    """Some network file systems refuse to rename a file over another."""
    out = tmp_path / "d.tfrecords"
    assert run_aocr("dataset", few, out).returncode == 0
    before = out.read_bytes()

    def refuse(source, target):
        raise FileExistsError(17, "File exists", str(target))

    monkeypatch.setattr("os.replace", refuse)
    monkeypatch.setattr("aocr.files._LOCAL.rename", lambda path, to, overwrite: refuse(path, to))
    done = run_aocr("dataset", few, out)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("aocr: ")] == done.stderr.splitlines()[-1:]
    assert "cannot be written" in done.stderr and "File exists" in done.stderr
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["d.tfrecords"]


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_half_written(tmp_path, monkeypatch):
    import keras
    import tensorflow as tf
    from aocr.folder.checkpoints import Checkpoints

    from aocr.errors import TrainingError
    from aocr.folder.model_folder import ModelFolder

    def fill_the_disk(_, path):
        os.mkdir(f"{path}_temp")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.train.Checkpoint, "write", fill_the_disk)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    state = {"step": tf.Variable(7)}
    checkpoints = Checkpoints(ModelFolder(tmp_path), model, {"a": tf.Variable(1.0)}, keras.optimizers.SGD(), state)
    for save in (lambda: checkpoints.save(7), lambda: checkpoints.save_best(7, 0.5, 0.5)):
        with pytest.raises(TrainingError, match=r"a checkpoint cannot be written .*No space left"):
            save()
        assert not list(tmp_path.iterdir())


def run_with_closed(stream, *args):
    """(exit code, stdout, stderr) of a process whose standard stream of this number is closed."""
    command = f'exec "$0" -m aocr "$@" {stream}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_closed_streams_are_told(few):
    code, _, told = run_with_closed(">&-", "--version")
    assert (code, told) == (1, "aocr: standard output is closed. Send it to a file, or to /dev/null.\n")
    assert run_with_closed("2>&-", "--version")[:2] == (0, f"aocr {__version__}\n")
    code, _, told = run_with_closed("<&-", "predict", "--model-dir", "words")
    assert code == 1 and told.splitlines()[-1].startswith("aocr: no image to read")
