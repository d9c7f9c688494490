"""Dynamic batching: an image is read at once while nobody else waits, and together with others while many do."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aocr.results import Prediction
from aocr.serving.metrics import Metrics
from aocr.serving.web import HTTPError

CALL_PIXELS = 128
"""What a call of the reader costs, as the width of an image that takes as long to read."""
MAX_WAITING = 2048
"""Images that may wait; what comes on top is told to come later."""

Read = Callable[[Sequence[Any]], list[Prediction]]


@dataclass(eq=False)
class _Waiting:
    item: Any
    width: int
    read: Read
    answer: asyncio.Future = field(repr=False)
    since: float = field(default_factory=time.perf_counter)


def split_by_width(widths: Sequence[int], batch_size: int) -> list[range]:
    """Where to cut images, sorted by width and the widest first, so that few pixels are padding.

    A cut costs a call, and saves all that follows it the padding up to a wider image.

    Args:
      widths: descending.
      batch_size: images of a batch at the most.
    """
    parts, start = [], 0
    for i, width in enumerate(widths):
        saved = (widths[start] - width) * (min(len(widths), start + batch_size) - i)
        if i - start == batch_size or saved > CALL_PIXELS:
            parts.append(range(start, i))
            start = i
    return [*parts, range(start, len(widths))] if widths else []


class Batcher:
    """Collects images while a batch is read, and reads those that came meanwhile together. One batch at a time.

    Args:
      batch_size: images read together at the most.
      metrics: to count in.
    """

    def __init__(self, batch_size: int, metrics: Metrics):
        self._batch_size, self._metrics = batch_size, metrics
        self._queue: deque[_Waiting] = deque()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "aocr-read")
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Begin to read what comes. Call it in the event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what still waits is refused."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._queue:
            _settle(waiting, HTTPError(503, "The server ends."))
        self._thread.shutdown(wait=False)

    async def read(self, items: Sequence[Any], widths: Sequence[int], read: Read) -> list[Prediction]:
        """Read images, with others that wait for the same reader.

        Args:
          items: what `read` takes.
          widths: in pixels as the network sees them.
          read: called in a thread with items of one batch or of several requests; must be the same object for
            what may be read together.

        Raises:
          HTTPError: too many images wait (429), or these alone are too many (413).
        """
        if len(items) > MAX_WAITING:
            raise HTTPError(413, f"A request may hold {MAX_WAITING:,} images. Send the rest in another.")
        if len(self._queue) + len(items) > MAX_WAITING:
            raise HTTPError(
                429, f"{len(self._queue)} images wait to be read. Try again later, or send fewer at a time."
            )
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(*pair, read, loop.create_future()) for pair in zip(items, widths, strict=True)]
        self._queue.extend(waiting)
        self._came.set()
        return list(await asyncio.gather(*(one.answer for one in waiting)))

    async def _run(self) -> None:
        while True:
            while not self._queue:
                self._came.clear()
                await self._came.wait()
            for batch in self._take():
                await self._read(batch)

    def _take(self) -> list[list[_Waiting]]:
        """The oldest images of one reader, as batches of like width."""
        first: Hashable = self._queue[0].read
        taken: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        while self._queue and len(taken) < self._batch_size:
            one = self._queue.popleft()
            if not one.answer.done():  # who asked may have given up
                (taken if one.read == first else left).append(one)
        self._queue.extendleft(reversed(left))
        taken.sort(key=lambda one: -one.width)
        parts = split_by_width([one.width for one in taken], self._batch_size)
        return [[taken[i] for i in part] for part in parts]

    async def _read(self, batch: list[_Waiting]) -> None:
        start = time.perf_counter()
        for one in batch:
            self._metrics.seconds.observe(start - one.since, "wait")
        self._metrics.batches.observe(len(batch))
        call = asyncio.get_running_loop().run_in_executor(self._thread, batch[0].read, [one.item for one in batch])
        try:
            results: Sequence[Any] = await call
        except Exception as error:  # it is told to each who asked
            results = [error] * len(batch)
        self._metrics.seconds.observe(time.perf_counter() - start, "read")
        for one, result in zip(batch, results, strict=True):
            _settle(one, result)


def _settle(waiting: _Waiting, result: Prediction | Exception) -> None:
    if waiting.answer.done():
        return
    if isinstance(result, Exception):
        waiting.answer.set_exception(result)
    else:
        waiting.answer.set_result(result)
