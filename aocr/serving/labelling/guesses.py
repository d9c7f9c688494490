"""What the page fills in for each image, and how sure the model is of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from aocr import files
from aocr.errors import ConfigError, ImageError
from aocr.reading.predictor import load, load_network
from aocr.results import Prediction, Sample
from aocr.serving.labelling.queue import Rank
from aocr.text.metrics import normalised_edit_distance


@dataclass(frozen=True)
class Guess:
    """What is probably written in an image.

    Attributes:
      text: that is filled in: the reading, or in an audit the label that stands.
      sureness: of the text: the reading's confidence, or in an audit what `label_sureness` gives.
      rank: what images are ordered by, the least sure first.
      reading: what the model reads, without attention.
    """

    text: str
    sureness: float
    rank: Rank
    reading: Prediction


def guess_reading(reading: Prediction) -> Guess:
    """The guess where no label stands: the reading."""
    light = dataclasses.replace(reading, attention=None)
    return Guess(reading.text, reading.confidence, (reading.confidence,), light)


def guess_label(sample: Sample) -> Guess:
    """The guess where a label stands: that label.

    Ranked by its sureness in hundredths; among those of the same hundredth by how much of the texts differs.
    """
    reading = dataclasses.replace(sample.prediction, attention=None)
    sureness = label_sureness(sample)
    rank = (round(sureness, 2), -normalised_edit_distance(reading.text, sample.label), sureness)
    return Guess(sample.label, sureness, rank, reading)


def label_sureness(sample: Sample) -> float:
    """By how much the model finds a label likelier than what it reads itself.

    Returns:
      The label's probability, less that of the reading where the two differ: -1 (sure of something else) to 1 (sure
      of the label). A label that the model cannot express has the probability 0.
    """
    likelihood = 0.0 if math.isnan(sample.log_likelihood) else math.exp(sample.log_likelihood)
    return likelihood - (0.0 if sample.correct else sample.prediction.uncalibrated)


def read_images(
    model_dir: str, paths: Sequence[str], progress: Callable[[Iterable], Iterable] = iter
) -> list[Guess | ImageError]:
    """The guess for each image, or why it cannot be read.

    Args:
      model_dir: of the model; `words` is the reader in the box.
      paths: of the images.
      progress: called with the results as they come, to show how far it is.

    Raises:
      CheckpointError: the model cannot be used.
    """
    predictor = load(model_dir)
    results = progress(predictor.predict_each(paths))
    return [result if isinstance(result, ImageError) else guess_reading(result) for result in results]


def read_labels(model_dir: str, annotations: str, data_base_dir: str | None = None) -> list[tuple[str, Guess]]:
    """Images that have labels already: the path as it is written, and the guess.

    Args:
      model_dir: of the model; `words` is the reader in the box.
      annotations: the annotation file, or a folder of images named after their text.
      data_base_dir: where paths of the file may start.

    Raises:
      AnnotationError, DatasetError: there is no such file, or no line of it can be used.
      CheckpointError: the model cannot be used.
      ConfigError: what is named is a file of records or an ONNX export.
    """
    if files.is_graph(model_dir):
        reason = "an ONNX export does not tell how likely a label is. Give the model folder."
        raise ConfigError("--model-dir", model_dir, reason)
    predictor = load_network(model_dir)
    from aocr.data.datasets import open_dataset
    from aocr.data.records import is_tfrecord
    from aocr.reading.evaluator import evaluate

    if files.exists(annotations) and not files.is_folder(annotations) and is_tfrecord(annotations):
        reason = "is a file of records. Give the annotation file that it was built from."
        raise ConfigError("--audit", annotations, reason)
    with open_dataset([annotations], data_base_dir) as dataset:
        _, samples = evaluate(predictor, dataset)
    return [(sample.name, guess_label(sample)) for sample in samples]
