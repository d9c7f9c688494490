"""What is mixed in among the labelled images, round by round: look-alikes, and readings that can be trusted.

Each round begins with the newest weights. They tell where the characters of the labelled images stand, and they read
images without labels; those of enough confidence are learnt from as if a person had labelled them (pseudo-labels: Lee,
2013; from round to round: Xie et al., 2020, "Self-training with noisy student"; for text lines: Kiss et al., 2021).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import ExitStack
from random import Random
from typing import NamedTuple

import numpy as np

from aocr import files
from aocr.data.automatic import network_widths
from aocr.data.batching import plan_batches
from aocr.data.datasets import Dataset, open_dataset, summarise
from aocr.data.images import canonical_image, pixel_digest
from aocr.data.pipeline import Batches
from aocr.data.record_files import RecordWriter
from aocr.data.records import Example, is_verified, read_examples
from aocr.data.unlabelled import build_unlabelled, digests_of
from aocr.errors import AocrError, ConfigError
from aocr.folder.model_folder import MIXED, ModelFolder
from aocr.model.recognizer import Recognizer
from aocr.reading.network import NetworkReader
from aocr.reading.originals import find_originals, reading_like
from aocr.reading.predictor import Predictor
from aocr.synth.like.painter import LikeJob, LikeOptions, LikePainter
from aocr.synth.pipeline import faces_for
from aocr.text.charset import Charset
from aocr.training.calibration import TemperedReader, confidences_at
from aocr.training.prepare import Plan, TrainRequest
from aocr.training.progress import log
from aocr.training.trust import MAX_WRONG, find_threshold

CHECKS = 3
"""Validations from one round to the next."""


class Unlabelled(NamedTuple):
    """Images without labels.

    Attributes:
      data: those that may be learnt from; None: there are none.
      never: `pixel_digest` of the images that may not.
    """

    data: Dataset | None = None
    never: Container[bytes] = ()


@contextlib.contextmanager
def open_unlabelled(request: TrainRequest, plan: Plan) -> Iterator[Unlabelled]:
    """The images of `--unlabeled` that may be learnt from, checked; they are removed on leaving.

    Those with the pixels of a labelled image, of a validation image or of one of `--exclude` are left out.

    Raises:
      AnnotationError, DatasetError: a source is missing, empty or damaged.
    """
    if not request.unlabeled:
        yield Unlabelled()
        return
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aocr-"))
        never = dict.fromkeys(digests_of(plan.data), "labelled images")
        if request.exclude:
            excluded = stack.enter_context(open_dataset(request.exclude, request.data_base_dir))
            never |= dict.fromkeys(digests_of(excluded), "images of --exclude")
        if plan.validation_data:
            dataset, part = plan.validation_data
            chosen = dataset.summary.held_out if part == "validation" else None
            never |= dict.fromkeys(digests_of(dataset, chosen), "validation images")
        output = os.path.join(folder, "unlabelled.tfrecords")
        yield Unlabelled(build_unlabelled(request.unlabeled, output, never, request.data_base_dir), never)


class Rounds:
    """Makes what is mixed in from round to round, and keeps it in the model folder until the training has ended.

    Args:
      request: what was typed.
      plan: of the training.
      unlabelled: images without labels.
      folder: the model folder.
      model: whose weights read.

    Attributes:
      learnt: (N,) int64, `split_key` the images mixed in so far: a person may label the unlabelled ones later.
    """

    def __init__(
        self, request: TrainRequest, plan: Plan, unlabelled: Unlabelled, folder: ModelFolder, model: Recognizer
    ):
        self._request, self._plan, self._folder = request, plan, folder
        self._unlabelled, self._never = unlabelled.data, unlabelled.never
        self._steps = CHECKS * request.config.steps_per_checkpoint
        self._made, self.learnt = -1, np.zeros(0, np.int64)
        self._model = model
        self._reader: Predictor | None = None
        self._tempered: TemperedReader | None = None
        self._faces = []
        if plan.look_alikes:
            with contextlib.suppress(ConfigError):  # without a font all are made of the images' own characters
                self._faces = faces_for(Charset.from_labels(plan.data.summary.labels).symbols, None, 1)
        self._widest = plan.training.plan.edges[-1]
        wider = int((self._widths() > self._widest).sum()) if unlabelled.data else 0
        if wider:
            log.warning("%d unlabelled images are wider than all labelled ones, and are not learnt from.", wider)

    def _widths(self) -> np.ndarray:
        """(N,) widths of the unlabelled images in pixels as the network sees them."""
        return network_widths(self._unlabelled.summary.sizes, self._plan.config)  # type: ignore[union-attr]

    @property
    def mixes(self) -> bool:
        """Whether anything is to be mixed in."""
        return bool(self._plan.look_alikes or self._request.unlabeled)

    def is_due(self, step: int) -> bool:
        """Whether a round begins at a step."""
        return bool(self._plan.look_alikes or self._unlabelled) and step % self._steps == 0 and step != self._made

    def mixed_in(self, step: int, is_new: bool) -> Batches | None:
        """The batches to mix in from a step on; None: none.

        Args:
          step: of the training.
          is_new: whether a round may begin here.

        Raises:
          ConfigError, DatasetError: look-alikes cannot be drawn or written.
        """
        if not self.mixes:
            return None
        before, lost = self._kept(step), False
        if self._made < 0 and not all(self._is_usable(path) for path in before):
            log.info("Images that were mixed in so far cannot be learnt from now: others take their place.")
            for old in before:
                files.remove(old)
            before, lost = [], True
        path = self._folder.file(MIXED.format(step))
        begins, self._made = is_new and (lost or self.is_due(step)), step
        if begins and path not in before:
            trusted, turns = self._trusted(step), []
            by_default = self._request.look_alikes is None
            look_alikes = ((), 0) if by_default and trusted[1] else self._look_alikes(step)
            for examples, count in (look_alikes, trusted):
                turns += [iter(examples)] * count
            Random(f"{self._request.config.seed}/{step}").shuffle(turns)
            if turns:
                with RecordWriter(path) as writer:
                    for example in (next(turn, None) for turn in turns):
                        if example:
                            writer.write(example)
            for old in before:
                files.remove(old)
            before = [path] if turns else []
        return self._batches(before[-1:])

    def _is_usable(self, path: str) -> bool:
        """Whether a file of an earlier run, with other flags or data perhaps, or of a stranger, can be learnt from."""
        try:
            if not is_verified(path):
                return False
            places = summarise([path]).split_keys
            if np.isin(places, self._held_out()).any():  # read by an earlier run, and labelled since
                return False
            return all(map(self._is_learnable, read_examples(path)))
        except AocrError:
            return False

    def _held_out(self) -> np.ndarray:
        """(N,) int64, places of what is validated on."""
        dataset, part = self._plan.validation_data or (self._plan.data, "validation")
        summary = dataset.summary
        return summary.split_keys if part == "all" else summary.split_keys[summary.held_out]

    def _is_learnable(self, example: Example) -> bool:
        image = canonical_image(example.image)
        size = image.width, image.height
        is_ours = image.data == example.image and size == (example.width, example.height)
        is_fitting = network_widths(np.array([size]), self._plan.config)[0] <= self._widest
        return is_ours and is_fitting and pixel_digest(image.data) not in self._never

    def close(self) -> None:
        """Remove what was mixed in, once the training has ended."""
        for path in self._kept(None):
            files.remove(path)

    def _kept(self, step: int | None) -> list[str]:
        """Paths of what was mixed in from this step or an earlier one on, in the order of these; None: all."""
        pattern = re.escape(MIXED).replace(r"\{\}", r"(\d+)")
        names = files.names_in(self._folder.path) if files.is_folder(self._folder.path) else []
        found = sorted((int(match[1]), name) for name in names if (match := re.fullmatch(pattern, name)))
        paths = [self._folder.file(name) for start, name in found if step is None or start <= step]
        return [path for path in paths if not files.is_folder(path)]

    def _batches(self, paths: Sequence[str]) -> Batches | None:
        if not paths:
            return None
        plan, summary = self._plan, summarise(paths)
        self.learnt = np.union1d(self.learnt, summary.split_keys)
        return Batches(paths, plan.config, plan.training.plan, summary, drop_unknown=True)

    def _look_alikes(self, step: int) -> tuple[Iterable[Example], int]:
        """Images that look like the labelled ones, those held out left aside, drawn as they are asked for; how many."""
        count = self._plan.look_alikes
        if not count:
            return (), 0
        plan, config = self._plan, self._plan.config
        if self._reader is None:
            labels = [label for label, used in zip(plan.data.summary.labels, plan.in_training, strict=True) if used]
            reader = NetworkReader(self._model, config, reading_like(labels, config))
            self._reader = Predictor(reader)
        originals = find_originals(plan.data, self._reader, plan.in_training)
        job = LikeJob(LikeOptions(count, self._request.config.seed + step), originals, self._faces)
        try:
            painter = job.painter()
            painter.draw(0)
        except ConfigError:
            told = "Step %d: no look-alikes yet: no image is read rightly, and no font draws texts that show in them."
            log.info(told, step)
            return (), 0
        log.info("Step %d: %d look-alikes are drawn; %d of the %d images gave characters for them.",
                 step, count, painter.num_cut, len(originals))  # fmt: skip
        return _drawn(painter, step, count), count

    def _trusted(self, step: int) -> tuple[Iterable[Example], int]:
        """Images without labels, with what is read in them, where that can be trusted; how many."""
        data, plan = self._unlabelled, self._plan
        if data is None:
            return (), 0
        if plan.validation is None:
            log.warning(
                "Step %d: no unlabelled image is trusted: nothing is held out. Give --validation DATASET.", step
            )
            return (), 0
        self._tempered = self._tempered or TemperedReader(self._model, plan.config.charset)
        temperature, samples = self._tempered.calibrate(plan.validation)
        confidences = np.array([sample.prediction.confidence for sample in samples])
        threshold = find_threshold(confidences, np.array([sample.correct for sample in samples]))
        if threshold is None:
            told = "Step %d: no unlabelled image is trusted yet: %d of %d held-out images are read rightly."
            log.info(told, step, sum(sample.correct for sample in samples), len(samples))
            return (), 0
        total, widths = len(data.summary.labels), self._widths()
        count = min(total, self._steps * plan.batch_size)
        found = [
            Example(record, text, "", *data.summary.sizes[number].tolist())
            for number, record, text, confidence in self._read(step // self._steps * count % total, count, temperature)
            if confidence >= threshold and text and widths[number] <= self._widest
        ]
        told = (
            "Step %d: %d of %d unlabelled images are trusted, those of confidence %.3f or more: at most %.0f %% wrong."
        )
        log.info(told, step, len(found), count, threshold, 100 * MAX_WRONG)
        return found, len(found)

    def _read(self, start: int, count: int, temperature: float) -> Iterator[tuple[int, bytes, str, float]]:
        """(number, image, text, confidence) of `count` unlabelled images from number `start` on."""
        data, config = self._unlabelled, self._plan.config
        plan = plan_batches(self._widths(), 64, config)
        batches = Batches(data.paths, config, plan, data.summary, keep_source=True)  # type: ignore[union-attr]
        for batch in batches.window_batches(start, count):
            texts, log_probs = self._tempered.read(batch)  # type: ignore[union-attr]
            numbers = (batch.index.numpy() + start) % len(data.summary.labels)  # type: ignore[union-attr]
            yield from zip(numbers, batch.record.numpy(), texts, confidences_at(temperature, log_probs), strict=True)


def _drawn(painter: LikePainter, step: int, count: int) -> Iterator[Example]:
    """Look-alikes, up to one that cannot be drawn: then the others hardly can."""
    for number in range(count):
        try:
            image = painter.draw(number)
        except ConfigError:
            log.info("Step %d: after %d look-alikes none could be drawn any more.", step, number)
            return
        yield Example(image.data, image.label, "", image.width, image.height)
