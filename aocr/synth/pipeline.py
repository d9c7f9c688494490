"""`aocr synth`: several processes draw blocks of images; image i depends only on the settings and i."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

from aocr.errors import ConfigError, DatasetError
from aocr.synth.drawing import Drawn, Painter
from aocr.synth.fonts.choice import faces_for
from aocr.synth.fonts.survey import Face
from aocr.synth.like.originals import Original
from aocr.synth.like.painter import LikePainter
from aocr.synth.styles import STYLES
from aocr.synth.texts.english import EnglishTexts
from aocr.synth.texts.sources import LineTexts, PatternTexts, read_lines
from aocr.synth.writer import open_writer
from aocr.text.charset import Charset

BLOCK = 200
"""Number of images in a block."""
BLOCKS_AHEAD = 3
"""Number of blocks queued per worker."""
ASCII = "".join(map(chr, range(32, 127)))
VERSION = 2
"""Increased whenever the same settings give different images."""


@dataclass(frozen=True)
class SynthOptions:
    """Settings of the images to draw."""

    count: int
    """Number of images."""
    seed: int = 0
    """Random seed."""
    style: str = "scene"
    """Key of `STYLES`."""
    texts: str | None = None
    """File of texts; by default the built-in English mix."""
    pattern: str | None = None
    """Regular expression that the texts match; replaces `texts`."""
    charset: str | None = None
    """Symbols allowed in texts; by default those of `texts`, or printable ASCII."""
    max_length: int = 25
    """Maximum characters of a text."""


@dataclass(frozen=True)
class Job:
    """Everything a process needs to draw any of the images."""

    count: int
    """Number of images."""
    faces: list[Face]
    painter: Callable[[], Painter | LikePainter]
    """Creates a painter of the images."""
    digest: str
    """Hash of the settings; a run is resumed only if it is the same."""


def _digest(faces: list[Face], *settings: object) -> str:
    digest = hashlib.sha256(repr((VERSION, [(face.path, face.index) for face in faces])).encode())
    for setting in settings:
        digest.update(repr(setting).encode())
    return digest.hexdigest()[:20]


def make_job(options: SynthOptions, fonts: list[str] | None, workers: int) -> Job:
    """Read the texts and find the fonts; `fonts` are files or folders (None: the system's).

    Raises:
      ConfigError: no font can be used, or the pattern is invalid.
      DatasetError: the file of texts cannot be used.
    """
    if options.texts and options.pattern:
        raise ConfigError("--pattern", options.pattern, "cannot be combined with --texts. Give one of them.")
    charset, lines = options.charset or ASCII, []
    texts: LineTexts | PatternTexts | EnglishTexts
    if options.texts:
        lines = read_lines(options.texts)
        charset = options.charset or Charset.from_labels(lines).symbols
        texts = LineTexts(lines, Charset(charset), options.max_length, options.texts)
    elif options.pattern:
        texts = PatternTexts(options.pattern, Charset(charset), options.max_length)
        charset = texts.symbols
    else:
        texts = EnglishTexts(charset, options.max_length, options.style)
    faces = faces_for(charset, fonts, workers, as_written=bool(options.texts or options.pattern))
    painter = partial(Painter, texts.draw, faces, STYLES[options.style], options.seed)
    return Job(options.count, faces, painter, _digest(faces, options, *lines))


def make_like_job(count: int, seed: int, originals: list[Original], faces: list[Face]) -> Job:
    """Create a job that draws `count` images like the originals; `faces` may be empty."""
    return Job(count, faces, partial(LikePainter, originals, faces, seed), _digest(faces, count, seed, *originals))


_painter: Painter | LikePainter
"""The painter of a worker process."""


def _start_worker(job: Job) -> None:
    global _painter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    _painter = job.painter()


def _draw_block(numbers: range) -> list[Drawn]:
    return [_painter.draw(number) for number in numbers]


def _drawn_blocks(job: Job, start: int, workers: int) -> Generator[list[Drawn]]:
    """Yield blocks of images in order, from index `start`; workers draw a few blocks ahead."""
    blocks = (range(first, min(first + BLOCK, job.count)) for first in range(start, job.count, BLOCK))
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


def draw(job: Job, output: str, num_shards: int, workers: int) -> Generator[int]:
    """Draw all images into a folder, or into TFRecord files if `output` ends in .tfrecords.

    Yields:
      The total number of finished images: first that of an earlier run, then after each block.

    Raises:
      ConfigError: an image cannot be drawn.
      DatasetError: the output cannot be written, or a worker was killed.
    """
    with open_writer(output, num_shards, job.digest) as writer:
        yield writer.num_done
        with contextlib.closing(_drawn_blocks(job, writer.num_done, workers)) as blocks:
            for block in blocks:
                writer.write(block)
                yield writer.num_done
        writer.finish()
