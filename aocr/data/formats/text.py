"""Text files of `path label` lines, and of other programs' lines: what most lines share is never part of a label."""

from __future__ import annotations

import codecs
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain

from aocr.config import PLAIN
from aocr.data.annotations import (
    IMAGE_ENDINGS,
    AnnotationLine,
    candidate_paths,
    check_text,
    is_image_name,
    is_json_object,
    is_yolo,
    parse_annotations,
)
from aocr.data.formats.source import Source
from aocr.data.formats.tables import Table, find_table, read_table
from aocr.errors import AnnotationError
from aocr.text.charset import normalise

MIN_LINES = 3
"""Lines of which more than half must share a feature for it to belong to the format."""
_NOT_WESTERN = re.compile(r"[ƒ‚ˆ˜]|[^\x00-\x7f„“”‘’«»–…]{3}")
"""What code page 1252 makes of other code pages, and hardly of its own texts."""
_MARKS = "\"',;|{}[]()<>"
_BOXES = re.compile(r"\d+(,\d+){4,}( \d+(,\d+){4,})*")
_ENDINGS = "|".join(map(re.escape, IMAGE_ENDINGS))
_SPACED_PATH = re.compile(rf"(.*?(?:{_ENDINGS}))\s+(.*)", re.IGNORECASE)
_UNREADABLE = "###"
"""Transcription of a region that cannot be read, in PaddleOCR and ICDAR."""


def to_utf8(source: Source, min_lines: int = 2) -> bytes:
    """Return a text file as UTF-8 without BOM; lines that are in no known encoding are left as they are.

    Code page 1252 is assumed if at least `min_lines` lines have other characters than ASCII, none of them is UTF-8,
    and they look like a western language.

    Raises:
      AnnotationError: the file is cut UTF-16.
    """
    data = source.data
    even, odd = data[:2000:2].count(0), data[1:2000:2].count(0)
    utf16 = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
    if not utf16 and max(even, odd) > len(data[:2000]) // 4:
        utf16 = "utf-16-be" if even > odd else "utf-16-le"
    if utf16:
        source.note("read as UTF-16")
        try:
            return data.decode(utf16).encode()
        except UnicodeError:
            raise AnnotationError(source.path, None, "is damaged or cut UTF-16. Save the file as UTF-8.") from None
    data = data.removeprefix(codecs.BOM_UTF8)
    others = [] if data.isascii() else [line for line in data.splitlines() if not line.isascii()]
    if len(others) < min_lines or not all(_is_western(line) for line in others):
        return data
    source.note("is not UTF-8 and is read as Windows code page 1252. Check the labels.", logging.WARNING)
    return data.decode("cp1252").encode()


def _is_western(line: bytes) -> bool:
    """Whether a line is not UTF-8, but a western text in code page 1252."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return not _NOT_WESTERN.search(line.decode("cp1252"))
        except UnicodeDecodeError:
            pass
    return False


def read_text(source: Source) -> Iterable[AnnotationLine]:
    """Read a text file: a table, regions of PPOCRLabel, or lines of `path label`.

    Raises:
      AnnotationError: the file is an image, is empty, or it is not clear which column is the text.
    """
    check_text(source.data, source.path)
    data = to_utf8(source)
    check_text(data, source.path)
    if source.options.columns == PLAIN:
        return Cleaned(lambda: parse_annotations(data, source.path))
    if table := find_table(source, _text(data)):
        rows = replace(table.rows, text=_text(to_utf8(source, min_lines=1)))
        return _cleaned(source, lambda: read_table(table._replace(rows=rows)), table)
    return _cleaned(source, lambda: _join_paths(parse_annotations(data, source.path), source))


def _text(data: bytes) -> str:
    """Decode a table without Excel's first line `sep=;`, which stays as a blank line."""
    return re.sub(r'\A("?)sep=.\1(?=[\r\n])', "", data.decode("utf-8", "surrogateescape"), flags=re.IGNORECASE)


def _join_paths(lines: Iterable[AnnotationLine], source: Source) -> Iterator[AnnotationLine]:
    """Move the rest of a path with spaces from the label to the path, where only that file exists.

    A JSON list of paths, as in PaddleOCR, is a line for each.
    """
    for line in lines:
        if line.path.startswith('["') and line.path.endswith('"]'):
            with suppress(ValueError, RecursionError):
                yield from [replace(line, path=str(path)) for path in json.loads(line.path)]
                continue
        match = line.label and not is_image_name(line.path) and _SPACED_PATH.match(line.label)
        if match and not _exists(line.path, source) and _exists(path := f"{line.path} {match[1]}", source):
            source.note("has paths with spaces. Separate path and label with a TAB.")
            line = replace(line, path=path, label=match[2])
        yield line


def _exists(path: str, source: Source) -> bool:
    return any(map(os.path.isfile, candidate_paths(path, source.path, source.options.data_base_dir)))


@dataclass(frozen=True)
class Cleaned:
    """The lines of a file without what belongs to its format; they can be read again and again."""

    read: Callable[[], Iterable[AnnotationLine]]
    clean: Callable[[AnnotationLine], Iterable[AnnotationLine]] = lambda line: (line,)

    def __iter__(self) -> Iterator[AnnotationLine]:
        return chain.from_iterable(map(self.clean, self.read()))


def _features(line: AnnotationLine) -> Iterator[str]:
    """Yield what may belong to the format instead of to a line's label."""
    label = line.label or ""
    if not label.strip():
        return
    yield "label"
    if label[0].isspace():
        yield "leading"
    if label[-1].isspace():
        yield "trailing"
    label = label.strip()
    if "\t" in label:
        yield "tab"
    yield from (f"{mark}." for mark in _MARKS if label[0] == mark)
    yield from (f".{mark}" for mark in _MARKS if label[-1] == mark)
    if '"' in label:
        inner = _unquoted(label)
        yield "other quote" if inner == label else '"'
        if '"' in inner.replace('""', ""):
            yield "single quote inside"
        elif '"' in inner:
            yield "doubled quote inside"
        if inner != label and ('"' in inner or "\t" in inner):
            yield "needs quotes"
    elif _unquoted(label) != label:
        yield "'"
    if label.startswith("[{") and '"transcription"' in label:
        yield "regions"
    if _BOXES.fullmatch(label):
        yield "boxes"
    if is_json_object(label):
        yield "JSON"
    if is_yolo(label):
        yield "yolo"
    if is_image_name(label):
        yield "image name"
    if label.isdecimal() and line.path.rpartition(".")[0].endswith(f"_{label}"):
        yield "number of the name"


def _unquoted(text: str) -> str:
    """Return a text without the pair of quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _cleaned(source: Source, read: Callable[[], Iterable[AnnotationLine]], table: Table | None = None) -> Cleaned:
    """Take from the labels what most lines share and the images do not show.

    Raises:
      AnnotationError: most labels are boxes or have further columns.
    """
    counts = Counter(chain.from_iterable(map(_features, read())))
    num = counts["label"]
    shared = {feature for feature, count in counts.items() if num >= MIN_LINES and count > num / 2}
    if "tab" in shared:
        reason = f"has a TAB in most texts. Say which columns to read: --columns 1,2, or all of it: --columns {PLAIN}."
        raise AnnotationError(source.path, None, reason)
    if "boxes" in shared:
        raise AnnotationError(source.path, None, "has boxes in place of labels. Give a file of texts.")
    if counts["yolo"] * 2 > num:
        raise AnnotationError(source.path, None, "has YOLO boxes, not texts. Read them with aocr predict --boxes.")
    if counts["JSON"] * 2 > num:
        raise AnnotationError(source.path, None, "has JSON in place of texts. Write the text alone beside each path.")
    if "regions" in shared:
        source.note("read as regions of PPOCRLabel")
        return Cleaned(read, _regions)
    only_doubled = counts["doubled quote inside"] and not counts["single quote inside"]
    by_csv_rules = only_doubled and counts['"'] == counts["needs quotes"] and not counts["other quote"]
    quotes = {mark for mark in "\"'" if mark in shared}
    is_csv = table is not None and table.rows.quoted  # its quotes are gone
    if counts['"'] and (by_csv_rules or source.options.columns) and not is_csv:
        quotes.add('"')
    _report(source, counts, shared, quotes, table)

    def clean(line: AnnotationLine) -> Iterator[AnnotationLine]:
        label = line.label or ""
        if "leading" in shared:
            label = label.lstrip()
        if "trailing" in shared:
            label = label.rstrip()
        if label[:1] in quotes and (inner := _unquoted(label)) != label:
            label = inner.replace('""', '"') if only_doubled else inner
        yield replace(line, label=label) if line.label else line

    return Cleaned(read, clean) if quotes or shared & {"leading", "trailing"} else Cleaned(read)


def _report(source: Source, counts: Counter, shared: set[str], quotes: set[str], table: Table | None) -> None:
    """Log what is taken from the labels, and what looks as if it did not belong to them."""
    num = counts["label"]
    keep = f" To keep them: --columns {PLAIN}." if table is None else ""
    for mark in quotes:
        source.note(f"{counts[mark]} of {num} labels are in quotes ({mark}), which are removed.{keep}")
    if (quoted := counts['"']) and '"' not in quotes and table is None:
        source.note(f"{quoted} of {num} labels are in quotes, which are kept. To remove them: --columns 1,2.")
    for side in sorted(shared & {"leading", "trailing"}):
        source.note(f"{counts[side]} of {num} labels have {side} spaces, which are removed.{keep}")
    for mark in _MARKS:
        for side, where in ((f"{mark}.", "begin"), (f".{mark}", "end")):
            if side in shared and mark not in quotes:
                reason = f"{counts[side]} of {num} labels {where} with {mark}. Remove it if the images do not show it."
                source.note(reason, logging.WARNING)
    if "image name" in shared:
        source.note("most labels are names of images. Choose the columns: --columns PATH,TEXT.", logging.WARNING)
    if "number of the name" in shared:
        warning = "most labels are the number at the end of the image's name, not a text. Check them in an image."
        source.note(warning, logging.WARNING)


def _regions(line: AnnotationLine) -> Iterator[AnnotationLine]:
    """Yield the readable regions of a line of PPOCRLabel."""
    try:
        boxes = json.loads(line.label or "")
        regions = [(str(box["transcription"]), box.get("difficult"), box["points"]) for box in boxes]
        corners = [tuple((float(x), float(y)) for x, y in points) for *_, points in regions]
        if not all(len(points) > 3 and all(map(math.isfinite, chain(*points))) for points in corners):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        yield replace(line, label=None, unusable="is not a list of regions with 'transcription' and 'points'.")
        return
    for (text, difficult, _), points in zip(regions, corners, strict=True):
        if text != _UNREADABLE and not difficult:
            yield replace(line, label=normalise(text), region=points)
