"""Progress bar, log lines and curves of a training, its time, and the signals that stop it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, TypeVar

import tensorflow as tf

from aocr import files
from aocr.errors import TrainingError
from aocr.folder.model_folder import CURVES, HISTORY, LOGS, ModelFolder
from aocr.interrupts import deferred
from aocr.machine import progress_bar
from aocr.report.curves import Point, draw_curves
from aocr.results import EvalReport
from aocr.training.cluster import Cluster, lost_worker_errors
from aocr.training.schedule import Schedule, clock

log = logging.getLogger("aocr")
steps_log = logging.getLogger("aocr.steps")
details_log = logging.getLogger("aocr.details")
"""Lines that are not printed while a terminal shows the bar, except with --verbose; the log file always has them."""

_Result = TypeVar("_Result")

LOG_STEPS = 10
"""Steps between two lines of the log."""
TICK_SECONDS = 0.5
"""Seconds between two updates of the bar."""
PHASE_LAYOUT = "{desc} [{elapsed}{postfix}]"
SHARE_LAYOUT = "{desc} {percentage:3.0f}% |{bar:10}| [{elapsed}{postfix}]"
"""Layouts of the bar before and after a limit is known. A narrow terminal cuts off the end."""
_SCALARS = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
)


class Display:
    """A progress bar that shows the phase of a training; hidden if stderr is not a terminal.

    Args:
      is_enabled: whether this process may show it; in a cluster only the chief does.
    """

    def __init__(self, is_enabled: bool = True):
        self._bar = progress_bar(
            is_enabled, desc="starting", total=1.0, bar_format=PHASE_LAYOUT, leave=False, dynamic_ncols=True
        )
        self._closed = threading.Event()
        if not self._bar.disable:
            threading.Thread(target=self._tick, daemon=True).start()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exc) -> None:
        self._closed.set()
        self._bar.close()

    def _tick(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            self._bar.refresh()

    def phase(self, name: str, share: float | None = None) -> None:
        """Show the name of the phase, and the share of the training that is done (0 to 1), if known."""
        if share is not None:
            self._bar.bar_format, self._bar.n = SHARE_LAYOUT, share
        self._bar.set_description_str(name, refresh=False)

    def track(self, items: Iterable[_Result], total: int, name: str) -> Iterator[_Result]:
        """Yield the items of a phase, and show how many of how many are done."""
        for number, item in enumerate(items):
            self.phase(f"{name}, {number:,} of {total:,}")
            yield item

    def status(self, text: str) -> None:
        """Show text after the bar."""
        self._bar.set_postfix_str(text, refresh=False)


class Monitor:
    """Tracks time, signals and losses of the training loop; writes log lines, the history and TensorBoard files.

    Inside the `with` block the first Ctrl-C or SIGTERM is only recorded. In a cluster all workers use the chief's
    clock, and a signal to one stops all.

    Args:
      display: shows the phases.
      cluster: only its chief writes.
      folder: the model folder.
      schedule: the training's schedule.

    Attributes:
      elapsed: seconds of training, earlier runs included.
      check_seconds: duration of the last check.
      first_seconds: duration of the first step.
      stopped_by: name of the signal that stops the training, or None.
    """

    def __init__(self, display: Display, cluster: Cluster, folder: ModelFolder, schedule: Schedule):
        self.display, self.cluster, self.folder = display, cluster, folder
        self.schedule, self.state = schedule, schedule.state
        self.elapsed = self.check_seconds = self.first_seconds = 0.0
        self.stopped_by: str | None = None
        self._last_validation = ""
        self._losses: list[tf.Tensor] = []
        self._steps = self._images = 0
        self._log_dir = os.environ.get("AIP_TENSORBOARD_LOG_DIR") or folder.file(LOGS)
        self._writer = tf.summary.create_noop_writer()
        self._points: list[Point] = []
        if cluster.is_chief:
            with self._recording():
                self._writer = tf.summary.create_file_writer(self._log_dir)
            self._points = _read_history(folder, self.state.step)

    def __enter__(self) -> Monitor:
        self._stack = ExitStack()
        self._interrupts = self._stack.enter_context(deferred("stopping after this step, saving ..."))
        self._stack.enter_context(lost_worker_errors(self.cluster))
        now = time.monotonic()
        self._start, self._since, self._check_start = now - self.state.elapsed, now, now
        return self

    def __exit__(self, *exc) -> bool | None:
        with self._recording():
            self._writer.close()
        return self._stack.__exit__(*exc)

    def prepare(self, name: str, function: Callable[[], _Result], is_training: bool = False) -> _Result | None:
        """Call a function that a signal ends at once with the result None; its time counts only if it `is_training`."""
        start = time.monotonic()
        self.display.phase(name)
        result = self._interrupts.run(function)
        self.stopped_by = self._interrupts.caught
        seconds = 0.0 if is_training else time.monotonic() - start
        self._start, self._since = self._start + seconds, self._since + seconds
        return result

    def note_step(self, loss: tf.Tensor, num_images: int, rate: float, check_is_due: bool) -> None:
        """Record the loss of a step, the time and signals; log every few steps.

        Raises:
          TrainingError: the loss is not finite.
        """
        self.first_seconds = self.first_seconds or time.monotonic() - self._since
        self._losses.append(loss)
        self._steps += 1
        self._images += num_images * self.cluster.num_workers
        is_logged = self.state.step % LOG_STEPS == 0
        if self.cluster.num_workers == 1 or is_logged or check_is_due:
            self._agree()
        if is_logged:
            self._log_steps(rate)
        self.schedule.step_done(self.elapsed, self.check_seconds)
        self.display.phase(f"training, step {self.state.step}", self.schedule.share_done)

    def _agree(self) -> None:
        """Record the time and any signal; in a cluster the chief's time, and a signal to any worker."""
        self.elapsed, self.stopped_by = time.monotonic() - self._start, self._interrupts.caught
        if self.cluster.num_workers > 1:
            rows = self.cluster.exchange([self.elapsed, self.check_seconds, self.stopped_by])
            self.elapsed, self.check_seconds, _ = rows[0]
            self.stopped_by = next((signal for *_, signal in rows if signal), None)

    def _log_steps(self, rate: float) -> None:
        step, loss, seconds = self.state.step, self.collect_losses(), time.monotonic() - self._since
        perplexity, speed = math.exp(min(loss, 700)), f"{self._images / seconds:.0f} images/s"  # exp(710) overflows
        line = "Step %d: %.3fs, loss: %.6f, perplexity: %.6g, %s"
        steps_log.info(line, step, seconds / self._steps, loss, perplexity, speed)
        seconds_left = self.schedule.seconds_left(seconds / self._steps)
        left = "" if seconds_left is None else f"{clock(seconds_left)} left, "
        self.display.status(left + (self._last_validation or f"loss {loss:.3f}, {speed}"))
        values = {"loss": loss, "perplexity": perplexity, "images_per_second": self._images / seconds, "rate": rate}
        self._record(values)
        self._steps = self._images = 0
        self._since = time.monotonic()

    def collect_losses(self) -> float:
        """Return the mean loss of the steps since the last call; add their losses to the state.

        Raises:
          TrainingError: it is not finite.
        """
        if not self._losses:
            return float("nan")
        total, count = float(tf.add_n(self._losses)), len(self._losses)
        self._losses.clear()
        if not math.isfinite(total):
            raise TrainingError(
                f"Step {self.state.step}: the loss is not a finite number. Run again with a lower "
                "--initial-learning-rate or --precision float32; training resumes from the last checkpoint."
            )
        self.state.loss_sum += total
        self.state.loss_steps += count
        return total / count

    def begin_check(self) -> float:
        """Begin a check of the training; return the mean loss since the last one."""
        self._check_start = time.monotonic()
        self.collect_losses()
        return self.state.loss_sum / max(1, self.state.loss_steps)

    def end_check(self, loss: float, report: EvalReport | None, remark: str) -> None:
        """Record a check.

        Args:
          loss: mean training loss since the last check.
          report: scores of the validation, if there was one.
          remark: comment on the scores, for the log.
        """
        scores = {}
        if report:
            scores = {name: getattr(report, name) for name in ("perplexity", "word_accuracy", "cer")}
            self._log_validation(report, remark)
        if self.cluster.is_chief:
            self._points.append(Point(self.state.step, loss, **scores))
            _write_history(self.folder, self._points)
        self.check_seconds = time.monotonic() - self._check_start

    def resume_steps(self) -> None:
        """Exclude the time since `begin_check` from the measured speed of the steps."""
        self._since += time.monotonic() - self._check_start

    def _log_validation(self, report: EvalReport, remark: str) -> None:
        self._last_validation = f"validation {report.word_accuracy:.1%}"
        scores = (
            f"word accuracy {report.word_accuracy:.2%}, CER {report.cer:.2%}, "
            f"1-NED {report.one_minus_ned:.2%}, score of aocr 0.7.6 {report.upstream_accuracy:.2%}, "
            f"perplexity {report.perplexity:.3f}"
        )
        details_log.info("Step %d: validation %s%s", self.state.step, scores, f" ({remark})" if remark else "")
        log.info("%s", check_line(self.state.step, self.elapsed, report, remark))
        names = ("word_accuracy", "cer", "one_minus_ned", "perplexity", "mean_confidence")
        self._record({f"validation/{name}": getattr(report, name) for name in names})

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        """Continue without TensorBoard's files if they cannot be written."""
        try:
            yield
        except tf.errors.OpError as error:
            self._writer = tf.summary.create_noop_writer()
            message = "%s: cannot write the curves for TensorBoard (%s)."
            log.warning(message, self._log_dir, files.one_line(error))

    def _record(self, values: dict[str, float]) -> None:
        # tf.summary.scalar would need the tensorboard package; the record it writes does not
        with self._recording(), self._writer.as_default(step=self.state.step):
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALARS)


def check_line(step: int, seconds: float, report: EvalReport, remark: str) -> str:
    """Return the line of a check, in columns: at most 80 characters."""
    words, wrong = f"{100 * report.word_accuracy:.1f}", f"{100 * report.cer:.1f}"
    line = f"step {step:>6,}  {clock(seconds):>7}   words {words:>5} %   characters wrong {wrong:>5} %   {remark}"
    return line.rstrip()


def _read_history(folder: ModelFolder, step: int) -> list[Point]:
    """Return the checks up to a step; a resumed training repeats later ones."""
    points = []
    try:
        for values in (folder.read_json(HISTORY) or {}).get("points", []):
            numbers: dict[str, Any] = {name: math.nan if value is None else value for name, value in values.items()}
            points.append(Point(**numbers))
    except (TypeError, AttributeError):
        log.warning("%s is damaged: the curves start again.", folder.file(HISTORY))
        return []
    return [point for point in points if point.step <= step]


def _write_history(folder: ModelFolder, points: list[Point]) -> None:
    """Write and plot the checks; if the plot cannot be written, only log a warning."""
    values = [{k: v if math.isfinite(v) else None for k, v in asdict(point).items()} for point in points]
    folder.write_json(HISTORY, {"points": values})
    path = folder.file(CURVES)
    try:
        files.write(path, draw_curves(points))
    except OSError as error:
        log.warning("%s cannot be written (%s).", path, files.one_line(error))
