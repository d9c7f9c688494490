"""Scores of read text against labels. Pure Python; all rates are fractions."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import distance

from aocr.results import EvalReport, Sample


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in code points."""
    if not a or not b:
        return max(len(a), len(b))
    return distance.levenshtein(a, b)


def normalised_edit_distance(text: str, label: str) -> float:
    """Edit distance / length of the longer text, 0 (equal; also two empty texts) to 1."""
    longest = max(len(text), len(label))
    return edit_distance(text, label) / longest if longest else 0.0


def not_significantly_worse(rate: float, other: float, characters: int) -> bool:
    """Whether one error rate is not above another of the same characters by more than chance explains.

    Errors are taken for rare events (Poisson); two standard errors of the difference are let pass.
    """
    return (rate - other) * characters <= 2.0 * math.sqrt((rate + other) * characters)


def accuracy_interval(right: int, total: int) -> tuple[float, float]:
    """Between which shares the true one lies, 95 % sure, where `right` of `total` were right (Wilson, 1927)."""
    z2 = 1.96**2
    middle, spread = right + z2 / 2, 1.96 * math.sqrt(right * (total - right) / total + z2 / 4)
    return max(0.0, (middle - spread) / (total + z2)), min(1.0, (middle + spread) / (total + z2))


def alnum_lower(text: str) -> str:
    """Only the letters and digits of `text`, without case: how scene text sets are compared.

    Marks (Unicode categories M*) stay: in many scripts they are part of a letter.
    """
    return "".join(c for c in text.casefold() if c.isalnum() or unicodedata.category(c).startswith("M"))


def upstream_score(text: str, label: str, use_distance: bool = True) -> float:
    """The score aocr 0.7.6 gives one image: 1 - edit distance / label length, at least 0.

    Without `use_distance`: 1 where the texts are equal, else 0. An empty label scores 1 or 0.
    """
    if not use_distance or not label:
        return float(text == label)
    return 1.0 - min(1.0, edit_distance(text, label) / len(label))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else float("nan")


def perplexity(samples: Sequence[Sample]) -> float:
    """exp(-log-likelihood / symbols) over the samples that have a likelihood; EOS counts as a symbol."""
    scored = [s for s in samples if not math.isnan(s.log_likelihood)]
    symbols = sum(len(s.label) + 1 for s in scored)
    if not symbols:
        return float("nan")
    return math.exp(min(700.0, -math.fsum(s.log_likelihood for s in scored) / symbols))


REJECTED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
"""Shares of images set aside in the table of accuracy against rejection."""
CALIBRATION_BINS = 15


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool]) -> float:
    """Mean distance between confidence and accuracy over equal bins of confidence (Guo et al., 2017).

    Args:
      confidences: 0 to 1.
      correct: whether each was right.

    Returns:
      0 (what is told at 80 % is right 8 times in 10) to 1; NaN of nothing.
    """
    bins: dict[int, list[float]] = {}
    for confidence, right in zip(confidences, correct, strict=True):
        at = min(int(confidence * CALIBRATION_BINS), CALIBRATION_BINS - 1)
        bins.setdefault(at, []).append(float(right) - confidence)
    total = math.fsum(abs(math.fsum(gaps)) for gaps in bins.values())
    return total / len(confidences) if confidences else float("nan")


def rejection_table(confidences: Sequence[float], correct: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """(share, accuracy of the rest) when the least sure `share` of the images are set aside.

    Shares of less than half an image are left out.
    """
    order = sorted(range(len(correct)), key=lambda i: -confidences[i])
    kept = [(share, len(order) - round(share * len(order))) for share in REJECTED]
    kept = [(share, count) for share, count in kept if 0 < count < len(order)]
    return tuple((share, mean([float(correct[i]) for i in order[:count]])) for share, count in kept)


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
    """Scores of `samples`.

    Args:
      samples: read images with their labels.
      use_distance: whether `upstream_accuracy` counts edit distance or whole words.
      images_per_second: passed on.
      skipped: passed on.
    """
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
