"""Scoring a model on a dataset."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from aocr.data.automatic import network_widths
from aocr.data.batching import plan_batches
from aocr.data.datasets import Dataset
from aocr.data.pipeline import Batch, Batches
from aocr.reading.network import NetworkReader
from aocr.reading.predictions import to_predictions
from aocr.reading.predictor import Predictor
from aocr.results import EvalReport, Prediction, Reading, Sample
from aocr.text.charset import Charset
from aocr.text.metrics import score


class Workers(Protocol):
    """Processes that share the reading.

    Attributes:
      worker: number of this one, from 0.
      num_workers: how many there are.
    """

    worker: int
    num_workers: int

    def exchange(self, value: object) -> list:
        """What each worker gave, in their order."""
        ...


class Evaluator:
    """Reads every image of a dataset and compares it with its label.

    Args:
      reader: of the model.
      batches: of the dataset.
      charset: of the model.
      use_distance: whether the score of aocr 0.7.6 counts edit distance or whole words.
      workers: that share the reading; None: this process reads all.
    """

    def __init__(
        self,
        reader: NetworkReader,
        batches: Batches,
        charset: Charset,
        use_distance: bool = True,
        workers: Workers | None = None,
    ):
        self.reader, self.batches, self.charset, self.use_distance = reader, batches, charset, use_distance
        self.workers = workers if workers and workers.num_workers > 1 else None
        self.seconds = 0.0
        self.num_timed = 0

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """(number of the record, scored image), in the order of the batches; this worker's part."""
        warm = False
        share = (self.workers.worker, self.workers.num_workers) if self.workers else ()
        for batch in self.batches.sorted_batches(*share):
            if not warm:
                self.reader.read(batch.images, batch.widths)  # the first call builds the graph
                warm = True
            start = time.perf_counter()
            reading = self.reader.read(batch.images, batch.widths)
            self.seconds += time.perf_counter() - start
            self.num_timed += len(reading.confidence)
            yield from self._pair(batch, reading)

    def _pair(self, batch: Batch, reading: Reading) -> Iterator[tuple[int, Sample]]:
        likelihoods = self.reader.log_likelihood(batch.images, batch.widths, batch.tokens, batch.targets, batch.weights)
        scales = batch.scales.numpy()
        widths = np.round(batch.widths.numpy() * scales).astype(int).tolist()
        predictions = to_predictions(reading, scales, widths, self.charset, self.reader.num_alternatives)
        fields = (part.numpy() for part in (batch.index, batch.label, batch.comment, batch.record))
        for index, label, comment, record, prediction, likelihood in zip(
            *fields, predictions, likelihoods, strict=True
        ):
            label = label.decode("utf-8")
            expressible = not self.charset.missing(label) and len(label) <= self.batches.config.max_prediction
            sample = Sample(
                name=comment.decode("utf-8", "replace") or f"record {index + 1}",
                label=label,
                prediction=prediction,
                image=record,
                log_likelihood=float(likelihood) if expressible else float("nan"),
            )
            yield int(index), sample

    def gathered(self) -> list[Sample]:
        """The scored images of all workers, without pictures."""
        mine = [sample for _, sample in self.samples()]
        if self.workers is None:
            return mine
        rows = [[s.label, s.prediction.text, s.prediction.confidence, s.log_likelihood] for s in mine]
        return [
            Sample("", label, Prediction(text, confidence, uncalibrated=confidence), log_likelihood=likelihood)
            for part in self.workers.exchange(rows)
            for label, text, confidence, likelihood in part
        ]

    def report(self, samples: list[Sample], skipped: dict[str, int] | None = None) -> EvalReport:
        """Scores of `samples`, with the reading speed seen while they were made."""
        speed = self.num_timed / self.seconds if self.seconds else float("nan")
        return score(samples, use_distance=self.use_distance, images_per_second=speed, skipped=skipped)


def evaluate(
    predictor: Predictor, dataset: Dataset, *, part: str = "all", use_distance: bool = True, keep_source: bool = False
) -> tuple[EvalReport, list[Sample]]:
    """Score a model on a dataset.

    Args:
      predictor: to read with.
      dataset: images and labels.
      part: `all`, or the `training` or `validation` part of the hash split.
      use_distance: whether the score of aocr 0.7.6 counts edit distance or whole words.
      keep_source: whether samples keep the encoded image and the attention.

    Returns:
      Scores, and the samples in the dataset's order.
    """
    config = predictor.config
    widths = network_widths(dataset.summary.sizes, config)
    plan = plan_batches(widths, predictor.batch_size, config)
    batches = Batches(dataset.paths, config, plan, dataset.summary, part, keep_source=True)
    evaluator = Evaluator(predictor.reader, batches, config.charset, use_distance)  # type: ignore[arg-type]
    found = {i: sample if keep_source else _light(sample) for i, sample in evaluator.samples()}
    samples = [found[i] for i in sorted(found)]
    return evaluator.report(samples, dataset.skipped), samples


def _light(sample: Sample) -> Sample:
    return dataclasses.replace(sample, image=b"", prediction=dataclasses.replace(sample.prediction, attention=None))
