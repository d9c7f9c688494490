"""The regions that a text detector found on an image."""

from __future__ import annotations

import csv
from typing import NamedTuple

from aocr.data.formats.json_files import JSON, entries
from aocr.data.formats.page_xml import PAGE_XML
from aocr.data.formats.source import Source
from aocr.data.formats.tables import PATHS, TEXTS, box_columns, corners_in
from aocr.data.formats.text import to_utf8
from aocr.data.regions import NOWHERE, Corners, box, pairs
from aocr.errors import AnnotationError

_ADVICE = "Write a table with the header image,x,y,w,h; YOLO, COCO, PAGE XML and ALTO can be read too."


class Region(NamedTuple):
    """A region of an image."""

    image: str
    """Path or id of the image, as far as the file says it; otherwise empty."""
    corners: Corners
    """Corners (x, y) in pixels, clockwise from the top left of the text."""
    label: str | None
    """The text in it, if the file has it."""


def _table_region(row: dict[str, str]) -> Region:
    """Read a row of a table with a header; raise a ValueError if it has no box."""
    corners = corners_in(row, box_columns(row))
    image, label = (next((row[key] for key in keys if row.get(key)), None) for keys in (PATHS, TEXTS))
    return Region(image or "", corners, label)


def _bare_region(cells: list[str], size: tuple[int, int] | None) -> Region:
    """Read a row of YOLO (class, then parts of the image's size), or of ICDAR (four corners, perhaps a text).

    Raises:
      ValueError: it is neither.
    """
    try:
        values = [float(cell) for cell in cells[1:]]
    except ValueError:
        values = []
    if not (size and cells[0].isdecimal() and len(values) >= 4 and max(map(abs, values)) <= 2):
        if len(cells) < 8:
            raise ValueError
        return Region("", pairs([float(cell) for cell in cells[:8]]), ",".join(cells[8:]) or None)
    width, height = size
    if len(values) > 5:  # corners
        return Region("", tuple((x * width, y * height) for x, y in pairs(values)), None)
    x, y, w, h = values[:4]  # centre, width, height, and perhaps a confidence
    return Region("", box((x - w / 2) * width, (y - h / 2) * height, w * width, h * height), None)


def _text_regions(source: Source, size: tuple[int, int] | None) -> list[Region]:
    """Read a table with a header, or the lines of YOLO or ICDAR."""
    try:
        lines = to_utf8(source).decode().splitlines()
    except UnicodeDecodeError:
        raise AnnotationError(source.path, None, f"is not UTF-8. {_ADVICE}") from None
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((sign for sign in (",", ";", "\t") if sign in first), " ")
    regions: list[Region] = []
    header: list[str] | None = None
    for lineno, line in enumerate(lines, 1):
        cells = next(csv.reader([" ".join(line.split())] if delimiter == " " else [line], delimiter=delimiter), [])
        if not any(cells):
            continue
        if header is None:
            names = [cell.strip().lower() for cell in cells]
            header = names if {"x1", "xmin", "left", "x"} & set(names) else []
            if header:
                continue
        try:
            regions.append(
                _table_region(dict(zip(header, cells, strict=False))) if header else _bare_region(cells, size)
            )
        except ValueError:
            raise AnnotationError(source.path, lineno, f"{line[:60]!r} is not a region. {_ADVICE}") from None
    return regions


def regions_of(path: str, size: tuple[int, int] | None = None) -> list[Region]:
    """Read the regions of a file in its order: YOLO, a table, COCO or its results, Label Studio, PAGE XML or ALTO.

    Args:
      path: the file.
      size: width and height of the image in pixels, in which YOLO measures.

    Raises:
      AnnotationError: the file is damaged, has no regions, or is in another format.
    """
    source = Source(path)
    if PAGE_XML.matches(source):
        regions = [Region(line.path, line.region, line.label) for line in PAGE_XML.read(source)]
    elif JSON.matches(source):
        regions = [Region(*entry) for entry in entries(source) if entry[1]]
    else:
        regions = _text_regions(source, size)
    regions = [region for region in regions if region.corners != NOWHERE]
    if not regions:
        raise AnnotationError(path, None, f"has no regions. {_ADVICE}")
    return regions
