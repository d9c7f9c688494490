"""The confidence above which readings of unlabelled images are trusted as labels."""

from __future__ import annotations

import math

import numpy as np

MAX_WRONG = 0.1
"""Maximum share of wrong readings among the trusted ones."""
MISS = 0.2
"""Probability that more are wrong, over random validation sets."""
STEP = 1.5
"""Growth factor of the number of readings from one test to the next."""


def binomial_cdf(wrong: int, total: int, share: float) -> float:
    """Return the probability of at most `wrong` errors among `total` readings, each wrong with probability `share`."""
    if not 0 < share < 1:
        return float(share <= 0)
    terms = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        + k * math.log(share) + (total - k) * math.log1p(-share)
        for k in range(wrong + 1)
    )  # fmt: skip
    return min(1.0, sum(map(math.exp, terms)))


def find_threshold(confidences: np.ndarray, correct: np.ndarray) -> float | None:
    """Return the lowest threshold above which at most MAX_WRONG of the readings are wrong, with probability 1 - MISS.

    The most confident readings are tested first, then more of them, until a test cannot exclude that too many are
    wrong (Clopper and Pearson, 1934). As the order is fixed, the tests need no correction for each other
    (fixed-sequence testing; Angelopoulos et al., 2021, "Learn then test"). The reading whose confidence is the
    threshold is not counted: given it, the readings above are a random sample.

    Args:
      confidences: (N,) of readings of validation images.
      correct: (N,) bool.

    Returns:
      The threshold, or None if not even the most confident readings can be trusted or there are too few.
    """
    order = np.sort(confidences)[::-1]
    count = math.ceil(math.log(MISS) / math.log1p(-MAX_WRONG)) + 1
    threshold = None
    while count <= len(order):
        candidate = order[count - 1]
        is_above = confidences >= candidate
        total = int(is_above.sum()) - 1
        wrong = min(total, int((~correct[is_above]).sum()))
        if binomial_cdf(wrong, total, MAX_WRONG) > MISS:
            break
        threshold = float(candidate)
        if count == len(order):
            break
        count = min(len(order), math.ceil(STEP * count))
    return threshold
