"""How attention moved over an image, and how scores depend on length."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aocr.results import Prediction, Sample
from aocr.text.metrics import edit_distance

STAYED = 0.2
"""A move shorter than this share of the image's median move counts as staying in place."""
SKIPPED = 3.0
"""A move longer than this many median moves counts as a skip."""
NUM_LENGTHS = 8


class Drift(NamedTuple):
    """How attention moved from character to character in one image, or in several if added."""

    moves: int = 0
    """Number of moves from one character to the next."""
    backward: int = 0
    """Moves against the writing direction."""
    stayed: int = 0
    """Moves of almost no length: something may have been read twice."""
    skipped: int = 0
    """Moves much longer than usual: something may not have been read."""

    def __add__(self, other: Drift) -> Drift:  # type: ignore[override]
        return Drift(*map(operator.add, self, other))

    def __str__(self) -> str:
        parts = [f"{count} {name}" for name, count in self._asdict().items() if count and name != "moves"]
        return ", ".join([f"{self.moves} moves", *(parts or ["all forward"])])


def columns_of(prediction: Prediction) -> np.ndarray:
    """Return the attention of each step on the columns, summed over the bands: (T, S)."""
    weights = np.asarray(prediction.attention, np.float64)
    return weights.reshape(len(weights), prediction.bands, -1).sum(axis=1)


def attention_centres(prediction: Prediction) -> np.ndarray:
    """Return the centre of attention of each character, in memory columns: (number of characters,)."""
    weights = columns_of(prediction)[: len(prediction.characters)]
    return weights @ np.arange(weights.shape[1]) / np.maximum(weights.sum(1), 1e-9)


def _moves(prediction: Prediction) -> np.ndarray:
    """Return the moves of attention from character to character in the same line, in columns."""
    edges = np.array([(c.x0, c.x1, c.y0, c.y1) for c in prediction.characters]).reshape(-1, 4)
    columns = {"none": edges[:, 2:], "right": edges[:, :2], "left": -edges[:, 1::-1]}  # tops and bottoms, as read
    tops, bottoms = columns[prediction.turn].T
    moves = np.diff(attention_centres(prediction))
    return moves[np.diff(tops) <= (bottoms - tops)[:-1] / 2]


def attention_drift(prediction: Prediction, direction: int = 1) -> Drift:
    """Count the moves of attention over one image, by kind.

    Args:
      prediction: with its attention.
      direction: 1 for a script written from left to right, -1 from right to left.
    """
    moves = _moves(prediction) * direction
    if not len(moves):
        return Drift()
    median = max(float(np.median(np.abs(moves))), 1e-6)
    stayed = np.abs(moves) < STAYED * median
    backward = ~stayed & (moves < 0)
    skipped = moves > SKIPPED * median
    return Drift(len(moves), int(backward.sum()), int(stayed.sum()), int(skipped.sum()))


def writing_direction(samples: Sequence[Sample]) -> int:
    """Return the direction in which attention moves over most images: 1 to the right, -1 to the left."""
    return -1 if sum(np.sign(_moves(sample.prediction).sum()) for sample in samples) < 0 else 1


def cer_by_length(samples: Sequence[Sample]) -> list[tuple[int, int, int, float]]:
    """Return (shortest, longest, number of images, CER) for groups of images by label length, ascending."""
    ordered = sorted((s for s in samples if s.label), key=lambda s: len(s.label))
    cuts = np.array_split(np.array([len(s.label) for s in ordered]), min(NUM_LENGTHS, max(1, len(ordered))))
    edges = sorted({int(part[-1]) for part in cuts if len(part)})
    rows, start = [], 0
    for edge in edges:
        group = [s for s in ordered if start < len(s.label) <= edge]
        errors = sum(edit_distance(s.prediction.text, s.label) for s in group)
        rows.append((len(group[0].label), edge, len(group), errors / sum(len(s.label) for s in group)))
        start = edge
    return rows
