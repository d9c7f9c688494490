"""A training from start to end: plan, learner, restore, loop, finish."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

import tensorflow as tf

import aocr
from aocr import machine
from aocr.data.datasets import open_dataset
from aocr.errors import AocrError, ConfigError, TrainingError
from aocr.folder.model_folder import TRAIN, ModelFolder
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.reading.evaluator import Evaluator
from aocr.reading.network import NetworkReader
from aocr.report.lines import pluralise
from aocr.training.cluster import Cluster, connect
from aocr.training.extra import ExtraImages, Unlabelled, open_unlabelled
from aocr.training.fine_tune import covers_most_of, read_start, start_from
from aocr.training.finish import finish
from aocr.training.learner import Learner, WeightAverage, newest_checkpoint, read_state
from aocr.training.loop import Outcome, run_loop
from aocr.training.monitor import Display, Monitor, details_log, log
from aocr.training.prepare import Plan, check_symbols, make_plan, resumed_config
from aocr.training.request import TrainRequest
from aocr.training.schedule import Schedule, TrainState
from aocr.training.split import images_digest
from aocr.training.step import make_optimizer


def train(request: TrainRequest) -> Outcome:
    """Train a model, or resume its training, and leave it in the model folder.

    Raises:
      AocrError: bad data, settings that contradict the folder, a loss that is not finite, a full disk.
    """
    cluster, folder = connect(request.devices), ModelFolder(request.model_dir)
    if not cluster.is_chief:
        log.setLevel(logging.WARNING)  # the chief logs for all
    config = resumed_config(request)
    checkpoint = newest_checkpoint(folder) if config else None
    state = read_state(checkpoint) if checkpoint else TrainState()
    if config and request.init_from is None:
        request = replace(request, init_from=(folder.read_json(TRAIN) or {}).get("init_from"))
    cluster.exchange("read")  # only now may the chief change the folder
    machine.set_seed(request.config.seed, request.config.deterministic)

    with Display(cluster.is_chief) as display, ExitStack() as stack:
        display.phase("reading images")
        if cluster.is_chief:
            stack.enter_context(folder.held())
        data = stack.enter_context(open_dataset(request.datasets, request))
        validation = None
        if request.validation:
            validation = stack.enter_context(open_dataset(request.validation, request))
        images = images_digest(data.summary, validation.summary if validation else None)
        if state.closed and state.images != images:
            log.warning("The images have changed since all of them were trained on: training starts again.")
            config, checkpoint, state = None, None, TrainState()
        if config and state.images != images and "charset" not in request.typed:
            for dataset in (data, validation) if validation else (data,):
                check_symbols(dataset, config, request.model_dir)
        plan = make_plan(request, config, data, validation, cluster, state.closed)
        _check_agreement(cluster, plan)
        plan.log()
        if cluster.num_workers > 1 and (plan.look_alikes or request.unlabeled):
            flag = "--look-alikes" if plan.look_alikes else "--unlabeled"
            raise ConfigError(flag, cluster.num_workers, "workers of TF_CONFIG cannot share it. Train on one machine.")
        unlabelled = stack.enter_context(open_unlabelled(request, plan))
        is_new = config is None
        images_changed, state.images = checkpoint is not None and state.images != images, images
        return _train(request, plan, unlabelled, folder, cluster, display, is_new, checkpoint, state, images_changed)


def _train(
    request: TrainRequest, plan: Plan, unlabelled: Unlabelled, folder: ModelFolder, cluster: Cluster, display: Display,
    is_new: bool, checkpoint: str | None, state: TrainState, images_changed: bool,
) -> Outcome:  # fmt: skip
    """Build the network, restore it or assign the initial weights, train it, and finish."""
    display.phase("building the network")
    precision, why = machine.choose_precision(request.config.precision)
    source = None if checkpoint else request.start_folder(plan.config)
    start = read_start(*source) if source else None
    with cluster.strategy.scope():
        model = build_recognizer(plan.config, machine.POLICIES[precision])
        if start:
            start_from(start, model, plan.config)
        cluster.exchange("built")
        if is_new and cluster.is_chief:  # only now that data and network are known to be good
            folder.begin(plan.config)
        cluster.exchange("ready")
        evaluator = None
        if plan.validation:
            reader = NetworkReader(model, plan.config)
            evaluator = Evaluator(reader, plan.validation, request.use_distance, cluster)
        optimizer = make_optimizer(request.config, model)
        learner = Learner(model, optimizer, WeightAverage(weights_of(model)), state)
    if checkpoint:  # outside the strategy, which cannot send a string variable to other workers
        learner.restore(checkpoint)
    closes = plan.closing is not None or state.closed
    pretrained, num_batches = _is_pretrained(request, plan), plan.share.num_batches
    schedule = Schedule(request.config, state, num_batches, plan.num_validation, pretrained, closes)
    if checkpoint:
        schedule.reopen(images_changed)
    _log_start(request, plan, folder, checkpoint)
    _log_network(request, plan, cluster, model.count_params(), f"{precision} ({why})")

    extra = ExtraImages(request, plan, unlabelled, folder, model, images_changed, display.track)
    outcome = Outcome(schedule.reason, False, state.step, trained=False)
    if not schedule.ended:
        if cluster.is_chief:
            _record(request, plan, folder, precision)
        monitor = Monitor(display, cluster, folder, schedule)
        outcome = run_loop(plan, request.config, learner, schedule, evaluator, extra, monitor, folder, cluster)
    if cluster.is_chief and not outcome.interrupted:
        outcome = finish(request, plan, learner, extra, folder, outcome, display)
        outcome = replace(outcome, weights=folder.weights_info())
    cluster.exchange("done")
    return outcome


def _check_agreement(cluster: Cluster, plan: Plan) -> None:
    """Refuse to train if the workers have different data or flags."""
    view = [plan.config.to_dict(), plan.share.num_batches, plan.batch_size]
    views = cluster.exchange(json.loads(json.dumps(view)))
    differing = next((number for number, other in enumerate(views) if other != views[0]), None)
    if differing is not None:
        reason = f"worker {differing} has other data or flags than the chief. Give all the same command and data."
        raise TrainingError(reason)


def _is_pretrained(request: TrainRequest, plan: Plan) -> bool:
    """Return whether the network starts from a model that has most of its symbols, so that it can already read."""
    source = request.start_folder(plan.config)
    with contextlib.suppress(AocrError):  # the folder may be gone when a training is resumed
        base = source[0].find_config() if source else None
        return base is not None and covers_most_of(base.charset, plan.config.charset)
    return False


def _log_start(request: TrainRequest, plan: Plan, folder: ModelFolder, checkpoint: str | None) -> None:
    """Log the start of the training; warn if the data differ from the last run's, or if `--init-from` is ignored."""
    record = (folder.read_json(TRAIN) if checkpoint else None) or {}
    datasets = record.get("datasets")
    if isinstance(datasets, list) and datasets != list(request.datasets):
        added = [name for name in request.datasets if name not in datasets]
        left_out = [name for name in datasets if name not in request.datasets]
        changes = [f"{what} {_some(names)}" for what, names in (("with", added), ("without", left_out)) if names]
        what = " and ".join(changes) or "with the datasets in another order"
        log.warning("This training is resumed %s. To start again, add --no-resume.", what)
    if record and request.init_from not in (None, record.get("init_from")):
        log.warning("--init-from is ignored: the training is resumed. To start from another model, add --no-resume.")
    log.info("Resuming from %s" if checkpoint else "A new model in %s", checkpoint or request.model_dir)


def _some(names: Sequence[str]) -> str:
    """Return up to three names, and how many more there are."""
    more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*map(str, names[:3]), *more])


def _log_network(request: TrainRequest, plan: Plan, cluster: Cluster, parameters: int, precision: str) -> None:
    """Log the network and the settings of the training."""
    epoch = f"{pluralise(plan.share.num_batches, 'step')} an epoch"
    if plan.look_alikes or request.unlabeled:
        epoch += ", extra images not counted"
    network = f"{plan.config.arch} network, {parameters:,} parameters, {precision}"
    settings = f"{request.config.optimizer}, learning rate {request.config.learning_rate:g}"
    details_log.info("%s; %s, batches of %d, %s", network, settings, plan.batch_size, epoch)
    if cluster.num_replicas > 1:
        split = "by file" if plan.share.by_file else "by record"
        log.info("%s; data split %s", cluster.describe(plan.batch_size), split)


def _record(request: TrainRequest, plan: Plan, folder: ModelFolder, precision: str) -> None:
    """Write train.json: the settings, data and versions of this run."""
    values = {
        "train": {**asdict(request.config), "batch_size": plan.batch_size, "precision": precision},
        "datasets": list(request.datasets),
        "validation": list(request.validation),
        "num_images": len(plan.data.summary.labels),
        "init_from": request.init_from,
        "versions": {"aocr": aocr.__version__, "tensorflow": tf.__version__},
    }
    folder.write_json(TRAIN, values)
