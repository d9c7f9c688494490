"""The learning rate and the end of a training: a state machine without a clock or TensorFlow.

The learning rate warms up, stays constant until validation stops improving or the budget is nearly spent, and then
decays to zero over a fixed share of the steps done so far (warmup-stable-decay; Hu et al., 2024, "MiniCPM").
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum

from aocr.config import TrainConfig
from aocr.results import EvalReport
from aocr.text.metrics import not_significantly_worse

log = logging.getLogger("aocr")

WARMUP_STEPS = 100
DECAY_SHARE, CLOSING_SHARE = 0.1, 0.3
"""Length of the decay as a share of the steps before it; the second if validation images are trained on during it."""
LOSS_FLOOR = 5e-3
"""Loss per symbol below which further improvement does not count."""
LOSS_RATIO = 0.97
"""A loss is an improvement if it is below this share of the best."""
PERPLEXITY_TOLERANCE = 1.02
"""Of two validations with equal scores the later is the best, unless its perplexity is higher by more than this."""
GUESSING_CER = 0.5
"""CER above which a network cannot read yet; on hard images this lasts for many checks."""
GUESSING_PATIENCE = 2
"""Factor of the patience while a network cannot read yet."""
PRETRAINED_PATIENCE = 0.4
"""Factor of the patience for a pretrained network."""
READ_ALL, PRETRAINED_READ_ALL = 2, 4
"""Divisors of the patience once the whole validation set is read correctly; the second for a pretrained network."""
MIN_IMAGES_READ_ALL = 40
"""Smallest validation set for which the patience is divided: if 40 images are read correctly, at most 3 / 40 = 7 % of
such images are misread, with 95 % confidence (rule of three)."""


class Reason(IntEnum):
    """Why the learning rate decays, and then why the training has ended."""

    NONE = 0
    EPOCHS = 1
    TIME = 2
    PATIENCE = 3


class Verdict(Enum):
    """Whether the validated weights replace the best ones, in the words of the log."""

    WORSE = ""
    BEST = "best"
    AS_GOOD = "as good as the best"


@dataclass
class TrainState:
    """Progress of a training; saved with every checkpoint."""

    step: int = 0
    """Steps done."""
    epoch: int = 0
    """Index of the current epoch."""
    batch: int = 0
    """Batches of the current epoch that are done."""
    elapsed: float = 0.0
    """Seconds of training."""
    waited: int = 0
    """Checks in a row without improvement."""
    best_word_accuracy: float = -1.0
    """Word accuracy of the best validation, which weights that are only as good do not replace."""
    best_cer: float = 1e9
    """CER of the same validation."""
    best_perplexity: float = 1e9
    """Lowest perplexity of a validation with these scores."""
    best_loss: float = 1e9
    """Lowest loss per symbol, of validation if there is one, else of training."""
    loss_sum: float = 0.0
    """Sum of the training loss since the last check."""
    loss_steps: int = 0
    """Steps since the last check."""
    decay_start: int = -1
    """Step at which the learning rate began to decay; -1: not yet."""
    decay_end: int = 0
    """Step at which it reaches zero."""
    decay_reason: int = Reason.NONE
    """Why it decays."""
    decay_limit: float = 0.0
    """The limit that started the decay: steps, seconds or checks, depending on the reason."""
    finished: int = Reason.NONE
    """Why the training has ended."""
    closed: bool = False
    """Whether the validation images are trained on now."""
    images: str = ""
    """Digest of all training and validation images."""

    def to_json(self) -> str:
        """Return the state as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> TrainState:
        """Return the state that `to_json` wrote."""
        return cls(**json.loads(text))


def learning_rate_factor(step: int, decay_start: int, decay_end: int) -> float:
    """Return the share of the full learning rate after `step` steps; `decay_start` is negative before the decay."""
    factor = min(1.0, (step + 1) / WARMUP_STEPS)
    if decay_start >= 0:
        factor *= max(0.0, (decay_end - step) / max(1, decay_end - decay_start))
    return factor


def decay_length(step: int, share: float = DECAY_SHARE) -> int:
    """Return the length in steps of a decay that begins after `step` steps and takes `share` as many."""
    return max(1, round(step * share))


def clock(seconds: float) -> str:
    """Format seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Schedule:
    """Decides when the learning rate decays, when training ends, and which weights are the best.

    Args:
      config: the limits.
      state: progress of the training; the schedule updates it.
      steps_per_epoch: batches per epoch.
      num_validation: number of validation images.
      pretrained: whether the network could read from the start.
      closes: whether the validation images are trained on while the learning rate decays.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, steps_per_epoch: int, num_validation: int,
        pretrained: bool = False, closes: bool = False,
    ):  # fmt: skip
        self.config, self.state = config, state
        self.steps_per_epoch, self.num_validation = steps_per_epoch, num_validation
        self.pretrained, self.closes = pretrained, closes
        self.decay_share = CLOSING_SHARE if closes else DECAY_SHARE
        self.max_steps = config.max_epochs * steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        state = self.state
        return self.config.learning_rate * learning_rate_factor(state.step, state.decay_start, state.decay_end)

    @property
    def patience(self) -> int:
        """Checks without improvement before the decay: more before the model can read, fewer once it reads all."""
        patience, cer, divisor = self.config.patience, self.state.best_cer, READ_ALL
        if self.pretrained and cer <= GUESSING_CER:
            patience, divisor = math.ceil(patience * PRETRAINED_PATIENCE), PRETRAINED_READ_ALL
        if not self.num_validation or 0 < cer <= GUESSING_CER:
            return patience
        if cer:
            return GUESSING_PATIENCE * patience
        return math.ceil(patience / divisor) if self.num_validation >= MIN_IMAGES_READ_ALL else patience

    @property
    def decays(self) -> bool:
        """Whether the learning rate is decaying."""
        return self.state.decay_start >= 0

    @property
    def must_close(self) -> bool:
        """Whether to train on the validation images from now on."""
        return self.closes and self.decays and not self.state.closed

    @property
    def ended(self) -> bool:
        """Whether training has ended."""
        return self.state.finished != Reason.NONE

    @property
    def reason(self) -> str:
        """Why training has ended, in words."""
        state, epochs = self.state, -(-self.state.step // self.steps_per_epoch)
        checks = "at the last check" if state.decay_limit <= 1 else f"in {round(state.decay_limit)} checks"
        return {
            Reason.NONE: "it has not ended",
            Reason.EPOCHS: f"the steps of {epochs} {'epochs' if epochs > 1 else 'epoch'} are done (--num-epoch)",
            Reason.TIME: f"{clock(state.elapsed)} of training are done (--max-time {clock(state.decay_limit)})",
            Reason.PATIENCE: f"no improvement {checks} (--patience)",
        }[Reason(state.finished)]

    def _limit(self, reason: Reason) -> float:
        """Return the current limit: steps, seconds or checks."""
        return {
            Reason.NONE: 0.0,
            Reason.EPOCHS: self.max_steps,
            Reason.TIME: self.config.max_time or math.inf,
            Reason.PATIENCE: self.patience,
        }[reason]

    def reopen(self, images_changed: bool = False) -> None:
        """Cancel the decay or end of a training if its limit was raised or the images changed.

        Args:
          images_changed: whether the images differ from the last run's, so that the best scores no longer count.
        """
        state = self.state
        if images_changed:
            fresh = TrainState()
            for name in ("best_word_accuracy", "best_cer", "best_perplexity", "best_loss"):
                setattr(state, name, getattr(fresh, name))
        if images_changed or self._limit(Reason(state.decay_reason)) > state.decay_limit:
            state.finished = state.decay_reason = Reason.NONE
            state.decay_start, state.decay_limit, state.waited = -1, 0.0, 0

    def _start_decay(self, reason: Reason, steps: int | None = None) -> None:
        state = self.state
        if self.decays:
            return
        steps = steps or decay_length(state.step, self.decay_share)
        state.decay_start, state.decay_end = state.step, state.step + steps
        state.decay_reason, state.decay_limit = reason, self._limit(reason)
        message = "Step %d: the learning rate now decays to zero, until step %d."
        logging.getLogger("aocr.details").info(message, state.step, state.decay_end)
        log.info("finishing: %d more %s", steps, "step" if steps == 1 else "steps")

    def step_done(self, elapsed: float, check_seconds: float) -> None:
        """Begin the decay in time to end within the budget, and detect the end.

        Args:
          elapsed: seconds of training so far.
          check_seconds: duration of the last check; the budget includes the final one.
        """
        state, max_time = self.state, self.config.max_time
        state.elapsed = elapsed
        steps_left = self.max_steps - state.step
        if steps_left <= decay_length(state.step, self.decay_share):
            self._start_decay(Reason.EPOCHS, max(1, steps_left))
        spent = elapsed + check_seconds
        if max_time and spent + elapsed * self.decay_share >= max_time:
            self._start_decay(Reason.TIME)
        if max_time and spent >= max_time:
            state.finished = state.decay_reason = Reason.TIME
            state.decay_limit = max_time
        elif self.decays and state.step >= state.decay_end:
            state.finished = state.decay_reason

    def judge(self, report: EvalReport, characters: int) -> tuple[Verdict, bool]:
        """Compare a validation with the best so far, and record it if it is better.

        Returns:
          A verdict on the weights, and whether the validation is an improvement.
        """
        state = self.state
        # CER first: for a small validation set it is more precise than word accuracy
        scores = (-report.cer, report.word_accuracy)
        best = (-state.best_cer, state.best_word_accuracy)
        better = scores > best
        verdict = Verdict.WORSE
        # at equal scores the later weights win because they were trained for longer, unless they are less certain
        if better or (scores == best and report.perplexity <= PERPLEXITY_TOLERANCE * state.best_perplexity):
            verdict = Verdict.BEST
        # of weights that score the same, decayed ones read new images better, unless they are less certain
        elif (
            self.ended
            and report.perplexity <= state.best_perplexity
            and not_significantly_worse(report.cer, state.best_cer, characters)
        ):
            verdict = Verdict.AS_GOOD
        if better:
            state.best_cer, state.best_word_accuracy = report.cer, report.word_accuracy
            state.best_perplexity = report.perplexity
        elif scores == best:
            state.best_perplexity = min(state.best_perplexity, report.perplexity)
        more_certain = self.loss_improved(math.log(max(1.0, report.perplexity)))
        return verdict, better or more_certain

    def loss_improved(self, loss: float) -> bool:
        """Return whether a loss per symbol is an improvement; if so, record it."""
        improved = LOSS_FLOOR < loss < LOSS_RATIO * self.state.best_loss
        if improved:
            self.state.best_loss = loss
        return improved

    def check_done(self, improved: bool) -> None:
        """Count the checks without improvement; start the decay when the patience is used up."""
        state = self.state
        state.loss_sum, state.loss_steps = 0.0, 0
        state.waited = 0 if improved else state.waited + 1
        if state.waited >= self.patience:
            self._start_decay(Reason.PATIENCE)

    def seconds_left(self, step_seconds: float) -> float | None:
        """Return the seconds until the end if a limit is known; a step takes `step_seconds`."""
        state, config = self.state, self.config
        if self.decays:
            return (state.decay_end - state.step) * step_seconds
        left = []
        if config.num_epoch is not None:
            left.append((self.max_steps - state.step) * step_seconds)
        if config.max_time:
            left.append(config.max_time - state.elapsed)
        return max(0.0, min(left)) if left else None

    @property
    def share_done(self) -> float | None:
        """Share of the training that is done (0 to 1), if a limit is known."""
        state, config = self.state, self.config
        shares = []
        if self.decays:
            shares.append(state.step / max(1, state.decay_end))
        if config.num_epoch is not None:
            shares.append(state.step / self.max_steps)
        if config.max_time:
            shares.append(state.elapsed / config.max_time)
        return min(1.0, max(shares)) if shares else None
