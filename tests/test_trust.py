"""What strangers may send: images, annotation files, and model folders for reading. (Requests: test_serving*.py)"""

import io
import json
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest
from conftest import assert_clean_failure, draw_numbers, run_aocr

from aocr.config import MAX_LENGTH, MAX_PIXELS, ModelConfig
from aocr.data.images import canonical_image, read_file
from aocr.errors import CheckpointError, ConfigError, ImageError
from aocr.folder.model_folder import MAX_JSON_BYTES, ModelFolder, WeightsInfo
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.report.pictures import load_image
from aocr.text.charset import MAX_SYMBOLS, Charset


def make_model(path):
    """Write a model folder with random weights."""
    config = ModelConfig(Charset("0123456789"), attn_num_hidden=16, target_embedding_size=8, max_prediction=3)
    weights = {name: value.numpy() for name, value in weights_of(build_recognizer(config)).items()}
    ModelFolder(path).write_weights(weights, WeightsInfo(step=7, word_accuracy=0.5, cer=0.25), config)


@pytest.fixture
def folder(shared, tmp_path):
    """A model folder to be damaged."""
    return shutil.copytree(shared("untrained", make_model), tmp_path / "model")


@pytest.fixture
def image(tmp_path):
    return draw_numbers(tmp_path / "n", 1).parent / "0.png"


def change(folder, block, **values):
    """Set values of a block of model.json."""
    path = folder / "model.json"
    model = json.loads(path.read_text("utf-8"))
    model[block].update(values)
    path.write_text(json.dumps(model), "utf-8")


# model.json


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"charset": "".join(map(chr, range(0x1000, 0xC000))) + "".join(map(chr, range(0x10000, 0x28000)))}, "charset"),
        ({"charset": "ab\ud800"}, "charset"),
        ({"max_width": 10**400}, "max_width"),
        ({"max_width": 90_000, "max_height": 1}, "network_width"),
        ({"max_prediction": 10**9}, "max_prediction"),
        ({"attn_num_hidden": 10**9}, "encoder/lstm"),
        ({"attn_num_layers": 10**9}, "decoder/cell"),
        ({"target_embedding_size": 10**9}, "decoder/embedding"),
        ({"charset": "".join(map(chr, range(0x4E00, 0x9000)))}, "decoder/embedding"),
        ({"use_gru": True}, "decoder/cell0"),
    ],
)
def test_impossible_sizes_are_refused_before_the_network_is_built(folder, image, monkeypatch, values, field):
    monkeypatch.setattr("aocr.model.recognizer.build_recognizer", lambda *args: pytest.fail("it was built"))
    change(folder, "model", **values)
    line = assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), str(folder), field)
    assert len(line) < 700


def test_limits_of_sizes():
    for name, limit in (("max_width", MAX_PIXELS), ("max_height", MAX_PIXELS), ("max_prediction", MAX_LENGTH)):
        extra = {"max_height": limit} if name == "max_width" else {}
        assert getattr(ModelConfig(Charset("a"), **{name: limit}, **extra), name) == limit
        with pytest.raises(ConfigError) as caught:
            ModelConfig(Charset("a"), **{name: limit + 1})
        assert caught.value.field == name
    with pytest.raises(ConfigError):
        Charset("".join(map(chr, range(0x10000, 0x10001 + MAX_SYMBOLS))))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "[" * 100_000,
        '{"format": 2, "model": ' * 50_000,
        '{"a": ' + "9" * 5000 + "}",
        '{"format": 2, "model": null}',
        '{"format": 2, "model": [1]}',
        '{"format": 2, "model": {"charset": "01", "height": 32.0}}',
        '{"format": 2, "model": {"charset": "01", "channels": true}}',
    ],
)
def test_damaged_model_json(folder, text):
    (folder / "model.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        ModelFolder(folder).find_config()
    assert "model.json" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [{"temperature": 0}, {"temperature": float("nan")}, {"temperature": 10**400}, {"temperature": "x"}, {"cer": []},
     {"word_accuracy": "x"}, {"unknown": 1}],
)  # fmt: skip
def test_damaged_reading_block(folder, image, values):
    change(folder, "reading", **values)
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "model.json", "is damaged")


def test_huge_files_are_not_read(folder, tmp_path):
    for path in (folder / "weights.npz", tmp_path / "huge.png"):
        path.touch()
        os.truncate(path, 2**36)
    with pytest.raises(CheckpointError, match="larger than 512 MiB"):
        ModelFolder(folder).read_weights()
    os.truncate(folder / "model.json", 2**36)
    with pytest.raises(CheckpointError, match=f"larger than {MAX_JSON_BYTES >> 20} MiB"):
        ModelFolder(folder).read_config()
    with pytest.raises(ImageError, match="more than 1024 MiB"):
        read_file(tmp_path / "huge.png")


# weights.npz


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(member: bytes, name="a.npy", compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, member)
    return buffer.getvalue()


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"


def encrypted() -> bytes:
    data = bytearray(zipped(bytes(100), compression=zipfile.ZIP_STORED))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def badly_compressed() -> bytes:
    data = bytearray(zipped(bytes(range(256)) * 4, compression=zipfile.ZIP_LZMA))
    data[60:80] = b"\xff" * 20
    return bytes(data)


WEIGHTS = {
    "empty": b"",
    "not a zip": b"text",
    "pickle": npz(a=np.array([print], object)),
    "complex": npz(a=np.ones(3, complex)),
    "integers": npz(a=np.ones(3, np.int8)),
    "records": npz(a=np.ones(3, [("a", np.float32)])),
    "NaN": npz(a=np.array([0.5, np.nan], np.float16)),
    "infinity": npz(a=np.array([0.5, np.inf], np.float16)),
    "no array": zipped(b"text", name="a"),
    "Python in the header": zipped(npy("{'shape': (1L")),
    "endless header": zipped(npy("-" * 9000 + "1")),
    "shape without data": zipped(npy("{'descr': '<f2', 'fortran_order': False, 'shape': (10**9,)}")),
    "zip bomb": zipped(bytes(2**29 + 1)),
    "encrypted": encrypted(),
    "badly compressed": badly_compressed(),
    "another network": npz(a=np.ones(3, np.float32)),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_damaged_weights(folder, kind):
    (folder / "weights.npz").write_bytes(WEIGHTS[kind])
    with pytest.raises(CheckpointError) as caught:
        ModelFolder(folder).read_weights()
    assert caught.value.model_dir == str(folder / "weights.npz")


def test_damaged_weights_are_one_line(folder, image):
    (folder / "weights.npz").write_bytes(WEIGHTS["pickle"])
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "weights.npz", "is damaged")


# Images and annotation files

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 32\n%%EndComments\n/x 1 def\nshowpage\n%%EOF\n"


@pytest.mark.skipif(os.name != "posix", reason="the program that must not run is a shell script")
@pytest.mark.parametrize("read", [canonical_image, load_image])
def test_no_image_starts_another_program(read, tmp_path, monkeypatch):
    """Pillow reads EPS, a programming language, with Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n", "utf-8")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    with pytest.raises(ImageError, match=r"a\.png"):
        read(EPS, "a.png")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_endless_image_of_an_annotation_file(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a pipe or a device"):
        read_file(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a.png A\n")
    assert "a pipe or a device" in run_aocr("dataset", tmp_path / "a.txt", tmp_path / "a.tfrecords").stderr
