"""Readings as tables and documents: CSV, ALTO, hOCR and PAGE XML, each against its schema where that is at hand."""

import csv
import importlib.util
import io
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import ROOT, assert_clean_failure, run_aocr
from PIL import Image

from aocr.exchange.documents import Page, document
from aocr.report.lines import csv_header, prediction_csv
from aocr.results import Alternative, Character, Prediction

SCHEMAS = Path(os.environ.get("AOCR_SCHEMAS", ROOT.parent / "shared" / "schemas"))
"""Folder of alto-4-4.xsd, page.xsd and xlink.xsd, as their makers publish them."""
TEXT = 'a"<b>  c\x01'
CHARACTERS = tuple(Character(char, 0.9, 10.0 * i, 10.0 * i + 8) for i, char in enumerate(TEXT))
READING = Prediction(TEXT, 0.8, CHARACTERS, image_width=90)
BOX = ((10, 20), (100, 20), (100, 40), (10, 40))
SLANTED = ((-3, 2), (50, 8), (48, 30.5), (-1, 25), (-2, 20))
PAGE = Page('p"<&>\udcff.png', 200, 100, [((), READING), (SLANTED, Prediction("", 0.7)), (BOX, READING)])
EMPTY = Page("empty.png", 20, 10)


def parsed(kind, page=PAGE) -> ET.Element:
    """The document without its namespace."""
    root = ET.fromstring(document(kind, page))
    for element in root.iter():
        element.tag = element.tag.partition("}")[2]
    return root


def schema(name):
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed")
    ocrd = importlib.util.find_spec("ocrd_validators")  # of pip install --no-deps ocrd: page.xsd and xlink.xsd
    folders = [SCHEMAS, *(map(Path, ocrd.submodule_search_locations) if ocrd else [])]
    paths = {path.name: str(path) for folder in folders for path in folder.glob("*.xsd")}
    if name not in paths:
        pytest.skip(f"there is no {name} in {SCHEMAS}")

    class Beside(etree.Resolver):
        def resolve(self, url, _, context):
            return self.resolve_filename(paths.get(url.rpartition("/")[2], url), context)

    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(Beside())
    return etree.XMLSchema(etree.parse(paths[name], parser))


@pytest.mark.parametrize("page", [PAGE, EMPTY], ids=["three lines", "no line"])
@pytest.mark.parametrize("kind, name", [("alto", "alto-4-4.xsd"), ("page", "page.xsd")])
def test_documents_fit_their_schema(kind, name, page):
    rules = schema(name)
    from lxml import etree

    assert rules.validate(etree.fromstring(document(kind, page))), rules.error_log


def test_alto_has_words_and_glyphs_at_their_places():
    root = parsed("alto")
    assert root.findtext(".//fileName") == 'p"<&>\ufffd.png'
    assert root.find(".//Page").get("WIDTH") == "200" and root.findtext(".//MeasurementUnit") == "pixel"
    first, empty, last = root.iter("TextLine")
    assert [string.get("CONTENT") for string in first.iter("String")] == ['a"<b>', "c\ufffd"]
    assert [string.get("CONTENT") for string in empty.iter("String")] == [""]
    words = [[float(word.get(name)) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] for word in last.iter("String")]
    assert words == [[10, 20, 48, 20], [80, 20, 18, 20]]  # one pixel of the part is one of the page
    glyph = last.find(".//Glyph")
    assert (glyph.get("CONTENT"), glyph.get("GC"), glyph.get("WIDTH")) == ("a", "0.9000", "8")
    assert empty.find(".//Polygon").get("POINTS") == "0,2 50,8 48,30 0,25 0,20"
    assert last.find("String").get("WC") == f"{0.9**5:.4f}"


def test_page_xml_has_lines_words_and_glyphs():
    root = parsed("page")
    page = root.find("Page")
    assert (page.get("imageWidth"), page.get("imageHeight")) == ("200", "100")
    lines = list(root.iter("TextLine"))
    assert [line.find("TextEquiv/Unicode").text for line in lines] == ['a"<b>  c\ufffd', None, 'a"<b>  c\ufffd']
    assert lines[2].find("Coords").get("points") == "10,20 100,20 100,40 10,40"
    assert lines[2].find("Word/Glyph/Coords").get("points") == "10,20 18,20 18,40 10,40"
    assert lines[2].find("TextEquiv").get("conf") == "0.8000"


def test_characters_of_a_slanted_part_follow_its_edges():
    diamond = ((0, 50), (100, 0), (110, 20), (10, 70))
    reading = Prediction("ab", 0.5, (Character("a", 1, 0, 45), Character("b", 1, 45, 90)), image_width=90)
    root = parsed("page", Page("p.png", 200, 100, [(diamond, reading)]))
    assert [g.find("Coords").get("points") for g in root.iter("Glyph")] == [
        "0,50 50,25 60,45 10,70",
        "50,25 100,0 110,20 60,45",
    ]


@pytest.mark.parametrize("turn", ["none", "left"])
def test_a_text_of_several_lines_has_a_line_for_each(turn):
    first, second = (0, 40) if turn == "none" else (40, 0)
    places = [(0, first), (20, first), (40, first), (0, second), (20, second)]
    sides = ("x0", "x1", "y0", "y1") if turn == "none" else ("y0", "y1", "x0", "x1")
    characters = tuple(
        Character(char, 0.9, **dict(zip(sides, (along, along + 18, across, across + 30), strict=True)))
        for char, (along, across) in zip("AB 12", places, strict=True)
    )
    size = {"image_width": 80, "image_height": 80}
    page = Page("p.png", 80, 80, [((), Prediction("AB 12", 0.5, characters, bands=3, turn=turn, **size))])
    lines = list(parsed("alto", page).iter("TextLine"))
    assert [[string.get("CONTENT") for string in line.iter("String")] for line in lines] == [["AB"], ["12"]]
    assert [line.get("VPOS" if turn == "none" else "HPOS") for line in lines] == [str(first), str(second)]
    assert [line.find("TextEquiv/Unicode").text for line in parsed("page", page).iter("TextLine")] == ["AB", "12"]
    rows = [part for part in parsed("hocr", page).iter("span") if part.get("class") == "ocr_line"]
    assert ["".join(row.itertext()).strip() for row in rows] == ["AB", "12"]


def test_hocr_has_the_parts_that_its_readers_look_for():
    root = parsed("hocr")
    parts = [(element.get("class"), element.get("title")) for element in root.iter() if element.get("class")]
    assert parts[0] == ("ocr_page", 'image "p%22<&>\ufffd.png"; bbox 0 0 200 100; ppageno 0')
    assert ("ocr_line", "bbox 10 20 100 40; poly 10 20 100 20 100 40 10 40; x_wconf 80") in parts
    assert ("ocrx_cinfo", "x_bboxes 10 20 18 40; x_conf 90.00") in parts
    words = [word for word in root.iter("span") if word.get("class") == "ocrx_word"]
    assert ["".join(word.itertext()) for word in words] == ['a"<b>', "c\ufffd"] * 2
    assert b"<span/>" not in document("hocr", PAGE) and b" />" not in document("hocr", PAGE)


def test_csv_is_quoted_and_cannot_control_the_terminal():
    reading = Prediction('say "a, b"', 0.5, alternatives=(Alternative("\x1b[31m", 0.1),))
    rows = list(csv.reader([csv_header(1), prediction_csv("a,b.png", reading, 0.9)]))
    assert rows == [
        ["path", "text", "confidence", "sure", "text_1", "confidence_1"],
        ["a,b.png", 'say "a, b"', "0.5000", "false", "\\x1b[31m", "0.1000"],
    ]


@pytest.fixture(scope="module")
def images(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(3)]


def test_formats_of_the_command_agree(trained, images, tmp_path):
    def lines(*flags):
        done = run_aocr("predict", *images, "--model-dir", trained, *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout

    plain = [line.split("\t") for line in lines().splitlines()]
    assert lines("--format", "tsv") == lines()
    assert lines("--format", "json") == lines("--json")
    table = list(csv.DictReader(io.StringIO(lines("--format", "csv"))))
    assert [[row["path"], row["text"], row["confidence"]] for row in table] == plain
    assert lines("--format", "alto", "--output-dir", tmp_path / "out") == ""
    for path, text, _ in plain:
        root = ET.parse(tmp_path / "out" / f"{path.rpartition('/')[2][:-4]}.xml").getroot()
        space = root.tag.removesuffix("alto")
        assert "".join(string.get("CONTENT") for string in root.iter(f"{space}String")) == text
        page = root.find(f".//{space}Page")
        with Image.open(path) as image:
            assert (int(page.get("WIDTH")), int(page.get("HEIGHT"))) == image.size


def test_a_single_document_goes_to_standard_output(trained, images):
    done = run_aocr("predict", images[0], "--model-dir", trained, "--format", "page")
    text = json.loads(run_aocr("predict", images[0], "--model-dir", trained, "--json").stdout)["text"]
    assert done.returncode == 0 and f"<Unicode>{text}</Unicode>" in done.stdout


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--format", "hocr"), ("--format", "one document for each image", "--output-dir")),
        (("--format", "csv", "--json"), ("--json", "contradicts --format csv")),
        (("--output-dir", "o"), ("--output-dir", "needs --format alto")),
        (("--format", "csv", "--attention"), ("--attention", "needs --json")),
    ],
)
def test_flags_that_contradict_each_other(trained, images, flags, words):
    assert_clean_failure(run_aocr("predict", *images, "--model-dir", trained, *flags), *words)


def test_documents_replace_no_other_file_and_keep_their_names_apart(trained, images, tmp_path):
    (tmp_path / "0.xml").write_text("mine")
    flags = ("--model-dir", trained, "--format", "alto", "--output-dir", tmp_path)
    assert_clean_failure(run_aocr("predict", images[0], *flags), "0.xml", "was not written by aocr")
    assert (tmp_path / "0.xml").read_text() == "mine"
    other = tmp_path / "0.png"
    Image.open(images[0]).save(other)
    assert_clean_failure(run_aocr("predict", images[0], other, *flags), "--output-dir", "would have the same document")


def test_an_image_that_cannot_be_read_has_no_document(trained, images, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    done = run_aocr(
        "predict", bad, images[0], "--model-dir", trained, "--format", "alto", "--output-dir", tmp_path / "o"
    )
    assert done.returncode == 1 and "bad.png: is not an image" in done.stderr
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["0.xml"]
