"""No image that a model was trained on is validated on later, however the training set grows."""

import random
import shutil
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from conftest import AS_IN_TESTS, SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr

from aocr.config import ModelConfig
from aocr.data.automatic import KEYS_PER_PART, NUM_PARTS, validation_mask
from aocr.data.batching import plan_batches
from aocr.data.datasets import Summary, open_dataset, summarise
from aocr.data.pipeline import Batches
from aocr.data.records import Example, RecordWriter
from aocr.errors import CharsetError, CheckpointError
from aocr.folder.model_folder import LEARNT, ModelFolder
from aocr.text.charset import Charset
from aocr.training.cluster import Cluster
from aocr.training.prepare import make_plan
from aocr.training.request import TrainRequest
from aocr.training.split import images_digest, learnt_images, split_images

NOTHING = np.zeros(0, np.int64)


def summary_of(keys) -> Summary:
    keys = np.asarray(keys, np.int64)
    return Summary([""] * len(keys), None, keys, validation_mask(keys), 0, None)


def some_keys(count, seed=0):
    return np.random.default_rng(seed).choice(NUM_PARTS * KEYS_PER_PART, count, replace=False)


def test_the_record_of_training_images_is_sorted_and_read_back(tmp_path):
    folder, keys = ModelFolder(tmp_path), some_keys(100)
    assert folder.read_learnt() is None
    folder.write_learnt(np.concatenate([keys, keys[:10]]))
    np.testing.assert_array_equal(folder.read_learnt(), np.sort(keys))


def test_a_damaged_record_of_training_images(tmp_path):
    (tmp_path / LEARNT).write_bytes(b"no array")
    with pytest.raises(CheckpointError) as info:
        ModelFolder(tmp_path).read_learnt()
    assert info.value.model_dir == str(tmp_path / LEARNT)


def test_a_model_without_a_record_is_warned_of(tmp_path, caplog):
    assert not len(learnt_images(ModelFolder(tmp_path))) and "does not record its training images" in caplog.text


def test_trained_images_are_never_held_out():
    """Random series of trainings on sets that grow and shrink, each from the model before."""
    rng, everything = random.Random(2), some_keys(900)
    fresh_sets = grown = 0
    for _ in range(500):
        learnt = NOTHING
        for _ in range(rng.randint(1, 6)):
            keys = everything[: rng.choice((3, 24, 25, 30, 60, 150, 205, 260, 900))]
            if rng.random() < 0.3:
                keys = np.array(rng.sample(keys.tolist(), rng.randint(1, len(keys))))
            split = split_images(summary_of(keys), None, learnt)
            assert not np.isin(keys[split.held_out], learnt).any()
            fresh_sets += not len(learnt) and split.held_out.any()
            grown += len(learnt) > 0 and split.held_out.any()
            learnt = np.union1d(learnt, keys if rng.random() < 0.5 else keys[~split.held_out])
    assert fresh_sets > 50 and grown > 50


def test_the_split_of_a_resumed_training_stays():
    keys = some_keys(100)
    first = split_images(summary_of(keys), None, NOTHING)
    assert first.held_out.sum() == 20 and not first.num_seen
    again = split_images(summary_of(keys), None, np.sort(keys[~first.held_out]))
    np.testing.assert_array_equal(again.held_out, first.held_out)


def test_a_set_without_unseen_images_has_no_validation():
    keys = some_keys(160)
    split = split_images(summary_of(keys), None, keys)
    assert not split.held_out.any() and split.num_seen == 32
    few = split_images(summary_of(keys[:30]), None, keys[:24])
    assert not few.held_out.any() and few.num_seen


def test_images_of_a_separate_validation_set_are_not_trained_on():
    keys = some_keys(60)
    split = split_images(summary_of(keys[:50]), summary_of(keys[40:]), keys[55:])
    assert np.flatnonzero(split.held_out).tolist() == list(range(40, 50)) and split.num_seen == 5


def test_the_digest_of_images_ignores_their_order():
    keys, other = some_keys(60), summary_of(some_keys(9, 5))
    digest = images_digest(summary_of(keys), None)
    assert digest == images_digest(summary_of(keys[::-1]), None)
    assert len({digest, images_digest(summary_of(keys[1:]), None), images_digest(summary_of(keys), other)}) == 3


def test_batches_leave_out_what_is_held_out(tmp_path):
    path, config = str(tmp_path / "r"), ModelConfig(Charset("a"), max_width=64, max_height=32, max_prediction=2)
    with RecordWriter(path) as writer:
        for number in range(40):
            image = tf.io.encode_png(np.full((32, 40, 1), number, np.uint8)).numpy()
            writer.write(Example(image, "a", "", 40, 32))
    held_out = np.arange(40) % 7 == 3
    summary = summarise([path])._replace(held_out=held_out)
    plan = plan_batches(np.full(40, 40), 8, config)
    for part, expected in (("training", ~held_out), ("validation", held_out), ("all", held_out | ~held_out)):
        batches = Batches([path], config, plan, summary, part).sorted_batches()
        assert sorted(int(i) for batch in batches for i in batch.index) == np.flatnonzero(expected).tolist()


# The command


@pytest.fixture
def lines(shared):
    folder = shared("split", lambda folder: draw_numbers(folder, 90, seed=8))
    return folder, (folder / "numbers.txt").read_text("utf-8").splitlines(keepends=True)


@pytest.fixture
def train(lines, tmp_path):
    """Train on some of the images, in a model folder that is resumed."""
    folder, all_lines = lines

    def run(part, *more, model="m", run=run_aocr, **options):
        (tmp_path / "some.txt").write_text("".join(all_lines[part]), "utf-8")
        argv = ("--data-base-dir", folder, "--model-dir", tmp_path / model, *SMALL, "--look-alikes", "0")
        return run("train", tmp_path / "some.txt", *argv, "--init-from", "none", *more, **options)

    return run


def log_of(done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_set_that_grows(train, lines, tmp_path):
    """More images than before: no score on images that were trained on, and a closed training starts again."""
    folder = ModelFolder(tmp_path / "m")
    assert "without validation (--validation DATASET)" in log_of(train(slice(24), "--num-epoch", "1"))
    log = log_of(train(slice(30), "--num-epoch", "2"))
    assert "without validation (every image that could be used was trained on before; " in log
    assert "95 % sure" not in log and folder.weights_info().cer is None
    log = log_of(train(slice(90), "--num-epoch", "3"))
    assert "that it was not trained on, trained on in the last phase" in log
    assert folder.weights_info().is_closed and 0 <= folder.weights_info().word_accuracy <= 1
    assert len(folder.read_learnt()) == 90
    assert "95 % sure" not in log_of(train(slice(90), "--num-epoch", "3"))
    scored = run_aocr("test", tmp_path / "some.txt", "--data-base-dir", lines[0], "--model-dir", folder)
    assert "The model was trained on 90 of these 90 images" in log_of(scored)
    log = log_of(train(slice(80), "--num-epoch", "1"))
    assert "The images have changed" in log and "training starts again" in log and "95 % sure" in log
    log = log_of(train(slice(80), "--init-from", tmp_path / "m", "--num-epoch", "1", model="n"))
    assert "was trained on before" in log and "95 % sure" not in log


@pytest.mark.slow
def test_validation_images_are_not_trained_on(train, lines):
    folder, all_lines = lines
    other = folder / "other.txt"
    other.write_text("".join(all_lines[20:40]), "utf-8")
    log = log_of(train(slice(30), "--validation", other, "--num-epoch", "1"))
    assert "10 images" in log and "also in --validation: not trained on." in log and "Training on 20 images" in log
    other.write_text("".join(all_lines[:10]), "utf-8")
    log = log_of(train(slice(10, 30), "--validation", other, "--num-epoch", "2"))
    assert "10 of the 10 validation images" in log and "trained on before: the scores are too good" in log


def test_a_training_set_within_the_validation_set_is_refused(train, lines, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("".join(lines[1][:10]), "utf-8")
    refused = train(slice(10), "--validation", other, "--num-epoch", "1", model="n")
    assert_clean_failure(refused, "every image is also in --validation")


def with_letters(path, count: int):
    """Write letters in front of the last `count` labels of an annotation file."""
    lines = path.read_text("utf-8").splitlines()
    lines[-count:] = [line.replace(" ", " €ü") for line in lines[-count:]]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("flag", [(), ("--validation",)])
def test_new_characters_stop_a_resumed_training(flag, tmp_path):
    old = draw_numbers(tmp_path / "old", 9)
    new = with_letters(draw_numbers(tmp_path / "new", 30, seed=3), 20)
    folder = ModelFolder(tmp_path / "m")
    folder.begin(ModelConfig(Charset("0123456789"), max_width=96, max_height=32, max_prediction=3))
    done = run_aocr("train", old, *flag, new, "--model-dir", folder)
    ways = f"--init-from {folder} --model-dir NEW", "--no-resume"
    line = assert_clean_failure(done, "20 of 30 images" if flag else "20 of 39 images", "2 symbols: ü€", *ways)
    assert len(line) < 400 and folder.names("*") == ["aocr.log", "model.json"]


@pytest.mark.parametrize("separate", [True, False])
def test_nothing_outside_the_charset_is_validated_on(separate, tmp_path):
    """With a typed charset some labels are left out, of training and of validation."""
    config = ModelConfig(Charset("0123456789"), max_width=96, max_height=32, max_prediction=2)
    data = with_letters(draw_numbers(tmp_path / "n", 60, seed=3), 30)
    other = with_letters(draw_numbers(tmp_path / "v", 20, seed=4), 8)
    request = TrainRequest([str(data)], model_dir=str(tmp_path / "m"), init_from="none")
    cluster = Cluster(tf.distribute.get_strategy())
    with open_dataset(request.datasets) as training, open_dataset([str(other)]) as validation:
        plan = make_plan(request, config, training, validation if separate else None, cluster)
        labels = [label.decode() for batch in plan.validation.sorted_batches() for label in batch.label.numpy()]
        assert plan.num_validation == len(labels) > 0
        assert all(label.isascii() and len(label) <= 2 for label in labels)
        usable = [label for label in validation.summary.labels if label.isascii() and len(label) <= 2]
        assert not separate or sorted(labels) == sorted(usable)


def test_a_validation_set_without_a_usable_label(tmp_path):
    config = ModelConfig(Charset("0123456789"), max_width=96, max_height=32, max_prediction=3)
    data, other = draw_numbers(tmp_path / "n", 9), with_letters(draw_numbers(tmp_path / "v", 5, seed=4), 5)
    request = TrainRequest([str(data)], model_dir=str(tmp_path / "m"), init_from="none")
    with open_dataset([str(data)]) as training, open_dataset([str(other)]) as validation, pytest.raises(CharsetError):
        make_plan(request, config, training, validation, Cluster(tf.distribute.get_strategy()))


@pytest.mark.slow
def test_a_kill_in_the_last_phase_changes_nothing(lines, tmp_path):
    folder, _ = lines
    often = ("--steps-per-checkpoint", "10", "--batch-size", "8", "--num-epoch", "10", "--init-from", "none")
    argv = ("train", folder / "numbers.txt", *SMALL, "--look-alikes", "20", *often, "--model-dir")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert "From here on the validation images are trained on too." in log_of(run_aocr(*argv, whole))
    process = start_aocr(*argv, killed, program=("-c", AS_IN_TESTS), stderr=subprocess.PIPE)
    after = iter(process.stderr)
    assert any("trained on too" in line for line in after)
    assert any("s, loss: " in line for line in after) and any("s, loss: " in line for line in after)
    process.kill()
    process.communicate()
    log = log_of(run_aocr(*argv, killed))
    assert "Resuming from" in log and "validation word" not in log and "95 % sure" in log
    for name in ("model.json", "weights.npz", LEARNT):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


@pytest.mark.slow
def test_a_higher_limit_after_the_last_phase_does_not_validate_again(train, tmp_path):
    often = ("--steps-per-checkpoint", "10")
    assert "trained on too" in log_of(train(slice(60), *often, "--num-epoch", "3"))
    shutil.copytree(tmp_path / "m", tmp_path / "again")
    process = train(slice(60), *often, "--num-epoch", "500", run=start_aocr, stderr=subprocess.PIPE)
    assert any("s, loss: " in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Saved at step" in stderr
    log = log_of(train(slice(60), *often, "--num-epoch", "4", model="again"))
    assert "Resuming from" in log and "validation word" not in log and "95 % sure" not in log
