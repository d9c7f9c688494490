"""Scores of predictions against labels; all rates are fractions."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence

import distance

from aocr.results import EvalReport, Sample


def edit_distance(a: str, b: str) -> int:
    """Compute the Levenshtein distance in code points."""
    if not a or not b:
        return max(len(a), len(b))
    return distance.levenshtein(a, b)


def normalised_edit_distance(text: str, label: str) -> float:
    """Compute edit distance / length of the longer text, 0 to 1; 0 for two empty texts."""
    longest = max(len(text), len(label))
    return edit_distance(text, label) / longest if longest else 0.0


def not_significantly_worse(rate: float, other: float, characters: int) -> bool:
    """Whether an error rate exceeds another on the same characters by at most two standard errors (Poisson)."""
    return (rate - other) * characters <= 2.0 * math.sqrt((rate + other) * characters)


def accuracy_interval(right: int, total: int) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the accuracy `right` / `total` (Wilson, 1927)."""
    z2 = 1.96**2
    middle, spread = right + z2 / 2, 1.96 * math.sqrt(right * (total - right) / total + z2 / 4)
    return max(0.0, (middle - spread) / (total + z2)), min(1.0, (middle + spread) / (total + z2))


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


def mcnemar(correct: Sequence[bool], other: Sequence[bool]) -> tuple[int, int, float]:
    """Compare which images two models read right, by McNemar's exact test (1947).

    Returns:
      The number of images that only the first reads right, that only the second reads right, and the probability (0 to
      1) of numbers at least as different if the models were equally good.
    """
    pairs = list(zip(correct, other, strict=True))
    first, second = pairs.count((True, False)), pairs.count((False, True))
    return first, second, min(1.0, 2 * binomial_cdf(min(first, second), first + second, 0.5))


NUM_RESAMPLES = 2000
"""Data sets that a bootstrap draws."""


def cer_interval(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Compute the 95 % confidence interval of the character error rate by bootstrap over images (Efron, 1979).

    Images of the same number of errors and characters are drawn together; the seed is fixed. None without errors or
    where all images are alike: drawing them again shows nothing new.
    """
    import numpy as np

    counts = Counter((edit_distance(s.prediction.text, s.label), len(s.label)) for s in samples)
    if len(counts) < 2 or not any(errors for errors, _ in counts):
        return None
    kinds = np.array(sorted(counts), float)  # (K, 2) errors and characters of an image
    shares = np.array([counts[errors, length] for errors, length in kinds.tolist()]) / len(samples)
    draws = np.random.default_rng(0).multinomial(len(samples), shares, NUM_RESAMPLES)  # (NUM_RESAMPLES, K)
    errors, characters = (draws @ kinds).T
    low, high = np.percentile(errors / np.maximum(characters, 1), (2.5, 97.5))
    return float(low), float(high)


def alnum_lower(text: str) -> str:
    """Reduce `text` to lower-case letters, digits and marks (Unicode M*), as scene-text benchmarks do."""
    return "".join(c for c in text.casefold() if c.isalnum() or unicodedata.category(c).startswith("M"))


def upstream_score(text: str, label: str, use_distance: bool = True) -> float:
    """Compute the score of aocr 0.7.6 for one image: 1 - edit distance / label length, at least 0.

    Without `use_distance` or with an empty label: 1 if the texts are equal, otherwise 0.
    """
    if not use_distance or not label:
        return float(text == label)
    return 1.0 - min(1.0, edit_distance(text, label) / len(label))


def mean(values: Sequence[float]) -> float:
    """Compute the arithmetic mean; NaN if there are no values."""
    return math.fsum(values) / len(values) if values else float("nan")


def perplexity(samples: Sequence[Sample]) -> float:
    """Compute exp(-log-likelihood / symbols) over the samples with a likelihood; EOS counts as a symbol."""
    scored = [s for s in samples if not math.isnan(s.log_likelihood)]
    symbols = sum(len(s.label) + 1 for s in scored)
    if not symbols:
        return float("nan")
    return math.exp(min(700.0, -math.fsum(s.log_likelihood for s in scored) / symbols))


REJECTED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
"""Shares of rejected images in the table of accuracy against rejection."""
CALIBRATION_BINS = 15


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Compute the mean distance between confidence and accuracy over equal-width confidence bins (Guo et al., 2017).

    0 (of predictions with confidence 0.8, 8 in 10 are right) to 1; NaN without predictions.
    """
    bins: dict[int, list[float]] = {}
    for confidence, right in zip(confidences, correct, strict=True):
        number = min(int(confidence * CALIBRATION_BINS), CALIBRATION_BINS - 1)
        bins.setdefault(number, []).append(float(right) - confidence)
    total = math.fsum(abs(math.fsum(gaps)) for gaps in bins.values())
    return total / len(confidences) if confidences else float("nan")


def rejection_table(confidences: Sequence[float], correct: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """List (share, accuracy on the other images if the least confident `share` is rejected).

    Shares of less than half an image are left out.
    """
    order = sorted(range(len(correct)), key=lambda i: -confidences[i])
    table = []
    for share in REJECTED:
        num_accepted = len(order) - round(share * len(order))
        if 0 < num_accepted < len(order):
            table.append((share, mean([float(correct[i]) for i in order[:num_accepted]])))
    return tuple(table)


def _uncalibrated_error(samples: Sequence[Sample], correct: Sequence[bool]) -> float:
    values = [s.prediction.uncalibrated for s in samples]
    return float("nan") if any(map(math.isnan, values)) else expected_calibration_error(values, correct)


def score(
    samples: Sequence[Sample],
    *,
    use_distance: bool = True,
    images_per_second: float = float("nan"),
    skipped: dict[str, int] | None = None,
) -> EvalReport:
    """Compute all scores; `upstream_accuracy` is based on edit distance if `use_distance`, otherwise on whole words."""
    pairs = [(s.prediction.text, s.label) for s in samples]
    label_chars = sum(len(label) for _, label in pairs)
    errors = sum(edit_distance(text, label) for text, label in pairs)
    cer_without_labels = float(errors > 0) if pairs else float("nan")
    confidences, correct = [s.prediction.confidence for s in samples], [s.correct for s in samples]
    return EvalReport(
        num_images=len(pairs),
        word_accuracy=mean([float(text == label) for text, label in pairs]),
        word_accuracy_alnum=mean([float(alnum_lower(text) == alnum_lower(label)) for text, label in pairs]),
        cer=errors / label_chars if label_chars else cer_without_labels,
        one_minus_ned=mean([1.0 - normalised_edit_distance(text, label) for text, label in pairs]),
        upstream_accuracy=mean([upstream_score(text, label, use_distance) for text, label in pairs]),
        mean_confidence=mean(confidences),
        ece=expected_calibration_error(confidences, correct),
        ece_uncalibrated=_uncalibrated_error(samples, correct),
        rejection=rejection_table(confidences, correct),
        perplexity=perplexity(samples),
        images_per_second=images_per_second,
        skipped=dict(skipped or {}),
    )
