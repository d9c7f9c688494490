"""Ctrl-C and SIGTERM: the first unwinds or lets a training save, the second ends the process."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT

from aocr.errors import AocrError
from aocr.interrupts import Interrupts, deferred


def test_an_interrupt_inside_a_destructor_comes_again(capsys):
    class Fragile:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)

    interrupts = Interrupts()
    try:
        with pytest.raises(KeyboardInterrupt):
            Fragile()
            time.sleep(5)
    finally:
        interrupts.restore()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interrupt_that_c_would_print_comes_again(capsys, wrapped):
    def raised_in_c():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if not wrapped:
                raise
            raise SystemError("a function returned a result with an exception set") from error  # as Python does

    interrupts = Interrupts()
    try:
        with pytest.raises(KeyboardInterrupt):
            try:
                raised_in_c()
            except BaseException:
                sys.excepthook(*sys.exc_info())  # as PyErr_Print does
            time.sleep(5)
    finally:
        interrupts.restore()
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def interrupts(monkeypatch):
    monkeypatch.setattr(Interrupts, "REPEAT_SECONDS", 0.1)
    made = Interrupts()
    yield made
    made.restore()


def test_an_interrupt_that_a_library_swallows_comes_again(interrupts):
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_no_interrupt_comes_once_the_program_has_seen_it(interrupts):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    interrupts.restore()
    time.sleep(0.3)


def test_a_second_interrupt_may_come_while_the_first_is_taken_in(interrupts, monkeypatch):
    start = signal.setitimer
    signals = iter([signal.SIGINT])

    def start_late(*timer):
        for number in signals:
            signal.raise_signal(number)
        start(*timer)

    monkeypatch.setattr(signal, "setitimer", start_late)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("an interrupt that a library made an error of its own"),
        type("ResourceExhaustedError", (Exception,), {})(),
        AocrError("This needs aiohttp"),
        OSError(4, "Interrupted system call", "a.png"),
    ],
)
def test_no_interrupt_comes_while_the_program_says_that_it_was_interrupted(error, monkeypatch, capsys):
    from aocr.cli import main, predict

    def run(args):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise error

    monkeypatch.setattr(Interrupts, "REPEAT_SECONDS", 0.1)
    monkeypatch.setattr(predict, "run", run)
    monkeypatch.setattr(main, "close_log", lambda: time.sleep(0.3))
    assert main.main(["predict"]) == 130
    assert capsys.readouterr().err == "aocr: interrupted.\n"


# Once more, and once deferred


def in_a_process(code: str) -> subprocess.CompletedProcess:
    head = "import contextlib, signal, time\nfrom aocr.interrupts import Interrupts, deferred\n"
    return subprocess.run([sys.executable, "-c", head + code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("block", ["contextlib.suppress(KeyboardInterrupt)", "deferred('saving ...')"])
def test_the_second_ends_the_process_at_once(first, block):
    code = f"""
interrupts = Interrupts()
with {block}:
    signal.raise_signal(signal.{first})
signal.raise_signal(signal.SIGINT)
print("not reached", flush=True)
"""
    done = in_a_process(code)
    assert done.returncode == 130, done.stderr
    assert not done.stdout
    assert done.stderr.endswith("aocr: ended at once.\n")


def test_nohup_is_heeded():
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interrupts = Interrupts()
signal.raise_signal(signal.SIGHUP)
interrupts.restore()
print(interrupts.caught, signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
    assert in_a_process(code).stdout == "None True\n"


def test_a_repeated_interrupt_is_not_taken_for_a_second():
    code = """
Interrupts.REPEAT_SECONDS = 0.05
interrupts = Interrupts()
for _ in range(3):
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT) if not interrupts.caught else time.sleep(5)
interrupts.end()
print("unwound")
"""
    done = in_a_process(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "unwound\n", "")


def test_a_deferred_interrupt_is_noted_and_told(interrupts, capfd):
    with deferred("stopping after this step, saving ...") as seen:
        assert seen is interrupts
        assert seen.caught is None
        signal.raise_signal(signal.SIGTERM)
        assert seen.caught == "SIGTERM"
        time.sleep(0.3)
    assert not seen.raised
    assert capfd.readouterr().err == "aocr: stopping after this step, saving ...\n"


def test_a_library_defers_without_the_command_line(capfd):
    before = signal.getsignal(signal.SIGINT)
    with deferred("saving ...") as seen:
        signal.raise_signal(signal.SIGINT)
    assert seen.caught == "SIGINT"
    assert capfd.readouterr().err == "aocr: saving ...\n"
    assert signal.getsignal(signal.SIGINT) is before
    assert Interrupts.installed is None


def test_a_thread_leaves_the_signals_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def train():
        with deferred("saving ...") as seen:
            found.append((seen.caught, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [(None, before)]


# While the program is imported

INTERRUPTED_AT = """
import runpy, signal, sys


class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with SIGINT ignored
sys.meta_path.insert(0, Interrupter())
sys.argv = ["aocr", "predict", "--help"]
{start}
"""
MODULE = "runpy.run_module('aocr', run_name='__main__')"
SCRIPT = "from {0} import {1}; {1}()".format(
    *re.search(r'"aocr = ([\w.]+):(\w+)"', (ROOT / "setup.py").read_text("utf-8")).groups()
)  # as the installed command does


@pytest.mark.parametrize("start", [MODULE, SCRIPT])
@pytest.mark.parametrize("module", ["aocr.cli", "argparse", "aocr.cli.options", "aocr.tf_config", None])
def test_a_ctrl_c_while_the_program_is_imported_is_one_line(start, module):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT.format(module=module, start=start)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = (130, "", "aocr: interrupted.\n") if module else (0, done.stdout, "")
    assert (done.returncode, done.stdout, done.stderr) == expected
    assert module or "usage: aocr predict" in done.stdout
