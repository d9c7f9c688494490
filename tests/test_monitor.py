"""The bar of a training: it moves by itself, names the phase, and shows a percentage where a limit is known."""

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import tensorflow as tf
from conftest import ROOT

from aocr.cli.waiting import waiting
from aocr.config import TrainConfig
from aocr.folder.model_folder import ModelFolder
from aocr.training import monitor
from aocr.training.cluster import Cluster
from aocr.training.feed import feed
from aocr.training.monitor import Display, Monitor
from aocr.training.schedule import Schedule, TrainState


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch) -> Terminal:
    """Replace stderr by a terminal; called in the test itself, since pytest replaces stderr before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(monitor, "TICK_SECONDS", 0.02)
    return stream


def a_monitor(display, folder, **state) -> Monitor:
    schedule = Schedule(TrainConfig(num_epoch=10), TrainState(**state), 10, 0)
    return Monitor(display, Cluster(tf.distribute.get_strategy()), ModelFolder(folder), schedule)


def test_the_bar_moves_without_messages(monkeypatch):
    stream = terminal(monkeypatch)
    with Display() as display:
        display.phase("reading images")
        time.sleep(1.2)
    text = stream.getvalue()
    assert "reading images [00:00]" in text
    assert "reading images [00:01]" in text
    assert "%" not in text


def test_the_bar_shows_what_is_done_and_left(monkeypatch, tmp_path):
    stream = terminal(monkeypatch)
    with Display() as display, a_monitor(display, tmp_path, step=20) as noted:
        noted.note_step(tf.constant(0.5), 32, 0.1, False)
        time.sleep(0.2)
    text = stream.getvalue()
    assert "training, step 20  20% |" in text
    assert " left, loss 0.500, " in text and " images/s]" in text


def test_without_a_terminal_there_is_no_bar(capsys):
    with Display() as display:
        display.phase("training", 0.5)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_clock_ticks_while_tensorflow_starts():
    """On a terminal, though standard error is silenced meanwhile."""
    code = (
        "import time\n"
        "from aocr.cli.waiting import waiting\n"
        "from aocr.machine import quiet\n"
        "with waiting('starting TensorFlow'), quiet():\n"
        "    time.sleep(2.2)\n"
        "import sys\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    text = on_a_terminal([sys.executable, "-c", code])
    assert "starting TensorFlow [00:00]" in text
    assert "starting TensorFlow [00:02]" in text


def on_a_terminal(command: list[str]) -> str:
    """Return what a command writes to standard error on a terminal."""
    ours, theirs = os.openpty()
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
    return output.decode()


def test_without_a_terminal_no_clock_ticks(capsys):
    with waiting("starting"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_an_unwritable_tensorboard_folder_stops_nothing(tmp_path, caplog):
    (tmp_path / "logs").write_text("a file")
    with Display(is_enabled=False) as display, a_monitor(display, tmp_path, step=10) as noted:
        noted.note_step(tf.constant(2.0), 32, 0.1, False)
    assert (tmp_path / "logs").read_text() == "a file" and "TensorBoard" in caplog.text


def test_preparing_shows_its_total_takes_no_training_time_and_stops_at_once(monkeypatch, tmp_path):
    stream, now = terminal(monkeypatch), [100.0]
    monkeypatch.setattr(monitor, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def draw(display, is_stopped):
        for number in display.track(range(50), 50, "drawing"):
            now[0] += 1.0
            if number == 20:
                display._bar.refresh()
                if is_stopped:
                    signal.raise_signal(signal.SIGINT)
        return "all"

    with Display() as display, a_monitor(display, tmp_path, step=9) as noted:
        assert noted.prepare("preparing", lambda: draw(display, False)) == "all"
        now[0] += 2.0
        noted.note_step(tf.constant(1.0), 32, 0.1, False)
        assert (noted.elapsed, noted.stopped_by) == (2.0, None)
        assert noted.prepare("first step", lambda: draw(display, False), is_training=True) == "all"
        noted.note_step(tf.constant(1.0), 32, 0.1, False)
        assert noted.elapsed == 52.0
        assert noted.prepare("preparing", lambda: draw(display, True)) is None and now[0] == 223.0
        assert noted.stopped_by == "SIGINT"
        assert noted.prepare("preparing", lambda: draw(display, True)) is None and now[0] == 223.0, "not begun"
    assert "drawing, 20 of 50" in stream.getvalue()


def test_a_signal_in_preparation_ends_the_batches():
    plan = config = schedule = SimpleNamespace(decays=False, augment=False, augment_strength=0)
    learner = SimpleNamespace(state=SimpleNamespace(step=0, closed=False), average=SimpleNamespace(applied=nullcontext))
    extra = SimpleNamespace(is_used=True)
    stopped = SimpleNamespace(prepare=lambda name, function: None, stopped_by="SIGINT")
    assert list(feed(plan, config, learner, schedule, extra, stopped)) == []


def test_losses_are_averaged_and_the_history_is_kept(tmp_path):
    with nullcontext(Display(is_enabled=False)) as display, a_monitor(display, tmp_path, step=9) as noted:
        for loss in (1.0, 2.0):
            noted.note_step(tf.constant(loss), 32, 0.1, False)
        assert noted.begin_check() == 1.5
        noted.end_check(1.5, None, "")
        noted.state.step = 19
        noted.end_check(1.0, None, "")
    restarted = a_monitor(Display(is_enabled=False), tmp_path, step=10)
    assert [(point.step, point.loss) for point in restarted._points] == [(9, 1.5)]
