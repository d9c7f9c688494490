"""When to stop and how fast to learn: a state machine that knows no clock and no TensorFlow.

The learning rate warms up, stays on a plateau, and decays to zero once the search is over. The plateau needs no
horizon: it lasts until validation stops improving or the budget is nearly spent. The decay takes a fixed share of the
steps done so far (warmup-stable-decay, Hu et al., 2024, "MiniCPM").
"""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum
from typing import Any

from aocr.config import TrainConfig
from aocr.results import EvalReport
from aocr.text.metrics import not_significantly_worse

log = logging.getLogger("aocr")

WARMUP_STEPS = 100
DECAY_SHARE, CLOSING_SHARE = 0.1, 0.3
"""Steps of the decay as a share of the steps before it; the second where held-out images are learnt from in it."""
LOSS_FLOOR = 5e-3
"""A loss per symbol at which nothing is left to learn."""
LOSS_RATIO = 0.97
"""A loss counts as better when it is below this share of the best."""
PERPLEXITY_TOLERANCE = 1.02
"""Of two validations with equal scores the later is the best unless its perplexity exceeds the best by this factor."""
GUESSING_CER = 0.5
"""A CER above which a network has not begun to read: hard images keep it there for many checks."""
GUESSING_PATIENCE = 2
"""How many times the patience is given to a network that has not begun to read."""
STARTED_PATIENCE = 0.4
"""How many times the patience is given to a network that could read before."""
READ_ALL, STARTED_READ_ALL = 2, 4
"""By what the patience is divided once all of the validation set is read; the second where it could read before."""
TELLING = 40
"""Images of a validation set from which on it tells much that all are read; of fewer the patience is not divided. Of
all such images at most 3 / 40 = 7 % are misread then, 95 % sure (rule of three)."""
MAX_STEPS = 2**30
"""More than anything that a training counts."""


class Reason(IntEnum):
    """Why the learning rate decays, and then why a training has ended; the numbers are stored in checkpoints."""

    GOING = 0
    EPOCHS = 1
    TIME = 2
    PATIENCE = 3


class Kept(Enum):
    """Why the weights of a validation are kept as those to read with, in the words of the log."""

    NOT = ""
    BEST = "best so far"
    AS_GOOD = "as good as the best"


STORED_NAMES = {"decay_start": "fall_start", "decay_end": "fall_end", "decay_reason": "fall_reason"}
"""Fields of `TrainState` whose names in checkpoints are older than the code's."""


@dataclass
class TrainState:
    """Where a training stands; saved with every checkpoint.

    Attributes:
      step: steps done.
      epoch, batch: number of the current epoch, from 0, and how many of its batches are done.
      elapsed: seconds of training.
      waited: checks in a row without progress.
      best_word_accuracy, best_cer: scores of the best validation, not of weights kept because they are as good.
      best_perplexity: lowest perplexity of a validation with these scores.
      best_loss: lowest loss per symbol of validation, or of training where there is no validation.
      loss_sum, loss_steps: training loss since the last check.
      decay_start, decay_end: steps between which the learning rate decays; a negative start: not yet.
      decay_reason: why it decays.
      patience: in force when the decay began.
      finished: why the training has ended.
      closed: 1 where the images that are held out have been learnt from.
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
    decay_start: int = -1
    decay_end: int = 0
    decay_reason: int = Reason.GOING
    patience: int = 0
    finished: int = Reason.GOING
    closed: int = 0

    def to_stored(self) -> dict[str, int | float]:
        """The values by the names that checkpoints use."""
        return {STORED_NAMES.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_stored(cls, values: dict[str, Any]) -> TrainState:
        """The inverse of `to_stored`.

        Raises:
          ValueError: a number cannot be; a training that began with it might never end.
        """
        state = cls(**{name: values[STORED_NAMES.get(name, name)] for name in asdict(cls())})
        decays = state.decay_start >= 0
        counts = {name: value for name, value in asdict(state).items() if isinstance(value, int)}
        can_be = {name: 0 <= value < MAX_STEPS for name, value in counts.items()}
        can_be["decay_start"] = -1 <= state.decay_start < MAX_STEPS
        can_be["elapsed"] = 0 <= state.elapsed < math.inf
        can_be["decay_end"] &= not decays or state.decay_start <= min(state.step, state.decay_end)
        can_be["decay_reason"] = state.decay_reason in list(Reason)[decays:]
        can_be["closed"] = state.closed in (0, 1)
        can_be["finished"] = state.finished in list(Reason)
        if odd := next((name for name, possible in can_be.items() if not possible), None):
            raise ValueError(f"{odd} = {getattr(state, odd)}")
        return state


def learning_rate_factor(step: int, decay_start: int, decay_end: int) -> float:
    """Share of the full learning rate at a step.

    Args:
      step: number of steps done.
      decay_start: step at which the decay began; negative: it has not.
      decay_end: step at which the rate reaches zero.
    """
    rate = min(1.0, (step + 1) / WARMUP_STEPS)
    if decay_start >= 0:
        rate *= max(0.0, (decay_end - step) / max(1, decay_end - decay_start))
    return rate


def decay_length(step: int, share: float = DECAY_SHARE) -> int:
    """Steps of a decay that begins after `step` steps and takes a share of them."""
    return max(1, round(step * share))


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Schedule:
    """Decides when the learning rate decays, when training ends, and which weights are kept.

    Args:
      config: the limits.
      steps_per_epoch: batches an epoch.
      num_validation: images of the validation set; 0: there is none.
      started: whether the network could read before.
      closes: whether held-out images are learnt from while the learning rate decays.
    """

    def __init__(
        self, config: TrainConfig, steps_per_epoch: int, num_validation: int, started: bool = False,
        closes: bool = False,
    ):  # fmt: skip
        self.config, self.num_validation, self.started = config, num_validation, started
        self.decay_share, self.steps_per_epoch = CLOSING_SHARE if closes else DECAY_SHARE, steps_per_epoch
        self.max_steps = config.max_epochs * steps_per_epoch
        self.state = TrainState()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        state = self.state
        return self.config.learning_rate * learning_rate_factor(state.step, state.decay_start, state.decay_end)

    @property
    def patience(self) -> int:
        """Checks without progress that end the search: more while next to nothing is read, fewer once all is."""
        patience, cer, divisor = self.config.patience, self.state.best_cer, READ_ALL
        if self.started and cer <= GUESSING_CER:
            patience, divisor = math.ceil(patience * STARTED_PATIENCE), STARTED_READ_ALL
        if not self.num_validation or 0 < cer <= GUESSING_CER:
            return patience
        if cer:
            return GUESSING_PATIENCE * patience
        return math.ceil(patience / divisor) if self.num_validation >= TELLING else patience

    @property
    def ended(self) -> bool:
        """Whether training has ended."""
        return self.state.finished != Reason.GOING

    @property
    def reason(self) -> str:
        """Why training has ended, in words."""
        state, epochs = self.state, -(-self.state.step // self.steps_per_epoch)
        checks = f"for {state.patience} checks in a row" if state.patience > 1 else "at the last check"
        return {
            Reason.GOING: "it has not ended",
            Reason.EPOCHS: f"the steps of {epochs} {'epochs' if epochs > 1 else 'epoch'} are done (--num-epoch)",
            Reason.TIME: f"{clock(state.elapsed)} of training time are used up (--max-time)",
            Reason.PATIENCE: f"it got no better {checks} (--patience)",
        }[Reason(state.finished)]

    def reopen(self, is_new: bool = False) -> None:
        """Let an ended training go on where the limit that ended it was raised.

        Args:
          is_new: whether there are new images: then nothing that was found on the others ends it, and the best so far
            is none.
        """
        state, config, fresh = self.state, self.config, TrainState()
        if is_new:
            for name in ("best_word_accuracy", "best_cer", "best_perplexity", "best_loss"):
                setattr(state, name, getattr(fresh, name))
        raised = {
            Reason.GOING: is_new,
            Reason.EPOCHS: self.max_steps > state.step,
            Reason.TIME: config.max_time is None or config.max_time > state.elapsed + 1,
            Reason.PATIENCE: is_new or self.patience > state.patience,
        }[Reason(state.finished)]
        if raised:
            state.finished = state.decay_reason = Reason.GOING
            state.decay_start = -1
            state.waited = 0

    def _start_decay(self, reason: Reason, steps: int | None = None) -> None:
        state = self.state
        if state.decay_start >= 0:
            return
        steps = steps or decay_length(state.step, self.decay_share)
        state.decay_start, state.decay_end = state.step, state.step + steps
        state.decay_reason, state.patience = reason, self.patience
        log.info("Step %d: the learning rate now decays to zero, until step %d.", state.step, state.decay_end)

    def step_done(self, elapsed: float, check_seconds: float) -> None:
        """Begin the decay in time for it to end with the budget, and note the end.

        Args:
          elapsed: seconds of training so far.
          check_seconds: what the last check took: another at the end is part of the budget.
        """
        state, max_time = self.state, self.config.max_time
        state.elapsed = elapsed
        left = self.max_steps - state.step
        if left <= decay_length(state.step, self.decay_share):
            self._start_decay(Reason.EPOCHS, max(1, left))
        spent = elapsed + check_seconds
        if max_time and spent + elapsed * self.decay_share >= max_time:
            self._start_decay(Reason.TIME)
        if max_time and spent >= max_time:
            state.finished = Reason.TIME
        elif state.decay_start >= 0 and state.step >= state.decay_end:
            state.finished = state.decay_reason
        if state.finished == Reason.TIME:
            state.elapsed = max(elapsed, max_time or 0.0)  # the budget is spent: only a higher one goes on

    def judge(self, report: EvalReport, characters: int) -> tuple[Kept, bool]:
        """Compare a validation with the best so far, and remember it where it is better.

        Args:
          report: its scores.
          characters: of all its labels together.

        Returns:
          Why its weights are to be kept, and whether it is progress.
        """
        state = self.state
        # characters first: on the few words of a small validation set their rate says more than that of words
        scores = (-report.cer, report.word_accuracy)
        best = (-state.best_cer, state.best_word_accuracy)
        kept, better = Kept.NOT, scores > best
        # with equal scores the later is kept unless it is clearly less sure: it has learnt longer
        if better or (scores == best and report.perplexity <= PERPLEXITY_TOLERANCE * state.best_perplexity):
            kept = Kept.BEST
        # at the end the learning rate is zero, and such weights read new images better than others of the same score
        elif self.ended and not_significantly_worse(report.cer, state.best_cer, characters):
            kept = Kept.AS_GOOD
        if better:
            state.best_cer, state.best_word_accuracy = report.cer, report.word_accuracy
            state.best_perplexity = report.perplexity
        elif scores == best:
            state.best_perplexity = min(state.best_perplexity, report.perplexity)
        surer = self.loss_improved(math.log(max(1.0, report.perplexity)))
        return kept, better or surer

    def loss_improved(self, loss: float) -> bool:
        """Whether a loss per symbol is progress; if so it is remembered."""
        improved = LOSS_FLOOR < loss < LOSS_RATIO * self.state.best_loss
        if improved:
            self.state.best_loss = loss
        return improved

    def check_done(self, progress: bool) -> None:
        """Count the checks without progress; the decay begins when patience is at its end."""
        state = self.state
        state.loss_sum, state.loss_steps = 0.0, 0
        state.waited = 0 if progress else state.waited + 1
        if state.waited >= self.patience:
            self._start_decay(Reason.PATIENCE)

    def seconds_left(self, step_seconds: float) -> float | None:
        """Seconds until the end where a limit is known; `step_seconds`: of one step."""
        state, config = self.state, self.config
        if state.decay_start >= 0:
            return (state.decay_end - state.step) * step_seconds
        left = []
        if config.num_epoch is not None:
            left.append((self.max_steps - state.step) * step_seconds)
        if config.max_time:
            left.append(config.max_time - state.elapsed)
        return max(0.0, min(left)) if left else None

    @property
    def share_done(self) -> float | None:
        """How much of the training is done, between 0 and 1, where a limit is known."""
        state, config = self.state, self.config
        shares = []
        if state.decay_start >= 0:
            shares.append(state.step / max(1, state.decay_end))
        if config.num_epoch is not None:
            shares.append(state.step / self.max_steps)
        if config.max_time:
            shares.append(state.elapsed / config.max_time)
        return min(1.0, max(shares)) if shares else None
