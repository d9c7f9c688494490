"""The ONNX graph that `aocr predict` keeps of a model folder: read without TensorFlow, of these weights, harmless."""

import json

import numpy as np
import pytest
from conftest import assert_clean_failure, run_aocr, run_blocked

from aocr.config import ReadConfig
from aocr.folder.model_folder import ModelFolder
from aocr.reading import cache
from aocr.reading import onnx as by_onnx
from aocr.reading.predictor import load

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def images(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(20)]


def kept(folder) -> bytes | None:
    model = ModelFolder(folder)
    return by_onnx._kept(by_onnx._key_of(model, model.choose()))


def test_the_second_call_reads_the_same_without_tensorflow(folder, images, home):
    args = ("predict", *images, "--model-dir", folder, "--json", "--alternatives", "1")
    first = run_aocr(*args)
    assert first.returncode == 0 and [path.name for path in home.iterdir()]
    second = run_blocked(*args)
    assert (second.returncode, second.stdout) == (0, first.stdout), second.stderr
    how = ReadConfig(alternatives=1)
    for line, theirs in zip(first.stdout.splitlines(), load(str(folder), how=how).predict(images), strict=True):
        ours = json.loads(line)
        assert (ours["text"], ours["alternatives"][0]["text"]) == (theirs.text, theirs.alternatives[0].text)
        assert ours["confidence"] == pytest.approx(theirs.confidence, abs=1e-4)


def test_it_is_of_this_checkpoint_or_not_used(folder, home):
    load(str(folder), quick=True)
    good = kept(folder)
    model = ModelFolder(folder)
    chosen = model.choose()
    path, *_ = model.weight_files(chosen)
    with open(path, "ab") as file:  # other weights under the same name
        file.write(b"0")
    assert good and kept(folder) is None
    with open(path, "rb+") as file:
        file.truncate(file.seek(0, 2) - 1)
    assert kept(folder) == good
    model.write_calibration(chosen.prefix, 2.0, 10)
    assert kept(folder) is None
    load(str(folder), quick=True)
    assert kept(folder) not in (None, good)
    (file,) = [path for path in home.iterdir() if path.read_bytes()[32:] == kept(folder)]
    file.write_bytes(file.read_bytes()[:-10])
    assert kept(folder) is None


def test_a_checkpoint_that_a_training_replaces_meanwhile_is_chosen_anew(folder, images, monkeypatch):
    before, read = ModelFolder(folder).choose(), by_onnx._read_checkpoint

    def read_late(model, chosen):
        step = json.loads((folder / "best.json").read_text())["step"]
        if chosen == before:
            for path in folder.glob(f"best-{step}.*"):
                path.rename(folder / path.name.replace(str(step), str(step + 1)))
            model.write_best(step + 1, 0.5, 0.5, last=False)
        return read(model, chosen)

    monkeypatch.setattr(by_onnx, "_read_checkpoint", read_late)
    predictor = load(str(folder), quick=True)
    assert predictor.chosen == ModelFolder(folder).choose() != before
    assert predictor.predict(images[:1])[0].text


def test_weights_of_any_size_are_not_taken_into_memory(folder, monkeypatch):
    """A file with a hole takes a few bytes on a disk, and says that it has a tebibyte."""
    model = ModelFolder(folder)
    monkeypatch.setattr(cache, "MAX_BYTES", 1000)
    assert by_onnx._key_of(model, model.choose()) is None


def test_weights_that_are_replaced_while_they_are_read_are_not_kept(folder, monkeypatch):
    read = by_onnx._read_checkpoint

    def read_early(model, chosen):
        weights = read(model, chosen)
        with open(model.weight_files(chosen)[0], "ab") as file:  # another training, up to the same step
            file.write(b"0")
        return weights

    monkeypatch.setattr(by_onnx, "_read_checkpoint", read_early)
    load(str(folder), quick=True)
    assert kept(folder) is None


@pytest.mark.parametrize("harm", ["an operation", "outside data", "nonsense"])
def test_what_may_do_harm_is_not_run(harm, folder, images, tmp_path):
    load(str(folder), quick=True)
    good = kept(folder)
    changed = onnx.load_from_string(good)
    tensor = changed.graph.initializer[0]
    if harm == "an operation":
        changed.graph.node.append(onnx.helper.make_node("RandomNormal", [], ["r"], shape=[2]))
    elif harm == "outside data":
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=str(tmp_path / "secret"))
    data = b"no graph" if harm == "nonsense" else changed.SerializeToString()
    model = ModelFolder(folder)
    cache.write(by_onnx._key_of(model, model.choose()), data)
    assert kept(folder) is None
    assert load(str(folder), quick=True).predict(images[:1])[0].text
    assert kept(folder) == good


def test_weights_of_another_network_are_refused(folder, images):
    settings = json.loads((folder / "model.json").read_text())
    settings["model"]["attn_num_hidden"] = 32
    (folder / "model.json").write_text(json.dumps(settings))
    done = run_aocr("predict", images[0], "--model-dir", folder)
    assert_clean_failure(done, "does not fit model.json", "recurrent_kernel")


def test_networks_of_other_precision_are_read_by_tensorflow(folder, images):
    bfloat16 = load(str(folder), quick=True, precision="bfloat16").predict(images[:4])
    assert kept(folder) is None
    same = [a.confidence == b.confidence for a, b in zip(bfloat16, load(str(folder)).predict(images[:4]), strict=True)]
    assert not np.all(same)
