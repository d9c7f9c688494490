"""Which image is shown next (the least certain, every tenth time a random one), and how many of the rest are wrong."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

RANDOM_EVERY = 10
"""One of this many images is chosen at random, since the least certain ones say nothing about the others."""

Rank = tuple[float, ...]
"""Sort key of an image, the least certain first."""
SIGNIFICANCE = 0.05
"""Probability that the true number of errors exceeds the bound."""


@dataclass(frozen=True)
class QueuedImage:
    """An image to show, by its index."""

    index: int
    at_random: bool
    """Whether it was chosen at random."""


class Queue:
    """The order in which images are shown. The same seed and decisions give the same order.

    `open` are the indexes of the images that wait for a decision; `num_shown` counts those shown in earlier runs.
    """

    def __init__(self, ranks: Sequence[Rank], open: Sequence[int], seed: int = 0, num_shown: int = 0):
        self.ranks = ranks
        self._open = set(open)
        self._random, self._num_shown = random.Random(seed), num_shown
        self._next: list[QueuedImage] = []
        self._skipped: list[QueuedImage] = []

    @property
    def skipped(self) -> set[int]:
        """Images that were skipped and wait for a decision."""
        return {image.index for image in self._skipped}

    @property
    def unseen(self) -> set[int]:
        """Images that wait for a decision and were not skipped."""
        return self._open - self.skipped

    def current(self) -> QueuedImage | None:
        """Return the image to show until it is decided or skipped; None if all are decided."""
        if not self._next and self._open:
            self._next.append(self._pick())
        return self._next[-1] if self._next else None

    def upcoming(self, count: int) -> list[int]:
        """Return up to `count` images that are likely to follow the current one; one chosen at random may intervene."""
        waiting = [image.index for image in self._next[-2::-1]]
        rest = self.unseen - {image.index for image in self._next}
        return [*waiting, *heapq.nsmallest(count, rest, key=lambda index: (self.ranks[index], index))][:count]

    def show_next(self, indexes: Collection[int], count: int) -> list[int]:
        """Choose up to `count` of some images at random, to be shown after the current one; return them."""
        rest = sorted(set(indexes) - {image.index for image in self._next})
        chosen = self._random.sample(rest, min(count, len(rest)))
        self._next[-1:-1] = [QueuedImage(index, False) for index in chosen]
        return chosen

    def _pick(self) -> QueuedImage:
        unseen = self.unseen
        if not unseen:
            return self._skipped[0]
        self._num_shown += 1
        if self._num_shown % RANDOM_EVERY == 0:
            return QueuedImage(self._random.choice(sorted(unseen)), True)
        return QueuedImage(min(unseen, key=lambda index: (self.ranks[index], index)), False)

    def decide(self, indexes: Sequence[int]) -> None:
        """Remove images that have been decided."""
        self._open.difference_update(indexes)
        self._skipped = [image for image in self._skipped if image.index not in indexes]
        self._next = [image for image in self._next if image.index not in indexes]

    def skip(self, image: QueuedImage) -> None:
        """Postpone an image until all others are decided."""
        self.decide([image.index])
        self._open.add(image.index)
        self._skipped.append(image)

    def reopen(self, images: Sequence[QueuedImage]) -> None:
        """Put back images whose decision was undone; a single one is shown at once."""
        indexes = [image.index for image in images]
        self.decide(indexes)
        self._open.update(indexes)
        if len(images) == 1:
            self._next.append(images[0])


@dataclass(frozen=True)
class Estimate:
    """An estimate of the errors among unseen images."""

    images: int
    """Unseen images."""
    sample: int
    """Images in the random sample."""
    wrong: int
    """Errors in the sample."""
    errors: int | None
    """Most likely number of errors among the unseen images; None without a sample."""
    at_most: int
    """Upper bound of that number, with 95 % confidence."""


def estimate_errors(images: int, sample: int, wrong: int) -> Estimate:
    """Estimate the errors among `images`, given `wrong` errors in a sample taken without replacement.

    The bound is the exact one-sided bound of the hypergeometric distribution, as Clopper and Pearson (1934) derived
    it for the binomial one.
    """
    if not sample:
        return Estimate(images, sample, wrong, None, images)

    def is_unlikely(errors: int) -> bool:
        return _hypergeometric_cdf(wrong, sample, errors + wrong, images + sample) < SIGNIFICANCE

    at_most = bisect_left(range(1, images + 1), True, key=is_unlikely)  # the probability falls as errors grow
    return Estimate(images, sample, wrong, round(images * wrong / sample), at_most)


def _hypergeometric_cdf(wrong: int, sample: int, errors: int, total: int) -> float:
    """Return the probability of at most `wrong` errors in a sample, if `errors` of all `total` images are wrong."""

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    counts = range(max(0, sample - (total - errors)), min(wrong, errors, sample) + 1)
    log_ways = [log_choose(errors, k) + log_choose(total - errors, sample - k) for k in counts]
    return math.fsum(math.exp(value - log_choose(total, sample)) for value in log_ways)
