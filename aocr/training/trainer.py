"""The training loop: steps, validations, checkpoints, and when to stop."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass

import tensorflow as tf

from aocr.config import TrainConfig
from aocr.data.pipeline import Batches
from aocr.errors import TrainingError
from aocr.folder.checkpoints import Checkpoints
from aocr.folder.model_folder import ModelFolder
from aocr.folder.weights import weights_of
from aocr.model.recognizer import Recognizer
from aocr.reading.evaluator import Evaluator
from aocr.report.curves import Point
from aocr.results import EvalReport
from aocr.text.metrics import within_chance
from aocr.training import schedule
from aocr.training.averaging import WeightAverage
from aocr.training.cluster import Cluster, told_of_loss
from aocr.training.history import History
from aocr.training.progress import Progress, clock, log
from aocr.training.step import TrainStep, make_optimizer

LOG_STEPS = 10
ENOUGH = 5e-3
"""A loss a symbol at which nothing is left to learn."""
LESS = 0.97
"""A loss counts as better when it falls below this share of the best."""
GUESSING = 0.8
"""A CER above which a network has not begun to read: hard images keep it there for many checks."""
MORE_PATIENCE = 2
"""Times as long it is waited for there."""

BEST, AS_GOOD = "best so far", "as good as the best"
"""What is said of a validation whose weights are kept as the best; AS_GOOD: of those at the end of a training."""

GOING, BY_EPOCHS, BY_TIME, BY_PATIENCE = range(4)
"""Why the learning rate falls, and then why a training has ended; GOING: neither."""


@dataclass
class TrainState:
    """Where a training stands; saved with every checkpoint.

    Attributes:
      step: steps done.
      epoch, batch: number of the epoch under way, from 0, and how many of its batches are done.
      elapsed: seconds of training.
      waited: checks in a row without progress.
      best_word_accuracy, best_cer, best_perplexity: of the best validation.
      best_loss: lowest loss a symbol of validation, or of training where there is no validation.
      loss_sum, loss_steps: training loss since the last check.
      fall_start, fall_end: steps between which the learning rate falls; negative start: not yet.
      fall_reason: why it falls.
      patience: in force when it began to.
      finished: why the training has ended.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    elapsed: float = 0.0
    waited: int = 0
    best_word_accuracy: float = -1.0
    best_cer: float = 1e9
    best_perplexity: float = 1e9
    best_loss: float = 1e9
    loss_sum: float = 0.0
    loss_steps: int = 0
    fall_start: int = -1
    fall_end: int = 0
    fall_reason: int = GOING
    patience: int = 0
    finished: int = GOING


@dataclass(frozen=True)
class Outcome:
    """How a call of `Trainer.run` ended.

    Attributes:
      reason: in words.
      interrupted: whether a signal ended it (everything is saved).
      step: steps done in all.
      report: the last validation's scores; None where there was none.
    """

    reason: str
    interrupted: bool
    step: int
    report: EvalReport | None


class _Signals:
    """Turns Ctrl-C and SIGTERM into a flag; a second one acts as usual."""

    def __init__(self):
        self.caught = None
        self._old = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._catch)
        return self

    def _catch(self, number, frame):
        self.caught = signal.Signals(number).name
        signal.signal(number, self._old[number])

    def __exit__(self, *exc):
        for number, handler in self._old.items():
            signal.signal(number, handler)


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
    ):
        self.config, self.training, self.evaluator, self.cluster = config, training, evaluator, cluster
        self.folder, self.steps_per_epoch = folder, steps_per_epoch
        optimizer = make_optimizer(config, model)
        self._model, self._optimizer = model, optimizer
        self.state = TrainState()
        self.report: EvalReport | None = None
        self._average = WeightAverage(weights_of(model))
        self._train_step = TrainStep(model, optimizer, config, cluster, self._average)
        self._saved = {
            name: tf.Variable(value, dtype=tf.float64 if isinstance(value, float) else tf.int64, trainable=False)
            for name, value in asdict(self.state).items()
        }
        self._checkpoints = Checkpoints(folder, model, self._average.averages, optimizer, self._saved)
        self._losses: list[tf.Tensor] = []
        self._saved_step = -1
        self._start = self._elapsed = self._check_seconds = 0.0
        self._stopped_by: str | None = None
        self._history: History | None = None

    def restore(self) -> str | None:
        """Go on from the newest checkpoint, if there is one; returns its path."""
        path = self._checkpoints.restore_newest()
        if path:
            self.state = TrainState(**{name: v.numpy().item() for name, v in self._saved.items()})
            self._saved_step = self.state.step
        return path

    def _look_up(self, signals: _Signals) -> None:
        """Note the time and a signal; in a cluster all note the chief's time and a signal that any of them got."""
        self._elapsed, self._stopped_by = time.monotonic() - self._start, signals.caught
        if self.cluster.num_workers > 1:
            told = self.cluster.exchange([self._elapsed, self._check_seconds, self._stopped_by])
            self._elapsed, self._check_seconds, _ = told[0]
            self._stopped_by = next((name for *_, name in told if name), None)

    # When to stop -----------------------------------------------------------------------------------------

    @property
    def _patience(self) -> int:
        """Checks without progress that end the search: more while next to nothing is read, fewer once all is."""
        patience, cer = self.config.patience, self.state.best_cer
        if self.evaluator is None or 0 < cer <= GUESSING:
            return patience
        return MORE_PATIENCE * patience if cer else -(-patience // 2)

    def _reopen(self) -> bool:
        """Whether there is anything to do: a finished training goes on only where its budget was raised."""
        state, config = self.state, self.config
        if state.finished == GOING:
            return True
        raised = {
            BY_EPOCHS: config.max_epochs * self.steps_per_epoch > state.step,
            BY_TIME: config.max_time is None or config.max_time > state.elapsed + 1,
            BY_PATIENCE: self._patience > state.patience,
        }[state.finished]
        if raised:
            state.finished = state.fall_reason = GOING
            state.fall_start = -1
            state.waited = 0
        return raised

    def _start_fall(self, reason: int, steps: int | None = None) -> None:
        state = self.state
        if state.fall_start >= 0:
            return
        steps = steps or schedule.fall_length(state.step)
        state.fall_start, state.fall_end = state.step, state.step + steps
        state.fall_reason, state.patience = reason, self._patience
        log.info("Step %d: the learning rate now falls to zero over %d steps.", state.step, steps)

    def _watch_budget(self) -> None:
        """Begin the fall so that it ends with the budget; note the end."""
        state, config = self.state, self.config
        left = config.max_epochs * self.steps_per_epoch - state.step
        if left <= schedule.fall_length(state.step):
            self._start_fall(BY_EPOCHS, max(1, left))
        spent = self._elapsed + self._check_seconds  # the last validation is part of the budget
        if config.max_time and spent + self._elapsed * schedule.FALL_SHARE >= config.max_time:
            self._start_fall(BY_TIME)
        if config.max_time and spent >= config.max_time:
            state.finished = BY_TIME
        elif state.fall_start >= 0 and state.step >= state.fall_end:
            state.finished = state.fall_reason

    def _reason(self) -> str:
        state = self.state
        return {
            BY_EPOCHS: f"{state.epoch + 1} epochs are done (--num-epoch)",
            BY_TIME: f"{clock(state.elapsed)} of training are spent (--max-time)",
            BY_PATIENCE: f"it got no better for {state.patience} checks in a row (--patience)",
        }[state.finished]

    # Checks and saving ------------------------------------------------------------------------------------

    def _check(self, progress: Progress) -> None:
        """Validate (or look at the training loss), keep the best, count checks without progress."""
        start = time.monotonic()
        self._collect_losses()
        loss = self.state.loss_sum / max(1, self.state.loss_steps)
        better = self._validate(progress) if self.evaluator else self._loss_fell(loss)
        scores = {n: getattr(self.report, n) for n in ("perplexity", "word_accuracy", "cer")} if self.report else {}
        if self._history:
            self._history.add(Point(self.state.step, loss, **scores))
        self.state.loss_sum, self.state.loss_steps = 0.0, 0
        self.state.waited = 0 if better else self.state.waited + 1
        if self.state.waited >= self._patience:
            self._start_fall(BY_PATIENCE)
        self._check_seconds = time.monotonic() - start

    def _validate(self, progress: Progress) -> bool:
        state = self.state
        with self._average.applied():
            samples = self.evaluator.gathered()
        report = self.report = self.evaluator.report(samples)
        # characters first: on the few words of a small validation set their rate says more than that of words
        scores = (-report.cer, report.word_accuracy)
        before = (-state.best_cer, state.best_word_accuracy)
        characters = sum(len(sample.label) for sample in samples)
        remark = ""
        # of two that read alike the later is kept unless it is clearly less sure: it has learnt longer
        if scores > before or (scores == before and report.perplexity <= 1.02 * state.best_perplexity):
            remark = BEST
        # at the end the learning rate is zero, and such weights read new images better than others of the same score
        elif state.finished != GOING and within_chance(report.cer, state.best_cer, characters):
            remark = AS_GOOD
        progress.validation(state.step, report, remark)
        if remark:
            self._keep(report, last=remark == AS_GOOD)
        clearer = self._loss_fell(math.log(max(1.0, report.perplexity)))
        return scores > before or clearer

    def _keep(self, report: EvalReport, last: bool) -> None:
        """Take the weights that `report` is of for the best."""
        state = self.state
        if self.cluster.is_chief:
            self._checkpoints.save_best(state.step, report.word_accuracy, report.cer, last)
        state.best_word_accuracy, state.best_cer = report.word_accuracy, report.cer
        state.best_perplexity = report.perplexity

    def _loss_fell(self, loss: float) -> bool:
        fell = ENOUGH < loss < LESS * self.state.best_loss
        if fell:
            self.state.best_loss = loss
        return fell

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
        self._collect_losses()
        self.state.elapsed = self._elapsed
        for name, value in asdict(self.state).items():
            self._saved[name].assign(value)
        self._check_workers()
        if self.cluster.is_chief:
            self._checkpoints.save(self.state.step)
        self._saved_step = self.state.step

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

    # The loop ---------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train to the end of the budget.

        Raises:
          TrainingError: the loss is not finite, or a checkpoint cannot be written.
        """
        state = self.state
        if not self._reopen():
            return Outcome(f"had ended before: {self._reason()}", False, state.step, None)
        chief = self.cluster.is_chief
        log_dir = os.environ.get("AIP_TENSORBOARD_LOG_DIR") or self.folder.file("logs")
        progress = Progress(log_dir if chief else None, state.step)
        self._history = History(self.folder, state.step) if chief else None
        self._start = time.monotonic() - state.elapsed
        try:
            with _Signals() as signals, told_of_loss(self.cluster):
                self._steps(progress, signals)
                if not self._stopped_by and self._saved_step != state.step:
                    self._check(progress)
                self._save()
        finally:
            progress.close()
        if self._stopped_by:
            return Outcome(f"stopped by {self._stopped_by}", True, state.step, self.report)
        return Outcome(self._reason(), False, state.step, self.report)

    def _steps(self, progress: Progress, signals: _Signals) -> None:
        """Train step by step until the end or a signal."""
        state, config = self.state, self.config
        done, images, paused, since = 0, 0, 0.0, time.monotonic()
        strength = config.augment_strength if config.augment else 0.0
        for epoch, number, batch in self.training.endless(state.epoch, state.batch, config.seed, strength):
            rate = config.learning_rate * schedule.factor(state.step, state.fall_start, state.fall_end)
            self._losses.append(self._train_step(batch, rate, state.step))
            state.step, state.epoch, state.batch = state.step + 1, int(epoch), int(number) + 1
            done, images = done + 1, images + batch.widths.shape[0] * self.cluster.num_workers
            logged, checked = state.step % LOG_STEPS == 0, state.step % config.steps_per_checkpoint == 0
            if self.cluster.num_workers == 1 or logged or checked:
                self._look_up(signals)
            if logged:
                loss, seconds = self._collect_losses(), time.monotonic() - since - paused
                left = self._left(seconds / done)
                progress.steps(state.step, done, seconds / done, loss, images / seconds, rate, left)
                done, images, paused, since = 0, 0, 0.0, time.monotonic()
            self._watch_budget()
            if checked:
                before = time.monotonic()
                self._check(progress)
                self._save()
                paused += time.monotonic() - before
            if state.finished != GOING or self._stopped_by:
                return

    def _left(self, seconds: float) -> float | None:
        """Seconds until the end, where it is known; `seconds` a step."""
        state, config = self.state, self.config
        if state.fall_start >= 0:
            return (state.fall_end - state.step) * seconds
        left = []
        if config.num_epoch is not None:
            left.append((config.max_epochs * self.steps_per_epoch - state.step) * seconds)
        if config.max_time:
            left.append(config.max_time - self._elapsed)
        return max(0.0, min(left)) if left else None
