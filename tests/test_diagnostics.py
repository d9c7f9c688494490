"""How attention moved, and scores by length."""

import itertools

import numpy as np
import pytest

from aocr.report.diagnostics import Drift, attention_centres, attention_drift, cer_by_length, writing_direction
from aocr.results import Character, Prediction, Sample


def moved(*columns: int, text: str | None = None, label: str = "") -> Sample:
    """A text whose characters have their attention on these columns, one each, and EOS on the last."""
    text = text if text is not None else "x" * len(columns)
    characters = tuple(Character(char, 1.0, 0, 1) for char in text)
    prediction = Prediction(text, 1.0, characters, attention=np.eye(40, dtype=np.float32)[[*columns, 39]])
    return Sample("a.png", label, prediction)


@pytest.mark.parametrize(
    "columns, drift",
    [
        ((1, 4, 7, 10), Drift(3)),
        ((1, 4, 2, 5, 8), Drift(4, backward=1)),
        ((1, 4, 4, 7, 10), Drift(4, stayed=1)),
        ((1, 4, 7, 20, 23), Drift(4, skipped=1)),
        ((1,), Drift()),
        ((), Drift()),
    ],
)
def test_moves(columns, drift):
    assert attention_drift(moved(*columns).prediction) == drift


def test_centres_are_means_without_the_end_of_the_text():
    sample = moved(1, 4)
    assert attention_centres(sample.prediction).tolist() == [1, 4]
    half = Prediction("x", 1.0, (Character("x", 1.0, 0, 1),), attention=np.array([[0.5, 0.0, 0.5], [1, 0, 0]]))
    assert attention_centres(half).tolist() == [1.0]


def test_script_written_to_the_left():
    samples = [moved(20, 15, 10, 5), moved(9, 6, 3), moved(1, 2)]
    assert writing_direction(samples) == -1
    assert sum((attention_drift(s.prediction, -1) for s in samples), Drift()) == Drift(6, backward=1)
    assert writing_direction([]) == 1
    assert str(Drift(6, backward=1)) == "6 moves, 1 backward" and str(Drift(2)) == "2 moves, all forward"


def test_cer_by_length():
    samples = [moved(text="a" * n, label="a" * n) for n in range(1, 31)]
    samples.append(moved(text="a" * 20, label="a" * 30))
    samples.append(moved(text="", label=""))  # a CER needs a label
    rows = cer_by_length(samples)
    assert sum(count for _, _, count, _ in rows) == 31
    assert [low for low, *_ in rows] == sorted(low for low, *_ in rows)
    assert all(high < low for (_, high, *_), (low, *_) in itertools.pairwise(rows))
    assert [cer for *_, cer in rows[:-1]] == [0.0] * (len(rows) - 1)
    last = [s for s in samples if rows[-1][0] <= len(s.label)]
    assert rows[-1][3] == pytest.approx(10 / sum(len(s.label) for s in last))
    assert cer_by_length([moved(text="a", label="")]) == []
