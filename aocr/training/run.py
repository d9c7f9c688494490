"""A training from start to end: plan, network, steps, calibration, report."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

import numpy as np
import tensorflow as tf

import aocr
from aocr import files, machine
from aocr.config import ModelConfig
from aocr.data.datasets import open_dataset
from aocr.data.preprocess import batched
from aocr.data.records import read_examples
from aocr.errors import AocrError, ConfigError, TrainingError
from aocr.folder.model_folder import CALIBRATION, TRAIN, ModelFolder
from aocr.folder.shapes import check_shapes, key_shapes
from aocr.folder.variables import load_weights
from aocr.folder.weights import read_weights
from aocr.model.recognizer import Recognizer, build_recognizer
from aocr.reading.evaluator import Evaluator, evaluate
from aocr.reading.network import NetworkReader, decode_with_fallback
from aocr.reading.predictor import load_network
from aocr.report.lines import pluralise, sample_lines
from aocr.report.page import write_html_report
from aocr.results import Prediction, Sample
from aocr.text.metrics import accuracy_interval, score
from aocr.training.calibration import calibrate
from aocr.training.cluster import Cluster, connect
from aocr.training.fine_tune import covers_most_of, read_start, start_from
from aocr.training.prepare import Plan, TrainRequest, make_plan, resumed_config
from aocr.training.progress import Progress, log
from aocr.training.rounds import Rounds, Unlabelled, open_unlabelled
from aocr.training.schedule import GUESSING_CER
from aocr.training.trainer import Outcome, Trainer

NUM_LOOKED_AT = 12
"""Training images, at most, that are read at the end where there is no validation set."""
NUM_SHOWN = 6
"""Images, at most, of which it is told at the end what is read in them."""


def train(request: TrainRequest) -> Outcome:
    """Train a model, or go on with one, and leave it in the model folder.

    Raises:
      AocrError: bad data, settings that contradict the folder, a loss that is not finite, a full disk.
    """
    cluster, folder = connect(request.devices), ModelFolder(request.model_dir)
    if not cluster.is_chief:
        log.setLevel(logging.WARNING)  # the chief tells it for all
    config = resumed_config(request)
    cluster.exchange("read")  # only then may the chief change the folder
    machine.set_seed(request.config.seed, request.config.deterministic)
    with Progress(cluster.is_chief) as progress, ExitStack() as stack:
        progress.phase("reading images")
        if cluster.is_chief:
            stack.enter_context(folder.held())
        data, held = (
            stack.enter_context(open_dataset(paths, request.data_base_dir)) if paths else None
            for paths in (request.datasets, request.validation)
        )
        plan = make_plan(request, config, data, held, cluster)  # type: ignore[arg-type]
        _check_agreement(cluster, plan)
        plan.describe()
        if cluster.num_workers > 1 and (plan.look_alikes or request.unlabeled):
            flag = "--look-alikes" if plan.look_alikes else "--unlabeled"
            raise ConfigError(flag, cluster.num_workers, "workers of TF_CONFIG cannot share it. Train on one machine.")
        unlabelled = stack.enter_context(open_unlabelled(request, plan))
        return _run(request, plan, unlabelled, folder, cluster, progress, fresh=config is None)


def _check_agreement(cluster: Cluster, plan: Plan) -> None:
    """Refuse to train where workers see different data or flags."""
    view = [plan.config.to_dict(), plan.share.num_batches, plan.batch_size]
    views = cluster.exchange(json.loads(json.dumps(view)))
    odd = next((number for number, other in enumerate(views) if other != views[0]), None)
    if odd is not None:
        reason = f"worker {odd} sees other data or flags than the chief. Give all workers the same command and data."
        raise TrainingError(reason)


def _run(
    request: TrainRequest,
    plan: Plan,
    unlabelled: Unlabelled,
    folder: ModelFolder,
    cluster: Cluster,
    progress: Progress,
    fresh: bool,
) -> Outcome:
    """Build the network, train it, and do what comes after training."""
    progress.phase("building the network")
    precision, why = machine.choose_precision(request.config.precision)
    newest = None if fresh else folder.newest()
    if newest:
        check_shapes(newest, read_weights(newest), key_shapes(plan.config))
    source = None if newest else request.start_folder(plan.config)
    start = read_start(*source) if source else None
    with cluster.strategy.scope():
        model = build_recognizer(plan.config, machine.POLICIES[precision])
        if start:
            start_from(start, model, plan.config)
        cluster.exchange("built")
        if fresh and cluster.is_chief:  # only now that data and network are known to be good
            folder.begin(plan.config)
        cluster.exchange("ready")
        evaluator = None
        if plan.validation:
            reader = NetworkReader(model, plan.config)
            evaluator = Evaluator(reader, plan.validation, plan.config.charset, request.use_distance, cluster)
        steps = plan.share.num_batches
        started = _could_read(request, plan.config)
        common = (model, request.config, folder, plan.training, evaluator, steps, cluster, progress)
        trainer = Trainer(*common, plan.closing, started, plan.num_validation, plan.split)
    trainer.rounds = rounds = Rounds(request, plan, unlabelled, folder, model)
    restored = trainer.restore()
    _tell_start(request, plan, folder, restored)
    _tell_network(request, plan, cluster, model.count_params(), f"{precision} ({why})")
    if cluster.is_chief and not trainer.schedule.ended:
        _record(request, plan, folder, precision)
    outcome = trainer.run()
    if cluster.is_chief and not outcome.interrupted:
        rounds.close()
        outcome = _finish(request, plan, folder, trainer, model, outcome, progress)
    cluster.exchange("done")
    return outcome


def _could_read(request: TrainRequest, config: ModelConfig) -> bool:
    """Whether the network could read before: it starts from a model that has most of its symbols."""
    source = request.start_folder(config)
    with contextlib.suppress(AocrError):  # a training that goes on does without the folder
        base = source[0].find_config() if source else None
        return base is not None and covers_most_of(base.charset, config.charset)
    return False


def _tell_network(request: TrainRequest, plan: Plan, cluster: Cluster, parameters: int, precision: str) -> None:
    """Say what is trained, and how."""
    epoch = f"{pluralise(plan.share.num_batches, 'step')} an epoch"
    if plan.look_alikes or request.unlabeled:
        epoch += ", what is mixed in not counted"
    log.info(
        "%s network, %s parameters, %s; %s, learning rate %g, batches of %d, %s",
        *(plan.config.arch, f"{parameters:,}", precision),
        *(request.config.optimizer, request.config.learning_rate, plan.batch_size, epoch),
    )
    if cluster.num_replicas > 1:
        split = "by file" if plan.share.by_file else "by record"
        log.info("%s; data split %s", cluster.describe(plan.batch_size), split)


def _finish(
    request: TrainRequest, plan: Plan, folder: ModelFolder, trainer: Trainer, model: Recognizer, outcome: Outcome,
    progress: Progress,
) -> Outcome:  # fmt: skip
    """What comes after training: confidence, report, and which weights are read with."""
    best = folder.best()  # else the weights to read with have learnt from the validation images
    is_honest = not trainer.is_closed or (best is not None and not best.get("closed"))
    if plan.validation is None and outcome.trained:
        _keep_last(folder, trainer)
    if plan.validation and is_honest:
        progress.phase("calibrating the confidence")
        outcome = replace(outcome, begun=_calibrate(folder, model, plan))
    elif outcome.trained and plan.validation is None:
        progress.phase("reading a few images")
        outcome = replace(outcome, begun=_look(folder, model, plan))
    if request.output_dir and is_honest:
        _report_validation(request, plan)
    elif request.output_dir:
        log.warning("--output-dir %s: no report, the held-out images have been learnt from.", request.output_dir)
    if trainer.is_closed:
        _keep_last(folder, trainer)
    return outcome


def _keep_last(folder: ModelFolder, trainer: Trainer) -> None:
    """Read with the last weights, which were trained on since they were validated, and keep the temperature."""
    fitted = folder.read_json(CALIBRATION)
    if trainer.keep_last() and fitted:
        folder.write_calibration(folder.choose().prefix, fitted["temperature"], fitted["num_images"])


def _tell_start(request: TrainRequest, plan: Plan, folder: ModelFolder, restored: str | None) -> None:
    """Say what the training begins with, and warn where it had other data before."""
    before = (folder.read_json(TRAIN) if restored else None) or {}
    datasets = before.get("datasets")
    if isinstance(datasets, list) and datasets != list(request.datasets):
        log.warning(
            "Until now this model was trained on %s. To start anew, add --no-resume.", ", ".join(map(str, datasets))
        )
    if before and request.init_from not in (None, before.get("init_from")):
        log.warning("--init-from is not used: the training goes on. To start from another model, add --no-resume.")
    log.info("Resuming from %s" if restored else "A new model in %s", restored or request.model_dir)


def _record(request: TrainRequest, plan: Plan, folder: ModelFolder, precision: str) -> None:
    values = {
        "train": {**asdict(request.config), "batch_size": plan.batch_size, "precision": precision},
        "datasets": list(request.datasets),
        "validation": list(request.validation),
        "num_images": len(plan.data.summary.labels),
        "init_from": request.init_from,
        "versions": {"aocr": aocr.__version__, "tensorflow": tf.__version__},
    }
    folder.write_json(TRAIN, values)


def _calibrate(folder: ModelFolder, model: Recognizer, plan: Plan) -> bool:
    """Fit the confidence of the checkpoint that reading will use, keep the temperature beside it, and show readings.

    Returns:
      Whether the model has begun to read.
    """
    chosen = folder.choose()
    load_weights(chosen.prefix, model)
    temperature, samples = calibrate(model, plan.config.charset, plan.validation)  # type: ignore[arg-type]
    folder.write_calibration(chosen.prefix, temperature, len(samples))
    right = sum(sample.prediction.text == sample.label for sample in samples)
    shares = (right / len(samples), *accuracy_interval(right, len(samples)))
    told = "It reads %d of %s: %.0f %%; of all such images between %.0f and %.0f %% (95 %% sure)."
    log.info(told, right, pluralise(len(samples), "validation image"), *(100 * share for share in shares))
    log.info("Confidence calibrated on %s: temperature %.2f.", pluralise(len(samples), "validation image"), temperature)
    return _show(samples, "validation images") <= GUESSING_CER


def _look(folder: ModelFolder, model: Recognizer, plan: Plan) -> bool:
    """Without a validation set: read the first training images, and show what is read in some of them.

    Returns:
      Whether the model has begun to read.
    """
    load_weights(folder.choose().prefix, model)
    samples = []
    for example in read_examples(plan.data.paths[0], NUM_LOOKED_AT):  # one by one and eagerly: no graph is built
        images, widths, _ = decode_with_fallback(lambda data: batched(tf.constant(data), plan.config), [example.image])
        reading = model.read(images, widths)
        text = plan.config.charset.decode(np.asarray(reading.ids)[0])
        samples.append(Sample("", example.label, Prediction(text, float(reading.confidence[0]))))
    return _show(samples, "images that it has learnt from (there were none for validation)") <= GUESSING_CER


def _show(samples: Sequence[Sample], images: str) -> float:
    """Show what is read in a few images; returns the CER of all of them."""
    log.info("What the model reads now, on %s: label, text read, confidence", images)
    for line in sample_lines(samples[:: -(-len(samples) // NUM_SHOWN)]):
        log.info("  %s", line)
    return score(samples).cer


def _report_validation(request: TrainRequest, plan: Plan) -> None:
    """Read the validation set with the checkpoint that reading will use, and write a page of it."""
    if plan.validation_data is None:
        log.warning("--output-dir %s: there is no validation set, so no report was written.", request.output_dir)
        return
    source, part = plan.validation_data
    predictor = load_network(request.model_dir)
    report, samples = evaluate(predictor, source, part=part, use_distance=request.use_distance, keep_source=True)
    path = os.path.join(request.output_dir, "report.html")  # type: ignore[arg-type]
    files.make_folder(request.output_dir)  # type: ignore[arg-type]
    write_html_report(path, report, samples, f"Validation of {request.model_dir}")
    log.info("Report of the validation set written to %s", path)
