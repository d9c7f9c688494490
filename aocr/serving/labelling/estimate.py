"""Estimate from a random sample how many unseen texts are wrong."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

SIGNIFICANCE = 0.05
"""Probability that the true number of errors exceeds the bound."""


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
