"""Extra training images, renewed every few validations: synthetic look-alikes and pseudo-labelled images.

The newest weights locate the characters of the labelled images, from which look-alikes are composed, and read the
images without labels; confident readings serve as labels (pseudo-labels: Lee, 2013; renewed: Xie et al., 2020,
"Self-training with noisy student"; for text lines: Kiss et al., 2021).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack
from random import Random
from typing import Any, NamedTuple

import numpy as np

from aocr import files
from aocr.data.automatic import network_widths
from aocr.data.batching import plan_batches
from aocr.data.datasets import Dataset, open_dataset, summarise
from aocr.data.images import pixel_digest
from aocr.data.pipeline import Batches
from aocr.data.records import Example, RecordWriter, read_examples
from aocr.data.unlabelled import build_unlabelled, digests_of
from aocr.errors import AocrError, ConfigError
from aocr.folder.model_folder import EXTRA, ModelFolder
from aocr.model.recognizer import Recognizer
from aocr.reading.network import NetworkReader
from aocr.reading.originals import find_originals, reading_like
from aocr.reading.predictor import Predictor
from aocr.synth.fonts.choice import faces_for
from aocr.synth.like.painter import LikePainter
from aocr.text.charset import Charset
from aocr.training.calibration import MAX_WRONG, TemperedReader, confidences_at, find_threshold
from aocr.training.monitor import log
from aocr.training.prepare import Plan, part_of
from aocr.training.request import TrainRequest

Track = Callable[[Iterable[Any], int, str], Iterator[Any]]

CHECKS = 3
"""Validations between two renewals."""


class Unlabelled(NamedTuple):
    """Images without labels."""

    data: Dataset | None = None
    """The images that may be trained on, if there are any."""
    excluded: Container[bytes] = ()
    """`pixel_digest` of the images that may not be trained on."""


@contextlib.contextmanager
def open_unlabelled(request: TrainRequest, plan: Plan) -> Iterator[Unlabelled]:
    """Yield the images of `--unlabeled`; their temporary records are removed at the end of the block.

    Images with the same pixels as a labelled image, a validation image or one of `--exclude` are left out.

    Raises:
      AnnotationError, DatasetError: a source is missing, empty or damaged.
    """
    if not request.unlabeled:
        yield Unlabelled()
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aocr-"))
        excluded = dict.fromkeys(digests_of(plan.data), "labelled images")
        if request.exclude:
            data = stack.enter_context(open_dataset(request.exclude, request))
            excluded |= dict.fromkeys(digests_of(data), "images of --exclude")
        if plan.validation_data:
            data, part = plan.validation_data
            excluded |= dict.fromkeys(digests_of(data, part_of(data, part)), "validation images")
        output = os.path.join(folder, "unlabelled.tfrecords")
        yield Unlabelled(build_unlabelled(request.unlabeled, output, excluded, request), excluded)


class ExtraImages:
    """Makes the extra images of a training, and stores the newest in the model folder until the training has ended.

    Args:
      request: the user's arguments.
      plan: the plan of the training.
      unlabelled: images without labels.
      folder: the model folder.
      model: the network; it reads with its current weights.
      images_changed: whether the images differ from the last run's, so that the extra images must be replaced.
      track: shows the progress; takes items, their number and the name of the phase, and yields the items.
    """

    def __init__(
        self, request: TrainRequest, plan: Plan, unlabelled: Unlabelled, folder: ModelFolder, model: Recognizer,
        images_changed: bool = False, track: Track = lambda items, total, name: iter(items),
    ):  # fmt: skip
        self._track = track
        self._request, self._plan, self._folder, self._model = request, plan, folder, model
        self._unlabelled, self._excluded = unlabelled.data, unlabelled.excluded
        self._interval = CHECKS * request.config.steps_per_checkpoint
        self._newest_step = -1
        self._must_renew = images_changed
        self._learnt = np.zeros(0, np.int64)
        self._reader: Predictor | None = None
        self._tempered: TemperedReader | None = None
        self._faces = []
        if plan.look_alikes:
            with contextlib.suppress(ConfigError):  # without fonts, only the images' own characters are used
                self._faces = faces_for(Charset.from_labels(plan.data.summary.labels).symbols, None, 1)
        self._max_width = plan.training.plan.edges[-1]
        too_wide = int((self._widths(self._unlabelled) > self._max_width).sum()) if self._unlabelled else 0
        if too_wide:
            log.warning("%d unlabelled images are left out: they are wider than all labelled ones.", too_wide)

    def _widths(self, data: Dataset) -> np.ndarray:
        """Return the (N,) widths of images in pixels at the network's input."""
        return network_widths(data.summary.sizes, self._plan.config)

    @property
    def is_used(self) -> bool:
        """Whether extra images are requested."""
        return bool(self._plan.look_alikes or self._request.unlabeled)

    def is_due(self, step: int) -> bool:
        """Return whether the extra images are to be renewed at a step."""
        can_renew = self._plan.look_alikes or self._unlabelled
        return bool(can_renew) and step % self._interval == 0 and step != self._newest_step

    def with_learnt(self, learnt: np.ndarray) -> np.ndarray:
        """Return the digests in `learnt` and those of the extra images used so far, (N,) int64."""
        return np.union1d(learnt, self._learnt)

    def batches(self, step: int, may_renew: bool) -> Batches | None:
        """Return the extra batches to mix in from a step on; None if there are none.

        Raises:
          ConfigError, DatasetError: look-alikes cannot be drawn or written.
        """
        paths = self._paths(step)
        if self._newest_step < 0 and paths and (self._must_renew or not all(map(self._is_usable, paths))):
            log.info("The extra images of the interrupted training no longer match: making new ones.")
            self._must_renew = True
            _remove(paths)
            paths = []
        path = self._folder.file(EXTRA.format(step))
        renews = may_renew and (self._must_renew or self.is_due(step))
        self._newest_step, self._must_renew = step, False
        if renews and path not in paths:
            is_written = self._write(path, step)
            _remove(paths)
            paths = [path] if is_written else []
        return self._open(paths[-1]) if paths else None

    def _write(self, path: str, step: int) -> bool:
        """Write new extra images in random order; return whether there are any."""
        pseudo_labelled = self._pseudo_labelled(step)
        is_asked_for = self._request.look_alikes is not None
        num_drawn, drawn = self._look_alikes(step) if is_asked_for or not pseudo_labelled else (0, iter(()))
        sources = [drawn] * num_drawn + [iter(pseudo_labelled)] * len(pseudo_labelled)
        Random(f"{self._request.config.seed}/{step}").shuffle(sources)
        if sources:
            with RecordWriter(path) as writer:
                for source in self._track(sources, len(sources), "drawing extra images"):
                    if example := next(source, None):
                        writer.write(example)
        return bool(sources)

    def _is_usable(self, path: str) -> bool:
        """Return whether the extra images of an interrupted run still match the flags and the data."""
        try:
            summary = summarise([path])
            digests = [pixel_digest(example.image) for example in read_examples(path)]
        except AocrError:
            return False
        data, part = self._plan.validation_data or (self._plan.data, "validation")
        validation_keys = data.summary.split_keys[part_of(data, part)]
        is_validated = np.isin(summary.split_keys, validation_keys).any()  # images labelled meanwhile
        is_too_wide = (network_widths(summary.sizes, self._plan.config) > self._max_width).any()
        return not is_validated and not is_too_wide and not any(digest in self._excluded for digest in digests)

    def remove_files(self) -> None:
        """Remove the extra images once the training has ended."""
        _remove(self._paths(None))

    def _paths(self, step: int | None) -> list[str]:
        """Return the files of extra images made at or before a step (None: all), oldest first."""
        pattern = re.escape(EXTRA).replace(r"\{\}", r"(\d+)")
        matches = (re.fullmatch(pattern, name) for name in self._folder.names(EXTRA.format("*")))
        steps = sorted(int(match[1]) for match in matches if match)
        return [self._folder.file(EXTRA.format(other)) for other in steps if step is None or other <= step]

    def _open(self, path: str) -> Batches:
        summary = summarise([path])
        self._learnt = np.union1d(self._learnt, summary.split_keys)
        return Batches([path], self._plan.config, self._plan.training.plan, summary, drop_unknown=True)

    # Look-alikes

    def _look_alikes(self, step: int) -> tuple[int, Iterator[Example]]:
        """Return the number of look-alikes of the training images, and an iterator that draws them."""
        plan, config, count = self._plan, self._plan.config, self._plan.look_alikes
        if not count:
            return 0, iter(())
        if self._reader is None:
            labels = [label for label, used in zip(plan.data.summary.labels, plan.in_training, strict=True) if used]
            self._reader = Predictor(NetworkReader(self._model, config, reading_like(labels, config)), warns=False)
        originals = find_originals(plan.data, self._reader, plan.in_training, self._track)
        try:
            painter = LikePainter(originals, self._faces, self._request.config.seed + step)
            painter.draw(0)
        except ConfigError:
            message = "Step %d: no look-alikes yet: no image is read correctly, and no font has the characters."
            log.info(message, step)
            return 0, iter(())
        message = "Step %d: drawing %d look-alikes from the characters of %d of the %d images."
        log.info(message, step, count, painter.num_cut, len(originals))
        return count, _draw(painter, step, count)

    # Pseudo-labels

    def _pseudo_labelled(self, step: int) -> list[Example]:
        """Return unlabelled images whose reading can be trusted, with that reading as the label."""
        data, plan = self._unlabelled, self._plan
        if data is None:
            return []
        if plan.validation is None:
            message = "Step %d: no unlabelled image is trusted without validation images. Give --validation DATASET."
            log.warning(message, step)
            return []
        self._tempered = self._tempered or TemperedReader(self._model, plan.config.charset)
        temperature, samples = self._tempered.calibrate(plan.validation)
        confidences = np.array([sample.prediction.confidence for sample in samples])
        threshold = find_threshold(confidences, np.array([sample.correct for sample in samples]))
        if threshold is None:
            message = "Step %d: no unlabelled image is trusted yet: %d of %d validation images are read correctly."
            log.info(message, step, sum(sample.correct for sample in samples), len(samples))
            return []
        total, widths = len(data.summary.labels), self._widths(data)
        count = min(total, self._interval * plan.batch_size)
        start = step // self._interval * count % total
        examples = [
            Example(image, text, "", *data.summary.sizes[number].tolist())
            for number, image, text, confidence in self._track(
                self._read(self._tempered, data, start, count, temperature), count, "reading unlabelled images"
            )
            if confidence >= threshold and text and widths[number] <= self._max_width
        ]
        message = "Step %d: %d of %d unlabelled images are trusted (confidence %.3f or more: at most %.0f %% wrong)."
        log.info(message, step, len(examples), count, threshold, 100 * MAX_WRONG)
        return examples

    def _read(
        self, reader: TemperedReader, data: Dataset, start: int, count: int, temperature: float
    ) -> Iterator[tuple[int, bytes, str, float]]:
        """Read `count` unlabelled images from index `start` on; yield (index, image, text, confidence) of each."""
        plan = plan_batches(self._widths(data), 64, self._plan.config)
        batches = Batches(data.paths, self._plan.config, plan, data.summary, keep_source=True)
        for batch in batches.window_batches(start, count):
            texts, log_probs = reader.read(batch)
            numbers = (batch.index.numpy() + start) % len(data.summary.labels)
            yield from zip(numbers, batch.record.numpy(), texts, confidences_at(temperature, log_probs), strict=True)


def _draw(painter: LikePainter, step: int, count: int) -> Iterator[Example]:
    """Yield `count` look-alikes, or fewer if one cannot be drawn."""
    for number in range(count):
        try:
            image = painter.draw(number)
        except ConfigError:
            log.info("Step %d: only %d look-alikes could be drawn.", step, number)
            return
        yield Example(image.data, image.label, "", image.width, image.height)


def _remove(paths: list[str]) -> None:
    for path in paths:
        files.remove(path)
