"""Read images with their labels from files of other programs: one reader a format, chosen by the content."""

from __future__ import annotations

from aocr.data.formats import folders
from aocr.data.formats.archive import ARCHIVE
from aocr.data.formats.json_files import JSON
from aocr.data.formats.lmdb_file import LMDB
from aocr.data.formats.page_xml import PAGE_FOLDER, PAGE_XML
from aocr.data.formats.source import HEAD_BYTES, Format, Source
from aocr.data.formats.text import read_text
from aocr.errors import AnnotationError

__all__ = ["FORMATS", "HEAD_BYTES", "Format", "Source", "format_of"]

FORMATS: tuple[Format, ...] = (
    LMDB,
    ARCHIVE,
    PAGE_XML,
    PAGE_FOLDER,
    JSON,
    Format("a text file beside each image", folders.has_pairs, folders.read_pairs),
    Format("one folder for each text", folders.has_classes, folders.read_classes),
    Format("", lambda source: not source.is_folder, read_text),
)
"""All formats, the most specific first: the first that matches reads the source. The last matches every file."""


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
    raise AnnotationError(source.path, None, folders.advice(source))
