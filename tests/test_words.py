"""Models that are passed on, and the reader that comes with aocr."""

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
from aocr.errors import CheckpointError
from aocr.folder import weights, words
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.folder.weights import pack_weights, unpack_weights
from aocr.folder.words import BOX, NAME, open_folder
from aocr.reading.predictor import load


def test_weights_come_back_as_written():
    arrays = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.float16([0.5])}
    data = pack_weights(arrays)
    assert data == pack_weights(dict(reversed(arrays.items())))
    read = unpack_weights(data)
    assert {name: value.dtype for name, value in read.items()} == {"a/b": np.float32, "c": np.float32}
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)


def test_two_files_are_all_that_reading_needs(tmp_path, numbers):
    box, folder = open_folder(NAME), ModelFolder(tmp_path / "m")
    folder.write_weights(box.read_weights(), WeightsInfo(temperature=1.5), box.read_config())
    predictor = load(folder.path)
    assert predictor.reader.temperature == 1.5
    (prediction,) = predictor.predict([numbers.parent / "0.png"])
    assert prediction.text and prediction.confidence != prediction.uncalibrated


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([{}], object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"\x93NUMPY", pickled(), pack_weights({"a": np.int32([1])}), pack_weights({"a": np.float32("nan")})],
    ids=["empty", "cut", "npy", "pickle", "integers", "NaN"],
)
def test_damaged_weights(data):
    with pytest.raises(ValueError, match=r"."):
        unpack_weights(data)


def test_weights_that_would_fill_the_memory(monkeypatch):
    monkeypatch.setattr(weights, "MAX_BYTES", 2**20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**21))
    with pytest.raises(ValueError, match="more than 1 MiB"):
        unpack_weights(buffer.getvalue())


def test_folder_called_words_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_folder(NAME).path == str(BOX)
    (tmp_path / NAME).mkdir()
    assert open_folder(NAME).path == NAME
    assert open_folder("other").path == "other"


def test_model_of_a_newer_aocr(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"format": 99, "aocr": "9"}))
    with pytest.raises(CheckpointError, match="newer aocr"):
        ModelFolder(tmp_path).read_config()


def test_box_holds_the_weights_it_should():
    digest = hashlib.sha256((BOX / "weights.npz").read_bytes()).hexdigest()
    assert digest == "202942f33dbce0303b92822ed0b267e132729fd72b367f500db70019291c83ab"  # as recipes/pack.py prints it
    assert sum(path.stat().st_size for path in BOX.iterdir()) < 6e6
    config = ModelFolder(BOX).read_config()
    assert set(config.charset.symbols) == {chr(code) for code in range(32, 127)}
    assert config.channels == 3 and config.arch == "default"


def test_box_reads_where_there_is_no_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = Image.new("RGB", (150, 40), "white")
    ImageDraw.Draw(image).text((8, 2), "Hotel", "black", ImageFont.load_default(30))
    image.save("word.png")
    assert main(["predict", "word.png"]) == 0
    output = capsys.readouterr()
    path, text, confidence = output.out.splitlines()[0].split("\t")
    assert (path, text) == ("word.png", "Hotel") and float(confidence) > 0.5
    assert "using words" in output.err
    assert load(NAME).predict("word.png")[0].text == "Hotel"


def test_box_reads_a_captcha_with_a_line_through_it():
    (prediction,) = load(NAME).predict(ROOT / "datasets" / "images" / "testing_000.jpg")
    assert prediction.text == "HTFGVH" and prediction.confidence > 0.5


def test_page_is_unsure_and_should_be_cropped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (900, 1200), "white").save("page.png")
    assert main(["predict", "page.png", "--model-dir", NAME]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[0].split("\t")[3] == "unsure"
    assert "Crop it" in output.err
    assert main(["predict", "page.png", "--model-dir", NAME, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sure"] is False


@pytest.mark.slow
def test_training_starts_from_the_box(numbers, tmp_path, capsys):
    flags = ("--init-from", NAME, "--model-dir", str(tmp_path / "m"), "--charset-policy", "new", "--num-epoch", "1")
    assert main(["train", str(numbers), *flags, "--precision", "float32"]) == 0
    assert "Starting from words" in capsys.readouterr().err


def test_damaged_box_is_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(words, "BOX", tmp_path)
    (tmp_path / "model.json").write_bytes((BOX / "model.json").read_bytes())
    (tmp_path / "weights.npz").write_bytes((BOX / "weights.npz").read_bytes()[:-100])
    monkeypatch.chdir(tmp_path)
    Image.new("L", (60, 30)).save("a.png")
    assert main(["predict", "a.png", "--model-dir", NAME]) == 1
    assert "weights.npz: is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("names", [[], ["aocr.log"]])
def test_folder_without_a_model(names, tmp_path, monkeypatch):
    """A training that failed leaves its log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIP_CHECKPOINT_DIR", raising=False)
    (tmp_path / "checkpoints").mkdir()
    for name in names:
        (tmp_path / "checkpoints" / name).touch()
    assert options.usual_model(None) == NAME
    (tmp_path / "checkpoints" / "model.json").touch()
    assert options.usual_model(None) == "checkpoints"
