"""What a network takes over from another whose shapes differ."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import SMALL, run_aocr

from aocr.config import ModelConfig
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import NUM_SPECIALS, Charset
from aocr.training.fine_tune import VOCABULARY_AXES, Start, covers_most_of, source_of, start_from

NOTHING = ("--init-from", "none")
BASE = ModelConfig(Charset("012abÉ"), channels=3, attn_num_hidden=16, target_embedding_size=8)


@pytest.fixture(scope="module")
def start():
    """Of a small network whose every weight differs from a fresh one's."""
    rng = np.random.default_rng(1)

    def shift(value):
        return (rng.uniform(0.01, 0.02, value.shape) * rng.choice((-1, 1), value.shape)).astype(np.float32)

    fresh = {name: value.numpy() for name, value in weights_of(build_recognizer(BASE)).items()}
    moved = {name: value + shift(value) for name, value in fresh.items()}
    return Start("base", BASE.charset, moved)


def started(start, **changes):
    """A network that differs from the base, with the base's weights: (it, its weights by name)."""
    config = replace(BASE, **changes)
    model = build_recognizer(config)
    start_from(start, model, config)
    return model, {name: value.numpy() for name, value in weights_of(model).items()}


def features(model, images):
    widths = np.full(len(images), images.shape[2], np.int32)
    return model.cnn(images.astype(np.float32), widths).numpy()


@pytest.fixture
def grey():
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 48, 1))


def test_where_shapes_agree_every_weight_is_that_of_the_start(start):
    _, found = started(start, max_width=900, max_prediction=99)
    assert found.keys() == start.weights.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, start.weights[name], name)


def test_a_grey_network_sees_grey_images_as_the_one_in_colour_does(start, grey):
    colour, _ = started(start)
    model, found = started(start, channels=1)
    np.testing.assert_allclose(features(model, grey), features(colour, np.repeat(grey, 3, 3)), rtol=1e-4, atol=1e-4)
    for name in found.keys() - {"cnn/stem/kernel"}:
        np.testing.assert_array_equal(found[name], start.weights[name], name)


def test_a_network_in_colour_sees_an_image_as_the_grey_one_sees_its_grey(start, grey):
    model, found = started(start, channels=1)
    back = Start("grey", BASE.charset, found)
    colour, _ = started(back)
    image = np.random.default_rng(2).uniform(-1, 1, (2, 32, 48, 3))
    in_grey = (image @ np.array([0.2989, 0.587, 0.114]) / 0.9999)[..., None]
    np.testing.assert_allclose(features(colour, image), features(model, in_grey), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features(colour, np.repeat(grey, 3, 3)), features(model, grey), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("height", [48, 64])
def test_rows_drawn_out_to_another_height_give_the_same(start, height):
    """Each of 4 rows stands for 2 of 8; where 6 stand for 4, what is even from top to bottom gives the same."""
    _, found = started(start, height=height)
    ours, theirs = found["cnn/collapse/kernel"][:, 0], start.weights["cnn/collapse/kernel"][:, 0]
    rows = np.random.default_rng(3).normal(size=(1 if height == 48 else 4, theirs.shape[1]))
    low, high = (np.repeat(rows, num // len(rows), 0) for num in (4, height // 8))
    np.testing.assert_allclose(np.einsum("rc,rcf->f", high, ours), np.einsum("rc,rcf->f", low, theirs), atol=1e-3)
    for name in found.keys() - {"cnn/collapse/kernel"}:
        np.testing.assert_array_equal(found[name], start.weights[name], name)


@pytest.mark.parametrize(
    ("symbol", "source"), [("a", "a"), ("B", "b"), ("á", "a"), ("Ä", "a"), ("é", "É"), ("c", None), ("ಕ", None)]
)
def test_symbols_take_after_those_that_look_like_them(symbol, source):
    assert source_of(symbol, BASE.charset) == source


def test_rows_of_known_symbols_carry_over_and_others_are_fresh(start, caplog):
    caplog.set_level("INFO", "aocr")
    charset = Charset("2Aäxé0")
    _, found = started(start, charset=charset)
    assert "Symbols that are new to it: 1" in caplog.text
    for name, axis in VOCABULARY_AXES.items():
        ours, theirs = np.moveaxis(found[name], axis, 0), np.moveaxis(start.weights[name], axis, 0)
        np.testing.assert_array_equal(ours[:NUM_SPECIALS], theirs[:NUM_SPECIALS])
        for symbol, source in zip("2Aäé0", "2aaÉ0", strict=True):
            row = theirs[BASE.charset.encode(source)[0]]
            np.testing.assert_array_equal(ours[charset.encode(symbol)[0]], row, f"{name} {symbol}")
        fresh = ours[charset.encode("x")[0]]
        assert not any(np.array_equal(fresh, row) for row in theirs)


@pytest.mark.parametrize(
    ("start", "symbols", "known"),
    [("abc012", "abc", True), ("abc012", "ABCÄ", True), ("abc012", "ಅಆಇ01", False), ("abc012", "ಅ0", True)],
)
def test_a_reader_knows_a_charset_of_which_it_has_half(start, symbols, known):
    assert covers_most_of(Charset(start), Charset(symbols)) == known


def test_with_another_memory_the_picture_part_carries_over(start, caplog):
    caplog.set_level("INFO", "aocr")
    _, found = started(start, attn_num_hidden=24)
    for name in found:
        if name.startswith("cnn/"):
            np.testing.assert_array_equal(found[name], start.weights[name], name)
    assert "encoder" in caplog.text


def test_a_small_set_is_validated_and_then_learnt_from_whole(numbers, tmp_path):
    data, model = tmp_path / "d.txt", tmp_path / "m"
    data.write_text("".join(numbers.read_text("utf-8").splitlines(keepends=True)[:40]), "utf-8")
    flags = ("train", data, "--data-base-dir", numbers.parent, "--model-dir", model, *SMALL)

    def read(name):
        return json.loads((model / name).read_text("utf-8"))

    done = run_aocr(*flags, "--num-epoch", "4")
    assert done.returncode == 0, done.stderr
    assert "Starting from words" in done.stderr and "4 epochs are done" in done.stderr
    assert "800 look-alikes are drawn" in done.stderr  # 25 for each of 32
    told = [done.stderr.index(text) for text in ("held out", "validation word", "learnt from too", "95 % sure")]
    assert told == sorted(told)
    best, fitted = read("best.json"), read("calibration.json")
    assert best["closed"] and best["checkpoint"] == fitted["checkpoint"] and 0 < fitted["num_images"] < 20
    assert run_aocr(*flags, "--num-epoch", "4").returncode == 0
    assert read("calibration.json") == fitted
    done = run_aocr(*flags, "--num-epoch", "6")
    assert "validation word" not in done.stderr and read("best.json")["step"] > best["step"]
    assert read("calibration.json")["temperature"] == fitted["temperature"]
    done = run_aocr("train", data, *flags[2:4], "--model-dir", tmp_path / "n", *SMALL, "--num-epoch", "1", *NOTHING)
    assert done.returncode == 0 and "Starting from" not in done.stderr and "look-alikes" not in done.stderr


@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [("ctc/bias", (2,), (13,)), ("decoder/output_projection/kernel", (32, 5), (32, 13)),
     ("cnn/stem/kernel", (3, 3, 7, 16), (3, 3, 3, 16))],
)  # fmt: skip
def test_weights_of_no_network_are_left_aside(name, shape, wanted):
    """A stranger's: not as many rows as its charset has symbols, or images of seven channels."""
    start = Start("base", Charset("0123456789"), {name: np.ones(shape, np.float32)})
    fresh = np.zeros(wanted, np.float32)
    assert start.fitted(name, fresh, Charset("9876543210")) is fresh
