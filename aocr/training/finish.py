"""The end of a training: calibrate the confidence, log some readings, write the report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from aocr import files
from aocr.data.preprocess import batched
from aocr.data.records import read_examples
from aocr.folder.model_folder import ModelFolder
from aocr.folder.variables import assign_weights
from aocr.reading.evaluator import evaluate
from aocr.reading.predictor import load_network
from aocr.report.lines import pluralise, sample_lines
from aocr.report.page import write_html_report
from aocr.results import Prediction, Sample
from aocr.text.metrics import accuracy_interval, score
from aocr.training.calibration import TemperedReader
from aocr.training.extra import ExtraImages
from aocr.training.learner import Learner
from aocr.training.loop import Outcome
from aocr.training.monitor import Display, details_log, log
from aocr.training.prepare import Plan
from aocr.training.request import TrainRequest
from aocr.training.schedule import GUESSING_CER

NUM_READ = 12
"""Number of training images read at the end if there is no validation set."""
NUM_LOGGED = 6
"""Number of images whose readings are logged."""


def finish(
    request: TrainRequest, plan: Plan, learner: Learner, extra: ExtraImages, folder: ModelFolder, outcome: Outcome,
    display: Display,
) -> Outcome:  # fmt: skip
    """Calibrate, log readings and write the report; if all images were trained on, write the last weights."""
    extra.remove_files()
    closed = learner.state.closed
    is_honest = plan.validation is not None and not folder.weights_info().is_closed
    if is_honest:
        display.phase("calibrating the confidence")
        outcome = replace(outcome, can_read=_calibrate(folder, learner, plan))
    elif outcome.trained and not closed:
        display.phase("reading a few images")
        outcome = replace(outcome, can_read=_read_training_images(folder, learner, plan))
    if request.output_dir and is_honest:
        _report_validation(request, plan)
    elif request.output_dir:
        log.warning("--output-dir %s: no report, because all images were trained on.", request.output_dir)
    if closed:  # scores and temperature are those measured before the validation images were trained on
        info = replace(folder.weights_info(), step=learner.state.step, is_last=True, is_closed=True)
        folder.write_weights(learner.averaged_weights(), info)
        usable = plan.data.summary.split_keys[~plan.unusable]
        folder.write_learnt(extra.with_learnt(np.union1d(plan.learnt, usable)))
    return replace(outcome, reads=describe_reading(folder.weights_info().word_accuracy, plan.num_validation))


def describe_reading(word_accuracy: float | None, num_images: int) -> str:
    """Say how many of 100 new images are read, given the word accuracy on images that were not trained on."""
    if word_accuracy is None or not num_images:
        return ""
    correct = round(word_accuracy * num_images)
    low, high = accuracy_interval(correct, num_images)
    new = f"{correct} of {num_images} that it had not seen; likely {100 * low:.0f} to {100 * high:.0f}"
    return f"Reads about {100 * correct / num_images:.0f} of 100 images like yours ({new})."


def _calibrate(folder: ModelFolder, learner: Learner, plan: Plan) -> bool:
    """Fit the temperature of the best weights, record it, log readings; return whether they are above chance."""
    assign_weights(folder.path, learner.model, folder.read_weights())
    reader = TemperedReader(learner.model, plan.config.charset)
    temperature, samples = reader.calibrate(plan.validation)  # type: ignore[arg-type]
    info = replace(folder.weights_info(), temperature=temperature, num_calibration_images=len(samples))
    folder.write_config(plan.config, info)
    correct = sum(sample.correct for sample in samples)
    shares = (correct / len(samples), *accuracy_interval(correct, len(samples)))
    message = "It reads %d of %s: %.0f %%; of all such images between %.0f and %.0f %% (95 %% sure)."
    details_log.info(message, correct, pluralise(len(samples), "validation image"), *(100 * share for share in shares))
    details_log.info(
        "Confidence calibrated on %s: temperature %.2f.", pluralise(len(samples), "validation image"), temperature
    )
    return _log_readings(samples, "validation images") <= GUESSING_CER


def _read_training_images(folder: ModelFolder, learner: Learner, plan: Plan) -> bool:
    """Read the first training images and log some of the readings; return whether they are above chance."""
    assign_weights(folder.path, learner.model, folder.read_weights())
    samples = []
    for example in read_examples(plan.data.paths[0], NUM_READ):  # one by one, eagerly: building a graph takes longer
        images, widths, _ = batched(tf.constant([example.image]), plan.config)
        reading = learner.model.read(images, widths)
        text = plan.config.charset.decode(np.asarray(reading.ids)[0])
        samples.append(Sample("", example.label, Prediction(text, float(reading.confidence[0]))))
    return _log_readings(samples, "training images (there is no validation set)") <= GUESSING_CER


def _log_readings(samples: Sequence[Sample], images: str) -> float:
    """Log a few readings; return the CER of all of them."""
    log.info("What the model reads now in %s: label, text read, confidence", images)
    for line in sample_lines(samples[:: -(-len(samples) // NUM_LOGGED)]):
        log.info("  %s", line)
    return score(samples).cer


def _report_validation(request: TrainRequest, plan: Plan) -> None:
    """Write an HTML report of the validation set, read with the best weights."""
    source, part = plan.validation_data  # type: ignore[misc]
    predictor = load_network(request.model_dir)
    report, samples = evaluate(predictor, source, part=part, use_distance=request.use_distance, keep_source=True)
    path = os.path.join(request.output_dir, "report.html")  # type: ignore[arg-type]
    files.make_folder(request.output_dir)  # type: ignore[arg-type]
    write_html_report(path, report, samples, f"Validation of {request.model_dir}")
    log.info("Report of the validation set written to %s", path)
