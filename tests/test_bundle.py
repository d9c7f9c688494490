"""TensorFlow's checkpoints read by numpy: what TensorFlow wrote, and what somebody forged."""

import itertools
import os
import random
import struct

import numpy as np
import pytest
import tensorflow as tf

from aocr.checksum import crc32c, masked_crc32c
from aocr.errors import CheckpointError
from aocr.folder.bundle import Bundle
from aocr.folder.weights import read_weights
from aocr.protobuf import field, varint

DATA = "ckpt.data-00000-of-00001"
MAGIC = bytes.fromhex("57fb808b247547db")
HEADER = (b"", field(1, 1))


@pytest.mark.parametrize("length", [0, 1, 9, 64, 65, 256, 257, 512, 513, 514, 767, 768, 769, 9001, 70_000])
def test_checksums(length):
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    assert crc32c(data) == crc32c(memoryview(data)) == state ^ 0xFFFFFFFF
    assert crc32c(b"123456789") == 0xE3069283


def save(prefix, arrays):
    names, values = zip(*arrays.items(), strict=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(names), shape_and_slices=[""] * len(names), tensors=list(values)
    )


@pytest.mark.parametrize("seed", range(8))
def test_what_tensorflow_wrote_is_read(seed, tmp_path):
    rng = np.random.default_rng(seed)
    kinds = ["f4", "f8", "i4", "i8", "u1", "i1", "f2", "u4", "u8"]
    arrays = {}
    for number in range(int(rng.integers(1, 400))):
        shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
        name = f"{rng.choice(['model', 'averaged'])}/" + "x" * int(rng.integers(0, 60)) + f"/{number}"
        arrays[name] = rng.integers(0, 120, shape).astype(rng.choice(kinds))
    arrays["large"] = rng.normal(size=(300, 1000)).astype(np.float32)
    save(tmp_path / "ckpt", arrays)
    bundle = Bundle(str(tmp_path / "ckpt"))
    assert bundle.shapes == {name: array.shape for name, array in arrays.items()}
    for name, array in bundle.read(arrays).items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])


def test_texts_and_parts_of_arrays_are_passed_over(tmp_path):
    part = {"shape_and_slices": ["", "4 4 0,2:-"], "tensors": [tf.constant("a"), tf.zeros((2, 4))]}
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "ckpt"), tensor_names=["text", "part"], **part)
    assert not {"text", "part"} & Bundle(str(tmp_path / "ckpt")).shapes.keys()


def test_every_changed_byte_is_noticed(tmp_path):
    arrays = {f"averaged/{i}/.ATTRIBUTES/VARIABLE_VALUE": np.arange(i, dtype=np.float32) for i in range(1, 5)}
    save(tmp_path / "ckpt", arrays)
    good, rng = read_weights(str(tmp_path / "ckpt")), random.Random(0)
    changes = 0
    for name in ("ckpt.index", DATA):
        data = (tmp_path / name).read_bytes()
        for at in range(len(data)):
            (tmp_path / name).write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
            try:
                found = read_weights(str(tmp_path / "ckpt"))
            except CheckpointError:
                changes += 1
            else:  # what lies between the parts of an index
                assert found.keys() == good.keys()
                assert all(np.array_equal(found[key], good[key]) for key in good)
        (tmp_path / name).write_bytes(data)
    assert changes > 200


@pytest.mark.parametrize("name", ["ckpt.index", DATA])
def test_what_is_cut_off_is_damaged(name, tmp_path):
    save(tmp_path / "ckpt", {"averaged/a/.ATTRIBUTES/VARIABLE_VALUE": np.ones(300, np.float32)})
    for size in range(0, (tmp_path / name).stat().st_size, 7)[::-1]:
        os.truncate(tmp_path / name, size)
        with pytest.raises(CheckpointError, match="missing or damaged"):
            read_weights(str(tmp_path / "ckpt"))


def test_pipes_and_folders_are_refused(tmp_path):
    save(tmp_path / "ckpt", {"a": np.ones(3, np.float32)})
    (tmp_path / DATA).unlink()
    os.mkfifo(tmp_path / DATA)
    with pytest.raises(OSError, match="a pipe"):
        Bundle(str(tmp_path / "ckpt"))


# Forged ones


def block(pairs):
    """Pairs of (bytes shared with the key before, rest of the key, value) and where keys begin anew."""
    parts = (varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value for shared, rest, value in pairs)
    return b"".join(parts) + struct.pack("<II", 0, 1)


def table(path, blocks, repeated=1):
    """An index of blocks, each named so many times, and a file of 1,000 bytes."""
    data, handles = b"", []
    for pairs in [*blocks, None]:
        content = block([(0, b"", handle) for handle in handles] if pairs is None else pairs)
        handles += [varint(len(data)) + varint(len(content))] * repeated
        data += content + b"\0" + masked_crc32c(content + b"\0").to_bytes(4, "little")
    (path / "ckpt.index").write_bytes(data + (b"\0\0" + handles[-1]).ljust(40, b"\0") + MAGIC)
    (path / DATA).write_bytes(bytes(1000))
    return Bundle(str(path / "ckpt"))


def entry(kind=1, sides=(3,), **others):
    """An array's entry; `others` are fields by their numbers, as f3."""
    shape = b"".join(field(2, field(1, side)) for side in sides)
    fields = {"f1": kind, "f2": shape, "f5": 12, **others}
    return b"".join(field(int(name[1:]), value) for name, value in fields.items() if value is not None)


def test_a_table_of_our_own_is_read(tmp_path):
    assert table(tmp_path, [[(0, *HEADER), (0, b"abc", entry())], [(0, b"abd", entry())]]).shapes == {
        "abc": (3,),
        "abd": (3,),
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sides": (4,)}, "not that of its shape"),
        ({"sides": (-1,)}, "not that of its shape"),
        ({"sides": (0, -1)}, "not that of its shape"),
        ({"sides": (2**40, 2**40, 0)}, "not that of its shape"),
        ({"sides": (1,) * 8 + (3,)}, "not that of its shape"),
        ({"f3": 1}, "not that of its shape"),
        ({"f4": 989}, "cut off"),
        ({"f4": 2**64 - 1}, "cut off"),
        ({"f5": 2**63}, "not that of its shape"),
        ({"f1": b"1"}, "of another type"),
        ({"f2": 7}, "of another type"),
        ({"f2": field(2, 7)}, "a number in place of a message"),
        ({"f2": field(2, field(1, b"3"))}, "of another type"),
        ({"f4": b"x"}, "of another type"),
        ({"f6": b"abcd"}, "of another type"),
    ],
)
def test_forged_entries_are_refused(changed, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        table(tmp_path, [[(0, *HEADER), (0, b"a", entry(**changed))]])


@pytest.mark.parametrize("kind", [0, 7, 8, 20, 77, 101, 2**63])
def test_arrays_of_types_that_are_not_ours_are_passed_over(kind, tmp_path):
    assert table(tmp_path, [[(0, *HEADER), (0, b"a", entry(kind))]]).shapes == {}


@pytest.mark.parametrize("header", [field(1, 2), field(1, 1) + field(2, 1), b"\x0f\x01", field(1, 1) * 2, b""])
def test_headers_that_are_not_ours_are_refused(header, tmp_path):
    with pytest.raises(ValueError):
        table(tmp_path, [[(0, b"", header)]])


def test_arrays_may_not_lie_upon_each_other(tmp_path):
    """A small file could fill the memory."""
    pairs = [(0, f"{i:03}".encode(), entry()) for i in range(84)]
    with pytest.raises(ValueError, match="overlap"):
        table(tmp_path, [[(0, *HEADER), *pairs]])


@pytest.mark.parametrize("names", [(b"a", b"a"), (b"b", b"a")])
def test_names_are_in_order(names, tmp_path):
    with pytest.raises(ValueError, match="not in order"):
        table(tmp_path, [[(0, *HEADER), *((0, name, entry()) for name in names)]])


@pytest.mark.parametrize(
    ("blocks", "repeated", "told"),
    [
        ([[(0, *HEADER)] * 100], 2, "overlap"),
        ([[(0, *HEADER)]] * 100, 1000, "overlap"),
        ([[(0, b"k" * 2000, b"")]], 1, "damaged"),
        ([[(1, b"k", b"")]], 1, "damaged"),
    ],
)
def test_an_index_that_would_take_for_ever_is_refused(tmp_path, blocks, repeated, told):
    """Work goes with the square of its bytes where blocks are named again and again, or keys share all with others."""
    with pytest.raises(ValueError, match=told):
        table(tmp_path, blocks, repeated)


def test_names_take_no_more_memory_than_an_index(tmp_path):
    """Each shares all but its end with the one before: 4 MB of an index were 1.5 GB of names."""
    pairs = [(0, b"k" * 990 + b"0000", entry(sides=(0,), f5=0))]
    pairs += [(990, f"{i:04}".encode(), entry(sides=(0,), f5=0)) for i in range(1, 1100)]
    with pytest.raises(ValueError, match="too many names"):
        table(tmp_path, [[(0, *HEADER), *pairs]])


def test_a_file_with_holes_does_not_go_to_memory(tmp_path, monkeypatch):
    """Zeros take no room on a disk, of which 3 GiB took four of memory, and 1 TiB would take all."""
    monkeypatch.setattr("aocr.folder.bundle._read", lambda *args: pytest.fail("it was read"))
    each = 2**30
    names = [f"averaged/{i}/.ATTRIBUTES/VARIABLE_VALUE".encode() for i in range(3)]
    pairs = [(0, name, entry(sides=(2**28,), f5=each, f4=i * each)) for i, name in enumerate(names)]
    with pytest.raises(ValueError, match="cut off"):
        table(tmp_path, [[(0, *HEADER), *pairs]])
    os.truncate(tmp_path / DATA, 3 * each)
    with pytest.raises(CheckpointError, match="too many numbers"):
        read_weights(str(tmp_path / "ckpt"))


def test_arrays_that_are_read_one_by_one_have_a_limit_together(tmp_path):
    checksum = masked_crc32c(bytes(12))
    table(tmp_path, [[(0, *HEADER), (0, b"a", entry(f6=checksum)), (0, b"b", entry(f6=checksum, f4=12))]])
    bundle = Bundle(str(tmp_path / "ckpt"), 20)
    assert bundle.read(["a"])["a"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="too many numbers"):
        bundle.read(["b"])


def test_an_index_of_any_size_is_not_read(tmp_path):
    table(tmp_path, [[(0, *HEADER)]])
    os.truncate(tmp_path / "ckpt.index", 2**23)
    with pytest.raises(OSError, match="more than 1 MiB"):
        Bundle(str(tmp_path / "ckpt"))


def test_random_bytes_behind_right_checksums(tmp_path):
    """Only the errors that are told."""
    rng = random.Random(0)
    good = block([(0, *HEADER), (0, b"averaged/a", entry()), (9, b"b", entry(f4=12))])
    names = itertools.count()
    for _ in range(500):
        content = bytearray(good)
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.randrange(len(content))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        data = bytes(content) + b"\0" + masked_crc32c(bytes(content) + b"\0").to_bytes(4, "little")
        handle = varint(0) + varint(len(content))
        last = block([(0, b"", handle)])
        end = (b"\0\0" + varint(len(data)) + varint(len(last))).ljust(40, b"\0") + MAGIC
        last += b"\0" + masked_crc32c(last + b"\0").to_bytes(4, "little")
        prefix = tmp_path / f"{next(names)}"
        prefix.with_suffix(".index").write_bytes(data + last + end)
        prefix.with_suffix(".data-00000-of-00001").write_bytes(bytes(24))
        try:
            bundle = Bundle(str(prefix))
            bundle.read(bundle.shapes)
        except ValueError:
            pass
