"""Results of reading and scoring, as immutable records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

NEVER = -1e9
"""Log-probability of a forbidden symbol."""


@dataclass(frozen=True)
class Alternative:
    """Another reading of the same image."""

    text: str
    """The reading."""
    confidence: float
    """Its probability, 0 to 1."""


@dataclass(frozen=True)
class Character:
    """A character that was read, and its position."""

    char: str
    """The character."""
    confidence: float
    """Its probability given the previous characters, 0 to 1."""
    x0: float
    """Left edge in pixels of the original image."""
    x1: float
    """Right edge."""
    y0: float = 0.0
    """Upper edge."""
    y1: float = 0.0
    """Lower edge."""


@dataclass(frozen=True)
class Prediction:
    """The reading of one image."""

    text: str
    """The reading, NFC."""
    confidence: float
    """Probability of the text including EOS, 0 to 1, at the temperature that was fitted after training."""
    characters: tuple[Character, ...] = ()
    """One entry per character of `text`."""
    attention: Any = field(default=None, repr=False)
    """float32 array (T, S): weights of T = len(text) + 1 steps over S memory columns; each row sums to 1. The last
    step is EOS, missing if the text was cut at the model's length limit. The columns of several bands are in
    succession, from the top."""
    image_width: int = 0
    """Width of the original image in pixels."""
    column_width: float = 0.0
    """Pixels of the original image per memory column: column s of a band covers [s * column_width, (s + 1) *
    column_width) of the width of the image as it was read; beyond that is padding."""
    alternatives: tuple[Alternative, ...] = ()
    """Other readings, best first."""
    uncalibrated: float = float("nan")
    """The confidence at temperature 1."""
    image_height: int = 0
    """Height of the original image in pixels."""
    bands: int = 1
    """Number of bands."""
    turn: str = "none"
    """Direction in which the image was turned before it was read: none, left or right."""
    slope: int = 0
    """Degrees, counterclockwise, by which the image was rotated before it was read, so that its text was level."""
    cut: bool = False
    """Whether the text continues beyond the model's length limit."""


@dataclass(frozen=True)
class Sample:
    """One scored image with its label and prediction."""

    name: str
    """File name or record number of the image."""
    label: str
    """The label, NFC."""
    prediction: Prediction
    """The prediction."""
    image: bytes = b""
    """The encoded image (png, jpeg, ...)."""
    log_likelihood: float = float("nan")
    """Log-probability of the label including EOS (teacher forced), at most 0; NaN if the model cannot write the
    label."""

    @property
    def correct(self) -> bool:
        """Whether the text equals the label exactly."""
        return self.prediction.text == self.label


@dataclass(frozen=True)
class EvalReport:
    """Scores of a model on a dataset. All rates are fractions, 0 to 1."""

    num_images: int
    """Number of scored images."""
    word_accuracy: float
    """Share of images read exactly."""
    word_accuracy_alnum: float
    """Word accuracy that compares letters and digits only, ignoring case."""
    cer: float
    """Character error rate: edit distances of all images / number of label characters."""
    one_minus_ned: float
    """1-NED: mean over images of 1 - edit distance / length of the longer of label and text."""
    upstream_accuracy: float
    """The score that aocr 0.7.6 prints."""
    mean_confidence: float
    """Mean confidence."""
    ece: float
    """Expected calibration error of the confidence."""
    ece_uncalibrated: float
    """Expected calibration error at temperature 1."""
    rejection: tuple[tuple[float, float], ...]
    """(share, word accuracy) pairs: the accuracy on the rest if the least confident `share` is set aside."""
    perplexity: float
    """exp of the mean negative log-likelihood per symbol of the labels, EOS included."""
    images_per_second: float
    """Reading speed without start-up."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> number of records that could not be scored."""
    word_accuracy_interval: tuple[float, float] | None = None
    """95 % confidence interval of `word_accuracy`; None: not computed."""
    cer_interval: tuple[float, float] | None = None
    """95 % confidence interval of `cer`; None: not computed."""


class Reading(NamedTuple):
    """The readings of a batch: arrays or tensors of B images, T decoding steps, S columns, K beams, G temperatures."""

    ids: Any
    """(B, T) int32 of the best text; values after its EOS are undefined."""
    probabilities: Any
    """(B, T) float32 of each chosen symbol given the previous ones, at the last temperature."""
    attention: Any
    """(B, T, S) float32."""
    confidence: Any
    """(B,) float32, product of the probabilities up to and including EOS."""
    log_probs: Any
    """(B, K, G) float32, log-probability of each beam at each temperature, best first; NEVER or less: no such beam."""
    beam_ids: Any
    """(B, K, T) int32 of all beams."""
