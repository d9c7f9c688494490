"""The training loop: it runs steps, validates, saves, and asks the schedule when to stop."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from aocr.config import TrainConfig
from aocr.data.pipeline import Batches
from aocr.errors import CheckpointError, TrainingError
from aocr.folder.checkpoints import Checkpoints
from aocr.folder.model_folder import ModelFolder
from aocr.folder.variables import weights_of
from aocr.interrupts import Interrupts, deferred
from aocr.model.recognizer import Recognizer
from aocr.reading.evaluator import Evaluator
from aocr.report.curves import Point
from aocr.results import EvalReport
from aocr.training.averaging import WeightAverage
from aocr.training.cluster import Cluster, lost_worker_errors
from aocr.training.history import History
from aocr.training.optimizers import make_optimizer
from aocr.training.progress import Meter, Progress, log
from aocr.training.rounds import Rounds
from aocr.training.schedule import Kept, Reason, Schedule, TrainState
from aocr.training.seen import Split, read_seen, write_seen
from aocr.training.step import TrainStep

LOG_STEPS = 10
"""Steps between two lines of the log."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `Trainer.run` ended.

    Attributes:
      reason: in words.
      interrupted: whether a signal ended it (everything is saved).
      step: steps done in all.
      trained: whether this call did any of them.
      begun: whether the model has begun to read; true where there is no validation to tell.
    """

    reason: str
    interrupted: bool
    step: int
    trained: bool = True
    begun: bool = True


class Trainer:
    """Trains a model until its budget is spent or it stops getting better.

    Args:
      model: to train.
      config: how.
      folder: where checkpoints go.
      training: batches to learn from.
      evaluator: of the validation set; None: none.
      steps_per_epoch: batches an epoch.
      cluster: where steps run; its chief alone writes into `folder`.
      progress: where it is shown.
      closing: batches to learn from while the learning rate decays, held-out images among them; None: `training`.
      started: whether the network could read before.
      num_validation: images that `evaluator` reads, over all workers.
      split: what the model will have seen; None: that is not kept.

    Attributes:
      rounds: what is mixed in; None: nothing.
    """

    def __init__(
        self,
        model: Recognizer,
        config: TrainConfig,
        folder: ModelFolder,
        training: Batches,
        evaluator: Evaluator | None,
        steps_per_epoch: int,
        cluster: Cluster,
        progress: Progress,
        closing: Batches | None = None,
        started: bool = False,
        num_validation: int = 0,
        split: Split | None = None,
    ):
        self.config, self.training, self.evaluator, self.cluster = config, training, evaluator, cluster
        self._closing, self._split, self.folder = closing, split, folder
        self._num_kept = -1
        self.schedule = Schedule(config, steps_per_epoch, num_validation, started, closing is not None)
        self._model, self._optimizer, self._progress = model, make_optimizer(config, model), progress
        self._average = WeightAverage(weights_of(model))
        self._train_step = TrainStep(model, self._optimizer, config, cluster, self._average)
        self._saved = {
            name: tf.Variable(value, dtype=tf.float64 if isinstance(value, float) else tf.int64, trainable=False)
            for name, value in self.state.to_stored().items()
        }
        self._checkpoints = Checkpoints(folder, model, self._average.averages, self._optimizer, self._saved)
        self._losses: list[tf.Tensor] = []
        self._saved_step = -1
        self._start = self._elapsed = self._check_seconds = self._first_seconds = 0.0
        self._stopped_by: str | None = None
        self.rounds: Rounds | None = None
        self._history: History | None = None

    @property
    def state(self) -> TrainState:
        """Where the training stands."""
        return self.schedule.state

    def restore(self) -> str | None:
        """Go on from the newest checkpoint, if there is one; returns its path.

        Raises:
          CheckpointError: it cannot be gone on with.
        """
        path = self._checkpoints.restore_newest()
        if path:
            stored = {name: variable.numpy().item() for name, variable in self._saved.items()}
            try:
                self.schedule.state = TrainState.from_stored(stored)
            except ValueError as error:
                raise CheckpointError(path, f"is damaged ({error}). Start anew with --no-resume.") from None
            is_new = self._split is not None and self._split.is_new
            if self.state.closed and (is_new or self._closing is None):
                self._open()
            best = self.folder.best()
            if self.state.closed and best and best["step"] > self.state.step and self.cluster.is_chief:
                self.keep_last()  # of a set that had grown, in a training that was killed before its first checkpoint
            self.schedule.reopen(is_new)
            self._saved_step = self.state.step
        return path

    def _open(self) -> None:
        """Go on with another set; what was learnt from at the end stays known, whenever it is killed."""
        self.state.closed = 0
        before = read_seen(self.folder)
        if before and self.cluster.is_chief:
            write_seen(self.folder, before.closed())

    def run(self) -> Outcome:
        """Train to the end of the budget.

        Raises:
          TrainingError: the loss is not finite, or a checkpoint cannot be written.
        """
        state = self.state
        if self.schedule.ended:
            return Outcome(self.schedule.reason, False, state.step, trained=False)
        if self.cluster.is_chief:
            self._progress.record(os.environ.get("AIP_TENSORBOARD_LOG_DIR") or self.folder.file("logs"))
            self._history = History(self.folder, state.step)
        self._start = time.monotonic() - state.elapsed
        with deferred("stopping after this step, saving ...") as interrupts, lost_worker_errors(self.cluster):
            self._steps(interrupts)
            if not self._stopped_by and self._saved_step != state.step:
                self._check()
            self._save()
            stopped_by = self._stopped_by or interrupts.caught
        reason = f"stopped by {stopped_by}" if stopped_by else self.schedule.reason
        max_time = self.config.max_time or math.inf
        if not stopped_by and state.finished == Reason.TIME and self._first_seconds > max_time / 2:
            reason += f"; the first step alone took {self._first_seconds:.0f} s"
        return Outcome(reason, bool(stopped_by), state.step)

    def _steps(self, interrupts: Interrupts) -> None:
        """Train step by step until the end or a signal."""
        state, config = self.state, self.config
        meter = Meter()
        strength = config.augment_strength if config.augment else 0.0
        for epoch, number, batch in self._batches(strength):
            rate = self.schedule.learning_rate
            self._losses.append(self._train_step(batch, rate, state.step))
            state.step, state.epoch, state.batch = state.step + 1, int(epoch), int(number) + 1
            self._first_seconds = self._first_seconds or meter.seconds
            meter.count(batch.widths.shape[0] * self.cluster.num_workers)
            logged, checked = state.step % LOG_STEPS == 0, state.step % config.steps_per_checkpoint == 0
            if self.cluster.num_workers == 1 or logged or checked:
                self._look_up(interrupts)
            if logged:
                self._log(meter, rate)
                meter = Meter()
            self.schedule.step_done(self._elapsed, self._check_seconds)
            self._progress.phase(f"training, step {state.step}", self.schedule.share_done)
            if checked or self._closes:
                before = time.monotonic()
                self._check()
                if self._closes:
                    state.closed, state.batch = 1, 0
                    log.info("From here on the held-out images are learnt from too.")
                self._save()
                meter.pause(time.monotonic() - before)
            if self.schedule.ended or self._stopped_by:
                return

    def _batches(self, strength: float) -> Iterator[tuple]:
        """Yield batches from where training stands, with the extra images of each round mixed in."""
        state, seed = self.state, self.config.seed
        while True:
            extra, closed = None, self.is_closed
            if self.rounds and self.rounds.mixes:
                self._progress.phase("preparing images to mix in")
                with self._average.applied():
                    extra = self.rounds.mixed_in(state.step, is_new=self._searches)
            self._progress.phase(f"training, step {state.step}" if self._first_seconds else "first step")
            batches = self._closing if closed else self.training
            for batch in batches.training_batches(state.epoch, state.batch, seed, strength, extra):  # type: ignore[union-attr]
                if self.is_closed != closed or (self._searches and self.rounds and self.rounds.is_due(state.step)):
                    break
                yield batch

    @property
    def _searches(self) -> bool:
        """Whether what is held out can still tell something, and the learning rate does not decay yet."""
        return self.state.decay_start < 0 and not self.is_closed

    @property
    def _closes(self) -> bool:
        """Whether the held-out images are now to be learnt from."""
        return self._closing is not None and not self.is_closed and self.state.decay_start >= 0

    @property
    def is_closed(self) -> bool:
        """Whether the held-out images have been learnt from."""
        return bool(self.state.closed)

    def keep_last(self) -> bool:
        """Keep the last weights as those to read with in place of the best of a validation, if there was one."""
        best = self.folder.best()
        if best:
            self._checkpoints.save_best(self.state.step, best["word_accuracy"], best["cer"], last=True, closed=True)
        return best is not None

    def _log(self, meter: Meter, rate: float) -> None:
        loss, seconds = self._collect_losses(), meter.seconds
        left = self.schedule.seconds_left(seconds / meter.steps)
        self._progress.steps(self.state.step, seconds / meter.steps, loss, meter.images / seconds, rate, left)

    def _look_up(self, interrupts: Interrupts) -> None:
        """Note the time and a signal; in a cluster all note the chief's time and a signal that any of them got."""
        self._elapsed, self._stopped_by = time.monotonic() - self._start, interrupts.caught
        if self.cluster.num_workers > 1:
            told = self.cluster.exchange([self._elapsed, self._check_seconds, self._stopped_by])
            self._elapsed, self._check_seconds, _ = told[0]
            self._stopped_by = next((name for *_, name in told if name), None)

    # Checks and saving

    def _check(self) -> None:
        """Validate (or look at the training loss), keep the best, count checks without progress."""
        start = time.monotonic()
        self._collect_losses()
        state = self.state
        loss, scores = state.loss_sum / max(1, state.loss_steps), {}
        if self.evaluator and not self.is_closed:
            self._progress.phase("validating")
            report, better = self._validate()
            scores = {name: getattr(report, name) for name in ("perplexity", "word_accuracy", "cer")}
        else:
            better = self.schedule.loss_improved(loss)
        if self._history:
            self._history.add(Point(state.step, loss, **scores))
        self.schedule.check_done(better)
        self._check_seconds = time.monotonic() - start

    def _validate(self) -> tuple[EvalReport, bool]:
        """Read the validation set, and keep the weights where they are the best.

        Returns:
          The scores, and whether they are progress.
        """
        with self._average.applied():
            samples = self.evaluator.gathered()  # type: ignore[union-attr]
        report = self.evaluator.report(samples)  # type: ignore[union-attr]
        kept, better = self.schedule.judge(report, sum(len(sample.label) for sample in samples))
        step = self.state.step
        self._progress.validation(step, report, kept.value)
        if kept is not Kept.NOT and self.cluster.is_chief:
            self._checkpoints.save_best(step, report.word_accuracy, report.cer, kept is Kept.AS_GOOD)
        return report, better

    def _collect_losses(self) -> float:
        """Mean loss of the steps since the last call; adds them to the state, checks that they are finite."""
        if not self._losses:
            return float("nan")
        total, count = float(tf.add_n(self._losses)), len(self._losses)
        self._losses.clear()
        if not math.isfinite(total):
            raise TrainingError(
                f"Step {self.state.step}: the loss is not a finite number. The last checkpoint is kept; "
                "run again with a lower --initial-learning-rate or --precision float32."
            )
        self.state.loss_sum += total
        self.state.loss_steps += count
        return total / count

    def _save(self) -> None:
        if self._saved_step == self.state.step:
            return
        self._progress.phase("saving")
        self._collect_losses()
        for name, value in self.state.to_stored().items():
            self._saved[name].assign(value)
        self._check_workers()
        if self.cluster.is_chief:
            self._checkpoints.save(self.state.step)
            self._keep_seen()
        self._saved_step = self.state.step

    def _keep_seen(self) -> None:
        """Keep what the saved weights have learnt from. Not before: a training that was killed splits as it did."""
        mixed_in = self.rounds.learnt if self.rounds else ()
        if self._split and self._num_kept != len(mixed_in):
            write_seen(self.folder, self._split.seen.mixed_in(np.asarray(mixed_in, np.int64)))
            self._num_kept = len(mixed_in)

    def _check_workers(self) -> None:
        """Before a checkpoint is written: every variable must be equal on all workers, to the bit."""
        if self.cluster.num_workers == 1:
            return
        digest = hashlib.blake2b()
        variables = [*weights_of(self._model).values(), *self._average.averages.values()]
        for variable in (*variables, *(v.value for v in self._optimizer.variables)):
            digest.update(variable.numpy().tobytes())
        digests = self.cluster.exchange(digest.hexdigest())
        odd = next((worker for worker, other in enumerate(digests) if other != digests[0]), None)
        if odd is not None:
            raise TrainingError(
                f"Step {self.state.step}: the weights of worker {odd} are not those of the chief. The last checkpoint "
                "is kept. Give all workers the same program, data and kind of machine, and start them again."
            )
