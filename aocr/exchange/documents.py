"""Write readings as documents of libraries and archives: ALTO, hOCR and PAGE XML, one for each image."""

from __future__ import annotations

import os
import re
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from typing import NamedTuple

import numpy as np

from aocr import __version__, files
from aocr.data.regions import Corners, bounds, box
from aocr.errors import AocrError, ConfigError
from aocr.results import Character, Prediction

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Page:
    """An image with the texts that were read on it."""

    path: str
    """Path of the image."""
    width: int
    """Width in pixels, upright."""
    height: int
    """Height in pixels, upright."""
    lines: list[tuple[Corners, Prediction]] = field(default_factory=list)
    """Its texts in their order, and the corners of each; (): the whole image."""


class Piece(NamedTuple):
    """A line, word or character at its place on the page."""

    text: str
    """What it reads."""
    confidence: float
    """Its probability, 0 to 1."""
    corners: Corners
    """Its corners in pixels."""
    pieces: Sequence[Piece] = ()
    """The lines of a block, the words of a line, the characters of a word."""


def _piece(characters: Sequence[Character], corners: Corners, prediction: Prediction, is_word: bool = True) -> Piece:
    """Return the piece that some characters of a prediction are; its image has these corners on the page.

    An image that has not four corners is taken as its bounding box.
    """
    size = np.maximum((prediction.image_width, prediction.image_height), 1)
    left, top = (min(getattr(c, name) for c in characters) for name in ("x0", "y0"))
    right, bottom = (max(getattr(c, name) for c in characters) for name in ("x1", "y1"))
    if bottom <= top:
        top, bottom = 0, int(size[1])
    shares = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) / size
    quadrilateral = np.array(corners if len(corners) == 4 else bounds(corners), float)
    u, v = shares[:, :1], shares[:, 1:]
    weights = np.hstack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v])  # bilinear, of the four corners
    place = tuple((round(x, 1), round(y, 1)) for x, y in (weights @ quadrilateral).tolist())
    text = "".join(character.char for character in characters)
    confidence = min(1.0, prod(character.confidence for character in characters))
    pieces = [_piece([character], corners, prediction, False) for character in characters] if is_word else ()
    return Piece(text, confidence, place, pieces)


def _line(characters: Sequence[Character], corners: Corners, prediction: Prediction) -> Piece:
    """Return a line: its characters, split into words at white space."""
    groups = groupby(characters, key=lambda character: character.char.isspace())
    words = [_piece(list(word), corners, prediction) for is_space, word in groups if not is_space]
    line = _piece(characters, corners, prediction, False)
    return line._replace(text=line.text.strip(), pieces=words)


def _block(corners: Corners, prediction: Prediction) -> Piece:
    """Return a text as a block of lines; the characters of a line have the same upper and lower edge."""

    def line_edges(char: Character) -> tuple[float, float] | None:
        if prediction.bands == 1:
            return None
        return (char.y0, char.y1) if prediction.turn == "none" else (char.x0, char.x1)

    rows = [list(row) for _, row in groupby(prediction.characters, line_edges)]
    lines = [_line(row, corners, prediction) for row in rows if any(not char.char.isspace() for char in row)]
    whole = Piece(prediction.text, min(1.0, prediction.confidence), corners)
    if len(lines) < 2:  # the line is the whole text
        lines = [whole._replace(pieces=lines[0].pieces if lines else ())]
    return whole._replace(pieces=lines)


def _blocks(page: Page) -> Iterator[tuple[int, Piece]]:
    """Yield the texts of a page as blocks, numbered from 1."""
    for number, (region, prediction) in enumerate(page.lines, 1):
        yield number, _block(region or box(0, 0, page.width, page.height), prediction)


def _add(parent: ET.Element, tag: str, text: str = "", /, **attributes: object) -> ET.Element:
    """Append an element; characters that XML does not allow become U+FFFD."""
    values = {name.rstrip("_"): _NOT_XML.sub("\ufffd", str(value)) for name, value in attributes.items()}
    child = ET.SubElement(parent, tag, values)
    child.text = _NOT_XML.sub("\ufffd", text) or None
    return child


def _points(piece: Piece) -> str:
    return " ".join(f"{max(0, round(x))},{max(0, round(y))}" for x, y in piece.corners)


def alto(page: Page) -> ET.Element:
    """Return a page in ALTO 4.4 (https://www.loc.gov/standards/alto/)."""
    root = ET.Element("alto", {"xmlns": "http://www.loc.gov/standards/alto/ns-v4#", "SCHEMAVERSION": "4.4"})
    description = _add(root, "Description")
    _add(description, "MeasurementUnit", "pixel")
    _add(_add(description, "sourceImageInformation"), "fileName", page.path)
    software = _add(_add(description, "Processing", ID="aocr"), "processingSoftware")
    _add(software, "softwareName", "aocr")
    _add(software, "softwareVersion", __version__)
    size = {"WIDTH": page.width, "HEIGHT": page.height}
    paper = _add(_add(root, "Layout"), "Page", ID="page", PHYSICAL_IMG_NR=1, **size)
    space = _add(paper, "PrintSpace", HPOS=0, VPOS=0, **size)

    def edges(piece: Piece) -> dict[str, str]:
        (x0, y0), _, (x1, y1), _ = bounds(piece.corners)
        return {"HPOS": f"{x0:.10g}", "VPOS": f"{y0:.10g}", "WIDTH": f"{x1 - x0:.6g}", "HEIGHT": f"{y1 - y0:.6g}"}

    for number, block in _blocks(page):
        parent = _add(space, "TextBlock", ID=f"block_{number}", **edges(block))
        for n, line in enumerate(block.pieces, 1):
            row = _add(parent, "TextLine", ID=f"line_{number}_{n}", **edges(line))
            _add(_add(row, "Shape"), "Polygon", POINTS=_points(line))
            for i, word in enumerate(line.pieces or [line]):  # a line needs a string
                if i:
                    _add(row, "SP")
                string = _add(row, "String", CONTENT=word.text.strip(), WC=f"{word.confidence:.4f}", **edges(word))
                for glyph in word.pieces:
                    _add(string, "Glyph", CONTENT=glyph.text, GC=f"{glyph.confidence:.4f}", **edges(glyph))
    ET.indent(root)
    return root


def page_xml(page: Page) -> ET.Element:
    """Return a page in PAGE XML 2019-07-15 (https://github.com/PRImA-Research-Lab/PAGE-XML)."""
    space = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
    root = ET.Element("PcGts", {"xmlns": space})
    metadata = _add(root, "Metadata")
    _add(metadata, "Creator", f"aocr {__version__}")
    for tag in ("Created", "LastChange"):
        _add(metadata, tag, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    paper = _add(root, "Page", imageFilename=page.path, imageWidth=page.width, imageHeight=page.height)

    def add_piece(parent: ET.Element, tags: Sequence[str], id: str, piece: Piece) -> None:
        element = _add(parent, tags[0], id=id)
        _add(element, "Coords", points=_points(piece))
        for number, inner in enumerate(piece.pieces, 1):
            add_piece(element, tags[1:], f"{id}_{number}", inner)
        _add(_add(element, "TextEquiv", conf=f"{piece.confidence:.4f}"), "Unicode", piece.text)

    for number, block in _blocks(page):
        region = _add(paper, "TextRegion", id=f"region_{number}")
        _add(region, "Coords", points=_points(block))
        for n, line in enumerate(block.pieces, 1):
            add_piece(region, ("TextLine", "Word", "Glyph"), f"line_{number}_{n}", line)
    ET.indent(root)
    return root


def hocr(page: Page) -> ET.Element:
    """Return a page in hOCR 1.2 (https://kba.github.io/hocr-spec/1.2/), with characters as Tesseract writes them."""
    root = ET.Element("html", {"xmlns": "http://www.w3.org/1999/xhtml"})
    head = _add(root, "head")
    _add(head, "title", page.path)
    _add(head, "meta", name="ocr-system", content=f"aocr {__version__}")
    _add(head, "meta", name="ocr-capabilities", content="ocr_page ocr_line ocrx_word ocrx_cinfo")
    image = page.path.replace('"', "%22")
    title = f'image "{image}"; bbox 0 0 {page.width} {page.height}; ppageno 0'
    paper = _add(_add(root, "body"), "div", class_="ocr_page", id="page_1", title=title)

    def edges(piece: Piece) -> str:
        start, _, end, _ = bounds(piece.corners)
        return " ".join(f"{max(0, round(value))}" for value in (*start, *end))

    lines = (line for _, block in _blocks(page) for line in block.pieces)
    for number, line in enumerate(lines, 1):
        title = f"bbox {edges(line)}; poly {_points(line).replace(',', ' ')}; x_wconf {100 * line.confidence:.0f}"
        row = _add(paper, "span", class_="ocr_line", id=f"line_1_{number}", title=title)
        row.tail = "\n"
        for i, word in enumerate(line.pieces, 1):
            title = f"bbox {edges(word)}; x_wconf {100 * word.confidence:.0f}"
            element = _add(row, "span", class_="ocrx_word", id=f"word_1_{number}_{i}", title=title)
            element.tail = " "
            for glyph in word.pieces:
                title = f"x_bboxes {edges(glyph)}; x_conf {100 * glyph.confidence:.2f}"
                _add(element, "span", glyph.text, class_="ocrx_cinfo", title=title)
    return root


DOCUMENTS = {"alto": (alto, ".xml"), "hocr": (hocr, ".hocr"), "page": (page_xml, ".xml")}
"""Format -> the function that makes its root element, and the extension of its files."""


def document(kind: str, page: Page) -> bytes:
    """Return a page as a document in one of `DOCUMENTS`, UTF-8."""
    root = DOCUMENTS[kind][0](page)
    # a browser reads `<span />` in hOCR as a start
    return ET.tostring(root, "utf-8", xml_declaration=True, short_empty_elements=kind != "hocr") + b"\n"


class DocumentWriter:
    """Collects the readings of images; writes a document as soon as all parts of its image are read.

    Args:
      kind: one of `DOCUMENTS`.
      paths: all images.
      folder: where to write one document for each image; None: there is a single image, for standard output.

    Raises:
      ConfigError: there is no folder for several images, or two of them have the same name.
    """

    def __init__(self, kind: str, paths: Sequence[str], folder: str | None):
        self.kind, self.folder = kind, folder
        self._page: Page | None = None
        by_target: dict[str, str] = {}
        for path in paths:
            other = by_target.setdefault(self._target(path), path)
            if other != path and not folder:
                raise ConfigError("--format", kind, "is one document for each image. Add --output-dir DIR.")
            if other != path:
                reason = f"{other} and {path} would have the same document. Read them into two folders."
                raise ConfigError("--output-dir", folder, reason)

    def _target(self, path: str) -> str:
        stem = os.path.splitext(os.path.basename(path))[0]
        return os.path.join(self.folder, stem + DOCUMENTS[self.kind][1]) if self.folder else ""

    def add(self, path: str, width: int, height: int, region: Corners, prediction: Prediction) -> None:
        """Add a reading to the document of its image; those of an image come one after the other."""
        if not self._page or self._page.path != path:
            self.close()
            self._page = Page(path, width, height)
        self._page.lines.append((region, prediction))

    def close(self) -> None:
        """Write the last document."""
        if not self._page:
            return
        data, target = document(self.kind, self._page), self._target(self._page.path)
        self._page = None
        if not self.folder:
            sys.stdout.write(data.decode())
            return
        with files.writing(target):
            files.make_folder(self.folder)
            if files.exists(target) and not re.search(rb"[>\"]aocr[ <]", files.read(target, 1 << 16)):
                raise AocrError(f"{target}: already exists and was not written by aocr. Choose another --output-dir.")
            files.write(target, data)
