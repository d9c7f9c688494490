"""Locate the characters in the user's images by a reader's attention, for synthetic look-alikes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from aocr.config import ModelConfig, ReadConfig
from aocr.data.datasets import Dataset, spread
from aocr.errors import ImageError
from aocr.reading.predictor import Predictor
from aocr.results import Prediction
from aocr.synth.like.originals import Original

MAX_ORIGINALS = 2000
"""Maximum number of images used, spread evenly over the dataset; they are held in memory."""


def reading_like(labels: Sequence[str], config: ModelConfig) -> ReadConfig:
    """Return a ReadConfig that allows only the symbols and lengths of the labels that the model can write."""
    labels = [label for label in labels if 0 < len(label) < config.max_steps and not config.charset.missing(label)]
    if not labels:
        return ReadConfig()
    symbols = "".join(re.escape(symbol) for symbol in sorted(set("".join(labels))))
    lengths = [len(label) for label in labels]
    return ReadConfig(pattern=f"[{symbols}]{{{min(lengths)},{max(lengths)}}}")


def find_originals(
    dataset: Dataset,
    predictor: Predictor,
    usable: np.ndarray | None = None,
    track: Callable[[Iterable[Any], int, str], Iterator[Any]] = lambda items, total, name: iter(items),
) -> list[Original]:
    """Return labelled images, large ones scaled down, with character positions if they are read correctly.

    `usable`, (N,) bool, marks the records to use; None: all. `track` shows the progress.
    """
    has_text = np.array([bool(label) for label in dataset.summary.labels])
    chosen = spread(has_text if usable is None else usable & has_text, MAX_ORIGINALS)
    records = list(dataset.records(chosen))
    results = predictor.predict_each([record.image for record in records])
    return [
        Original(record.image, record.label, _edges(result, record.label)).shrunk()
        for record, result in zip(records, track(results, len(records), "reading the images"), strict=True)
    ]


def _edges(result: Prediction | ImageError, label: str) -> tuple[tuple[float, float], ...] | None:
    """Return the left and right edge of each character in pixels, or None if the image was misread."""
    if isinstance(result, ImageError) or result.text != label:
        return None
    return tuple((char.x0, char.x1) for char in result.characters)
