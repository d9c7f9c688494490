"""Temperature scaling (Guo et al., 2017, "On calibration of modern neural networks"), for whole texts.

A text's confidence is the product of its symbols' probabilities, softmax(logits / temperature). The temperature is
the one at which confidence best foretells whether the text is right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from aocr.data.pipeline import Batch, Batches
from aocr.model.recognizer import Recognizer
from aocr.results import Prediction, Sample
from aocr.text.charset import Charset

TEMPERATURES = np.geomspace(0.125, 8.0, 97)
"""Temperatures that are tried; 1 is in the middle."""
PRIOR = 0.5
"""Standard deviation of ln T that is expected: two networks in three between 0.6 and 1.6."""


def fit_temperature(log_probs: np.ndarray, correct: np.ndarray) -> float:
    """The likeliest temperature, given how often texts of each confidence are right.

    Before any text is read, ln T is taken for normal around 0 with deviation `PRIOR`: some dozens of texts say little
    of T, and as many without a mistake would ask for certainty.

    Args:
      log_probs: (N, G), ln of each text's probability at each of `TEMPERATURES`.
      correct: (N,) bool.
    """
    log_probs = np.minimum(log_probs, -1e-7)
    surprise = -np.where(correct[:, None], log_probs, np.log(-np.expm1(log_probs))).sum(0)
    return float(TEMPERATURES[np.argmin(surprise + 0.5 * (np.log(TEMPERATURES) / PRIOR) ** 2)])


class Calibration(NamedTuple):
    """What reading a validation set told.

    Attributes:
      temperature: fitted to it.
      samples: its images as they were read, their confidence at this temperature.
    """

    temperature: float
    samples: list[Sample]


class TemperedReader:
    """Reads batches, and tells how probable each text is at each of `TEMPERATURES`.

    Args:
      model: to read with.
      charset: of the model.
    """

    def __init__(self, model: Recognizer, charset: Charset):
        self._charset = charset
        self._read = tf.function(
            lambda images, widths: model.read(images, widths, temperatures=tuple(TEMPERATURES)),
            reduce_retracing=True,
            autograph=False,
        )

    def read(self, batch: Batch) -> tuple[list[str], np.ndarray]:
        """B texts, and (B, G) ln of their probabilities."""
        reading = self._read(batch.images, batch.widths)
        return [self._charset.decode(ids) for ids in reading.ids.numpy()], reading.log_probs[:, 0].numpy()

    def calibrate(self, batches: Batches) -> Calibration:
        """Read a validation set and fit the temperature to it."""
        parts, texts, labels = [], [], []
        for batch in batches.sorted_batches():
            found, log_probs = self.read(batch)
            parts.append(log_probs)
            texts += found
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
    """Confidence of texts at one of `TEMPERATURES`: (N, G) -> N values."""
    return np.exp(log_probs[:, np.argmin(abs(TEMPERATURES - temperature))]).tolist()


def calibrate(model: Recognizer, charset: Charset, batches: Batches) -> Calibration:
    """Read a validation set and fit the temperature to it."""
    return TemperedReader(model, charset).calibrate(batches)
