"""Ctrl-C, SIGTERM, a closed terminal: the first ends the program, after a training has saved; the second at once."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

EXIT_CODE = 130
ALARM = getattr(signal, "SIGALRM", None)
"""The signal that repeats an interrupt; Windows has none."""
HANGUP = getattr(signal, "SIGHUP", None)
"""The signal of a closed terminal; Windows has none."""
_Result = TypeVar("_Result")
SIGNALS = [signal.SIGINT, signal.SIGTERM, *filter(None, (HANGUP, ALARM))]


def _print_from_handler(message: str) -> None:
    """Print a line on stderr from a signal handler, where `print` could interrupt itself."""
    with suppress(OSError):
        newline = "\n" if os.isatty(2) else ""  # the cursor may be behind a progress bar
        os.write(2, f"{newline}aocr: {message}\n".encode())


def _leave_terminal() -> None:
    """Discard further output: writing to a closed terminal fails."""
    devnull = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(handle).st_mode):
                os.dup2(devnull, handle)
    os.close(devnull)


class Interrupts:
    """Handles `SIGNALS` if created in the main thread, otherwise does nothing. `nohup` is respected.

    The first signal raises KeyboardInterrupt, repeatedly until it gets through: a library may turn an interrupt into
    an error of its own, or swallow it with a bare `except`. Inside `deferred` it is only recorded. The second ends the
    process at once; saved files stay whole, since each is renamed into place.
    """

    REPEAT_SECONDS = 1.0
    """Time until an interrupt that did not get through is raised again."""
    installed: Interrupts | None = None
    """The instance that handles the signals."""

    def __init__(self):
        self.caught: str | None = None
        """Name of the first signal; None before it comes."""
        self.raised = False
        """Whether it was raised as KeyboardInterrupt."""
        self._over = False
        self._deferred_message: str | None = None
        self._previous_handlers = {}
        if threading.current_thread() is threading.main_thread():
            self._previous_hooks = sys.unraisablehook, sys.excepthook
            sys.unraisablehook, sys.excepthook = self._on_unraisable, self._on_uncaught
            is_nohup = HANGUP is not None and signal.getsignal(HANGUP) == signal.SIG_IGN
            for number in SIGNALS:
                if not (is_nohup and number == HANGUP):
                    self._previous_handlers[number] = signal.signal(number, self._handle)
            self._previous_instance, Interrupts.installed = Interrupts.installed, self

    def _handle(self, number, frame):
        is_repeat = number == ALARM
        if number == HANGUP:
            _leave_terminal()
        if self.caught and not is_repeat:
            _print_from_handler("ended at once.")
            os._exit(EXIT_CODE)
        raises = not (self._over or self._deferred_message)
        if raises:
            self._raise_again_in(self.REPEAT_SECONDS)
        self.raised = self.raised or raises
        self.caught = self.caught or signal.Signals(number).name  # last: a signal in between may have set it
        if raises:
            raise KeyboardInterrupt
        if not self._over:
            _print_from_handler(self._deferred_message)  # type: ignore[arg-type]

    @staticmethod
    def _raise_again_in(seconds: float) -> None:
        if ALARM:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _on_unraisable(self, details) -> None:
        """Do not report an interrupt in a destructor: it cannot propagate there, and is raised again."""
        if not self._is_lost(details.exc_value):
            self._previous_hooks[0](details)

    def _on_uncaught(self, kind, error, trace) -> None:
        """Do not report an interrupt in Python code that TensorFlow called: it cannot propagate there either."""
        if not self._is_lost(error):
            self._previous_hooks[1](kind, error, trace)

    def _is_lost(self, error: BaseException | None) -> bool:
        """Whether an error is an interrupt or was caused by one."""
        while error is not None and not isinstance(error, KeyboardInterrupt):
            error = error.__cause__
        return self.raised and error is not None

    @contextmanager
    def deferred(self, message: str) -> Iterator[None]:
        """Inside the block, only record the first signal in `caught` and print `message`."""
        self._deferred_message = message
        try:
            yield
        finally:
            self._deferred_message = None

    def run(self, function: Callable[[], _Result]) -> _Result | None:
        """Call a function inside `deferred` that the first signal ends at once; the result is then None."""
        message, self._deferred_message = self._deferred_message, None
        try:
            return None if self.caught else function()
        except BaseException:
            if not self.raised:
                raise
            return None
        finally:
            self._deferred_message = message
            if self.raised:
                self._raise_again_in(0)
            self.raised = False

    def end(self) -> None:
        """Raise no further interrupt: the program is ending."""
        self._over = True
        if self.raised:
            self._raise_again_in(0)

    def restore(self) -> None:
        """Restore the previous handlers of signals and exceptions."""
        self.end()
        if self._previous_handlers:
            sys.unraisablehook, sys.excepthook = self._previous_hooks
            Interrupts.installed = self._previous_instance
            for number, handler in self._previous_handlers.items():
                signal.signal(number, handler)
            self._previous_handlers = {}


@contextmanager
def deferred(message: str) -> Iterator[Interrupts]:
    """Inside the block, only record the first signal; the caller checks `caught` and finishes.

    Uses the command line's `Interrupts`; without a command line, creates one for the block.
    """
    outer = Interrupts.installed
    interrupts = outer or Interrupts()
    try:
        with interrupts.deferred(message):
            yield interrupts
    finally:
        if interrupts is not outer:
            interrupts.restore()
