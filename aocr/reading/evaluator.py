"""Score a model on a dataset."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from aocr.data.automatic import network_widths
from aocr.data.batching import plan_batches
from aocr.data.datasets import Dataset
from aocr.data.pipeline import Batch, Batches
from aocr.reading.network import NetworkReader
from aocr.reading.predictions import to_predictions
from aocr.reading.predictor import Predictor
from aocr.reading.reader import Pixels
from aocr.results import EvalReport, Prediction, Reading, Sample
from aocr.text.metrics import accuracy_interval, cer_interval, score


class Evaluator:
    """Reads the images of a dataset and compares them with their labels.

    Args:
      use_distance: whether the score of aocr 0.7.6 is based on edit distance; if not, on whole words.
      workers: the Cluster of processes that share the reading; None: this process reads everything.
      predictor: also reads in the views that it uses; the batches must keep the encoded images.
    """

    def __init__(
        self,
        reader: NetworkReader,
        batches: Batches,
        use_distance: bool = True,
        workers: Any = None,
        predictor: Predictor | None = None,
    ):
        self.reader, self.batches, self.use_distance, self.predictor = reader, batches, use_distance, predictor
        self.workers = workers if workers and workers.num_workers > 1 else None
        self.seconds = 0.0
        self.num_timed = 0

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """Yield this worker's share of (record index, scored image), in the order of the batches."""
        is_first = True
        share = (self.workers.worker, self.workers.num_workers) if self.workers else ()
        for batch in self.batches.sorted_batches(*share):
            if is_first:
                self.reader.read(batch.images, batch.widths)  # traces the graph
                is_first = False
            start = time.perf_counter()
            reading = self.reader.read(batch.images, batch.widths)
            self.seconds += time.perf_counter() - start
            self.num_timed += len(reading.confidence)
            yield from self._samples_of(batch, reading)

    def _samples_of(self, batch: Batch, reading: Reading) -> Iterator[tuple[int, Sample]]:
        likelihoods = self.reader.log_likelihood(batch.images, batch.widths, batch.tokens, batch.targets, batch.weights)
        config = self.batches.config
        pixels = Pixels(batch.images.numpy(), batch.widths.numpy(), batch.scales.numpy())
        predictions = to_predictions(reading, pixels, self.reader)
        indices, labels, comments, images = (
            part.numpy() for part in (batch.index, batch.label, batch.comment, batch.record)
        )
        if self.predictor:
            start = time.perf_counter()
            self.predictor.try_views(images, predictions)
            self.seconds += time.perf_counter() - start
        for i, prediction in enumerate(predictions):
            label = labels[i].decode("utf-8")
            is_expressible = not config.charset.missing(label) and len(label) <= config.max_prediction
            sample = Sample(
                name=comments[i].decode("utf-8", "replace") or f"record {indices[i] + 1}",
                label=label,
                prediction=prediction,
                image=images[i],
                log_likelihood=float(likelihoods[i]) if is_expressible else float("nan"),
            )
            yield int(indices[i]), sample

    def gathered(self) -> list[Sample]:
        """Return the scored images of all workers; if there are several, only texts and scores."""
        samples = [sample for _, sample in self.samples()]
        if self.workers is None:
            return samples
        rows = [[s.label, s.prediction.text, s.prediction.confidence, s.log_likelihood] for s in samples]
        return [
            Sample("", label, Prediction(text, confidence, uncalibrated=confidence), log_likelihood=likelihood)
            for worker_rows in self.workers.exchange(rows)
            for label, text, confidence, likelihood in worker_rows
        ]

    def report(self, samples: list[Sample], skipped: dict[str, int] | None = None) -> EvalReport:
        """Score samples; the reading speed is measured over all batches so far."""
        speed = self.num_timed / self.seconds if self.seconds else float("nan")
        return score(samples, use_distance=self.use_distance, images_per_second=speed, skipped=skipped)


def evaluate(
    predictor: Predictor, dataset: Dataset, *, part: str = "all", use_distance: bool = True, keep_source: bool = False
) -> tuple[EvalReport, list[Sample]]:
    """Score a model on a dataset.

    Args:
      predictor: from `load_network`.
      part: `all`, or the `training` or `validation` part of the hash split.
      use_distance: whether the score of aocr 0.7.6 is based on edit distance; if not, on whole words.
      keep_source: whether samples keep the encoded image and the attention.

    Returns:
      Scores with confidence intervals, and the samples in the dataset's order.
    """
    config = predictor.config
    plan = plan_batches(network_widths(dataset.summary.sizes, config), predictor.batch_size, config)
    batches = Batches(dataset.paths, config, plan, dataset.summary, part, keep_source=True)
    evaluator = Evaluator(predictor.reader, batches, use_distance, predictor=predictor)  # type: ignore[arg-type]
    by_index = {i: sample if keep_source else _without_arrays(sample) for i, sample in evaluator.samples()}
    samples = [by_index[i] for i in sorted(by_index)]
    report = evaluator.report(samples, dataset.skipped)
    accuracy_bounds = accuracy_interval(sum(sample.correct for sample in samples), len(samples))
    return dataclasses.replace(
        report, word_accuracy_interval=accuracy_bounds, cer_interval=cer_interval(samples)
    ), samples


def _without_arrays(sample: Sample) -> Sample:
    return dataclasses.replace(sample, image=b"", prediction=dataclasses.replace(sample.prediction, attention=None))
