"""Models that are passed on, weights in one small file; and the one in the box."""

import io
import json
import zipfile

import numpy as np
import pytest

from aocr.config import ModelConfig
from aocr.errors import CheckpointError
from aocr.folder import compact
from aocr.folder.compact import read_compact, write_compact
from aocr.folder.model_folder import COMPACT, ModelFolder
from aocr.folder.weights import weights_of
from aocr.folder.words import BOX, NAME, open_folder
from aocr.model.recognizer import build_recognizer
from aocr.reading.predictor import load
from aocr.text.charset import Charset


@pytest.fixture(scope="module")
def passed_on(tmp_path_factory):
    """A model folder with compact weights, and its network."""
    folder = ModelFolder(tmp_path_factory.mktemp("passed") / "m")
    config = ModelConfig(Charset("0123456789"), attn_num_hidden=16, target_embedding_size=8)
    model = build_recognizer(config)
    folder.write_config(config)
    write_compact(folder.file(COMPACT), {name: value.numpy() for name, value in weights_of(model).items()})
    folder.write_calibration(folder.file(COMPACT), 1.5, 10)
    return folder, model


def test_weights_come_back_as_float16_holds_them(passed_on):
    folder, model = passed_on
    found = read_compact(folder.file(COMPACT))
    expected = {name: value.numpy() for name, value in weights_of(model).items()}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name].astype(np.float16).astype(np.float32))


def test_a_folder_that_was_passed_on_reads(passed_on, numbers):
    folder, _ = passed_on
    predictor = load(folder.path)
    assert predictor.temperature == 1.5
    (prediction,) = predictor.predict([str(numbers.parent / "0.png")])
    assert 0 <= prediction.confidence <= 1


def test_the_same_weights_give_the_same_bytes(passed_on, tmp_path):
    weights = read_compact(passed_on[0].file(COMPACT))
    for name in ("a", "b"):
        write_compact(str(tmp_path / name), weights)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_weight_too_large_for_float16_is_refused(tmp_path):
    with pytest.raises(ValueError, match="big"):
        write_compact(str(tmp_path / "w"), {"big": np.full(2, 1e6, np.float32)})
    assert not list(tmp_path.iterdir())


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], object))
    return buffer.getvalue()


@pytest.mark.parametrize("data", [b"", b"PK", b"\x93NUMPY", pickled()], ids=["empty", "cut", "npy", "pickle"])
def test_a_damaged_file_is_told(data, tmp_path):
    (tmp_path / COMPACT).write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        read_compact(str(tmp_path / COMPACT))


def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(compact, "MOST_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / COMPACT, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**20))
    with pytest.raises(CheckpointError, match="more than 1 MiB"):
        read_compact(str(tmp_path / COMPACT))


def test_words_names_the_box_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_folder(NAME).path == str(BOX)
    (tmp_path / NAME).mkdir()
    assert open_folder(NAME).path == NAME
    assert open_folder("other").path == "other"


def test_the_names_in_a_damaged_box_are_clear(tmp_path):
    folder = ModelFolder(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"format": 99, "aocr": "9"}))
    with pytest.raises(CheckpointError, match="newer aocr"):
        folder.read_config()
