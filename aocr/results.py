"""What reading and scoring return: plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

NEVER = -1e9
"""Log-probability of what may not be."""


@dataclass(frozen=True)
class Alternative:
    """Another reading of the same image.

    Attributes:
      text: the reading.
      confidence: its probability, 0 to 1.
    """

    text: str
    confidence: float


@dataclass(frozen=True)
class Character:
    """One read character and where it stands.

    Attributes:
      char: the character.
      confidence: its probability given the ones before it, 0 to 1.
      x0, x1: left and right edge in pixels of the original image, from the attention.
    """

    char: str
    confidence: float
    x0: float
    x1: float


@dataclass(frozen=True)
class Prediction:
    """What was read in one image.

    Attributes:
      text: the reading, NFC.
      confidence: probability of the text and of its end, the product of the steps up to EOS, 0 to 1; with the
        temperature that was fitted after training.
      characters: one entry a character of `text`.
      attention: float32 array (T, S): weights of T = len(text) + 1 steps (the last is EOS) over S memory
        columns; each row sums to 1. A text cut at the model's limit has no EOS step.
      image_width: width of the original image in pixels.
      column_width: pixels of the original image that one memory column spans: column s covers
        [s * column_width, (s + 1) * column_width); what lies right of image_width is padding.
      alternatives: other readings, best first.
      uncalibrated: the confidence as the network gives it, without the temperature.
    """

    text: str
    confidence: float
    characters: tuple[Character, ...] = ()
    attention: Any = field(default=None, repr=False)
    image_width: int = 0
    column_width: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    uncalibrated: float = float("nan")


@dataclass(frozen=True)
class Sample:
    """One scored image: what was read against what is written there.

    Attributes:
      name: where the image comes from (file name or record number).
      label: what is written there, NFC.
      prediction: what was read.
      image: the encoded image (png, jpeg, ...) as it stood in the dataset.
      log_likelihood: ln of the probability of the label and its end (teacher forced), at most 0; NaN where
        the label cannot be expressed by the model's charset or is longer than its limit.
    """

    name: str
    label: str
    prediction: Prediction
    image: bytes = b""
    log_likelihood: float = float("nan")

    @property
    def correct(self) -> bool:
        """Whether the text equals the label to the letter."""
        return self.prediction.text == self.label


@dataclass(frozen=True)
class EvalReport:
    """Scores of a model on a dataset. All rates are fractions, 0 to 1, not per cent.

    Attributes:
      num_images: number of images scored.
      word_accuracy: share of images read to the letter.
      word_accuracy_alnum: the same, comparing only letters and digits, without case.
      cer: character error rate, edit distance summed over all images / number of label characters.
      one_minus_ned: mean over images of 1 - edit distance / longer of label and text (1-NED).
      upstream_accuracy: the score that aocr 0.7.6 prints.
      mean_confidence: mean confidence.
      ece: expected calibration error of the confidence; `ece_uncalibrated` without the temperature.
      rejection: (share, accuracy) pairs: the word accuracy of the rest when the least sure `share` of the images
        are set aside.
      perplexity: exp of the mean negative log-likelihood a symbol (EOS counted) of the labels.
      images_per_second: reading speed, start-up not counted.
      skipped: reason -> number of records that could not be scored.
    """

    num_images: int
    word_accuracy: float
    word_accuracy_alnum: float
    cer: float
    one_minus_ned: float
    upstream_accuracy: float
    mean_confidence: float
    ece: float
    ece_uncalibrated: float
    rejection: tuple[tuple[float, float], ...]
    perplexity: float
    images_per_second: float
    skipped: dict[str, int] = field(default_factory=dict)


class Reading(NamedTuple):
    """What was read in a batch: arrays, or tensors.

    T steps were done: until every text had ended, or the limit. G temperatures, K beams.

    Attributes:
      ids: (B, T) int32 of the best text; after its EOS the values mean nothing.
      probabilities: (B, T) float32, of each chosen symbol given the ones before it, at the last temperature.
      attention: (B, T, S) float32.
      confidence: (B,) float32, product of the probabilities up to and with EOS.
      log_probs: (B, K, G) float32, ln of each beam's probability at each temperature; the best beam first.
        NEVER or less: there was no such beam.
      beam_ids: (B, K, T) int32 of all beams.
    """

    ids: Any
    probabilities: Any
    attention: Any
    confidence: Any
    log_probs: Any
    beam_ids: Any
