"""Read images with their labels from files of other programs: one reader a format, chosen by the content."""

from __future__ import annotations

from aocr.data.annotations import parse_annotations
from aocr.data.formats.source import HEAD_BYTES, Format, Source
from aocr.errors import AnnotationError

__all__ = ["FORMATS", "HEAD_BYTES", "Format", "Source", "format_of"]

TEXT = Format("", lambda source: not source.is_folder, lambda source: parse_annotations(source.data, source.path))

FORMATS: tuple[Format, ...] = (TEXT,)
"""All formats, the most specific first: the first that matches reads the source. `TEXT` matches every file."""


def format_of(source: Source) -> Format:
    """Return the format of a source.

    Raises:
      AnnotationError: it is in none of them.
    """
    for candidate in FORMATS:
        if candidate.matches(source):
            if candidate.name:
                source.note(f"read as {candidate.name}")
            return candidate
    raise AnnotationError(source.path, None, "is in no known format. Write one 'path label' a line.")
