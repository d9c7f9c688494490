"""The whole program, from data to predictions, with one trained model."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import REAL_DATA, SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image


def some_images(numbers, count=3):
    return [str(numbers.parent / f"{i}.png") for i in range(count)]


def labels(numbers):
    return dict(line.split(" ", 1) for line in numbers.read_text("utf-8").splitlines())


def subset(numbers, path, count, ending=""):
    """Write an annotation file of the first images, their labels with an ending."""
    lines = [f"{name} {label}{ending}" for name, label in list(labels(numbers).items())[:count]]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


# train


def test_files_of_a_training(trained):
    names = set(os.listdir(trained))
    assert {"model.json", "weights.npz", "train.json", "history.json", "curves.png", "aocr.log", "logs"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    model = json.loads((trained / "model.json").read_text("utf-8"))
    assert model["model"]["charset"] == "0123456789"
    assert model["model"]["max_prediction"] == 3
    assert model["reading"]["word_accuracy"] > 0.8


def test_log_of_a_training(trained):
    """Step lines are those of aocr 0.7.6."""
    log = (trained / "aocr.log").read_text("utf-8")
    for pattern in (
        r"Step 10: \d+\.\d{3}s, loss: \d+\.\d+, perplexity: \d+",
        r"Step 50: validation word accuracy",
        r"step +50 +\d:\d\d +words +\d+\.\d % +characters wrong +\d+\.\d % +best$",
        r"Labels, for example:$",
        r"  \d{1,3}  +0\.png$",
        r"Charset: 10 symbols: 0123456789",
        r"Limits: texts of 3 characters",
        r"Training on \d+ images, validating on \d+ \(a fixed 5 % of all images",
        r"test, predict and export will use",
    ):
        assert re.search(pattern, log, re.MULTILINE)


def test_tensorboard_files(trained):
    import tensorflow as tf

    tags = {
        value.tag
        for path in (trained / "logs").iterdir()
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(record).summary.value
    }
    assert {"loss", "perplexity", "images_per_second", "rate", "validation/word_accuracy", "validation/cer"} <= tags


@pytest.mark.slow
def test_resuming_a_finished_training_prints_the_next_commands(numbers, folder):
    done = run_aocr("train", numbers, "--model-dir", folder, "--num-epoch", "40", "--attn-num-hidden", "64")
    assert done.returncode == 0, done.stderr
    reads, next_command = done.stdout.splitlines()
    assert reads.startswith("Reads about ") and next_command == f"Next: aocr predict YOUR-FOLDER --model-dir {folder}"


@pytest.mark.slow
def test_records_and_annotations_train_alike(numbers, tmp_path):
    records = tmp_path / "numbers.tfrecords"
    assert run_aocr("dataset", numbers, records).returncode == 0
    losses = []
    for data, name in ((numbers, "a"), (records, "b")):
        done = run_aocr("train", data, "--model-dir", tmp_path / name, "--num-epoch", "1", *SMALL)
        losses.append(re.findall(r"loss: ([\d.]+)", done.stderr))
    assert losses[0] == losses[1] != []


@pytest.mark.slow
def test_training_that_cannot_read_yet(numbers, tmp_path):
    flags = ("--max-time", "1s", "--init-from", "none", *SMALL)
    done = run_aocr("train", numbers, "--model-dir", tmp_path / "m", *flags)
    assert done.returncode == 0, done.stderr
    assert re.search(r"; the first step alone took \d+ s\.", done.stderr)
    readings = [line for line in done.stderr.splitlines() if re.fullmatch(r"  '\d{1,3}' +'.*' +[01]\.\d\d", line)]
    assert 1 <= len(readings) <= 6
    assert done.stdout.startswith("The model cannot read yet") and "Next:" not in done.stdout


@pytest.mark.slow
def test_training_without_validation(tmp_path):
    data = draw_numbers(tmp_path / "few", 20)
    flags = ("--num-epoch", "2", "--output-dir", tmp_path / "out", *SMALL)
    done = run_aocr("train", data, "--model-dir", tmp_path / "m", *flags)
    assert done.returncode == 0, done.stderr
    assert "without validation" in done.stderr and "(no validation)" in done.stderr
    assert not (tmp_path / "out").exists()
    validation = draw_numbers(tmp_path / "held", 20, seed=9)
    done = run_aocr("train", data, "--model-dir", tmp_path / "n", *flags, "--validation", validation)
    assert "validating on 20" in done.stderr
    assert "<html" in (tmp_path / "out" / "report.html").read_text("utf-8")


@pytest.mark.slow
def test_fine_tuning_adds_symbols(numbers, trained, tmp_path):
    letters = subset(numbers, tmp_path / "letters.txt", 30, ending="A")
    flags = ("--data-base-dir", numbers.parent, "--init-from", trained, "--num-epoch", "1", "--precision", "float32")
    done = run_aocr("train", letters, "--model-dir", tmp_path / "m", *flags)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "m" / "model.json").read_text("utf-8"))["model"]["charset"] == "0123456789A"
    done = run_aocr("train", letters, "--model-dir", tmp_path / "f", *flags, "--charset-policy", "fail")
    assert_clean_failure(done, "'A'", "--charset-policy")


@pytest.mark.slow
def test_loss_that_is_not_finite(numbers, tmp_path):
    done = run_aocr(
        "train", numbers, "--model-dir", tmp_path / "m", *SMALL,
        "--optimizer", "sgd", "--initial-learning-rate", "1e30", "--no-gradient-clipping",
    )  # fmt: skip
    assert_clean_failure(done, "not a finite number", "--initial-learning-rate")


# test


def test_scores_as_json(numbers, trained):
    scores = json.loads(run_aocr("test", numbers, "--model-dir", trained, "--json").stdout)
    assert set(scores) == {
        "num_images", "word_accuracy", "word_accuracy_alnum", "cer", "one_minus_ned", "upstream_accuracy",
        "mean_confidence", "ece", "ece_uncalibrated", "rejection", "perplexity", "images_per_second", "skipped",
        "word_accuracy_interval", "cer_interval",
    }  # fmt: skip
    assert scores["num_images"] == 240
    assert scores["word_accuracy"] > 0.9 and scores["cer"] < 0.1
    assert 1 <= scores["perplexity"] < 2


def test_misses_and_skipped_lines(numbers, trained, tmp_path):
    """Misses are printed in the style of aocr 0.7.6."""
    wrong = subset(numbers, tmp_path / "wrong.txt", 10, ending="9")
    wrong.write_text(wrong.read_text("utf-8") + "\nmissing.png 1", "utf-8")
    command = ("test", wrong, "--data-base-dir", numbers.parent, "--model-dir", trained)
    done = run_aocr(*command)
    assert len(re.findall(r"^ *\d+% \(\d+9 read as \d*\) \d+\.png$", done.stdout, re.MULTILINE)) >= 9
    scores = [json.loads(run_aocr(*command, "--json", *flags).stdout) for flags in ((), ("--no-distance",))]
    assert scores[0]["skipped"] == {"missing file": 1}
    assert scores[0]["upstream_accuracy"] > 0.4 > scores[1]["upstream_accuracy"]


def test_visualize_and_report(numbers, trained, tmp_path):
    few = subset(numbers, tmp_path / "few.txt", 4)
    done = run_aocr(
        "test", few, "--data-base-dir", numbers.parent, "--model-dir", trained,
        "--visualize", "--output-dir", tmp_path / "out", "--report", tmp_path / "report.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "out").glob("*/*"))
    assert len(folders) == 4
    for folder in folders:
        assert folder.parent.name in ("correct", "incorrect")
        with Image.open(folder / "attention.gif") as gif, Image.open(folder / "attention.png") as sheet:
            assert gif.n_frames >= 1 and sheet.height > 50
        assert (folder / "word.txt").read_text("utf-8").strip()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "word accuracy" in page and "://" not in page


# predict


def test_sources_of_images(numbers, trained, tmp_path):
    paths = [f"{tmp_path}/{i}.png" for i in range(3)]
    for source, path in zip(some_images(numbers), paths, strict=True):
        Path(path).write_bytes(Path(source).read_bytes())
    piped = "".join(f"{path}\n" for path in paths)
    outputs = [
        run_aocr("predict", *args, "--model-dir", trained, input=input).stdout
        for args, input in (
            (paths, None),
            ([tmp_path], None),
            ([tmp_path / "*.png"], None),
            ([], piped),
            (["-"], piped),
        )
    ]
    assert outputs == [outputs[0]] * 5
    rows = [line.split("\t") for line in outputs[0].splitlines()]
    assert [row[0] for row in rows] == paths
    assert all(0 <= float(row[2]) <= 1 for row in rows)
    assert sum(row[1] == labels(numbers)[f"{i}.png"] for i, row in enumerate(rows)) >= 2


@pytest.mark.slow
def test_predict_answers_a_program_that_waits(numbers, trained):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = start_aocr("predict", "--model-dir", trained, **pipes)
    for path in some_images(numbers):
        process.stdin.write(path + "\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(path + "\t")
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def test_predict_json(numbers, trained):
    path = some_images(numbers, 1)[0]
    found = json.loads(run_aocr("predict", path, "--model-dir", trained, "--json", "--attention").stdout)
    assert found["path"] == path
    with Image.open(path) as image:
        width = image.width
    assert "".join(c["char"] for c in found["characters"]) == found["text"]
    for box in found["characters"]:
        assert 0 <= box["x0"] <= box["x1"] <= width
        assert 0 <= box["confidence"] <= 1
    centres = [(c["x0"] + c["x1"]) / 2 for c in found["characters"]]
    assert centres == sorted(centres)
    np.testing.assert_allclose(np.sum(found["attention"], axis=1), 1, atol=0.01)
    assert len(found["attention"]) == len(found["text"]) + 1
    assert "attention" not in json.loads(run_aocr("predict", path, "--model-dir", trained, "--json").stdout)


def test_unreadable_image_among_others(numbers, trained, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    good = some_images(numbers, 2)
    done = run_aocr("predict", good[0], tmp_path / "bad.png", good[1], "--model-dir", trained)
    assert done.returncode == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == good
    assert "bad.png" in done.stderr and "1 of 3" in done.stderr and "Traceback" not in done.stderr


def test_python_reads_paths_pictures_and_arrays_alike(numbers, trained):
    import aocr

    reader = aocr.load(str(trained))
    path = some_images(numbers, 1)[0]
    with Image.open(path) as picture:
        picture.load()
    results = reader.predict([path, picture, np.asarray(picture), np.asarray(picture) / 255.0, Path(path).read_bytes()])
    assert len({(r.text, round(r.confidence, 4)) for r in results}) == 1
    with pytest.raises(aocr.AocrError, match="no such file"):
        reader.predict(["nowhere.png"])


# export


@pytest.mark.slow
def test_exports(numbers, trained, tmp_path):
    for flags in ((), ("--format=frozengraph",)):
        done = run_aocr("export", tmp_path / "e", "--model-dir", trained, *flags)
        assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "e")) == ["1", "frozen_graph.pb"]
    assert (tmp_path / "e" / "1" / "saved_model.pb").exists()
    assert (tmp_path / "e" / "1" / "assets.extra" / "model.json").exists()


# The original's interface, real images


@pytest.mark.slow
def test_interface_of_the_original(numbers, tmp_path):
    data = (f"--data-path={numbers}", f"--data-base-dir={numbers.parent}", f"--log-path={tmp_path}/log.txt")
    done = run_aocr(
        "--phase=train", *data, "--no-load-model", f"--model-dir={tmp_path}/m", "--num-epoch=1", "--batch-size=32",
        "--attn-num-hidden=16", "--target-embedding-size=8", "--target-vocab-size=39", "--steps-per-checkpoint=50",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Step" in (tmp_path / "log.txt").read_text("utf-8")
    flags = ("--visualize", "--load-model", f"--model_dir={tmp_path}/m", f"--output-dir={tmp_path}/r")
    done = run_aocr("--phase=test", *data, *flags)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "r").glob("*/*/attention.gif"))


@pytest.mark.slow
@pytest.mark.skipif(not REAL_DATA.exists(), reason="the real images are not on this machine (../shared/data)")
@pytest.mark.parametrize(
    ("name", "num_images", "perplexity_of_a_guess"), [("kannada", 327, 93), ("lines_english", 20, 70)]
)
def test_any_script_and_long_lines_need_no_flag(name, num_images, perplexity_of_a_guess, tmp_path):
    data = REAL_DATA / name
    done = run_aocr("train", data / "train.txt", "--model-dir", tmp_path / "m", "--max-time", "25s")
    assert done.returncode == 0, done.stderr
    scores = json.loads(run_aocr("test", data / "test.txt", "--model-dir", tmp_path / "m", "--json").stdout)
    assert (scores["num_images"], scores["skipped"]) == (num_images, {})
    assert scores["perplexity"] < perplexity_of_a_guess
