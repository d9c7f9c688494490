"""The graph that `aocr predict` keeps reads as the network does, and only for its own checkpoint."""

import json
import shutil

import numpy as np
import pytest
from conftest import run_aocr

from aocr.config import ReadConfig
from aocr.folder.checkpoints import write_weights
from aocr.folder.model_folder import ModelFolder
from aocr.reading import frozen
from aocr.reading.predictor import load


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "m", ignore=shutil.ignore_patterns(frozen.NAME))
    return tmp_path / "m"


@pytest.fixture
def images(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(30)]


def kept(folder):
    return frozen.opened(str(folder), ModelFolder(folder).choose(), "float32")


def keep(folder):
    predictor = load(str(folder), quick=True)
    predictor.finish()
    return predictor


def test_the_second_call_reads_the_same_without_the_network(folder, images):
    args = ("predict", *images, "--model-dir", folder, "--json", "--attention", "--precision", "float32")
    assert kept(folder) is None
    first = run_aocr(*args)
    assert kept(folder) is not None
    second = run_aocr(*args)
    assert first.returncode == second.returncode == 0
    for one, two in zip(first.stdout.splitlines(), second.stdout.splitlines(), strict=True):
        one, two = json.loads(one), json.loads(two)
        assert one["text"] == two["text"] and one["confidence"] == pytest.approx(two["confidence"], abs=1e-5)
        np.testing.assert_allclose(one["attention"], two["attention"], atol=1.1e-4)  # told to 4 decimals


def test_batches_errors_and_other_formats(folder, images, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
    network = keep(folder)
    graph = load(str(folder), quick=True, batch_size=7)
    assert graph.model is None and network.model is not None
    assert [p.text for p in graph.predict(images)] == [p.text for p in network.predict(images)]
    *good, bad = graph.predict_each([images[0], np.zeros((20, 30), np.uint8), str(tmp_path / "bad.png")])
    assert good[0].text == network.predict(images[:1])[0].text
    assert "bad.png" in str(bad)


@pytest.mark.parametrize("change", ["weights", "temperature", "damage", "precision"])
def test_it_is_of_this_checkpoint_or_not_used(folder, change):
    keep(folder)
    assert kept(folder) is not None
    chosen = ModelFolder(folder).choose()
    if change == "weights":  # the same name, another training
        model = load(str(folder)).model
        model.ctc.kernel.assign(model.ctc.kernel * 2.0)
        step = json.loads((folder / "best.json").read_text())["step"]
        for path in folder.glob("best-*.*"):
            path.unlink()
        write_weights(ModelFolder(tmp := folder / "other"), model, step)
        for path in tmp.iterdir():
            suffix = path.name.partition(".")[2]
            if suffix:
                shutil.copy(path, f"{chosen.prefix}.{suffix}")
    elif change == "temperature":
        ModelFolder(folder).write_calibration(chosen.prefix, 2.0, 10)
    elif change == "damage":
        path = folder / frozen.NAME
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        assert frozen.opened(str(folder), chosen, "bfloat16") is None
        return
    assert kept(folder) is None


def test_other_ways_of_reading_need_the_network(folder):
    keep(folder)
    assert load(str(folder), quick=True, how=ReadConfig(beam=2)).model is not None
    assert load(str(folder)).model is not None
