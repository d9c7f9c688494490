"""The linter: every usable line becomes a record, every other line is named with its reason."""

import io
import os
import struct
import sys
import threading
import time
import zlib

import pytest
import tensorflow as tf
from conftest import REAL_DATA, draw_numbers
from PIL import Image

from aocr.config import MAX_LENGTH
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
from aocr.data.record_files import RecordWriter, shard_paths
from aocr.data.records import Example, read_examples
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


def bomb() -> bytes:
    """A png that claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    whole = picture()
    return whole[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


ODD = {
    "a chunk that nobody knows": picture()[:33] + chunk(b"ABCD", b"") + picture()[33:],
    "rows that lack": picture()[:33] + chunk(b"IDAT", zlib.compress(b"\0" * 41 * 10)) + chunk(b"IEND", b""),
    "a head behind": picture()[:-12] + picture()[8:33] + chunk(b"IEND", b""),
}
"""Png files that Pillow reads, and TensorFlow does not."""


@pytest.fixture
def build(tmp_path):
    """Build `text` as an annotation file: its report and its records."""

    def call(text, **options):
        source, output = tmp_path / "a.txt", tmp_path / "out" / "o"
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        report = build_records(str(source), str(output), BuildOptions(**options))
        return report, [example for path in report.paths for example in read_examples(path)]

    return call


@pytest.mark.parametrize("name", ODD)
def test_a_png_that_only_pillow_reads_is_stored_as_another(name):
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_png(ODD[name])
    found = builder.examine(1, Example(ODD[name], "A", "", 0, 0), "a", BuildOptions())
    assert tf.io.decode_png(found.image).shape[:2] == (found.height, found.width) == (20, 40)


def test_an_image_that_tensorflow_finds_too_wide_is_left_out():
    found = builder.examine(1, Example(picture(width=1_000_001, height=1), "A", "", 0, 0), "a", BuildOptions())
    assert (found.reason, "wider or higher" in found.detail) == (BAD_IMAGE, True)


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
    "empty.png A": (ZERO_SIZE, "empty.png: is empty"),
    "good.png": (NO_LABEL, "good.png"),
    "good.png \u20ac\u00e9": (OUTSIDE, "'\u20ac', '\u00e9'"),
    "good.png ABCDEFG": (TOO_LONG, "7 characters"),
    "a\0b.png A": (MISSING, "a\\x00b.png"),
}


@pytest.fixture
def bad_files(tmp_path):
    cut = encoded(Image.new("RGB", (60, 40), "red"), "JPEG")[:-50]
    put(tmp_path, good_png=picture(), text_png=b"hello", cut_jpg=cut, bomb_png=bomb(), empty_png=b"")


OPTIONS = {"charset": Charset("ABCDEFG"), "max_prediction": 6}


def test_every_bad_line_is_named(build, bad_files, tmp_path):
    lines = [*BAD, "good.png A"]
    report, examples = build("\n\n".join(lines), **OPTIONS)
    assert [example.label for example in examples] == ["A"]
    assert report.num_images == 1
    assert [drop.number for drop in report.drops] == [2 * i + 1 for i in range(len(BAD))]
    for drop, (reason, detail) in zip(report.drops, BAD.values(), strict=True):
        assert drop.reason == reason and detail in drop.detail, drop
        assert str(drop).startswith(f"{tmp_path}/a.txt:{drop.number}: {reason}: ") and "\n" not in str(drop)
    assert report.num_dropped == {MISSING: 3, BAD_IMAGE: 3, ZERO_SIZE: 1, NO_LABEL: 1, OUTSIDE: 1, TOO_LONG: 1}


def test_a_line_that_is_not_utf_8_is_left_out_like_any_other(build, bad_files, tmp_path):
    report, examples = build(b"good.png A\ngood.png caf\xe9\ngood.png B\n")
    assert [example.label for example in examples] == ["A", "B"]
    assert [(drop.number, drop.reason) for drop in report.drops] == [(2, NOT_UTF8)]
    assert f"  {tmp_path}/a.txt:2: the line is not UTF-8. Save the file as UTF-8." in report.summary()
    with pytest.raises(AnnotationError, match=r"a\.txt:2: not UTF-8"):
        build(b"good.png A\ngood.png caf\xe9\ngood.png B\n", strict=True)


def test_names_cannot_control_the_terminal(tmp_path):
    (tmp_path / "good.png").write_bytes(picture())
    source = tmp_path / "a\x1b]0;\a\u202e.txt"
    source.write_text("good.png A\n\x1b[2J\u202e.png A\n", "utf-8")
    report = build_records(str(source), str(tmp_path / "o"), BuildOptions())
    assert report.num_dropped == {MISSING: 1}
    text = "".join(report.summary())
    assert text.isprintable() and "a\\x1b]0;\\x07\\u202e.txt" in text


@pytest.mark.parametrize("line", BAD)
def test_strict_stops_at_the_first(build, bad_files, tmp_path, line):
    reason, detail = BAD[line]
    with pytest.raises(AnnotationError) as caught:
        build(f"good.png A\n{line}\nnowhere.png A\n", strict=True, **OPTIONS)
    assert caught.value.lineno == 2 and reason in str(caught.value) and detail in str(caught.value)
    assert os.listdir(tmp_path / "out") == []


def test_no_thread_outlives_a_build_that_stops_early(build, bad_files):
    """A thread that the garbage collector would have to end may be ended inside the start of another: both wait."""
    before = threading.active_count()
    with pytest.raises(AnnotationError) as caught:
        build("good.png A\n" + "nowhere.png A\n" * 40, strict=True)
    assert caught.value.lineno == 2 and threading.active_count() == before


def test_the_summary_names_reasons_and_first_lines(build, bad_files, tmp_path):
    report, _ = build("".join(f"none{i}.png A\n" for i in range(9)) + "good.png AB\n")
    summary = "\n".join(report.summary())
    assert summary.startswith("1 image from")
    assert "Charset: 2 symbols: AB" in summary
    assert "Label length: 2 characters" in summary
    assert "Image width: 40 pixels; brought to height 32: 64 pixels" in summary
    assert "Left out: 9 (missing file)" in summary and "and 6 more" in summary
    assert f"{tmp_path}/a.txt:3: " in summary and f"{tmp_path}/a.txt:4: " not in summary


def test_counts_of_symbols_lengths_and_widths(build, tmp_path):
    put(tmp_path, a_png=picture(0, 40, 20), b_png=picture(1, 40, 20), c_png=picture(0, 100, 64))
    report, _ = build("a.png AAB\nb.png B\nc.png \n")
    assert report.symbols == {"A": 2, "B": 2}
    assert report.lengths == {3: 1, 1: 1, 0: 1}
    assert report.widths == {40: 2, 100: 1}
    assert report.network_widths == {64: 2, 50: 1}


def test_the_report_file_names_every_line(build, bad_files, tmp_path):
    report, _ = build("\n".join([*BAD, "good.png A", "good.png B"]), **OPTIONS)
    report.write(str(tmp_path / "r.txt"))
    lines = (tmp_path / "r.txt").read_text("utf-8").splitlines()
    assert lines[: len(BAD)] == [str(drop) for drop in report.drops]
    assert len(lines) == len(BAD) + 1 and "'A' and 'B'" in lines[-1]
    with pytest.raises(DatasetError, match="cannot be written"):
        report.write(str(tmp_path / "good.png" / "r.txt"))


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
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"none.png A\n", "no usable line.*none.png"),
        (b"none.png\n", "no usable line.*no label"),
        ("a.png caf\u00e9\n".encode("latin-1"), "a.txt: has no usable line .not UTF-8: 1.*line is not UTF-8. Save"),
    ],
)
def test_nothing_usable_is_an_error(build, tmp_path, text, words):
    with pytest.raises(AnnotationError, match=words):
        build(text)
    assert not (tmp_path / "out" / "o").exists() and not any((tmp_path / "out").iterdir())


def test_sources_that_are_not_there(tmp_path):
    with pytest.raises(AnnotationError, match="no such file"):
        build_records(str(tmp_path / "none.txt"), str(tmp_path / "o"), BuildOptions())
    with pytest.raises(AnnotationError, match="--label-from-filename"):
        build_records(str(tmp_path), str(tmp_path / "o"), BuildOptions())
    with pytest.raises(AnnotationError, match="cannot be read"):
        build_records("nowhere://bucket/a.txt", str(tmp_path / "o"), BuildOptions())
    assert os.listdir(tmp_path) == []


def test_an_image_in_a_file_system_that_tensorflow_lacks(build, tmp_path):
    put(tmp_path, a_png=picture())
    report, examples = build("nowhere://bucket/a.png A\na.png B\n")
    assert [example.label for example in examples] == ["B"]
    assert report.num_dropped == {MISSING: 1} and "nowhere" in report.drops[0].detail


def test_where_images_are_looked_for(build, tmp_path, monkeypatch):
    for place, seed in (("here", 1), ("base", 2), (".", 3)):
        (tmp_path / place).mkdir(exist_ok=True)
        put(tmp_path / place, a_png=picture(seed))
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
    report, examples = build(text, save_filename=True)
    assert [example.label for example in examples] == ["Stra\u00dfe \u0390", " caf\u00e9 "]
    assert {example.comment for example in examples} == {"a.png"}
    report, examples = build(text, force_uppercase=True)
    assert [example.label for example in examples] == ["STRASSE \u03aa\u0301", " CAF\u00c9 "]
    assert set(report.symbols) == set("STRAE \u03aa\u0301CF\u00c9") and {example.comment for example in examples} == {
        ""
    }


def test_records_in_several_files_are_a_source_too(tmp_path):
    data = draw_numbers(tmp_path / "n", 11)
    build_records(str(data), str(tmp_path / "s"), BuildOptions(shards=3))
    for source in ("s", "s-*"):
        report = build_records(str(tmp_path / source), str(tmp_path / "o"), BuildOptions(charset=Charset("123")))
        assert report.num_images + len(report.drops) == 11 and report.drops
        assert all(drop.where == str(tmp_path / source) for drop in report.drops)
    with pytest.raises(DatasetError, match="not a TFRecord"):
        build_records(str(tmp_path / "n" / "*.txt"), str(tmp_path / "o2"), BuildOptions())


def test_the_source_is_not_written_over(tmp_path):
    data = draw_numbers(tmp_path / "n", 2)
    text = data.read_bytes()
    with pytest.raises(DatasetError, match="holds no records"):
        build_records(str(data), str(data), BuildOptions())
    assert data.read_bytes() == text


def test_file_names_are_labels_in_a_folder_only(tmp_path):
    data = draw_numbers(tmp_path / "n", 2)
    with pytest.raises(AnnotationError, match="wants a folder"):
        build_records(str(data), str(tmp_path / "o"), BuildOptions(label_from_filename=True))


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are Unicode here")
def test_a_name_that_is_not_utf_8_is_left_out(tmp_path):
    (tmp_path / "n").mkdir()
    for name in (b"A.png", b"caf\xe9.png"):
        (tmp_path / "n" / os.fsdecode(name)).write_bytes(picture())
    report = build_records(str(tmp_path / "n"), str(tmp_path / "o"), BuildOptions(label_from_filename=True))
    assert report.num_images == 1 and report.num_dropped == {NOT_UTF8: 1}
    "\n".join(report.summary()).encode()
    report.write(str(tmp_path / "r.txt"))
    assert "not UTF-8. Rename" in (tmp_path / "r.txt").read_text("utf-8")


def test_a_folder_of_images_named_after_their_text(tmp_path):
    (tmp_path / "words").mkdir()
    put(tmp_path / "words", B_png=picture(1), A_png=picture(2), notes_txt=b"")
    report = build_records(str(tmp_path / "words"), str(tmp_path / "o"), BuildOptions(label_from_filename=True))
    assert [example.label for example in read_examples(report.paths[0])] == ["A", "B"]


def test_records_of_aocr_0_7_6_are_checked_too(tmp_path):
    old = str(tmp_path / "old")
    with RecordWriter(old) as writer:
        for example in (
            Example(picture(), "A", "c"),
            Example(b"text", "B"),
            Example(b"", "C"),
            Example(picture(3), "D"),
        ):
            writer.write(example)
    report = build_records(old, str(tmp_path / "o"), BuildOptions(charset=Charset("ABC")))
    assert list(read_examples(report.paths[0])) == [Example(picture(), "A", "c", 40, 20)]
    assert [(drop.number, drop.reason) for drop in report.drops] == [(2, BAD_IMAGE), (3, ZERO_SIZE), (4, OUTSIDE)]


def test_a_cut_record_file_leaves_nothing(tmp_path):
    old = tmp_path / "old"
    with RecordWriter(str(old)) as writer:
        for i in range(9):
            writer.write(Example(picture(i), "A"))
    old.write_bytes(old.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="record 9 is cut off"):
        build_records(str(old), str(tmp_path / "o"), BuildOptions())
    assert os.listdir(tmp_path) == ["old"]


def test_odd_images_are_made_fit(build, tmp_path):
    deep = Image.linear_gradient("L").convert("I").point(lambda v: v * 257).convert("I;16")
    put(
        tmp_path,
        deep_png=encoded(deep),
        wide_png=picture(0, 3000, 1),
        tall_png=picture(0, 1, 3000),
        dot_png=picture(0, 1, 1),
    )
    report, examples = build("deep.png A\nwide.png A\ntall.png A\ndot.png A\n")
    assert [(e.width, e.height) for e in examples] == [(256, 256), (3000, 1), (1, 3000), (1, 1)]
    assert report.network_widths == {32: 2, 96_000: 1, 1: 1}
    for example in examples:
        assert tf.io.decode_png(example.image, dtype=tf.uint8).shape[:2] == (example.height, example.width)


def test_shards_hold_all_lines(build, tmp_path):
    data = draw_numbers(tmp_path / "n", 11)
    report = build_records(str(data), str(tmp_path / "s"), BuildOptions(shards=4))
    assert report.paths == shard_paths(str(tmp_path / "s"), 4)
    assert [len(list(read_examples(path))) for path in report.paths] == [3, 3, 3, 2]


def test_progress_counts_every_line(tmp_path):
    data = draw_numbers(tmp_path / "n", 5)
    data.write_text(data.read_text() + "none.png A\n")
    seen = []
    build_records(str(data), str(tmp_path / "o"), BuildOptions(), seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("place", ["reading", "writing"])
def test_a_build_that_is_broken_off_leaves_nothing(tmp_path, monkeypatch, error, place):
    data = draw_numbers(tmp_path / "n", 30)
    (tmp_path / "out").mkdir()
    with RecordWriter(str(tmp_path / "out" / "o-00000-of-00002")) as writer:
        writer.write(Example(b"of", "before"))
    real, calls = builder.canonical_image, []

    def broken(*args):
        calls.append(1)
        if len(calls) > 20:
            raise error
        return real(*args)

    def broken_progress(seen):
        if seen > 5:
            raise error

    if place == "reading":
        monkeypatch.setattr(builder, "canonical_image", broken)
    progress = broken_progress if place == "writing" else None
    with pytest.raises(error):
        build_records(str(data), str(tmp_path / "out" / "o"), BuildOptions(shards=2), progress)
    assert os.listdir(tmp_path / "out") == ["o-00000-of-00002"]
    assert list(read_examples(str(tmp_path / "out" / "o-00000-of-00002"))) == [Example(b"of", "before")]


def test_images_are_decoded_side_by_side_and_few_wait(build, tmp_path, monkeypatch):
    put(tmp_path, a_png=picture())
    monkeypatch.setattr(builder.os, "cpu_count", lambda: 3)
    real, threads, started, written = builder.canonical_image, set(), [], []

    def slow(*args):
        started.append(1)
        threads.add(threading.get_ident())
        time.sleep(0.001)
        return real(*args)

    monkeypatch.setattr(builder, "canonical_image", slow)
    (tmp_path / "many.txt").write_text("a.png A\n" * 300)
    ahead = []

    def progress(seen):
        written.append(seen)
        ahead.append(len(started) - seen)

    report = build_records(str(tmp_path / "many.txt"), str(tmp_path / "o"), BuildOptions(), progress)
    assert report.num_images == len(started) == 300
    assert len(threads) == 3
    assert max(ahead) <= 16 * 3 + 3


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real images beside the repository")
def test_real_sets_are_whole(tmp_path):
    for name, lists in (("captcha", "test.txt"), ("kannada", "test.txt"), ("lines_english", "train.txt")):
        source = REAL_DATA / name / lists
        expected = source.read_text("utf-8").splitlines()
        report = build_records(str(source), str(tmp_path / name), BuildOptions(data_base_dir=str(source.parent)))
        assert report.num_images == len(expected) and report.drops == []
        labels = [example.label for example in read_examples(str(tmp_path / name))]
        assert labels == [line.split(" ", 1)[1].strip() for line in expected]


def test_a_label_that_no_network_reads_is_left_out(tmp_path):
    """To score it, and to align it in a report, would take time and memory without end."""
    long = "x" * (MAX_LENGTH + 1)
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "labels.txt").write_text(f"a.png {long}\na.png {long[1:]}\n")
    report = build_records(str(tmp_path / "labels.txt"), str(tmp_path / "out"), BuildOptions())
    assert report.num_images == 1 and report.num_dropped == {TOO_LONG: 1}
    assert "10001 characters" in report.drops[0].detail and len(report.drops[0].detail) < 200
    with RecordWriter(str(tmp_path / "records")) as writer:
        writer.write(Example(picture(), "1", width=40, height=20))
        writer.write(Example(picture(), long, width=40, height=20))
    with pytest.raises(DatasetError, match="has a label of 10,001 characters, which no network reads"):
        summarise([str(tmp_path / "records")])
