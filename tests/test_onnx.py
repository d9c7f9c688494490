"""The ONNX graph reads as the network does, and without TensorFlow."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import REAL_DATA, assert_clean_failure, run_aocr, run_blocked
from PIL import Image

from aocr import machine
from aocr.config import ModelConfig, ReadConfig
from aocr.data import pixels, preprocess
from aocr.errors import AocrError, CheckpointError, ConfigError
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.folder.variables import weights_of
from aocr.folder.words import open_folder
from aocr.model.recognizer import build_recognizer
from aocr.onnx.file import write_graph
from aocr.reading import predictor
from aocr.reading.network import NetworkReader
from aocr.reading.onnx import OnnxGraph, OnnxReader, open_weights
from aocr.reading.predictor import Predictor, load, load_network
from aocr.text.charset import GO, Charset

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NETWORKS = {
    "default": {"ctc_weight": 0.5},
    "decoder alone": {},
    "colour, height 48": {"height": 48, "channels": 3, "attn_num_layers": 2, "ctc_weight": 5},
    "height 64, long": {"height": 64, "max_prediction": 90, "ctc_weight": 5},
    "gru": {"use_gru": True},
    "gru, layers": {"use_gru": True, "attn_num_layers": 3, "ctc_weight": 5},
    "right to left": {"charset": Charset("אבגדהוזח"), "ctc_weight": 5},
    "several lines": {"height": 64, "bands": 3, "ctc_weight": 5},
    "several lines, right to left": {"height": 96, "bands": 5, "charset": Charset("אבגדהוזח"), "ctc_weight": 5},
    "classic": {"arch": "classic", "attn_num_layers": 2},
    "classic gru, odd width": {
        "arch": "classic", "attn_num_layers": 3, "use_gru": True, "channels": 3, "max_width": 157
    },
}  # fmt: skip


def graph_of(reader) -> bytes:
    weights = {name: variable.numpy() for name, variable in weights_of(reader.model).items()}
    return write_graph(weights, reader.config, reader.temperature)


def random_reader(settings: dict) -> NetworkReader:
    """A network with random weights, batch norms included."""
    defaults = {"charset": Charset("abcdefgh"), "attn_num_hidden": 16, "target_embedding_size": 8}
    config = ModelConfig(**{**defaults, **settings})
    model = build_recognizer(config)
    rng = np.random.default_rng(0)
    for name, variable in weights_of(model).items():
        spread = 0.5 if "variance" in name else 0.05
        variable.assign_add(np.abs(rng.normal(0, spread, variable.shape)).astype(np.float32))
    if model.ctc is not None:  # logits of a usual size
        *_, logits = model(*random_batch(config, 5), np.full((5, 1), GO, np.int32))
        model.ctc.kernel.assign(2 * model.ctc.kernel / np.std(logits))
    return NetworkReader(model, config, temperature=1.7)


def random_batch(config: ModelConfig, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, black to the right of their widths, and the widths."""
    rng = np.random.default_rng(1)
    width = config.network_width if config.traits.fixed_width else 80
    widths = rng.integers(1, width + 1, count).astype(np.int32)
    images = rng.normal(size=(count, config.height, width, config.channels)).astype(np.float32)
    return images * (np.arange(width) < widths[:, None])[:, None, :, None], widths


def assert_same_reading(reading, expected):
    for name, part in reading._asdict().items():
        expected_part = getattr(expected, name)
        assert part.dtype == expected_part.dtype, name
        np.testing.assert_allclose(part, expected_part, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def network():
    """`words` in TensorFlow."""
    return load_network("words")


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_of_every_network(name):
    reader = random_reader(NETWORKS[name])
    data = graph_of(reader)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert ModelConfig.from_dict(json.loads(metadata["model"])) == reader.config
    assert (metadata["temperature"], metadata["format"]) == ("1.7", "2")
    graph = OnnxGraph("graph", data)
    for count in (1, 7):
        batch = random_batch(reader.config, count)
        assert_same_reading(graph.read(*batch), reader.read(*batch)._replace(beam_ids=graph.read(*batch).beam_ids))


SEARCHES = {
    "default": {"beam": 4, "pattern": "[a-d]{2,5}"},
    "gru, layers": {"alternatives": 2, "lexicon": ("abba", "cab", "bad", "face", "b")},
    "right to left": {"pattern": "[אבג]*"},
    "classic": {"beam": 3, "lexicon": ("abba\t4", "cab", "bad\t2.5", "face", "b"), "lexicon_weight": 2.0},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_search_with_every_kind_of_constraint(name):
    reader, read_config = random_reader(NETWORKS[name]), ReadConfig(**SEARCHES[name])
    onnx_reader = OnnxReader(OnnxGraph("graph", graph_of(reader)), read_config)
    expected = reader.with_config(read_config)
    assert onnx_reader.num_alternatives == expected.num_alternatives
    batch = random_batch(reader.config, 5)
    assert_same_reading(onnx_reader.read(*batch), expected.read(*batch))


def test_readers_of_one_model_share_their_sessions(monkeypatch):
    starts = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *args, **options: starts.append(1) or session(*args, **options)
    )
    random = random_reader({})
    reader, batch = OnnxReader(OnnxGraph("graph", graph_of(random))), random_batch(random.config, 2)
    for pattern in ("[abc]+", "[d-h]+", "[a-h]{3}"):
        reader.with_config(ReadConfig(pattern=pattern)).read(*batch)
    assert len(starts) == 2  # the network, and a step of its decoder


def image_paths(dataset: str, count: int) -> list:
    folder = REAL_DATA / dataset
    if not folder.is_dir():
        pytest.skip("needs the real images")
    lines = (folder / ("val.txt" if dataset == "scene_words" else "test.txt")).read_text("utf-8").splitlines()
    return [folder / line.split(" ", 1)[0] for line in lines[:count]]


@pytest.mark.parametrize("dataset", ["kannada", "lines_english", "scene_words"])
def test_real_images(dataset, network):
    paths = image_paths(dataset, 50)
    for ours, theirs in zip(load("words").predict(paths), network.predict(paths), strict=True):
        assert ours.text == theirs.text
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-4)
        np.testing.assert_allclose(ours.attention, theirs.attention, atol=1e-3)


# without TensorFlow


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """`words` as an ONNX export."""
    path = tmp_path_factory.mktemp("exported") / "reader.onnx"
    path.write_bytes(open_weights(open_folder("words"))._data)
    return path


def test_export_is_one_file(tmp_path, exported):
    done = run_aocr("export", tmp_path / "e", "--format", "onnx", "--model-dir", "words")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["reader.onnx"]
    assert (tmp_path / "e" / "reader.onnx").read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("model", ["words", "export"])
def test_predict_without_tensorflow(model, exported, numbers, network):
    images = [numbers.parent / f"{i}.png" for i in range(8)]
    flags = ("--json", "--alternatives", "2", "--pattern", "[0-9]{1,2}")
    done = run_blocked("predict", *images, "--model-dir", exported if model == "export" else model, *flags)
    assert done.returncode == 0, done.stderr
    read_config = ReadConfig(alternatives=2, pattern="[0-9]{1,2}")
    expected = Predictor(network.reader.with_config(read_config), uses_views=model == "words").predict(images)
    for line, prediction in zip(done.stdout.splitlines(), expected, strict=True):
        row = json.loads(line)
        assert row["text"] == prediction.text
        assert row["confidence"] == pytest.approx(prediction.confidence, abs=1e-4)
        assert [other["text"] for other in row["alternatives"]] == [other.text for other in prediction.alternatives]


def test_python_without_tensorflow(numbers, network):
    code = (
        "import aocr\nreader = aocr.load('words')\nprint(reader.predict([sys.argv[1]])[0].text)\n"
        "assert not {'tensorflow', 'keras', 'onnx'} & set(sys.modules)"
    )
    image = numbers.parent / "0.png"
    done = run_blocked(image, code=code)
    assert done.stdout.strip() == network.predict([image])[0].text, done.stderr


@pytest.mark.parametrize("argv", ["train numbers.txt", "test numbers.txt", "dataset . o"])
def test_other_commands_need_tensorflow(argv, numbers):
    argv = [str(numbers.parent / word) if word[0] == "n" else word for word in argv.split()]
    assert_clean_failure(run_blocked(*argv), "TensorFlow is not installed", "pip install")


def test_only_predict_reads_an_export(exported, numbers):
    assert_clean_failure(run_aocr("test", numbers, "--model-dir", exported), "is a file")


@pytest.mark.parametrize(
    "packages, has_gpu, precision, expected",
    [
        (("tensorflow", "onnxruntime"), False, "float32", OnnxReader),
        (("onnxruntime",), False, "float32", OnnxReader),
        (("onnxruntime",), True, "auto", OnnxReader),
        (("tensorflow",), False, "float32", str),
        (("tensorflow", "onnxruntime"), True, "float32", str),
        (("tensorflow", "onnxruntime"), False, "bfloat16", str),
        (("onnxruntime",), False, "bfloat16", ConfigError),
    ],
)
def test_choice_of_the_reader(packages, has_gpu, precision, expected, monkeypatch):
    monkeypatch.setattr(machine, "has_package", lambda name: name in packages)
    monkeypatch.setattr(machine, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(predictor, "load_network", lambda *args, **options: SimpleNamespace(reader="the network"))
    if expected is ConfigError:
        with pytest.raises(ConfigError):
            load("words", precision=precision)
    else:
        assert type(load("words", precision=precision).reader) is expected


def test_neither_package_is_installed(monkeypatch):
    monkeypatch.setattr(machine, "has_package", lambda name: False)

    def fail():
        raise ImportError

    monkeypatch.setattr(machine, "start_onnxruntime", fail)
    with pytest.raises(AocrError, match="pip install onnxruntime"):
        load("words")


def test_weights_that_do_not_match_the_settings(tmp_path):
    box, folder = open_folder("words"), ModelFolder(tmp_path / "m")
    weights = box.read_weights()
    del weights["cnn/stem/kernel"]
    folder.write_weights(weights, WeightsInfo(), box.read_config())
    for load_model in (load, load_network):
        with pytest.raises(CheckpointError, match="does not match"):
            load_model(folder.path)


def damaged_exports(good: bytes) -> dict[str, bytes]:
    def changed(change) -> bytes:
        model = onnx.load_from_string(good)
        change(model)
        return model.SerializeToString()

    def with_external_data(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="secret")

    def with_metadata(key, value):
        def change(model):
            next(prop for prop in model.metadata_props if prop.key == key).value = value

        return changed(change)

    return {
        "missing": b"",
        "text": b"not a graph at all",
        "cut": good[: len(good) // 2],
        "another program's": changed(lambda model: model.ClearField("metadata_props")),
        "weights in another file": changed(with_external_data),
        "newer": with_metadata("format", "3"),
        "no charset": with_metadata("model", "{}"),
    }


def test_damaged_exports(exported, tmp_path):
    path = tmp_path / "reader.onnx"
    for name, data in damaged_exports(exported.read_bytes()).items():
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as raised:
            load(str(path))
        assert "\n" not in str(raised.value) and str(path) in str(raised.value), name


def test_onnx_runtime_sends_no_telemetry(numbers, tmp_path, monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = "import os, sys\nfrom aocr.cli.main import main\ncode = main(sys.argv[1:])\n"
    code += "print(os.environ['ORT_DISABLE_TELEMETRY'])\nsys.exit(code)"
    done = run_blocked("predict", numbers.parent / "0.png", "--model-dir", "words", code=code)
    assert done.returncode == 0 and done.stdout.endswith("\n1\n"), done.stderr
    assert not list(tmp_path.iterdir())


# the image transform


@pytest.mark.parametrize("settings", [
    {}, {"channels": 3, "height": 48, "turn": "left"}, {"turn": "right"}, {"arch": "classic", "attn_num_layers": 2},
    {"arch": "classic", "attn_num_layers": 2, "channels": 3, "max_width": 157},
])  # fmt: skip
def test_numpy_transform_equals_that_of_training(settings):
    config = ModelConfig(Charset("a"), **settings)
    rng = np.random.default_rng(0)
    images = []
    for shape in ((40, 120, 3), (64, 64), (16, 30, 3), (40, 500, 3), (1, 1), (300, 1), (1, 300), (32, 100)):
        for kind in ("PNG", "JPEG"):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(buffer, kind)
            images.append(buffer.getvalue())
    for image in images:
        for channels in (1, 3):
            expected = preprocess.decode_image(tf.constant(image), channels)
            np.testing.assert_array_equal(pixels.decode_image(image, channels), expected)
    expected = [part.numpy() for part in preprocess.batched(tf.constant(images), config)]
    batch = pixels.batched(images, config)
    np.testing.assert_allclose(batch[0], expected[0], atol=1e-4)
    np.testing.assert_array_equal(batch[1], expected[1])
    np.testing.assert_allclose(batch[2], expected[2], rtol=1e-6)
