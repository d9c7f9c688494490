"""The ONNX graph reads as the network does, and without TensorFlow."""

import io
import json
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from conftest import REAL_DATA, assert_clean_failure, run_aocr, run_blocked
from PIL import Image

from aocr.config import ModelConfig, ReadConfig
from aocr.data import pixels, preprocess
from aocr.data.images import image_to_bytes
from aocr.errors import CheckpointError
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.onnx.file import write_graph
from aocr.protobuf import field, varint
from aocr.reading.network import NetworkReader
from aocr.reading.onnx import OnnxReader, _start
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


SEARCHES = {
    "default": {"beam": 4, "pattern": "[a-d]{2,5}"},
    "gru, layers": {"alternatives": 2, "lexicon": True},
    "right to left": {"pattern": "[אבג]*"},
    "classic": {"beam": 3, "lexicon": True, "lexicon_weight": 2.0},
}


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search(name, tmp_path):
    how = dict(SEARCHES[name])
    if how.pop("lexicon", None):
        (tmp_path / "words").write_text("abba\ncab\nbad\nface\nb\n")
        how["lexicon"] = str(tmp_path / "words")
    random = random_reader(NETWORKS[name])
    config, how = random.config, ReadConfig(**how)
    theirs = NetworkReader(random.model, config, how, random.temperature)
    ours = OnnxReader("graph", graph_of(random), config, random.temperature, how)
    assert ours.num_alternatives == theirs.num_alternatives
    draws = np.random.default_rng(1)
    width = config.network_width if config.traits.fixed_width else 80
    widths = draws.integers(20, width + 1, 5).astype(np.int32)
    images = draws.normal(size=(5, config.height, width, config.channels)).astype(np.float32)
    images *= (np.arange(width) < widths[:, None])[:, None, :, None]
    expected = theirs.read(images, widths)
    for part, found in ours.read(images, widths)._asdict().items():
        assert found.dtype == getattr(expected, part).dtype, part
        np.testing.assert_allclose(found, getattr(expected, part), rtol=1e-4, atol=1e-4, err_msg=part)


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


# without TensorFlow


@pytest.fixture(scope="module")
def exported(trained, shared):
    """The file of the model that reads numbers."""

    def make(folder):
        (folder / "reader.onnx").write_bytes(graph_of(load(str(trained)).reader))

    return shared("exported-onnx", make) / "reader.onnx"


def test_predict_gives_what_the_model_folder_gives(exported, trained, numbers):
    images = [numbers.parent / f"{i}.png" for i in range(20)]
    flags = ("--json", "--attention", "--min-confidence", "0.5", "--alternatives", "2", "--pattern", "[0-9]{1,2}")
    ours = run_blocked("predict", *images, "--model-dir", exported, *flags)
    assert ours.returncode == 0, ours.stderr
    theirs = run_aocr("predict", *images, "--model-dir", trained, "--precision", "float32", *flags)
    for one, two in zip(ours.stdout.splitlines(), theirs.stdout.splitlines(), strict=True):
        one, two = json.loads(one), json.loads(two)
        assert one.keys() == two.keys() and one["text"] == two["text"]
        assert one["confidence"] == pytest.approx(two["confidence"], abs=1e-4)
        assert [other["text"] for other in one["alternatives"]] == [other["text"] for other in two["alternatives"]]
        np.testing.assert_allclose(one["attention"], two["attention"], atol=1e-3)
        for left, right in zip(one["characters"], two["characters"], strict=True):
            assert left["char"] == right["char"]
            assert [left["x0"], left["x1"]] == pytest.approx([right["x0"], right["x1"]], abs=0.2)


def test_python_reads_without_tensorflow(exported, numbers):
    code = (
        "import aocr\nreader = aocr.load(sys.argv[1])\nprint(reader.predict([sys.argv[2]])[0].text)\n"
        "assert not {'tensorflow', 'keras', 'onnx'} & set(sys.modules)"
    )
    done = run_blocked(exported, numbers.parent / "0.png", code=code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == load(str(exported)).predict([numbers.parent / "0.png"])[0].text


def test_the_reader_in_the_box_needs_no_tensorflow(numbers):
    image = numbers.parent / "0.png"
    done = run_blocked("predict", image, "--model-dir", "words")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\t")[1] == load("words").predict([image])[0].text


@pytest.mark.parametrize("argv", ["train numbers.txt", "test numbers.txt", "dataset . o"])
def test_other_commands_say_what_they_need(argv, numbers):
    argv = [str(numbers.parent / word) if word[0] == "n" else word for word in argv.split()]
    assert_clean_failure(run_blocked(*argv), "needs tensorflow", "pip install")


def test_a_pattern_that_no_text_fits(exported, numbers):
    done = run_blocked("predict", numbers.parent / "0.png", "--model-dir", exported, "--pattern", "[0-9]{99}")
    assert_clean_failure(done, "--pattern", "its shortest text has 99 characters")


def test_what_it_cannot_do_it_says(exported, numbers):
    image = numbers.parent / "0.png"
    done = run_aocr("predict", image, "--model-dir", exported, "--precision", "bfloat16")
    assert_clean_failure(done, "--precision = 'bfloat16'", "Leave the flag out")


def test_only_predict_takes_a_file(exported, numbers):
    assert_clean_failure(run_aocr("test", numbers, "--model-dir", exported), "is a file")


def other_files(good: bytes, folder) -> dict[str, tuple[bytes, str]]:
    """Files that are not to be read, and what is said of each."""

    def changed(change) -> bytes:
        model = onnx.load_from_string(good)
        change(model)
        return model.SerializeToString()

    def with_node(model):
        model.graph.node.append(onnx.helper.make_node("RandomNormal", [], ["r"], shape=[2]))

    def in_the_loop(model):
        loop_of(model).attribute[0].g.node.append(onnx.helper.make_node("If", ["c"], ["r"]))

    def loop_of(model):
        return next(node for node in model.graph.node if node.op_type == "Loop")

    def without_end(model):
        limit = next(tensor for tensor in model.graph.initializer if tensor.name == loop_of(model).input[0])
        limit.raw_data = (2**62).to_bytes(8, "little")

    def other_wire(tail):
        """What ONNX Runtime passes over: a field whose value is of another kind than the one that it knows."""
        model = onnx.load_from_string(good)
        limit = next(tensor for tensor in model.graph.initializer if tensor.name == loop_of(model).input[0])
        limit.raw_data = (2**62).to_bytes(8, "little")
        data = limit.SerializeToString() + tail
        model.graph.initializer.remove(limit)
        graph = model.graph.SerializeToString() + field(5, data)
        model.ClearField("graph")
        return model.SerializeToString() + field(7, graph)

    def without_limit(model):
        loop_of(model).input[0] = ""

    def limit_from_images(model):
        loop_of(model).input[0] = "widths"

    def not_a_number(model):
        tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        tensor.raw_data = b"\xff" * len(tensor.raw_data)

    def outside(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=str(folder / "secret"))

    def metadata(key, value):
        def change(model):
            next(prop for prop in model.metadata_props if prop.key == key).value = value

        return change

    def other_charset(model):
        prop = next(prop for prop in model.metadata_props if prop.key == "model")
        prop.value = json.dumps({**json.loads(prop.value), "charset": "a"})

    return {
        "empty": (b"", "no settings"),
        "text": (b"not a graph at all", "is not an ONNX export"),
        "half": (good[: len(good) // 2], "is not an ONNX export"),
        "another program's": (changed(lambda model: model.ClearField("metadata_props")), "no settings"),
        "an operation": (changed(with_node), "RandomNormal"),
        "an operation in the loop": (changed(in_the_loop), "'If'"),
        "a loop without end": (changed(without_end), "may take more than"),
        "a loop without end beside a number": (
            other_wire(bytes([9 << 3 | 1]) + bytes(8)),
            "of a kind that is not ours",
        ),
        "a loop without end beside zeros": (other_wire(bytes([9 << 3, 8])), "in place of bytes"),
        "a loop without end beside a fraction": (other_wire(bytes([8 << 3 | 5]) + b"name"), "of another kind"),
        "a loop without a limit": (changed(without_limit), "may take more than"),
        "a loop limited by the images": (changed(limit_from_images), "may take more than"),
        "weights that a second graph replaces": (good + b"\x3a\x00", "two graphs"),
        "weights that are no numbers": (changed(not_a_number), "no numbers"),
        "a function": (changed(lambda model: model.functions.add()), "of another kind"),
        "outside data": (changed(outside), "a tensor of another kind"),
        "newer": (changed(metadata("format", "2")), "newer aocr"),
        "no charset": (changed(metadata("model", "{}")), "charset"),
        "no settings": (changed(metadata("model", "[]")), "is not an ONNX export"),
        "no temperature": (changed(metadata("temperature", "nan")), "settings that cannot be"),
        "lists that fill the memory": (
            changed(metadata("model", f'{{"a": [{"[]," * 2**21}[]]}}')),
            "settings that cannot",
        ),
        "another charset": (changed(other_charset), "charset"),
        "another height": (changed(lambda model: model.graph.input.pop()), "Export the model again"),
    }


def test_files_of_strangers(exported, numbers, tmp_path):
    for name, (data, said) in other_files(exported.read_bytes(), tmp_path).items():
        path = tmp_path / "stranger.onnx"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=said) as found:
            load(str(path)).predict([numbers.parent / "0.png"])
        assert "\n" not in str(found.value) and str(path) in str(found.value), name


# the image transform


@pytest.mark.parametrize("settings", [
    {}, {"channels": 3, "height": 48}, {"arch": "classic", "attn_num_layers": 2},
    {"arch": "classic", "attn_num_layers": 2, "channels": 3, "max_width": 157},
])  # fmt: skip
def test_the_transform_is_that_of_training(settings):
    config = ModelConfig(Charset("a"), **settings)
    draws = np.random.default_rng(0)
    images = []
    for shape in ((40, 120, 3), (64, 64), (16, 30, 3), (40, 500, 3), (1, 1), (300, 1), (1, 300), (32, 100)):
        for kind in ("PNG", "JPEG"):
            buffer = io.BytesIO()
            Image.fromarray(draws.integers(0, 256, shape).astype(np.uint8)).save(buffer, kind)
            images.append(buffer.getvalue())
    for image in images:
        for channels in (1, 3):
            expected = preprocess.decode_image(tf.constant(image), channels)
            np.testing.assert_array_equal(pixels.decode_image(image, channels), expected)
    expected = [part.numpy() for part in preprocess.batched(tf.constant(images), config)]
    found = pixels.batched(images, config)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 200_000, 1), (200_000, 1, 1)])
def test_a_long_image_takes_no_memory_for_ever(shape):
    """What resizing keeps of an image's size does not grow with it: of a million pixels it was 640 MB."""
    pixels._cubic_weights.cache_clear()
    tracemalloc.start()
    pixels.scale_image(np.zeros(shape, np.uint8), ModelConfig(Charset("a"), arch="classic", attn_num_layers=2))
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1e6 and most < 2e7


@pytest.mark.parametrize("dataset", ["captcha", "kannada", "scene_words", "plates"])
def test_real_images_give_the_same_texts(dataset, tmp_path):
    folder = REAL_DATA / dataset
    if not folder.is_dir():
        pytest.skip("needs the real images")
    theirs = load("words")
    (tmp_path / "words.onnx").write_bytes(graph_of(theirs.reader))
    ours = load(str(tmp_path / "words.onnx"))
    lines = (folder / ("val.txt" if dataset == "scene_words" else "test.txt")).read_text("utf-8").splitlines()[:100]
    images = [folder / line.split(" ", 1)[0] for line in lines]
    for one, two in zip(ours.predict(images), theirs.predict(images), strict=True):
        assert one.text == two.text
        assert one.confidence == pytest.approx(two.confidence, abs=1e-3)


def test_readers_with_other_patterns_share_their_sessions(monkeypatch):
    import onnxruntime

    started = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *args, **options: started.append(1) or session(*args, **options)
    )
    random = random_reader({})
    reader = OnnxReader("graph", graph_of(random), random.config, random.temperature, ReadConfig(pattern="[abc]+"))
    before = len(started)
    for pattern in ("[d-h]+", "[a-h]{3}"):
        reader.with_config(ReadConfig(pattern=pattern))
    assert len(started) == before


OUTPUTS = {
    "ids": np.full((1, 3), 3, np.int32),
    "probabilities": np.ones((1, 3), np.float32),
    "attention": np.ones((1, 3, 5), np.float32),
    "confidence": np.ones(1, np.float32),
    "log_probs": np.zeros((1, 2), np.float32),
}


@pytest.mark.parametrize(
    "odd",
    [
        *({"ids": np.zeros(shape, np.int32)} for shape in ((), (3,), (0, 3), (2, 3), (1, 3, 1), (1, 4), (1, 10**6))),
        {"ids": np.full((1, 3), 3, np.float32)},
        {"probabilities": np.ones((1, 2), np.float32)},
        *({"attention": np.ones(shape, np.float32)} for shape in ((1, 3), (1, 2, 5), (1, 3, 0))),
        *({"confidence": np.ones(shape, np.float32)} for shape in ((), (2,), (1, 1))),
        *({"log_probs": np.ones(shape, np.float32)} for shape in ((), (1,), (1, 0), (2, 2))),
    ],
)
def test_outputs_that_are_not_those_of_its_network_are_refused(odd):
    config = ModelConfig(Charset("abc"), max_prediction=4)
    images, widths = np.zeros((1, 32, 40, 1), np.float32), np.array([40], np.int32)

    def reader(outputs):
        return OnnxReader("r.onnx", b"", config, 1.0, start=lambda data: lambda names, fed: list(outputs.values()))

    assert reader(OUTPUTS).read(images, widths).beam_ids.shape == (1, 1, 3)
    with pytest.raises(CheckpointError, match="sizes that cannot be"):
        reader({**OUTPUTS, **odd}).read(images, widths)


def test_bytes_that_say_that_they_are_of_another_format_are_read_as_onnx(tmp_path):
    """A file of ONNX can be one of ONNX Runtime's own format too, whose graph nobody looked at."""
    of = onnx.helper.make_tensor_value_info
    ends = ([of(name, onnx.TensorProto.FLOAT, [1])] for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "g", *ends)
    opset = onnx.helper.make_opsetid("", 17)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "r.ort")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    onnxruntime.InferenceSession(model, options)
    data = (tmp_path / "r.ort").read_bytes()
    assert data[4:8] == b"ORTM"
    with pytest.raises(CheckpointError, match="cannot be read with"):
        _start("r.onnx", data)


HUGE = varint(2**40)


@pytest.mark.parametrize(
    "data",
    [
        field(7, field(1, bytes([4 << 3]) + HUGE)),  # the type of a node
        b"".join(field(14, field(1, name) + field(2, text)) for name, text in
                 {"format": "1", "temperature": "1.0", "model": '{"charset": "a"}'}.items())
        + field(7, field(5, field(2, 7) + bytes([8 << 3]) + HUGE)),  # the name of a tensor
        field(14, bytes([1 << 3]) + HUGE),
        field(14, field(1, "format") + bytes([2 << 3]) + HUGE),
        *(
            b"".join(field(14, field(1, name) + field(2, text)) for name, text in
                     {"format": "1", "temperature": "1.0", "model": model}.items())
            for model in ("[" * 100_000, '{"a":' * 100_000)
        ),
    ],
)  # fmt: skip
def test_a_file_that_claims_what_cannot_be_is_refused_at_once(data, numbers, tmp_path):
    (tmp_path / "r.onnx").write_bytes(data)
    done = run_aocr("predict", numbers.parent / "0.png", "--model-dir", tmp_path / "r.onnx")
    assert_clean_failure(done, "is not an ONNX export of aocr")


def test_onnx_runtime_reports_to_nobody(numbers, home, tmp_path, monkeypatch):
    """Its builds of late 2026 keep a number of the machine in the user's cache, and tell their maker what is done."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    (tmp_path / "r.onnx").write_bytes(graph_of(random_reader({})))
    code = "import os, sys\nfrom aocr.cli.main import main\ncode = main(sys.argv[1:])\n"
    code += "print(os.environ['ORT_DISABLE_TELEMETRY'])\nsys.exit(code)"
    done = run_blocked("predict", numbers.parent / "0.png", "--model-dir", tmp_path / "r.onnx", code=code)
    assert done.returncode == 0 and done.stdout.endswith("\n1\n"), done.stderr
    assert "deviceid" not in {path.name for path in tmp_path.rglob("*")}
