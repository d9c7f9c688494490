"""Folders of images: named after their text, with a text file beside each, or sorted by text into subfolders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine, images_in
from aocr.data.formats.source import Source
from aocr.errors import AnnotationError
from aocr.text.charset import normalise


def _images(folder: str) -> list[str]:
    paths = images_in(folder)
    if not paths:
        raise AnnotationError(folder, None, f"contains no images ({', '.join(IMAGE_ENDINGS)}).")
    return paths


def read_filenames(source: Source) -> Iterator[AnnotationLine]:
    """List the images in a folder and its subfolders, sorted, each labelled by the group of the regular expression."""
    pattern = re.compile(source.options.label_from_filename or "")
    for number, path in enumerate(_images(source.path), 1):
        try:
            path.encode()
        except UnicodeEncodeError:  # a name with other bytes is decoded to lone surrogates
            yield AnnotationLine(path, None, number, f"the name {path!r} is not UTF-8. Rename the file.")
            continue
        match = pattern.search(os.path.splitext(os.path.basename(path))[0])
        yield AnnotationLine(path, normalise(match[1]) if match else None, number)
