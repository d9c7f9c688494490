"""Several replicas and several processes train as one does."""

import json
import re
import socket
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_numbers, run_aocr, start_aocr
from test_resume import all_tensors

from aocr.config import ModelConfig
from aocr.data.automatic import network_widths
from aocr.data.batching import Share, plan_batches, share_of, share_work
from aocr.data.builder import BuildOptions, build_records
from aocr.data.datasets import summarise
from aocr.data.pipeline import Batches
from aocr.model.losses import ctc_loss
from aocr.text.charset import Charset
from aocr.training.cluster import Cluster

FLAGS = (
    "--attn-num-hidden", "16", "--target-embedding-size", "8", "--precision", "float32", "--no-augment",
    "--batch-size", "32", "--patience", "99", "--steps-per-checkpoint", "20", "--initial-learning-rate", "0.0003",
)  # fmt: skip
"""With a rate at which rounding does not grow: at 0.002 two single processes differ by a thousandth after 50 steps,
one with TensorFlow's other kernels."""


# Who gets what


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_of_a_batch_are_all_of_it(count):
    rows = tf.range(7)
    parts = [share_of([rows], number, count)[0].numpy() for number in range(count)]
    assert np.concatenate(parts).tolist() == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_more_takers_than_rows():
    counted = []
    for number in range(4):
        rows, weight = share_of([tf.range(3)], number, 4)
        assert len(rows) == 1
        counted += rows.numpy().tolist() if float(weight) else []
    assert counted == [0, 1, 2]


def test_ctc_of_an_uncounted_image_is_nothing():
    logits = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    targets, columns = np.array([[3, 4], [3, 4]]), np.array([9, 9])
    both = ctc_loss(logits, columns, targets, np.array([2, -1]))
    alone = ctc_loss(logits[:1], columns[:1], targets[:1], np.array([2]))
    assert float(both) == pytest.approx(float(alone), rel=1e-6)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Records in three files, and a network for them."""
    folder = tmp_path_factory.mktemp("shards")
    report = build_records(str(draw_numbers(folder / "n", 50)), str(folder / "r"), BuildOptions(shards=3))
    config = ModelConfig(Charset("0123456789"), max_width=120, max_height=32, max_prediction=3)
    return report.paths, config


def epoch_of(paths, config, worker, workers, batch_size=8):
    """Record numbers (counted ones) of each batch of the first epoch, and all labels seen."""
    summary = summarise(paths)
    widths = network_widths(summary.sizes, config)
    plan = plan_batches(widths, batch_size, config)
    share, plan = share_work(plan, widths, summary.files, worker, workers)
    batches = Batches(paths, config, plan, summary, share=share)
    seen = []
    for epoch, _, batch in batches.training_batches(0, 0, 0, 0.0):
        if epoch > 0:
            break
        counted = batch.weights.numpy().sum(1) > 0
        seen.append([label for label, c in zip(batch.label.numpy().tolist(), counted, strict=True) if c])
    return seen, share, share.num_batches


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_every_record_is_seen_once_an_epoch(shards, workers):
    paths, config = shards
    everything = sorted(label.encode() for label in summarise(paths).labels)
    epochs = [epoch_of(paths, config, worker, workers) for worker in range(workers)]
    assert all(share.by_file == (workers <= len(paths)) for _, share, _ in epochs)
    assert len({steps for *_, steps in epochs}) == 1, "workers would wait for each other for ever"
    assert {len(seen) for seen, *_ in epochs} == {epochs[0][2]}
    assert sorted(label for seen, *_ in epochs for batch in seen for label in batch) == everything


def test_workers_that_split_by_record_share_the_batches_of_one(shards):
    paths, config = shards
    alone, *_ = epoch_of(paths[:1], config, 0, 1)
    parts = [epoch_of(paths[:1], config, worker, 2)[0] for worker in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == alone


def test_validation_batches_are_shared(shards):
    paths, config = shards
    summary = summarise(paths)
    plan = plan_batches(network_widths(summary.sizes, config), 8, config)
    batches = Batches(paths, config, plan, summary)
    seen = [int(i) for worker in range(3) for batch in batches.sorted_batches(worker, 3) for i in batch.index]
    assert sorted(seen) == list(range(50))
    assert batches._share == Share()


def test_words_for_the_log():
    one = Cluster(tf.distribute.get_strategy())
    assert one.describe(65) == "one device"
    assert one.exchange({"a": 1}) == [{"a": 1}]


# Several replicas in one process

REPLICAS = """
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
    """A training of 56 steps by one process: its folder and its log."""

    def train(folder):
        done = run_aocr("train", numbers, "--model-dir", folder, *FLAGS, "--num-epoch", "7")
        assert done.returncode == 0, done.stderr
        (folder / "said.txt").write_text(done.stderr)

    folder = shared("alone", train)
    return folder, (folder / "said.txt").read_text()


def assert_same_training(log: str, alone) -> None:
    expected = losses(alone[1])
    assert len(expected) == 6 and expected[-1] < expected[0]
    np.testing.assert_allclose(losses(log), expected, rtol=2e-4)


def run_replicas(*args) -> str:
    """The log of `aocr train` on two devices that are one CPU."""
    # with a TF_CONFIG, be it empty, aocr leaves the devices alone until it trains
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_CONFIG": "{}"}
    program, pipes = ("-c", REPLICAS, "train"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start_aocr(*args, "--devices", "2", program=program, env=environment, **pipes)
    _, log = process.communicate(timeout=600)
    assert process.returncode == 0, log
    return log


def test_two_replicas_of_one_machine(numbers, alone, tmp_path):
    log = run_replicas(numbers, "--model-dir", tmp_path / "m", *FLAGS, "--num-epoch", "7")
    assert "MirroredStrategy, 2 replicas on this machine, 16 images each of a batch of 32" in log
    assert_same_training(log, alone)
    read = run_aocr("test", numbers, "--model-dir", tmp_path / "m", "--json")
    assert json.loads(read.stdout)["num_images"] == 240


def test_gradients_are_summed_once(numbers, tmp_path):
    """AdamW would not show it: its step is the same whatever the gradients are multiplied by."""
    flags = (
        *FLAGS,
        "--init-from",
        "none",
        "--optimizer",
        "sgd",
        "--no-gradient-clipping",
        "--initial-learning-rate",
        "0.001",
    )
    one = run_aocr("train", numbers, "--model-dir", tmp_path / "one", *flags, "--num-epoch", "3")
    two = run_replicas(numbers, "--model-dir", tmp_path / "two", *flags, "--num-epoch", "3")
    expected = losses(one.stderr)
    assert len(expected) == 2 and expected[-1] < expected[0]
    np.testing.assert_allclose(losses(two), expected, rtol=2e-4)


def test_more_devices_than_there_are(numbers, tmp_path):
    done = run_aocr("train", numbers, "--model-dir", tmp_path / "m", "--devices", "64")
    assert done.returncode == 1
    assert "--devices" in done.stderr and "numbered from 0" in done.stderr
    assert "Traceback" not in done.stderr


# Several processes


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Workers:
    """Two real processes of `aocr train` on loopback; their output goes to files."""

    def __init__(self, folder, *args, extra=((), ())):
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.logs = [folder / f"{number}.log" for number in range(2)]
        self.processes = []
        for number, log in enumerate(self.logs):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
            environment = {"TF_CONFIG": json.dumps(task)}
            with open(log, "w") as file:
                command = ("train", *args, *extra[number])
                self.processes.append(start_aocr(*command, stdout=file, stderr=file, env=environment))

    def said(self, number: int) -> str:
        return self.logs[number].read_text()

    def wait(self, number: int, timeout: float = 400) -> int:
        return self.processes[number].wait(timeout)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def test_two_workers_train_as_one_does(numbers, alone, tmp_path):
    workers = Workers(tmp_path, numbers, "--model-dir", tmp_path / "m", *FLAGS, "--num-epoch", "7")
    try:
        assert [workers.wait(0), workers.wait(1)] == [0, 0], workers.said(0) + workers.said(1)
    finally:
        workers.stop()
    assert "2 replicas on 2 workers, 16 images each of a batch of 32; data split by record" in workers.said(0)
    assert_same_training(workers.said(0), alone)
    assert losses(workers.said(1)) == [], "the chief tells it for all"
    # before each checkpoint every variable of both workers is compared to the bit; a difference is an error
    expected, tensors = all_tensors(alone[0]), all_tensors(tmp_path / "m")
    assert set(tensors) == set(expected)
    best = [json.loads((folder / "best.json").read_text())["step"] for folder in (alone[0], tmp_path / "m")]
    assert best[0] == best[1]


def wait_for(workers: Workers, word: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while word not in workers.said(0):
        assert time.monotonic() < end and workers.processes[0].poll() is None, workers.said(0)
        time.sleep(0.2)


@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_worker_ends_the_others_and_the_cluster_resumes(numbers, tmp_path, victim):
    command = [numbers, "--model-dir", tmp_path / "m", *FLAGS, "--num-epoch", "5"]
    workers = Workers(tmp_path, *command)
    try:
        wait_for(workers, "Step 30:")
        workers.processes[victim].kill()
        assert workers.wait(1 - victim, timeout=60) == 1
    finally:
        workers.stop()
    lines = [line for line in workers.said(1 - victim).splitlines() if line.startswith("aocr: ")]
    assert len(lines) == 1 and "lost the others" in lines[0]
    assert "Traceback" not in workers.said(1 - victim)
    if victim == 0:
        return
    again = Workers(tmp_path, *command)
    try:
        assert [again.wait(0), again.wait(1)] == [0, 0], again.said(0) + again.said(1)
    finally:
        again.stop()
    assert "Resuming from" in again.said(0)
    assert "Step 10:" not in again.said(0)
    assert "Training ended after step 45" in again.said(0)


def test_workers_with_different_flags_are_told(numbers, tmp_path):
    sizes = (("--batch-size", "32"), ("--batch-size", "16"))
    workers = Workers(tmp_path, numbers, "--model-dir", tmp_path / "m", extra=sizes)
    try:
        assert [workers.wait(0), workers.wait(1)] == [1, 1]
    finally:
        workers.stop()
    for number in range(2):
        assert "worker 1 sees other data or flags than the chief" in workers.said(number)
        assert "Traceback" not in workers.said(number)
