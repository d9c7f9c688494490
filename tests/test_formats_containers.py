"""Formats that hold images or regions: LMDB, JSON, PAGE XML, ALTO, TFRecords of others, archives; and their regions."""

import io
import json
import math
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_clean_failure, run_aocr
from PIL import Image, ImageDraw

from aocr.data.builder import REGION, BuildOptions, build_records
from aocr.data.datasets import open_dataset
from aocr.data.formats import Source, archive, format_of
from aocr.data.formats.boxes import Region, regions_of
from aocr.data.records import read_examples
from aocr.data.regions import box, cut_out, name_region, split_region, upright
from aocr.errors import AnnotationError, AocrError
from aocr.text.charset import Charset

RED, GREEN = (200, 30, 30), (20, 160, 60)


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def word(width: int = 40, colour=RED) -> bytes:
    return encoded(Image.new("RGB", (width, 20), colour))


def turned(x: float, y: float, width: float, height: float, degrees: float) -> list[tuple[float, float]]:
    """Corners of a box turned clockwise around its top left."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in box(0, 0, width, height)]


def page(path: Path, *quads) -> Path:
    """Draw a white page with red quadrilaterals, whose right halves are green."""
    image = Image.new("RGB", (400, 300), "white")
    draw = ImageDraw.Draw(image)
    for quad in quads:
        a, b, c, d = (np.array(corner) for corner in quad)
        draw.polygon([tuple(p) for p in (a, b, c, d)], fill=RED)
        draw.polygon([tuple(p) for p in ((a + b) / 2, b, c, (c + d) / 2)], fill=GREEN)
    image.save(path)
    return path


def is_word(data: bytes, width: int, height: int) -> bool:
    """Whether an image has this size, is red in the middle of the left half and green in that of the right."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    pixels = np.asarray(image, int)
    middles = pixels[image.height // 2, [image.width // 4, 3 * image.width // 4]]
    close = np.abs(np.array(image.size) - (width, height)).max() <= 1
    return bool(close and np.abs(middles - (RED, GREEN)).max() < 20)


BOX, TURNED = [(30, 40), (130, 40), (130, 70), (30, 70)], turned(200, 60, 120, 30, 25)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return page(tmp_path_factory.mktemp("page") / "page.png", BOX, TURNED)


# regions


def test_box_is_cropped_without_change(drawn):
    assert is_word(cut_out(drawn.read_bytes(), box(30, 40, 100, 30), "page"), 100, 30)
    inside = Image.open(io.BytesIO(cut_out(drawn.read_bytes(), box(40, 45, 30, 20), "page")))
    assert inside.getcolors() == [(600, RED)]


@pytest.mark.parametrize("degrees", [-60, -20, 0, 5, 45, 90, 180])
def test_four_corners_are_straightened(tmp_path, degrees):
    quad = turned(200, 150, 100, 30, degrees)
    data = page(tmp_path / "page.png", quad).read_bytes()
    assert is_word(cut_out(data, tuple(quad), "page"), 100, 30)
    anticlockwise = (quad[0], quad[3], quad[2], quad[1])
    assert is_word(cut_out(data, anticlockwise, "page"), 100, 30)


def test_polygon_is_turned_and_its_surroundings_are_filled(tmp_path):
    quad = turned(80, 60, 240, 30, 15)
    path = page(tmp_path / "page.png", quad, turned(84, 24, 240, 30, 15))  # another line close above
    middle = tuple((np.array(quad[0]) + quad[1]) / 2)
    polygon = (quad[2], quad[3], quad[0], middle, quad[1])  # begins at any corner
    cut = cut_out(path.read_bytes(), polygon, "page")
    assert is_word(cut, 240, 30)
    notched = [(30, 40), (80, 60), (130, 40), (130, 70), (30, 70)]
    cut = Image.open(io.BytesIO(cut_out(page(tmp_path / "b.png", BOX).read_bytes(), tuple(notched), "page")))
    assert cut.size == (100, 30)
    assert cut.getpixel((45, 2)) != RED and cut.getpixel((10, 25)) == RED


def test_perspective(tmp_path):
    quad = [(50, 50), (250, 80), (240, 140), (60, 100)]
    assert is_word(cut_out(page(tmp_path / "page.png", quad).read_bytes(), tuple(quad), "page"), 202, 61)


@pytest.mark.parametrize("first", range(4))
def test_upright(first):
    corners = turned(10, 10, 50, 20, 20)
    assert np.allclose(upright(tuple(np.roll(corners, first, 0).tolist())), corners)
    assert np.allclose(upright(tuple(np.roll(corners[::-1], first, 0).tolist())), corners)


@pytest.mark.parametrize("corners", [box(30.5, 40, 100.25, 30), tuple(BOX), tuple(map(tuple, np.round(TURNED, 3)))])
def test_names_of_regions(corners):
    path, again = split_region(name_region("scan #1,2.png", corners))
    assert path == "scan #1,2.png" and np.allclose(again, corners)


@pytest.mark.parametrize("path", ["a.png", "a#1,2,3.png", "a.png#1,2,3", "a.png#1,2,3,4,5", "#1,2,3,4"])
def test_other_paths(path):
    assert split_region(path) == (path, ())


def build(source: Path, **options):
    """Return the records and the report of a source."""
    out = source.parent / f"out-{source.name}.tfrecords"
    report = build_records(str(source), str(out), BuildOptions(**options))
    return list(read_examples(str(out))), report


def test_regions_named_in_paths(drawn, tmp_path):
    named = name_region(str(drawn), tuple(TURNED))
    outside = ["#380,280,100,100", "#-500,0,20,20", "#10,10,0,5", "#1,1,9,9,5,5", "#1,1,1e9,1"]
    lines = [f"{drawn}#30,40,100,30 ONE", f"{named} TWO", *(f"{drawn}{end} LOST" for end in outside)]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    records, report = build(tmp_path / "labels.txt", save_filename=True)
    assert [(record.label, record.comment) for record in records] == [("ONE", f"{drawn}#30,40,100,30"), ("TWO", named)]
    assert is_word(records[0].image, 100, 30) and is_word(records[1].image, 120, 30)
    assert report.num_dropped == {REGION: 4, "missing file": 1}


def test_page_is_decoded_once(drawn, tmp_path, monkeypatch):
    from aocr.data import regions

    opened = []
    decode = regions.picture
    monkeypatch.setattr(regions, "picture", lambda *args: opened.append(1) or decode(*args))
    regions._page.cache_clear()
    (tmp_path / "labels.txt").write_text("".join(f"{drawn}#{x},40,50,30 A{x}\n" for x in range(40)))
    records, _ = build(tmp_path / "labels.txt")
    assert len(records) == 40 and len(opened) == 1


# one file of each format, as its own tools write it


def points(corners, sign=",") -> str:
    return " ".join(f"{x:.0f}{sign}{y:.0f}" for x, y in corners)


def write_page_xml(path: Path) -> None:
    """As Transkribus, OCR-D and kraken write it."""
    turned_points = points([TURNED[2], TURNED[3], TURNED[0], TURNED[1]])
    path.write_text(f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<pc:PcGts xmlns:pc="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15">
<pc:Metadata><pc:Creator>a test</pc:Creator></pc:Metadata>
<pc:Page imageFilename="page.png" imageWidth="400" imageHeight="300">
<pc:TextRegion id="r1"><pc:Coords points="0,0 399,0 399,299 0,299"/>
<pc:TextLine id="l1"><pc:Coords points="{points(BOX)}"/><pc:Baseline points="30,65 130,65"/>
<pc:Word id="w1"><pc:Coords points="30,40 70,40 70,70"/><pc:TextEquiv><pc:Unicode>wrong</pc:Unicode></pc:TextEquiv>
</pc:Word><pc:TextEquiv index="1"><pc:Unicode>second</pc:Unicode></pc:TextEquiv>
<pc:TextEquiv index="0"><pc:Unicode>ONE &amp; ä</pc:Unicode></pc:TextEquiv></pc:TextLine>
<pc:TextLine id="l2"><pc:Coords points="{turned_points}"/>
<pc:Word id="w2"><pc:TextEquiv><pc:Unicode>TWO</pc:Unicode></pc:TextEquiv></pc:Word>
<pc:Word id="w3"><pc:TextEquiv><pc:Unicode>words</pc:Unicode></pc:TextEquiv></pc:Word></pc:TextLine>
<pc:TextLine id="l3"><pc:Coords points="{points(BOX)}"/><pc:TextEquiv><pc:Unicode/></pc:TextEquiv></pc:TextLine>
<pc:TextEquiv><pc:Unicode>the whole region</pc:Unicode></pc:TextEquiv></pc:TextRegion></pc:Page></pc:PcGts>""")


def write_alto(path: Path) -> None:
    x, y, width, height = 30, 40, 100, 30
    path.write_text(f"""<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description><MeasurementUnit>pixel</MeasurementUnit>
<sourceImageInformation><fileName>page.png</fileName></sourceImageInformation></Description>
<Layout><Page WIDTH="400" HEIGHT="300" ID="p"><PrintSpace><TextBlock ID="b">
<TextLine ID="l1" HPOS="{x}" VPOS="{y}" WIDTH="{width}" HEIGHT="{height}">
<String CONTENT="ONE"/><SP WIDTH="3"/><String CONTENT="&amp;"/><SP/><String CONTENT="ä"/></TextLine>
<TextLine ID="l2" HPOS="190" VPOS="60" WIDTH="140" HEIGHT="90"><Shape><Polygon POINTS="{points(TURNED, " ")}"/></Shape>
<String CONTENT="TW" HPOS="200" VPOS="60" WIDTH="40" HEIGHT="30"/>
<String CONTENT="O" HPOS="240" VPOS="60" WIDTH="20" HEIGHT="30"/>
<String CONTENT="words" HPOS="270" VPOS="60" WIDTH="40" HEIGHT="30" SUBS_CONTENT="wordsmith"/><HYP CONTENT="-"/>
</TextLine><TextLine ID="l3" HPOS="30" VPOS="40" WIDTH="100" HEIGHT="30"/></TextBlock></PrintSpace></Page></Layout>
</alto>""")


def label_studio_result(key: str, kind: str, **value) -> dict:
    return {
        "id": key, "type": kind, "from_name": kind, "to_name": "image", "original_width": 400, "original_height": 300,
        "image_rotation": 0, "value": value,
    }  # fmt: skip


def write_label_studio(path: Path) -> None:
    """As its OCR template exports it: a shape, a class and a text share an id; coordinates are in percent."""
    one = {"x": 7.5, "y": 40 / 3, "width": 25, "height": 10, "rotation": 0}
    two = {"x": 50, "y": 20, "width": 30, "height": 10, "rotation": 25}
    result = [
        label_studio_result("a", "rectangle", **one),
        label_studio_result("a", "labels", **one, labels=["Handwriting"]),
        label_studio_result("a", "textarea", **one, text=["ONE & ä"]),
        label_studio_result("b", "rectanglelabels", **two, rectanglelabels=["Text"]),
        label_studio_result("b", "textarea", **two, text=["TWO words-"]),
        label_studio_result("c", "polygon", points=[[10, 10], [20, 10], [20, 20], [10, 20]]),
        {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"},
    ]
    cancelled = {"id": 1, "was_cancelled": True, "result": [label_studio_result("z", "textarea", text=["no"])]}
    tasks = [
        {
            "id": 7, "annotations": [cancelled, {"id": 2, "was_cancelled": False, "result": result}],
            "data": {"ocr": "/data/upload/3/0a1b2c3d-page.png"}, "predictions": [],
        }
    ]  # fmt: skip
    path.write_text(json.dumps(tasks))


def write_coco(path: Path) -> None:
    """As COCO-Text: dictionaries by id, and illegible texts."""
    flat = [value for corner in TURNED for value in corner]
    one = {"image_id": 5, "bbox": [30, 40, 100, 30], "utf8_string": "ONE & ä", "legibility": "legible"}
    two = {"image_id": 5, "bbox": [0, 0, 9, 9], "mask": flat, "utf8_string": "TWO words-", "legibility": "legible"}
    three = {"image_id": 5, "bbox": [30, 40, 50, 30], "utf8_string": "", "legibility": "illegible"}
    image = {"id": 5, "file_name": "page.png", "width": 400, "height": 300, "set": "train"}
    annotations = {str(number): {"id": number, **entry} for number, entry in enumerate([one, two, three])}
    path.write_text(json.dumps({"info": {}, "imgs": {"5": image}, "anns": annotations, "imgToAnns": {"5": [0, 1, 2]}}))


WITH_REGIONS = {
    "page.xml": write_page_xml,
    "alto.xml": write_alto,
    "label_studio.json": write_label_studio,
    "coco.json": write_coco,
}


def write_doccano(path: Path) -> None:
    for name in ("one", "two"):
        (path.parent / f"{name}.png").write_bytes(word(40 if name == "one" else 50))
    lines = [{"id": 1, "filename": "one.png", "label": ["ONE"]}, {"filename": "two.png", "label": ["zwö"]}]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")


def write_lmdb(path: Path, count: int = 2, **others: bytes) -> None:
    env = pytest.importorskip("lmdb").open(str(path), map_size=1 << 27)
    with env.begin(write=True) as transaction:
        for number in range(1, count + 1):
            transaction.put(b"image-%09d" % number, word(30 + 10 * number) if count == 2 else bytes(number % 6000))
            transaction.put(b"label-%09d" % number, ("zwö" if number == 2 else "ONE").encode())
        for key, value in {"num-samples": b"%d" % count, **others}.items():
            transaction.put(key.encode(), value)
    env.close()


def write_fsns(path: Path) -> None:
    def feature(value: bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for text, width in (("ONE", 40), ("zwö", 50)):
            features = {"image/encoded": feature(word(width)), "image/text": feature(text.encode())}
            features["width"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[width]))
            features["image/format"] = feature(b"png")
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def write_archive(path: Path) -> None:
    folder = path.parent / f"in-{path.name}"
    folder.mkdir()
    write_doccano(folder / "labels.jsonl")
    (folder / "README.txt").write_text("one.png and two.png are words")
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"set/{file.name}")
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, "set")


OF_WORDS = {
    "labels.jsonl": write_doccano,
    "words.lmdb": write_lmdb,
    "fsns.tfrecords": write_fsns,
    "set.zip": write_archive,
    "set.tar.gz": write_archive,
}


@pytest.mark.parametrize("name", WITH_REGIONS)
def test_regions_of_a_page(name, drawn, tmp_path):
    (tmp_path / "page.png").write_bytes(drawn.read_bytes())
    WITH_REGIONS[name](tmp_path / name)
    records, report = build(tmp_path / name)
    second = "TWO words" if name == "page.xml" else "TWO words-"
    assert [record.label for record in records] == ["ONE & ä", second]
    assert is_word(records[0].image, 100, 30) and is_word(records[1].image, 120, 30)
    assert report.num_dropped == {"no label column": 1}
    done = run_aocr("dataset", tmp_path / name, tmp_path / "out.tfrecords")
    assert done.returncode == 0 and "2 images" in done.stdout


@pytest.mark.parametrize("name", OF_WORDS)
def test_images_with_labels(name, tmp_path):
    OF_WORDS[name](tmp_path / name)
    records, report = build(tmp_path / name)
    assert [(record.label, record.width, record.height) for record in records] == [("ONE", 40, 20), ("zwö", 50, 20)]
    assert not report.drops
    done = run_aocr("dataset", tmp_path / name, tmp_path / "out.tfrecords")
    assert done.returncode == 0 and "2 images" in done.stdout


def test_pages_in_a_folder_and_an_archive(drawn, tmp_path):
    """OCR-D has images and pages in folders side by side."""
    for folder in ("IMG", "PAGE"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    (tmp_path / "data/IMG/page.png").write_bytes(drawn.read_bytes())
    for name in ("1.xml", "2.xml"):
        write_page_xml(tmp_path / "data/PAGE" / name)
        text = (tmp_path / "data/PAGE" / name).read_text().replace('"page.png"', '"IMG/page.png"')
        (tmp_path / "data/PAGE" / name).write_text(text)
    (tmp_path / "data/mets.xml").write_text("<mets:mets xmlns:mets='http://www.loc.gov/METS/'/>")
    lines = list(format_of(Source(str(tmp_path / "data/PAGE"))).read(Source(str(tmp_path / "data/PAGE"))))
    assert [(line.lineno, line.label) for line in lines][2:5] == [(3, None), (4, "ONE & ä"), (5, "TWO words")]
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(tmp_path / "data", "data")
    records, _ = build(tmp_path / "data.tar", save_filename=True)
    assert len(records) == 4 and is_word(records[3].image, 120, 30)
    assert records[2].comment == "data/IMG/page.png#30,40,100,30"


INSIDE = {
    "pairs": {"a.png": word(), "a.gt.txt": "ONE", "b.nrm.png": word(50), "b.gt.txt": "TWO"},
    "classes": {"1/a.png": word(), "2/a.png": word(50)},
    "table": {"labels.csv": 'image,text\nimages/a.png,"ONE"\nimages\\b.png,TWO\n', "images/a.png": word(),
              "images/b.png": word(50)},
    "list": {"gt/gt.txt": "im/a.png#0,0,40,20 ONE\nim/a.png#40,0,50,20 TWO\n", "im/a.png": word(90),
             ".DS_Store": b"\0"},
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_archives_of_other_formats(name, tmp_path, monkeypatch):
    (tmp_path / "im").mkdir()
    (tmp_path / "im/a.png").write_bytes(b"of another set")
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path, data in INSIDE[name].items():
            archive.writestr(f"set/{path}", data)
    records, report = build(tmp_path / "set.zip")
    assert [record.label for record in records] == (["1", "2"] if name == "classes" else ["ONE", "TWO"])
    assert [record.width for record in records] == [40, 50] and not report.drops


def test_archive_of_texts_beside_images(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as pairs:
        for i, text in enumerate(("ONE", "TWO")):
            pairs.writestr(f"set/{i}.png", word(40 + i))
            pairs.writestr(f"set/{i}.txt", text)
        for name in ("notes.txt", "README.txt", "todo.txt"):
            pairs.writestr(f"set/{name}", "of another kind")
    assert [record.label for record in build(tmp_path / "set.zip")[0]] == ["ONE", "TWO"]


def test_images_outside_an_archive_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(word())
    monkeypatch.chdir(tmp_path)
    zipped(tmp_path / "set.zip", labels=f"a.png ONE\n../a.png TWO\n{tmp_path}/a.png THREE\n")
    with pytest.raises(AnnotationError, match=r"\(missing file: 3\).*'a.png' .*it is not in the archive"):
        build(tmp_path / "set.zip")


def test_database_in_an_archive(tmp_path):
    write_lmdb(tmp_path / "train")
    with tarfile.open(tmp_path / "set.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "train", "data/train")
    records, _ = build(tmp_path / "set.tar.xz")
    assert [record.label for record in records] == ["ONE", "zwö"]


def test_large_lmdb(tmp_path):
    """Of several levels, with values in pages and outside."""
    write_lmdb(tmp_path / "db", 1000)
    source = Source(str(tmp_path / "db"))
    lines = list(format_of(source).read(source))
    with pytest.importorskip("lmdb").open(str(tmp_path / "db"), readonly=True) as env, env.begin() as transaction:
        assert all(line.image() == transaction.get(line.path.encode()) for line in lines) and len(lines) == 1000


def test_formats_together(drawn, tmp_path):
    """Datasets of several formats in one command, with the options that every reader gets."""
    (tmp_path / "page.png").write_bytes(drawn.read_bytes())
    for name, write in {**WITH_REGIONS, **OF_WORDS}.items():
        if name != "labels.jsonl":
            write(tmp_path / name)
    names = [str(tmp_path / name) for name in ("page.xml", "words.lmdb", "set.zip", "fsns.tfrecords")]
    with open_dataset(names) as dataset:
        assert dataset.summary.labels == ["ONE & ä", "TWO words", *["ONE", "zwö"] * 3]
        assert dataset.skipped == {"no label column": 1}
    records, report = build(tmp_path / "set.zip", charset=Charset("ENO"))
    assert len(records) == 1 and report.num_dropped == {"label outside the charset": 1}


def test_images_of_archives_are_removed(tmp_path):
    write_archive(tmp_path / "set.zip")
    source = Source(str(tmp_path / "set.zip"))
    lines = list(archive.read(source))
    folder = archive._unpacked[source].name
    assert [line.path for line in lines] == ["set/one.png", "set/two.png"] and os.path.isdir(folder)
    del source
    assert lines[0].image() == word(40)
    del lines
    assert not os.path.exists(folder)


# damaged and foreign files


def zipped(path: Path, **contents: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name.replace("__", "/").replace("UP", "..") + (".xml" if "xl" in name else ".txt"), text)
    return path


def linked(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("labels.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def write_caffe(path: Path) -> None:
    """Write an LMDB of something else."""
    env = pytest.importorskip("lmdb").open(str(path))
    with env.begin(write=True) as transaction:
        transaction.put(b"00000000_image.jpg", b"x")
    env.close()


BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><PcGts><Page imageFilename="&c;"/></PcGts>"""
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><PcGts><Page imageFilename="&x;"/></PcGts>'

TEXTS = {
    "bomb.xml": (BOMB, "XML entities"),
    "outside.xml": (OUTSIDE, "XML entities"),
    "html.xml": ("<html><body/></html>", "XML with <html>"),
    "empty.xml": ("<PcGts><Page imageFilename='a.png'/></PcGts>", "no text lines"),
    "nameless.xml": ("<PcGts><Page><TextLine/></Page></PcGts>", "names no image"),
    "mm10.xml": ("<alto><Description><MeasurementUnit>mm10</MeasurementUnit></Description></alto>", "mm10"),
    "encoding.xml": ('<?xml version="1.0" encoding="nonsense"?><alto/>', "damaged XML"),
    "boxes.json": ('{"images": [], "annotations": []}', "no images and no texts"),
    "config.json": ('{"learning_rate": 0.1}', "'learning_rate'"),
    "odd.json": ('[{"data": 3, "annotations": 4}]', "unknown structure"),
    "min.json": ('[{"image": "a.png", "bbox": [{"x": 1, "original_width": 9}], "text": "A"}]', "not JSON-MIN"),
    "deep.json": ('[{"a": ' * 100_000, "damaged JSON"),
    "broken.jsonl": ('{"image": "a.png", "text": "a"}\n{"image": ', "broken.jsonl:2: is damaged JSON"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_foreign_files(name, tmp_path):
    text, message = TEXTS[name]
    (tmp_path / name).write_text(text)
    assert_clean_failure(run_aocr("dataset", tmp_path / name, tmp_path / "out.tfrecords"), message)
    assert not (tmp_path / "out.tfrecords").exists()


FILES = {
    "slip.zip": (lambda path: zipped(path, UP__labels="a b"), "outside its folder, '../labels.txt'"),
    "absolute.zip": (lambda path: zipped(path, __tmp__x="a b"), "outside its folder, '/tmp/x.txt'"),
    "two.zip": (lambda path: zipped(path, train="a b", test="c d"), "2 annotation files (test.txt, train.txt)"),
    "labels.xlsx": (lambda path: zipped(path, xl__workbook="", xl__a=""), "Excel workbook. Save its table as CSV"),
    "bare.zip": (lambda path: zipped(path, readme="about"), "bare.zip"),
    "link.tar": (linked, "link.tar"),
    "cut.tar.gz": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(30)), "cannot be unpacked"),
    "caffe": (write_caffe, "without 'num-samples'"),
    "many": (lambda path: write_lmdb(path, 2, **{"num-samples": b"99999999"}), "damaged LMDB"),
    "none": (lambda path: path.mkdir() or (path / "data.mdb").write_bytes(b""), "damaged LMDB"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_archives_and_databases(name, tmp_path):
    write, message = FILES[name]
    write(tmp_path / name)
    assert_clean_failure(run_aocr("dataset", tmp_path / name, tmp_path / "out.tfrecords"), message)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_large_archives_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_UNPACKED", 20_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("labels.txt", bytes(1 << 20))
    with pytest.raises(AnnotationError, match="unpacks to more than 0 MiB"):
        list(archive.read(Source(str(tmp_path / "bomb.zip"))))
    zipped(tmp_path / "many.zip", **{f"f{number}": "" for number in range(9)})
    with pytest.raises(AnnotationError, match="unpacks to more than"):
        list(archive.read(Source(str(tmp_path / "many.zip"))))


def test_cut_lmdb(tmp_path):
    write_lmdb(tmp_path / "db", 300)
    data = (tmp_path / "db/data.mdb").read_bytes()
    (tmp_path / "db/data.mdb").write_bytes(data[: len(data) // 2])
    done = run_aocr("dataset", tmp_path / "db", tmp_path / "out.tfrecords")
    assert_clean_failure(done, "damaged LMDB (it is cut off")


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file, or change some of its bytes."""
    if rng.random() < 0.3:
        return data[: rng.integers(len(data))]
    array = np.frombuffer(data, np.uint8).copy()
    array[rng.integers(len(array), size=rng.integers(1, 20))] = rng.integers(256)
    return array.tobytes()


@pytest.mark.parametrize("name", [*WITH_REGIONS, *OF_WORDS])
def test_random_damage(name, drawn, tmp_path):
    """Lines or one error, and never another exception."""
    (tmp_path / "page.png").write_bytes(drawn.read_bytes())
    path = tmp_path / name
    (WITH_REGIONS | OF_WORDS)[name](path)
    path = path / "data.mdb" if path.is_dir() else path
    data, rng = path.read_bytes(), np.random.default_rng(0)
    num_errors = 0
    for _ in range(8 if "tfrecords" in name else 30):
        path.write_bytes(damaged(data, rng))
        source = Source(str(path))
        try:
            lines = read_examples(str(path)) if name.endswith("tfrecords") else format_of(source).read(source)
            for line in lines:
                if name not in WITH_REGIONS and not name.endswith("tfrecords") and line.image:
                    line.image()
                elif name in WITH_REGIONS and line.region:
                    cut_out((tmp_path / "page.png").read_bytes(), line.region, "page")
        except AocrError:
            num_errors += 1
    assert num_errors


# regions of a detector


DETECTED = {
    "yolo.txt": "0 0.2 0.18333333 0.25 0.1\n0 0.5 0.5 0.1 0.1 0.87\n",
    "obb.txt": "3 0.075 0.1333333 0.325 0.1333333 0.325 0.2333333 0.075 0.2333333\n",
    "icdar.txt": f"{points(BOX).replace(' ', ',')},ONE, or 1\n{points(TURNED).replace(' ', ',')}\n",
    "wh.csv": "image,X,Y,Width,Height,label\npage.png,30,40,100,30,ONE\n",
    "ends.csv": "filename;xmin;ymin;xmax;ymax\r\npage.png;30;40;130;70\r\n",
    "corners.tsv": "x1\ty1\tx2\ty2\tx3\ty3\tx4\ty4\n30\t40\t130\t40\t130\t70\t30\t70\n",
    "results.json": '[{"image_id": 7, "category_id": 1, "bbox": [30, 40, 100, 30], "score": 0.9}]',
    "coco.json": '{"images": [{"id": 1, "file_name": "page.png"}], "annotations": '
    '[{"id": 1, "image_id": 1, "bbox": [30, 40, 100, 30], "category_id": 1, "segmentation": []}]}',
}
IMAGES = {"wh.csv": "page.png", "ends.csv": "page.png", "results.json": "7", "coco.json": "page.png"}
LABELS = {"icdar.txt": "ONE, or 1", "wh.csv": "ONE"}


@pytest.mark.parametrize("name", DETECTED)
def test_regions_of_a_detector(name, tmp_path):
    (tmp_path / name).write_text(DETECTED[name])
    first = regions_of(str(tmp_path / name), (400, 300))[0]
    assert (first.image, first.label) == (IMAGES.get(name, ""), LABELS.get(name))
    assert np.allclose(first.corners, BOX, atol=0.01)


@pytest.mark.parametrize("name", WITH_REGIONS)
def test_regions_of_annotations(name, drawn, tmp_path):
    (tmp_path / "page.png").write_bytes(drawn.read_bytes())
    WITH_REGIONS[name](tmp_path / name)
    regions = regions_of(str(tmp_path / name))
    assert regions[0].label == "ONE & ä" and len(regions) == 3
    assert all(isinstance(region, Region) and Path(region.image).name == "page.png" for region in regions)


@pytest.mark.parametrize("text", ["", "a.png HELLO\n", "1,2,3,4\n", "x,y,w\n1,2,3\n", "x,y,w,h\n1,2,three,4\n", "[{}]"])
def test_not_regions(text, tmp_path):
    (tmp_path / "boxes.txt").write_text(text)
    with pytest.raises(AnnotationError):
        regions_of(str(tmp_path / "boxes.txt"), (400, 300))
