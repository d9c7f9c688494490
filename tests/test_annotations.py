"""Annotation files, line by line."""

import io
import os

import pytest
from conftest import REAL_DATA
from PIL import Image

from aocr.data.annotations import AnnotationLine, candidate_paths, parse_annotations, split_line
from aocr.errors import AnnotationError


def parsed(data: bytes) -> list[tuple]:
    return [(line.path, line.label, line.lineno) for line in parse_annotations(data, "a.txt")]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("a.png   far   apart  ", ("a.png", "far   apart")),
        ("  a.png indented", ("a.png", "indented")),
        ("a.png\u3000\u6f22\u5b57", ("a.png", "\u6f22\u5b57")),
        ("a.png ", ("a.png", "")),
        ("a.png", ("a.png", None)),
        ("my file.png\ttwo words", ("my file.png", "two words")),
        ("a.png\t spaces stay ", ("a.png", " spaces stay ")),
        ("a.png\tfirst\tsecond", ("a.png", "first\tsecond")),
        ("a.png\t", ("a.png", "")),
    ],
)
def test_path_and_label(line, expected):
    assert split_line(line) == expected


def test_line_ends_and_blank_lines():
    unix = b"a.png ONE\n\nb.png \n \t \nc.png THREE"
    expected = [("a.png", "ONE", 1), ("b.png", "", 3), ("c.png", "THREE", 5)]
    assert parsed(unix) == parsed(b"\xef\xbb\xbf" + unix) == expected
    for end in (b"\r\n", b"\r"):
        assert parsed(unix.replace(b"\n", end) + end) == expected


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \r\n\t\r\n"])
def test_an_empty_file(data):
    with pytest.raises(AnnotationError, match=r"^a\.txt: is empty"):
        parsed(data)


def test_a_line_that_is_not_utf_8():
    first, invalid, last = parse_annotations(b"a.png ONE\n\xff\nb.png TWO\n", "a.txt")
    assert first == AnnotationLine("a.png", "ONE", 1) and last == AnnotationLine("b.png", "TWO", 3)
    assert invalid.lineno == 2 and invalid.label is None and "Save the file as UTF-8" in invalid.not_utf8


def test_candidate_paths():
    join = os.path.join
    assert candidate_paths("i/a.png", join("set", "a.txt"), "base") == [
        "i/a.png", join("base", "i/a.png"), join("set", "i/a.png"),
    ]  # fmt: skip
    assert candidate_paths("a.png", "a.txt", None) == ["a.png", "a.png"]
    assert candidate_paths('"i\\é.png"', "/s/a.txt", None)[::2] == [
        '"i\\é.png"', "i\\é.png", "i/é.png", "i/e\u0301.png",
    ]  # fmt: skip
    absolute = os.path.abspath("a.png")
    assert candidate_paths(absolute, "a.txt", "base") == [absolute]
    assert candidate_paths("gs://bucket/a.png", "a.txt", "base") == ["gs://bucket/a.png"]


def test_an_image_instead_of_a_list():
    assert [line.path for line in parse_annotations(b"BMW.png x\nRIFF.png y\n", "l.txt")] == ["BMW.png", "RIFF.png"]
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        file = io.BytesIO()
        Image.new("RGB", (300, 299), "red").save(file, kind)
        with pytest.raises(AnnotationError, match="is an image"):
            list(parse_annotations(file.getvalue(), "l.txt"))


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real images beside the repository")
def test_real_lists():
    lines = [
        line for path in sorted(REAL_DATA.glob("*/*.txt")) for line in parse_annotations(path.read_bytes(), str(path))
    ]
    assert len(lines) > 10_000 and all(line.path and line.label for line in lines)
