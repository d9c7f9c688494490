"""Messages: warnings of what would otherwise go unnoticed, output that any terminal can show, tracebacks on request."""

import ast
import io
import logging
import os
import signal
import sys

import pytest
from conftest import ROOT, SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image

from aocr.cli import main as command_line
from aocr.report.lines import scores
from aocr.results import Prediction, Sample
from aocr.text.metrics import score


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Annotation file of 3 drawn numbers."""
    return draw_numbers(tmp_path_factory.mktemp("few"), 3)


def test_warning_of_empty_labels(few, tmp_path):
    (few.parent / "empty.txt").write_text("0.png\t\n1.png\t\n", "utf-8")
    for data, warns in ((few.parent / "empty.txt", True), (few, False)):
        done = run_aocr("dataset", data, tmp_path / "d.tfrecords", "--empty-labels")
        assert ("warning" in done.stderr and "every label is empty" in done.stderr) == warns


def test_warning_of_files_that_are_not_images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (40, 32), 99).save(folder / "word.png")
    for name in ("a.avif", "b.AVIF", "README"):
        (folder / name).write_bytes(b"x")
    done = run_aocr("dataset", folder, tmp_path / "d.tfrecords", "--label-from-filename")
    assert done.returncode == 0
    assert "2 .avif, 1 without extension" in done.stderr


def test_warning_of_labels_outside_the_charset(trained, few):
    (few.parent / "letters.txt").write_text("0.png abc\n1.png 12\n", "utf-8")
    for data, warns in ((few.parent / "letters.txt", True), (few, False)):
        done = run_aocr("test", data, "--model-dir", trained)
        assert ("1 of the 2 labels" in done.stderr) == warns


def test_perplexity_without_scorable_labels():
    report = score([Sample("a.png", "x", Prediction("y", 0.5), log_likelihood=float("nan"))])
    assert dict(scores(report))["perplexity"] == "-"


@pytest.mark.slow
def test_training_on_one_image(few, tmp_path):
    (few.parent / "one.txt").write_text(few.read_text("utf-8").splitlines(keepends=True)[0], "utf-8")
    flags = ("--model-dir", tmp_path / "m", *SMALL, "--num-epoch", "1", "--init-from", "none")
    done = run_aocr("train", few.parent / "one.txt", *flags)
    assert done.returncode == 0, done.stderr
    assert "Training on 1 image, without" in done.stderr and ", 1 step an epoch" in done.stderr
    assert sum(line.startswith("  '") for line in done.stderr.splitlines()) == 1
    assert done.stdout.startswith("The model cannot read yet") and "Next:" not in done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_is_utf_8_on_every_system(encoding, monkeypatch):
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


@pytest.mark.parametrize("debug", [False, True])
def test_aocr_debug_prints_the_traceback(monkeypatch, capsys, debug):
    if debug:
        monkeypatch.setenv("AOCR_DEBUG", "1")
    assert command_line.main(["predict", "x.png", "--model-dir", "no/such"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith("aocr: no/such: does not exist")
    assert ("Traceback" in err) == debug


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("a\nb."), "internal error (RuntimeError): a b. This is a bug; set AOCR_DEBUG=1 for a traceback."),
        (OSError(13, "Permission denied", "a.txt"), "a.txt: Permission denied. Check the path"),
        (MemoryError(), "out of memory. Use a smaller --batch-size"),
    ],
)
def test_other_errors_are_one_line(error, message, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr("aocr.cli.predict.run", fail)
    assert_clean_failure(run_aocr("predict", "a.png"), message)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_log_file_that_cannot_be_written(capsys):
    command_line.set_up_log("/dev/full")
    try:
        for number in range(3):
            logging.getLogger("aocr").info("line %d", number)
    finally:
        command_line.close_log()
    lines = capsys.readouterr().err.splitlines()
    warnings = [line for line in lines if line.startswith("warning: /dev/full: the log file cannot be written")]
    assert len(warnings) == 1
    assert [line for line in lines if line not in warnings] == ["line 0", "line 1", "line 2"]


def test_closed_standard_output():
    process = start_aocr("--version", stderr=-1, preexec_fn=lambda: os.close(1))
    _, err = process.communicate()
    assert process.returncode == 1 and err.startswith("aocr: a standard stream is closed.")


def test_durations_use_monotonic_clocks():
    """The time of day may be changed while a command runs."""
    for path in sorted((ROOT / "aocr").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                assert name not in {"time.time", "time.time_ns", "datetime.now"}, path
