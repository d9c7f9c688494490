"""What a reader of a format gets: the source, and how the user says it is to be read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from aocr import files
from aocr.config import DEFAULT_SOURCE, SourceOptions
from aocr.data.annotations import AnnotationLine

log = logging.getLogger("aocr")

HEAD_BYTES = 1 << 16
"""Bytes from the start of a file by which its format is recognised."""


@dataclass(frozen=True)
class Source:
    """A file or folder that a user names as a dataset."""

    path: str
    """As typed."""
    options: SourceOptions = DEFAULT_SOURCE
    """How it is read."""
    _noted: set[str] = field(default_factory=set, compare=False, repr=False)

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

    def note(self, message: str, level: int = logging.INFO) -> None:
        """Log a message about this source once, however often the source is read."""
        if message not in self._noted:
            self._noted.add(message)
            log.log(level, "%s: %s", self.path, message)


class Format(NamedTuple):
    """A format of labelled images."""

    name: str
    """Its name in messages; empty: not worth a message."""
    matches: Callable[[Source], bool]
    """Whether a source is in this format, by its head or the names in a folder."""
    read: Callable[[Source], Iterable[AnnotationLine]]
    """Yield its images with their labels, the same at each call; raise an AnnotationError if the source is damaged."""
