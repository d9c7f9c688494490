"""From which confidence on readings may be learnt from: so that few of them are wrong."""

from __future__ import annotations

import math

import numpy as np

MAX_WRONG = 0.1
"""Share of the trusted readings that may be wrong."""
MISS = 0.2
"""Probability that more of them are, over the choice of the held-out images."""
STEP = 1.5
"""Each number of held-out images that is tried is so many times the one before."""


def binomial_cdf(wrong: int, total: int, share: float) -> float:
    """Probability that of `total` readings at most `wrong` are wrong, where each is with probability `share`."""
    if not 0 < share < 1:
        return float(share <= 0)
    terms = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        + k * math.log(share) + (total - k) * math.log1p(-share)
        for k in range(wrong + 1)
    )  # fmt: skip
    return min(1.0, sum(map(math.exp, terms)))


def find_threshold(confidences: np.ndarray, correct: np.ndarray) -> float | None:
    """The lowest confidence from which on at most `MAX_WRONG` of all readings are wrong, but with probability `MISS`.

    The surest readings are tried first, then more and more, until a test fails that the share of wrong ones among as
    sure readings is above the bound (Clopper and Pearson, 1934). As the order is fixed before, no test is paid for
    twice (fixed-sequence testing; Angelopoulos et al., 2021, "Learn then test"). Given the least confidence of a
    number of readings, those above it are a sample of all above it: so that one reading is not counted.

    Args:
      confidences: (N,) of held-out readings.
      correct: (N,) bool.

    Returns:
      None: not even the surest can be trusted, or there are too few.
    """
    order = np.sort(confidences)[::-1]
    count, found = math.ceil(math.log(MISS) / math.log1p(-MAX_WRONG)) + 1, None
    while count <= len(order):
        threshold = order[count - 1]
        surer = confidences >= threshold
        total = int(surer.sum()) - 1
        if binomial_cdf(min(total, int((~correct[surer]).sum())), total, MAX_WRONG) > MISS:
            break
        found = float(threshold)
        if count == len(order):
            break
        count = min(len(order), math.ceil(STEP * count))
    return found
