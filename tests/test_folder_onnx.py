"""A model folder read without TensorFlow, by ONNX Runtime."""

import json

import numpy as np
import pytest
from conftest import assert_clean_failure, run_aocr, run_blocked

from aocr.config import ReadConfig
from aocr.folder.model_folder import ModelFolder
from aocr.reading import onnx as by_onnx
from aocr.reading.onnx import OnnxReader
from aocr.reading.predictor import load

pytest.importorskip("onnxruntime")


@pytest.fixture
def images(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(20)]


def test_it_reads_as_the_network_does(folder, images, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = run_blocked("predict", *images, "--model-dir", folder, "--json", "--alternatives", "1")
    assert done.returncode == 0, done.stderr
    how = ReadConfig(alternatives=1)
    for line, theirs in zip(done.stdout.splitlines(), load(str(folder), how=how).predict(images), strict=True):
        ours = json.loads(line)
        assert (ours["text"], ours["alternatives"][0]["text"]) == (theirs.text, theirs.alternatives[0].text)
        assert ours["confidence"] == pytest.approx(theirs.confidence, abs=1e-4)
    assert not (tmp_path / "cache").exists()  # nothing is kept


def test_the_newest_weights_are_read_where_there_was_no_validation(folder, images):
    (folder / "best.json").unlink()
    done = run_blocked("predict", images[0], "--model-dir", folder)
    assert done.stdout.split("\t")[1] == load(str(folder)).predict(images[:1])[0].text, done.stderr


def test_a_checkpoint_that_a_training_replaces_meanwhile_is_chosen_anew(folder, images, monkeypatch):
    model, read = ModelFolder(folder), by_onnx.read_weights
    before = model.choose()

    def read_late(prefix):
        step = json.loads((folder / "best.json").read_text())["step"]
        if prefix == before.prefix:
            for path in folder.glob(f"best-{step}.*"):
                path.rename(folder / path.name.replace(str(step), str(step + 1)))
            model.write_best(step + 1, 0.5, 0.5, last=False)
        return read(prefix)

    monkeypatch.setattr(by_onnx, "read_weights", read_late)
    predictor = load(str(folder), quick=True)
    assert predictor.chosen == ModelFolder(folder).choose() != before
    assert predictor.predict(images[:1])[0].text


def test_weights_of_another_network_are_refused(folder, images):
    settings = json.loads((folder / "model.json").read_text())
    settings["model"]["attn_num_hidden"] = 32
    (folder / "model.json").write_text(json.dumps(settings))
    done = run_aocr("predict", images[0], "--model-dir", folder)
    assert_clean_failure(done, "does not fit model.json", "recurrent_kernel")


def test_networks_of_other_precision_are_read_by_tensorflow(folder, images):
    assert isinstance(load(str(folder), quick=True).reader, OnnxReader)
    bfloat16 = load(str(folder), quick=True, precision="bfloat16").predict(images[:4])
    same = [a.confidence == b.confidence for a, b in zip(bfloat16, load(str(folder)).predict(images[:4]), strict=True)]
    assert not np.all(same)
