"""What a person sees while a network trains: a bar on a terminal, lines elsewhere, TensorBoard."""

from __future__ import annotations

import logging
import math
import sys

import tensorflow as tf
from tqdm import tqdm

from aocr.results import EvalReport

log = logging.getLogger("aocr")
steps_log = logging.getLogger("aocr.steps")
"""Lines that the bar makes superfluous on a terminal; they always go to the log file."""

_SCALARS = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1
)


def safe_exp(value: float) -> float:
    """exp, infinity where it overflows."""
    return math.exp(value) if value < 700 else float("inf")


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Shows training steps and validations.

    Args:
      log_dir: folder of TensorBoard's files; None: none are written, and nothing is shown (a worker beside the chief).
      step: number of steps done before.
    """

    def __init__(self, log_dir: str | None, step: int):
        self._writer = tf.summary.create_file_writer(log_dir) if log_dir else tf.summary.create_noop_writer()
        self._validation = ""
        layout = "{desc} {n_fmt} [{elapsed}{postfix}]"
        shown = log_dir and sys.stderr.isatty()
        self._bar = tqdm(initial=step, desc="step", bar_format=layout, disable=not shown)

    def steps(self, step: int, done: int, seconds: float, loss: float, images: float, rate: float, left: float | None):
        """Show the last `done` steps.

        Args:
          step: number of the newest.
          done: number of steps since the last call.
          seconds: mean time of a step.
          loss: mean loss a symbol.
          images: images a second.
          rate: learning rate.
          left: seconds until training ends, if known.
        """
        perplexity = safe_exp(loss)
        speed = f"{images:.0f} images/s"
        steps_log.info("Step %d: %.3fs, loss: %.6f, perplexity: %.6g, %s", step, seconds, loss, perplexity, speed)
        ends = "" if left is None else f", {clock(left)} left"
        state = f"loss {loss:.3f}, perplexity {perplexity:.2f}, {speed}{self._validation}{ends}"
        self._bar.set_postfix_str(state, refresh=False)
        self._bar.update(done)
        self._scalars(step, {"loss": loss, "perplexity": perplexity, "images_per_second": images, "rate": rate})

    def validation(self, step: int, report: EvalReport, remark: str = "") -> None:
        """Show the scores of a validation."""
        self._validation = f", validation {report.word_accuracy:.1%}"
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
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=_SCALARS)

    def close(self) -> None:
        """Take the bar away and finish TensorBoard's file."""
        self._bar.close()
        self._writer.close()
