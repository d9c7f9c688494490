"""What building records found: how many images, which symbols and sizes, which lines were left out and why."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from aocr import files
from aocr.config import IMAGE_HEIGHT, width_at
from aocr.data.records import Example
from aocr.errors import DatasetError, escape_control
from aocr.report.lines import pluralise
from aocr.text.charset import Charset

SHOWN = 3
"""Lines named in the summary for each reason."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A line or record that was left out.

    Attributes:
      where: the file.
      number: of the line or record, from 1.
      reason: a few words, by which lines left out are counted.
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
      num_repeats: images that equal an earlier one with the same label.
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
        more = f" ... ({len(self.paths)} files)" if len(self.paths) > SHOWN else ""
        charset = Charset("".join(sorted(self.symbols))).shown(1000) if self.symbols else "empty"
        scaled = f"brought to height {IMAGE_HEIGHT}: {_spread(self.network_widths, 'pixel')}"
        lines = [
            f"{pluralise(self.num_images, 'image')} from {self.source} written to "
            f"{', '.join(self.paths[:SHOWN])}{more}",
            f"Charset: {charset}",
            f"Label length: {_spread(self.lengths, 'character')}",
            f"Image width: {_spread(self.widths, 'pixel')}; {scaled}",
        ]
        if self.num_repeats:
            lines.append(
                f"Repeated: {pluralise(self.num_repeats, 'image')}, the same as an earlier one, with the same label"
            )
        for reason, count in self.num_dropped.items():
            lines.append(f"Left out: {count} ({reason})")
            named = [drop for drop in self.drops if drop.reason == reason][:SHOWN]
            lines += [f"  {drop.where}:{drop.number}: {drop.detail}" for drop in named]
            if count > SHOWN:
                lines.append(f"  ... and {count - SHOWN} more")
        return [escape_control(line) for line in lines]

    def warnings(self) -> list[str]:
        """Labels that are all empty; equal images with different labels, the first few."""
        lines = self._conflict_lines()
        more = len(lines) - 2 * SHOWN
        no_text = f"{self.source}: every label is empty, so nothing can be learnt. Write 'path label' in each line."
        return [
            *([] if self.symbols else [no_text]),
            *lines[: 2 * SHOWN],
            *([f"... and {more} more such pairs"] if more > 0 else []),
        ]

    def write(self, path: str) -> None:
        """Write every line left out and every conflict, one a line.

        Raises:
          DatasetError: the file cannot be written.
        """
        lines = [*map(str, self.drops), *self._conflict_lines()]
        with files.writing(path, partial(DatasetError, path)):
            files.write(path, "".join(f"{escape_control(line)}\n" for line in lines).encode())


def _spread(counts: Counter, unit: str) -> str:
    """Smallest, middle, 95 % and largest of counted values, with their unit."""
    if not counts:
        return "none"
    values = np.repeat(sorted(counts), [counts[v] for v in sorted(counts)])
    low, middle, high, top = np.percentile(values, (0, 50, 95, 100), method="nearest")
    if low == top:
        return pluralise(low, unit)
    return f"{low} to {pluralise(top, unit)} (median {middle}; 95 % have {high} or fewer)"


class Tally:
    """Counts what goes by, and finds equal images at the end: 24 bytes an image and each label once."""

    def __init__(self, report: BuildReport):
        self.report = report
        self._digests, self._numbers = array("Q"), array("Q")
        self._labels: list[str] = []
        self._known: dict[str, str] = {}

    def add(self, number: int, example: Example) -> None:
        """Count a record; `number` is that of its line."""
        report = self.report
        report.num_images += 1
        report.symbols.update(example.label)
        report.lengths[len(example.label)] += 1
        report.widths[example.width] += 1
        report.network_widths[int(width_at(IMAGE_HEIGHT, example.width, example.height))] += 1
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
