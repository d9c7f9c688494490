"""Models that are passed on, weights in one small file; and the one in the box."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image, ImageDraw, ImageFont

from aocr.cli import options
from aocr.cli.main import main
from aocr.config import ModelConfig
from aocr.errors import CheckpointError
from aocr.folder import compact, words
from aocr.folder.compact import read_compact, write_compact
from aocr.folder.model_folder import COMPACT, ModelFolder
from aocr.folder.variables import weights_of
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
    assert predictor.chosen.temperature == 1.5
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
    monkeypatch.setattr(compact, "MAX_BYTES", 2**20)
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


DIGEST = "7ddba6c126bf871e4f772c129604fb2f615597f33030f2244b82764793432d0c"
"""Of the weights in the box, as recipes/pack.py prints it."""


def test_the_box_holds_the_weights_it_should():
    assert hashlib.sha256((BOX / COMPACT).read_bytes()).hexdigest() == DIGEST
    assert sum(path.stat().st_size for path in BOX.iterdir()) < 6e6


def test_the_box_reads_printable_ascii_in_colour():
    config = ModelFolder(BOX).read_config()
    assert set(config.charset.symbols) == {chr(code) for code in range(32, 127)}
    assert config.channels == 3 and config.arch == "default"


def test_the_box_reads_where_there_is_no_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = Image.new("RGB", (150, 40), "white")
    ImageDraw.Draw(image).text((8, 2), "Hotel", "black", ImageFont.load_default(30))
    image.save("word.png")
    assert main(["predict", "word.png"]) == 0
    told = capsys.readouterr()
    path, text, confidence = told.out.splitlines()[0].split("\t")
    assert (path, text) == ("word.png", "Hotel") and float(confidence) > 0.5
    assert "reading with words" in told.err
    assert load(NAME).predict("word.png")[0].text == "Hotel"


def test_the_box_reads_a_toy_captcha_with_a_line_through_it():
    found = load(NAME).predict(ROOT / "datasets" / "images" / "testing_000.jpg")[0]
    assert found.text == "HTFGVH" and found.confidence > 0.5


def test_a_page_is_unsure_and_told_to_be_cropped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (900, 1200), "white").save("page.png")
    assert main(["predict", "page.png", "--model-dir", NAME]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0].split("\t")[3] == "unsure"
    assert "Crop it" in told.err
    assert main(["predict", "page.png", "--model-dir", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sure"] is False


def test_training_starts_from_the_box(numbers, tmp_path, capsys):
    flags = ("--init-from", NAME, "--model-dir", str(tmp_path / "m"), "--charset-policy", "new", "--num-epoch", "1")
    assert main(["train", str(numbers), *flags, "--precision", "float32"]) == 0
    assert "Starting from words" in capsys.readouterr().err


def test_a_damaged_box_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(words, "BOX", tmp_path)
    (tmp_path / "model.json").write_bytes((BOX / "model.json").read_bytes())
    (tmp_path / COMPACT).write_bytes((BOX / COMPACT).read_bytes()[:-100])
    monkeypatch.chdir(tmp_path)
    Image.new("L", (60, 30)).save("a.png")
    assert main(["predict", "a.png", "--model-dir", NAME]) == 1
    assert "weights.npz: is missing or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("left", [[], ["aocr.log"]])
def test_a_folder_without_a_model_is_no_model_at_hand(left, tmp_path, monkeypatch):
    """A training that failed leaves its log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIP_CHECKPOINT_DIR", raising=False)
    (tmp_path / "checkpoints").mkdir()
    for name in left:
        (tmp_path / "checkpoints" / name).touch()
    assert options.model_at_hand(None) == NAME
    (tmp_path / "checkpoints" / "ckpt-5.index").touch()
    assert options.model_at_hand(None) == "checkpoints"
