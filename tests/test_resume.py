"""A training that is stopped anywhere goes on exactly where it was."""

import contextlib
import fcntl
import functools
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import termios

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr

from aocr.config import ModelConfig, TrainConfig
from aocr.errors import CheckpointError
from aocr.folder.checkpoints import Checkpoints, write_weights
from aocr.folder.model_folder import ModelFolder
from aocr.folder.pointers import pointer_to
from aocr.text.charset import Charset
from aocr.training.prepare import TrainRequest, resumed_config

WHOLE = ("--num-epoch", "10")


def flags(model_dir, *more):
    often = ("--steps-per-checkpoint", "10", "--batch-size", "8", "--patience", "99")
    return ("--model-dir", str(model_dir), *SMALL, *often, *more)


def start(*args):
    return start_aocr(*args, stderr=subprocess.PIPE)


def newest_step(model_dir) -> int:
    names = [name for name in os.listdir(model_dir) if name.startswith("ckpt-") and name.endswith(".index")]
    return max((int(name[len("ckpt-") : -len(".index")]) for name in names), default=-1)


def all_tensors(model_dir) -> dict:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(model_dir))
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE") and "elapsed" not in n]
    return {name: reader.get_tensor(name) for name in names}


def wait_for_line(process, word: str) -> None:
    for line in process.stderr:
        if word in line:
            return
    raise AssertionError(f"the training ended before it said {word!r}")


@pytest.fixture
def data(shared):
    return shared("resume-data", lambda folder: draw_numbers(folder, 230, seed=3)) / "numbers.txt"


@pytest.fixture
def uninterrupted(data, shared):
    def train(folder):
        done = run_aocr("train", data, *flags(folder, *WHOLE))
        assert done.returncode == 0, done.stderr

    return shared("uninterrupted", train)


@pytest.mark.slow
def test_ten_kills_end_with_the_same_weights(data, uninterrupted, tmp_path):
    model_dir = tmp_path / "m"
    rng = random.Random(18)
    command = ("train", data, *flags(model_dir, *WHOLE))
    last = -1
    for _ in range(10):
        process = start(*command)
        word = rng.choice(["s, loss: ", "validation word accuracy"])  # it goes on to validate, or to save
        for _ in range(rng.randint(1, 3)):
            wait_for_line(process, word)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        step = newest_step(model_dir)
        assert step >= last, "a kill lost a checkpoint"
        last = step
        json.loads((model_dir / "model.json").read_text("utf-8"))
    assert 0 < last < newest_step(uninterrupted), "the kills came before the first or after the last checkpoint"
    done = run_aocr(*command)
    assert done.returncode == 0, done.stderr
    expected, found = all_tensors(uninterrupted), all_tensors(model_dir)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert (model_dir / "best.json").read_text() == (uninterrupted / "best.json").read_text()


@pytest.mark.slow
def test_a_terminal_that_is_closed_loses_nothing(data, tmp_path):
    ours, theirs = os.openpty()
    model_dir, log = tmp_path / "m", tmp_path / "log"
    args = ("train", data, *flags(model_dir, "--num-epoch", "500", "--log-path", log))
    terminal = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)

    def take():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = start_aocr(*args, **terminal, start_new_session=True, preexec_fn=take)
    os.close(theirs)
    seen = b""
    while b"validation word accuracy" not in seen:
        seen = seen[-100:] + os.read(ours, 1000)
    os.close(ours)
    assert process.wait(timeout=60) == 130
    step = newest_step(model_dir)
    assert step > 0 and f"Saved at step {step}" in log.read_text("utf-8")
    assert "Traceback" not in log.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_first(number, data, tmp_path):
    model_dir = tmp_path / "m"
    heed = functools.partial(signal.signal, number, signal.SIG_DFL)  # the tests may run under nohup
    process = start_aocr(
        "train", data, *flags(model_dir, "--num-epoch", "500"), stderr=subprocess.PIPE, preexec_fn=heed
    )
    wait_for_line(process, "Step 10:")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "aocr: stopping after this step, saving ..." in stderr
    assert f"Saved at step {newest_step(model_dir)}" in stderr
    saved = newest_step(model_dir)
    done = run_aocr("train", data, *flags(model_dir, "--num-epoch", "1"))
    assert done.returncode == 0, done.stderr
    assert f"Resuming from {model_dir}/ckpt-{saved}" in done.stderr


def test_a_second_training_in_the_folder_is_refused(data, tmp_path):
    model_dir = tmp_path / "m"
    first = start("train", data, *flags(model_dir, "--num-epoch", "500"))
    try:
        wait_for_line(first, "Step 20:")
        second = run_aocr("train", data, *flags(model_dir, "--no-resume"))
    finally:
        first.kill()
        first.communicate()
    assert_clean_failure(second, str(model_dir), "another training")
    assert newest_step(model_dir) >= 0
    with ModelFolder(model_dir).held():
        pass


@pytest.mark.slow
def test_the_same_call_after_the_end_changes_nothing_and_more_epochs_go_on(data, uninterrupted, tmp_path):
    model_dir = shutil.copytree(uninterrupted, tmp_path / "m")
    before, record = newest_step(model_dir), model_dir / "train.json"
    record.write_text(record.read_text("utf-8").replace('"train": {', '"marked": true, "train": {'), "utf-8")
    again = run_aocr("train", data, *flags(model_dir, *WHOLE))
    assert again.returncode == 0
    assert ": the steps of 10 epochs are done" in again.stderr
    assert newest_step(model_dir) == before
    assert "marked" in record.read_text("utf-8"), "train.json is of the last run that trained"
    more = run_aocr("train", data, *flags(model_dir, "--num-epoch", "11"))
    assert more.returncode == 0, more.stderr
    assert newest_step(model_dir) > before
    anew = run_aocr("train", data, *flags(model_dir, "--num-epoch", "1", "--no-resume"))
    assert anew.returncode == 0
    assert 0 < newest_step(model_dir) < before
    other = run_aocr("train", data, *flags(model_dir, "--num-epoch", "2", "--use-gru"))
    assert_clean_failure(other, "--use-gru", "True", "LSTM cells", "--no-resume")


@pytest.mark.slow
def test_init_from_is_told_where_a_training_goes_on(tmp_path):
    """It was ignored in silence."""
    argv = ("train", draw_numbers(tmp_path / "n", 24), "--model-dir", tmp_path / "m", "--look-alikes", "0")
    for start, epochs, expected in (("none", 1, False), ("none", 2, False), ("words", 3, True)):
        done = run_aocr(*argv, "--init-from", start, "--num-epoch", epochs)
        assert done.returncode == 0, done.stderr
        assert ("--init-from is not used" in done.stderr) == expected, done.stderr


@pytest.mark.parametrize(
    ("pointer", "best_step", "others", "goes_on"),
    [
        (("ckpt-7",), 30, ("ckpt-7.index",), True),
        ((), None, (), True),  # killed before its first check
        ((), 10, (), True),  # killed before its first checkpoint: these weights are found again
        ((), 11, (), False),  # only what is read with was copied, or was left to save space
        (("ckpt-7", "ckpt-9"), None, ("ckpt-7.index",), False),
        ((), None, ("weights.npz",), False),
    ],
)
def test_no_training_puts_fresh_weights_in_the_place_of_others(pointer, best_step, others, goes_on, tmp_path):
    """It began anew in a folder without checkpoints to go on from, and removed the best weights."""
    folder = ModelFolder(tmp_path)
    folder.write_config(ModelConfig(Charset("a")))
    for name in others:
        (tmp_path / name).touch()
    if pointer:
        (tmp_path / "checkpoint").write_bytes(pointer_to(*pointer))
    if best_step:
        folder.write_best(best_step, 0.5, 0.25, False)
    request = TrainRequest(["x"], model_dir=str(tmp_path), config=TrainConfig(steps_per_checkpoint=10))
    with contextlib.nullcontext() if goes_on else pytest.raises(CheckpointError, match="no checkpoint to go on from"):
        assert resumed_config(request)


@pytest.mark.parametrize(("start", "in_best", "closed"), [(-1, False, 0), (40, False, 1), (-1, True, 1)])
def test_a_checkpoint_of_before_it_told_whether_all_was_learnt_from(start, in_best, closed, tmp_path):
    folder, model = ModelFolder(tmp_path), keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    state = {"fall_start": tf.Variable(start, dtype=tf.int64)}
    Checkpoints(folder, model, {}, optimizer, state).save(7)
    folder.write_best(7, 0.5, 0.5, True, in_best)
    state = {**state, "closed": tf.Variable(9, dtype=tf.int64)}
    Checkpoints(folder, model, {}, optimizer, state).restore_newest()
    assert int(state["closed"]) == closed


def test_a_checkpoint_of_another_optimizer_is_told_in_one_line(tmp_path, caplog, monkeypatch):
    logger = tf.get_logger()
    monkeypatch.setattr(logger, "propagate", True)
    before, folder = logger.level, ModelFolder(tmp_path)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def checkpoints(optimizer):
        optimizer.build(model.trainable_variables)
        return Checkpoints(folder, model, {}, optimizer, {"step": tf.Variable(7)})

    try:
        checkpoints(keras.optimizers.Adam()).save(7)
        with pytest.raises(CheckpointError, match="another --optimizer"):
            checkpoints(keras.optimizers.SGD(momentum=0.9)).restore_newest()
        write_weights(folder, model, 8)
        with pytest.raises(CheckpointError, match=r"has weights alone.*--init-from"):  # as import writes them
            checkpoints(keras.optimizers.Adam()).restore_newest()
        gc.collect()
        assert not [record for record in caplog.records if record.name == "tensorflow"]
    finally:
        logger.setLevel(before)
