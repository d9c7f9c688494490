"""Build records from annotations: every image is checked once, and every line left out is named."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from aocr import files
from aocr.config import MAX_LENGTH, SourceOptions
from aocr.data.annotations import AnnotationLine, candidate_paths, is_image_name
from aocr.data.build_report import BuildReport, Drop, Tally
from aocr.data.formats import Source, folders, format_of
from aocr.data.images import MAX_BYTES, canonical_image
from aocr.data.preprocess import decodable
from aocr.data.records import Example, RecordWriter, is_tfrecord, matching_files, read_examples
from aocr.data.regions import RegionError, cut_out, name_region, split_region
from aocr.data.writers import TARGETS, FolderWriter
from aocr.errors import AnnotationError, CharsetError, ImageError
from aocr.text.charset import Charset, normalise

EMPTY = "empty label"
MAX_EMPTY = 0.1
"""Share of empty labels from which on they are left out, unless the user keeps them: they are yet to be labelled."""
MISSING, BAD_IMAGE, ZERO_SIZE = "missing file", "not an image", "zero size"
NO_LABEL, NOT_UTF8 = "no label column", "not UTF-8"
REGION = "region outside the image"
OUTSIDE, TOO_LONG = "label outside the charset", "label longer than --max-prediction"
UNWRITABLE = "label that --export cannot write"


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
    export: str | None = None
    """A name of `TARGETS` to write in place of records."""
    written: frozenset[str] = frozenset()
    """Real paths of other output files, which no line may name."""


class Lines:
    """The numbered lines of a source, which can be read again and again."""

    def __init__(self, source: Source, read: Callable[[Source], Iterable[AnnotationLine]]):
        self.source, lines = source, read(source)
        self._read = (lambda: read(source)) if isinstance(lines, Iterator) else lambda: lines

    def __iter__(self) -> Iterator[tuple[int, AnnotationLine]]:
        return ((line.lineno, line) for line in self._read())

    def share_of_empty(self) -> float:
        """Return the share of the labels that are empty."""
        labels = [bool(line.label.strip()) for line in self._read() if line.label is not None]
        return labels.count(False) / max(1, len(labels))


def items_in(
    source: str, options: SourceOptions, texts: Sequence[str] = ()
) -> Iterable[tuple[int, AnnotationLine | Example]]:
    """Return the lines or records of a source of any type, with their numbers; `texts` are files beside images."""
    try:
        paths = texts or ([source] if files.exists(source) else matching_files(source))
        if not paths:
            raise AnnotationError(source, None, "there is no such file. Check the path.")
        lines = Source(source, options)
        if options.label_from_filename:
            if not lines.is_folder:
                raise AnnotationError(source, None, "is a file. --label-from-filename needs a folder of images.")
            return Lines(lines, folders.read_filenames)
        if len(folders.pair_texts(paths)) == len(paths):
            return Lines(lines, lambda _: folders.read_given_pairs(paths))
        if paths != [source] or (not lines.is_folder and is_tfrecord(source)):
            return enumerate(chain.from_iterable(map(read_examples, paths)), 1)
        return Lines(lines, format_of(lines).read)
    except OSError as error:
        raise AnnotationError(source, None, f"cannot be read ({files.one_line(error)}).") from None


def _load(line: AnnotationLine, source: str, options: BuildOptions) -> bytes:
    """Find and read a line's image; raise FileNotFoundError if it does not exist or cannot be read."""
    if line.image is not None:
        try:
            return line.image()
        except OSError as error:
            raise FileNotFoundError(f"{line.path!r} cannot be read ({files.one_line(error)}).") from None
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
    advice = "Check the path, or give --data-base-dir."
    if "\\" in line.path:
        advice = "Is it a path of Windows on another machine? Write paths relative to the annotation file."
    elif line.label and not is_image_name(line.path) and any(map(is_image_name, line.label.split())):
        advice = "If the path contains spaces, separate it from the label with a TAB."
    raise FileNotFoundError(f"there is no file {line.path!r}. {advice}")


def with_region(line: AnnotationLine) -> AnnotationLine:
    """Return a line with the region that its path may name."""
    path, region = split_region(line.path)
    return replace(line, path=path, region=region) if region and not line.region else line


def examine(number: int, item: AnnotationLine | Example, source: str, options: BuildOptions) -> Example | Drop:
    """Check one line or record; return the record to write, or the reason to leave it out."""
    drop = partial(Drop, source, number)
    if isinstance(item, AnnotationLine) and item.not_utf8:
        return drop(NOT_UTF8, item.not_utf8)
    if item.label is None:
        reason = isinstance(item, AnnotationLine) and item.unusable
        return drop(NO_LABEL, f"{item.path!r} {reason or 'has no label. Write: path label'}")
    if isinstance(item, AnnotationLine) and not item.label.strip() and not options.empty_labels:
        return drop(EMPTY, f"{item.path!r} is yet to be labelled. If the image shows no text: --empty-labels.")
    label = normalise(item.label.upper()) if options.force_uppercase else item.label
    limit = MAX_LENGTH if options.max_prediction is None else options.max_prediction
    if len(label) > limit:
        return drop(TOO_LONG, f"{label[:100]!r} has {len(label)} characters")
    if options.export and (flaw := TARGETS[options.export].flaw(label)):
        return drop(UNWRITABLE, f"{label[:100]!r} has {flaw}, which {options.export} cannot hold. csv can.")
    if options.charset and (missing := options.charset.missing(label)):
        return drop(OUTSIDE, str(CharsetError(missing, label, "Add them to the charset, or drop the line.")))
    try:
        if isinstance(item, AnnotationLine):
            item = with_region(item)
            data, name = _load(item, source, options), name_region(item.path, item.region)
            comment = name if options.save_filename else ""
        else:
            data, name, comment = item.image, f"record {number}", item.comment
    except FileNotFoundError as error:
        return drop(MISSING, str(error))
    try:
        if isinstance(item, AnnotationLine) and item.region:
            data = cut_out(data, item.region, item.path)
        image = canonical_image(data, name)
        return Example(decodable(image.data, name), label, comment, image.width, image.height, image.is_blank)
    except RegionError as error:
        return drop(REGION, str(error))
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


def _results(source: str, options: BuildOptions, texts: Sequence[str]) -> Generator:
    """Examine all lines or records of a source; yield each number with its record or the reason to leave it out."""
    items = items_in(source, options, texts)
    if isinstance(items, Lines) and not options.empty_labels:
        share = items.share_of_empty()
        if share >= MAX_EMPTY:
            items.source.note(
                f"{share:.0%} of the labels are empty. These images are left out as not yet labelled; --empty-labels "
                "keeps them as images without text.",
                logging.WARNING,
            )
        options = replace(options, empty_labels=share < MAX_EMPTY)
    return _in_parallel(items, lambda item: (item[0], examine(item[0], item[1], source, options)))


def _writer(output: str | None, options: BuildOptions) -> contextlib.AbstractContextManager:
    """Return the context manager of what writes the records; of None if they are only checked."""
    if output is None:
        return contextlib.nullcontext()
    return FolderWriter(output, options.export) if options.export else RecordWriter(output, options.shards)


def build_records(
    source: str,
    output: str | None,
    options: BuildOptions,
    progress: Callable[[int], None] | None = None,
    texts: Sequence[str] = (),
) -> BuildReport:
    """Write the usable lines of a source as records.

    Args:
      source: a file or folder of any format, or records (also a glob or stem).
      output: path of the TFRecord file, stem of the shards, or folder of an export; it appears when it is complete;
        None: only check.
      progress: called after each line with the number of lines read.
      texts: text files with an image beside each, if `source` names these.

    Raises:
      AnnotationError: the source is missing, empty, or has no usable line; or, when strict, a line is not usable.
      DatasetError: a TFRecord is damaged or another program's, or the output cannot be written.
    """
    report = BuildReport(source)
    tally = Tally(report)
    with _writer(output, options) as writer, contextlib.closing(_results(source, options, texts)) as results:
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
