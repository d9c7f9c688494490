"""Temperature scaling (Guo et al., 2017, "On calibration of modern neural networks"), for whole texts.

A text's confidence is the product of its symbols' probabilities, softmax(logits / temperature). The temperature is
the one at which confidence best predicts whether the text is correct.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.data.pipeline import Batch, Batches
from aocr.model.recognizer import Recognizer
from aocr.results import Prediction, Sample
from aocr.text.charset import Charset
from aocr.text.metrics import binomial_cdf

TEMPERATURES = np.geomspace(0.125, 8.0, 97)
"""Temperatures to choose from; 1 is in the middle."""
PRIOR = 0.5
"""Prior standard deviation of ln T: T is between 0.6 and 1.6 for two networks in three."""
MAX_WRONG = 0.1
"""Maximum share of wrong readings among the trusted ones."""
MISS = 0.2
"""Probability that more are wrong, over random validation sets."""
GROWTH = 1.5
"""Growth factor of the number of readings from one test to the next."""


def fit_temperature(log_probs: np.ndarray, correct: np.ndarray) -> float:
    """Return the most likely temperature, given which texts are correct.

    The prior of ln T is normal around 0 with deviation `PRIOR`: a few dozen texts say little about T, and if all are
    correct, the likelihood alone would favour the lowest temperature.

    Args:
      log_probs: (N, G), log-probability of each text at each of `TEMPERATURES`.
      correct: (N,) bool.
    """
    log_probs = np.minimum(log_probs, -1e-7)
    surprise = -np.where(correct[:, None], log_probs, np.log(-np.expm1(log_probs))).sum(0)
    return float(TEMPERATURES[np.argmin(surprise + 0.5 * (np.log(TEMPERATURES) / PRIOR) ** 2)])


class Calibration(NamedTuple):
    """The result of reading a validation set."""

    temperature: float
    """The fitted temperature."""
    samples: list[Sample]
    """The readings of its images, with their confidence at this temperature."""


class TemperedReader:
    """Reads batches with a model and computes the probability of each text at each of `TEMPERATURES`."""

    def __init__(self, model: Recognizer, charset: Charset):
        self._charset = charset
        self._read = tf.function(
            lambda images, widths: model.read(images, widths, temperatures=tuple(TEMPERATURES)),
            reduce_retracing=True,
            autograph=False,
        )

    def read(self, batch: Batch) -> tuple[list[str], np.ndarray]:
        """Return the B texts of a batch and their log-probabilities, (B, G)."""
        reading = self._read(batch.images, batch.widths)
        return [self._charset.decode(ids) for ids in reading.ids.numpy()], reading.log_probs[:, 0].numpy()

    def calibrate(self, batches: Batches) -> Calibration:
        """Read a validation set and fit the temperature to it."""
        parts, texts, labels = [], [], []
        for batch in batches.sorted_batches():
            batch_texts, log_probs = self.read(batch)
            parts.append(log_probs)
            texts += batch_texts
            labels += [label.decode("utf-8") for label in batch.label.numpy()]
        log_probs = np.concatenate(parts)
        correct = [text == label for text, label in zip(texts, labels, strict=True)]
        temperature = fit_temperature(log_probs, np.array(correct))
        samples = [
            Sample("", label, Prediction(text, confidence))
            for label, text, confidence in zip(labels, texts, confidences_at(temperature, log_probs), strict=True)
        ]
        return Calibration(temperature, samples)


def confidences_at(temperature: float, log_probs: np.ndarray) -> list[float]:
    """Return the confidences of N texts at one of `TEMPERATURES`; `log_probs` is (N, G)."""
    return np.exp(log_probs[:, np.argmin(abs(TEMPERATURES - temperature))]).tolist()


def find_threshold(confidences: np.ndarray, correct: np.ndarray) -> float | None:
    """Return the lowest threshold above which at most MAX_WRONG of the readings are wrong, with probability 1 - MISS.

    The most confident readings are tested first, then more of them, until a test cannot exclude that too many are
    wrong (Clopper and Pearson, 1934). As the order is fixed, the tests need no correction for each other
    (fixed-sequence testing; Angelopoulos et al., 2021, "Learn then test"). The reading whose confidence is the
    threshold is not counted: given it, the readings above are a random sample.

    Args:
      confidences: (N,) of readings of validation images.
      correct: (N,) bool.

    Returns:
      The threshold, or None if not even the most confident readings can be trusted or there are too few.
    """
    order = np.sort(confidences)[::-1]
    count = math.ceil(math.log(MISS) / math.log1p(-MAX_WRONG)) + 1
    threshold = None
    while count <= len(order):
        candidate = order[count - 1]
        is_above = confidences >= candidate
        total = int(is_above.sum()) - 1
        wrong = min(total, int((~correct[is_above]).sum()))
        if binomial_cdf(wrong, total, MAX_WRONG) > MISS:
            break
        threshold = float(candidate)
        if count == len(order):
            break
        count = min(len(order), math.ceil(GROWTH * count))
    return threshold
