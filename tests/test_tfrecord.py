"""Records: written whole or not at all, read as aocr 0.7.6 wrote them, refused if they are something else."""

import io
import os
import pathlib

import pytest
import tensorflow as tf
from conftest import assert_clean_failure, run_aocr
from PIL import Image

from aocr.data.datasets import open_dataset, summarise
from aocr.data.records import (
    Example,
    RecordWriter,
    expand_datasets,
    is_tfrecord,
    is_verified,
    read_examples,
    shard_paths,
)
from aocr.errors import DatasetError
from aocr.tfrecord import encode_example, masked_crc32c

EXAMPLES = [Example(bytes([i]) * 100, f"label {i}", f"{i}.png", 10 + i, 20) for i in range(7)]


def write(path, examples=EXAMPLES, num_shards=1) -> str:
    with RecordWriter(str(path), num_shards) as writer:
        for example in examples:
            writer.write(example)
    return str(path)


def write_raw(path, *records: dict) -> str:
    """Write records with these features: bytes or integers."""

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            content = tf.train.Features(feature={name: feature(value) for name, value in record.items()})
            writer.write(tf.train.Example(features=content).SerializeToString())
    return str(path)


def test_round_trip(tmp_path):
    examples = [*EXAMPLES, Example(b"\0\xff", "caf\u00e9 \u6f22\u5b57", "a b\u00e9.png", 3, 4), Example(b"x", "")]
    path = write(tmp_path / "deep" / "r", examples)
    assert list(read_examples(path)) == examples
    assert is_tfrecord(path) and is_verified(path)
    assert os.listdir(tmp_path / "deep") == ["r"]


def test_the_features_are_those_of_aocr_0_7_6():
    features = tf.train.Example.FromString(encode_example(b"img", "\u00e9", 5, 6, "c")).features.feature
    values = {name: features[name].bytes_list.value[:] for name in ("image", "label", "comment")}
    assert values == {"image": [b"img"], "label": ["\u00e9".encode()], "comment": [b"c"]}
    assert {name: features[name].int64_list.value[:] for name in ("width", "height")} == {"width": [5], "height": [6]}


def test_records_of_aocr_0_7_6(tmp_path):
    path = write_raw(
        tmp_path / "old",
        {"image": b"i", "label": b"plain", "comment": b""},
        {"image": b"i", "label": "caf\u00e9".encode("latin-1"), "comment": b"a.png"},
        {"image": b"i", "label": "cafe\u0301".encode()},
    )
    assert list(read_examples(path)) == [
        Example(b"i", "plain"), Example(b"i", "caf\u00e9", "a.png"), Example(b"i", "caf\u00e9"),
    ]  # fmt: skip
    assert is_tfrecord(path) and not is_verified(path)


def test_shards(tmp_path):
    write(tmp_path / "o", num_shards=3)
    names = [f"o-0000{i}-of-00003" for i in range(3)]
    assert sorted(os.listdir(tmp_path)) == names
    assert [os.path.basename(path) for path in shard_paths(str(tmp_path / "o"), 3)] == names
    for i, name in enumerate(names):
        assert list(read_examples(str(tmp_path / name))) == EXAMPLES[i::3]


# Damaged files


def test_a_missing_file(tmp_path):
    path = str(tmp_path / "none")
    for call in (lambda: list(read_examples(path)), lambda: is_tfrecord(path), lambda: expand_datasets([path])):
        with pytest.raises(DatasetError, match="o such file") as caught:
            call()
        assert caught.value.path == path


def test_a_file_cut_off_anywhere(tmp_path):
    whole = pathlib.Path(write(tmp_path / "whole")).read_bytes()
    size = len(whole) // len(EXAMPLES)
    path = tmp_path / "cut"
    for length in (1, 9, 13, size - 1, size + 1, size + 9, 3 * size + 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        words = f"record {length // size + 1} is cut off" if length > size else "start is damaged"
        for read in (lambda: list(read_examples(str(path))), lambda: summarise([str(path)])):
            with pytest.raises(DatasetError, match=words):
                read()


def test_a_changed_byte(tmp_path):
    path = tmp_path / "r"
    data = bytearray(pathlib.Path(write(path)).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"record 4 is cut off or damaged.*Build the file again with aocr dataset"):
        list(read_examples(str(path)))
    with pytest.raises(DatasetError, match="a record is damaged"):
        summarise([str(path)])


@pytest.mark.parametrize("length", [2**31, 2**64 - 1])
def test_a_forged_length_with_a_valid_checksum(tmp_path, length):
    """TensorFlow alone ends the process: it asks for that much memory."""
    path = tmp_path / "r"
    data = pathlib.Path(write(path)).read_bytes()
    start = 3 * (len(data) // len(EXAMPLES))
    head = length.to_bytes(8, "little")
    path.write_bytes(data[:start] + head + masked_crc32c(head).to_bytes(4, "little") + data[start + 12 :])
    for read in (lambda: list(read_examples(str(path))), lambda: summarise([str(path)])):
        with pytest.raises(DatasetError, match="record 4 is cut off or damaged"):
            read()


def test_files_of_another_type(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a.png HELLO\n" * 20)
    assert not is_tfrecord(str(path))
    with pytest.raises(DatasetError, match="not a TFRecord"):
        list(read_examples(str(path)))
    path.write_bytes(b"")
    assert not is_tfrecord(str(path))
    with pytest.raises(DatasetError, match="contains no records"):
        is_verified(str(path))
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        is_tfrecord(str(tmp_path))
    assert "function_node" not in str(caught.value)


@pytest.mark.parametrize("record", [{"image/encoded": b"i"}, {"image": b"i", "label": 3}, b"\xff\xff\xff"])
def test_records_of_another_program(tmp_path, record):
    path = str(tmp_path / "r")
    if isinstance(record, dict):
        write_raw(path, record)
    else:
        with tf.io.TFRecordWriter(path) as writer:
            writer.write(record)
    with pytest.raises(DatasetError, match="record 1 lacks the features"):
        list(read_examples(path))
    with pytest.raises(DatasetError, match="of another program"):
        summarise([path])


# Names


def test_globs_and_stems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.tfrecords", "a.tfrecords", "c[1].tfrecords", "s-00000-of-00002", "s-00001-of-00002", "s.77.tmp"):
        (tmp_path / name).write_bytes(b"x")
    shards = ["s-00000-of-00002", "s-00001-of-00002"]
    assert expand_datasets(["[ab].tfrecords"]) == ["a.tfrecords", "b.tfrecords"]
    assert expand_datasets(["c[1].tfrecords"]) == ["c[1].tfrecords"]
    assert expand_datasets(["b.tfrecords", "./b.tfrecords", "*.tfrecords", str(tmp_path / "a.tfrecords")]) == [
        "b.tfrecords", "a.tfrecords", "c[1].tfrecords",
    ]  # fmt: skip
    assert expand_datasets(["s"]) == expand_datasets(["s*"]) == expand_datasets(["s", "./s-*"]) == shards
    with pytest.raises(DatasetError, match="no such file"):
        expand_datasets(["a.tfrecords", "x*"])


def test_shards_of_a_name_with_brackets(tmp_path):
    for name in ("r1", "r[1]"):
        for path in shard_paths(str(tmp_path / name), 2):
            pathlib.Path(path).write_bytes(b"x")
    assert expand_datasets([str(tmp_path / "r[1]")]) == shard_paths(str(tmp_path / "r[1]"), 2)


def test_empty_shards_are_left_out(tmp_path):
    write(tmp_path / "s", EXAMPLES[:1], num_shards=3)
    for pattern in ("s", "s*"):
        assert expand_datasets([str(tmp_path / pattern)]) == [str(tmp_path / "s-00000-of-00003")]


def test_a_missing_shard(tmp_path):
    write(tmp_path / "s", num_shards=3)
    (tmp_path / "s-00001-of-00003").unlink()
    with pytest.raises(DatasetError, match="s-00001-of-00003 is missing"):
        expand_datasets([str(tmp_path / "s")])
    assert len(expand_datasets([str(tmp_path / "s-*")])) == 2


def test_shards_of_two_builds(tmp_path):
    for num_shards in (4, 2):
        write(tmp_path / "s", num_shards=num_shards)
    with pytest.raises(DatasetError, match="of different builds"):
        expand_datasets([str(tmp_path / "s")])


# Writing


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_nothing(tmp_path, error):
    write(tmp_path / "o", EXAMPLES[:2])
    with pytest.raises(error), RecordWriter(str(tmp_path / "o")) as writer:
        writer.write(EXAMPLES[3])
        raise error
    with pytest.raises(error), RecordWriter(str(tmp_path / "new"), 4) as writer:
        raise error
    assert os.listdir(tmp_path) == ["o"]
    assert list(read_examples(str(tmp_path / "o"))) == EXAMPLES[:2]


@pytest.mark.parametrize("method", ["write", "close"])
def test_a_full_disk(tmp_path, monkeypatch, method):
    class FullDisk(tf.io.TFRecordWriter):
        pass

    def fail(self, *args):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    setattr(FullDisk, method, fail)
    monkeypatch.setattr(tf.io, "TFRecordWriter", FullDisk)
    with pytest.raises(DatasetError, match=r"No space left on device.*Free space"):
        write(tmp_path / "o", num_shards=2)
    assert os.listdir(tmp_path) == []


def test_only_records_are_overwritten(tmp_path):
    (tmp_path / "labels.txt").write_text("a.png A\n")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=r"labels\.txt: already exists and is not a file of records"):
        write(tmp_path / "labels.txt")
    with pytest.raises(DatasetError, match="is a folder"):
        write(tmp_path / "folder")
    with pytest.raises(DatasetError, match="cannot be written"):
        write(tmp_path / "empty" / "o")
    for path in (tmp_path / "empty", write(tmp_path / "old", EXAMPLES[:2])):
        assert list(read_examples(write(path))) == EXAMPLES
    assert (tmp_path / "labels.txt").read_text() == "a.png A\n"
    assert sorted(os.listdir(tmp_path)) == ["empty", "folder", "labels.txt", "old"]


# Records of a stranger, of which only the first image was checked


def picture(width=40, height=32) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 255).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("image", [b"", b"garbage", picture()[:60]])
def test_an_image_that_cannot_be_decoded(tmp_path, image):
    good = Example(picture(), "1", "", 40, 32)
    path = write(tmp_path / "r.tfrecords", [good, good, Example(image, "1", "", 40, 32)])
    line = assert_clean_failure(run_aocr("test", path, "--model-dir", "words"), path, "image that cannot be")
    assert "Iterator" not in line and "Build it again" in line


def test_an_image_wider_than_its_record_says(tmp_path):
    good = Example(picture(), "1", "", 40, 32)
    path = write(tmp_path / "r.tfrecords", [good, Example(picture(4000), "1", "", 40, 32)])
    assert_clean_failure(run_aocr("test", path, "--model-dir", "words"), path, "wider than its record says")


@pytest.mark.parametrize("width, height", [(2**63 - 1, 2**63 - 1), (10**9, 1), (-5, 32), (40, 0)])
def test_impossible_sizes(tmp_path, width, height):
    good = Example(picture(), "1", "", 40, 32)
    path = write(tmp_path / "r.tfrecords", [good, Example(picture(), "1", "", width, height)])
    with pytest.raises(DatasetError, match="impossible image sizes"), open_dataset([path]):
        pass
