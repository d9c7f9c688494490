"""Annotation files: UTF-8 text with one `path label` per line."""

from __future__ import annotations

import json
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aocr.config import OWN_IMAGES
from aocr.errors import AnnotationError
from aocr.files import is_remote, text_lines, walk
from aocr.text.charset import MAX_NORMALISED, normalise

log = logging.getLogger("aocr")

_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
"""File name extensions of images in a folder."""


@dataclass(frozen=True)
class AnnotationLine:
    """One line of an annotation file."""

    path: str
    """Path of the image, as written."""
    label: str | None
    """Text in the image, NFC; None if the line has no label column or is not UTF-8."""
    lineno: int
    """Line number, from 1."""
    not_utf8: str = ""
    """Error message if the line is not UTF-8, otherwise empty."""
    image: Callable[[], bytes] | None = None
    """Reads the encoded image, where the source holds it; None: it is read from `path`."""
    unusable: str = ""
    """Why the label is None, if the line's format says more than that there is no label column."""
    region: tuple[tuple[float, float], ...] = ()
    """Corners (x, y) in pixels of the text's part of the image, clockwise from its top left; (): the whole image."""


_YOLO = re.compile(r"\d+(?:\s+(?:[01]|[01]?\.\d+)){4,}")


def is_yolo(text: str) -> bool:
    """Whether every line of a text is a box of YOLO: a class, then four or more parts of the image's size."""
    return "." in text and all(_YOLO.fullmatch(line.strip()) for line in text.splitlines())


def is_json_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return text.startswith("{") and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def is_image_name(name: str) -> bool:
    """Whether a name ends like that of an image; quotes around it, and the numbers of a region, are ignored."""
    return re.sub(r"#[-0-9.,]+$", "", name.strip(" \"'")).lower().endswith(IMAGE_ENDINGS)


def split_line(line: str) -> tuple[str, str | None]:
    """Split a line into path and label: at the first TAB if there is one, otherwise at the first white space.

    After a TAB the label keeps leading and trailing spaces. Without a separator it is None.
    """
    if "\t" in line:
        path, label = line.split("\t", 1)
        return path.strip(), label
    path, *rest = line.lstrip().split(maxsplit=1)
    if rest:
        return path, rest[0].rstrip()
    return path, "" if line[-1].isspace() else None


def check_text(data: bytes, name: str) -> None:
    """Raise an AnnotationError if the bytes of an annotation file are an image, or blank."""
    if data.startswith(_IMAGE_STARTS) and b"\0" in data[:64]:  # a path may start with BM or RIFF too
        raise AnnotationError(name, None, "is an image. Give a text file of 'path label' lines, or a folder.")
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise AnnotationError(name, None, "is empty. Write one 'path label' a line.")


def parse_annotations(data: bytes, name: str) -> Iterator[AnnotationLine]:
    """Parse an annotation file called `name`: UTF-8 with or without BOM; LF, CRLF or CR ends a line.

    Blank lines are skipped.

    Raises:
      AnnotationError: the file is an image, or has no lines.
    """
    check_text(data, name)
    for lineno, line in enumerate(text_lines(data), 1):
        if line is None:
            yield AnnotationLine("", None, lineno, "the line is not UTF-8. Save the file as UTF-8.")
        elif line.strip():
            path, label = split_line(line)
            yield AnnotationLine(path, None if label is None else normalise(label), lineno)


def images_in(folder: str) -> list[str]:
    """List the images in a folder and its subfolders, sorted; log the types of other files.

    Images that aocr writes itself are ignored, for example in a model folder among the training images.
    """
    images, others = [], Counter[str]()
    for base, _, names in walk(folder):
        drawn = {name for name in OWN_IMAGES.keys() & names if OWN_IMAGES[name] in names}
        for name in set(names) - drawn:
            if name.lower().endswith(IMAGE_ENDINGS):
                images.append(os.path.join(base, name))
            else:
                others[os.path.splitext(name)[1].lower() or "without extension"] += 1
    if others:
        counts = ", ".join(f"{count} {ending}" for ending, count in sorted(others.items()))
        log.info("%s: ignored files that do not have the extension of an image: %s", folder, counts)
    return sorted(images)


def path_forms(path: str) -> list[str]:
    """List a path as written and as other programs may write it.

    The others are without quotes around it, with `/` in place of `\\`, and with accents composed or apart.
    """
    bare = path[1:-1] if len(path) > 2 and path[0] == path[-1] and path[0] in "\"'" else path
    forms = [path, bare, bare.replace("\\", "/")]
    if not path.isascii():
        forms += [unicodedata.normalize(form, forms[-1]) for form in ("NFC", "NFD") if len(path) <= MAX_NORMALISED]
    return list(dict.fromkeys(forms))


def candidate_paths(path: str, annotations: str, data_base_dir: str | None) -> list[str]:
    """List the possible paths of an image: as written, in `data_base_dir`, beside the annotation file.

    The forms that other programs may write follow.
    """
    if os.path.isabs(path) or is_remote(path):
        return path_forms(path)
    folders = ["", *([data_base_dir] if data_base_dir else []), os.path.dirname(annotations)]
    return [os.path.join(folder, form) for form in path_forms(path) for folder in folders]
