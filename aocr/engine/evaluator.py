"""Scoring a model on a dataset."""

from __future__ import annotations

import time
from collections.abc import Iterator

from aocr.charset import Charset
from aocr.data.pipeline import Batch, Batches
from aocr.engine.reading import Reader, to_prediction
from aocr.metrics import score
from aocr.results import EvalReport, Sample


class Evaluator:
    """Reads every image of a dataset and compares it with its label.

    Args:
      reader: of the model.
      batches: of the dataset.
      charset: of the model.
    """

    def __init__(self, reader: Reader, batches: Batches, charset: Charset):
        self.reader, self.batches, self.charset = reader, batches, charset
        self.seconds = 0.0
        self.num_timed = 0

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """(number of the record, scored image), in the order of the batches."""
        warm = False
        for batch in self.batches.in_order():
            if not warm:
                self.reader.read(batch.images, batch.widths)  # the first call builds the graph
                warm = True
            start = time.perf_counter()
            reading = [part.numpy() for part in self.reader.read(batch.images, batch.widths)]
            self.seconds += time.perf_counter() - start
            self.num_timed += len(reading[0])
            yield from self._pair(batch, reading)

    def _pair(self, batch: Batch, reading: list) -> Iterator[tuple[int, Sample]]:
        likelihood = self.reader.log_likelihood(
            batch.images, batch.widths, batch.tokens, batch.targets, batch.weights
        ).numpy()
        rows = zip(
            *(part.numpy() for part in (batch.index, batch.label, batch.comment, batch.record)),
            *(part.numpy() for part in (batch.widths, batch.scales)),
            *reading,
            likelihood,
            strict=True,
        )
        for (
            index,
            label,
            comment,
            record,
            width,
            scale,
            ids,
            probabilities,
            attention,
            confidence,
            ll,
        ) in rows:
            label = label.decode("utf-8")
            prediction = to_prediction(
                ids, probabilities, attention, confidence, scale, round(width * float(scale)), self.charset
            )
            expressible = not self.charset.missing(label) and len(label) <= self.batches.config.max_prediction
            yield (
                int(index),
                Sample(
                    name=comment.decode("utf-8", "replace") or f"record {index + 1}",
                    label=label,
                    prediction=prediction,
                    image=record,
                    log_likelihood=float(ll) if expressible else float("nan"),
                ),
            )

    def report(
        self, samples: list[Sample], use_distance: bool = True, skipped: dict[str, int] | None = None
    ) -> EvalReport:
        """Scores of `samples`, with the reading speed seen while they were made."""
        speed = self.num_timed / self.seconds if self.seconds else float("nan")
        return score(samples, use_distance=use_distance, images_per_second=speed, skipped=skipped)
