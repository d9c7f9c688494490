"""`aocr synth`: images in order, drawn by any number of processes.

Image i depends on the settings, the seed and i alone. So blocks of images are drawn anywhere and written in order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from aocr.errors import ConfigError, DatasetError
from aocr.synth.drawing import Drawn, Painter
from aocr.synth.fonts import Face, find_faces
from aocr.synth.styles import STYLES
from aocr.synth.texts import EnglishTexts
from aocr.synth.writer import open_writer

BLOCK = 200
"""Images drawn at a time; so many are lost at most when a run is killed, times the workers."""
AHEAD = 3
"""Blocks under way for each worker."""
ASCII = "".join(map(chr, range(32, 127)))
FORMAT = 1
"""Rises whenever the same settings give other images."""


@dataclass(frozen=True)
class SynthOptions:
    """What to draw.

    Attributes:
      count: images.
      seed: of all chance.
      style: name of the kind of images.
      charset: symbols that texts keep within.
      max_length: of a text in characters.
      empty: share of images without text.
    """

    count: int
    seed: int = 0
    style: str = "scene"
    charset: str = ASCII
    max_length: int = 25
    empty: float = 0.01


@dataclass(frozen=True)
class Job:
    """What a process needs to draw any of the images."""

    options: SynthOptions
    faces: list[Face]

    def painter(self) -> Painter:
        """A painter of the images."""
        options = self.options
        texts = EnglishTexts(options.charset, options.max_length)
        return Painter(texts, self.faces, STYLES[options.style], options.seed, options.empty)

    def digest(self) -> str:
        """Of all that decides the images."""
        parts = (FORMAT, dataclasses.astuple(self.options), [(face.path, face.index) for face in self.faces])
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


_painter: Painter | None = None


def _start_worker(job: Job) -> None:
    global _painter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    _painter = job.painter()


def _draw_block(start: int, stop: int) -> list[Drawn]:
    return [_painter.draw(number) for number in range(start, stop)]


def _blocks(count: int, start: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + BLOCK, count)) for at in range(start, count, BLOCK))


def drawn_blocks(job: Job, start: int, workers: int) -> Iterator[list[Drawn]]:
    """Blocks of images from number `start` on, in order; a few ahead of their use.

    Raises:
      ConfigError: an image cannot be drawn.
      DatasetError: a worker was killed.
    """
    blocks = _blocks(job.options.count, start)
    if workers == 1:
        painter = job.painter()
        for first, stop in blocks:
            yield [painter.draw(number) for number in range(first, stop)]
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker, (job,))
    try:
        waiting = deque()
        for block in blocks:
            waiting.append(pool.submit(_draw_block, *block))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DatasetError("aocr synth", "a worker was ended from outside, perhaps for want of memory.") from None
    finally:
        pool.shutdown(cancel_futures=True)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_job(options: SynthOptions, fonts: list[str] | None, workers: int) -> Job:
    """Find the fonts.

    Raises:
      ConfigError: there is none of use.
    """
    if options.style not in STYLES:
        raise ConfigError("--style", options.style, f"is not one of {', '.join(STYLES)}.")
    if workers == 1:
        return Job(options, find_faces(fonts, options.charset))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        each = lambda survey, files: pool.imap(survey, files, chunksize=32)  # noqa: E731
        return Job(options, find_faces(fonts, options.charset, each))


def draw(
    job: Job, output: str, num_shards: int, workers: int, progress: Callable[[int], None] = lambda count: None
) -> int:
    """Draw all images into a folder or records.

    Args:
      job: what to draw.
      output: a folder, or a file whose name ends in .tfrecords.
      num_shards: files that records are dealt to.
      workers: processes.
      progress: told the number of images done after each block.

    Returns:
      The number of images that were there already.

    Raises:
      ConfigError: an image cannot be drawn.
      DatasetError: the output cannot be written.
    """
    with open_writer(output, num_shards, job.digest()) as writer:
        progress(writer.num_done)
        with contextlib.closing(drawn_blocks(job, writer.num_done, workers)) as blocks:
            for block in blocks:
                writer.write(block)
                progress(len(block))
        writer.finish()
        return writer.resumed
