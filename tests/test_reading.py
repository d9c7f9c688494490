"""The real program reading: beams, patterns, lexicons, confidence, empty images, the pictures beside a training."""

import io
import itertools
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_clean_failure, draw_numbers, run_aocr
from PIL import Image

import aocr


def predict(trained, paths, *flags):
    done = run_aocr("predict", *paths, "--model-dir", trained, *flags)
    assert done.returncode == 0, done.stderr
    return [line.split("\t")[1:] for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def paths(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(12)]


@pytest.fixture(scope="module")
def plain(trained, paths):
    return predict(trained, paths)


@pytest.mark.parametrize("pattern", ["[0-4]{2}", r"\d{3}", "7|[0-9]1?", "(12|34){1,2}"])
def test_every_text_matches_the_pattern(trained, paths, pattern):
    for beam in ("1", "4"):
        texts = [text for text, _ in predict(trained, paths, "--pattern", pattern, "--beam", beam)]
        assert len(texts) == len(paths) and all(re.fullmatch(pattern, text) for text in texts)


def test_a_pattern_that_all_fit_changes_nothing(trained, paths, plain):
    assert predict(trained, paths, "--pattern", r"\d+") == plain


def test_a_forced_text_has_a_low_confidence(trained, paths, plain):
    sure = [i for i, (text, p) in enumerate(plain) if len(text) == 2 and float(p) > 0.9]
    forced = predict(trained, [paths[i] for i in sure], "--pattern", r"\d{3}")
    assert sure and all(float(p) < 0.1 for _, p in forced)


def test_lexicon_hard_and_soft(trained, paths, plain, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("123\n45\n7\n" + "\n".join(text for text, _ in plain[:3]) + "\n", encoding="utf-8")
    allowed = set(words.read_text("utf-8").split())
    hard = predict(trained, paths, "--lexicon", words)
    assert {text for text, _ in hard} <= allowed and hard[:3] == plain[:3]
    assert predict(trained, paths, "--lexicon", words, "--lexicon-weight", "0.001") == plain
    assert predict(trained, paths, "--lexicon", words, "--lexicon-weight", "1000") == hard


def test_alternatives_on_a_line_and_as_json(trained, paths):
    for fields in predict(trained, paths[:3], "--alternatives", "2"):
        texts, chances = fields[::2], [float(p) for p in fields[1::2]]
        assert len(set(texts)) == 3 and len(chances) == 3 and sum(chances) <= 1.001
    done = run_aocr("predict", paths[0], "--model-dir", trained, "--alternatives", "2", "--json")
    found = json.loads(done.stdout)
    assert [a["text"] for a in found["alternatives"]] == predict(trained, paths[:1], "--alternatives", "2")[0][2::2]


def test_min_confidence_marks_what_is_below(trained, paths, plain):
    chances = sorted(float(p) for _, p in plain)
    _, middle = max((b - a, (a + b) / 2) for a, b in itertools.pairwise(chances))  # far from any: they are rounded
    for (text, p), marked in zip(plain, predict(trained, paths, "--min-confidence", f"{middle:.6f}"), strict=True):
        assert marked == ([text, p] if float(p) >= middle else [text, p, "unsure"])
    done = run_aocr("predict", *paths, "--model-dir", trained, "--min-confidence", "1", "--json")
    assert not any(json.loads(line)["sure"] for line in done.stdout.splitlines() if json.loads(line)["confidence"] < 1)


def test_scoring_takes_the_same_flags(numbers, trained, tmp_path):
    done = run_aocr("test", numbers, "--model-dir", trained, "--json", "--beam", "3", "--pattern", r"\d{1,3}")
    scores = json.loads(done.stdout)
    assert scores["word_accuracy"] > 0.9
    assert 0 <= scores["ece"] <= 1 and 0 <= scores["ece_uncalibrated"] <= 1
    accuracies = [accuracy for _, accuracy in scores["rejection"]]
    assert len(accuracies) == 6 and accuracies[-1] >= scores["word_accuracy"] - 0.05


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--pattern", "(a"), ("--pattern", "is not a regular expression")),
        (("--pattern", "[x-z]+"), ("nothing for '[x-z]'",)),
        (("--pattern", r"\d{9}"), ("shortest text has 9 characters",)),
        (("--pattern", r"(\d)\1"), ("position 5", "cannot be used")),
        (("--lexicon", "nosuch.txt"), ("--lexicon", "cannot be read")),
        (("--lexicon-weight", "2"), ("there is no lexicon to weigh",)),
        (("--attention",), ("--attention", "is for --json alone")),
    ],
)
def test_what_cannot_be_followed_is_one_line(trained, paths, flags, words):
    assert_clean_failure(run_aocr("predict", paths[0], "--model-dir", trained, *flags), *words)


def test_a_lexicon_with_odd_entries_is_told(trained, paths, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("12\nXY\n", encoding="utf-8")
    done = run_aocr("predict", paths[0], "--model-dir", trained, "--lexicon", words)
    assert done.returncode == 0 and "1 entries have symbols outside the charset: 'XY'" in done.stderr
    assert done.stdout.split("\t")[1] == "12"


def test_the_temperature_is_kept_and_used(trained, paths):
    import aocr

    kept = json.loads((trained / "calibration.json").read_text("utf-8"))
    assert kept["checkpoint"] == json.loads((trained / "best.json").read_text("utf-8"))["checkpoint"]
    assert kept["num_images"] > 0
    reader = aocr.load(str(trained))
    assert reader.chosen.temperature == kept["temperature"]
    for prediction in reader.predict(paths):
        same = prediction.confidence == pytest.approx(prediction.uncalibrated, rel=1e-6)
        assert same == (kept["temperature"] == 1)


def test_learning_curves_are_drawn(trained):
    points = json.loads((trained / "history.json").read_text("utf-8"))["points"]
    assert [p["step"] for p in points] == sorted({p["step"] for p in points})
    assert points[-1]["word_accuracy"] > 0.9 > points[0]["word_accuracy"]
    with Image.open(trained / "curves.png") as picture:
        assert picture.width > 500 and len(picture.convert("RGB").getcolors(100_000)) > 3


def test_a_preview_shows_images_and_their_variants(numbers, tmp_path):
    done = run_aocr("dataset", numbers, tmp_path / "o.tfrecords", "--preview", tmp_path / "sheet.png")
    assert done.returncode == 0 and "Preview drawn" in done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 1000 and sheet.height > 600
        assert np.asarray(sheet.convert("L")).std() > 10
        assert np.ptp(np.asarray(sheet), axis=2).max() == 0, "the numbers are grey: training reads grey"


def test_a_preview_is_in_colour_where_training_reads_colour(tmp_path):
    for i in range(5):
        image = Image.new("RGB", (60, 32), (0, 102, 0))
        image.paste((200, 0, 0), (10 + i, 8, 30, 24))  # as bright as the green
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(5)))
    done = run_aocr("dataset", tmp_path / "list.txt", tmp_path / "o.tfrecords", "--preview", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.ptp(np.asarray(sheet).astype(int), axis=2).max() > 60


def test_empty_images_are_read_as_the_empty_text(trained, tmp_path):
    """A model that never saw one learns it from a few."""
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
    done = run_aocr(
        "train", data, "--init-from", trained, "--model-dir", model_dir, "--num-epoch", "12",
        "--precision", "float32", "--no-augment",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    fresh = [blank(f"fresh{i}.png") for i in range(5)]
    assert [text for text, _ in predict(model_dir, fresh)] == [""] * 5
    words = draw_numbers(tmp_path / "words", 10, seed=9)
    found = dict(zip(range(10), predict(model_dir, [words.parent / f"{i}.png" for i in range(10)]), strict=True))
    right = [line.split()[1] == found[i][0] for i, line in enumerate(words.read_text("utf-8").splitlines())]
    assert sum(right) >= 8


def test_a_damaged_jpeg_among_others_is_read(trained, paths):
    """Pillow reads on at a stray marker where TensorFlow's decoder stops."""
    file = io.BytesIO()
    Image.open(paths[0]).convert("L").resize((96, 40)).save(file, "JPEG")
    data = file.getvalue()
    middle = data.index(b"\xff\xda") + 40
    damaged = data[:middle] + b"\xff\xfe" + data[middle + 2 :]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.decode_png(damaged)
    reader = aocr.load(str(trained))
    good = reader.predict(paths[:3])
    found = reader.predict([paths[0], damaged, *paths[1:3]])
    assert [p.text for p in found[:1] + found[2:]] == [p.text for p in good]
    assert found[1].text == reader.predict([Image.open(io.BytesIO(damaged))])[0].text
