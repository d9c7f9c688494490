"""Choose whether images of upright text are turned to the left or to the right before they are read."""

from __future__ import annotations

import numpy as np

from aocr.data import automatic
from aocr.data.datasets import Dataset, spread
from aocr.data.records import Example
from aocr.folder.words import NAME
from aocr.reading.predictor import Predictor, load
from aocr.reading.views import View
from aocr.report.pictures import load_image
from aocr.text.metrics import edit_distance
from aocr.training.monitor import log

NUM_SAMPLES = 40
"""Number of images that are read both ways."""
MAX_CER = 0.7
"""Character error rate of the reader that comes with aocr above which turned images seem not to be upright text."""

UNREADABLE = (
    "Most images are higher than wide, and words reads them neither way turned. They are %s. Text that runs downwards "
    "and letters above each other need --turn left, text that runs upwards --turn right."
)


def turn_for(data: Dataset, start: str = "none") -> str:
    """Return how the images of a dataset are turned: none, left or right; log it if they are.

    `start` is the turn of the model that the training starts from; images of upright text are turned like its own.
    """
    lengths = np.array([len(label) for label in data.summary.labels])
    if not automatic.is_upright(lengths, data.summary.sizes):
        return "none"
    if start != "none":
        log.info("Most images are higher than wide: they are turned to the %s, as those of --init-from", start)
        return start
    records = list(data.records(spread(lengths >= automatic.MIN_LINE_LENGTH, NUM_SAMPLES)))
    predictor = load(NAME)
    errors = {turn: _error_rate(records, predictor, turn) for turn in ("left", "right")}
    turn = min(errors, key=errors.__getitem__)
    if errors[turn] > MAX_CER:
        turn = "left" if automatic.is_column(lengths, data.summary.sizes) else "none"
        log.warning(UNREADABLE, "turned to the left" if turn == "left" else "not turned")
    else:
        log.info("Most images are higher than wide: they are turned to the %s (--turn none: not at all)", turn)
    return turn


def _error_rate(records: list[Example], predictor: Predictor, turn: str) -> float:
    """Return the character error rate on turned images."""
    results = predictor.read_views(
        [load_image(record.image, "a record") for record in records], [View(turn=turn)] * len(records)
    )
    distances = [
        edit_distance(result.text.casefold(), record.label.casefold())
        for result, record in zip(results, records, strict=True)
    ]
    return float(np.sum(distances)) / sum(len(record.label) for record in records)
