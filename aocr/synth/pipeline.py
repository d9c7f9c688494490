"""`aocr synth`: processes draw blocks of images in any order, since image i depends only on the settings and i."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from aocr.errors import ConfigError, DatasetError
from aocr.synth.drawing import Drawn, Painter
from aocr.synth.fonts.choice import faces_for
from aocr.synth.fonts.survey import Face
from aocr.synth.like.painter import LikeJob, LikePainter
from aocr.synth.styles import STYLES
from aocr.synth.texts.english import EnglishTexts
from aocr.synth.texts.sources import LineTexts, PatternTexts, read_lines
from aocr.synth.writer import open_writer
from aocr.text.charset import Charset

BLOCK = 200
"""Images drawn at a time."""
BLOCKS_AHEAD = 3
"""Blocks in progress for each worker."""
ASCII = "".join(map(chr, range(32, 127)))
VERSION = 1
"""Increased whenever the same settings give other images."""
Texts = EnglishTexts | LineTexts | PatternTexts


@dataclass(frozen=True)
class SynthOptions:
    """What to draw."""

    count: int
    """Number of images."""
    seed: int = 0
    """Random seed."""
    style: str = "scene"
    """Kind of images."""
    texts: str | None = None
    """File of texts; by default the built-in English mix."""
    pattern: str | None = None
    """Regular expression of the texts, instead of `texts`."""
    charset: str | None = None
    """Symbols allowed in texts; by default those of `texts`, or printable ASCII."""
    max_length: int = 25
    """Maximum characters of a text."""
    empty: float = 0.01
    """Share of images without text."""


@dataclass(frozen=True)
class Job:
    """Everything a process needs to draw any of the images."""

    options: SynthOptions
    texts: Texts
    faces: list[Face]
    digest: str
    """Identifies these images."""

    def painter(self) -> Painter:
        """Create a painter of the images."""
        options = self.options
        return Painter(self.texts.draw, self.faces, STYLES[options.style], options.seed, options.empty)


AnyJob = Job | LikeJob


def _open_texts(options: SynthOptions) -> tuple[Texts, str, str]:
    """Return the source of texts, the symbols it can give, and an identifier of the source."""
    charset = options.charset or ASCII
    if options.texts:
        lines = read_lines(options.texts)
        charset = options.charset or Charset.from_labels(lines).symbols
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return LineTexts(lines, Charset(charset), options.max_length, options.texts), charset, digest
    if options.pattern:
        texts = PatternTexts(options.pattern, Charset(charset), options.max_length)
        return texts, texts.charset, options.pattern
    return EnglishTexts(charset, options.max_length, options.style), charset, "english"


def make_job(options: SynthOptions, fonts: list[str] | None, workers: int) -> Job:
    """Read the texts and find the fonts, in files, folders or (None) the system.

    Raises:
      ConfigError: no font can be used, or the pattern is invalid.
      DatasetError: the file of texts cannot be used.
    """
    if options.texts and options.pattern:
        raise ConfigError("--pattern", options.pattern, "cannot be combined with --texts. Give one of them.")
    texts, charset, source = _open_texts(options)
    faces = faces_for(charset, fonts, workers, as_written=not isinstance(texts, EnglishTexts))
    parts = (VERSION, dataclasses.astuple(options), source, [(face.path, face.index) for face in faces])
    return Job(options, texts, faces, hashlib.sha256(repr(parts).encode()).hexdigest()[:20])


_painter: Painter | LikePainter
"""The painter of a worker process."""


def _start_worker(job: AnyJob) -> None:
    global _painter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    _painter = job.painter()


def _draw_block(numbers: range) -> list[Drawn]:
    return [_painter.draw(number) for number in numbers]


def drawn_blocks(job: AnyJob, start: int, workers: int) -> Generator[list[Drawn]]:
    """Draw blocks of images, from number `start`, in order; workers draw a few blocks ahead.

    Raises:
      ConfigError: an image cannot be drawn.
      DatasetError: a worker was killed.
    """
    count = job.options.count
    blocks = (range(first, min(first + BLOCK, count)) for first in range(start, count, BLOCK))
    if workers == 1:
        painter = job.painter()
        for block in blocks:
            yield [painter.draw(number) for number in block]
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (job,))
    try:
        waiting: deque[Future[list[Drawn]]] = deque()
        for block in blocks:
            waiting.append(pool.submit(_draw_block, block))
            if len(waiting) >= BLOCKS_AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        reason = "a worker process was killed, perhaps because memory ran out. Reduce --workers."
        raise DatasetError("aocr synth", reason) from None
    finally:
        pool.shutdown(cancel_futures=True)


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw(
    job: AnyJob, output: str, num_shards: int, workers: int, progress: Callable[[int], None] = lambda count: None
) -> int:
    """Draw all images into a folder, or into records if `output` ends in .tfrecords.

    `progress` is called with the number of finished images, at the start and after each block.

    Returns:
      The number of images that an earlier run had finished.

    Raises:
      ConfigError: an image cannot be drawn.
      DatasetError: the output cannot be written.
    """
    with open_writer(output, num_shards, job.digest) as writer:
        progress(writer.num_done)
        with contextlib.closing(drawn_blocks(job, writer.num_done, workers)) as blocks:
            for block in blocks:
                writer.write(block)
                progress(writer.num_done)
        writer.finish()
        return writer.resumed
