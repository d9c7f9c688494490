"""The confidence above which readings of unlabelled images are trusted as labels."""

from __future__ import annotations

import math

import numpy as np

MAX_WRONG = 0.1
"""Share of the trusted readings that may be wrong."""
MISS = 0.2
"""Probability that more of them are, over the choice of the validation images."""
STEP = 1.5
"""Factor between the numbers of validation images that are tested one after the other."""


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

    The surest readings are tested first, then more and more of them, until a test cannot exclude that too many are
    wrong (Clopper and Pearson, 1934). As the order is fixed, no test needs a correction for the others
    (fixed-sequence testing; Angelopoulos et al., 2021, "Learn then test"). The reading whose confidence is the
    threshold is not counted: given it, the surer ones are a random sample.

    Args:
      confidences: (N,) of readings of validation images.
      correct: (N,) bool.

    Returns:
      None: not even the surest readings can be trusted, or there are too few.
    """
    order = np.sort(confidences)[::-1]
    count = math.ceil(math.log(MISS) / math.log1p(-MAX_WRONG)) + 1
    threshold = None
    while count <= len(order):
        candidate = order[count - 1]
        surer = confidences >= candidate
        total = int(surer.sum()) - 1
        wrong = min(total, int((~correct[surer]).sum()))
        if binomial_cdf(wrong, total, MAX_WRONG) > MISS:
            break
        threshold = float(candidate)
        if count == len(order):
            break
        count = min(len(order), math.ceil(STEP * count))
    return threshold
