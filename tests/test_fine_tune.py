"""What a network takes over from another whose shapes differ."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, run_aocr

from aocr.config import ModelConfig
from aocr.folder.model_folder import ModelFolder
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import NUM_SPECIALS, Charset
from aocr.training.fine_tune import PIXELS, ROWS, VOCABULARY_AXES, InitialWeights, covers_most_of, start_from

BASE = ModelConfig(Charset("012abÉ"), channels=3, attn_num_hidden=16, target_embedding_size=8)


@pytest.fixture(scope="module")
def initial():
    """Weights of a small network, all different from those of a new one."""
    rng = np.random.default_rng(1)
    fresh = {name: value.numpy() for name, value in weights_of(build_recognizer(BASE)).items()}
    shifted = {name: value + rng.uniform(0.01, 0.02, value.shape) for name, value in fresh.items()}
    return InitialWeights("base", BASE.charset, {name: value.astype(np.float32) for name, value in shifted.items()})


def fine_tuned(initial, **changes):
    """Return a network whose settings differ from the base, started from its weights, and its weights by name."""
    config = replace(BASE, **changes)
    model = build_recognizer(config)
    start_from(initial, model, config)
    return model, {name: value.numpy() for name, value in weights_of(model).items()}


def features(model, images):
    widths = np.full(len(images), images.shape[2], np.int32)
    return model.cnn(images.astype(np.float32), widths).numpy()


def test_equal_shapes_and_grey_images(initial):
    """All weights are taken over; without colour the first convolution sees grey images as before."""
    colour_model, weights = fine_tuned(initial, max_width=900, max_prediction=99)
    assert weights.keys() == initial.weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, initial.weights[name], name)
    grey_model, weights = fine_tuned(initial, channels=1)
    grey = np.random.default_rng(0).uniform(-1, 1, (2, 32, 48, 1))
    expected = features(colour_model, np.repeat(grey, 3, 3))
    np.testing.assert_allclose(features(grey_model, grey), expected, rtol=1e-4, atol=1e-4)
    for name in weights.keys() - {PIXELS}:
        np.testing.assert_array_equal(weights[name], initial.weights[name], name)


def test_colour_images_in_a_network_trained_in_grey():
    kernel = np.random.default_rng(2).normal(size=(3, 3, 1, 16)).astype(np.float32)
    initial = InitialWeights("grey", BASE.charset, {PIXELS: kernel})
    patch = np.random.default_rng(3).uniform(-1, 1, (3, 3, 3))
    grey = (patch @ np.array([0.2989, 0.587, 0.114]) / 0.9999)[..., None]
    fitted = initial.fitted(PIXELS, np.zeros((3, 3, 3, 16), np.float32), BASE.charset)
    response, expected = (np.einsum("hwc,hwcf->f", *pair) for pair in ((patch, fitted), (grey, kernel)))
    np.testing.assert_allclose(response, expected, atol=1e-5)


@pytest.mark.parametrize(("num_rows", "num_distinct"), [(6, 1), (8, 4)])
def test_stretched_rows_give_the_same_as_the_original_4(initial, num_rows, num_distinct):
    kernel = initial.weights[ROWS]
    fitted = initial.fitted(ROWS, np.zeros((num_rows, *kernel.shape[1:]), np.float32), BASE.charset)
    rows = np.random.default_rng(4).normal(size=(num_distinct, kernel.shape[2]))
    original, stretched = (np.repeat(rows, num // num_distinct, 0) for num in (4, num_rows))
    response, expected = np.einsum("hc,hwcf->f", stretched, fitted), np.einsum("hc,hwcf->f", original, kernel)
    np.testing.assert_allclose(response, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("known", "symbols", "covered"),
    [("abc012", "abc", True), ("abc012", "ABCÄ", True), ("abc012", "ಅಆಇ01", False), ("abc012", "ಅ0", True)],
)
def test_half_of_the_symbols_is_most_of_a_charset(known, symbols, covered):
    assert covers_most_of(Charset(known), Charset(symbols)) == covered


def test_rows_of_similar_symbols_are_taken_over(initial):
    charset = Charset("2ABäxé0ಕ")
    for name, axis in VOCABULARY_AXES.items():
        shape = list(initial.weights[name].shape)
        shape[axis] = charset.vocabulary_size
        fitted = initial.fitted(name, np.full(shape, 9, np.float32), charset)
        rows, initial_rows = np.moveaxis(fitted, axis, 0), np.moveaxis(initial.weights[name], axis, 0)
        np.testing.assert_array_equal(rows[:NUM_SPECIALS], initial_rows[:NUM_SPECIALS])
        for symbol, source in zip("2ABäé0", "2abaÉ0", strict=True):
            row = initial_rows[BASE.charset.encode(source)[0]]
            np.testing.assert_array_equal(rows[charset.encode(symbol)[0]], row, f"{name} {symbol}")
        assert (rows[charset.encode("xಕ")] == 9).all()


def test_another_memory_size_keeps_the_cnn(initial, caplog):
    caplog.set_level("INFO", "aocr")
    _, weights = fine_tuned(initial, attn_num_hidden=24, charset=Charset("2Aäxé0"))
    for name in weights:
        if name.startswith("cnn/"):
            np.testing.assert_array_equal(weights[name], initial.weights[name], name)
    assert "Symbols that are new to it: 1; parts with new weights" in caplog.text and "encoder" in caplog.text


@pytest.mark.parametrize(
    ("name", "shape", "wanted"), [("ctc/bias", (2,), (13,)), (PIXELS, (3, 3, 7, 16), (3, 3, 3, 16))]
)
def test_weights_that_fit_no_network_are_ignored(name, shape, wanted):
    """Fewer rows than the charset has symbols, or images of seven channels, in a stranger's model."""
    initial = InitialWeights("base", Charset("0123456789"), {name: np.ones(shape, np.float32)})
    fresh = np.zeros(wanted, np.float32)
    assert initial.fitted(name, fresh, Charset("9876543210")) is fresh


@pytest.mark.slow
def test_a_small_set_is_validated_first_and_then_trained_on_whole(numbers, tmp_path):
    data, folder = tmp_path / "d.txt", ModelFolder(tmp_path / "m")
    data.write_text("".join(numbers.read_text("utf-8").splitlines(keepends=True)[:40]), "utf-8")
    flags = ("train", data, "--data-base-dir", numbers.parent, *SMALL, "--model-dir")

    done = run_aocr(*flags, folder.path, "--num-epoch", "4")
    assert done.returncode == 0, done.stderr
    assert "Starting from words" in done.stderr and "the steps of 4 epochs are done" in done.stderr
    assert "drawing 800 look-alikes" in done.stderr  # 25 for each of 32
    messages = ("a fixed 20 %", "validation word accuracy", "validation images are trained on too", "95 % sure")
    positions = [done.stderr.index(message) for message in messages]
    assert positions == sorted(positions)
    info = folder.weights_info()
    assert info.is_closed and 0 < info.num_calibration_images < 20
    assert run_aocr(*flags, folder.path, "--num-epoch", "4").returncode == 0
    assert folder.weights_info() == info

    done = run_aocr(*flags, folder.path, "--num-epoch", "6")
    assert done.returncode == 0 and "validation word accuracy" not in done.stderr
    assert folder.weights_info() == replace(info, step=folder.weights_info().step)
    assert folder.weights_info().step > info.step

    done = run_aocr(*flags, tmp_path / "n", "--num-epoch", "1", "--init-from", "none")
    assert done.returncode == 0 and "Starting from" not in done.stderr and "look-alikes" not in done.stderr
