"""Every flag has its effect: on the request, the network's settings, a training step, or the output."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_numbers, random_batch, run_aocr
from PIL import Image

from aocr import machine
from aocr.config import ARCHS, CTC_WEIGHT, ModelConfig, TrainConfig
from aocr.data.datasets import open_dataset
from aocr.errors import AocrError, ConfigError
from aocr.folder.variables import weights_of
from aocr.folder.words import open_folder
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import Charset
from aocr.training.cluster import Cluster
from aocr.training.learner import Learner, WeightAverage
from aocr.training.prepare import new_config
from aocr.training.request import TrainRequest
from aocr.training.schedule import TrainState
from aocr.training.step import TrainStep, make_optimizer


def run(*args):
    """(stdout, stderr) of a command that succeeds."""
    done = run_aocr(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def calls_of(function, monkeypatch) -> list:
    """Replace a function by one that records its arguments and does nothing else."""
    calls = []

    def record(*args):
        calls.append(args)
        raise AocrError("Nothing is done.")

    monkeypatch.setattr(function, record)
    return calls


# dataset


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--no-force-uppercase", "force_uppercase", False),
        ("--force-uppercase", "force_uppercase", True),
        ("--save-filename", "save_filename", True),
        ("--shards 3", "shards", 3),
        ("--max-prediction 5", "max_prediction", 5),
        ("--charset digits", "charset", Charset("0123456789")),
        ("--strict", "strict", True),
        ("--label-from-filename", "label_from_filename", "(?s)(.+)"),
        ("--data-base-dir D", "data_base_dir", "D"),
    ],
)
def test_flags_reach_the_builder(flags, field, value, monkeypatch):
    calls = calls_of("aocr.data.builder.build_records", monkeypatch)
    run_aocr("dataset", "a.txt", "o", *flags.split())
    source, output, options, _ = calls[0]
    assert (source, output, getattr(options, field)) == ("a.txt", "o", value)


def test_log_step(tmp_path):
    _, err = run("dataset", draw_numbers(tmp_path / "n", 10), tmp_path / "o", "--log-step", "4")
    assert re.findall(r"(\d+) images done", err) == ["4", "8"]


# The request of train


@pytest.fixture
def request_of(monkeypatch, tmp_path):
    """A function that returns the TrainRequest of flags, without training."""
    data, model_dir = tmp_path / "data.txt", str(tmp_path / "m")
    data.write_text("a.png A\n")
    calls = calls_of("aocr.training.run.train", monkeypatch)

    def parse(line=""):
        run_aocr("train", data, *line.replace("DATA", str(data)).split(), "--model-dir", model_dir)
        request = calls.pop()[0]
        assert (request.datasets, request.model_dir) == ([str(data)], model_dir)
        return request

    return parse


def test_defaults_of_the_request(request_of):
    request = request_of()
    assert request == TrainRequest(request.datasets, [], request.model_dir, unlabeled=[], exclude=[])


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--no-resume", "resume", False),
        ("--init-from none", "init_from", "none"),
        ("--charset-policy new", "charset_policy", "new"),
        ("--data-base-dir D", "data_base_dir", "D"),
        ("--target-vocab-size 99", "target_vocab_size", 99),
        ("--no-distance", "use_distance", False),
        ("--look-alikes 7", "look_alikes", 7),
        ("--output-dir O", "output_dir", "O"),
        ("--devices 2", "devices", "2"),
        ("--charset digits", "typed", {"charset": Charset("0123456789")}),
        ("--height 48 --color", "typed", {"height": 48, "channels": 3}),
        ("--patience 3 --seed 5", "config", TrainConfig(patience=3, seed=5)),
        ("--max-time 10m --no-augment", "config", TrainConfig(max_time=600.0, augment=False)),
        ("--augment-strength 2 --deterministic", "config", TrainConfig(augment_strength=2.0, deterministic=True)),
        ("--precision bfloat16 --num-epoch 3", "config", TrainConfig(precision="bfloat16", num_epoch=3)),
    ],
)
def test_flags_reach_the_request(request_of, flags, field, value):
    assert getattr(request_of(flags), field) == value


def test_data_flags_reach_the_request(request_of):
    request = request_of("--validation DATA DATA --unlabeled DATA --exclude DATA")
    data = request.datasets[0]
    assert (request.validation, request.unlabeled, request.exclude) == ([data, data], [data], [data])


# The network's settings


def settings_for(data, **typed):
    with open_dataset([str(data)]) as dataset:
        return new_config(TrainRequest([str(data)], typed=typed), [dataset])


def test_height_follows_the_images(tmp_path):
    data = draw_numbers(tmp_path / "n", 20)
    assert settings_for(data).height == 32
    for path in data.parent.glob("*.png"):
        image = Image.open(path)
        image.resize((image.width * 3 // 2, 48)).save(path)
    assert settings_for(data).height == 48
    assert settings_for(data, height=32).height == 32


def test_colour_follows_the_images(tmp_path):
    """Digits as light as their background, but of another colour, are lost in grey."""
    data = draw_numbers(tmp_path / "n", 20)
    assert settings_for(data).channels == 1
    for path in data.parent.glob("*.png"):
        ink = np.asarray(Image.open(path)) < 128
        Image.fromarray(np.where(ink[..., None], (230, 60, 60), (40, 150, 40)).astype(np.uint8)).save(path)
    assert settings_for(data).channels == 3
    assert settings_for(data, channels=1).channels == 1


def test_both_heads_read_in_every_new_training(tmp_path):
    data = draw_numbers(tmp_path / "n", 20)
    assert settings_for(data).ctc_weight == CTC_WEIGHT
    assert settings_for(data, arch="classic").ctc_weight == 0
    with open_dataset([str(data)]) as dataset:  # `words` itself reads with its decoder alone
        assert new_config(TrainRequest([str(data)], init_from="words"), [dataset]).ctc_weight == CTC_WEIGHT
    assert open_folder("words").read_config().ctc_weight == 0


def network(**settings):
    defaults = ARCHS[settings.get("arch", "default")].defaults
    return ModelConfig(Charset("0123"), **{**defaults, "attn_num_hidden": 16, **settings})


def shapes(**settings):
    model = build_recognizer(network(**settings))
    return {name: tuple(variable.shape) for name, variable in weights_of(model).items()}


def test_settings_change_the_network():
    default = shapes()
    assert default["decoder/embedding/embeddings"] == (7, 32)
    assert default["decoder/cell0/recurrent_kernel"] == (16, 64)
    assert default["cnn/collapse/kernel"] == (4, 1, 192, 256)
    assert default["cnn/stem/kernel"][2] == 1
    other = shapes(target_embedding_size=5, use_gru=True, attn_num_hidden=8, attn_num_layers=2, height=48, channels=3)
    assert other["decoder/embedding/embeddings"] == (7, 5)
    assert other["decoder/cell0/recurrent_kernel"] == other["decoder/cell1/recurrent_kernel"] == (8, 24)
    assert other["cnn/collapse/kernel"] == (6, 1, 192, 256)
    assert other["cnn/stem/kernel"][2] == 3
    assert shapes(arch="classic")["cnn/conv7/kernel"] == (2, 2, 512, 512)


# Training steps


@pytest.fixture
def eagerly():
    """Take steps without tracing them, which takes longer than a few steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def make_step(config=None, precision="float32", seed=0):
    """A model with random weights, and its training step."""
    machine.set_seed(seed)
    config = config or TrainConfig(optimizer="sgd")
    model = build_recognizer(network(), machine.POLICIES[precision])
    learner = Learner(model, make_optimizer(config, model), WeightAverage(weights_of(model)), TrainState())
    return model, TrainStep(learner, config, Cluster(tf.distribute.get_strategy()))


def weights_after_a_step(seed=0, **settings):
    """Global norm of the change of the weights by one step, and the weights."""
    model, step = make_step(TrainConfig(optimizer="sgd", seed=seed, **settings), seed=seed)
    before = [v.numpy() for v in model.trainable_variables]
    step(random_batch(model.config), 0.1, 0)
    after = [v.numpy() for v in model.trainable_variables]
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(after, before, strict=True))), after


@pytest.mark.usefixtures("eagerly")
def test_gradient_clipping():
    unclipped, _ = weights_after_a_step(clip_gradients=False)
    clipped, _ = weights_after_a_step(max_gradient_norm=1e-3)
    looser, _ = weights_after_a_step(max_gradient_norm=2e-3)
    assert clipped < 1e-3 < unclipped
    assert looser == pytest.approx(2 * clipped, rel=1e-3)


@pytest.mark.usefixtures("eagerly")
def test_seed_determines_the_weights():
    first, again, other = (weights_after_a_step(seed)[1] for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_optimizers():
    model = build_recognizer(network())
    for name, kind in (("adamw", "AdamW"), ("adam", "Adam"), ("adadelta", "Adadelta"), ("sgd", "SGD")):
        assert type(make_optimizer(TrainConfig(optimizer=name), model)).__name__ == kind
    assert float(make_optimizer(TrainConfig(initial_learning_rate=0.123), model).learning_rate) == pytest.approx(0.123)
    adamw = make_optimizer(TrainConfig(), model)
    without_decay = {v.path.rsplit("/", 1)[-1] for v in model.trainable_variables if not adamw._use_weight_decay(v)}
    assert without_decay == {"bias", "gamma", "beta", "embeddings"}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precision_of_the_convolutions(precision):
    model, step = make_step(TrainConfig(optimizer="adam"), precision)
    assert model.cnn.stem.compute_dtype == precision
    assert model.cnn.stem.kernel.dtype == "float32"
    data = random_batch(model.config)
    losses = [float(step(data, 0.003, i)) for i in range(8)]
    assert losses[-1] < losses[0] * 0.9
    assert model.read(data.images, data.widths).confidence.dtype == tf.float32


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nan_in_the_gradient_of_a_bfloat16_convolution(precision, monkeypatch):
    """A kernel of TensorFlow produces them; in float32 they mean that training diverges, and spoil all weights."""
    model, step = make_step(TrainConfig(), precision)
    kernel = next(i for i, v in enumerate(model.trainable_variables) if "/cnn/" in v.path and v.path.endswith("kernel"))
    gradient = tf.GradientTape.gradient

    def with_nan(self, *args, **options):
        gradients = gradient(self, *args, **options)
        nan = tf.scatter_nd([[0, 0, 0, 0]], [np.nan], gradients[kernel].shape)
        gradients[kernel] += tf.cast(nan, gradients[kernel].dtype)
        return gradients

    monkeypatch.setattr(tf.GradientTape, "gradient", with_nan)
    step(random_batch(model.config), 0.01, 0)
    is_finite = all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
    assert is_finite == (precision == "bfloat16")


# The machine


def test_auto_precision_on_a_cpu(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.setattr(machine, "_cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert machine.choose_precision("auto") == ("bfloat16", "the CPU has bfloat16 instructions")
    monkeypatch.setattr(machine, "_cpu_flags", lambda: {"avx2"})
    assert machine.choose_precision("auto")[0] == "float32"
    assert machine.choose_precision("bfloat16")[0] == "bfloat16"


@pytest.mark.parametrize(("capability", "precision"), [((9, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")])
def test_auto_precision_on_a_gpu(capability, precision, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert machine.choose_precision("auto")[0] == precision


def test_gpu_id(monkeypatch):
    visible = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: visible.append(gpus))
    machine.use_gpu(1)
    machine.use_gpu(-1)
    assert visible == [["b"], []]
    with pytest.raises(ConfigError):
        machine.use_gpu(2)


# A training with all of them


@pytest.mark.slow
def test_flags_of_a_training(tmp_path):
    data = draw_numbers(tmp_path / "n", 24)  # too few for a validation set
    flags = (
        "--max-width 40 --max-height 32 --max-prediction 2 --color --use-gru --height 48 --attn-num-hidden 8 "
        "--attn-num-layers 2 --target-embedding-size 6 --charset digits --initial-learning-rate 1e-9 --patience 2 "
        "--steps-per-checkpoint 2 --batch-size 10 --no-augment"
    )
    log, model_dir = tmp_path / "deep" / "log.txt", tmp_path / "m"
    _, err = run("train", data, "--model-dir", model_dir, "--log-path", log, *flags.split())
    assert json.loads((model_dir / "model.json").read_text("utf-8"))["model"] == {
        "charset": "0123456789", "arch": "default", "channels": 3, "height": 48, "bands": 1, "turn": "none",
        "max_width": 40, "max_height": 32,
        "max_prediction": 2, "attn_num_hidden": 8, "attn_num_layers": 2, "target_embedding_size": 6, "use_gru": True,
        "ctc_weight": 0.5,
    }  # fmt: skip
    assert "images 60 px wide at height 48" in err
    assert re.search(r"\d+ of 24 images are wider", err)
    assert re.search(r"record \d+ is left out: its label '\d{3}'", err)
    assert "learning rate 1e-09, batches of 10" in err
    assert "(--patience)" in err
    assert "Training ended" in log.read_text("utf-8") and not (model_dir / "aocr.log").exists()
    assert json.loads(run("test", data, "--json", "--model-dir", model_dir)[0])["num_images"] == 24
