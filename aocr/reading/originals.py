"""A person's own images made ready to be copied from: where each character stands, by the attention of a reader."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from aocr.config import ModelConfig, ReadConfig
from aocr.data.datasets import Dataset
from aocr.data.records import Example, read_examples
from aocr.errors import ImageError
from aocr.reading.predictor import Predictor
from aocr.results import Prediction
from aocr.synth.like.originals import Original

MOST = 2000
"""Images copied from, at the most, spread evenly over the data: they are held in memory."""


def reading_like(labels: Sequence[str], config: ModelConfig) -> ReadConfig:
    """Reads only texts of the symbols and the lengths that labels have; any text where the model can write no label."""
    writable = (label for label in labels if label and len(label) < config.max_steps)
    able = [label for label in writable if not config.charset.missing(label)]
    if not able:
        return ReadConfig()
    symbols = "".join(re.escape(symbol) for symbol in sorted(set("".join(able))))
    lengths = [len(label) for label in able]
    return ReadConfig(pattern=f"[{symbols}]{{{min(lengths)},{max(lengths)}}}")


def _spread(dataset: Dataset, usable: np.ndarray) -> Iterator[Example]:
    """Usable records with a text, `MOST` of them at the most."""
    usable = usable & np.array([bool(label) for label in dataset.summary.labels])
    numbers = np.flatnonzero(usable)
    wanted = set(numbers[:: -(-len(numbers) // MOST)].tolist()) if len(numbers) else set()
    records = (record for path in dataset.paths for record in read_examples(path))
    return (record for number, record in enumerate(records) if number in wanted)


def find_originals(dataset: Dataset, predictor: Predictor, usable: np.ndarray | None = None) -> list[Original]:
    """Images, large ones shrunk, and labels, with the place of each character where the reader reads them rightly.

    Args:
      dataset: of images with labels.
      predictor: the reader.
      usable: (N,) bool, the records to take; None: all.
    """
    records = list(_spread(dataset, np.ones(len(dataset.summary.labels), bool) if usable is None else usable))
    read = predictor.predict_each([record.image for record in records])
    return [
        Original(record.image, record.label, _centres(result, record.label)).shrunk()
        for record, result in zip(records, read, strict=True)
    ]


def _centres(result: Prediction | ImageError, label: str) -> tuple[float, ...] | None:
    """The middle of each character, pixels from the left, where the label was read."""
    if isinstance(result, ImageError) or result.text != label:
        return None
    return tuple((char.x0 + char.x1) / 2 for char in result.characters)
