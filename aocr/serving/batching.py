"""Dynamic batching: while one batch is read, the images that arrive are collected for the next."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aocr.results import Prediction
from aocr.serving.metrics import Metrics
from aocr.serving.web import HTTPError

CALL_PIXELS = 128
"""Fixed cost of reading a batch, given as the width in pixels of an image that takes as long to read."""
MAX_WAITING = 2048
"""Maximum number of images that wait to be read; requests beyond it are refused."""

Read = Callable[[Sequence[Any]], list[Prediction]]


@dataclass(eq=False)
class _Waiting:
    """An image that waits to be read."""

    item: Any
    width: int
    read: Read
    answer: asyncio.Future
    since: float = field(default_factory=time.perf_counter)


def split_by_width(widths: Sequence[int], batch_size: int) -> list[range]:
    """Split images of descending widths into batches with little padding.

    A new batch costs a call, but its images need no padding to the width of the earlier ones.
    """
    batches, start = [], 0
    for i, width in enumerate(widths):
        saved = (widths[start] - width) * (min(len(widths), start + batch_size) - i)
        if i - start == batch_size or saved > CALL_PIXELS:
            batches.append(range(start, i))
            start = i
    return [*batches, range(start, len(widths))] if widths else []


class Batcher:
    """Reads one batch at a time, and collects the images that arrive meanwhile for the next."""

    def __init__(self, batch_size: int, metrics: Metrics):
        self._batch_size, self._metrics = batch_size, metrics
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "aocr-read")

    def check_room(self, num_images: int) -> None:
        """Raise an HTTPError if a request has too many images (413), or too many wait (429)."""
        if num_images > MAX_WAITING:
            raise HTTPError(413, f"A request may have up to {MAX_WAITING:,} images. Split it into several.")
        if len(self._queue) + num_images > MAX_WAITING:
            raise HTTPError(429, f"{len(self._queue)} images are waiting. Try again later, or send fewer at a time.")

    async def read(self, items: Sequence[Any], widths: Sequence[int], read: Read) -> list[Prediction]:
        """Read images of these widths, together with others that wait for the same `read`.

        `read` is called in a thread with a batch of items, perhaps of several requests. Raises as `check_room` does.
        """
        self.check_room(len(items))
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(item, width, read, loop.create_future()) for item, width in zip(items, widths, strict=True)]
        self._queue.extend(waiting)
        self._arrived.set()
        return list(await asyncio.gather(*(image.answer for image in waiting)))

    async def run(self) -> None:
        """Read images as they arrive, until cancelled."""
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            for batch in self._next_batches():
                await self._read(batch)

    def _next_batches(self) -> list[list[_Waiting]]:
        """Take the oldest images that share a reader, in batches of similar width."""
        read = self._queue[0].read
        taken: list[_Waiting] = []
        left: deque[_Waiting] = deque()
        while self._queue and len(taken) < self._batch_size:
            image = self._queue.popleft()
            if not image.answer.done():  # else its client gave up
                (taken if image.read == read else left).append(image)
        self._queue.extendleft(reversed(left))
        taken.sort(key=lambda image: -image.width)
        batches = split_by_width([image.width for image in taken], self._batch_size)
        return [[taken[i] for i in batch] for batch in batches]

    async def _read(self, batch: list[_Waiting]) -> None:
        start = time.perf_counter()
        for image in batch:
            self._metrics.seconds["wait"].observe(start - image.since)
        self._metrics.batch_sizes.observe(len(batch))
        items = [image.item for image in batch]
        loop = asyncio.get_running_loop()
        try:
            results: Sequence[Any] = await loop.run_in_executor(self._thread, batch[0].read, items)
        except Exception as error:  # each client in the batch gets it
            results = [error] * len(batch)
        self._metrics.seconds["read"].observe(time.perf_counter() - start)
        for image, result in zip(batch, results, strict=True):
            if image.answer.done():  # its client gave up
                continue
            if isinstance(result, Exception):
                image.answer.set_exception(result)
            else:
                image.answer.set_result(result)
