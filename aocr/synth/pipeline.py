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
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from PIL import features

from aocr.errors import ConfigError, DatasetError
from aocr.synth.drawing import Drawn, Painter, Texts
from aocr.synth.fonts.choice import find_faces
from aocr.synth.fonts.survey import Face, is_simple
from aocr.synth.like.painter import LikeJob, LikePainter
from aocr.synth.styles import STYLES
from aocr.synth.texts.english import EnglishTexts
from aocr.synth.texts.sources import LineTexts, PatternTexts, read_lines
from aocr.synth.writer import open_writer
from aocr.text.charset import Charset

BLOCK = 200
"""Images drawn at a time; so many are lost at most when a run is killed, times the workers."""
AHEAD = 3
"""Blocks under way for each worker."""
MANY = 200
"""Font files from which on several processes look at them."""
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
      texts: file of texts; None: the built-in English mix, or `pattern`.
      pattern: regular expression of the texts; None: the built-in English mix, or `texts`.
      charset: symbols that texts keep within; None: those of `texts`, else printable ASCII.
      max_length: of a text in characters.
      empty: share of images without text.
    """

    count: int
    seed: int = 0
    style: str = "scene"
    texts: str | None = None
    pattern: str | None = None
    charset: str | None = None
    max_length: int = 25
    empty: float = 0.01


@dataclass(frozen=True)
class Job:
    """What a process needs to draw any of the images."""

    options: SynthOptions
    texts: Texts
    faces: list[Face]
    digest: str

    def painter(self) -> Painter:
        """A painter of the images."""
        options = self.options
        return Painter(self.texts, self.faces, STYLES[options.style], options.seed, options.empty)


AnyJob = Job | LikeJob
"""What is drawn: words from nothing, or what looks like some images."""


def _texts(options: SynthOptions) -> tuple[Texts, str, str]:
    """The source of texts, the symbols it may give, and what tells it from another source."""
    charset = options.charset or ASCII
    if options.texts:
        lines = read_lines(options.texts)
        charset = options.charset or Charset.from_labels(lines).symbols
        content = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return LineTexts(lines, Charset(charset), options.max_length, options.texts), charset, content
    if options.pattern:
        texts = PatternTexts(options.pattern, Charset(charset), options.max_length)
        return texts, texts.charset, options.pattern
    return EnglishTexts(charset, options.max_length, options.style), charset, "english"


def make_job(options: SynthOptions, fonts: list[str] | None, workers: int) -> Job:
    """Read the texts and find the fonts.

    Args:
      options: what to draw.
      fonts: folders and files; None: what the system has.
      workers: processes to look at fonts with.

    Raises:
      ConfigError: no font is of use, or the pattern is not.
      DatasetError: the file of texts cannot be used.
    """
    if options.texts and options.pattern:
        raise ConfigError("--pattern", options.pattern, "does not go with --texts. Give one of them.")
    texts, charset, source = _texts(options)
    if not is_simple(charset) and not features.check("raqm"):
        reason = "to draw this script Pillow needs Raqm, which it lacks here. Install libraqm, or a wheel of Pillow."
        raise ConfigError("--texts" if options.texts else "--charset", charset[:20], reason)
    as_written = not isinstance(texts, EnglishTexts)
    faces = find_faces(fonts, charset, as_written, _each(workers))
    parts = (FORMAT, dataclasses.astuple(options), source, [(face.path, face.index) for face in faces])
    return Job(options, texts, faces, hashlib.sha256(repr(parts).encode()).hexdigest()[:20])


def faces_for(charset: str, fonts: list[str] | None, workers: int) -> list[Face]:
    """The fonts that draw texts of these symbols as they are written.

    Raises:
      ConfigError: there are none.
    """
    if not is_simple(charset) and not features.check("raqm"):
        raise ConfigError("--fonts", charset[:20], "to draw this script Pillow needs Raqm, which it lacks here.")
    return find_faces(fonts, charset, True, _each(workers))


def _each(workers: int) -> Callable:
    """A `map` over this many processes, where it pays."""

    def each(function: Callable, items: list) -> Iterator:
        if workers == 1 or len(items) < MANY:
            yield from map(function, items)
            return
        quiet = (signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
        with multiprocessing.get_context("spawn").Pool(workers, signal.signal, quiet) as pool:
            yield from pool.imap(function, items, chunksize=32)

    return each


_painter: Painter | LikePainter
"""Of a worker process."""


def _start_worker(job: AnyJob) -> None:
    global _painter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    _painter = job.painter()


def _draw_block(start: int, stop: int) -> list[Drawn]:
    return [_painter.draw(number) for number in range(start, stop)]


def _blocks(count: int, start: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + BLOCK, count)) for at in range(start, count, BLOCK))


def drawn_blocks(job: AnyJob, start: int, workers: int) -> Generator[list[Drawn]]:
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
        waiting: deque[Future[list[Drawn]]] = deque()
        for block in blocks:
            waiting.append(pool.submit(_draw_block, *block))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DatasetError(
            "aocr synth", "a worker process was killed, perhaps because memory ran out. Give fewer --workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def draw(
    job: AnyJob, output: str, num_shards: int, workers: int, progress: Callable[[int], None] = lambda count: None
) -> int:
    """Draw all images into a folder or records.

    Args:
      job: what to draw.
      output: a folder, or a file whose name ends in .tfrecords.
      num_shards: files that records are dealt to.
      workers: processes.
      progress: told the number of images done, at first and after each block.

    Returns:
      The number of images that were there already.

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
