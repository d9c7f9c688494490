"""Ctrl-C, SIGTERM, a closed terminal: the first unwinds, or lets a training save; the second ends the process."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

EXIT_CODE = 130
ALARM = getattr(signal, "SIGALRM", None)
"""The signal by which an interrupt comes again; Windows has none."""
HANGUP = getattr(signal, "SIGHUP", None)
"""The signal of a terminal that was closed; Windows has none."""
SIGNALS = [signal.SIGINT, signal.SIGTERM, *filter(None, (HANGUP, ALARM))]


def _say(message: str) -> None:
    """Write a line on stderr from a signal handler: `print` could interrupt itself there."""
    with suppress(OSError):
        above = "\n" if os.isatty(2) else ""  # a progress bar may stand in the line
        os.write(2, f"{above}aocr: {message}\n".encode())


def _leave_terminal() -> None:
    """Let what is still told go nowhere: writing to a terminal that was closed fails."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(handle).st_mode):
                os.dup2(nowhere, handle)
    os.close(nowhere)


class Interrupts:
    """Takes over these signals, in the main thread; elsewhere it does nothing. `nohup` is heeded.

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
        self.raised = self._over = False
        self._deferring: str | None = None
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._hooks = sys.unraisablehook, sys.excepthook
            sys.unraisablehook, sys.excepthook = self._again, self._again_from_c
            ignored = {HANGUP} if HANGUP and signal.getsignal(HANGUP) == signal.SIG_IGN else set()
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS if number not in ignored}
            self._installed_before, Interrupts.installed = Interrupts.installed, self

    def _handle(self, number, frame):
        again = number == ALARM
        if number == HANGUP:
            _leave_terminal()
        if self.caught and not again:
            _say("ended at once.")
            os._exit(EXIT_CODE)
        raises = not (self._over or self._deferring)
        if raises:
            self._wake_in(self.AGAIN)
        self.raised = self.raised or raises
        self.caught = self.caught or signal.Signals(number).name  # only now: another may have come meanwhile
        if raises:
            raise KeyboardInterrupt
        if not self._over:
            _say(self._deferring)  # type: ignore[arg-type]

    @staticmethod
    def _wake_in(seconds: float) -> None:
        if ALARM:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def _again(self, details) -> None:
        """An interrupt that came inside a destructor cannot go up from there: it comes again, so nothing is printed."""
        if not self._is_lost(details.exc_value):
            self._hooks[0](details)

    def _again_from_c(self, kind, error, trace) -> None:
        """Nor where TensorFlow called Python."""
        if not self._is_lost(error):
            self._hooks[1](kind, error, trace)

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
        if self.raised:
            self._wake_in(0)

    def restore(self) -> None:
        """Let signals and lost exceptions act as before."""
        self.end()
        if self._before:
            sys.unraisablehook, sys.excepthook = self._hooks
            Interrupts.installed = self._installed_before
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before = {}


@contextmanager
def deferred(message: str) -> Iterator[Interrupts]:
    """Inside the block the first of these signals is only noted: look at `caught` and come to an end.

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
