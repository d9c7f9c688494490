"""CSV and TSV tables, with or without a header: which columns are the image and its text."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from aocr.config import PLAIN
from aocr.data.annotations import AnnotationLine, is_image_name, split_line
from aocr.data.formats.source import Source
from aocr.data.regions import Corners, bounds, box, pairs
from aocr.errors import AnnotationError
from aocr.text.charset import normalise

PATHS = (
    "path", "image", "file", "filename", "file_name", "image_path", "img", "img_path", "image_name", "img_name",
    "image_file", "filepath", "file_path", "imagepath", "imgpath", "images", "name",
)  # fmt: skip
"""Names of a column of paths."""
TEXTS = (
    "text", "label", "labels", "word", "words", "plate_text", "plate", "transcription", "transcript", "ground_truth",
    "groundtruth", "gt", "sentence", "value", "string", "caption",
)  # fmt: skip
"""Names of a column of texts."""
_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
_ENDS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_BOXES = (("x", "y", "w", "h"), ("x", "y", "width", "height"), ("left", "top", "width", "height"))
"""Names of the columns of a box: corners, two opposite corners, or the top left with width and height."""
DELIMITERS = {",": "comma", ";": "semicolon", "|": "bar", "\t": "TAB"}
SAMPLE = 10_000
"""Lines from the start by which the delimiter is chosen."""
MOST = 0.9
"""Share of the rows that have the same number of columns, if it is a table without a header."""


@dataclass(frozen=True)
class Rows:
    """The rows of a text."""

    text: str
    """The whole file."""
    delimiter: str
    """What separates its columns."""
    quoted: bool
    """Whether quotes are as in CSV."""

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line numbers and cells; raise a csv.Error if quotes are not as in CSV."""
        if not self.quoted:
            lines = enumerate(io.StringIO(self.text, newline=None), 1)
            yield from ((number, line.rstrip("\n").split(self.delimiter)) for number, line in lines if line.strip())
            return
        spaced = self.text.count(f"{self.delimiter} ") * 2 > self.text.count(self.delimiter)
        file = io.StringIO(self.text, newline="")
        reader = csv.reader(file, delimiter=self.delimiter, skipinitialspace=spaced, strict=True)
        number = 1
        for row in reader:
            if any(map(str.strip, row)):
                yield number, row
            number = reader.line_num + 1


def box_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the columns of a box among lower-case names; () if there are none."""
    return next((columns for columns in (_CORNERS, *_ENDS, *_BOXES) if set(columns) <= set(names)), ())


def corners_in(row: Mapping[str, str], columns: tuple[str, ...]) -> Corners:
    """Return the corners of the box in the `columns` of a row; raise a ValueError if it has none."""
    numbers = [float(row[name]) for name in columns if name in row]
    if not numbers or len(numbers) < len(columns) or not all(map(math.isfinite, numbers)):
        raise ValueError
    if columns in _BOXES:
        return box(*numbers)
    return pairs(numbers) if columns == _CORNERS else bounds(pairs(numbers))


class Table(NamedTuple):
    """A table and its columns."""

    rows: Rows
    width: int
    """Number of columns."""
    path: int
    """Column of the image's path, from 0."""
    text: int
    """Column of the text, from 0."""
    has_header: bool

    @property
    def joins_rest(self) -> bool:
        """Whether a text may contain the delimiter, because no text is in quotes."""
        return self.width == 2 and self.path == 0 and not self.rows.quoted


def find_table(source: Source, text: str) -> Table | None:
    """Find the columns of a table; None if the file has lines of `path label`.

    Raises:
      AnnotationError: it is a table, but it is not clear which column is the text.
    """
    lines = [line.rstrip("\n") for line in islice(io.StringIO(text, newline=None), SAMPLE) if line.strip()]
    tabs = sum("\t" in line for line in lines) * 2 > len(lines)
    plain = sum(is_image_name(path) and label is not None for path, label in map(split_line, lines)) * 2 > len(lines)
    typed = typed_columns(source)
    if plain and not tabs:
        if typed and typed != ["1", "2"]:
            raise AnnotationError(source.path, None, "has lines of 'path label' and no columns. Leave --columns out.")
        return None
    for delimiter in "\t" if tabs else sorted(",;|", key=lambda char: -sum(char in line for line in lines)):
        if table := _columns(source, _rows(text, delimiter), typed):
            quotes_paths = table.rows.quoted and sum(line.startswith('"') for line in lines) * 2 > len(lines)
            if tabs and not (typed or table.has_header or table.width > 2 or table.path or quotes_paths):
                return None
            names = next(iter(table.rows))[1] if table.has_header else []
            path, label = (repr(names[i].strip()) if names else str(i + 1) for i in (table.path, table.text))
            rest = " and all that follows" if table.joins_rest and any(len(row) > 2 for _, row in table.rows) else ""
            columns = f"path in column {path}, text in column {label}{rest}"
            source.note(f"read as a table separated by {DELIMITERS[delimiter]}: {columns} (else: --columns PATH,TEXT)")
            if regions := ", ".join(box_columns(_lower(names))):
                source.note(f"cuts each text out of its image by the columns {regions} (else: rename these columns)")
            return table
    return None


def _lower(names: Iterable[str]) -> list[str]:
    return [name.strip().casefold() for name in names]


def typed_columns(source: Source) -> list[str]:
    """Return the two columns of `--columns`; [] if it is not given."""
    typed = [name.strip() for name in source.options.columns.split(",")] if source.options.columns else []
    if typed and (len(typed) != 2 or typed[0] == typed[1]):
        raise AnnotationError(source.path, None, "--columns needs two columns: PATH,TEXT.")
    return typed


def _rows(text: str, delimiter: str) -> Rows:
    """Split a text into rows, by the rules of CSV if it follows them."""
    if re.search(rf'(?:^|[{delimiter}\n\r] ?)"', text):
        rows = Rows(text, delimiter, quoted=True)
        try:
            for _ in rows:
                pass
            return rows
        except csv.Error:
            pass
    return Rows(text, delimiter, quoted=False)


def _columns(source: Source, rows: Rows, typed: Sequence[str]) -> Table | None:
    """Find the columns: by `typed` names or numbers, by the header's names, or by the content."""
    first = next(row for _, row in rows)
    widths, images, num = Counter[int](), Counter[int](), 0
    for _, row in rows:
        num += 1
        widths[len(row)] += 1
        images.update(i for i, cell in enumerate(row) if is_image_name(cell))
    names = _lower(first)
    is_named = not any(map(is_image_name, first))
    paths = [i for i, count in images.items() if count * 2 > num - is_named]
    if typed:
        path, text = (_typed_column(source, name, names) for name in typed)
        has_header = not all(map(str.isdecimal, typed)) or (bool(images[path]) and not is_image_name(first[path]))
        return Table(rows, len(first), path, text, has_header)
    has_header = is_named and ((bool(paths) and rows.delimiter != "\t") or not {*PATHS, *TEXTS}.isdisjoint(names))
    width, count = (len(first), num) if has_header else widths.most_common(1)[0]
    known = [i for i, name in enumerate(names) if has_header and name in PATHS and (i in paths or not paths)]
    if not paths and not (known and not {*TEXTS}.isdisjoint(names)):
        return None
    path = (known or paths)[0]
    if count < MOST * num and path == 0:
        width = 2  # the texts of the second column contain the delimiter
    if width < 2:
        return None
    texts = [i for i, name in enumerate(names) if has_header and i != path and name in TEXTS]
    texts = texts if texts or width > 2 else [1 - path]
    if len(texts) != 1:
        shown = ", ".join(repr(cell.strip()[:40]) for cell in first[:9])
        example = f"{first[path].strip()},NAME" if has_header else f"{path + 1},N"
        reason = f"is a table of {width} columns ({shown}). Say which is the text: --columns {example}."
        if rows.delimiter == "\t":
            reason += f" If the text is all after the first TAB: --columns {PLAIN}."
        raise AnnotationError(source.path, None, reason)
    return Table(rows, width, path, texts[0], has_header)


def _typed_column(source: Source, name: str, names: Sequence[str]) -> int:
    if name.casefold() in names:
        return names.index(name.casefold())
    if name.isdecimal() and 1 <= int(name) <= len(names):
        return int(name) - 1
    shown = ", ".join(map(repr, names[:20]))
    raise AnnotationError(source.path, None, f"has no column {name!r} (--columns). Its first row: {shown}.")


def read_table(table: Table) -> Iterator[AnnotationLine]:
    """Yield the rows below the header."""
    rows = iter(table.rows)
    names = _lower(next(rows)[1]) if table.has_header else []
    region_columns = box_columns(names)
    for number, row in rows:
        if len(row) > 2 and table.joins_rest:
            row = [row[0], table.rows.delimiter.join(row[1:])]
        path = row[table.path].strip() if table.path < len(row) else ""
        label = row[table.text] if table.text < len(row) else None
        if len(row) > table.width:
            reason = f"has {len(row)} columns in place of {table.width}. Put quotes around a text with commas."
            yield AnnotationLine(path, None, number, unusable=reason)
        elif any("\ud800" <= char <= "\udfff" for char in f"{path}{label}"):
            yield AnnotationLine("", None, number, "the line is not UTF-8. Save the file as UTF-8.")
        else:
            try:
                region = corners_in(dict(zip(names, row, strict=False)), region_columns) if region_columns else ()
            except ValueError:
                reason = f"has no numbers in the columns {', '.join(region_columns)}."
                yield AnnotationLine(path, None, number, unusable=reason)
                continue
            yield AnnotationLine(path, None if label is None else normalise(label), number, region=region)
