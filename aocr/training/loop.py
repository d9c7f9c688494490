"""The training loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from aocr.config import TrainConfig
from aocr.errors import TrainingError
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.reading.evaluator import Evaluator
from aocr.training.cluster import Cluster
from aocr.training.extra import ExtraImages
from aocr.training.feed import feed
from aocr.training.learner import Learner
from aocr.training.monitor import Monitor, log
from aocr.training.prepare import Plan
from aocr.training.schedule import Reason, Schedule, Verdict
from aocr.training.step import TrainStep


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    reason: str
    """Why, in words."""
    interrupted: bool
    """Whether a signal ended it, after everything was saved."""
    step: int
    """Steps done in total."""
    trained: bool = True
    """Whether this call did any steps."""
    can_read: bool = True
    """Whether the model reads above chance."""
    reads: str = ""
    """How well it reads images that it had not seen, in a sentence; empty: not known."""
    weights: WeightsInfo = field(default_factory=WeightsInfo)
    """The weights that test, predict and export will use, with their scores."""


def run_loop(
    plan: Plan, config: TrainConfig, learner: Learner, schedule: Schedule, evaluator: Evaluator | None,
    extra: ExtraImages, monitor: Monitor, folder: ModelFolder, cluster: Cluster,
) -> Outcome:  # fmt: skip
    """Train until the budget is spent, the model stops improving, or a signal arrives.

    Args:
      plan: the data.
      config: the settings.
      learner: the model, its optimizer and its state, which all change.
      schedule: decides the learning rate, and when to stop.
      evaluator: scores the validation set, if there is one.
      extra: images to mix in.
      monitor: watches time and signals, and logs.
      folder: where the chief writes checkpoints and the best weights.
      cluster: the devices.

    Raises:
      TrainingError: the loss is not finite, the disk is full, or a worker is lost.
    """
    state = learner.state
    take_step = TrainStep(learner, config, cluster)
    with monitor:
        for epoch, number, batch in feed(plan, config, learner, schedule, extra, monitor):
            if state.step == state.decay_start:
                learner.average.adopt()  # the latest weights are too far from it for a short decay
            rate = schedule.learning_rate
            do_step = partial(take_step, batch, rate, state.step)
            if monitor.first_seconds or cluster.num_workers > 1:
                loss = do_step()
            else:  # building its graph takes long, and there is nothing new to save yet
                loss = monitor.prepare("first step", do_step, is_training=True)
                if monitor.stopped_by:
                    break
            state.step, state.epoch, state.batch = state.step + 1, epoch, number + 1
            check_is_due = state.step % config.steps_per_checkpoint == 0
            monitor.note_step(loss, batch.widths.shape[0], rate, check_is_due)

            ends, closes = schedule.ended and not monitor.stopped_by, False
            if check_is_due or schedule.must_close or ends:
                training_loss, report, verdict = monitor.begin_check(), None, Verdict.WORSE
                if evaluator and not state.closed:
                    monitor.display.phase("validating")
                    with learner.average.applied():
                        samples = evaluator.gathered()
                    report = evaluator.report(samples)
                    verdict, improved = schedule.judge(report, sum(len(sample.label) for sample in samples))
                else:
                    improved = schedule.loss_improved(training_loss)
                monitor.end_check(training_loss, report, verdict.value)
                schedule.check_done(improved)

                if report and verdict is not Verdict.WORSE and cluster.is_chief:
                    is_last = verdict is Verdict.AS_GOOD
                    info = WeightsInfo(state.step, report.word_accuracy, report.cer, is_last)
                    folder.write_weights(learner.averaged_weights(), info)
                closes = schedule.must_close
                if closes:
                    state.closed, state.batch = True, 0
                    log.info("From here on the validation images are trained on too.")

            if check_is_due or closes or schedule.ended or monitor.stopped_by:
                monitor.display.phase("saving")
                save(plan, learner, evaluator, extra, monitor, folder, cluster)
                monitor.resume_steps()
            if schedule.ended or monitor.stopped_by:
                break
    return _outcome(schedule, monitor, config)


def save(
    plan: Plan, learner: Learner, evaluator: Evaluator | None, extra: ExtraImages, monitor: Monitor,
    folder: ModelFolder, cluster: Cluster,
) -> None:  # fmt: skip
    """Write a checkpoint, the record of training images and, without validation, the weights to read with.

    Raises:
      TrainingError: a file cannot be written, or the workers' weights differ.
    """
    monitor.collect_losses()
    _check_workers(learner, cluster)
    if not cluster.is_chief:
        return
    if (evaluator is None and not learner.state.closed) or not folder.has_weights():
        folder.write_weights(learner.averaged_weights(), WeightsInfo(learner.state.step))
    learner.save(folder)
    folder.write_learnt(extra.with_learnt(plan.learnt))


def _check_workers(learner: Learner, cluster: Cluster) -> None:
    """Check that every variable is identical on all workers, bit by bit."""
    if cluster.num_workers == 1:
        return
    digests = cluster.exchange(learner.digest())
    differing = next((worker for worker, digest in enumerate(digests) if digest != digests[0]), None)
    if differing is not None:
        raise TrainingError(
            f"Step {learner.state.step}: the weights of worker {differing} differ from the chief's. The last "
            "checkpoint is kept. Give all workers the same program, data and kind of machine, and start them again."
        )


def _outcome(schedule: Schedule, monitor: Monitor, config: TrainConfig) -> Outcome:
    if monitor.stopped_by:
        return Outcome(f"stopped by {monitor.stopped_by}", True, schedule.state.step)
    reason = schedule.reason
    if schedule.state.finished == Reason.TIME and monitor.first_seconds > (config.max_time or 0) / 2:
        reason += f"; the first step alone took {monitor.first_seconds:.0f} s"
    return Outcome(reason, False, schedule.state.step)
