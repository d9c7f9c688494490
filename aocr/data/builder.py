"""Build records from annotations: every image is checked once, and every line left out is named."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

from aocr import files
from aocr.config import MAX_LENGTH, SourceOptions
from aocr.data.annotations import AnnotationLine, candidate_paths
from aocr.data.build_report import BuildReport, Drop, Tally
from aocr.data.formats import Source, format_of
from aocr.data.formats.folders import read_filenames
from aocr.data.images import MAX_BYTES, canonical_image
from aocr.data.preprocess import decodable
from aocr.data.records import Example, RecordWriter, is_tfrecord, matching_files, read_examples
from aocr.errors import AnnotationError, CharsetError, ImageError
from aocr.text.charset import Charset, normalise

MISSING, BAD_IMAGE, ZERO_SIZE = "missing file", "not an image", "zero size"
NO_LABEL, NOT_UTF8 = "no label column", "not UTF-8"
OUTSIDE, TOO_LONG = "label outside the charset", "label longer than --max-prediction"


@dataclass(frozen=True)
class BuildOptions(SourceOptions):
    """How records are built."""

    charset: Charset | None = None
    """Leave out labels with symbols outside it."""
    max_prediction: int | None = None
    """Leave out labels of more characters."""
    force_uppercase: bool = False
    """Convert labels to capitals, as aocr 0.7.6 did."""
    save_filename: bool = False
    """Store the image's path as the record's comment."""
    strict: bool = False
    """Raise at the first line that cannot be used."""
    shards: int = 1
    """Number of files to write."""
    written: frozenset[str] = frozenset()
    """Real paths of other output files, which no line may name."""


@dataclass(frozen=True)
class Lines:
    """The numbered lines of a source; each iteration reads them anew."""

    source: Source
    read: Callable[[Source], Iterable[AnnotationLine]]

    def __iter__(self) -> Iterator[tuple[int, AnnotationLine]]:
        return ((line.lineno, line) for line in self.read(self.source))


def items_in(source: str, options: SourceOptions) -> Iterable[tuple[int, AnnotationLine | Example]]:
    """Return the lines or records of a source of any type, with their numbers."""
    try:
        paths = [source] if files.exists(source) else matching_files(source)
        if not paths:
            raise AnnotationError(source, None, "there is no such file. Check the path.")
        lines = Source(source, options)
        if options.label_from_filename:
            if not lines.is_folder:
                raise AnnotationError(source, None, "is a file. --label-from-filename needs a folder of images.")
            return Lines(lines, read_filenames)
        if paths != [source] or (not lines.is_folder and is_tfrecord(source)):
            return enumerate(chain.from_iterable(map(read_examples, paths)), 1)
        return Lines(lines, format_of(lines).read)
    except OSError as error:
        raise AnnotationError(source, None, f"cannot be read ({files.one_line(error)}).") from None


def _load(line: AnnotationLine, source: str, options: BuildOptions) -> bytes:
    """Find and read a line's image; raise FileNotFoundError if it does not exist or cannot be read."""
    if line.image is not None:
        return line.image
    for path in candidate_paths(line.path, source, options.data_base_dir):
        try:
            data = files.read_limited(path, MAX_BYTES)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
            continue
        except OSError as error:
            raise FileNotFoundError(f"{line.path!r} cannot be read ({files.one_line(error)}).") from None
        if options.written and os.path.realpath(path) in options.written:
            raise AnnotationError(source, line.lineno, f"names {path!r}, which would be overwritten.")
        return data
    raise FileNotFoundError(f"there is no file {line.path!r}. Check the path, or give --data-base-dir.")


def examine(number: int, item: AnnotationLine | Example, source: str, options: BuildOptions) -> Example | Drop:
    """Check one line or record; return the record to write, or the reason to leave it out."""
    drop = partial(Drop, source, number)
    if isinstance(item, AnnotationLine) and item.not_utf8:
        return drop(NOT_UTF8, item.not_utf8)
    if item.label is None:
        return drop(NO_LABEL, f"{item.path!r} has no label. Write 'path label'.")
    label = normalise(item.label.upper()) if options.force_uppercase else item.label
    limit = MAX_LENGTH if options.max_prediction is None else options.max_prediction
    if len(label) > limit:
        return drop(TOO_LONG, f"{label[:100]!r} has {len(label)} characters")
    if options.charset and (missing := options.charset.missing(label)):
        return drop(OUTSIDE, str(CharsetError(missing, label, "Add them to the charset, or drop the line.")))
    try:
        if isinstance(item, AnnotationLine):
            data, name, comment = _load(item, source, options), item.path, item.path if options.save_filename else ""
        else:
            data, name, comment = item.image, f"record {number}", item.comment
    except FileNotFoundError as error:
        return drop(MISSING, str(error))
    try:
        image = canonical_image(data, name)
        return Example(decodable(image.data, name), label, comment, image.width, image.height, image.is_blank)
    except ImageError as error:
        return drop(BAD_IMAGE if data else ZERO_SIZE, str(error))


def _in_parallel(items: Iterable, work: Callable) -> Generator:
    """Yield the result of `work` for each item, in order, computed in a few threads. Close it after use."""
    threads = os.cpu_count() or 1
    waiting: deque = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 16 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def build_records(
    source: str, output: str | None, options: BuildOptions, progress: Callable[[int], None] | None = None
) -> BuildReport:
    """Write the usable lines of a source as records.

    Args:
      source: annotation file, TFRecord file (or a glob or stem), or with `label_from_filename` a folder.
      output: path of the TFRecord file, or stem of the shards; it appears only when it is complete. None: only check.
      progress: called after each line with the number of lines read.

    Raises:
      AnnotationError: the source is missing, empty, or has no usable line; or, when strict, a line is not usable.
      DatasetError: a TFRecord is damaged or another program's, or the output cannot be written.
    """
    report = BuildReport(source)
    tally = Tally(report)

    def examine_item(item: tuple[int, AnnotationLine | Example]) -> tuple[int, Example | Drop]:
        return item[0], examine(*item, source, options)

    with (
        RecordWriter(output, options.shards) if output else contextlib.nullcontext() as writer,
        contextlib.closing(_in_parallel(items_in(source, options), examine_item)) as results,
    ):
        for num_read, (number, result) in enumerate(results, 1):
            if isinstance(result, Example):
                if writer:
                    writer.write(result)
                tally.add(number, result)
            elif options.strict:
                raise AnnotationError(source, number, f"{result.reason}: {result.detail}")
            else:
                report.drops.append(result)
            if progress:
                progress(num_read)
        if not report.num_images:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in report.num_dropped.items())
            first = f" ({reasons}). The first: {report.drops[0].detail}" if report.drops else "."
            raise AnnotationError(source, None, f"has no usable line{first}")
    tally.compare()
    report.paths = writer.paths if writer else []
    return report
