"""The bar of a training: it moves by itself, names the phase, and shows a percentage where a limit is known."""

import io
import sys
import time

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
    assert "loss 0.500, perplexity 1.65, 100 images/s, 1:15 left]" in shown


def test_elsewhere_than_on_a_terminal_there_is_no_bar(capsys):
    with Progress() as bar:
        bar.phase("training", 0.5)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
