"""Annotation files: one `path label` a line, UTF-8."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from aocr.config import OWN_IMAGES
from aocr.errors import AnnotationError
from aocr.files import is_remote, text_lines, walk
from aocr.text.charset import normalise

log = logging.getLogger("aocr")

_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
"""Endings by which images in a folder are known."""


@dataclass(frozen=True)
class AnnotationLine:
    """One line of an annotation file.

    Attributes:
      path: of the image, as written.
      label: the text in it, NFC; None where the line has no label column or is not UTF-8.
      lineno: number of the line, from 1.
      not_utf8: what is not UTF-8, and what to do; empty where all is.
    """

    path: str
    label: str | None
    lineno: int
    not_utf8: str = ""


def split_line(line: str) -> tuple[str, str | None]:
    """Path and label of a line: split at the first TAB if there is one, else at the first white space.

    After a TAB the label is taken as it stands, spaces at its ends included; after other white space it is
    stripped. It may be empty where the separator is there; without one it is None.
    """
    if "\t" in line:
        path, label = line.split("\t", 1)
        return path.strip(), label
    path, *rest = line.lstrip().split(maxsplit=1)
    if rest:
        return path, rest[0].rstrip()
    return path, "" if line[-1].isspace() else None


def parse_annotations(data: bytes, name: str) -> Iterator[AnnotationLine]:
    """Lines of an annotation file that are not blank.

    Args:
      data: the file's bytes: UTF-8 with or without BOM; LF, CRLF or CR ends a line.
      name: of the file, for messages.

    Raises:
      AnnotationError: the file is an image, or has no line.
    """
    if data.startswith(_IMAGE_STARTS) and b"\0" in data[:64]:  # a path may begin with BM or RIFF too
        raise AnnotationError(name, None, "is an image. Give a text file of 'path label' lines, or a folder.")
    found = False
    for lineno, line in enumerate(text_lines(data), 1):
        if line is None:
            yield AnnotationLine("", None, lineno, "the line is not UTF-8. Save the file as UTF-8.")
        elif line.strip():
            path, label = split_line(line)
            yield AnnotationLine(path, None if label is None else normalise(label), lineno)
        else:
            continue
        found = True
    if not found:
        raise AnnotationError(name, None, "is empty. Write one 'path label' a line.")


def images_in(folder: str) -> list[str]:
    """Paths of the images in a folder and the folders in it, sorted; says which files it passes over.

    Pictures that aocr drew are none: `checkpoints` and `results` may lie among the images that are learnt.
    """
    paths = []
    for base, _, names in walk(folder):
        drawn = {name for name in OWN_IMAGES.keys() & names if OWN_IMAGES[name] in names}
        paths += [os.path.join(base, name) for name in names if name not in drawn]
    paths.sort()
    images = [path for path in paths if path.lower().endswith(IMAGE_ENDINGS)]
    if others := [path for path in paths if not path.lower().endswith(IMAGE_ENDINGS)]:
        endings = Counter(os.path.splitext(path)[1].lower() or "without ending" for path in others)
        told = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        log.info("%s: passed over files whose names do not end as those of images do: %s", folder, told)
    return images


def labels_from_filenames(folder: str) -> Iterator[AnnotationLine]:
    """Images in a folder and the folders in it, sorted; each file's name without ending is its label, literally.

    A counter at a name's end (`word_2.png`) is part of the label too. A path that is not UTF-8 gives no label.

    Raises:
      AnnotationError: there is no image.
    """
    paths = images_in(folder)
    if not paths:
        raise AnnotationError(folder, None, f"holds no image ({', '.join(IMAGE_ENDINGS)}).")
    for number, path in enumerate(paths, 1):
        try:
            path.encode()
        except UnicodeEncodeError:  # the system's bytes stand in it as lone surrogates
            yield AnnotationLine(path, None, number, f"the name {path!r} is not UTF-8. Rename the file.")
        else:
            yield AnnotationLine(path, normalise(os.path.splitext(os.path.basename(path))[0]), number)


def candidate_paths(path: str, annotations: str, data_base_dir: str | None) -> list[str]:
    """Where an image may be: as written, under `data_base_dir`, beside the annotation file, in that order."""
    if os.path.isabs(path) or is_remote(path):
        return [path]
    folders = [data_base_dir] if data_base_dir else []
    return [path, *(os.path.join(folder, path) for folder in (*folders, os.path.dirname(annotations)))]
