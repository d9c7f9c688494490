"""The bar of a training: it moves by itself, names the phase, and shows a percentage where a limit is known."""

import io
import os
import subprocess
import sys
import time

from conftest import ROOT

from aocr.cli.waiting import waiting
from aocr.training import progress
from aocr.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch) -> Terminal:
    """A terminal as stderr; to be called in the test itself, since pytest puts its own stderr there before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.02)
    return stream


def test_the_bar_moves_while_nothing_is_told(monkeypatch):
    shown_on = terminal(monkeypatch)
    with Progress() as bar:
        bar.phase("reading images")
        time.sleep(1.2)
    shown = shown_on.getvalue()
    assert "reading images [00:00]" in shown
    assert "reading images [00:01]" in shown
    assert "%" not in shown


def test_the_bar_shows_how_much_is_done_and_left(monkeypatch):
    shown_on = terminal(monkeypatch)
    with Progress() as bar:
        bar.phase("training, step 250", 0.25)
        bar.steps(250, 0.1, 0.5, 100.0, 0.1, 75.0)
        time.sleep(0.2)
    shown = shown_on.getvalue()
    assert "training, step 250  25% |" in shown
    assert ", 1:15 left, loss 0.500, 100 images/s]" in shown


def test_elsewhere_than_on_a_terminal_there_is_no_bar(capsys):
    with Progress() as bar:
        bar.phase("training", 0.5)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_clock_ticks_while_tensorflow_starts():
    """On a terminal, and though standard error is silenced meanwhile."""
    code = (
        "import time\n"
        "from aocr.cli.waiting import waiting\n"
        "from aocr.machine import quiet\n"
        "with waiting('starting TensorFlow'), quiet():\n"
        "    time.sleep(2.2)\n"
        "import sys\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    shown = on_a_terminal([sys.executable, "-c", code])
    assert "starting TensorFlow [00:00]" in shown
    assert "starting TensorFlow [00:02]" in shown


def on_a_terminal(command: list[str]) -> str:
    """What a command writes to standard error where that is a terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(command, stderr=theirs, env={**os.environ, "PYTHONPATH": str(ROOT)})
    os.close(theirs)
    found = b""
    try:
        while piece := os.read(ours, 4096):
            found += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return found.decode()


def test_elsewhere_no_clock_ticks(capsys):
    with waiting("starting"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_place_for_tensorboard_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "logs").write_text("a file")
    with Progress(shown=False) as bar:
        bar.record(str(tmp_path / "logs"))
        bar.steps(1, 0.1, 2.0, 10.0, 0.001, None)
    assert (tmp_path / "logs").read_text() == "a file"
