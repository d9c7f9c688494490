"""How records become batches: grouped by width, and shared among the workers of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.config import ModelConfig

EDGE_STEP = 8
"""Pixels between the widths that a bucket may have."""
BUCKET_COST = 0.3
"""What another bucket costs in batches of its width: its last batch is part-filled."""


@dataclass(frozen=True)
class BatchPlan:
    """How records are grouped: by width, so that narrow words do not pay for wide ones.

    Attributes:
      edges: widest image of each bucket in pixels as the network sees it, ascending; batches are padded to it.
      batch_size: images a batch.
    """

    edges: tuple[int, ...]
    batch_size: int

    def num_batches(self, widths: np.ndarray) -> int:
        """Batches that images of these widths make in one epoch."""
        bucket = np.searchsorted(self.edges, widths, side="left")
        return int(sum(-(-count // self.batch_size) for count in np.bincount(bucket)))


def plan_batches(widths: np.ndarray, batch_size: int, config: ModelConfig) -> BatchPlan:
    """Choose the bucket edges that cost least: the pixels of all images padded, and `BUCKET_COST` a bucket.

    Args:
      widths: (N,) widths in pixels as the network sees them.
      batch_size: images a batch.
      config: of the network.
    """
    if config.traits.fixed_width:
        return BatchPlan((config.network_width,), batch_size)
    steps = -(-widths // EDGE_STEP)
    below = np.concatenate([[0], np.bincount(steps)[1:].cumsum()])  # images of at most so many steps
    least, start = np.zeros(len(below)), np.zeros(len(below), int)
    for edge in range(1, len(below)):
        images = below[edge] - below[:edge]
        costs = least[:edge] + edge * (images + BUCKET_COST * batch_size * (images > 0))
        start[edge] = np.argmin(costs)
        least[edge] = costs[start[edge]]
    edges, edge = [], len(below) - 1
    while below[edge]:
        edges.append(edge * EDGE_STEP)
        edge = int(start[edge])
    return BatchPlan(tuple(reversed(edges)), batch_size)


class Share(NamedTuple):
    """Which part of the training data a worker takes.

    Attributes:
      worker: its number, from 0.
      num_workers: that share the data.
      by_file: whether each takes whole files; else all read every file and each takes its rows of every batch.
      num_batches: batches an epoch; a worker with fewer of its own fills up with batches that count nothing.
    """

    worker: int = 0
    num_workers: int = 1
    by_file: bool = False
    num_batches: int = 0


WHOLE = Share()


def share_of(tensors: Sequence[tf.Tensor], number, count: int) -> list[tf.Tensor]:
    """The rows of a batch that taker `number` of `count` gets, one at the least.

    Returns:
      The sliced tensors, and a scalar float32: 1, or 0 where there are more takers than rows and these rows are
      another's too, to be counted nothing.
    """
    size = tf.shape(tensors[0])[0]
    start, stop = size * number // count, size * (number + 1) // count
    counted = tf.cast(stop > start, tf.float32)
    start = tf.minimum(start, size - 1)
    return [tensor[start : tf.maximum(stop, start + 1)] for tensor in tensors] + [counted]


def share_work(
    plan: BatchPlan, widths: np.ndarray, files: np.ndarray, worker: int, num_workers: int
) -> tuple[Share, BatchPlan]:
    """Who trains on what: by file where every worker gets some, else by record.

    Args:
      plan: of the whole batches.
      widths: (N,) widths of the training images.
      files: (N,) number of the file each is in.
      worker: whose share is asked for.
      num_workers: that share the data.

    Returns:
      The worker's share, and the plan of its batches.
    """
    parts = [widths[files % num_workers == number] for number in range(num_workers)]
    if num_workers == 1 or not all(len(part) for part in parts):
        return Share(worker, num_workers, num_batches=plan.num_batches(widths)), plan
    ends = [plan.batch_size * number // num_workers for number in range(num_workers + 1)]
    plans = [replace(plan, batch_size=end - start) for start, end in pairwise(ends)]
    num_batches = max(p.num_batches(part) for p, part in zip(plans, parts, strict=True))
    return Share(worker, num_workers, by_file=True, num_batches=num_batches), plans[worker]
