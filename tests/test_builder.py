"""Building records: every usable line becomes a record, every other line is named with its reason."""

import io
import os
import struct
import sys
import threading
import time
import zlib

import pytest
import tensorflow as tf
from conftest import draw_numbers
from PIL import Image

from aocr.config import MAX_LENGTH, WHOLE_NAME
from aocr.data import builder
from aocr.data.builder import (
    BAD_IMAGE,
    MISSING,
    NO_LABEL,
    NOT_UTF8,
    OUTSIDE,
    TOO_LONG,
    ZERO_SIZE,
    BuildOptions,
    build_records,
)
from aocr.data.datasets import summarise
from aocr.data.records import Example, RecordWriter, read_examples, shard_paths
from aocr.errors import AnnotationError, DatasetError
from aocr.text.charset import Charset


def encoded(image, kind="PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def picture(seed=0, width=40, height=20) -> bytes:
    image = Image.new("L", (width, height), 200)
    image.putpixel((seed % width, seed // width), 0)
    return encoded(image)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A png that claims 60,000 x 60,000 pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    return picture()[:8] + header + picture()[33:]


@pytest.fixture
def build(tmp_path):
    """Build `text` as an annotation file: its report and its records."""

    def call(text, **options):
        source, output = tmp_path / "a.txt", tmp_path / "out" / "o"
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        report = build_records(str(source), str(output), BuildOptions(**options))
        return report, [example for path in report.paths for example in read_examples(path)]

    return call


ONLY_PILLOW = {
    "unknown critical chunk": picture()[:33] + chunk(b"ABCD", b"") + picture()[33:],
    "missing rows": picture()[:33] + chunk(b"IDAT", zlib.compress(b"\0" * 41 * 10)) + chunk(b"IEND", b""),
    "late header": picture()[:-12] + picture()[8:33] + chunk(b"IEND", b""),
    "missing end": picture()[:-12],
    "cut end": picture()[:-3],
}
"""Png files that Pillow can read, and TensorFlow cannot."""


@pytest.mark.parametrize("name", ONLY_PILLOW)
def test_a_png_that_only_pillow_reads_is_converted(name):
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_png(ONLY_PILLOW[name])
    example = builder.examine(1, Example(ONLY_PILLOW[name], "A", "", 0, 0), "a", BuildOptions())
    assert tf.io.decode_png(example.image).shape[:2] == (example.height, example.width) == (20, 40)


def put(folder, **files: bytes) -> None:
    for name, data in files.items():
        (folder / name.replace("_", ".")).write_bytes(data)


def test_lines_become_records_in_order(build, tmp_path):
    pictures = [picture(i, 20 + i, 10) for i in range(60)]
    for i, data in enumerate(pictures):
        (tmp_path / f"{i}.png").write_bytes(data)
    report, examples = build("".join(f"{i}.png label {i}\n" for i in range(60)))
    assert examples == [Example(data, f"label {i}", "", 20 + i, 10) for i, data in enumerate(pictures)]
    assert report.num_images == 60 and report.drops == [] and report.num_dropped == {}
    assert os.listdir(tmp_path / "out") == ["o"]


BAD = {
    "none.png A": (MISSING, "none.png"),
    ". A": (MISSING, "'.'"),
    "text.png A": (BAD_IMAGE, "text.png: is not an image"),
    "cut.jpg A": (BAD_IMAGE, "cut.jpg: is damaged"),
    "bomb.png A": (BAD_IMAGE, "bomb.png: has more than"),
    "wide.png A": (BAD_IMAGE, "wide.png: is wider or higher"),
    "empty.png A": (ZERO_SIZE, "empty.png: is empty"),
    "good.png": (NO_LABEL, "good.png"),
    "good.png \u20ac\u00e9": (OUTSIDE, "'\u20ac', '\u00e9'"),
    "good.png ABCDEFG": (TOO_LONG, "7 characters"),
    "a\0b.png A": (MISSING, "a\\x00b.png"),
    "nowhere://bucket/a.png A": (MISSING, "nowhere"),
}


@pytest.fixture
def bad_files(tmp_path):
    cut = encoded(Image.new("RGB", (60, 40), "red"), "JPEG")[:-50]
    put(tmp_path, good_png=picture(), text_png=b"hello", cut_jpg=cut, bomb_png=bomb(), empty_png=b"",
        wide_png=picture(width=1_000_001, height=1))  # fmt: skip


OPTIONS = {"charset": Charset("ABCDEFG"), "max_prediction": 6}


def test_every_bad_line_is_named(build, bad_files, tmp_path):
    report, examples = build("\n\n".join([*BAD, "good.png A", "good.png B"]), **OPTIONS)
    assert [example.label for example in examples] == ["A", "B"] and report.num_images == 2
    assert [drop.number for drop in report.drops] == [2 * i + 1 for i in range(len(BAD))]
    for drop, (reason, detail) in zip(report.drops, BAD.values(), strict=True):
        assert drop.reason == reason and detail in drop.detail, drop
        assert str(drop).startswith(f"{tmp_path}/a.txt:{drop.number}: {reason}: ") and "\n" not in str(drop)
    assert report.num_dropped == {MISSING: 4, BAD_IMAGE: 4, ZERO_SIZE: 1, NO_LABEL: 1, OUTSIDE: 1, TOO_LONG: 1}
    report.write(str(tmp_path / "r.txt"))
    lines = (tmp_path / "r.txt").read_text("utf-8").splitlines()
    assert lines[:-1] == [str(drop) for drop in report.drops] and "'A' and 'B'" in lines[-1]
    with pytest.raises(DatasetError, match="cannot be written"):
        report.write(str(tmp_path / "good.png" / "r.txt"))


def test_a_line_that_is_not_utf_8(build, bad_files, tmp_path):
    report, examples = build(b"good.png A\ngood.png caf\xe9\ngood.png B\n")
    assert [example.label for example in examples] == ["A", "B"]
    assert [(drop.number, drop.reason) for drop in report.drops] == [(2, NOT_UTF8)]
    assert f"  {tmp_path}/a.txt:2: the line is not UTF-8. Save the file as UTF-8." in report.summary()


def test_control_characters_are_escaped(tmp_path):
    (tmp_path / "good.png").write_bytes(picture())
    source = tmp_path / "a\x1b]0;\a\u202e.txt"
    source.write_text("good.png A\n\x1b[2J\u202e.png A\n", "utf-8")
    report = build_records(str(source), str(tmp_path / "o"), BuildOptions())
    text = "".join(report.summary())
    assert text.isprintable() and "a\\x1b]0;\\x07\\u202e.txt" in text


@pytest.mark.parametrize("line", ["none.png A", "good.png", "good.png ABCDEFG"])
def test_strict_stops_at_the_first_bad_line(build, bad_files, tmp_path, line):
    reason, detail = BAD[line]
    threads = threading.active_count()
    with pytest.raises(AnnotationError) as caught:
        build(f"good.png A\n{line}\n" + "nowhere.png A\n" * 40, strict=True, **OPTIONS)
    assert caught.value.lineno == 2 and reason in str(caught.value) and detail in str(caught.value)
    assert os.listdir(tmp_path / "out") == [] and threading.active_count() == threads


def test_the_summary(build, bad_files, tmp_path):
    report, _ = build("".join(f"none{i}.png A\n" for i in range(9)) + "good.png AB\n")
    summary = "\n".join(report.summary())
    assert summary.startswith("1 image from")
    assert "Charset: 2 symbols: AB" in summary
    assert "Label length: 2 characters" in summary
    assert "Image width: 40 pixels; scaled to height 32: 64 pixels" in summary
    assert "Left out: 9 (missing file)" in summary and "and 6 more" in summary
    assert f"{tmp_path}/a.txt:3: " in summary and f"{tmp_path}/a.txt:4: " not in summary


def test_counts_of_symbols_lengths_and_widths(build, tmp_path):
    put(tmp_path, a_png=picture(0, 40, 20), b_png=picture(1, 40, 20), c_png=picture(0, 100, 64), d_png=picture(0, 1, 1))
    report, _ = build("a.png AAB\nb.png B\nc.png \nd.png \n", empty_labels=True)
    assert report.symbols == {"A": 2, "B": 2}
    assert report.lengths == {3: 1, 1: 1, 0: 2}
    assert report.widths == {40: 2, 100: 1, 1: 1}
    assert report.network_widths == {64: 2, 50: 1, 32: 1}


def test_equal_images(build, tmp_path):
    put(tmp_path, a_png=picture(1), b_png=picture(1), c_png=picture(2), d_png=picture(3))
    report, examples = build("a.png X\nc.png X\nb.png Y\na.png X\nb.png Z\nd.png X\n")
    assert len(examples) == 6
    assert report.num_repeats == 1
    assert report.conflicts == [(1, "X", 3, "Y"), (1, "X", 5, "Z")]
    assert len(report.warnings()) == 2 and "a.txt:1 and :3" in report.warnings()[0]
    assert "Repeated: 1 image, the same as an earlier one, with the same label" in report.summary()


@pytest.mark.parametrize(
    "text, words",
    [
        (b"\n\n", "is empty"),
        (b"none.png A\n", "no usable line.*none.png"),
        ("a.png caf\u00e9\n".encode("latin-1"), "a.txt: has no usable line .not UTF-8: 1.*line is not UTF-8. Save"),
    ],
)
def test_nothing_usable(build, tmp_path, text, words):
    with pytest.raises(AnnotationError, match=words):
        build(text)
    assert not any((tmp_path / "out").iterdir())


def test_unsuitable_sources(tmp_path):
    annotations = draw_numbers(tmp_path / "n", 2)
    for source, words, by_name in (
        (tmp_path / "none.txt", "no such file", False),
        (tmp_path, "--label-from-filename", False),
        ("nowhere://bucket/a.txt", "cannot be read", False),
        (annotations, "needs a folder", True),
    ):
        with pytest.raises(AnnotationError, match=words):
            build_records(str(source), str(tmp_path / "o"), BuildOptions(label_from_filename=WHOLE_NAME * by_name))
    with pytest.raises(DatasetError, match="is not a file of records"):
        build_records(str(annotations), str(annotations), BuildOptions())
    assert os.listdir(tmp_path) == ["n"]


def test_where_images_are_searched(build, tmp_path, monkeypatch):
    for folder, seed in (("here", 1), ("base", 2), (".", 3)):
        (tmp_path / folder).mkdir(exist_ok=True)
        put(tmp_path / folder, a_png=picture(seed))
    put(tmp_path / "base", b_png=picture(4))
    put(tmp_path, c_png=picture(5))
    monkeypatch.chdir(tmp_path / "here")
    _, examples = build("a.png A\nb.png B\nc.png C\n", data_base_dir=str(tmp_path / "base"))
    assert [example.image for example in examples] == [picture(1), picture(4), picture(5)]
    absolute = tmp_path / "base" / "a.png"
    assert build(f"{absolute} A\n")[1][0].image == picture(2)


def test_labels_and_comments(build, tmp_path):
    put(tmp_path, a_png=picture())
    text = "a.png Stra\u00dfe \u0390\na.png\t cafe\u0301 \n"
    _, examples = build(text, save_filename=True)
    assert [example.label for example in examples] == ["Stra\u00dfe \u0390", " caf\u00e9 "]
    assert {example.comment for example in examples} == {"a.png"}
    _, examples = build(text, force_uppercase=True)
    assert [example.label for example in examples] == ["STRASSE \u03aa\u0301", " CAF\u00c9 "]
    assert {example.comment for example in examples} == {""}


def test_records_of_several_files_as_a_source(tmp_path):
    data = draw_numbers(tmp_path / "n", 11)
    report = build_records(str(data), str(tmp_path / "s"), BuildOptions(shards=3))
    assert report.paths == shard_paths(str(tmp_path / "s"), 3)
    for source in ("s", "s-*"):
        report = build_records(str(tmp_path / source), str(tmp_path / "o"), BuildOptions(charset=Charset("123")))
        assert report.num_images + len(report.drops) == 11 and report.drops
        assert all(drop.where == str(tmp_path / source) for drop in report.drops)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are Unicode here")
def test_a_folder_of_images_named_after_their_text(tmp_path):
    (tmp_path / "n").mkdir()
    put(tmp_path / "n", B_png=picture(1), A_png=picture(2), notes_txt=b"")
    (tmp_path / "n" / os.fsdecode(b"caf\xe9.png")).write_bytes(picture())
    report = build_records(str(tmp_path / "n"), str(tmp_path / "o"), BuildOptions(label_from_filename=WHOLE_NAME))
    assert [example.label for example in read_examples(report.paths[0])] == ["A", "B"]
    assert report.num_dropped == {NOT_UTF8: 1}
    report.write(str(tmp_path / "r.txt"))
    assert "not UTF-8. Rename" in (tmp_path / "r.txt").read_text("utf-8")


def test_records_of_aocr_0_7_6_are_checked(tmp_path):
    old = str(tmp_path / "old")
    with RecordWriter(old) as writer:
        for image, label in ((picture(), "A"), (b"text", "B"), (b"", "C"), (picture(3), "D")):
            writer.write(Example(image, label, "c"))
    report = build_records(old, str(tmp_path / "o"), BuildOptions(charset=Charset("ABC")))
    assert list(read_examples(report.paths[0])) == [Example(picture(), "A", "c", 40, 20)]
    assert [(drop.number, drop.reason) for drop in report.drops] == [(2, BAD_IMAGE), (3, ZERO_SIZE), (4, OUTSIDE)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("stage", ["reading", "writing"])
def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, error, stage):
    data = draw_numbers(tmp_path / "n", 30)
    (tmp_path / "out").mkdir()
    with RecordWriter(str(tmp_path / "out" / "o-00000-of-00002")) as writer:
        writer.write(Example(b"earlier", "record"))
    real, calls = builder.canonical_image, []

    def broken(*args):
        calls.append(1)
        if len(calls) > 20:
            raise error
        return real(*args)

    def broken_progress(num_read):
        assert num_read <= 30
        if num_read > 5:
            raise error

    if stage == "reading":
        monkeypatch.setattr(builder, "canonical_image", broken)
    with pytest.raises(error):
        progress = broken_progress if stage == "writing" else None
        build_records(str(data), str(tmp_path / "out" / "o"), BuildOptions(shards=2), progress)
    assert os.listdir(tmp_path / "out") == ["o-00000-of-00002"]
    assert list(read_examples(str(tmp_path / "out" / "o-00000-of-00002"))) == [Example(b"earlier", "record")]


def test_images_are_decoded_in_parallel_with_few_waiting(tmp_path, monkeypatch):
    put(tmp_path, a_png=picture())
    monkeypatch.setattr(builder.os, "cpu_count", lambda: 3)
    real, threads, started, ahead = builder.canonical_image, set(), [], []

    def slow(*args):
        started.append(1)
        threads.add(threading.get_ident())
        time.sleep(0.001)
        return real(*args)

    monkeypatch.setattr(builder, "canonical_image", slow)
    (tmp_path / "many.txt").write_text("a.png A\n" * 300)

    def progress(num_read):
        ahead.append(len(started) - num_read)

    report = build_records(str(tmp_path / "many.txt"), str(tmp_path / "o"), BuildOptions(), progress)
    assert report.num_images == len(started) == len(ahead) == 300
    assert len(threads) == 3
    assert max(ahead) <= 16 * 3 + 3


def test_a_label_longer_than_any_network_reads(tmp_path):
    long = "x" * (MAX_LENGTH + 1)
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "labels.txt").write_text(f"a.png {long}\na.png {long[1:]}\n")
    report = build_records(str(tmp_path / "labels.txt"), str(tmp_path / "out"), BuildOptions())
    assert report.num_images == 1 and report.num_dropped == {TOO_LONG: 1}
    assert "10001 characters" in report.drops[0].detail and len(report.drops[0].detail) < 200
    with RecordWriter(str(tmp_path / "records")) as writer:
        writer.write(Example(picture(), long, width=40, height=20))
    with pytest.raises(DatasetError, match="has a label of 10,001 characters"):
        summarise([str(tmp_path / "records")])
