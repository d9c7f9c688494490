"""The text that the page suggests for each image, and how certain the model is of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aocr import files
from aocr.config import DEFAULT_SOURCE, SourceOptions
from aocr.errors import ConfigError, ImageError
from aocr.reading.predictor import load, load_network
from aocr.results import Prediction, Sample
from aocr.serving.labelling.queue import Rank
from aocr.text.metrics import normalised_edit_distance


@dataclass(frozen=True)
class Guess:
    """The text suggested for an image."""

    text: str
    """The model's reading; in an audit, the existing label."""
    score: float
    """How certain the model is of the text: the reading's confidence; in an audit, that of `guess_label`."""
    rank: Rank
    """Sort key, the least certain first."""
    reading: Prediction
    """What the model reads, without attention."""


def guess_reading(reading: Prediction) -> Guess:
    """Suggest the model's reading."""
    return Guess(reading.text, reading.confidence, (reading.confidence,), dataclasses.replace(reading, attention=None))


def guess_label(sample: Sample) -> Guess:
    """Suggest the existing label, ranked by its score in hundredths, then by its distance from the reading.

    The score is the label's probability, less that of the reading if the two differ: from -1 (the model is certain
    of another text) to 1 (certain of the label). A label with symbols unknown to the model has probability 0.
    """
    likelihood = 0.0 if math.isnan(sample.log_likelihood) else math.exp(sample.log_likelihood)
    score = likelihood - (0.0 if sample.correct else sample.prediction.uncalibrated)
    rank = (round(score, 2), -normalised_edit_distance(sample.prediction.text, sample.label), score)
    return Guess(sample.label, score, rank, sample.prediction)


def read_images(
    model_dir: str, paths: Sequence[str], progress: Callable[[Iterable], Iterable] = iter
) -> list[Guess | ImageError]:
    """Read images; the result of an invalid one is its ImageError. `progress` wraps the iterator, as tqdm does.

    Raises:
      CheckpointError: the model cannot be used.
    """
    results = progress(load(model_dir).predict_each(paths))
    return [result if isinstance(result, ImageError) else guess_reading(result) for result in results]


def read_labels(
    model_dir: str, annotations: str, options: SourceOptions = DEFAULT_SOURCE, allow_records: bool = False
) -> list[tuple[str, Guess]]:
    """Compare existing labels with the model's readings; return (path as in the annotation file, guess) for each.

    Records have no paths, only comments or numbers: they are refused unless `allow_records`.

    Raises:
      AnnotationError, DatasetError: the file does not exist, or has no usable line.
      CheckpointError: the model cannot be used.
      ConfigError: the labels are in a record file, or the model is an ONNX export.
    """
    if files.is_graph(model_dir):
        reason = "an ONNX export does not give the probability of a label. Use the model folder."
        raise ConfigError("--model-dir", model_dir, reason)
    predictor = load_network(model_dir)
    from aocr.data.datasets import open_dataset  # these import TensorFlow
    from aocr.data.records import is_tfrecord
    from aocr.reading.evaluator import evaluate

    is_file = files.exists(annotations) and not files.is_folder(annotations)
    if is_file and not allow_records and is_tfrecord(annotations):
        raise ConfigError("--audit", annotations, "is a record file. Use the annotation file it was built from.")
    with open_dataset([annotations], options) as dataset:
        _, samples = evaluate(predictor, dataset)
    return [(sample.name, guess_label(sample)) for sample in samples]
