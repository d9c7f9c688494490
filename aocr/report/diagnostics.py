"""How attention walked over an image, and how scores depend on length."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aocr.results import Prediction, Sample
from aocr.text.metrics import edit_distance

STAYED = 0.2
"""A step shorter than this share of the image's usual step stays where it was."""
SKIPPED = 3.0
"""A step longer than this many usual steps skips something."""
NUM_LENGTHS = 8


class Drift(NamedTuple):
    """How attention moved from character to character. Sums of several images add up.

    Attributes:
      moves: number of moves, one less than the characters.
      backward: moves against the direction of writing.
      stayed: moves that went nowhere: a place read twice.
      skipped: moves over a gap much wider than usual: a place perhaps not read.
    """

    moves: int = 0
    backward: int = 0
    stayed: int = 0
    skipped: int = 0

    def __add__(self, other: Drift) -> Drift:  # type: ignore[override]
        return Drift(*map(operator.add, self, other))

    def __str__(self) -> str:
        odd = ", ".join(f"{count} {name}" for name, count in self._asdict().items() if count and name != "moves")
        return f"{self.moves} moves" + (f", {odd}" if odd else ", all onward")


def attention_centres(prediction: Prediction) -> np.ndarray:
    """(number of characters,) centre of attention of each character, in memory columns."""
    if prediction.attention is None:
        return np.zeros(0)
    weights = np.asarray(prediction.attention, np.float64)[: len(prediction.characters)]
    return weights @ np.arange(weights.shape[1]) / np.maximum(weights.sum(1), 1e-9) if len(weights) else np.zeros(0)


def attention_drift(prediction: Prediction, direction: int = 1) -> Drift:
    """How attention moved over one image.

    Args:
      prediction: with its attention.
      direction: 1 where the script runs to the right, -1 where it runs to the left.
    """
    moves = np.diff(attention_centres(prediction)) * direction
    if not len(moves):
        return Drift()
    usual = max(float(np.median(np.abs(moves))), 1e-6)
    stayed = np.abs(moves) < STAYED * usual
    return Drift(
        len(moves), int((~stayed & (moves < 0)).sum()), int(stayed.sum()), int((moves > SKIPPED * usual).sum())
    )


def writing_direction(samples: Sequence[Sample]) -> int:
    """1 or -1: which way attention moves over most of the images."""
    centres = [attention_centres(s.prediction) for s in samples]
    return -1 if sum(np.sign(c[-1] - c[0]) for c in centres if len(c) > 1) < 0 else 1


def cer_by_length(samples: Sequence[Sample]) -> list[tuple[int, int, int, float]]:
    """(shortest, longest, number of images, CER) for groups of images with labels of like length, short to long."""
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
