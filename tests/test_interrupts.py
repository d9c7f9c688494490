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


@pytest.fixture
def interrupts(monkeypatch):
    monkeypatch.setattr(Interrupts, "REPEAT_SECONDS", 0.1)
    interrupts = Interrupts()
    yield interrupts
    interrupts.restore()


@pytest.mark.usefixtures("interrupts")
def test_interrupt_inside_a_destructor(capsys):
    class Fragile:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        Fragile()
        time.sleep(5)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.usefixtures("interrupts")
def test_interrupt_that_c_would_print(capsys, wrapped):
    def raised_in_c():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            if not wrapped:
                raise
            raise SystemError("a function returned a result with an exception set") from error  # as Python does

    with pytest.raises(KeyboardInterrupt):
        try:
            raised_in_c()
        except BaseException:
            sys.excepthook(*sys.exc_info())  # as PyErr_Print does
        time.sleep(5)
    assert "Traceback" not in capsys.readouterr().err


def test_interrupt_that_a_library_swallows(interrupts):
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        time.sleep(5)


def test_no_interrupt_after_restore(interrupts):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    interrupts.restore()
    time.sleep(0.3)


@pytest.mark.usefixtures("interrupts")
def test_second_interrupt_inside_the_handler(monkeypatch):
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
        ImportError("a library turned the interrupt into this"),
        type("ResourceExhaustedError", (Exception,), {})(),
        AocrError("This needs aiohttp"),
        OSError(4, "Interrupted system call", "a.png"),
    ],
)
def test_interrupt_that_became_another_error(error, monkeypatch, capsys):
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


# The second signal, and deferred ones


HEAD = "import contextlib, signal, time\nfrom aocr.interrupts import Interrupts, deferred\n"


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("block", ["contextlib.suppress(KeyboardInterrupt)", "deferred('saving ...')"])
def test_second_signal_ends_the_process(first, block):
    code = f"""
interrupts = Interrupts()
with {block}:
    signal.raise_signal(signal.{first})
signal.raise_signal(signal.SIGINT)
print("not reached", flush=True)
"""
    done = run_python(HEAD + code)
    assert done.returncode == 130, done.stderr
    assert not done.stdout
    assert done.stderr.endswith("aocr: ended at once.\n")


def test_nohup_is_respected():
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
interrupts = Interrupts()
signal.raise_signal(signal.SIGHUP)
interrupts.restore()
print(interrupts.caught, signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)
"""
    assert run_python(HEAD + code).stdout == "None True\n"


def test_repeated_interrupt_is_not_a_second_one():
    code = """
Interrupts.REPEAT_SECONDS = 0.05
interrupts = Interrupts()
for _ in range(3):
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT) if not interrupts.caught else time.sleep(5)
interrupts.end()
print("unwound")
"""
    done = run_python(HEAD + code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "unwound\n", "")


def test_deferred_interrupt_is_recorded(interrupts, capfd):
    with deferred("stopping after this step, saving ...") as seen:
        assert seen is interrupts
        assert seen.caught is None
        signal.raise_signal(signal.SIGTERM)
        assert seen.caught == "SIGTERM"
        time.sleep(0.3)
    assert not seen.raised
    assert capfd.readouterr().err == "aocr: stopping after this step, saving ...\n"


def test_deferred_without_the_command_line(capfd):
    before = signal.getsignal(signal.SIGINT)
    with deferred("saving ...") as seen:
        signal.raise_signal(signal.SIGINT)
    assert seen.caught == "SIGINT"
    assert capfd.readouterr().err == "aocr: saving ...\n"
    assert signal.getsignal(signal.SIGINT) is before
    assert Interrupts.installed is None


def test_threads_do_not_handle_signals():
    before, handlers = signal.getsignal(signal.SIGINT), []

    def train():
        with deferred("saving ...") as seen:
            handlers.append((seen.caught, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert handlers == [(None, before)]


# During imports

INTERRUPTED_AT = """
import runpy, signal, sys


class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with SIGINT ignored
sys.meta_path.insert(0, Interrupter())
sys.argv = ["aocr", "predict", "--help"]
{start}
"""
MODULE = "runpy.run_module('aocr', run_name='__main__')"
SCRIPT = "from {0} import {1}; {1}()".format(
    *re.search(r'"aocr = ([\w.]+):(\w+)"', (ROOT / "setup.py").read_text("utf-8")).groups()
)  # the installed command


@pytest.mark.parametrize("start", [MODULE, SCRIPT])
@pytest.mark.parametrize("module", ["aocr.cli", "argparse", "aocr.tf_config", None])
def test_interrupt_during_imports(start, module):
    done = run_python(INTERRUPTED_AT.format(module=module, start=start))
    expected = (130, "", "aocr: interrupted.\n") if module else (0, done.stdout, "")
    assert (done.returncode, done.stdout, done.stderr) == expected
    assert module or "usage: aocr predict" in done.stdout
