"""The real program, from data to predictions."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import REAL_DATA, SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image

pytestmark = pytest.mark.slow


def some_images(numbers, count=3):
    return [str(numbers.parent / f"{i}.png") for i in range(count)]


def labels(numbers):
    return dict(line.split(" ", 1) for line in numbers.read_text("utf-8").splitlines())


# train


def test_training_leaves_a_whole_folder(trained):
    names = set(os.listdir(trained))
    assert {"model.json", "train.json", "best.json", "checkpoint", "aocr.log", "logs"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    model = json.loads((trained / "model.json").read_text("utf-8"))
    assert model["model"]["charset"] == "0123456789"
    assert model["model"]["max_prediction"] == 3


def test_tensorboard_files_hold_the_curves(trained):
    import tensorflow as tf

    tags = {
        value.tag
        for path in (trained / "logs").iterdir()
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for value in tf.compat.v1.Event.FromString(record).summary.value
    }
    assert {"loss", "perplexity", "images_per_second", "rate", "validation/word_accuracy", "validation/cer"} <= tags


def test_the_log_file_has_upstreams_step_lines(trained):
    log = (trained / "aocr.log").read_text("utf-8")
    assert re.search(r"Step 10: \d+\.\d{3}s, loss: \d+\.\d+, perplexity: \d+", log)
    assert re.search(r"Step 50: validation word accuracy", log)


def test_training_says_what_it_will_do_and_what_comes_next(numbers, tmp_path):
    done = run_aocr("train", numbers, "--model-dir", tmp_path / "m", "--num-epoch", "1", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Charset: 10 symbols: 0123456789" in done.stderr
    assert "Limits: texts of 3 characters" in done.stderr
    assert re.search(r"Training on \d+ images, validating on \d+ \(a fixed 5 % of all images, held out\)", done.stderr)
    assert "test, predict and export will use" in done.stderr
    assert done.stdout.startswith("The model cannot read yet")  # one epoch


def test_a_training_that_can_read_says_what_to_type_next(numbers, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "m")
    done = run_aocr("train", numbers, "--model-dir", tmp_path / "m", "--num-epoch", "40", "--attn-num-hidden", "64")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Next: aocr test DATASET --model-dir {tmp_path / 'm'}")


def test_training_from_records_and_from_annotations_is_the_same(numbers, tmp_path):
    records = tmp_path / "numbers.tfrecords"
    assert run_aocr("dataset", numbers, records).returncode == 0
    losses = []
    for data, name in ((numbers, "a"), (records, "b")):
        done = run_aocr("train", data, "--model-dir", tmp_path / name, "--num-epoch", "1", *SMALL)
        losses.append(re.findall(r"loss: ([\d.]+)", done.stderr))
    assert losses[0] == losses[1] != []


def test_max_time_ends_a_training(numbers, tmp_path):
    done = run_aocr("train", numbers, "--model-dir", tmp_path / "m", "--max-time", "1s", *SMALL)
    assert done.returncode == 0, done.stderr
    assert re.search(r"of training time are used up \(--max-time\); the first step alone took \d+ s\.", done.stderr)
    told = done.stderr.split("on validation images: label, text read, confidence\n")[1].splitlines()
    shown = [line for line in told if re.fullmatch(r"  '\d{1,3}' +'.*' +[01]\.\d\d", line)]
    assert 1 <= len(shown) <= 6 and told[: len(shown)] == shown
    assert done.stdout.startswith("The model cannot read yet") and "Next:" not in done.stdout


def test_without_enough_images_there_is_no_validation_and_the_newest_is_used(tmp_path):
    data = draw_numbers(tmp_path / "few", 20)
    done = run_aocr("train", data, "--model-dir", tmp_path / "m", "--num-epoch", "2", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "without validation" in done.stderr
    assert "newest (there was no validation)" in done.stderr
    done = run_aocr(
        "train", data, "--model-dir", tmp_path / "n", "--num-epoch", "2", *SMALL,
        "--validation", draw_numbers(tmp_path / "held", 20, seed=9),
        "--output-dir", tmp_path / "out",
    )  # fmt: skip
    assert "validating on 20" in done.stderr
    assert "<html" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_fine_tuning_adds_symbols(numbers, trained, tmp_path):
    letters = tmp_path / "letters.txt"
    lines = [f"{path} {label}A" for path, label in list(labels(numbers).items())[:30]]
    letters.write_text("\n".join(lines), encoding="utf-8")
    flags = ("--data-base-dir", numbers.parent, "--init-from", trained, "--num-epoch", "1", "--precision", "float32")
    done = run_aocr("train", letters, "--model-dir", tmp_path / "m", *flags)
    assert done.returncode == 0, done.stderr
    assert "Symbols that are new to it: 1" in done.stderr
    assert json.loads((tmp_path / "m" / "model.json").read_text("utf-8"))["model"]["charset"] == "0123456789A"
    done = run_aocr("train", letters, "--model-dir", tmp_path / "f", *flags, "--charset-policy", "fail")
    assert_clean_failure(done, "'A'", "--charset-policy")


def test_a_loss_that_is_not_finite_is_one_line(numbers, tmp_path):
    done = run_aocr(
        "train", numbers, "--model-dir", tmp_path / "m", *SMALL,
        "--optimizer", "sgd", "--initial-learning-rate", "1e30", "--no-gradient-clipping",
    )  # fmt: skip
    assert_clean_failure(done, "not a finite number", "--initial-learning-rate")


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of so many bytes."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size):
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("needs root to mount a small disk")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
        if done.returncode:
            pytest.skip("this machine does not let a small disk be mounted")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_while_training_is_one_line_and_loses_nothing(numbers, small_disk):
    model_dir = small_disk("44m") / "m"
    flags = ("--model-dir", model_dir, *SMALL, "--steps-per-checkpoint", "5")
    done = run_aocr("train", numbers, *flags, "--num-epoch", "3")
    assert_clean_failure(done, "cannot be written", "Free space")
    assert run_aocr("predict", *some_images(numbers, 1), "--model-dir", model_dir).returncode == 0


def test_a_full_disk_while_building_is_one_line_and_leaves_nothing(numbers, small_disk):
    disk = small_disk("32k")
    assert_clean_failure(run_aocr("dataset", numbers, disk / "o.tfrecords"), "cannot be written", "Free space")
    assert os.listdir(disk) == []


# test


def test_scores_as_json(numbers, trained):
    done = run_aocr("test", numbers, "--model-dir", trained, "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert set(scores) == {
        "num_images", "word_accuracy", "word_accuracy_alnum", "cer", "one_minus_ned", "upstream_accuracy",
        "mean_confidence", "ece", "ece_uncalibrated", "rejection", "perplexity", "images_per_second", "skipped",
    }  # fmt: skip
    assert scores["num_images"] == 240
    assert scores["word_accuracy"] > 0.9
    assert scores["cer"] < 0.1
    assert 1 <= scores["perplexity"] < 2


def test_misses_are_printed_in_upstreams_style_and_no_distance_counts_words(numbers, trained, tmp_path):
    wrong = tmp_path / "wrong.txt"
    lines = [f"{path} {label}9" for path, label in list(labels(numbers).items())[:10]]
    wrong.write_text("\n".join([*lines, "missing.png 1"]), encoding="utf-8")
    base = ("test", wrong, "--data-base-dir", numbers.parent, "--model-dir", trained)
    done = run_aocr(*base)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^ *\d+% \(\d* vs \d+9\) \d+\.png$", done.stdout, re.MULTILINE)) >= 9
    assert "1 left out (missing file)" in done.stderr
    scores = [json.loads(run_aocr(*base, "--json", *more).stdout) for more in ((), ("--no-distance",))]
    assert scores[0]["skipped"] == {"missing file": 1}
    assert scores[0]["upstream_accuracy"] > 0.4 > scores[1]["upstream_accuracy"]


def test_visualize_and_report(numbers, trained, tmp_path):
    few = tmp_path / "few.txt"
    few.write_text("".join(f"{path} {label}\n" for path, label in list(labels(numbers).items())[:4]), encoding="utf-8")
    done = run_aocr(
        "test", few, "--data-base-dir", numbers.parent, "--model-dir", trained,
        "--visualize", "--output-dir", tmp_path / "out", "--report", tmp_path / "report.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "out").glob("*/*"))
    assert len(folders) == 4
    for folder in folders:
        assert folder.parent.name in ("correct", "incorrect")
        with Image.open(folder / "attention.gif") as gif:
            assert gif.n_frames >= 1
        with Image.open(folder / "attention.png") as sheet:
            assert sheet.height > 50
        assert (folder / "word.txt").read_text("utf-8").strip()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "word accuracy" in page and "://" not in page


# predict


def test_predict_files_folder_glob_and_standard_input_agree(numbers, trained, tmp_path):
    paths = some_images(numbers)
    for i, path in enumerate(paths):
        shutil.copyfile(path, tmp_path / f"{i}.png")
    texts = []
    for args, input in (
        ([tmp_path / f"{i}.png" for i in range(3)], None),
        ([tmp_path], None),
        ([tmp_path / "*.png"], None),
        ([], "".join(f"{tmp_path}/{i}.png\n" for i in range(3))),
        (["-"], "".join(f"{tmp_path}/{i}.png\n" for i in range(3))),
    ):
        done = run_aocr("predict", *args, "--model-dir", trained, input=input)
        assert done.returncode == 0, done.stderr
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert [row[0] for row in rows] == [f"{tmp_path}/{i}.png" for i in range(3)]
        assert all(0 <= float(row[2]) <= 1 for row in rows)
        texts.append([row[1:] for row in rows])
    assert all(found == texts[0] for found in texts)
    known = labels(numbers)
    assert sum(text == known[f"{i}.png"] for i, (text, _) in enumerate(texts[0])) >= 2


def test_a_name_that_could_be_a_glob_is_the_file_itself(tmp_path):
    from aocr.cli.predict import paths_of

    for name in ("a1.png", "a[1].png"):
        (tmp_path / name).touch()
    assert paths_of([f"{tmp_path}/a[1].png"]) == [f"{tmp_path}/a[1].png"]
    assert paths_of([f"{tmp_path}/a[0-9].png"]) == [f"{tmp_path}/a1.png"]


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


def test_predict_json_has_boxes_inside_the_image(numbers, trained):
    path = some_images(numbers, 1)[0]
    done = run_aocr("predict", path, "--model-dir", trained, "--json", "--attention")
    found = json.loads(done.stdout)
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
    without = json.loads(run_aocr("predict", path, "--model-dir", trained, "--json").stdout)
    assert "attention" not in without


def test_an_unreadable_image_does_not_stop_the_others(numbers, trained, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    good = some_images(numbers, 2)
    done = run_aocr("predict", good[0], tmp_path / "bad.png", good[1], "--model-dir", trained)
    assert done.returncode == 1
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == good
    assert "bad.png" in done.stderr and "1 of 3" in done.stderr and "Traceback" not in done.stderr


# export


def test_exports_are_proved_and_hold_what_serving_wants(numbers, trained, tmp_path):
    done = run_aocr("export", tmp_path / "e", "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "1" / "saved_model.pb").exists()
    assert (tmp_path / "e" / "1" / "assets.extra" / "model.json").exists()
    done = run_aocr("export", "--format=frozengraph", tmp_path / "e", "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "frozen_graph.pb").exists()
    assert sorted(os.listdir(tmp_path / "e")) == ["1", "frozen_graph.pb"]


def test_an_export_that_differs_is_refused_and_leaves_nothing(trained, tmp_path, monkeypatch):
    from aocr.errors import ExportError
    from aocr.exchange import export as exporter
    from aocr.reading.predictor import load_network

    predictor = load_network(str(trained))
    form = exporter.FORMATS["savedmodel"]
    write = form.write

    def spoiled(predictor, folder):
        bias = predictor.reader.model.decoder.output_projection.bias
        kept = bias.numpy()
        bias.assign(kept + np.linspace(5, 0, len(kept)))
        write(predictor, folder)
        bias.assign(kept)

    monkeypatch.setattr(form, "write", spoiled)
    with pytest.raises(ExportError, match="where the model reads"):
        exporter.export(predictor, str(tmp_path / "e"), "savedmodel")
    assert not (tmp_path / "e").exists()


# Python, the original's interface, real images


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


def test_the_originals_interface_trains_and_tests(numbers, tmp_path):
    base = (f"--data-path={numbers}", f"--data-base-dir={numbers.parent}", f"--log-path={tmp_path}/log.txt")
    done = run_aocr(
        "--phase=train", *base, "--no-load-model", f"--model-dir={tmp_path}/m", "--num-epoch=1", "--batch-size=32",
        "--attn-num-hidden=16", "--target-embedding-size=8", "--target-vocab-size=39", "--steps-per-checkpoint=50",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Step" in (tmp_path / "log.txt").read_text("utf-8")
    done = run_aocr(
        "--phase=test", "--visualize", *base, "--load-model", f"--model_dir={tmp_path}/m", f"--output-dir={tmp_path}/r"
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "r").glob("*/*/attention.gif"))


@pytest.mark.skipif(not REAL_DATA.exists(), reason="the real images are not on this machine (../shared/data)")
@pytest.mark.parametrize("name", ["kannada", "lines_english"])
def test_any_script_and_long_lines_need_no_flag(name, tmp_path):
    data = REAL_DATA / name
    done = run_aocr("train", data / "train.txt", "--model-dir", tmp_path / "m", "--max-time", "25s")
    assert done.returncode == 0, done.stderr
    done = run_aocr("test", data / "test.txt", "--model-dir", tmp_path / "m", "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["num_images"] == {"kannada": 327, "lines_english": 20}[name]
    assert scores["skipped"] == {}
    assert scores["perplexity"] < {"kannada": 93, "lines_english": 70}[name]  # of a guess among all symbols
