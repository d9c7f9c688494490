"""`aocr dataset --export`: other programs read what is written, and aocr reads it back without loss."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_clean_failure, run_aocr
from PIL import Image

from aocr.data.builder import BuildOptions, build_records
from aocr.data.records import Example, RecordWriter, read_examples
from aocr.data.writers import TARGETS
from aocr.report.pictures import encode_image
from aocr.text.charset import normalise

ALPHABET = "ab1,;\"'|#= \t\n\r\\é字😀\u0301\u2028\x85{[<\ufeff"
ANNOTATIONS = {"csv": "labels.csv", "paddle": "labels.txt"}


def picture(number: int, kind: str = "PNG") -> bytes:
    return encode_image(Image.fromarray(np.full((12, 20), number % 256, np.uint8)), kind)


def write_records(path: Path, labels: list[str]) -> Path:
    with RecordWriter(str(path)) as writer:
        for number, label in enumerate(labels):
            writer.write(Example(picture(number, ("PNG", "JPEG")[number % 2]), label, "", 20, 12))
    return path


def examples(path: Path) -> list[tuple[bytes, str]]:
    return [(example.image, example.label) for example in read_examples(str(path))]


def exported(records: Path, folder: Path, kind: str):
    return build_records(str(records), str(folder), BuildOptions(export=kind, empty_labels=True))


def read_back(folder: Path, kind: str, path: Path) -> list[tuple[bytes, str]]:
    source = folder / ANNOTATIONS.get(kind, "")
    options = BuildOptions(empty_labels=True, columns="plain" if kind == "paddle" else None)
    build_records(str(source), str(path), options)
    return examples(path)


@pytest.mark.parametrize("kind", TARGETS)
def test_any_label_that_a_format_holds_comes_back(kind, tmp_path):
    pytest.importorskip("lmdb")
    rng = random.Random(0)
    labels = ["", "plain", 'say "hi"', "a,b", *("".join(rng.choices(ALPHABET, k=rng.randrange(8))) for _ in range(120))]
    records = write_records(tmp_path / "in.tfrecords", list(map(normalise, labels)))
    before = examples(records)
    held = [pair for pair in before if not TARGETS[kind].flaw(pair[1])]
    report = exported(records, tmp_path / "out", kind)
    assert report.num_images == len(held) >= 20 and len(report.drops) == len(before) - len(held)
    assert read_back(tmp_path / "out", kind, tmp_path / "back.tfrecords") == held


@pytest.mark.parametrize("kind", TARGETS)
def test_ordinary_labels_come_back_without_a_flag(kind, tmp_path):
    pytest.importorskip("lmdb")
    labels = ["Tel. 0 12", "a,b", 'say "hi"', "naïve", "字", "x; y", "#1", "100 %"]
    records = write_records(tmp_path / "in.tfrecords", labels)
    exported(records, tmp_path / "out", kind)
    build_records(str(tmp_path / "out" / ANNOTATIONS.get(kind, "")), str(tmp_path / "back"), BuildOptions())
    assert examples(tmp_path / "back") == examples(records)


def test_what_a_format_cannot_hold_is_left_out_and_named(tmp_path):
    records = write_records(tmp_path / "in.tfrecords", ["good", "a\tb", " outside", "two\nlines"])
    for kind, flaws in (
        ("paddle", ["'a\\tb' has a TAB or a line break", "'two\\nlines' has a TAB or a line break"]),
        ("gt-txt", ["' outside' has white space around it", "'two\\nlines' has a line break"]),
        ("csv", []),
    ):
        done = run_aocr("dataset", records, tmp_path / kind, "--export", kind)
        assert done.returncode == 0, done.stderr
        assert (f"Left out: {len(flaws)} (label that --export cannot write)" in done.stdout) == bool(flaws)
        for flaw in flaws:
            assert f"{flaw}, which {kind} cannot hold. csv can." in done.stdout


def test_csv_is_a_table_of_any_program(tmp_path):
    records = write_records(tmp_path / "in.tfrecords", ["a,b", 'say "hi"', "two\nlines"])
    exported(records, tmp_path / "out", "csv")
    with open(tmp_path / "out/labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["a,b", 'say "hi"', "two\nlines"]
    assert (tmp_path / "out" / rows[0]["path"]).read_bytes() == picture(0)
    assert rows[1]["path"] == "images/000000002.jpg"


def test_paddle_list_is_split_at_its_tab(tmp_path):
    records = write_records(tmp_path / "in.tfrecords", ["a b", "c"])
    exported(records, tmp_path / "out", "paddle")
    lines = (tmp_path / "out/labels.txt").read_text("utf-8").splitlines()
    assert [line.split("\t") for line in lines] == [["images/000000001.png", "a b"], ["images/000000002.jpg", "c"]]


def test_lmdb_has_the_keys_of_scene_text(tmp_path, monkeypatch):
    """As read by deep-text-recognition-benchmark and PARSeq, with a map that has to grow."""
    lmdb = pytest.importorskip("lmdb")
    records = write_records(tmp_path / "in.tfrecords", [f"word {i}" for i in range(30)])
    monkeypatch.setattr("aocr.data.writers.MAP_BYTES", 2**14)
    exported(records, tmp_path / "out", "lmdb")
    with lmdb.open(str(tmp_path / "out"), readonly=True, lock=False) as env, env.begin() as txn:
        assert txn.get(b"num-samples") == b"30"
        assert txn.get(b"label-000000030") == b"word 29"
        assert txn.get(b"image-000000001") == picture(0)


def test_nothing_is_replaced_and_nothing_half_written_stays(tmp_path):
    records = write_records(tmp_path / "in.tfrecords", ["a", "b\tc"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    assert_clean_failure(run_aocr("dataset", records, tmp_path / "full", "--export", "csv"), "already exists")
    strict = run_aocr("dataset", records, tmp_path / "out", "--export", "paddle", "--strict")
    assert_clean_failure(strict, "in.tfrecords:2", "has a TAB")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "in.tfrecords"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    flags = ("--export", "csv", "--shards", "2")
    assert_clean_failure(run_aocr("dataset", records, tmp_path / "out", *flags), "--export", "--shards")


def test_default_folder_is_named_after_the_format(tmp_path):
    records = write_records(tmp_path / "in.tfrecords", ["a"])
    done = run_aocr("dataset", records, "--export", "gt-txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dataset-gt-txt/000000001.gt.txt").read_text() == "a\n"


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("aocr.machine.has_package", lambda name: name != "lmdb")
    records = write_records(tmp_path / "in.tfrecords", ["a"])
    assert_clean_failure(run_aocr("dataset", records, tmp_path / "o", "--export", "lmdb"), "pip install 'aocr[lmdb]'")
