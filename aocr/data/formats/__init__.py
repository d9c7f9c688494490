"""Read images with their labels from files of other programs: one reader a format, chosen by the content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from aocr import files
from aocr.data.annotations import AnnotationLine
from aocr.errors import AnnotationError

HEAD_BYTES = 1 << 16
"""Bytes from the start of a file by which its format is recognised."""


@dataclass(frozen=True)
class Source:
    """A file or folder that a user names as a dataset."""

    path: str
    """As typed."""

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return files.is_folder(self.path)

    @cached_property
    def head(self) -> bytes:
        """The first `HEAD_BYTES` of a file; nothing of a folder."""
        return b"" if self.is_folder else files.read(self.path, HEAD_BYTES)

    @cached_property
    def data(self) -> bytes:
        """The whole file."""
        return files.read(self.path)


class Format(NamedTuple):
    """A format of labelled images."""

    name: str
    """Its name in messages."""
    matches: Callable[[Source], bool]
    """Whether a source is in this format, by its head or the names in a folder."""
    read: Callable[[Source], Iterator[AnnotationLine]]
    """Yield its images with their labels; raise an AnnotationError if the source is damaged."""


FORMATS: tuple[Format, ...] = ()
"""All formats, the most specific first: the first that matches reads the source."""


def format_of(source: Source) -> Format:
    """Return the format of a source.

    Raises:
      AnnotationError: it is in none of them.
    """
    for candidate in FORMATS:
        if candidate.matches(source):
            return candidate
    raise AnnotationError(source.path, None, "is in no known format. Write one 'path label' a line.")
