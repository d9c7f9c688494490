"""`aocr predict --boxes`: the regions that a detector found are read in their order, at their places."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import assert_clean_failure, run_aocr
from PIL import Image

BOXES = [(200, 60), (20, 10), (30, 120)]
"""Left and upper edges on the page, in the detector's order, which is not that of the page."""


@pytest.fixture(scope="module")
def page(numbers, tmp_path_factory):
    """A page with three numbers, the boxes of these (x, y, width, height), and what each says if read alone."""
    folder = tmp_path_factory.mktemp("page")
    sheet, boxes = Image.new("L", (320, 180), 255), []
    for i, (x, y) in enumerate(BOXES):
        with Image.open(numbers.parent / f"{i}.png") as image:
            sheet.paste(image, (x, y))
            boxes.append((x, y, *image.size))
    sheet.save(folder / "page.png")
    return folder / "page.png", boxes


@pytest.fixture(scope="module")
def texts(numbers, trained):
    done = run_aocr("predict", *(numbers.parent / f"{i}.png" for i in range(3)), "--model-dir", trained)
    return [line.split("\t")[1] for line in done.stdout.splitlines()]


def yolo(boxes) -> str:
    rows = ((0, (x + w / 2) / 320, (y + h / 2) / 180, w / 320, h / 180, 0.9) for x, y, w, h in boxes)
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def table(boxes, name="page.png") -> str:
    return "image,x,y,w,h\n" + "".join(f"{name},{','.join(map(str, box))}\n" for box in boxes)


def coco(boxes) -> str:
    images = [{"id": 7, "file_name": "page.png", "width": 320, "height": 180}, {"id": 8, "file_name": "other.png"}]
    annotations = [{"id": i, "image_id": 7, "bbox": list(box)} for i, box in enumerate(boxes)]
    return json.dumps({"images": images, "annotations": [*annotations, {"id": 9, "image_id": 8, "bbox": [1, 1, 9, 9]}]})


def page_xml(boxes) -> str:
    def points(x, y, w, h):
        return f"{x},{y} {x + w},{y} {x + w},{y + h} {x},{y + h}"

    lines = "".join(f'<TextLine id="l{i}"><Coords points="{points(*box)}"/></TextLine>' for i, box in enumerate(boxes))
    return f'<PcGts><Page imageFilename="scan.tif"><TextRegion id="r">{lines}</TextRegion></Page></PcGts>'


@pytest.mark.parametrize(
    "name, write",
    [("page.txt", yolo), ("b.csv", table), ("b.json", coco), ("b.xml", page_xml)],
    ids=["yolo", "csv", "coco", "page"],
)
def test_each_file_of_boxes_is_read(page, texts, trained, tmp_path, name, write):
    image, boxes = page
    (tmp_path / name).write_text(write(boxes))
    done = run_aocr("predict", image, "--boxes", tmp_path / name, "--model-dir", trained, "--json")
    assert done.returncode == 0, done.stderr
    readings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reading["text"] for reading in readings] == texts
    for reading, (x, y, w, h) in zip(readings, boxes, strict=True):
        assert reading["path"] == str(image)
        assert reading["region"] == [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
        assert all(0 <= c["x0"] <= c["x1"] <= w + 1 for c in reading["characters"])


def test_documents_have_the_lines_at_their_places(page, texts, trained, tmp_path):
    image, boxes = page
    (tmp_path / "b.csv").write_text(table(boxes))
    command = ("predict", image, "--boxes", tmp_path / "b.csv", "--model-dir", trained, "--format")
    root = ET.fromstring(run_aocr(*command, "alto").stdout)
    space = root.tag.removesuffix("alto")
    lines = list(root.iter(f"{space}TextLine"))
    places = [[float(line.get(name)) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] for line in lines]
    assert places == [list(map(float, box)) for box in boxes]
    assert [line.find(f"{space}String").get("CONTENT") for line in lines] == texts
    for line, (x, _, w, _) in zip(lines, boxes, strict=True):
        glyphs = [float(glyph.get("HPOS")) for glyph in line.iter(f"{space}Glyph")]
        assert glyphs == sorted(glyphs) and all(x <= left < x + w for left in glyphs)
    hocr = run_aocr(*command, "hocr").stdout
    x, y, w, h = boxes[0]
    assert "ocr_line" in hocr and f"bbox {x} {y} {x + w} {y + h}; poly" in hocr


def test_what_is_printed_can_be_read_as_an_annotation_file(page, texts, trained, tmp_path):
    image, boxes = page
    (tmp_path / "b.csv").write_text(table(boxes))
    done = run_aocr("predict", image, "--boxes", tmp_path / "b.csv", "--model-dir", trained)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [f"{image}#{','.join(map(str, box))}" for box in boxes]
    (tmp_path / "list.txt").write_text("".join(f"{row[0]}\t{row[1]}\n" for row in rows))
    built = run_aocr("dataset", tmp_path / "list.txt", tmp_path / "o.tfrecords")
    assert "3 images from" in built.stdout, built.stderr


def test_documents_can_be_read_as_datasets(page, texts, trained, tmp_path):
    """The circle: regions in, PAGE XML out, and that as a dataset."""
    image, boxes = page
    (tmp_path / "page.png").write_bytes(image.read_bytes())
    (tmp_path / "b.csv").write_text(table(boxes))
    for kind in ("page", "alto"):
        flags = ("--format", kind, "--output-dir", tmp_path, "--model-dir", trained)
        done = run_aocr("predict", tmp_path / "page.png", "--boxes", tmp_path / "b.csv", *flags)
        assert done.returncode == 0, done.stderr
        built = run_aocr("dataset", tmp_path / "page.xml", tmp_path / f"{kind}.tfrecords")
        assert "3 images from" in built.stdout, built.stderr


def test_several_images_with_one_file_or_a_folder(page, texts, trained, tmp_path):
    image, boxes = page
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(image.read_bytes())
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text(yolo(boxes[:1]))
    (tmp_path / "labels/b.txt").write_text(yolo(boxes[1:]))
    (tmp_path / "all.csv").write_text(table(boxes[:1], "x/a.png") + table(boxes[1:], "b.png").partition("\n")[2])
    images = [tmp_path / f"{name}.png" for name in "abc"]
    for source in ("labels", "all.csv"):
        done = run_aocr("predict", *images, "--boxes", tmp_path / source, "--model-dir", trained)
        assert done.returncode == 0, done.stderr
        assert [line.split("\t")[1] for line in done.stdout.splitlines()] == texts
        assert [Path(line.split("#")[0]).name for line in done.stdout.splitlines()] == ["a.png", "b.png", "b.png"]
        assert "c.png: no boxes of it in" in done.stderr
    unnamed = tmp_path / "labels/a.txt"
    done = run_aocr("predict", *images, "--boxes", unnamed, "--model-dir", trained)
    assert_clean_failure(done, "a.txt", "does not say of which images", "folder")


def test_one_bad_region_or_image_does_not_stop_the_others(page, texts, trained, tmp_path):
    image, boxes = page
    (tmp_path / "b.csv").write_text(table([boxes[0], (900, 900, 20, 20), boxes[2]]))
    done = run_aocr("predict", image, "--boxes", tmp_path / "b.csv", "--model-dir", trained)
    assert done.returncode == 1 and [line.split("\t")[1] for line in done.stdout.splitlines()] == [texts[0], texts[2]]
    assert re.search(r"page\.png#900,900,20,20: the region .* is outside the image", done.stderr)
    assert "1 of 3 images could not be read" in done.stderr
    missing = run_aocr("predict", tmp_path / "no.png", "--boxes", tmp_path / "b.csv", "--model-dir", trained)
    assert missing.returncode == 1 and "no.png: there is no such file" in missing.stderr


def test_parts_named_in_paths(page, texts, trained, tmp_path):
    image, boxes = page
    names = [f"{image}#{','.join(map(str, box))}" for box in boxes]
    done = run_aocr("predict", *names, f"{image}#900,900,20,20", "--model-dir", trained)
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [
        [name, text] for name, text in zip(names, texts, strict=True)
    ]
    assert done.returncode == 1 and re.search(r"page\.png#900,900,20,20: the region .* is outside", done.stderr)
    from aocr import load

    assert [prediction.text for prediction in load(trained).predict([names[0], Path(names[1])])] == texts[:2]


def test_document_of_parts_named_in_paths(page, texts, trained, numbers, tmp_path):
    image, boxes = page
    first, *others = (f"{image}#{','.join(map(str, box))}" for box in boxes)
    flags = ("--format", "alto", "--output-dir", tmp_path, "--model-dir", trained)
    done = run_aocr("predict", first, numbers.parent / "0.png", *others, *flags)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.xml")) == ["0.xml", "page.xml"]
    strings = [element.get("CONTENT") for element in ET.parse(tmp_path / "page.xml").iter() if "String" in element.tag]
    assert strings == texts


@pytest.mark.parametrize("text", ["", "what is this\n", "<PcGts", "{", "image,x,y,w,h\npage.png,1,2,three,4\n"])
def test_files_that_hold_no_boxes(page, trained, tmp_path, text):
    (tmp_path / "b.csv").write_text(text)
    assert_clean_failure(run_aocr("predict", page[0], "--boxes", tmp_path / "b.csv", "--model-dir", trained), "b.csv")
    done = run_aocr("predict", page[0], "--boxes", tmp_path / "none.csv", "--model-dir", trained)
    assert_clean_failure(done, "none.csv")
