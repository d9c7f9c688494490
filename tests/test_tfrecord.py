"""Records: written whole or not at all, read as aocr 0.7.6 wrote them, refused where they are something else."""

import io
import os
import pathlib

import pytest
import tensorflow as tf
from conftest import assert_clean_failure, run_aocr
from PIL import Image

from aocr.checksum import masked_crc32c
from aocr.data.datasets import open_dataset, summarise
from aocr.data.framing import num_fitting
from aocr.data.record_files import RecordWriter, expand_datasets, shard_paths
from aocr.data.records import Example, is_tfrecord, is_verified, read_examples, serialize
from aocr.errors import DatasetError

EXAMPLES = [Example(bytes([i]) * 100, f"label {i}", f"{i}.png", 10 + i, 20) for i in range(7)]


def write(path, examples=EXAMPLES, num_shards=1) -> str:
    with RecordWriter(str(path), num_shards) as writer:
        for example in examples:
            writer.write(example)
    return str(path)


def write_raw(path, *features: dict) -> str:
    """Records of these features: bytes or whole numbers."""

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in features:
            content = tf.train.Features(feature={name: feature(value) for name, value in record.items()})
            writer.write(tf.train.Example(features=content).SerializeToString())
    return str(path)


def test_what_is_written_is_read(tmp_path):
    odd = Example(b"\0\xff", "caf\u00e9 \u6f22\u5b57", "a b\u00e9.png", 3, 4)
    empty = Example(b"x", "")
    path = write(tmp_path / "r", [*EXAMPLES, odd, empty])
    assert list(read_examples(path)) == [*EXAMPLES, odd, empty]
    assert is_tfrecord(path)
    assert os.listdir(tmp_path) == ["r"]


def test_the_features_are_those_of_aocr_0_7_6():
    features = tf.train.Example.FromString(serialize(Example(b"img", "\u00e9", "c", 5, 6))).features.feature
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
    assert is_verified(write(tmp_path / "new"))


def test_shards(tmp_path):
    write(tmp_path / "o", num_shards=3)
    names = [f"o-0000{i}-of-00003" for i in range(3)]
    assert sorted(os.listdir(tmp_path)) == names
    assert [os.path.basename(path) for path in shard_paths(str(tmp_path / "o"), 3)] == names
    for i, name in enumerate(names):
        assert list(read_examples(str(tmp_path / name))) == EXAMPLES[i::3]


def test_more_shards_than_records(tmp_path):
    write(tmp_path / "o", EXAMPLES[:1], num_shards=3)
    assert [len(list(read_examples(path))) for path in shard_paths(str(tmp_path / "o"), 3)] == [1, 0, 0]


# what cannot be read


def test_a_missing_file(tmp_path):
    path = str(tmp_path / "none")
    for call in (lambda: list(read_examples(path)), lambda: is_tfrecord(path), lambda: expand_datasets([path])):
        with pytest.raises(DatasetError, match="o such file") as caught:
            call()
        assert caught.value.path == path


def test_a_file_cut_at_any_place(tmp_path):
    write(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    size = len(whole) // len(EXAMPLES)
    path = tmp_path / "cut"
    for length in range(1, len(whole), 17):
        if length % size == 0:
            continue
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"cut off|start is damaged") as caught:
            list(read_examples(str(path)))
        if length > size:
            assert f"record {length // size + 1} is cut off" in str(caught.value)
            assert "aocr dataset" in str(caught.value)


def test_a_changed_byte(tmp_path):
    write(tmp_path / "r")
    data = bytearray((tmp_path / "r").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "r").write_bytes(data)
    with pytest.raises(DatasetError, match="record 4 is cut off or damaged; the 3 before it are whole"):
        list(read_examples(str(tmp_path / "r")))


@pytest.mark.parametrize("length", [2**31, 2**40, 2**64 - 1])
@pytest.mark.parametrize("number", [0, 3])
def test_a_length_beyond_the_end_whose_checksum_is_right(tmp_path, length, number):
    """TensorFlow alone ends the process: it asks for that much memory."""
    path = write(tmp_path / "r")
    data = (tmp_path / "r").read_bytes()
    size = len(data) // len(EXAMPLES)
    head = length.to_bytes(8, "little")
    head += masked_crc32c(head).to_bytes(4, "little")
    (tmp_path / "r").write_bytes(data[: number * size] + head + data[number * size + 12 :])
    assert num_fitting(path) == number
    said = f"record {number + 1} is cut off or damaged" if number else "start is damaged"
    with pytest.raises(DatasetError, match=said):
        list(read_examples(path))
    with pytest.raises(DatasetError, match=said):
        summarise([path])


def test_lengths_are_read_on_any_file_system(tmp_path):
    data = pathlib.Path(write(tmp_path / "r")).read_bytes()
    with tf.io.gfile.GFile("ram://framing", "wb") as file:
        file.write(data[:-1])
    assert num_fitting("ram://framing") == len(EXAMPLES) - 1
    assert num_fitting(str(tmp_path / "r")) == len(EXAMPLES)
    assert num_fitting(str(tmp_path / "r"), limit=2) == 2


def test_something_that_is_no_record_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a.png HELLO\n" * 20)
    assert not is_tfrecord(str(path))
    with pytest.raises(DatasetError, match="not a TFRecord"):
        list(read_examples(str(path)))
    path.write_bytes(b"")
    assert not is_tfrecord(str(path))
    with pytest.raises(DatasetError, match="no record"):
        is_verified(str(path))


@pytest.mark.parametrize(
    "record, found",
    [
        ({"age": 3, "name": b"x"}, r"age \(int64_list\), name \(bytes_list\)"),
        ({"image/encoded": b"i", "image/text": b"x"}, "image/encoded"),
        ({"image": b"i", "label": 3}, r"label \(int64_list\)"),
        ({"image": b"i"}, "image"),
        ({}, "none"),
    ],
)
def test_records_of_something_else(tmp_path, record, found):
    with pytest.raises(DatasetError, match=f"record 1 has no image and label.*{found}"):
        list(read_examples(write_raw(tmp_path / "r", record)))


def test_records_that_are_no_examples(tmp_path):
    path = str(tmp_path / "r")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xff\xff\xff")
    with pytest.raises(DatasetError, match="record 1 is not of aocr"):
        list(read_examples(path))


def test_a_folder_is_not_a_record_file(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot be read") as caught:
        is_tfrecord(str(tmp_path))
    assert "function_node" not in str(caught.value)


# names


def test_globs_and_shards(tmp_path):
    for name in ("b.tfrecords", "a.tfrecords", "c[1].tfrecords", "s-00000-of-00002", "s-00001-of-00002"):
        (tmp_path / name).touch()

    def names(*patterns):
        return [os.path.basename(path) for path in expand_datasets([str(tmp_path / p) for p in patterns])]

    assert names("[ab].tfrecords") == ["a.tfrecords", "b.tfrecords"]
    assert names("b.tfrecords", "*.tfrecords") == ["b.tfrecords", "a.tfrecords", "c[1].tfrecords"]
    assert names("s") == ["s-00000-of-00002", "s-00001-of-00002"]
    assert names("c[1].tfrecords") == ["c[1].tfrecords"]
    with pytest.raises(DatasetError, match="no such file"):
        names("a.tfrecords", "x*")


def test_a_file_named_twice_is_taken_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.tfrecords", "b.tfrecords", "s-00000-of-00002", "s-00001-of-00002"):
        (tmp_path / name).write_bytes(b"x")
    assert expand_datasets(["a.tfrecords", "./a.tfrecords", "*.tfrecords", str(tmp_path / "b.tfrecords")]) == [
        "a.tfrecords", "b.tfrecords",
    ]  # fmt: skip
    assert expand_datasets(["s", "./s-*"]) == ["s-00000-of-00002", "s-00001-of-00002"]


def test_files_that_a_writer_left_unfinished_are_not_records(tmp_path):
    write(tmp_path / "s", num_shards=2)
    for name in ("s-00000-of-00002.77.tmp", "s.77.tmp"):
        (tmp_path / name).write_bytes(b"half")
    whole = shard_paths(str(tmp_path / "s"), 2)
    assert expand_datasets([str(tmp_path / "s")]) == expand_datasets([str(tmp_path / "s*")]) == whole


def test_shards_of_a_name_with_brackets_are_its_own(tmp_path):
    """Taken for a pattern, `r[1]` named the shards of `r1`, and never its own."""
    for name in ("r1", "r[1]"):
        for path in shard_paths(str(tmp_path / name), 2):
            pathlib.Path(path).write_bytes(b"x")
    assert expand_datasets([str(tmp_path / "r[1]")]) == shard_paths(str(tmp_path / "r[1]"), 2)
    assert expand_datasets([str(tmp_path / "r[12]")]) == shard_paths(str(tmp_path / "r1"), 2)


def test_shards_without_a_record_are_left_out(tmp_path):
    write(tmp_path / "s", EXAMPLES[:1], num_shards=3)
    for pattern in ("s", "s*"):
        assert expand_datasets([str(tmp_path / pattern)]) == [str(tmp_path / "s-00000-of-00003")]


def test_a_lost_shard(tmp_path):
    write(tmp_path / "s", num_shards=3)
    (tmp_path / "s-00001-of-00003").unlink()
    with pytest.raises(DatasetError, match="s-00001-of-00003 is missing"):
        expand_datasets([str(tmp_path / "s")])
    assert len(expand_datasets([str(tmp_path / "s-*")])) == 2  # a part of them may be asked for


@pytest.mark.parametrize("before, after", [(4, 2), (2, 4), (1, 3), (3, 1)])
def test_two_builds_under_one_name_are_not_mixed(tmp_path, before, after):
    for num_shards in (before, after):
        write(tmp_path / "s", num_shards=num_shards)
    for pattern in ("s", "s*"):
        with pytest.raises(DatasetError, match="of different builds"):
            expand_datasets([str(tmp_path / pattern)])
    part = str(tmp_path / "s-00000-of-0000") + str(max(before, after))
    assert expand_datasets([part]) == [part]


def test_an_annotation_file_may_stand_beside_its_shards(tmp_path):
    write(tmp_path / "a.txt", num_shards=2)
    (tmp_path / "a.txt").write_text("a.png A\n")
    assert expand_datasets([str(tmp_path / "a.txt")]) == [str(tmp_path / "a.txt")]


def test_a_file_system_that_tensorflow_lacks():
    with pytest.raises(DatasetError, match="no file system for nowhere://"):
        expand_datasets(["nowhere://bucket/a.tfrecords"])


# writing


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_a_write_that_was_broken_off(tmp_path, error):
    write(tmp_path / "o", EXAMPLES[:2])
    before = (tmp_path / "o").read_bytes()
    with pytest.raises(error), RecordWriter(str(tmp_path / "o")) as writer:
        writer.write(EXAMPLES[3])
        raise error
    with pytest.raises(error), RecordWriter(str(tmp_path / "new"), 4) as writer:
        raise error
    assert os.listdir(tmp_path) == ["o"]
    assert (tmp_path / "o").read_bytes() == before


def test_nothing_is_seen_before_all_is_written(tmp_path):
    with RecordWriter(str(tmp_path / "deep" / "o")) as writer:
        writer.write(EXAMPLES[0])
        assert not (tmp_path / "deep" / "o").exists()
    assert os.listdir(tmp_path / "deep") == ["o"]


class _FullDisk:
    """A TFRecordWriter that has no room from its third record on, or at its close."""

    def __init__(self, writer, at_close):
        self._writer, self._count, self._at_close = writer, 0, at_close

    def write(self, record):
        self._count += 1
        if self._count > 2 and not self._at_close:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        self._writer.write(record)

    def close(self):
        self._writer.close()
        if self._at_close:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")


@pytest.mark.parametrize("at_close", [False, True])
def test_a_full_disk(tmp_path, monkeypatch, at_close):
    real = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda path: _FullDisk(real(path), at_close))
    with pytest.raises(DatasetError, match=r"No space left on device.*Free space"):
        write(tmp_path / "o", num_shards=2)
    assert os.listdir(tmp_path) == []


def test_a_writer_that_cannot_start_leaves_nothing(tmp_path, monkeypatch):
    real, opened = tf.io.TFRecordWriter, []

    def writer(path):
        opened.append(path)
        if len(opened) == 3:
            raise tf.errors.PermissionDeniedError(None, None, "Permission denied")
        return real(path)

    monkeypatch.setattr(tf.io, "TFRecordWriter", writer)
    with pytest.raises(DatasetError, match=r"Permission denied.*check rights"):
        write(tmp_path / "o", num_shards=4)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DatasetError, match="cannot be written"):
        write(tmp_path / "o")


def test_only_records_are_written_over(tmp_path):
    (tmp_path / "labels.txt").write_text("a.png A\n")
    (tmp_path / "empty").touch()
    with pytest.raises(DatasetError, match=r"labels\.txt: already exists and holds no records"):
        write(tmp_path / "labels.txt")
    assert (tmp_path / "labels.txt").read_text() == "a.png A\n"
    for path in (tmp_path / "empty", write(tmp_path / "old", EXAMPLES[:2])):
        assert list(read_examples(write(path))) == EXAMPLES
    assert sorted(os.listdir(tmp_path)) == ["empty", "labels.txt", "old"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="not a plain file"):
        write(tmp_path / "pipe")
    assert os.listdir(tmp_path) == ["pipe"] and not (tmp_path / "pipe").is_file()


def test_a_folder_or_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match="cannot be written"):
        write(tmp_path / "file" / "o")
    with pytest.raises(DatasetError, match="is a folder"):
        write(tmp_path / "folder")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and os.listdir(tmp_path / "folder") == []


# records of a stranger, of whose images only the first was looked at


def picture(width=40, height=32) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width, height), 255).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("image", [b"", b"garbage", b"%!PS-Adobe-3.0 EPSF-3.0\n", picture()[:60]])
def test_an_image_that_cannot_be_read_is_told(tmp_path, image):
    good = Example(picture(), "1", "", 40, 32)
    path = write(tmp_path / "r.tfrecords", [good, good, Example(image, "1", "", 40, 32)])
    commands = ["test"], ["train", "--num-epoch", "1", "--init-from", "none", "--no-resume", "--no-augment"]
    for command, *more in commands:
        model = "words" if command == "test" else tmp_path / "m"
        line = assert_clean_failure(run_aocr(command, path, "--model-dir", model, *more), path, "image that cannot be")
        assert "Iterator" not in line and "Build it again" in line


def test_an_image_wider_than_its_record_says_is_told(tmp_path):
    good = Example(picture(), "1", "", 40, 32)
    path = write(tmp_path / "r.tfrecords", [good, Example(picture(4000), "1", "", 40, 32)])
    assert_clean_failure(run_aocr("test", path, "--model-dir", "words"), path, "wider than its record says")


@pytest.mark.parametrize("width, height", [(2**62, 1), (2**63 - 1, 2**63 - 1), (10**9, 1), (-5, 32), (40, -5), (40, 0)])
def test_sizes_that_cannot_be_are_told(tmp_path, width, height):
    good = Example(picture(), "1", "", 40, 32)
    path = write(tmp_path / "r.tfrecords", [good, Example(picture(), "1", "", width, height)])
    with pytest.raises(DatasetError, match="sizes that cannot be"), open_dataset([path]):
        pass
