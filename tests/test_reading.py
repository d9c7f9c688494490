"""Reading with the command line and in Python: beams, patterns, lexicons, confidence, empty images."""

import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_clean_failure, draw_numbers, run_aocr
from PIL import Image

from aocr.config import ReadConfig
from aocr.folder.model_folder import ModelFolder
from aocr.reading.predictor import load, load_network


def predict(model_dir, paths, *flags):
    done = run_aocr("predict", *paths, "--model-dir", model_dir, *flags)
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[1:] for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def paths(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(12)]


@pytest.fixture(scope="module")
def plain(trained, paths):
    return predict(trained, paths)


@pytest.fixture(scope="module")
def network(trained):
    return load_network(str(trained))


@pytest.mark.parametrize("pattern", ["[0-4]{2}", r"\d{3}", "(12|34){1,2}"])
def test_every_text_matches_the_pattern(trained, paths, pattern):
    for beam in ("1", "4"):
        texts = [text for text, _ in predict(trained, paths, "--pattern", pattern, "--beam", beam)]
        assert len(texts) == len(paths) and all(re.fullmatch(pattern, text) for text in texts)


def test_pattern_that_everything_matches(trained, paths, plain):
    assert predict(trained, paths, "--pattern", r"\d+") == plain


def test_forced_text_has_a_low_confidence(trained, paths, plain):
    sure = [i for i, (text, p) in enumerate(plain) if len(text) == 2 and float(p) > 0.9]
    forced = predict(trained, [paths[i] for i in sure], "--pattern", r"\d{3}")
    assert sure and all(float(p) < 0.1 for _, p in forced)


def test_hard_and_soft_lexicon(trained, paths, plain, tmp_path):
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("123\n45\n7\n" + "\n".join(text for text, _ in plain[:3]) + "\n", encoding="utf-8")
    allowed = set(lexicon.read_text("utf-8").split())
    hard = predict(trained, paths, "--lexicon", lexicon)
    assert {text for text, _ in hard} <= allowed and hard[:3] == plain[:3]
    assert predict(trained, paths, "--lexicon", lexicon, "--lexicon-weight", "0.001") == plain
    heavy = predict(trained, paths, "--lexicon", lexicon, "--lexicon-weight", "1000")
    assert [text for text, _ in heavy] == [text for text, _ in hard]


def test_lexicon_with_symbols_outside_the_charset(trained, paths, tmp_path):
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("12\nXY\n", encoding="utf-8")
    done = run_aocr("predict", paths[0], "--model-dir", trained, "--lexicon", lexicon)
    assert done.returncode == 0 and "1 entries have symbols outside the charset: 'XY'" in done.stderr
    assert done.stdout.split("\t")[1] == "12"


def test_alternatives_as_line_and_json(trained, paths):
    rows = predict(trained, paths[:3], "--alternatives", "2")
    for row in rows:
        texts, confidences = row[::2], [float(p) for p in row[1::2]]
        assert len(set(texts)) == 3 and len(confidences) == 3 and sum(confidences) <= 1.001
    done = run_aocr("predict", paths[0], "--model-dir", trained, "--alternatives", "2", "--json")
    assert [other["text"] for other in json.loads(done.stdout)["alternatives"]] == rows[0][2::2]


def test_min_confidence(trained, paths, plain):
    confidences = sorted(float(p) for _, p in plain)
    _, middle = max((b - a, (a + b) / 2) for a, b in itertools.pairwise(confidences))  # far from any, they are rounded
    for (text, p), row in zip(plain, predict(trained, paths, "--min-confidence", f"{middle:.6f}"), strict=True):
        assert row == ([text, p] if float(p) >= middle else [text, p, "unsure"])
    done = run_aocr("predict", *paths, "--model-dir", trained, "--min-confidence", "1", "--json")
    assert not any(json.loads(line)["sure"] for line in done.stdout.splitlines() if json.loads(line)["confidence"] < 1)


def test_scoring_takes_the_same_flags(numbers, trained):
    done = run_aocr("test", numbers, "--model-dir", trained, "--json", "--beam", "3", "--pattern", r"\d{1,3}")
    scores = json.loads(done.stdout)
    assert scores["word_accuracy"] > 0.9
    assert 0 <= scores["ece"] <= 1 and 0 <= scores["ece_uncalibrated"] <= 1
    accuracies = [accuracy for _, accuracy in scores["rejection"]]
    assert len(accuracies) == 6 and accuracies[-1] >= scores["word_accuracy"] - 0.05
    assert re.search(r"was trained on \d+ of these 240 images", done.stderr)


def test_scores_on_new_images_are_not_doubted(trained, tmp_path):
    done = run_aocr("test", draw_numbers(tmp_path, 4, seed=5), "--model-dir", trained)
    assert done.returncode == 0 and "was trained on" not in done.stderr


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--pattern", "(a"), ("--pattern", "is not a regular expression")),
        (("--pattern", "[x-z]+"), ("no symbol for '[x-z]'",)),
        (("--pattern", r"\d{9}"), ("shortest text has 9 characters",)),
        (("--lexicon", "nosuch.txt"), ("--lexicon", "Check the path")),
        (("--lexicon", "englsh"), ("--lexicon", "Did you mean english?")),
        (("--lexicon", "english"), ("--lexicon", "no entry can be written")),
        (("--lexicon-weight", "2"), ("lexicon",)),
        (("--attention",), ("--attention", "needs --json")),
    ],
)
def test_flags_that_cannot_be_followed(trained, paths, flags, words):
    assert_clean_failure(run_aocr("predict", paths[0], "--model-dir", trained, *flags), *words)


def test_temperature_is_recorded_and_used(trained, paths):
    info = ModelFolder(trained).weights_info()
    assert info.num_calibration_images > 0
    reader = load(str(trained))
    assert reader.reader.temperature == info.temperature
    for prediction in reader.predict(paths):
        is_same = prediction.confidence == pytest.approx(prediction.uncalibrated, rel=1e-6)
        assert is_same == (info.temperature == 1)


def test_single_image_is_read_without_tracing(network, paths):
    reader = network.reader.with_config(ReadConfig())
    pixels, widths, _ = reader.transform([Path(paths[0]).read_bytes()])
    eager = reader.read(pixels, widths)
    assert not reader.functions["read"].experimental_get_tracing_count()
    traced = reader.read(pixels, widths)
    assert reader.functions["read"].experimental_get_tracing_count() == 1
    for name, part in eager._asdict().items():
        np.testing.assert_allclose(part, getattr(traced, name), atol=1e-5, err_msg=name)


def test_learning_curves_are_drawn(trained):
    points = json.loads((trained / "history.json").read_text("utf-8"))["points"]
    assert [p["step"] for p in points] == sorted({p["step"] for p in points})
    assert points[-1]["word_accuracy"] > 0.9
    assert points[-1]["perplexity"] < 1.5 < points[0]["perplexity"]  # both heads read all long before the decoder does
    with Image.open(trained / "curves.png") as picture:
        assert picture.width > 500 and len(picture.convert("RGB").getcolors(100_000)) > 3


@pytest.mark.parametrize("red", [(200, 0, 0), (102, 102, 102)], ids=["colour", "grey"])
def test_preview_is_in_colour_where_training_reads_colour(red, tmp_path):
    for i in range(5):
        image = Image.new("RGB", (60, 32), (0, 102, 0) if red[1] == 0 else (30, 30, 30))
        image.paste(red, (10 + i, 8, 30, 24))
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(5)))
    done = run_aocr("dataset", tmp_path / "list.txt", tmp_path / "o.tfrecords", "--preview", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1000 and np.asarray(sheet.convert("L")).std() > 5
        assert (np.ptp(np.asarray(sheet).astype(int), axis=2).max() > 60) == (red[1] == 0)


@pytest.mark.slow
def test_empty_images_are_learnt_from_a_few_examples(trained, tmp_path):
    data = draw_numbers(tmp_path / "mixed", 90, seed=7)
    rng = np.random.default_rng(8)

    def blank(name):
        grey = rng.integers(150, 256) + rng.normal(0, 4, (32, int(rng.integers(30, 70))))
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(data.parent / name)
        return str(data.parent / name)

    with data.open("a", encoding="utf-8") as file:
        for i in range(60):
            file.write(f"{blank(f'blank{i}.png')}\t\n")
    model_dir = tmp_path / "m"
    flags = ("--num-epoch", "12", "--precision", "float32", "--no-augment", "--empty-labels")
    done = run_aocr("train", data, "--init-from", trained, "--model-dir", model_dir, *flags)
    assert done.returncode == 0, done.stderr
    empty = [blank(f"empty{i}.png") for i in range(5)]
    assert [text for text, _ in predict(model_dir, empty)] == [""] * 5
    labels = [line.split()[1] for line in draw_numbers(tmp_path / "n", 10, seed=9).read_text("utf-8").splitlines()]
    texts = [text for text, _ in predict(model_dir, [tmp_path / "n" / f"{i}.png" for i in range(10)])]
    assert sum(text == label for text, label in zip(texts, labels, strict=True)) >= 8


def test_damaged_jpeg_among_others_is_read(network, paths):
    """Pillow skips a stray marker where TensorFlow's decoder stops."""
    file = io.BytesIO()
    Image.open(paths[0]).convert("L").resize((96, 40)).save(file, "JPEG")
    data = file.getvalue()
    middle = data.index(b"\xff\xda") + 40
    damaged = data[:middle] + b"\xff\xfe" + data[middle + 2 :]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_png(damaged)
    good = [prediction.text for prediction in network.predict(paths[:3])]
    first, second, *rest = [prediction.text for prediction in network.predict([paths[0], damaged, *paths[1:3]])]
    assert [first, *rest] == good
    assert second == network.predict([Image.open(io.BytesIO(damaged))])[0].text
