"""A clock on the terminal during a long wait, such as TensorFlow's start."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TextIO

TICK_SECONDS = 0.5


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show `what` and the elapsed time inside the block, on a terminal only. Nothing else may be printed meanwhile."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm import tqdm

    done = threading.Event()
    with ExitStack() as stack:
        stream: TextIO = sys.stderr
        with suppress(io.UnsupportedOperation):  # fd 2 is silenced while TensorFlow starts
            stream = stack.enter_context(os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8"))
        bar = stack.enter_context(tqdm(desc=what, bar_format="{desc} [{elapsed}]", leave=False, file=stream))

        def tick() -> None:
            while not done.wait(TICK_SECONDS):
                bar.refresh()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
