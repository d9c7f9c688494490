"""Choose whether images of upright text are turned to the left or to the right before they are read."""

from __future__ import annotations

from itertools import chain

import numpy as np

from aocr.config import TURNS
from aocr.data import automatic
from aocr.data.datasets import Dataset
from aocr.data.records import Example, read_examples
from aocr.folder.words import NAME
from aocr.reading import predictor
from aocr.report.pictures import open_image
from aocr.text.metrics import edit_distance
from aocr.training.monitor import log

NUM_SAMPLES = 40
"""Number of images that are read both ways."""
MAX_CER = 0.7
"""Character error rate of the reader that comes with aocr above which turned images seem not to be upright text."""


def turn_for(data: Dataset) -> str:
    """Return how the images of a dataset are turned: none, left or right; log it if they are."""
    if not automatic.is_upright(np.array([len(label) for label in data.summary.labels]), data.summary.sizes):
        return "none"
    errors = {turn: _error_rate(_sample(data), turn) for turn in ("left", "right")}
    turn = min(errors, key=errors.__getitem__)
    if errors[turn] > MAX_CER:
        turn = "none"
        log.warning(
            "Most images are higher than wide. If their text runs downwards, give --turn left; if upwards, right."
        )
    else:
        log.info("Most images are higher than wide: they are turned to the %s (--turn none: not at all)", turn)
    return turn


def _sample(data: Dataset) -> list[Example]:
    """Return up to `NUM_SAMPLES` records with a text of more than two characters, spread over the dataset."""
    indices = [i for i, label in enumerate(data.summary.labels) if len(label) >= automatic.MIN_LINE_LENGTH]
    stride = max(1, len(indices) // NUM_SAMPLES)
    chosen = set(indices[::stride][:NUM_SAMPLES])
    records = chain.from_iterable(map(read_examples, data.paths))
    return [record for i, record in enumerate(records) if i in chosen]


def _error_rate(records: list[Example], turn: str) -> float:
    """Return the character error rate of the reader that comes with aocr on turned images."""
    images = [open_image(record.image).rotate(90 * TURNS[turn], expand=True) for record in records]
    results = predictor.load(NAME).predict(images)
    distances = [
        edit_distance(result.text.casefold(), record.label.casefold())
        for result, record in zip(results, records, strict=True)
    ]
    return float(np.sum(distances)) / sum(len(record.label) for record in records)
