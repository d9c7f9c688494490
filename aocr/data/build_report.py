"""The report of a build: number, symbols and sizes of the images, and the lines left out, with reasons."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from aocr import files
from aocr.config import IMAGE_HEIGHT, LINE_HEIGHTS, width_at
from aocr.data import automatic
from aocr.data.doubtful import doubts
from aocr.data.records import Example
from aocr.errors import DatasetError, escape_control
from aocr.report.lines import pluralise
from aocr.text.charset import Charset

NUM_NAMED = 3
"""Lines named in the summary for each reason."""
MIN_PIXELS = 2
"""Width of a character in pixels below which the network can hardly read it."""
MIN_EXAMPLES, MANY_SYMBOLS = 10, 100
"""Occurrences of a symbol below which it is rare, and number of rare symbols from which on a warning is printed."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A line or record that was left out."""

    where: str
    """The file."""
    number: int
    """Number of the line or record, from 1."""
    reason: str
    """The reason in a few words; dropped lines are counted by it."""
    detail: str
    """The whole explanation in one line."""

    def __str__(self) -> str:
        return f"{self.where}:{self.number}: {self.reason}: {self.detail}"


@dataclass
class BuildReport:
    """Counts over the lines of a source."""

    source: str
    """The source of the records."""
    paths: list[str] = field(default_factory=list)
    """The files written."""
    num_images: int = 0
    """Records written."""
    drops: list[Drop] = field(default_factory=list)
    """Lines left out."""
    symbols: Counter = field(default_factory=Counter)
    """Symbol -> number of times it occurs in the labels."""
    lengths: Counter = field(default_factory=Counter)
    """Label length -> number of labels."""
    widths: Counter = field(default_factory=Counter)
    """Image width in pixels -> number of images."""
    network_widths: Counter = field(default_factory=Counter)
    """Width at height 32 -> number of images."""
    conflicts: list[tuple[int, str, int, str]] = field(default_factory=list)
    """(line, label, line, label) of equal images with different labels."""
    blanks: list[tuple[int, str]] = field(default_factory=list)
    """(line, label) of images that show nothing but have a label."""
    num_repeats: int = 0
    """Images that equal an earlier one with the same label."""
    num_empty: int = 0
    """Records with an empty label."""
    doubts: list[str] = field(default_factory=list)
    """What is doubtful in the labels."""
    lines: tuple[int, int] = (1, 0)
    """Estimated lines of text in the images, and number of images with several lines."""
    is_upright: bool = False
    """Whether most texts may run upwards or downwards."""
    narrow: list[int] = field(default_factory=list)
    """Numbers of the lines whose image has fewer than `MIN_PIXELS` of width a character at the network's input."""

    @property
    def num_dropped(self) -> dict[str, int]:
        """Reason -> number of lines left out."""
        return dict(Counter(drop.reason for drop in self.drops))

    def _conflict_lines(self) -> list[str]:
        return [
            f"{self.source}:{a} and :{b}: the same image is labelled {first!r} and {second!r}"
            for a, first, b, second in self.conflicts
        ]

    def _blank_lines(self) -> list[str]:
        return [
            f"{self.source}:{number}: the image shows nothing (one colour), but its label is {label!r}"
            for number, label in self.blanks
        ]

    def summary(self) -> list[str]:
        """Return the report as lines of text."""
        more = f" ... ({len(self.paths)} files)" if len(self.paths) > NUM_NAMED else ""
        paths = ", ".join(self.paths[:NUM_NAMED]) + more
        charset = Charset("".join(sorted(self.symbols))).describe() if self.symbols else "empty"
        lines = [
            f"{pluralise(self.num_images, 'image')} from {self.source}{paths and ' written to '}{paths}",
            f"Charset: {charset}",
            f"Label length: {_spread(self.lengths, 'character')}",
            f"Image width: {_spread(self.widths, 'pixel')}; "
            f"scaled to height {IMAGE_HEIGHT}: {_spread(self.network_widths, 'pixel')}",
        ]
        lines += self._layout()
        if self.num_repeats:
            repeats = pluralise(self.num_repeats, "image")
            lines.append(f"Repeated: {repeats}, the same as an earlier one, with the same label")
        if self.num_empty:
            share = round(100 * self.num_empty / self.num_images)
            lines.append(f"Empty labels: {self.num_empty} of {pluralise(self.num_images, 'image')} ({share} %)")
        for reason, count in self.num_dropped.items():
            lines.append(f"Left out: {count} ({reason})")
            drops = [drop for drop in self.drops if drop.reason == reason][:NUM_NAMED]
            lines += [f"  {drop.where}:{drop.number}: {drop.detail}" for drop in drops]
            if count > NUM_NAMED:
                lines.append(f"  ... and {count - NUM_NAMED} more")
        return [escape_control(line) for line in lines]

    def _layout(self) -> list[str]:
        """Describe what training will do with upright text and texts of several lines."""
        if self.is_upright:
            return ["Most images are higher than wide. aocr train turns them if the text is upright (--turn, --lines)"]
        lines, count = self.lines
        if lines == 1:
            return []
        seen = automatic.LINES_MESSAGE % (count, self.num_images, lines)
        return [f"Lines: {seen}. aocr train reads several (--lines 1: a single one)"]

    def warnings(self) -> list[str]:
        """Describe what is wrong with the data as a whole; equal images with different labels come last."""
        warnings = [f"{self.source}: {doubt}" for doubt in self.doubts]
        if not self.symbols:
            warnings.append(f"{self.source}: every label is empty. Write 'path label' in each line.")
        if self.narrow:
            numbers = ", ".join(map(str, self.narrow[:NUM_NAMED])) + (", ..." if len(self.narrow) > NUM_NAMED else "")
            warnings.append(
                f"{self.source}: {pluralise(len(self.narrow), 'image')} with fewer than {MIN_PIXELS} pixels of width a "
                f"character at the network's input, too few to read them (line {numbers}). Check these labels, or cut "
                "the images into shorter texts."
            )
        rare = sum(count < MIN_EXAMPLES for count in self.symbols.values())
        if rare >= MANY_SYMBOLS:
            warnings.append(
                f"{self.source}: {rare} of {len(self.symbols)} symbols occur fewer than {MIN_EXAMPLES} times and will "
                "hardly be learnt. Add images with them, for example drawn ones (aocr synth)."
            )
        for lines, what in ((self._blank_lines(), "images"), (self._conflict_lines(), "pairs")):
            warnings += lines[: 2 * NUM_NAMED]
            if (more := len(lines) - 2 * NUM_NAMED) > 0:
                warnings.append(f"... and {more} more such {what}")
        return warnings

    def write(self, path: str) -> None:
        """Write every line left out, every blank image and every conflict, one per line."""
        lines = [*map(str, self.drops), *self._blank_lines(), *self._conflict_lines()]
        with files.writing(path, partial(DatasetError, path)):
            files.write(path, "".join(f"{escape_control(line)}\n" for line in lines).encode())


def _spread(counts: Counter, unit: str) -> str:
    """Describe counted values by minimum, median, 95th percentile and maximum, with their unit."""
    if not counts:
        return "none"
    values = np.repeat(sorted(counts), [counts[v] for v in sorted(counts)])
    low, middle, high, top = np.percentile(values, (0, 50, 95, 100), method="nearest")
    if low == top:
        return pluralise(low, unit)
    return f"{low} to {pluralise(top, unit)} (median {middle}; 95 % have {high} or fewer)"


class Tally:
    """Counts records in a report and finds equal images; keeps 40 bytes per image, and each label once."""

    def __init__(self, report: BuildReport):
        self.report = report
        self._digests, self._numbers, self._sizes = array("Q"), array("Q"), array("Q")
        self._labels: list[str] = []
        self._distinct_labels: dict[str, str] = {}

    def add(self, number: int, example: Example) -> None:
        """Count the record of line `number`."""
        report = self.report
        report.num_images += 1
        report.symbols.update(example.label)
        report.lengths[len(example.label)] += 1
        report.widths[example.width] += 1
        report.num_empty += not example.label.strip()
        self._sizes.extend((example.width, example.height))
        report.network_widths[int(width_at(IMAGE_HEIGHT, example.width, example.height))] += 1
        if example.is_blank and example.label:
            report.blanks.append((number, example.label))
        digest = hashlib.blake2b(example.image, digest_size=8).digest()
        self._digests.append(int.from_bytes(digest, "little"))
        self._numbers.append(number)
        self._labels.append(self._distinct_labels.setdefault(example.label, example.label))

    def compare(self) -> None:
        """Add the layout of the text, narrow images, repeated images and conflicting labels to the report."""
        sizes, lengths = np.array(self._sizes, np.int64).reshape(-1, 2), np.array(list(map(len, self._labels)))
        report = self.report
        report.doubts = doubts(self._labels)
        report.is_upright = automatic.is_upright(lengths, sizes)
        sizes = automatic.turned_sizes(sizes, "left" if report.is_upright else "none")
        num_lines, several = automatic.lines_for(lengths, sizes)
        report.lines = num_lines, int(several.sum())
        bands_height = LINE_HEIGHTS.get(num_lines)
        height = bands_height or automatic.height_for(sizes)
        limits = automatic.limits_for(self._labels, sizes, (), bands_height)
        widest = limits["max_width"] * height // limits["max_height"]
        widths = np.minimum(automatic.widths_at(height, sizes), widest)
        is_narrow = widths * num_lines < MIN_PIXELS * lengths
        report.narrow = [self._numbers[i] for i in np.flatnonzero(is_narrow).tolist()]
        _, first, groups = np.unique(np.array(self._digests, np.uint64), return_index=True, return_inverse=True)
        earlier = first[groups]  # (N,) index of the first image with the same digest
        for i in np.flatnonzero(earlier != np.arange(len(earlier))).tolist():
            label, other = self._labels[earlier[i]], self._labels[i]
            if label == other:
                report.num_repeats += 1
            else:
                report.conflicts.append((self._numbers[earlier[i]], label, self._numbers[i], other))
