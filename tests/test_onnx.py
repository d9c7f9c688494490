"""The ONNX graph reads as the network does."""

import json

import numpy as np
import pytest
from conftest import REAL_DATA, assert_clean_failure, run_aocr

from aocr.config import ModelConfig
from aocr.data.images import image_to_bytes
from aocr.folder.weights import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.onnx.file import write_graph
from aocr.reading.network import NetworkReader
from aocr.reading.predictor import load
from aocr.text.charset import Charset

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NETWORKS = {
    "default": {},
    "colour, height 48": {"height": 48, "channels": 3, "attn_num_layers": 2},
    "height 64, long": {"height": 64, "max_prediction": 90},
    "gru": {"use_gru": True},
    "gru, layers": {"use_gru": True, "attn_num_layers": 3},
    "right to left": {"charset": Charset("אבגדהוזח")},
    "classic": {"arch": "classic", "attn_num_layers": 2},
    "classic gru, odd width": {
        "arch": "classic", "attn_num_layers": 3, "use_gru": True, "channels": 3, "max_width": 157
    },
}  # fmt: skip


def graph_of(reader) -> bytes:
    weights = {name: variable.numpy() for name, variable in weights_of(reader.model).items()}
    return write_graph(weights, reader.config, reader.temperature)


def run_graph(data: bytes):
    """The function of a graph: images, widths -> outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options)
    names = [output.name for output in session.get_outputs()]
    return lambda images, widths: dict(
        zip(names, session.run(names, {"images": images, "widths": widths}), strict=True)
    )


def random_reader(settings: dict) -> NetworkReader:
    """A network whose every weight, batch norms too, is drawn."""
    known = {"charset": Charset("abcdefgh"), "attn_num_hidden": 16, "target_embedding_size": 8}
    config = ModelConfig(**{**known, **settings})
    model = build_recognizer(config)
    draws = np.random.default_rng(0)
    for name, variable in weights_of(model).items():
        spread = 0.5 if "variance" in name else 0.05
        variable.assign_add(np.abs(draws.normal(0, spread, variable.shape)).astype(np.float32))
    return NetworkReader(model, config, temperature=1.7)


def assert_alike(found: dict, reading):
    np.testing.assert_array_equal(found["ids"], reading.ids)
    np.testing.assert_allclose(found["probabilities"], reading.probabilities, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["confidence"], reading.confidence, atol=1e-5)
    np.testing.assert_allclose(found["attention"], reading.attention, atol=1e-4)
    np.testing.assert_allclose(found["log_probs"], reading.log_probs[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name):
    reader = random_reader(NETWORKS[name])
    config = reader.config
    data = graph_of(reader)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    known = {prop.key: prop.value for prop in model.metadata_props}
    assert ModelConfig.from_dict(json.loads(known["model"])) == config
    assert (known["temperature"], known["format"]) == ("1.7", "1")
    run = run_graph(data)
    draws = np.random.default_rng(1)
    width = config.network_width if config.traits.fixed_width else 80
    for count in (1, 7):
        widths = draws.integers(1, width + 1, count).astype(np.int32)
        images = draws.normal(size=(count, config.height, width, config.channels)).astype(np.float32)
        images *= (np.arange(width) < widths[:, None])[:, None, :, None]
        assert_alike(run(images, widths), reader.read(images, widths))


@pytest.mark.parametrize("dataset", ["captcha", "kannada", "lines_english"])
def test_real_images_of_mixed_widths(dataset):
    folder = REAL_DATA / dataset
    if not folder.is_dir():
        pytest.skip("needs the real images")
    reader = load("words").reader
    run = run_graph(graph_of(reader))
    lines = (folder / "test.txt").read_text("utf-8").splitlines()[:32]
    images = [image_to_bytes(folder / line.split(" ", 1)[0]).data for line in lines]
    for batch in (images, *([image] for image in images[:8])):
        pixels, widths, _ = reader.transform(batch)
        assert_alike(run(pixels, widths), reader.read(pixels, widths))


def test_the_export_is_one_file_that_is_proved(trained, tmp_path):
    done = run_aocr("export", tmp_path / "e", "--format", "onnx", "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["reader.onnx"]


def test_an_export_that_differs_leaves_nothing(trained, tmp_path, monkeypatch):
    from aocr.onnx import file

    def spoiled(weights, config, temperature):
        weights["decoder/output_projection/bias"][3:] = np.linspace(9, 0, len(config.charset))
        return write_graph(weights, config, temperature)

    monkeypatch.setattr(file, "write_graph", spoiled)
    done = run_aocr("export", tmp_path / "e", "--format", "onnx", "--model-dir", trained)
    assert_clean_failure(done, "where the model reads", "Nothing was kept")
    assert not (tmp_path / "e").exists()


def test_without_the_packages_it_says_so(trained, tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = run_aocr("export", tmp_path / "e", "--format", "onnx", "--model-dir", trained)
    assert_clean_failure(done, "needs onnx", "pip install")
    assert not (tmp_path / "e").exists()
