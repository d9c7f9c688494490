"""The batches of a training, from the current state on."""

from __future__ import annotations

from collections.abc import Iterator

from aocr.config import TrainConfig
from aocr.data.pipeline import Batch
from aocr.training.extra import ExtraImages
from aocr.training.learner import Learner
from aocr.training.monitor import Monitor
from aocr.training.prepare import Plan
from aocr.training.schedule import Schedule


def feed(
    plan: Plan, config: TrainConfig, learner: Learner, schedule: Schedule, extra: ExtraImages, monitor: Monitor
) -> Iterator[tuple[int, int, Batch]]:
    """Yield (epoch, index of the batch in the epoch, batch) without end, or until a signal stops the preparation.

    The pipeline is rebuilt when the extra images are renewed, and when validation images become training images.

    Args:
      plan: the plan of the training.
      config: seed and augmentation.
      learner: its state says where to continue; its averaged weights make the extra images.
      schedule: decides whether extra images are still renewed.
      extra: images to mix in.
      monitor: shows the phases, and stops the preparation of extra images after a signal.
    """
    state = learner.state
    strength = config.augment_strength if config.augment else 0.0
    phase = "first step"

    def renews() -> bool:
        """Return whether there are still validation images and the learning rate does not decay yet."""
        return not schedule.decays and not state.closed

    while True:
        mixed_in = None
        if extra.is_used:
            with learner.average.applied():
                mixed_in = monitor.prepare("preparing extra images", lambda: extra.batches(state.step, renews()))
            if monitor.stopped_by:  # the state is that of the last checkpoint
                return
        monitor.display.phase(phase)
        closed = state.closed
        batches = plan.closing if closed and plan.closing else plan.training
        for epoch, number, batch in batches.training_batches(state.epoch, state.batch, config.seed, strength, mixed_in):
            if state.closed != closed or (renews() and extra.is_due(state.step)):
                break
            yield int(epoch), int(number), batch
        phase = f"training, step {state.step}"
