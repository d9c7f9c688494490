"""Every flag does what it says: tested for its effect."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from aocr.training.progress import Progress
from aocr.training.trainer import Trainer
from conftest import draw_numbers, random_batch
from PIL import Image

from aocr import machine
from aocr.cli.main import main
from aocr.config import ARCHS, ModelConfig, TrainConfig
from aocr.data.records import read_examples
from aocr.errors import ConfigError
from aocr.folder.model_folder import ModelFolder
from aocr.model.recognizer import build_recognizer
from aocr.reading.evaluator import Evaluator
from aocr.results import Prediction, Sample
from aocr.text.charset import Charset
from aocr.text.metrics import score
from aocr.training.cluster import Cluster
from aocr.training.optimizers import make_optimizer
from aocr.training.schedule import Reason
from aocr.training.step import TrainStep


@pytest.fixture
def run(capsys):
    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out, captured.err

    return call


# dataset


def test_case_of_labels(run, tmp_path):
    folder = tmp_path / "words"
    draw_numbers(folder, 2)
    (folder / "numbers.txt").write_text("0.png Stra\u00dfe\n1.png abc\n", encoding="utf-8")
    for flag, expected in (
        ((), ["Stra\u00dfe", "abc"]),
        (("--no-force-uppercase",), ["Stra\u00dfe", "abc"]),
        (("--force-uppercase",), ["STRASSE", "ABC"]),
    ):
        run("dataset", folder / "numbers.txt", tmp_path / "o", *flag)
        assert [e.label for e in read_examples(str(tmp_path / "o"))] == expected


def test_save_filename_keeps_the_path(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 3)
    run("dataset", data, tmp_path / "o")
    assert {e.comment for e in read_examples(str(tmp_path / "o"))} == {""}
    run("dataset", data, tmp_path / "o", "--save-filename")
    assert [e.comment for e in read_examples(str(tmp_path / "o"))] == ["0.png", "1.png", "2.png"]


def test_shards_hold_everything_once(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 10)
    run("dataset", data, tmp_path / "whole")
    run("dataset", data, tmp_path / "o", "--shards", "3")
    shards = sorted(tmp_path.glob("o-*-of-00003"))
    assert len(shards) == 3
    dealt = [e.image for path in shards for e in read_examples(str(path))]
    assert sorted(dealt) == sorted(e.image for e in read_examples(str(tmp_path / "whole")))


def test_log_step_logs_each_n_images(run, tmp_path):
    _, err = run("dataset", draw_numbers(tmp_path / "n", 10), tmp_path / "o", "--log-step", "4")
    assert re.findall(r"(\d+) images done", err) == ["4", "8"]


def test_labels_from_file_names(run, tmp_path):
    folder = tmp_path / "words"
    draw_numbers(folder, 2)
    (folder / "0.png").rename(folder / "HELLO WORLD.png")
    (folder / "1.png").rename(folder / "cafe\u0301.png")
    run("dataset", folder, tmp_path / "o", "--label-from-filename")
    assert sorted(e.label for e in read_examples(str(tmp_path / "o"))) == ["HELLO WORLD", "caf\u00e9"]


# the network's flags


def network(**settings):
    arch = settings.get("arch", "default")
    return ModelConfig(Charset("0123"), **{**ARCHS[arch].defaults, "attn_num_hidden": 16, **settings})


def shapes(**settings):
    model = build_recognizer(network(**settings))
    return {v.path.split("/", 1)[1]: tuple(v.shape) for v in model.trainable_variables}


def test_network_flags_change_the_network():
    base = shapes()
    assert base["decoder/embedding/embeddings"] == (7, 32)
    assert shapes(target_embedding_size=5)["decoder/embedding/embeddings"] == (7, 5)
    assert base["decoder/cell0/recurrent_kernel"] == (16, 64)
    assert shapes(use_gru=True)["decoder/cell0/recurrent_kernel"] == (16, 48)
    assert shapes(attn_num_hidden=8)["decoder/cell0/recurrent_kernel"] == (8, 32)
    assert "decoder/cell1/kernel" in shapes(attn_num_layers=2)
    assert base["cnn/collapse/kernel"] == (4, 1, 192, 256)
    assert shapes(height=48)["cnn/collapse/kernel"] == (6, 1, 192, 256)
    assert base["cnn/stem/kernel"][2] == 1
    assert shapes(channels=3)["cnn/stem/kernel"][2] == 3
    assert shapes(arch="classic")["cnn/conv7/kernel"] == (2, 2, 512, 512)


@pytest.mark.slow
def test_network_flags_reach_the_network(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 40)
    flags = (
        "--max-width",
        "64",
        "--max-height",
        "20",
        "--max-prediction",
        "7",
        "--color",
        "--use-gru",
        "--height",
        "48",
    )
    more = ("--attn-num-hidden", "8", "--attn-num-layers", "2", "--target-embedding-size", "6", "--charset", "digits")
    _, err = run("train", data, "--model-dir", tmp_path / "m", "--num-epoch", "1", *flags, *more)
    model = json.loads((tmp_path / "m" / "model.json").read_text("utf-8"))["model"]
    assert model == {
        "charset": "0123456789", "arch": "default", "channels": 3, "height": 48, "max_width": 64, "max_height": 20,
        "max_prediction": 7, "attn_num_hidden": 8, "attn_num_layers": 2, "target_embedding_size": 6, "use_gru": True,
    }  # fmt: skip
    assert "images 154 px wide at height 48" in err


@pytest.mark.slow
def test_high_images_are_read_and_exported_at_more_than_the_least_height(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 40)
    for path in (tmp_path / "n").glob("*.png"):
        image = Image.open(path)
        image.resize((image.width * 3 // 2, 48)).save(path)
    for flags, height in (((), 48), (("--height", "32"), 32)):
        model_dir = tmp_path / str(height)
        run("train", data, "--model-dir", model_dir, "--num-epoch", "1", "--attn-num-hidden", "8", *flags)
        assert json.loads((model_dir / "model.json").read_text("utf-8"))["model"]["height"] == height
    high = ("--model-dir", tmp_path / "48")
    assert json.loads(run("test", data, "--json", *high)[0])["num_images"] == 40
    assert len(run("predict", tmp_path / "n", *high)[0].splitlines()) == 40
    run("export", tmp_path / "exported", *high)
    with pytest.raises(AssertionError, match=r"the model in .* has 48"):
        run("test", data, "--height", "32", *high)


def draw_colours(folder, count):
    """Digits that are as light as the ground they stand on, but of another colour."""
    grey = draw_numbers(folder, count)
    for path in folder.glob("*.png"):
        ink = np.asarray(Image.open(path)) < 128
        Image.fromarray(np.where(ink[..., None], (230, 60, 60), (40, 150, 40)).astype(np.uint8)).save(path)
    return grey


@pytest.mark.slow
def test_colour_is_read_where_grey_would_lose_it(run, tmp_path):
    colours, grey = draw_colours(tmp_path / "c", 40), draw_numbers(tmp_path / "g", 40)
    for number, (data, flags, channels) in enumerate(
        ((colours, (), 3), (grey, (), 1), (colours, ("--no-color",), 1), (grey, ("--color",), 3))
    ):
        model_dir = tmp_path / str(number)
        _, err = run("train", data, "--model-dir", model_dir, "--num-epoch", "1", "--attn-num-hidden", "8", *flags)
        assert json.loads((model_dir / "model.json").read_text("utf-8"))["model"]["channels"] == channels
        assert ("Reading in colour: 100 % of the images" in err) == (number == 0)
    _, err = run("train", colours, "--model-dir", tmp_path / "0", "--num-epoch", "2", "--attn-num-hidden", "8")
    assert "Resuming" in err


@pytest.mark.slow
def test_limits_shrink_and_leave_out_and_say_so(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 40)
    common = ("--model-dir", tmp_path / "m", "--num-epoch", "1", "--attn-num-hidden", "8")
    _, err = run("train", data, *common, "--max-width", "40", "--max-height", "32", "--max-prediction", "2")
    assert re.search(r"(\d+) of 40 images are wider and are scaled down to fit", err)
    assert re.search(r"record \d+ is left out: its label '\d{3}' is longer than 2", err)
    assert "--full-ascii" not in err
    _, err = run("train", data, *common, "--full-ascii", "--no-resume")
    assert "Charset: 95 symbols" in err


# how it is trained


def one_step(rate=0.1, **settings):
    """How far one step moves the weights (global norm), from the same start."""
    machine.set_seed(settings.get("seed", 0))
    config = TrainConfig(**{"optimizer": "sgd", **settings})
    model = build_recognizer(network())
    before = [v.numpy() for v in model.trainable_variables]
    step = TrainStep(model, make_optimizer(config, model), config, Cluster(tf.distribute.get_strategy()))
    loss = float(step(random_batch(model.config), rate, 0))
    after = [v.numpy() for v in model.trainable_variables]
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(after, before, strict=True))), loss, after


def test_gradient_clipping():
    free, *_ = one_step(clip_gradients=False)
    clipped, *_ = one_step(max_gradient_norm=1e-3)
    looser, *_ = one_step(max_gradient_norm=2e-3)
    assert clipped < 1e-3 < free
    assert looser == pytest.approx(2 * clipped, rel=1e-3)


def test_the_seed_fixes_the_weights():
    first, again, other = (one_step(seed=seed)[2] for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_optimizers_are_those_named():
    model = build_recognizer(network())
    for name, kind in (("adamw", "AdamW"), ("adam", "Adam"), ("adadelta", "Adadelta"), ("sgd", "SGD")):
        optimizer = make_optimizer(TrainConfig(optimizer=name), model)
        assert type(optimizer).__name__ == kind
    assert float(make_optimizer(TrainConfig(initial_learning_rate=0.123), model).learning_rate) == pytest.approx(0.123)


def test_weight_decay_spares_biases_and_scales():
    model = build_recognizer(network())
    optimizer = make_optimizer(TrainConfig(), model)
    spared = {v.path.rsplit("/", 1)[-1] for v in model.trainable_variables if not optimizer._use_weight_decay(v)}
    assert spared == {"bias", "gamma", "beta", "embeddings"}


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precision_is_that_of_the_convolutions(precision):
    machine.set_seed(0)
    model = build_recognizer(network(), machine.POLICIES[precision])
    assert model.cnn.stem.compute_dtype == precision
    assert model.cnn.stem.kernel.dtype == "float32"
    config = TrainConfig(optimizer="adam")
    step = TrainStep(model, make_optimizer(config, model), config, Cluster(tf.distribute.get_strategy()))
    data = random_batch(model.config)
    losses = [float(step(data, 0.003, i)) for i in range(12)]
    assert losses[-1] < losses[0] * 0.9
    assert model.read(data.images, data.widths).confidence.dtype == tf.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_hole_in_the_gradient_of_a_bfloat16_convolution_is_no_end(precision, monkeypatch):
    """In float32, where no kernel makes such holes, a gradient that is not finite spoils all weights, and is told."""
    machine.set_seed(0)
    model = build_recognizer(network(), machine.POLICIES[precision])
    config = TrainConfig()
    step = TrainStep(model, make_optimizer(config, model), config, Cluster(tf.distribute.get_strategy()))
    kernel = next(i for i, v in enumerate(model.trainable_variables) if "/cnn/" in v.path and v.path.endswith("kernel"))
    gradient = tf.GradientTape.gradient

    def with_hole(self, *args, **options):
        found = gradient(self, *args, **options)
        hole = tf.scatter_nd([[0, 0, 0, 0]], [np.nan], found[kernel].shape)
        return [*found[:kernel], found[kernel] + tf.cast(hole, found[kernel].dtype), *found[kernel + 1 :]]

    monkeypatch.setattr(tf.GradientTape, "gradient", with_hole)
    step(random_batch(model.config), 0.01, 0)
    finite = all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
    assert finite == (precision == "bfloat16")


def test_auto_precision_is_what_the_cpu_has(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    monkeypatch.setattr(machine, "_cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert machine.choose_precision("auto") == ("bfloat16", "the CPU has bfloat16 instructions")
    monkeypatch.setattr(machine, "_cpu_flags", lambda: {"avx2"})
    assert machine.choose_precision("auto")[0] == "float32"
    assert machine.choose_precision("bfloat16")[0] == "bfloat16"


@pytest.mark.parametrize("capability, expected", [((9, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")])
def test_auto_precision_is_what_the_gpu_has(capability, expected, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu"])
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert machine.choose_precision("auto")[0] == expected


def test_gpu_id_shows_one_gpu_or_none(monkeypatch):
    shown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: shown.append(gpus))
    machine.use_gpu(1)
    machine.use_gpu(-1)
    assert shown == [["b"], []]
    with pytest.raises(ConfigError, match="2 GPUs"):
        machine.use_gpu(2)


@pytest.mark.slow
def test_a_network_that_has_not_begun_to_read_is_given_time(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 40)
    held = draw_numbers(tmp_path / "held", 40, seed=9)
    flags = ("--model-dir", tmp_path / "m", "--attn-num-hidden", "8", "--steps-per-checkpoint", "1", "--no-augment")
    slow = ("--validation", held, "--initial-learning-rate", "1e-9", "--patience", "1", "--batch-size", "40")
    _, err = run("train", data, *flags, *slow)
    assert "it got no better for 2 checks in a row (--patience)" in err
    _, err = run("train", data, *flags, *slow)
    assert re.search(r"had already ended at step \d+: it got no better for 2 checks", err)
    slow = (*slow[:-3], "2", *slow[-2:])
    _, err = run("train", data, *flags, *slow)
    assert "it got no better for 4 checks in a row (--patience)" in err


@pytest.mark.slow
def test_a_training_that_read_all_stays_ended(run, tmp_path, monkeypatch):
    """Its last weights may be a little worse and are kept all the same: that is no reason to go on."""
    rates, report = iter([0.0, *[0.9] * 50]), Evaluator.report

    def scripted(evaluator, samples):
        cer = 0.01 if "decays to zero" in log.read_text("utf-8") else next(rates)
        return dataclasses.replace(report(evaluator, samples), cer=cer, word_accuracy=1 - cer)

    monkeypatch.setattr(Evaluator, "report", scripted)
    data, log = draw_numbers(tmp_path / "n", 40), tmp_path / "log.txt"
    held = draw_numbers(tmp_path / "held", 40, seed=9)
    flags = ("--model-dir", tmp_path / "m", "--attn-num-hidden", "8", "--steps-per-checkpoint", "1", "--no-augment")
    flags += ("--init-from", "none")
    slow = ("--validation", held, "--initial-learning-rate", "1e-9", "--patience", "4", "--batch-size", "40")
    _, err = run("train", data, *flags, *slow, "--log-path", log)
    assert "it got no better for 2 checks in a row (--patience)" in err
    assert json.loads((tmp_path / "m" / "best.json").read_text("utf-8"))["last"]
    _, err = run("train", data, *flags, *slow)
    assert re.search(r"had already ended at step \d+: it got no better for 2 checks", err)


@pytest.mark.slow
def test_patience_batch_size_log_path_and_vocabulary(run, tmp_path):
    data = draw_numbers(tmp_path / "n", 24)  # too few to hold some out
    flags = ("--model-dir", tmp_path / "m", "--attn-num-hidden", "8", "--steps-per-checkpoint", "2")
    slow = ("--initial-learning-rate", "1e-9", "--patience", "2", "--batch-size", "10", "--no-augment")
    _, err = run("train", data, *flags, *slow, "--log-path", tmp_path / "deep" / "log.txt")
    assert re.search(r"batches of 10, [2-4] steps an epoch", err)
    assert "it got no better for 2 checks in a row (--patience)" in err
    assert "learning rate 1e-09" in err
    assert "Training ended" in (tmp_path / "deep" / "log.txt").read_text("utf-8")
    assert not (tmp_path / "m" / "aocr.log").exists()
    assert main(["train", str(data), "--model-dir", str(tmp_path / "v"), "--target-vocab-size", "9"]) == 1


def validated(folder, readings):
    """A trainer that has trained nothing; each validation reads the next of `readings` for 12, 012 and 123."""
    readings, labels = iter(readings), ("12", "012", "123")

    class Validation:
        def gathered(self):
            return [
                Sample("", label, Prediction(text, 0.5)) for text, label in zip(next(readings), labels, strict=True)
            ]

        report = staticmethod(score)

    model, config, cluster = build_recognizer(network()), TrainConfig(), Cluster(tf.distribute.get_strategy())
    return Trainer(
        model, config, ModelFolder(folder), None, Validation(), 1, cluster, Progress(shown=False), num_validation=40
    )


def best_after(trainer, step, **state):
    for name, value in {"step": step, **state}.items():
        setattr(trainer.state, name, value)
    trainer._validate()
    best = trainer.folder.read_json("best.json")
    return best["step"], best["last"], best["cer"]


def test_the_best_checkpoint_has_the_fewest_wrong_characters(tmp_path):
    """They rank before whole words: on a small validation set one word more may be chance."""
    trainer = validated(tmp_path, [("12", "000", "000"), ("13", "022", "122"), ("12", "000", "100")])
    assert [best_after(trainer, step)[:2] for step in range(3)] == [(0, False), (1, False), (1, False)]


def test_the_end_of_a_training_is_kept_unless_it_is_worse_beyond_chance(tmp_path):
    one_wrong, three_wrong, all_wrong = ("12", "012", "120"), ("12", "022", "100"), ("", "", "")
    trainer = validated(tmp_path / "good", [one_wrong, three_wrong, three_wrong])
    assert best_after(trainer, 0) == best_after(trainer, 1) == (0, False, 1 / 8)
    assert best_after(trainer, 2, finished=Reason.PATIENCE) == (2, True, 3 / 8)
    assert trainer.state.best_cer == 1 / 8, "the score of the kept weights is not the best score"
    trainer = validated(tmp_path / "bad", [one_wrong, all_wrong])
    assert best_after(trainer, 0) == best_after(trainer, 1, finished=Reason.PATIENCE) == (0, False, 1 / 8)
