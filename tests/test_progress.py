"""The progress bar of a training, and the clock while TensorFlow starts."""

import io
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from aocr.cli.waiting import waiting
from aocr.training import monitor
from aocr.training.monitor import Display


class Terminal(io.StringIO):
    def isatty(self):
        return True


def use_terminal(monkeypatch) -> Terminal:
    """Replace stderr by a terminal; to be called in the test itself, since pytest replaces stderr before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(monitor, "TICK_SECONDS", 0.02)
    return stream


def test_bar_without_a_known_end(monkeypatch):
    terminal = use_terminal(monkeypatch)
    with Display() as display:
        display.phase("reading images")
        time.sleep(1.2)
    output = terminal.getvalue()
    assert "reading images [00:00]" in output
    assert "reading images [00:01]" in output
    assert "%" not in output


def test_bar_with_a_known_end(monkeypatch):
    terminal = use_terminal(monkeypatch)
    with Display() as display:
        display.phase("training, step 250", 0.25)
        display.status("1:15 left, loss 0.500, 100 images/s")
        time.sleep(0.2)
    output = terminal.getvalue()
    assert "training, step 250  25% |" in output
    assert ", 1:15 left, loss 0.500, 100 images/s]" in output


@pytest.mark.parametrize("show", [lambda: Display(), lambda: waiting("starting")])
def test_nothing_without_a_terminal(capsys, show):
    with show():
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_clock_while_stderr_is_silenced():
    code = (
        "import time\n"
        "from aocr.cli.waiting import waiting\n"
        "from aocr.machine import quiet\n"
        "with waiting('starting TensorFlow'), quiet():\n"
        "    time.sleep(2.2)\n"
    )
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stderr=theirs, env={**os.environ, "PYTHONPATH": str(ROOT)})
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 4096):
            output += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"starting TensorFlow [00:00]" in output
    assert b"starting TensorFlow [00:02]" in output
