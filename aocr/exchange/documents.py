"""Write readings as documents of libraries and archives: ALTO, hOCR and PAGE XML, one for each image."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from math import prod

from aocr import __version__, files
from aocr.data.regions import Corners, bounds, box
from aocr.errors import AocrError, ConfigError
from aocr.results import Character, Prediction

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Line:
    """A text and its place on the page."""

    prediction: Prediction
    """What was read."""
    region: Corners = ()
    """Its corners on the page; (): the whole page. Characters of a polygon are placed in its bounding box."""


@dataclass
class Page:
    """An image with the texts that were read on it."""

    path: str
    """Path of the image."""
    width: int
    """Width in pixels, upright."""
    height: int
    """Height in pixels, upright."""
    lines: list[Line] = field(default_factory=list)
    """Its texts, in the order in which they were read."""

    def outline(self, line: Line) -> Corners:
        """Return the corners of a line."""
        return line.region or box(0, 0, self.width, self.height)


def _edges(corners: Corners) -> tuple[float, float, float, float]:
    """Return the left, upper, right and lower edge of a polygon."""
    (x0, y0), _, (x1, y1), _ = bounds(corners)
    return x0, y0, x1, y1


def _part(corners: Corners, characters: Sequence[Character], width: int) -> Corners:
    """Return the corners of some characters of a line whose image is `width` pixels wide."""
    left = min(character.x0 for character in characters) / max(width, 1)
    right = max(character.x1 for character in characters) / max(width, 1)

    def along(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
        return tuple(round(a + (b - a) * share, 1) for a, b in zip(start, end, strict=True))  # type: ignore[return-value]

    top, top_end, bottom_end, bottom = corners if len(corners) == 4 else bounds(corners)
    return (
        along(top, top_end, left), along(top, top_end, right),
        along(bottom, bottom_end, right), along(bottom, bottom_end, left),
    )  # fmt: skip


def _words(prediction: Prediction) -> list[list[Character]]:
    groups = groupby(prediction.characters, key=lambda character: character.char.isspace())
    return [list(characters) for is_space, characters in groups if not is_space]


def _text(characters: Sequence[Character]) -> str:
    return "".join(character.char for character in characters)


def _confidence(characters: Sequence[Character]) -> float:
    return min(1.0, prod(character.confidence for character in characters))


def _add(parent: ET.Element, tag: str, text: str = "", /, **attributes: object) -> ET.Element:
    """Append an element; characters that XML does not allow become U+FFFD."""
    values = {name.rstrip("_"): _NOT_XML.sub("\ufffd", str(value)) for name, value in attributes.items()}
    child = ET.SubElement(parent, tag, values)
    child.text = _NOT_XML.sub("\ufffd", text) or None
    return child


def _points(corners: Corners) -> str:
    return " ".join(f"{max(0, round(x))},{max(0, round(y))}" for x, y in corners)


def _alto_box(corners: Corners) -> dict[str, str]:
    x0, y0, x1, y1 = _edges(corners)
    return {"HPOS": f"{x0:.10g}", "VPOS": f"{y0:.10g}", "WIDTH": f"{x1 - x0:.6g}", "HEIGHT": f"{y1 - y0:.6g}"}


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
    for number, line in enumerate(page.lines, 1):
        prediction, corners = line.prediction, page.outline(line)
        box = _alto_box(corners)
        row = _add(_add(space, "TextBlock", ID=f"block_{number}", **box), "TextLine", ID=f"line_{number}", **box)
        _add(_add(row, "Shape"), "Polygon", POINTS=_points(corners))
        words = _words(prediction)
        if not words:
            _add(row, "String", CONTENT="", WC=f"{min(1.0, prediction.confidence):.4f}", **box)
        for i, word in enumerate(words):
            if i:
                _add(row, "SP")
            place = _alto_box(_part(corners, word, prediction.image_width))
            string = _add(row, "String", CONTENT=_text(word), WC=f"{_confidence(word):.4f}", **place)
            for character in word:
                place = _alto_box(_part(corners, [character], prediction.image_width))
                _add(string, "Glyph", CONTENT=character.char, GC=f"{_confidence([character]):.4f}", **place)
    ET.indent(root)
    return root


def page_xml(page: Page) -> ET.Element:
    """Return a page in PAGE XML 2019-07-15 (https://github.com/PRImA-Research-Lab/PAGE-XML)."""
    space = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
    root = ET.Element("PcGts", {"xmlns": space})
    metadata = _add(root, "Metadata")
    _add(metadata, "Creator", f"aocr {__version__}")
    for tag in ("Created", "LastChange"):
        _add(metadata, tag, datetime.now(UTC).isoformat(timespec="seconds"))
    paper = _add(root, "Page", imageFilename=page.path, imageWidth=page.width, imageHeight=page.height)

    def add_text(parent: ET.Element, text: str, confidence: float) -> None:
        _add(_add(parent, "TextEquiv", conf=f"{min(1.0, confidence):.4f}"), "Unicode", text)

    def add_box(parent: ET.Element, tag: str, id: str, corners: Corners) -> ET.Element:
        child = _add(parent, tag, id=id)
        _add(child, "Coords", points=_points(corners))
        return child

    for number, line in enumerate(page.lines, 1):
        prediction, corners = line.prediction, page.outline(line)
        row = add_box(add_box(paper, "TextRegion", f"region_{number}", corners), "TextLine", f"line_{number}", corners)
        for i, word in enumerate(_words(prediction), 1):
            id = f"line_{number}_word_{i}"
            element = add_box(row, "Word", id, _part(corners, word, prediction.image_width))
            for k, character in enumerate(word, 1):
                place = _part(corners, [character], prediction.image_width)
                add_text(add_box(element, "Glyph", f"{id}_glyph_{k}", place), character.char, character.confidence)
            add_text(element, _text(word), _confidence(word))
        add_text(row, prediction.text, prediction.confidence)
    ET.indent(root)
    return root


def hocr(page: Page) -> ET.Element:
    """Return a page in hOCR 1.2 (https://kba.github.io/hocr-spec/1.2/), with characters as Tesseract writes them."""
    root = ET.Element("html", {"xmlns": "http://www.w3.org/1999/xhtml"})
    head = _add(root, "head")
    _add(head, "title", page.path)
    _add(head, "meta", name="ocr-system", content=f"aocr {__version__}")
    _add(head, "meta", name="ocr-capabilities", content="ocr_page ocr_line ocrx_word ocrx_cinfo")

    def edges(corners: Corners) -> str:
        return " ".join(f"{max(0, round(value))}" for value in _edges(corners))

    image = page.path.replace('"', "%22")
    title = f'image "{image}"; bbox 0 0 {page.width} {page.height}; ppageno 0'
    paper = _add(_add(root, "body"), "div", class_="ocr_page", id="page_1", title=title)
    for number, line in enumerate(page.lines, 1):
        prediction, corners = line.prediction, page.outline(line)
        poly = _points(corners).replace(",", " ")
        title = f"bbox {edges(corners)}; poly {poly}; x_wconf {100 * min(1.0, prediction.confidence):.0f}"
        row = _add(paper, "span", class_="ocr_line", id=f"line_1_{number}", title=title)
        row.tail = "\n"
        for i, word in enumerate(_words(prediction), 1):
            title = f"bbox {edges(_part(corners, word, prediction.image_width))}; x_wconf {100 * _confidence(word):.0f}"
            element = _add(row, "span", class_="ocrx_word", id=f"word_1_{number}_{i}", title=title)
            element.tail = " "
            for character in word:
                place = edges(_part(corners, [character], prediction.image_width))
                title = f"x_bboxes {place}; x_conf {100 * _confidence([character]):.2f}"
                _add(element, "span", character.char, class_="ocrx_cinfo", title=title)
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

    def add(self, path: str, width: int, height: int, line: Line) -> None:
        """Add a reading to the document of its image; those of an image come one after the other."""
        if not self._page or self._page.path != path:
            self.close()
            self._page = Page(path, width, height)
        self._page.lines.append(line)

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
