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
"""Pixels between the possible widths of a bucket."""
BUCKET_COST = 0.3
"""Cost of another bucket, in batches of its width: its last batch is only partly filled."""


@dataclass(frozen=True)
class BatchPlan:
    """How records are grouped into batches: by width, so that narrow images need little padding."""

    edges: tuple[int, ...]
    """Width of each bucket in pixels at the network's input, ascending; its batches are padded to it."""
    batch_size: int
    """Number of images in a batch."""

    def num_batches(self, widths: np.ndarray) -> int:
        """Count the batches that images of these widths make in one epoch."""
        bucket = np.searchsorted(self.edges, widths, side="left")
        return int(sum(-(-count // self.batch_size) for count in np.bincount(bucket)))


def plan_batches(widths: np.ndarray, batch_size: int, config: ModelConfig) -> BatchPlan:
    """Choose the bucket edges with the lowest cost for (N,) widths in pixels at the network's input.

    The cost is the number of pixels of all padded images, plus `BUCKET_COST` for each bucket.
    """
    if config.traits.fixed_width:
        return BatchPlan((config.network_width,), batch_size)
    steps = -(-widths // EDGE_STEP)
    num_up_to = np.concatenate([[0], np.bincount(steps)[1:].cumsum()])  # images of at most that many steps
    lowest_cost, start = np.zeros(len(num_up_to)), np.zeros(len(num_up_to), int)
    for edge in range(1, len(num_up_to)):
        images = num_up_to[edge] - num_up_to[:edge]
        costs = lowest_cost[:edge] + edge * (images + BUCKET_COST * batch_size * (images > 0))
        start[edge] = np.argmin(costs)
        lowest_cost[edge] = costs[start[edge]]
    edges, edge = [], len(num_up_to) - 1
    while num_up_to[edge]:
        edges.append(edge * EDGE_STEP)
        edge = int(start[edge])
    return BatchPlan(tuple(reversed(edges)), batch_size)


class Share(NamedTuple):
    """The part of the training data that a worker reads."""

    worker: int = 0
    """Index of the worker."""
    num_workers: int = 1
    """Number of workers that share the data."""
    by_file: bool = False
    """Each worker reads whole files; otherwise each reads every file and takes its rows of every batch."""
    num_batches: int = 0
    """Batches per epoch; a worker that has fewer adds batches of weight 0."""


WHOLE = Share()


def share_of(tensors: Sequence[tf.Tensor], number, count: int) -> list[tf.Tensor]:
    """Return the rows of a batch, one or more, for replica `number` of `count`, and a scalar float32 weight.

    The weight is 1, or 0 if this replica has no row of its own and is given another replica's.
    """
    size = tf.shape(tensors[0])[0]
    start, stop = size * number // count, size * (number + 1) // count
    weight = tf.cast(stop > start, tf.float32)
    start = tf.minimum(start, size - 1)
    return [tensor[start : tf.maximum(stop, start + 1)] for tensor in tensors] + [weight]


def share_work(
    plan: BatchPlan, widths: np.ndarray, files: np.ndarray, worker: int, num_workers: int
) -> tuple[Share, BatchPlan]:
    """Divide the training data among workers: by file if every worker gets images, otherwise by record.

    `plan` is that of the whole batches; (N,) `widths` and `files` are the width of each training image and the index
    of its file. Returns the worker's share, and the plan of its batches.
    """
    parts = [widths[files % num_workers == number] for number in range(num_workers)]
    if num_workers == 1 or not all(len(part) for part in parts):
        return Share(worker, num_workers, num_batches=plan.num_batches(widths)), plan
    ends = [plan.batch_size * number // num_workers for number in range(num_workers + 1)]
    plans = [replace(plan, batch_size=end - start) for start, end in pairwise(ends)]
    num_batches = max(p.num_batches(part) for p, part in zip(plans, parts, strict=True))
    return Share(worker, num_workers, by_file=True, num_batches=num_batches), plans[worker]
