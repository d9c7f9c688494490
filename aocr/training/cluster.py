"""Where a training runs: one device, the GPUs of a machine, or the workers of a cluster (tf.distribute)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from aocr import machine
from aocr.errors import ConfigError, TrainingError
from aocr.tf_config import Task, current_task

log = logging.getLogger("aocr")


class Cluster:
    """The devices that train together, and the processes that own them.

    Args:
      strategy: runs the step on every device.
      worker: index of this process; 0 is the chief, the only one that writes.
      num_workers: number of processes.
    """

    def __init__(self, strategy: tf.distribute.Strategy, worker: int = 0, num_workers: int = 1):
        self.strategy, self.worker, self.num_workers = strategy, worker, num_workers
        self.num_replicas = strategy.num_replicas_in_sync
        self.local_replicas = self.num_replicas // num_workers
        self._gather = tf.function(
            lambda codes: strategy.gather(strategy.run(lambda: codes), axis=0),
            input_signature=[tf.TensorSpec((None,), tf.int32)],
        )

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.worker == 0

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all workers, ordered by worker. Blocks until every worker has called it.

        Raises:
          TrainingError: a worker is lost.
        """
        if self.num_workers == 1:
            return [value]
        line = np.frombuffer(json.dumps(value).encode() + b"\n", np.uint8)
        with lost_worker_errors(self):
            codes = self._gather(tf.constant(line, tf.int32)).numpy()
        lines = codes.astype(np.uint8).tobytes().splitlines()  # one per replica, equal within a worker
        return [json.loads(line) for line in lines[:: self.local_replicas]]

    def describe(self, batch_size: int) -> str:
        """Describe the strategy, the replicas and the images per replica."""
        count = self.num_replicas
        if count == 1:
            return "one device"
        where = f"{self.num_workers} workers" if self.num_workers > 1 else "this machine"
        smallest, rest = divmod(batch_size, count)
        share = f"{smallest} or {smallest + 1}" if rest else f"{smallest}"
        name = type(self.strategy).__name__
        return f"{name}, {count} replicas on {where}, {share} images each of a batch of {batch_size}"


@contextmanager
def lost_worker_errors(cluster: Cluster) -> Iterator[None]:
    """Raise a TrainingError in place of TensorFlow's errors if a worker is lost."""
    try:
        yield
    except tf.errors.OpError as error:
        if cluster.num_workers == 1:
            raise
        raise TrainingError(
            f"worker {cluster.worker} lost the others: one has stopped or cannot be reached. Start all workers again "
            "to resume from the last checkpoint."
        ) from error


def _select(devices: str | None, names: Sequence[str], kind: str) -> Sequence[str]:
    """Return the devices among `names` that `--devices` asks for."""
    if devices in (None, "all"):
        return names if devices else names[:1]
    numbers = [int(part) for part in devices.split(",") if part] if "," in devices else range(int(devices))
    if not all(number < len(names) for number in numbers):
        raise ConfigError("--devices", devices, f"this machine has {len(names)} {kind} device(s), numbered from 0.")
    return [names[number] for number in numbers]


def connect(devices: str | None = None) -> Cluster:
    """Join the cluster of TF_CONFIG, or use the devices of this machine. Call it before any TensorFlow operation.

    Args:
      devices: `all`, a number of devices, or their indices separated by commas; None: the first GPU, or the CPU if
        there is none; in a cluster all GPUs of each machine.

    Raises:
      ConfigError: TF_CONFIG is damaged, or there are too few devices.
      TrainingError: the other workers cannot be reached.
    """
    if task := current_task():
        return _join(task, devices)
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    selected = _select(devices, names, kind)
    if len(selected) > 1:
        return Cluster(tf.distribute.MirroredStrategy(selected))
    if selected[0] != names[0]:
        return Cluster(tf.distribute.OneDeviceStrategy(selected[0]))
    return Cluster(tf.distribute.get_strategy())


def _join(task: Task, devices: str | None) -> Cluster:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and devices:
        tf.config.set_visible_devices(_select(devices, gpus, "GPU"), "GPU")
    log.info("Worker %d of %d: waiting for the others.", task.index, len(task.addresses))
    spec = tf.train.ClusterSpec({"worker": list(task.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=task.index, rpc_layer="grpc"
    )
    try:
        with machine.quiet():
            cluster = Cluster(tf.distribute.MultiWorkerMirroredStrategy(resolver), task.index, len(task.addresses))
    except (tf.errors.OpError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "message", error)).split())[:160]
        raise TrainingError(f"worker {task.index} cannot join the cluster of TF_CONFIG ({reason}).") from None
    cluster.exchange("here")
    return cluster
