"""Texts of several lines, upright texts, and the boxes of characters."""

import io
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from conftest import REAL_DATA, assert_clean_failure, run_aocr
from PIL import Image, ImageDraw, ImageFont

from aocr.config import ModelConfig
from aocr.data.annotations import parse_annotations
from aocr.data.automatic import is_column, is_upright, lines_for, width_of_several_lines
from aocr.data.datasets import open_dataset
from aocr.data.images import image_to_bytes
from aocr.errors import ConfigError
from aocr.exchange.export import FORMATS
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.folder.variables import weights_of
from aocr.folder.words import open_folder
from aocr.model.recognizer import build_recognizer
from aocr.reading.boxes import character_boxes
from aocr.reading.predictor import load, load_network
from aocr.reading.views import View, slope_of
from aocr.report.attention import CAPTION_HEIGHT, MAP_ROW_HEIGHT, attention_map, overlay_frames, pixel_weights
from aocr.report.diagnostics import Drift, attention_drift
from aocr.report.pictures import levelled_size, positions
from aocr.results import Character, Prediction, Sample
from aocr.synth.drawing import break_lines
from aocr.text.charset import Charset
from aocr.training.fine_tune import read_start, start_from
from aocr.training.prepare import new_config
from aocr.training.request import TrainRequest

HEBREW = Charset("אבגדהוזח")


@pytest.mark.parametrize("settings, field", [
    ({"bands": 2, "height": 32}, "height"),
    ({"bands": 3, "height": 32}, "height"),
    ({"bands": 3, "height": 48}, "height"),
    ({"bands": 2, "height": 64}, "bands"),
    ({"height": 96}, "height"),
    ({"bands": 3, "height": 64, "arch": "classic", "attn_num_layers": 2}, "bands"),
    ({"turn": "left", "arch": "classic", "attn_num_layers": 2}, "turn"),
    ({"turn": "over"}, "turn"),
])  # fmt: skip
def test_settings_that_do_not_fit(settings, field):
    with pytest.raises(ConfigError) as raised:
        ModelConfig(Charset("ab"), **settings)
    assert raised.value.field == field


@pytest.mark.parametrize("flags, word, code", [
    (("--lines", "2", "--height", "32"), "height", 1),
    (("--lines", "9"), "", 2),
    (("--arch", "classic", "--turn", "left"), "turn", 1),
])  # fmt: skip
def test_flags_that_do_not_fit(flags, word, code, numbers, tmp_path):
    done = run_aocr("train", numbers, "--model-dir", tmp_path / "m", *flags)
    assert done.returncode == code and "Traceback" not in done.stderr and word in done.stderr


# one line or several


def plates(num_lines: list[int], rng) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and sizes of images of 7 characters in so many lines each."""
    lines = np.array(num_lines)
    heights = rng.uniform(40, 60, len(lines)) * lines
    widths = np.ceil(7 / lines) * rng.normal(0.5, 0.05, len(lines)) * heights / lines
    return np.full(len(lines), 7), np.stack([widths, heights], 1).astype(int)


@pytest.mark.parametrize("num_lines, expected", [
    ([1] * 400, 1), ([1] * 380 + [2] * 20, 2), ([2] * 200, 2), ([1] * 200 + [2] * 100 + [3] * 60, 3), ([3] * 100, 3),
    ([1, 2], 1),
])  # fmt: skip
def test_number_of_lines(num_lines, expected):
    lengths, sizes = plates(num_lines, np.random.default_rng(0))
    assert lines_for(lengths, sizes)[0] == expected


def test_width_of_several_lines():
    lengths, sizes = plates([1] * 200 + [2] * 200, np.random.default_rng(0))
    _, several = lines_for(lengths, sizes)
    assert not several[:200].any() and several[200:].mean() > 0.9
    single, block = 3.5 * 32, 1.0 * 96  # usual widths at the network
    assert single < width_of_several_lines(96, sizes, several) < 1.6 * single
    assert block < width_of_several_lines(96, sizes[200:], several[200:]) < 1.6 * block


def test_upright_text():
    lengths, sizes = plates([1] * 50, np.random.default_rng(0))
    assert is_upright(lengths, sizes[:, ::-1])
    assert not is_upright(lengths, sizes)
    assert not is_upright(np.array([1, 2]), np.array([[10, 30], [20, 60]]))
    assert is_column(lengths, sizes[:, ::-1])
    stacked, in_lines = (np.column_stack([np.full(50, 30), 30 * height]) for height in (lengths, lengths // 2))
    assert is_upright(lengths, stacked) and is_column(lengths, stacked)  # letters above each other
    assert not is_column(lengths, in_lines // [1, 2])  # lines of three or four letters


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"needs the real images in {REAL_DATA}")
@pytest.mark.parametrize("name", [
    "captcha", "captcha_varlen", "displays", "kannada", "lines_english", "lines_fraktur", "plates", "scene_words",
])  # fmt: skip
def test_real_images_of_one_line(name):
    path = REAL_DATA / name / "train.txt"
    lines = [line for line in parse_annotations(path.read_bytes(), str(path)) if line.label][::3]
    lengths, sizes = [], []
    for line in lines:
        place = next((place for place in (path.parent / line.path, REAL_DATA / line.path) if place.is_file()), None)
        if place:
            with Image.open(place) as image:
                sizes.append(image.size)
            lengths.append(len(line.label))
    assert len(sizes) > 10
    num_lines, several = lines_for(np.array(lengths), np.array(sizes))
    assert num_lines == 1 and not several.any()
    assert not is_upright(np.array(lengths), np.array(sizes))


# the network


def several_lines_model(tmp_path, **settings) -> str:
    """A model folder with the weights of `words`, for several lines."""
    box = open_folder("words")
    config = ModelConfig(
        **{**vars(box.read_config()), "height": 64, "bands": 3, "max_width": 240, "max_height": 64, **settings}
    )
    model = build_recognizer(config)
    start_from(read_start(box, "words"), model, config)
    folder = ModelFolder(tmp_path / "several")
    weights = {name: variable.numpy() for name, variable in weights_of(model).items()}
    folder.write_weights(weights, WeightsInfo(), config)
    return folder.path


@pytest.mark.parametrize("settings", [{}, {"charset": HEBREW}])
def test_memory_of_several_bands_does_not_depend_on_the_batch(settings, tmp_path):
    model = load_network(several_lines_model(tmp_path, **settings)).reader.model
    images = np.random.default_rng(1).uniform(-1, 1, (2, 64, 96, 3)).astype(np.float32)
    images[1, :, 30:] = 0
    together, _ = model.encode(images, np.array([96, 30], np.int32))
    alone, _ = model.encode(images[1:, :, :32], np.array([30], np.int32))
    columns = np.flatnonzero(np.array(together.mask)[1])
    assert columns.tolist() == [24 * band + i for band in range(3) for i in range(8)]
    np.testing.assert_allclose(np.array(together.values)[1, columns], np.array(alone.values)[0], atol=1e-4)
    np.testing.assert_allclose(np.array(together.counts)[1, columns], np.array(alone.counts)[0], atol=1e-3)


def test_weights_of_words_carry_over(tmp_path):
    ours, theirs = ModelFolder(several_lines_model(tmp_path)).read_weights(), open_folder("words").read_weights()
    different = {name for name in ours if not np.array_equal(ours[name], theirs.get(name))}
    assert different == {"cnn/band_vectors"} and not ours["cnn/band_vectors"].any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_export_of_several_lines(kind, tmp_path):
    for package in getattr(FORMATS[kind], "NEEDED", ()):
        pytest.importorskip(package)
    done = run_aocr("export", tmp_path / "e", "--format", kind, "--model-dir", several_lines_model(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("turn, angle", [("left", -90), ("right", 90)])
def test_turned_image_reads_like_an_upright_one(turn, angle, tmp_path):
    image = Image.new("L", (120, 32), 230)
    ImageDraw.Draw(image).text((8, 2), "Hello", 20, ImageFont.load_default(24))
    box = open_folder("words")
    folder = ModelFolder(tmp_path / "turned")
    folder.write_weights(box.read_weights(), WeightsInfo(), ModelConfig(**{**vars(box.read_config()), "turn": turn}))
    (upright,) = load("words").predict([image])
    (turned,) = load(folder.path).predict([image.rotate(angle, expand=True)])
    assert turned.text == upright.text == "Hello"
    assert (turned.image_width, turned.image_height) == (32, 120)
    for a, b in zip(upright.characters, turned.characters, strict=True):
        if turn == "left":  # the image was turned to the right before
            assert (b.y0, b.y1) == pytest.approx((a.x0, a.x1), abs=0.2)
            assert (b.x0, b.x1) == pytest.approx((32 - a.y1, 32 - a.y0), abs=0.2)
        else:
            assert (b.y0, b.y1) == pytest.approx((120 - a.x1, 120 - a.x0), abs=0.2)
            assert (b.x0, b.x1) == pytest.approx((a.y0, a.y1), abs=0.2)


@pytest.mark.parametrize("angle, turn", [(90, "right"), (-90, "left"), (0, "none")])
def test_words_turns_high_images(angle, turn):
    image = Image.new("L", (120, 32), 230)
    ImageDraw.Draw(image).text((8, 2), "Hello", 20, ImageFont.load_default(24))
    image = image.rotate(angle, expand=True)
    (result,) = load("words").predict([image])
    assert (result.text, result.turn) == ("Hello", turn)
    assert (result.image_width, result.image_height) == image.size
    first, last = result.characters[0], result.characters[-1]
    if turn == "none":
        assert first.x1 < last.x0
    else:
        assert first.y1 < last.y0 if turn == "left" else first.y0 > last.y1


@pytest.mark.parametrize("angle", [-20, 14, 0])
def test_words_levels_images_whose_text_slopes(angle):
    image = Image.new("RGB", (200, 120), (230, 230, 230))
    ImageDraw.Draw(image).text((40, 40), "Hello", (20, 20, 20), ImageFont.load_default(44))
    image = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(230, 230, 230))
    assert slope_of(image) == pytest.approx(-angle, abs=2)
    predictor = load("words")
    result = predictor.read_views([image], [View(angle=-angle)])[0]
    assert result.text == "Hello"
    assert (result.image_width, result.image_height, result.slope) == (200, 120, -angle)
    xs, ys = ([(getattr(c, a) + getattr(c, b)) / 2 for c in result.characters] for a, b in (("x0", "x1"), ("y0", "y1")))
    rise = math.degrees(math.atan2(ys[0] - ys[-1], xs[-1] - xs[0]))
    assert rise == pytest.approx(angle, abs=8)
    heat = pixel_weights(result, 200, 120)  # the attention of each letter is where its box is
    y, x = np.mgrid[:120, :200]
    for weights, middle_x, middle_y in zip(heat, xs, ys, strict=False):
        along = (x - middle_x) * math.cos(math.radians(angle)) - (y - middle_y) * math.sin(math.radians(angle))
        assert np.average(along, weights=weights**2) == pytest.approx(0, abs=16)


def test_unsure_reading_of_a_sloping_image_is_tried_level():
    image = Image.new("RGB", (200, 110), (90, 120, 150))
    ImageDraw.Draw(image).text((30, 30), "market", (230, 230, 220), ImageFont.load_default(44))
    image = image.rotate(24, Image.Resampling.BICUBIC, fillcolor=(90, 120, 150))
    predictor = load("words")
    predictor.read_encoded = lambda images: [Prediction("b", 0.5)]
    predictor.read_views = lambda images, views: [
        Prediction("level", 0.9, slope=view.angle) if view.angle else Prediction("c", 0.6) for view in views
    ]
    (result,) = predictor.read_batch([image_to_bytes(image).data])
    assert (result.text, result.slope) == ("level", pytest.approx(-24, abs=2))


@pytest.mark.parametrize("factor", [1.5, 0.8])
def test_positions_of_a_stretched_image_are_those_of_the_image(factor):
    image = Image.new("RGB", (120, 32), (230, 230, 230))
    ImageDraw.Draw(image).text((8, 2), "Hello", (20, 20, 20), ImageFont.load_default(24))
    predictor, data = load("words"), image_to_bytes(image).data
    (plain,), (other,) = predictor.read_encoded([data]), predictor.read_views([image], [View(stretch=factor)])
    assert plain.text == other.text == "Hello"
    assert other.image_width == 120
    boxes = [np.array([(c.x0, c.x1, c.y0, c.y1) for c in p.characters]) for p in (plain, other)]
    assert np.abs(boxes[0] - boxes[1]).mean() < 2
    heat = [pixel_weights(p, 120, 32)[0].sum(axis=0) for p in (plain, other)]
    middles = [np.average(np.arange(120), weights=weights) for weights in heat]
    assert middles[0] == pytest.approx(middles[1], abs=5)


def test_words_reads_unsure_images_in_other_views():
    predictor = load("words")
    image = Image.new("RGB", (120, 32), (230, 230, 230))
    data = [image_to_bytes(image).data]
    sure, unsure = Prediction("a", 0.99), Prediction("b", 0.5)
    calls = []
    predictor.read_views = lambda images, views: (
        calls.extend(views) or [Prediction("c", 0.6 * v.stretch) for v in views]
    )
    for first, text in ((sure, "a"), (unsure, "c")):
        predictor.read_encoded = lambda images, first=first: [first]
        assert predictor.read_batch(data)[0].text == text
    assert sorted(calls) == [View(stretch=0.8), View(stretch=1.5)]
    predictor.read_views = lambda images, views: [Prediction("", 0.9) for _ in views]
    assert predictor.read_batch(data)[0].text == "b"  # nothing is not surer than a text


def test_views_of_a_record_with_16_bits():
    pixels = np.full((32, 120), 50_000, np.uint16)
    pixels[8:24, 20:100:9] = 9_000
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    predictor, seen = load("words"), []
    predictor.read_views = lambda pictures, views: seen.extend(pictures) or [Prediction("c", 0.6)] * len(views)
    predictor.try_views([buffer.getvalue()], [Prediction("b", 0.5)])
    assert all(picture.mode == "RGB" and picture.getextrema()[0] == (35, 195) for picture in seen)
    assert seen


def test_level_and_positions_agree():
    image = Image.new("RGB", (120, 60), "white")
    ImageDraw.Draw(image).rectangle((70, 25, 76, 31), "black")
    for angle in (-30, 18):
        levelled = View(angle=angle).of(image)
        assert levelled.size == levelled_size(120, 60, angle)
        ys, xs = np.nonzero(np.asarray(levelled)[:, :, 0] < 128)
        x, y = positions(np.array(73.5), np.array(28.5), image.size, levelled.size, angle)
        assert (xs.mean() + 0.5, ys.mean() + 0.5) == (pytest.approx(x, abs=0.7), pytest.approx(y, abs=0.7))


@pytest.mark.parametrize("size, turn", [((40, 160), "left"), ((160, 40), "none")])
def test_training_keeps_the_turn_of_init_from(size, turn, tmp_path):
    box = open_folder("words")
    base = ModelFolder(tmp_path / "turned")
    base.write_weights(box.read_weights(), WeightsInfo(), ModelConfig(**{**vars(box.read_config()), "turn": "left"}))
    for i in range(3):
        Image.new("L", size, 200).save(tmp_path / f"{i}.png")
    (tmp_path / "a.txt").write_text("".join(f"{i}.png 12345678\n" for i in range(3)))
    request = TrainRequest([f"{tmp_path}/a.txt"], model_dir=f"{tmp_path}/m", init_from=base.path)
    with open_dataset(request.datasets) as data:
        assert new_config(request, [data]).turn == turn


# boxes

LETTERS = [(8, 6, 18, 26), (22, 6, 30, 26), (4, 36, 14, 58), (18, 36, 30, 58), (36, 38, 48, 58)]
"""Left, top, right and bottom of five letters in two lines."""


def drawn(boxes, width=64, height=64, channels=1):
    image = np.full((height, width, channels), 0.4, np.float32)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = -0.9
    return image


def attention_on(boxes, bands, width=64):
    """Attention on the middle of each box, a pixel late, in the bands around it."""
    columns = width // 4
    weights = np.zeros((len(boxes), bands, columns), np.float32)
    for t, (x0, y0, x1, y1) in enumerate(boxes):
        distances = np.abs(np.arange(bands) * 16 + 16 - (y0 + y1) / 2)
        near = np.maximum(16 - distances, 0) / 16 if bands > 1 else np.ones(1)
        weights[t, :, int((x0 + x1) / 8)] = near
    return weights.reshape(len(boxes), -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_in_two_lines(channels):
    config = ModelConfig(Charset("ab"), height=64, bands=3, channels=channels)
    boxes = character_boxes(attention_on(LETTERS, 3), drawn(LETTERS, channels=channels), config)
    expected = [(x0, 6 if y0 < 30 else 36, x1, 26 if y0 < 30 else 58) for x0, y0, x1, y1 in LETTERS]
    np.testing.assert_array_equal(boxes, expected)


def test_boxes_in_one_line():
    letters = [(x0, 8, x1, 24) for x0, _, x1, _ in LETTERS[2:]]
    config = ModelConfig(Charset("ab"))
    np.testing.assert_array_equal(character_boxes(attention_on(letters, 1), drawn(letters, height=32), config), letters)
    reversed_boxes = character_boxes(attention_on(letters[::-1], 1), drawn(letters, height=32), ModelConfig(HEBREW))
    np.testing.assert_array_equal(reversed_boxes, letters[::-1])


def test_box_of_a_space_is_the_gap():
    letters = [(4, 8, 14, 24), (18, 8, 28, 24), (44, 8, 56, 24)]
    gap = (30, 8, 42, 24)
    boxes = character_boxes(
        attention_on([*letters[:2], gap, letters[2]], 1), drawn(letters, height=32), ModelConfig(Charset("ab"))
    )
    assert boxes[[0, 1, 3]].tolist() == [list(map(float, letter)) for letter in letters]
    assert 28 <= boxes[2][0] < boxes[2][2] <= 44


def test_attention_on_padding():
    """The classic network may attend to the right of the image."""
    image = drawn([(4, 8, 14, 24)], width=16, height=32)
    boxes = character_boxes(np.eye(2, 16, 12), image, ModelConfig(Charset("ab")))
    assert ((boxes >= 0) & (boxes <= 32)).all()


def test_boxes_of_nothing():
    assert character_boxes(np.zeros((0, 16)), drawn([]), ModelConfig(Charset("ab"))).shape == (0, 4)
    (box,) = character_boxes(np.eye(1, 16), drawn([], height=32), ModelConfig(Charset("ab")))
    assert 0 <= box[0] <= box[2] <= 64  # a blank image


# pictures


def prediction(bands=3, turn="none") -> Prediction:
    attention = attention_on(LETTERS, bands)
    attention = np.concatenate([attention, attention[-1:]])
    characters = tuple(Character("x", 0.9, x0, x1, y0, y1) for x0, y0, x1, y1 in LETTERS)
    return Prediction("xxxxx", 0.9, characters, attention, 64, 4.0, image_height=64, bands=bands, turn=turn)


def test_heat_is_on_the_characters():
    heat = pixel_weights(prediction(), 128, 128)
    for (x0, y0, x1, y1), weights in zip(LETTERS, heat[:5], strict=True):
        y, x = (float(places.mean()) for places in np.nonzero(weights > 0.9 * weights.max()))
        assert 2 * x0 <= x <= 2 * x1 and 2 * y0 - 8 <= y <= 2 * y1 + 8
    turned = pixel_weights(prediction(turn="left"), 128, 128)
    np.testing.assert_allclose(turned, np.rot90(heat, -1, axes=(1, 2)))


def test_heat_on_an_image_that_is_lower_than_the_bands():
    """A wide image is shrunk to fit: here it is half as high as the network's, and the bands lie every half of it."""
    attention = np.zeros((2, 3, 16), np.float32)
    attention[0, 0] = attention[1, 1] = 1
    heat = pixel_weights(replace(prediction(), attention=attention.reshape(2, -1), image_height=32), 64, 32)
    assert heat[0, 0].min() > 0.9 and heat[0, 16:].max() < 0.1
    assert heat[1].mean(axis=1).argmax() in (15, 16)


def upright_prediction() -> Prediction:
    """Five letters that run downwards in an image of 32 x 64 pixels."""
    attention = np.eye(6, 16, dtype=np.float32)
    characters = tuple(Character("x", 0.9, 4, 28, 4 * i, 4 * i + 4) for i in range(5))
    return Prediction("xxxxx", 0.9, characters, attention, 32, 4.0, image_height=64, turn="left")


def test_pictures_of_upright_text():
    buffer = io.BytesIO()
    Image.new("RGB", (32, 64), "white").save(buffer, "PNG")
    upright = upright_prediction()
    sample = Sample("a.png", "xxxxx", upright, buffer.getvalue())
    with Image.open(io.BytesIO(attention_map(upright, 32, 64))) as columns:
        assert columns.size == (6 * MAP_ROW_HEIGHT, 64)
        opacity = np.asarray(columns)[:, ::MAP_ROW_HEIGHT, 3]
    assert (np.diff(opacity.argmax(axis=0)) > 0).all(), "each step is further down"
    frame = np.asarray(overlay_frames(sample)[2], int)[CAPTION_HEIGHT:]
    bars = np.flatnonzero((frame.max(axis=2) < 64).any(axis=1))  # black, from the upper to the lower edge
    assert bars.tolist() == list(range(2 * 8, 2 * 12))
    assert attention_drift(upright) == attention_drift(replace(upright, turn="right")) == Drift(4)


@pytest.mark.parametrize("turn", ["none", "left"])
def test_pictures_of_several_lines(turn):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(buffer, "PNG")
    sample = Sample("a.png", "xxxxx", prediction(turn=turn), buffer.getvalue())
    assert len(overlay_frames(sample)) == 5
    assert 64 in Image.open(io.BytesIO(attention_map(sample.prediction, 64, 64))).size
    if turn == "none":
        assert attention_drift(sample.prediction) == Drift(3)  # the step to the next line is not a move


# drawing


def test_breaking_lines():
    rng = random.Random(0)
    assert break_lines("AB 1234", 2, rng) == "AB\n1234"
    assert break_lines("AB\n1", 3, rng) == "AB\n1"
    for count in (2, 3):
        broken = break_lines("ABCDEFGH", count, rng)
        assert broken.count("\n") == count - 1 and broken.replace("\n", "") == "ABCDEFGH" and all(broken.split("\n"))
    assert break_lines("AB", 2, rng) == "AB"


def test_boxes_of_drawn_characters(tmp_path):
    flags = ("--style", "print", "--count", "12", "--workers", "1", "--boxes")
    (tmp_path / "texts.txt").write_text("HIM\\nTWO\n", encoding="utf-8")
    done = run_aocr("synth", tmp_path / "out", "--texts", tmp_path / "texts.txt", *flags)
    assert done.returncode == 0, done.stderr
    values = [json.loads(line) for line in (tmp_path / "out" / "boxes.jsonl").read_text("utf-8").splitlines()]
    assert {value["text"] for value in values} <= {"HIMTWO", ""}
    for value in values:
        if not value["text"]:
            continue
        boxes = np.array(value["boxes"])
        assert boxes.shape == (6, 4) and (boxes[:, 2:] >= boxes[:, :2]).all()
        assert (np.diff(boxes[:3, 0]) > 0).all() and (boxes[3:, 1] > boxes[:3, 1]).all()
    assert "HIMTWO" in (tmp_path / "out" / "annotations.txt").read_text("utf-8")


def test_line_break_in_a_pattern(tmp_path):
    flags = ("--pattern", r"[A-C]{2}\n[0-9]{3}", "--count", "5", "--workers", "1")
    done = run_aocr("synth", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    labels = [line.split(" ", 1)[1] for line in (tmp_path / "out" / "annotations.txt").read_text().splitlines()]
    assert all(len(label) in (0, 5) for label in labels) and any(labels)


def test_boxes_need_a_folder(tmp_path):
    done = run_aocr("synth", tmp_path / "a.tfrecords", "--count", "2", "--boxes")
    assert_clean_failure(done, "--boxes")
