"""PAGE XML and ALTO: the text lines of a page, cut out along their polygons or boxes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from aocr import files
from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine
from aocr.data.formats.images import locate
from aocr.data.formats.source import Format, Source
from aocr.data.regions import NOWHERE, Corners, box, pairs, upright
from aocr.errors import AnnotationError
from aocr.text.charset import normalise

MAX_BYTES = 2**26
"""Maximum size of an XML file; as a tree in memory it is some thirty times larger."""


def _is_xml(source: Source) -> bool:
    return source.head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe\t\r\n ").startswith(b"<")


def is_page(source: Source) -> bool:
    """Whether an XML file is PAGE or ALTO."""
    return bool(re.search(rb"<(\w+:)?(PcGts|alto)\b", source.head.replace(b"\0", b"")))


def parse_xml(data: bytes, name: str) -> Element:
    """Parse XML to a tree of tags without namespaces; entities, which can grow without limit, are refused.

    Raises:
      AnnotationError: it is damaged, declares entities, or has an unknown encoding.
    """

    def refuse(*_) -> None:
        raise AnnotationError(name, None, "declares XML entities, which may fill the memory. Remove its DOCTYPE.")

    tree = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = lambda tag, attributes: tree.start(tag.rpartition(":")[2], attributes)
    parser.EndElementHandler = lambda tag: tree.end(tag.rpartition(":")[2])
    parser.CharacterDataHandler = tree.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return tree.close()
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an unknown encoding
        raise AnnotationError(name, None, f"is damaged XML ({files.one_line(error)}). Export it again.") from None


def _corners(text: str | None) -> Corners:
    """Parse the points of PAGE (`x,y x,y`) or ALTO (also `x y x y`)."""
    try:
        return upright(pairs([float(number) for number in re.split(r"[\s,]+", (text or "").strip())]))
    except ValueError:
        return ()


def _page_text(element: Element) -> str | None:
    """Return the text of a PAGE element: its TextEquiv of the lowest index, else the texts of its words."""

    def rank(equivalent: Element) -> float:
        index = equivalent.get("index", "0")
        return int(index) if index.isdecimal() and len(index) < 9 else 0

    for equivalent in sorted(element.findall("TextEquiv"), key=rank):
        if text := equivalent.findtext("Unicode"):
            return text
    words = [text for word in element.findall("Word") if (text := _page_text(word))]
    return " ".join(words) or None


def _page_lines(page: Element) -> Iterator[tuple[Corners, str | None]]:
    for line in page.iter("TextLine"):
        coords = line.find("Coords")
        if coords is None:
            yield NOWHERE, _page_text(line)
            continue
        # PAGE of 2010 has a Point for each corner
        points = " ".join(f"{point.get('x')},{point.get('y')}" for point in coords.findall("Point"))
        yield _corners(coords.get("points") or points), _page_text(line)


def _alto_text(line: Element) -> str | None:
    """Join the strings of an ALTO line: as its spaces say, or if it has none, with a space where they do not touch."""
    text, has_spaces, end = "", line.find("SP") is not None, None
    for element in line:
        if element.tag == "SP":
            text += " "
        elif element.tag == "HYP":
            text += element.get("CONTENT", "-")
        elif element.tag == "String":
            region = _alto_box(element)
            if text and not has_spaces and (end is None or not region or abs(region[0][0] - end) > 1):
                text += " "
            text += element.get("CONTENT", "")
            end = region[1][0] if region else None
    return text or None


def _alto_box(element: Element) -> Corners:
    try:
        return box(*(float(element.get(name, "")) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")))
    except ValueError:
        return ()


def _alto_lines(page: Element) -> Iterator[tuple[Corners, str | None]]:
    for line in page.iter("TextLine"):
        polygon = line.find("Shape/Polygon")
        yield _corners(polygon.get("POINTS")) if polygon is not None else _alto_box(line), _alto_text(line)


def _pages(source: Source) -> Iterator[tuple[str, Iterator[tuple[Corners, str | None]]]]:
    """Yield the image and the lines of each page of a file."""
    root = parse_xml(files.read_limited(source.path, MAX_BYTES), source.path)
    if root.tag == "PcGts":
        for page in root.iter("Page"):
            yield page.get("imageFilename", ""), _page_lines(page)
    elif root.tag == "alto":
        if (unit := root.findtext("Description/MeasurementUnit", "pixel").strip()) != "pixel":
            raise AnnotationError(source.path, None, f"has its coordinates in {unit}. Export it with pixels.")
        name = root.findtext("Description/sourceImageInformation/fileName", "").strip()
        for page in root.iter("Page"):
            yield name, _alto_lines(page)
    else:
        raise AnnotationError(source.path, None, f"is XML with <{root.tag}>. PAGE XML and ALTO can be read.")


def _beside(path: str) -> str:
    """Find the image with the name of an XML file, or return an empty string."""
    stem = os.path.splitext(path)[0]
    return next((stem + ending for ending in IMAGE_ENDINGS if files.exists(stem + ending)), "")


def read(source: Source) -> Iterator[AnnotationLine]:
    """Yield the text lines of a page in the order of the file; without text they have no label.

    Raises:
      AnnotationError: the file is damaged, of another kind, or has no lines.
    """
    number = 0
    for name, lines in _pages(source):
        path = locate(source.path, name) if name else _beside(source.path)
        if not path:
            raise AnnotationError(source.path, None, "names no image. Put the image beside it, under the same name.")
        for number, (corners, text) in enumerate(lines, number + 1):  # noqa: B020
            label = normalise(text.strip()) if text and text.strip() else None
            yield AnnotationLine(path, label, number, unusable=f"line {number} has no text.", region=corners or NOWHERE)
    if not number:
        raise AnnotationError(source.path, None, "has no text lines. Export it with lines.")


def _in_folder(source: Source) -> list[Source]:
    """List the XML files in a folder, sorted."""
    names = files.names_in(source.path) if source.is_folder else []
    paths = (os.path.join(source.path, name) for name in names if name.lower().endswith(".xml"))
    return [page for path in paths if not (page := Source(path, source.options)).is_folder and is_page(page)]


def _read_folder(source: Source) -> Iterator[AnnotationLine]:
    """Yield the text lines of all pages in a folder, numbered on."""
    lines = (line for page in _in_folder(source) for line in read(page))
    return (replace(line, lineno=number) for number, line in enumerate(lines, 1))


PAGE_XML = Format("PAGE XML or ALTO", _is_xml, read)
PAGE_FOLDER = Format("a folder of PAGE XML or ALTO", lambda source: bool(_in_folder(source)), _read_folder)
