"""How many of the images that nobody looked at are wrong, from a random sample of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

DOUBT = 0.05
"""How often the truth may lie above the bound."""


@dataclass(frozen=True)
class Estimate:
    """What a random sample tells of the rest.

    Attributes:
      images: in the rest.
      sample: images in the sample.
      wrong: of these.
      errors: in the rest, the likeliest number; None without a sample.
      at_most: errors in the rest, a bound that holds in 95 of 100 cases.
    """

    images: int
    sample: int
    wrong: int
    errors: int | None
    at_most: int


def estimate_errors(images: int, sample: int, wrong: int) -> Estimate:
    """What `wrong` among `sample` images, drawn at random without putting back, tells of the `images` left.

    The bound is exact: the hypergeometric distribution's, one-sided, as Clopper and Pearson (1934) have it for the
    binomial one. With more errors in the rest, so few in the sample would come up in less than 5 of 100 cases.
    """
    if not sample:
        return Estimate(images, sample, wrong, None, images)
    low, high = 0, images  # bisection: the chance falls as the errors in the rest grow
    while low < high:
        middle = (low + high + 1) // 2
        if _chance(wrong, sample, middle + wrong, images + sample) >= DOUBT:
            low = middle
        else:
            high = middle - 1
    return Estimate(images, sample, wrong, round(images * wrong / sample), low)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _chance(wrong: int, sample: int, errors: int, total: int) -> float:
    """The chance that a sample holds at most `wrong` of the `errors` among `total` images."""
    fewest = max(0, sample - (total - errors))
    ways = _log_choose(total, sample)
    return math.fsum(
        math.exp(_log_choose(errors, k) + _log_choose(total - errors, sample - k) - ways)
        for k in range(fewest, min(wrong, errors, sample) + 1)
    )
