"""What a person sees while a network trains: a bar on a terminal, lines elsewhere, TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
import time
from collections.abc import Iterator

import tensorflow as tf
from tqdm import tqdm

from aocr.files import one_line
from aocr.results import EvalReport
from aocr.training.schedule import clock

log = logging.getLogger("aocr")
steps_log = logging.getLogger("aocr.steps")
"""Lines that the bar makes superfluous on a terminal; they always go to the log file."""

TICK_SECONDS = 0.5
"""Time between two drawings of the bar, whatever the training is busy with."""
PHASE_LAYOUT = "{desc} [{elapsed}{postfix}]"
SHARE_LAYOUT = "{desc} {percentage:3.0f}% |{bar:10}| [{elapsed}{postfix}]"
"""Layouts of the bar: while no limit is known, and from there on. A narrow terminal cuts off their ends."""

_SCALARS = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
)


def safe_exp(value: float) -> float:
    """exp, infinity where it overflows."""
    return math.exp(value) if value < 700 else float("inf")


class Meter:
    """Speed and loss of the steps since the last line of the log."""

    def __init__(self):
        self.steps = self.images = 0
        self._since = time.monotonic()

    def count(self, images: int) -> None:
        """Take in a step."""
        self.steps, self.images = self.steps + 1, self.images + images

    def pause(self, seconds: float) -> None:
        """Leave out time in which something else was done."""
        self._since += seconds

    @property
    def seconds(self) -> float:
        """Time that the steps took."""
        return time.monotonic() - self._since


class Progress:
    """Shows the phases of a training, its steps and its validations.

    Args:
      shown: whether this process may show a bar: of a cluster only the chief does.
    """

    def __init__(self, shown: bool = True):
        self._writer, self._log_dir = tf.summary.create_noop_writer(), ""
        self._validation = ""
        disabled = not (shown and sys.stderr.isatty())
        self._bar = tqdm(
            desc="starting", total=1.0, bar_format=PHASE_LAYOUT, disable=disabled, leave=False, dynamic_ncols=True
        )
        self._closed = threading.Event()
        if not disabled:
            threading.Thread(target=self._tick, daemon=True).start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc) -> None:
        """Take the bar away and finish TensorBoard's file."""
        self._closed.set()
        self._bar.close()
        with self._recording():
            self._writer.close()

    def _tick(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            self._bar.refresh()

    def record(self, log_dir: str) -> None:
        """Write TensorBoard's files into a folder from here on; where that fails, say so and do without."""
        self._log_dir = log_dir
        with self._recording():
            self._writer = tf.summary.create_file_writer(log_dir)

    @contextlib.contextmanager
    def _recording(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            self._writer = tf.summary.create_noop_writer()
            log.warning("%s: the curves for TensorBoard cannot be written (%s).", self._log_dir, one_line(error))

    def phase(self, name: str, share: float | None = None) -> None:
        """Show what is being done, and which share (0 to 1) of the training is, if that is known."""
        if share is not None:
            self._bar.bar_format, self._bar.n = SHARE_LAYOUT, share
        self._bar.set_description_str(name, refresh=False)

    def steps(self, step: int, seconds: float, loss: float, images: float, rate: float, left: float | None) -> None:
        """Show the last steps.

        Args:
          step: number of the newest.
          seconds: mean time of a step.
          loss: mean loss a symbol.
          images: images a second.
          rate: learning rate.
          left: seconds until training ends, if known.
        """
        perplexity = safe_exp(loss)
        speed = f"{images:.0f} images/s"
        steps_log.info("Step %d: %.3fs, loss: %.6f, perplexity: %.6g, %s", step, seconds, loss, perplexity, speed)
        ends = "" if left is None else f"{clock(left)} left, "
        state = f"{ends}{self._validation}loss {loss:.3f}, {speed}"
        self._bar.set_postfix_str(state, refresh=False)
        self._scalars(step, {"loss": loss, "perplexity": perplexity, "images_per_second": images, "rate": rate})

    def validation(self, step: int, report: EvalReport, remark: str = "") -> None:
        """Show the scores of a validation."""
        self._validation = f"validation {report.word_accuracy:.1%}, "
        scores = (
            f"word accuracy {report.word_accuracy:.2%}, CER {report.cer:.2%}, "
            f"1-NED {report.one_minus_ned:.2%}, score of aocr 0.7.6 {report.upstream_accuracy:.2%}, "
            f"perplexity {report.perplexity:.3f}"
        )
        log.info("Step %d: validation %s%s", step, scores, f" ({remark})" if remark else "")
        values = ("word_accuracy", "cer", "one_minus_ned", "perplexity", "mean_confidence")
        self._scalars(step, {f"validation/{name}": getattr(report, name) for name in values})

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        # tf.summary.scalar would need the tensorboard package; the record it writes does not
        with self._recording(), self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALARS)
