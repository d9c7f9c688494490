"""Several replicas and several processes train as one does."""

import contextlib
import json
import re
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_clean_failure, draw_numbers, run_aocr, start_aocr
from test_resume import all_tensors

from aocr.config import ModelConfig
from aocr.data.automatic import network_widths
from aocr.data.batching import Share, plan_batches, share_of, share_work
from aocr.data.builder import BuildOptions, build_records
from aocr.data.datasets import summarise
from aocr.data.pipeline import Batches
from aocr.errors import ConfigError
from aocr.folder.model_folder import ModelFolder
from aocr.model.losses import ctc_loss
from aocr.text.charset import Charset
from aocr.training.cluster import connect

FLAGS = (
    "--attn-num-hidden", "16", "--target-embedding-size", "8", "--precision", "float32", "--no-augment",
    "--batch-size", "32", "--patience", "99", "--steps-per-checkpoint", "20", "--initial-learning-rate", "0.0003",
)  # fmt: skip
"""With a low rate, at which rounding errors do not grow: at 0.002 even two single processes with other kernels of
TensorFlow differ by a thousandth after 50 steps."""

# How the work is shared


def test_shares_of_a_batch():
    """If there are fewer images than replicas, some get an image of no weight."""
    for count in (1, 3, 5):
        parts = [share_of([tf.range(7)], number, count)[0].numpy() for number in range(count)]
        assert np.concatenate(parts).tolist() == list(range(7))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    shares = [share_of([tf.range(3)], number, 4) for number in range(4)]
    assert all(len(rows) == 1 for rows, _ in shares)
    assert [int(rows[0]) for rows, weight in shares if float(weight)] == [0, 1, 2]


def test_ctc_ignores_images_of_no_weight():
    logits = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    targets, columns = np.array([[3, 4], [3, 4]]), np.array([9, 9])
    both = ctc_loss(logits, columns, targets, np.array([2, -1]))
    alone = ctc_loss(logits[:1], columns[:1], targets[:1], np.array([2]))
    assert float(both) == pytest.approx(float(alone), rel=1e-6)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Return 50 records in three files, and the settings of a network for them."""
    folder = tmp_path_factory.mktemp("shards")
    report = build_records(str(draw_numbers(folder / "n", 50)), str(folder / "r"), BuildOptions(shards=3))
    return report.paths, ModelConfig(Charset("0123456789"), max_width=120, max_height=32, max_prediction=3)


def first_epoch(paths, config, worker=0, num_workers=1) -> tuple[Share, list]:
    """Return a worker's share, and the labels in each batch of the first epoch."""
    summary = summarise(paths)
    widths = network_widths(summary.sizes, config)
    share, plan = share_work(plan_batches(widths, 8, config), widths, summary.files, worker, num_workers)
    labels = []
    for epoch, _, batch in Batches(paths, config, plan, summary, share=share).training_batches(0, 0, 0, 0.0):
        if epoch > 0:
            return share, labels
        has_weight = batch.weights.numpy().sum(1) > 0
        labels.append(batch.label.numpy()[has_weight].tolist())
    raise AssertionError("training batches do not end")


@pytest.mark.parametrize("num_workers", [2, 4])
def test_every_record_is_in_one_share(shards, num_workers):
    paths, config = shards
    labels, num_batches = [], set()
    for worker in range(num_workers):
        share, batches = first_epoch(paths, config, worker, num_workers)
        assert share.by_file == (num_workers <= len(paths)) and share.num_batches == len(batches)
        labels += [label for batch in batches for label in batch]
        num_batches.add(len(batches))
    assert sorted(labels) == sorted(label.encode() for label in summarise(paths).labels)
    assert len(num_batches) == 1, "workers would wait for each other for ever"


def test_workers_that_split_by_record_share_the_batches_of_one(shards):
    paths, config = shards
    _, expected = first_epoch(paths[:1], config)
    (_, first), (_, second) = (first_epoch(paths[:1], config, worker, 2) for worker in range(2))
    assert [a + b for a, b in zip(first, second, strict=True)] == expected


def test_validation_batches_are_shared(shards):
    paths, config = shards
    summary = summarise(paths)
    batches = Batches(paths, config, plan_batches(network_widths(summary.sizes, config), 8, config), summary)
    indices = [int(i) for worker in range(3) for batch in batches.sorted_batches(worker, 3) for i in batch.index]
    assert sorted(indices) == list(range(50))


def test_a_cluster_of_one_device():
    cluster = connect()
    assert cluster.is_chief and cluster.describe(65) == "one device"
    assert cluster.exchange({"a": 1}) == [{"a": 1}]
    with pytest.raises(ConfigError, match="numbered from 0"):
        connect("64")


# Several replicas in one process

TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from aocr.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def losses(log: str) -> list[float]:
    return [float(value) for value in re.findall(r"^Step \d+: .*loss: ([\d.]+)", log, re.MULTILINE)]


@pytest.fixture
def alone(numbers, shared):
    """Return the folder of a training of 56 steps by one process, and its log."""

    def train(folder):
        done = run_aocr("train", numbers, "--model-dir", folder, *FLAGS, "--num-epoch", "7")
        assert done.returncode == 0, done.stderr
        (folder / "stderr.txt").write_text(done.stderr)

    folder = shared("alone", train)
    return folder, (folder / "stderr.txt").read_text()


def assert_same_losses(log: str, expected_log: str, count: int) -> None:
    expected = losses(expected_log)
    assert len(expected) == count and expected[-1] < expected[0]
    np.testing.assert_allclose(losses(log), expected, rtol=2e-4)


def train_on_two_devices(*args) -> str:
    """Run `aocr train` on two devices that are one CPU; returns the log."""
    # with any TF_CONFIG aocr does not choose devices before it trains
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_CONFIG": "{}"}
    program, pipes = ("-c", TWO_DEVICES, "train"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start_aocr(*args, "--devices", "2", program=program, env=environment, **pipes)
    _, log = process.communicate(timeout=600)
    assert process.returncode == 0, log
    return log


@pytest.mark.slow
def test_two_replicas_of_one_machine(numbers, alone, tmp_path):
    log = train_on_two_devices(numbers, "--model-dir", tmp_path / "m", *FLAGS, "--num-epoch", "7")
    assert "MirroredStrategy, 2 replicas on this machine, 16 images each of a batch of 32" in log
    assert_same_losses(log, alone[1], 6)
    report = run_aocr("test", numbers, "--model-dir", tmp_path / "m", "--json")
    assert json.loads(report.stdout)["num_images"] == 240


@pytest.mark.slow
def test_gradients_are_summed_once(numbers, tmp_path):
    """With AdamW a constant factor of the gradients would not show."""
    flags = (numbers, *FLAGS, "--init-from", "none", "--optimizer", "sgd", "--no-gradient-clipping")
    flags += ("--initial-learning-rate", "0.001", "--num-epoch", "3", "--model-dir")
    expected = run_aocr("train", *flags, tmp_path / "one")
    assert_same_losses(train_on_two_devices(*flags, tmp_path / "two"), expected.stderr, 2)


# Several processes


@contextlib.contextmanager
def two_workers(folder, *args, extra=((), ())):
    """Yield two processes of `aocr train` on loopback, and the files of their logs."""
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{free.getsockname()[1]}" for free in (first, second)]
    logs, processes = [folder / "0.log", folder / "1.log"], []
    for number, log in enumerate(logs):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        command, environment = ("train", *args, *extra[number]), {"TF_CONFIG": json.dumps(task)}
        with open(log, "w") as file:
            processes.append(start_aocr(*command, stdout=file, stderr=file, env=environment))
    try:
        yield processes, logs
    finally:
        for process in processes:
            process.kill()
            process.wait()


def train_on_two_workers(folder, *args, code=0, extra=((), ())) -> list[str]:
    """Run `aocr train` as two workers that end with `code`; returns their logs."""
    with two_workers(folder, *args, extra=extra) as (processes, logs):
        codes = [process.wait(400) for process in processes]
    texts = [log.read_text() for log in logs]
    assert codes == [code, code], texts
    return texts


@pytest.mark.slow
def test_two_workers_train_as_one_does(numbers, alone, tmp_path):
    """Before each checkpoint the workers compare all variables to the bit; a difference would end the training."""
    logs = train_on_two_workers(tmp_path, numbers, "--model-dir", tmp_path / "m", *FLAGS, "--num-epoch", "7")
    assert "2 replicas on 2 workers, 16 images each of a batch of 32; data split by record" in logs[0]
    assert_same_losses(logs[0], alone[1], 6)
    assert losses(logs[1]) == [], "the chief logs for all"
    assert set(all_tensors(tmp_path / "m")) == set(all_tensors(alone[0]))
    assert ModelFolder(tmp_path / "m").weights_info().step == ModelFolder(alone[0]).weights_info().step


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_worker_ends_the_other_and_the_cluster_resumes(numbers, tmp_path, victim):
    command = (tmp_path, numbers, "--model-dir", tmp_path / "m", *FLAGS, "--num-epoch", "5")
    with two_workers(*command) as (processes, logs):
        end = time.monotonic() + 600
        while "Step 30:" not in logs[0].read_text():
            assert time.monotonic() < end and processes[0].poll() is None, logs[0].read_text()
            time.sleep(0.2)
        processes[victim].kill()
        code = processes[1 - victim].wait(60)
    assert_clean_failure(subprocess.CompletedProcess((), code, "", logs[1 - victim].read_text()), "lost the others")
    if victim == 1:
        log, _ = train_on_two_workers(*command)
        assert "Resuming from" in log and "Step 10:" not in log and "Training ended after step 45" in log


@pytest.mark.slow
def test_workers_with_different_flags_are_refused(numbers, tmp_path):
    sizes = (("--batch-size", "32"), ("--batch-size", "16"))
    for log in train_on_two_workers(tmp_path, numbers, "--model-dir", tmp_path / "m", code=1, extra=sizes):
        assert "worker 1 has other data or flags than the chief" in log and "Traceback" not in log
