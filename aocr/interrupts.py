"""Ctrl-C and SIGTERM: the first unwinds, or lets a training finish its step and save; the second ends the process."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

EXIT_CODE = 130


def _say(message: str) -> None:
    """Write a line on stderr from a signal handler: `print` could interrupt itself there."""
    with suppress(OSError):
        above = "\n" if os.isatty(2) else ""  # a progress bar may stand in the line
        os.write(2, f"{above}aocr: {message}\n".encode())


class Interrupts:
    """Takes over both signals, in the main thread; elsewhere it does nothing.

    The first raises KeyboardInterrupt, again and again until it has come through: a library under way may turn an
    interrupt into an error of its own, or swallow it with a bare `except`. Inside `deferred` it is only noted. The
    second ends the process at once; what is saved stays whole, since every file is renamed into place.

    Attributes:
      caught: name of the signal that came; None: none has.
      raised: whether it was raised as KeyboardInterrupt.
    """

    AGAIN = 1.0
    """Seconds from an interrupt to the next, if the first has not come through."""
    installed: Interrupts | None = None
    """The one that has taken over the signals."""

    def __init__(self):
        self.caught: str | None = None
        self.raised = self._over = self._handling = self._repeats = False
        self._deferring: str | None = None
        self._timer: threading.Timer | None = None
        self._before = {}
        if threading.current_thread() is not threading.main_thread():
            return
        self._unraisable_before, sys.unraisablehook = sys.unraisablehook, self._again
        self._print_before, sys.excepthook = sys.excepthook, self._again_from_c
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        self._installed_before, Interrupts.installed = Interrupts.installed, self

    def _handle(self, number, frame):
        repeats, self._repeats = self._repeats, False
        if self._handling:  # both came at once
            return
        if self.caught and not repeats:
            _say("ended at once.")
            os._exit(EXIT_CODE)
        self.caught = self.caught or signal.Signals(number).name
        if self._over:
            return
        if self._deferring:
            _say(self._deferring)
            return
        self._raise()

    def _raise(self) -> None:
        self.raised = self._handling = True
        try:
            self._cancel()
            self._timer = threading.Timer(self.AGAIN, self._repeat)
            self._timer.daemon = True
            self._timer.start()
        finally:
            self._handling = False
        raise KeyboardInterrupt

    def _repeat(self) -> None:
        self._repeats = True
        _thread.interrupt_main()

    def _cancel(self) -> None:
        if self._timer:
            self._timer.cancel()
            if self._timer.is_alive():
                self._timer.join()

    def _again(self, details) -> None:
        """An interrupt that came inside a destructor cannot go up from there: it comes again, so nothing is printed."""
        if not self._is_lost(details.exc_value):
            self._unraisable_before(details)

    def _again_from_c(self, kind, error, trace) -> None:
        """Nor where TensorFlow called Python."""
        if not self._is_lost(error):
            self._print_before(kind, error, trace)

    def _is_lost(self, error: BaseException | None) -> bool:
        """Whether this was an interrupt, or an error made of one."""
        while error is not None and not isinstance(error, KeyboardInterrupt):
            error = error.__cause__
        return self.raised and error is not None

    @contextmanager
    def deferred(self, message: str) -> Iterator[None]:
        """Inside the block the first signal is only noted in `caught`, and `message` is said at once."""
        self._deferring = message
        try:
            yield
        finally:
            self._deferring = None

    def end(self) -> None:
        """From here on the program ends: no interrupt is raised any more, neither again nor anew."""
        self._over = True
        self._cancel()

    def restore(self) -> None:
        """Let signals and lost exceptions act as before."""
        self.end()
        if self._before:
            sys.unraisablehook, sys.excepthook = self._unraisable_before, self._print_before
            Interrupts.installed = self._installed_before
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before = {}


@contextmanager
def deferred(message: str) -> Iterator[Interrupts]:
    """Inside the block the first Ctrl-C or SIGTERM is only noted: look at `caught` and come to an end.

    With the command line's `Interrupts`, or, where a library calls from the main thread, with one for the block.

    Args:
      message: said at once on stderr when it comes.
    """
    outer = Interrupts.installed
    interrupts = outer or Interrupts()
    try:
        with interrupts.deferred(message):
            yield interrupts
    finally:
        if interrupts is not outer:
            interrupts.restore()
