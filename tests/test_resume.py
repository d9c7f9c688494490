"""A training that is stopped anywhere resumes exactly where it was."""

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
from conftest import AS_IN_TESTS, SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr

from aocr.config import ModelConfig, TrainConfig
from aocr.errors import CheckpointError
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.folder.variables import weights_of
from aocr.text.charset import Charset
from aocr.training.learner import Learner, WeightAverage, newest_checkpoint, read_state
from aocr.training.prepare import resumed_config
from aocr.training.request import TrainRequest
from aocr.training.schedule import TrainState

WHOLE = ("--num-epoch", "10")


def flags(model_dir, *more):
    often = ("--steps-per-checkpoint", "10", "--batch-size", "8", "--patience", "99")
    return ("--model-dir", str(model_dir), *SMALL, *often, *more)


def start(*args):
    return start_aocr(*args, program=("-c", AS_IN_TESTS), stderr=subprocess.PIPE)


def newest_step(model_dir) -> int:
    path = newest_checkpoint(ModelFolder(model_dir))
    return int(path.rpartition("-")[2]) if path else -1


def all_tensors(model_dir) -> dict:
    path = newest_checkpoint(ModelFolder(model_dir))
    reader = tf.train.load_checkpoint(path)
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE") and "state/" not in n]
    tensors = {name: reader.get_tensor(name) for name in names}
    state = json.loads(read_state(path).to_json())
    return tensors | {"state": np.array(str({**state, "elapsed": 0}))}


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
def test_ten_kills_change_nothing(data, uninterrupted, tmp_path):
    model_dir = tmp_path / "m"
    rng = random.Random(18)
    command = ("train", data, *flags(model_dir, *WHOLE))
    last = -1
    for _ in range(10):
        process = start(*command)
        word = rng.choice(["s, loss: ", "validation word accuracy"])  # it is about to validate, or to save
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
    expected, tensors = all_tensors(uninterrupted), all_tensors(model_dir)
    assert expected.keys() == tensors.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)
    for name in ("model.json", "weights.npz", "learnt.npy"):
        assert (model_dir / name).read_bytes() == (uninterrupted / name).read_bytes(), name


@pytest.mark.slow
def test_a_closed_terminal_loses_nothing(data, tmp_path):
    ours, theirs = os.openpty()
    model_dir, log = tmp_path / "m", tmp_path / "log"
    args = ("train", data, *flags(model_dir, "--num-epoch", "500", "--log-path", log, "--verbose"))
    terminal = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)

    def take():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = start_aocr(*args, **terminal, start_new_session=True, preexec_fn=take)
    os.close(theirs)
    output = b""
    while b"validation word accuracy" not in output:
        output = output[-100:] + os.read(ours, 1000)
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


@pytest.mark.slow
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
def test_the_same_command_after_the_end(data, uninterrupted, tmp_path):
    model_dir = shutil.copytree(uninterrupted, tmp_path / "m")
    before, record = newest_step(model_dir), model_dir / "train.json"
    record.write_text(record.read_text("utf-8").replace('"train": {', '"marked": true, "train": {'), "utf-8")
    again = run_aocr("train", data, *flags(model_dir, *WHOLE))
    assert again.returncode == 0
    assert ": the steps of 10 epochs are done" in again.stderr
    assert newest_step(model_dir) == before
    assert "marked" in record.read_text("utf-8"), "train.json describes the last run that trained"
    assert "is resumed with" not in again.stderr
    copies = [shutil.copy(data, tmp_path / f"copy-{number}.txt") for number in range(5)]
    base = ("--data-base-dir", data.parent)
    more = run_aocr("train", *copies, *base, *flags(model_dir, "--num-epoch", "11"))
    assert more.returncode == 0, more.stderr
    assert f"is resumed with {copies[0]}, {copies[1]}, {copies[2]}, and 2 more and without {data}." in more.stderr
    assert newest_step(model_dir) > before
    fresh = run_aocr("train", data, *flags(model_dir, "--num-epoch", "1", "--no-resume"))
    assert fresh.returncode == 0
    assert 0 < newest_step(model_dir) < before
    other = run_aocr("train", data, *flags(model_dir, "--num-epoch", "2", "--use-gru"))
    assert_clean_failure(other, "--use-gru", "True", "LSTM cells", "--no-resume")


@pytest.mark.slow
def test_an_ignored_init_from_is_reported(tmp_path):
    argv = ("train", draw_numbers(tmp_path / "n", 24), "--model-dir", tmp_path / "m", "--look-alikes", "0")
    for start, epochs, expected in (("none", 1, False), ("none", 2, False), ("words", 3, True)):
        done = run_aocr(*argv, "--init-from", start, "--num-epoch", epochs)
        assert done.returncode == 0, done.stderr
        assert ("--init-from is ignored" in done.stderr) == expected, done.stderr


@pytest.mark.parametrize(
    ("checkpoint", "step", "resumes"),
    [
        (True, 30, True),
        (False, None, True),  # killed before its first validation
        (False, 10, True),  # killed before its first checkpoint: these weights are found again
        (False, 11, False),  # only what is read with was copied
        (False, 0, False),  # a model that was passed on
    ],
)
def test_weights_without_a_checkpoint_are_not_overwritten(checkpoint, step, resumes, tmp_path):
    folder = ModelFolder(tmp_path)
    folder.write_config(ModelConfig(Charset("a")))
    if checkpoint:
        (tmp_path / "ckpt-7.index").touch()
    if step is not None:
        folder.write_weights({}, WeightsInfo(step))
    request = TrainRequest(["x"], model_dir=str(tmp_path), config=TrainConfig(steps_per_checkpoint=10))
    with contextlib.nullcontext() if resumes else pytest.raises(CheckpointError):
        assert resumed_config(request)


def a_learner(optimizer, **state) -> Learner:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")], name="model")
    optimizer.build(model.trainable_variables)
    weights = weights_of(model)
    return Learner(model, optimizer, WeightAverage(weights), TrainState(**state))


def test_a_checkpoint_is_restored_to_the_bit(tmp_path):
    folder = ModelFolder(tmp_path)
    learner = a_learner(keras.optimizers.Adam(), step=7, elapsed=1.25, images="ab")
    for step in (5, 6, 7):
        learner.state.step = step
        learner.save(folder)
    assert sorted(path.name for path in tmp_path.glob("*.index")) == ["ckpt-6.index", "ckpt-7.index"]
    path = newest_checkpoint(folder)
    assert read_state(path) == learner.state
    other = a_learner(keras.optimizers.Adam())
    other.restore(path)
    assert other.digest() == learner.digest()


def test_a_checkpoint_of_another_optimizer_is_refused_in_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    folder = ModelFolder(tmp_path)
    a_learner(keras.optimizers.Adam(), step=7).save(folder)
    with pytest.raises(CheckpointError, match="another --optimizer"):
        a_learner(keras.optimizers.SGD(momentum=0.9)).restore(newest_checkpoint(folder))
    gc.collect()
    assert not [record for record in caplog.records if record.name == "tensorflow"]
