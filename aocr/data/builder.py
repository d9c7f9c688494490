"""Annotations -> records: every image is looked at once, and every line left out is named."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import tensorflow as tf

from aocr import files
from aocr.config import IMAGE_HEIGHT
from aocr.data.annotations import AnnotationLine, candidate_paths, labels_from_filenames, parse_annotations
from aocr.data.images import as_png, canonical_image
from aocr.data.records import Example, RecordWriter, is_tfrecord, matching_files, read_examples
from aocr.errors import AnnotationError, CharsetError, DatasetError, ImageError
from aocr.text.charset import Charset, normalise

MISSING, BAD_IMAGE, ZERO_SIZE, NO_LABEL = "missing file", "not an image", "zero size", "no label column"
OUTSIDE, TOO_LONG = "label outside the charset", "label longer than --max-prediction"
SHOWN = 3
"""Lines named in the summary for each reason."""


@dataclass(frozen=True)
class BuildOptions:
    """How records are built.

    Attributes:
      charset: leave out labels with other symbols; None: take all.
      max_prediction: leave out labels of more characters; None: take all.
      data_base_dir: where paths may start.
      force_uppercase: turn labels to capitals, as aocr 0.7.6 did.
      save_filename: keep the path as the record's comment.
      label_from_filename: the source is a folder whose file names are the labels.
      strict: raise at the first line that cannot be used.
      shards: number of files.
    """

    charset: Charset | None = None
    max_prediction: int | None = None
    data_base_dir: str | None = None
    force_uppercase: bool = False
    save_filename: bool = False
    label_from_filename: bool = False
    strict: bool = False
    shards: int = 1


@dataclass(frozen=True, slots=True)
class Drop:
    """A line or record that was left out.

    Attributes:
      where: the file.
      number: of the line or record, from 1.
      reason: one of this module's reasons.
      detail: the whole story in one line.
    """

    where: str
    number: int
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.where}:{self.number}: {self.reason}: {self.detail}"


@dataclass
class BuildReport:
    """What building found.

    Attributes:
      source: what was built from.
      paths: the files written.
      num_images: records written.
      drops: lines left out.
      symbols: how often each symbol stands in the labels.
      lengths: label length -> number of labels.
      widths: image width in pixels -> number of images.
      network_widths: width at height 32 -> number of images.
      conflicts: pairs of line numbers whose images are equal and whose labels differ.
      num_repeats: images that stood before with the same label.
    """

    source: str
    paths: list[str] = field(default_factory=list)
    num_images: int = 0
    drops: list[Drop] = field(default_factory=list)
    symbols: Counter = field(default_factory=Counter)
    lengths: Counter = field(default_factory=Counter)
    widths: Counter = field(default_factory=Counter)
    network_widths: Counter = field(default_factory=Counter)
    conflicts: list[tuple[int, str, int, str]] = field(default_factory=list)
    num_repeats: int = 0

    @property
    def num_dropped(self) -> dict[str, int]:
        """Reason -> number of lines left out."""
        return dict(Counter(drop.reason for drop in self.drops))

    def _conflict_lines(self) -> list[str]:
        return [
            f"{self.source}:{a} and :{b}: the same image is labelled {first!r} and {second!r}"
            for a, first, b, second in self.conflicts
        ]

    def summary(self) -> list[str]:
        """Lines for people."""
        lines = [f"{self.num_images} images from {self.source} written to {', '.join(self.paths[:3])}"]
        lines[0] += f" ... ({len(self.paths)} files)" if len(self.paths) > 3 else ""
        lines.append(
            f"Charset: {Charset(''.join(sorted(self.symbols))).shown(1000)}" if self.symbols else "Charset: empty"
        )
        lines.append(f"Label length: {_spread(self.lengths)} characters")
        lines.append(f"Image width: {_spread(self.widths)} px; at height 32: {_spread(self.network_widths)} px")
        if self.num_repeats:
            lines.append(f"Repeated: {self.num_repeats} of the images are there before, with the same label")
        for reason, count in self.num_dropped.items():
            lines.append(f"Left out: {count} ({reason})")
            named = [drop for drop in self.drops if drop.reason == reason][:SHOWN]
            lines += [f"  {drop.where}:{drop.number}: {drop.detail}" for drop in named]
            lines += [f"  ... and {count - SHOWN} more" if count > SHOWN else ""]
        return [line for line in lines if line]

    def warnings(self) -> list[str]:
        """Equal images with different labels, the first few."""
        lines = self._conflict_lines()
        more = len(lines) - 2 * SHOWN
        return lines[: 2 * SHOWN] + ([f"... and {more} more such pairs"] if more > 0 else [])

    def write(self, path: str) -> None:
        """Write every line left out and every conflict, one a line.

        Raises:
          DatasetError: the file cannot be written.
        """
        lines = [str(drop) for drop in self.drops] + self._conflict_lines()
        try:
            files.write(path, "".join(f"{line}\n" for line in lines).encode())
        except (OSError, tf.errors.OpError) as error:
            raise DatasetError(path, f"cannot be written ({files.one_line(error)}).") from None


def _spread(counts: Counter) -> str:
    """Smallest, middle, 95 % and largest of counted values."""
    if not counts:
        return "none"
    values = np.repeat(sorted(counts), [counts[v] for v in sorted(counts)])
    low, middle, high, top = np.percentile(values, (0, 50, 95, 100), method="nearest")
    return f"{low} to {top} (half up to {middle}, 95 % up to {high})"


def _read_bytes(path: str) -> bytes:
    return files.read(path)


def _lines(source: str, options: BuildOptions) -> Iterator[AnnotationLine | Example]:
    """What a source holds, whatever it is."""
    try:
        if files.is_folder(source):
            if not options.label_from_filename:
                advice = "Add --label-from-filename, or give an annotation file."
                raise AnnotationError(source, None, f"is a folder. {advice}")
            return labels_from_filenames(source, files.walk)
        paths = [source] if files.exists(source) else matching_files(source)
        if not paths:
            raise AnnotationError(source, None, "there is no such file. Check the path.")
        if options.label_from_filename:
            raise AnnotationError(source, None, "is a file. --label-from-filename wants a folder of images.")
        if paths != [source] or is_tfrecord(source):
            return chain.from_iterable(map(read_examples, paths))
        return parse_annotations(_read_bytes(source), source)
    except (OSError, tf.errors.OpError) as error:
        raise AnnotationError(source, None, f"cannot be read ({files.one_line(error)}).") from None


def _load(line: AnnotationLine, source: str, options: BuildOptions) -> Example:
    """Find and read a line's image (its label as it stands).

    Raises:
      FileNotFoundError: there is none, or it cannot be reached.
    """
    try:
        candidates = candidate_paths(line.path, source, options.data_base_dir)
        path = next((c for c in candidates if files.exists(c) and not files.is_folder(c)), None)
        if path is None:
            raise FileNotFoundError(f"there is no file {line.path!r}. Check the path, or give --data-base-dir.")
        return Example(_read_bytes(path), line.label, line.path if options.save_filename else "")
    except (OSError, tf.errors.OpError) as error:
        raise FileNotFoundError(f"{line.path!r} cannot be read ({files.one_line(error)}).") from None


def _examine(item: tuple[int, AnnotationLine | Example], source: str, options: BuildOptions) -> Example | Drop:
    """Check one line or record: a record ready to be written, or why not."""
    number, line = item
    is_line = isinstance(line, AnnotationLine)
    number = line.lineno if is_line else number
    if line.label is None and options.label_from_filename:
        return Drop(source, number, NO_LABEL, f"the name {line.path!r} is not UTF-8. Rename the file.")
    if line.label is None:
        return Drop(source, number, NO_LABEL, f"{line.path!r} has no label. Write 'path label'.")
    label = normalise(line.label.upper()) if options.force_uppercase else line.label
    if options.charset and (missing := options.charset.missing(label)):
        error = CharsetError(missing, label, "Add them to the charset, or drop the line.")
        return Drop(source, number, OUTSIDE, str(error))
    if options.max_prediction is not None and len(label) > options.max_prediction:
        return Drop(source, number, TOO_LONG, f"{label!r} has {len(label)} characters")
    try:
        example = _load(line, source, options) if is_line else line
        image = canonical_image(example.image, line.path if is_line else f"record {number}")
        return Example(_decodable(image.data), label, example.comment, image.width, image.height)
    except FileNotFoundError as error:
        return Drop(source, number, MISSING, str(error))
    except ImageError as error:
        return Drop(source, number, BAD_IMAGE if example.image else ZERO_SIZE, str(error))


def _decodable(data: bytes) -> bytes:
    """The image as it is where TensorFlow can decode it; a damaged JPEG that only Pillow can read as PNG."""
    if not data.startswith(b"\xff\xd8"):
        return data
    try:
        tf.io.decode_jpeg(data)
        return data
    except tf.errors.InvalidArgumentError:
        return as_png(data)


def _in_parallel(items: Iterable, work: Callable) -> Iterator:
    """`work` on each item in a few threads; results in order, few waiting."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > 16 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


class _Tally:
    """Counts what goes by, and finds equal images at the end: 24 bytes an image and each label once."""

    def __init__(self, report: BuildReport):
        self.report = report
        self._digests, self._numbers = array("Q"), array("Q")
        self._labels: list[str] = []
        self._known: dict[str, str] = {}

    def add(self, number: int, example: Example) -> None:
        report = self.report
        report.num_images += 1
        report.symbols.update(example.label)
        report.lengths[len(example.label)] += 1
        report.widths[example.width] += 1
        report.network_widths[-(-example.width * IMAGE_HEIGHT // example.height)] += 1
        digest = hashlib.blake2b(example.image, digest_size=8).digest()
        self._digests.append(int.from_bytes(digest, "little"))
        self._numbers.append(number)
        self._labels.append(self._known.setdefault(example.label, example.label))

    def compare(self) -> None:
        """Enter into the report which images equal an earlier one."""
        digests = np.array(self._digests, np.uint64)
        order = np.argsort(digests, kind="stable")  # equal images side by side, the first of them first
        starts = np.flatnonzero(np.diff(digests[order], prepend=~digests[order[:1]]))
        first = np.empty_like(order)
        first[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
        for later in np.flatnonzero(first != np.arange(len(first))).tolist():
            before = int(first[later])
            label, other = self._labels[before], self._labels[later]
            if label == other:
                self.report.num_repeats += 1
            else:
                self.report.conflicts.append((self._numbers[before], label, self._numbers[later], other))


def build_records(
    source: str, output: str, options: BuildOptions, progress: Callable[[int], None] | None = None
) -> BuildReport:
    """Write the usable lines of a source as records.

    Args:
      source: annotation file, TFRecord file (or a glob or stem of several, whose records are numbered through), or
        (with `label_from_filename`) a folder.
      output: path of the TFRecord file, or stem of the shards; it appears only when all is done.
      options: how.
      progress: called with the number of lines seen after each.

    Raises:
      AnnotationError: the source is missing, empty, not UTF-8, or has no usable line; or, when strict, a line.
      DatasetError: a TFRecord is damaged or another program's, or the output cannot be written.
    """
    report = BuildReport(source)
    tally = _Tally(report)
    with RecordWriter(output, options.shards) as writer:
        items = enumerate(_lines(source, options), 1)
        results = _in_parallel(items, lambda item: _examine(item, source, options))
        for seen, ((number, line), result) in enumerate(results, 1):
            if isinstance(result, Drop):
                if options.strict:
                    raise AnnotationError(source, result.number, f"{result.reason}: {result.detail}")
                report.drops.append(result)
            else:
                writer.write(result)
                tally.add(line.lineno if isinstance(line, AnnotationLine) else number, result)
            if progress:
                progress(seen)
        if not report.num_images:
            first = f" The first: {report.drops[0].detail}" if report.drops else ""
            raise AnnotationError(source, None, f"has no usable line ({len(report.drops)} left out).{first}")
    tally.compare()
    report.paths = writer.paths
    return report
