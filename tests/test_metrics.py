"""Scores against values computed by hand."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from aocr.results import Prediction, Sample
from aocr.text import metrics

ALPHABET = "abcAB1é\u0301ಕ್字😀 "


def sample(text, label, confidence=0.5, log_likelihood=float("nan")) -> Sample:
    return Sample("a.png", label, Prediction(text, confidence), log_likelihood=log_likelihood)


def plain_distance(a: str, b: str) -> int:
    """The textbook recursion, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(diagonal + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def random_texts(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(ALPHABET, k=rng.randrange(12))) for _ in range(count)]


def test_significantly_worse_error_rates():
    # 3 - 0 <= 2 sqrt(3) = 3.5; 5 - 0 > 4.5; 17 - 8 <= 2 sqrt(25) = 10; 20 - 8 > 10.6
    for errors, others, expected in (
        (5, 9, True),
        (0, 0, True),
        (3, 0, True),
        (5, 0, False),
        (17, 8, True),
        (20, 8, False),
    ):
        assert metrics.not_significantly_worse(errors / 170, others / 170, 170) is expected
    assert not metrics.not_significantly_worse(0.06, 0.04, 17000)
    assert metrics.not_significantly_worse(float("nan"), 0.0, 0) is False


@pytest.mark.parametrize(
    ("a", "b", "steps"),
    [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("é", "e\u0301", 2), ("😀", "😁", 1)],
)
def test_edit_distance_by_hand(a, b, steps):
    assert metrics.edit_distance(a, b) == metrics.edit_distance(b, a) == steps


def test_edit_distance_of_random_texts():
    texts = random_texts(60)
    for a, b in zip(texts, reversed(texts), strict=True):
        assert metrics.edit_distance(a, b) == plain_distance(a, b)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Don't 10%!", "dont10"), ("?!", ""), ("Straße", "strasse"), ("ÉCOLE", "école"), ("शब्द।", "शब्द")],
)
def test_letters_and_digits_in_lower_case(text, expected):
    assert metrics.alnum_lower(text) == expected


@pytest.mark.parametrize(
    ("text", "label", "with_distance", "without"),
    [
        ("abcd", "abcd", 1.0, 1.0),
        ("abcx", "abcd", 0.75, 0.0),
        ("abcdxx", "abcd", 0.5, 0.0),
        ("zzzzzzzz", "ab", 0.0, 0.0),
        ("", "ab", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("a", "", 0.0, 0.0),
    ],
)
def test_upstream_score(text, label, with_distance, without):
    assert metrics.upstream_score(text, label) == with_distance
    assert metrics.upstream_score(text, label, use_distance=False) == without


def test_perplexity_of_a_fair_die():
    rolls = [sample("", "abc", log_likelihood=-4 * math.log(6)), sample("", "", log_likelihood=-math.log(6))]
    assert metrics.perplexity(rolls) == pytest.approx(6.0)


def test_perplexity_ignores_samples_without_likelihood():
    known = [sample("", "a", log_likelihood=-2 * math.log(3))]
    assert metrics.perplexity([*known, sample("", "long label")]) == pytest.approx(3.0)
    assert math.isnan(metrics.perplexity([sample("", "a")]))
    assert math.isfinite(metrics.perplexity([sample("b", "a", log_likelihood=float("-inf"))]))


def test_score_by_hand():
    samples = [
        sample("abcd", "abcd", 0.9, -5 * math.log(2)),
        sample("Abcx", "abcd", 0.6, -5 * math.log(2)),
        sample("don't", "DONT", 0.3, -5 * math.log(2)),
        sample("", "", 1.0, -math.log(2)),
    ]
    report = metrics.score(samples, images_per_second=12.5, skipped={"missing file": 2})
    assert report.num_images == 4
    assert report.word_accuracy == 2 / 4
    assert report.word_accuracy_alnum == 3 / 4
    assert report.cer == (0 + 2 + 5 + 0) / 12
    assert report.one_minus_ned == pytest.approx((1 + (1 - 2 / 4) + (1 - 5 / 5) + 1) / 4)
    assert report.upstream_accuracy == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert report.mean_confidence == pytest.approx(0.7)
    assert report.perplexity == pytest.approx(2.0)
    assert report.images_per_second == 12.5
    assert report.skipped == {"missing file": 2}
    assert metrics.score(samples, use_distance=False).upstream_accuracy == 2 / 4


def test_empty_texts():
    report = metrics.score([sample("", "")])
    assert (report.word_accuracy, report.cer, report.one_minus_ned, report.upstream_accuracy) == (1, 0, 1, 1)
    report = metrics.score([sample("abc", "")])
    assert (report.word_accuracy, report.cer, report.one_minus_ned, report.upstream_accuracy) == (0, 1, 0, 0)


def test_no_samples():
    report = metrics.score([])
    values = dataclasses.asdict(report)
    assert values.pop("num_images") == 0 and values.pop("skipped") == {}
    assert values.pop("rejection") == ()
    assert values.pop("word_accuracy_interval") is None is values.pop("cer_interval")
    assert all(math.isnan(value) for value in values.values()), values


def test_wilson_interval():
    """Values of scipy.stats.binomtest(k, n).proportion_ci(0.95, "wilson")."""
    for right, total, low, high in ((17, 20, 0.6396, 0.9476), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)):
        assert metrics.accuracy_interval(right, total) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize(("wrong", "total", "share"), [(0, 16, 0.1), (3, 40, 0.1), (7, 7, 0.5), (2, 300, 0.02)])
def test_the_binomial_is_exact(wrong, total, share):
    exact = sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(wrong + 1))
    assert metrics.binomial_cdf(wrong, total, share) == pytest.approx(exact, rel=1e-9)


def test_mcnemar_is_exact():
    """Values of statsmodels.stats.contingency_tables.mcnemar(table, exact=True) and scipy.stats.binomtest."""
    for first, second, p in (
        (0, 0, 1.0),
        (1, 0, 1.0),
        (6, 0, 0.03125),
        (2, 10, 0.03857),
        (5, 5, 1.0),
        (121, 59, 4.434e-6),
    ):
        correct = [True] * first + [False] * second + [True, False]
        other = [False] * first + [True] * second + [True, False]
        assert metrics.mcnemar(correct, other) == (first, second, pytest.approx(p, rel=1e-3))


def test_interval_of_the_error_rate_covers_it():
    """About 95 of 100 times, where each of 200 texts of 5 characters has 0 to 5 errors."""
    rng, covered = random.Random(0), 0
    for _ in range(100):
        samples = [
            sample("x" * (errors := rng.choice([0, 0, 0, 0, 5])) + "a" * (5 - errors), "aaaaa") for _ in range(200)
        ]
        low, high = metrics.cer_interval(samples)
        assert 0 <= low <= metrics.score(samples).cer <= high <= 1
        covered += low <= 0.2 <= high
    assert 90 <= covered <= 99
    assert metrics.cer_interval(samples) == (low, high)


def test_no_interval_where_drawing_again_shows_nothing():
    assert metrics.cer_interval([sample("a", "a"), sample("ab", "ab")]) is None
    assert metrics.cer_interval([sample("a", "b")] * 3) is None
    assert metrics.cer_interval([sample("a", ""), sample("", "")])[1] > 0
