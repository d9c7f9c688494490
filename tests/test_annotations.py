"""Annotation files, line by line."""

import io
import os
import sys

import pytest
from conftest import REAL_DATA
from PIL import Image

from aocr.data.annotations import AnnotationLine, candidate_paths, labels_from_filenames, parse_annotations, split_line
from aocr.errors import AnnotationError
from aocr.folder.model_folder import CURVES, MODEL
from aocr.report.attention import write_visualization
from aocr.results import Prediction, Sample


def parsed(data: bytes) -> list[tuple]:
    return [(line.path, line.label, line.lineno) for line in parse_annotations(data, "a.txt")]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("a.png HELLO", ("a.png", "HELLO")),
        ("a.png two words", ("a.png", "two words")),
        ("a.png   far   apart  ", ("a.png", "far   apart")),
        ("  a.png indented", ("a.png", "indented")),
        ("a.png\u3000\u6f22\u5b57", ("a.png", "\u6f22\u5b57")),
        ("a.png ", ("a.png", "")),
        ("a.png", ("a.png", None)),
        ("my file.png\ttwo words", ("my file.png", "two words")),
        ("a.png\t spaces stay ", ("a.png", " spaces stay ")),
        ("a.png\tfirst\tsecond", ("a.png", "first\tsecond")),
        ("a.png\t", ("a.png", "")),
        ("a.png x\ty", ("a.png x", "y")),
    ],
)
def test_path_and_label(line, expected):
    assert split_line(line) == expected


def test_line_ends_marks_and_blank_lines():
    unix = b"a.png ONE\n\nb.png \n \t \nc.png THREE"
    expected = [("a.png", "ONE", 1), ("b.png", "", 3), ("c.png", "THREE", 5)]
    assert parsed(unix) == expected
    for end in (b"\r\n", b"\r"):
        assert parsed(unix.replace(b"\n", end) + end) == expected
    assert parsed(b"\xef\xbb\xbf" + unix) == expected


def test_labels_are_composed_and_paths_are_not():
    assert parsed("cafe\u0301.png cafe\u0301\n".encode()) == [("cafe\u0301.png", "caf\u00e9", 1)]


def test_a_line_without_a_label_is_told_from_an_empty_label():
    assert parsed(b"a.png\nb.png \nc.png\t\n") == [("a.png", None, 1), ("b.png", "", 2), ("c.png", "", 3)]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n\t\r\n"])
def test_a_file_without_a_line(data):
    with pytest.raises(AnnotationError, match=r"^a\.txt: is empty"):
        parsed(data)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_that_is_not_utf_8(encoding):
    data = "a.png ONE\nb.png caf\u00e9\n".encode(encoding)
    bad = next(line for line in parse_annotations(data, "a.txt") if line.not_utf8)
    assert bad.lineno == (2 if encoding == "latin-1" else 1)
    assert bad.label is None and "Save the file as UTF-8" in bad.not_utf8


def test_lines_come_before_and_after_a_bad_one():
    first, bad, last = parse_annotations(b"a.png ONE\n\xff\nb.png TWO\n", "a.txt")
    assert first == AnnotationLine("a.png", "ONE", 1) and last == AnnotationLine("b.png", "TWO", 3)
    assert bad.lineno == 2 and bad.label is None and bad.not_utf8


def test_where_an_image_is_looked_for():
    join = os.path.join
    assert candidate_paths("i/a.png", join("set", "a.txt"), "base") == [
        "i/a.png", join("base", "i/a.png"), join("set", "i/a.png"),
    ]  # fmt: skip
    assert candidate_paths("a.png", "a.txt", None) == ["a.png", "a.png"]
    absolute = os.path.abspath("a.png")
    assert candidate_paths(absolute, "a.txt", "base") == [absolute]
    assert candidate_paths("gs://bucket/a.png", "a.txt", "base") == ["gs://bucket/a.png"]


def test_labels_from_file_names(tmp_path):
    for name in ("b.JPG", "a b.png", "deep/cafe\u0301.png", "deep/1_2.tiff", "notes.txt", "png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    lines = list(labels_from_filenames(str(tmp_path)))
    assert [line.label for line in lines] == ["a b", "b", "1_2", "caf\u00e9"]
    assert [line.lineno for line in lines] == [1, 2, 3, 4]
    assert all(os.path.isfile(line.path) for line in lines)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are Unicode here")
def test_a_name_that_is_not_utf_8_has_no_label(tmp_path):
    for name in (b"a.png", b"caf\xe9.png"):
        (tmp_path / os.fsdecode(name)).touch()
    assert [line.label for line in labels_from_filenames(str(tmp_path))] == ["a", None]


def test_pictures_that_aocr_drew_among_the_images_are_none(tmp_path):
    """`aocr train .` twice: the second learnt `checkpoints/curves.png` as an image of the text `curves`."""
    data = io.BytesIO()
    Image.new("L", (60, 32), 200).save(data, "PNG")
    write_visualization(Sample("a.png", "x", Prediction("x", 1.0), image=data.getvalue()), tmp_path / "results")
    for name in ("a.png", f"checkpoints/{CURVES}", f"checkpoints/{MODEL}", f"real/{CURVES}", "real/attention.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in (tmp_path / "results").rglob("*.png")] == ["attention.png"]
    assert [line.label for line in labels_from_filenames(str(tmp_path))] == ["a", "attention", "curves"]


def test_a_counter_in_a_file_name_is_part_of_the_label(tmp_path):
    for name in ("WORD.png", "WORD_2.png", "WORD-3.png"):
        (tmp_path / name).touch()
    assert {line.label for line in labels_from_filenames(str(tmp_path))} == {"WORD", "WORD_2", "WORD-3"}


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AnnotationError, match="no image"):
        list(labels_from_filenames(str(tmp_path)))


def test_an_image_in_place_of_the_list_is_told_from_a_path_that_begins_like_one():
    assert [line.path for line in parse_annotations(b"BMW.png x\nRIFF.png y\n", "l.txt")] == ["BMW.png", "RIFF.png"]
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (300, 299), "red").save(file, kind)
        with pytest.raises(AnnotationError, match="is an image"):
            list(parse_annotations(file.getvalue(), "l.txt"))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real images beside the repository")
def test_real_lists_have_a_path_and_a_label_on_each_line():
    seen = 0
    for path in sorted(REAL_DATA.glob("*/*.txt")):
        for line in parse_annotations(path.read_bytes(), str(path)):
            assert line.path and line.label, f"{path}:{line.lineno}"
            seen += 1
    assert seen > 10_000
