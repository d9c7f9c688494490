"""A training from start to end: data, limits, network, checkpoints."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

import aocr
from aocr import files, machine
from aocr.config import IMAGE_HEIGHT, NETWORK_WIDTH_CAP, Arch, ModelConfig, TrainConfig, find_arch
from aocr.data.automatic import channels_for, share_with_colour
from aocr.data.datasets import Dataset, open_dataset
from aocr.data.pipeline import Batches, BatchPlan, Share, Summary, height_for, network_widths, plan_batches, widths_at
from aocr.errors import CharsetError, ConfigError, DatasetError, TrainingError
from aocr.folder.model_folder import TRAIN, ModelFolder
from aocr.folder.weights import load_weights
from aocr.model.recognizer import Recognizer, build_recognizer
from aocr.reading.evaluator import Evaluator, evaluate
from aocr.reading.predictor import load
from aocr.reading.reader import Reader
from aocr.report.page import write_html_report
from aocr.text.charset import Charset
from aocr.training.calibration import calibrate
from aocr.training.cluster import Cluster, connect
from aocr.training.fine_tune import start_from
from aocr.training.progress import Progress, log
from aocr.training.trainer import Outcome, Trainer

SPLIT_FROM = 200
"""Images from which on a share of the training set is held out for validation by itself."""
BATCH_COLUMNS = 512
"""Pixel columns an image should not exceed in the mean where the batch size is ours to choose; else it is smaller."""


@dataclass(frozen=True)
class TrainRequest:
    """What the user asked for.

    Attributes:
      datasets: what to learn from.
      validation: what to validate on; empty: a hash split of `datasets` where it is large enough.
      model_dir: the model folder.
      typed: fields of ModelConfig that were typed, other than the charset.
      charset: `auto`, a name or a file; None: not typed.
      config: how to train.
      batch_size_typed: whether `config.batch_size` was typed.
      resume: whether to go on with what the folder holds.
      init_from: model folder whose weights are the start.
      charset_policy: `fail`, `union` or `new`: what happens where `init_from` has another charset.
      data_base_dir: where paths of annotation files may start.
      max_vocabulary: largest vocabulary allowed, special symbols counted; None: any.
      use_distance: whether the score of aocr 0.7.6 counts edit distance or whole words.
      output_dir: where a report of the validation set goes after training; None: nowhere.
      devices: `all`, a number of them, or their numbers with commas; None: one.
    """

    datasets: Sequence[str]
    validation: Sequence[str] = ()
    model_dir: str = "checkpoints"
    typed: dict[str, Any] = field(default_factory=dict)
    charset: str | None = None
    config: TrainConfig = field(default_factory=TrainConfig)
    batch_size_typed: bool = False
    resume: bool = True
    init_from: str | None = None
    charset_policy: str = "union"
    data_base_dir: str | None = None
    max_vocabulary: int | None = None
    use_distance: bool = True
    output_dir: str | None = None
    devices: str | None = None


def _limits_from_data(summaries: Sequence[Summary], typed: dict[str, Any]) -> dict[str, int]:
    """Limits not typed: the longest label, and the widest image unless it is far wider than the rest."""
    limits = {}
    if "max_prediction" not in typed:
        limits["max_prediction"] = max(1, max(len(label) for s in summaries for label in s.labels))
    if "max_width" not in typed and "max_height" not in typed:
        sizes = np.concatenate([s.sizes for s in summaries])
        widths = widths_at(IMAGE_HEIGHT, sizes)
        usual = 2 * np.percentile(widths, 99)
        limits["max_width"] = int(min(max(widths.max(), IMAGE_HEIGHT), max(usual, IMAGE_HEIGHT), NETWORK_WIDTH_CAP))
        limits["max_height"] = IMAGE_HEIGHT
    return limits


def _channels_from_data(data: Dataset) -> int:
    """3 where grey would lose what colour tells, else 1."""
    share = share_with_colour(data.paths, len(data.summary.labels))
    channels = channels_for(share)
    if channels == 1:
        return channels
    log.info("Reading colour: in %.0f %% of the images much of the contrast is lost in grey (--no-color)", 100 * share)
    return channels


def _new_config(request: TrainRequest, datasets: Sequence[Dataset]) -> ModelConfig:
    """The network for a first training on this data, the training set first."""
    typed, summaries = dict(request.typed), [data.summary for data in datasets]
    base = ModelFolder(request.init_from).find_config() if request.init_from else None
    if request.init_from and base is None:
        raise ConfigError("--init-from", request.init_from, "is not a model folder of aocr.")
    if request.charset in (None, "auto"):
        charset = _charset_from_data(summaries)
    else:
        charset = Charset.from_name_or_file(request.charset)
    limits = _limits_from_data(summaries, typed)
    if base is None:
        arch = find_arch(typed.get("arch", "default"))
        if arch.follows_data and "channels" not in typed:
            limits["channels"] = _channels_from_data(datasets[0])
        if arch.follows_data and "height" not in typed:
            limits["height"] = height_for(datasets[0].summary.sizes)
        return ModelConfig(charset=charset, **{**arch.defaults, **limits, **typed})
    free = {"max_width", "max_height", "max_prediction"}
    ModelFolder(request.init_from).check_typed(base, {k: v for k, v in typed.items() if k not in free})
    chosen = {**limits, **{k: v for k, v in typed.items() if k in free}}
    return replace(base, charset=_merge_charsets(base.charset, charset, request), **chosen)


def _charset_from_data(summaries: Sequence[Summary]) -> Charset:
    labels = [label for s in summaries for label in s.labels]
    if not any(labels):
        raise ConfigError("--charset", "auto", "every label is empty. Check the annotation file's second column.")
    return Charset.from_labels(labels)


def _merge_charsets(old: Charset, new: Charset, request: TrainRequest) -> Charset:
    missing = old.missing(new.symbols)
    if request.charset_policy == "fail" and missing:
        raise CharsetError(missing, new.symbols, "Choose --charset-policy union or new.")
    if request.charset_policy == "new":
        return new
    return Charset(old.symbols + missing)


def _resume_config(request: TrainRequest) -> ModelConfig | None:
    """The folder's network, if there is one to go on with."""
    if not request.resume:
        return None
    config = ModelFolder(request.model_dir).find_config()
    if config is None:
        return None
    typed = dict(request.typed)
    if request.charset not in (None, "auto"):
        typed["charset"] = Charset.from_name_or_file(request.charset)
    ModelFolder(request.model_dir).check_typed(config, typed, ", or train anew with --no-resume")
    return config


def _automatic_batch_size(widths: np.ndarray, arch: Arch) -> int:
    """The architecture's; fewer for small sets (24 steps an epoch) and for long lines."""
    most = arch.batch_size
    by_count = max(8, len(widths) // 24)
    by_width = max(8, most * BATCH_COLUMNS // max(1, int(np.median(widths))))
    return min(most, by_count, by_width)


def _unusable(labels: Sequence[str], config: ModelConfig) -> np.ndarray:
    """Which labels the network cannot be taught."""
    return np.array([len(label) > config.max_prediction or bool(config.charset.missing(label)) for label in labels])


def _describe(config: ModelConfig, data: Dataset, training: np.ndarray, validation: str) -> None:
    """Say at the start what the network will and will not see."""
    widths = widths_at(config.height, data.summary.sizes)
    log.info("Charset: %s", config.charset.shown())
    log.info(
        "Limits: text of %d characters, images %d px wide at height %d (--max-prediction, --max-width, --height)",
        config.max_prediction,
        config.network_width,
        config.height,
    )
    shrunk = int((widths > config.network_width).sum())
    if shrunk:
        log.warning("%d of %d images are wider and are shrunk to fit, their aspect kept.", shrunk, len(widths))
    log.info("Training on %d images, %s", int(training.sum()), validation)


def _share_work(
    cluster: Cluster, plan: BatchPlan, widths: np.ndarray, files: np.ndarray
) -> tuple[Share, BatchPlan, int]:
    """Who trains on what: by file where every worker gets some, else by record.

    Args:
      cluster: of this process.
      plan: of the whole batches.
      widths: (N,) widths of the training images.
      files: (N,) number of the file each is in.

    Returns:
      This worker's share, the plan of its batches, and batches an epoch.
    """
    worker, workers = cluster.worker, cluster.num_workers
    parts = [widths[files % workers == w] for w in range(workers)]
    if workers == 1 or not all(len(part) for part in parts):
        return Share(worker, workers), plan, plan.num_batches(widths)
    sizes = [plan.batch_size * (w + 1) // workers - plan.batch_size * w // workers for w in range(workers)]
    plans = [replace(plan, batch_size=size) for size in sizes]
    steps = max(p.num_batches(part) for p, part in zip(plans, parts, strict=True))
    return Share(worker, workers, by_file=True), plans[worker], steps


class _Data:
    """Training and validation batches for a network, of one worker of a cluster."""

    def __init__(
        self, request: TrainRequest, config: ModelConfig, data: Dataset, held: Dataset | None, cluster: Cluster
    ):
        summary = data.summary
        labels = np.array(summary.labels, dtype=object)
        self.unusable = _unusable(labels, config)
        split = held is None and len(labels) >= SPLIT_FROM
        in_training = ~(summary.held_out & split) & ~self.unusable
        if not in_training.any():
            odd = summary.labels[int(np.argmax(self.unusable))]
            if missing := config.charset.missing(odd):
                raise CharsetError(missing, odd)
            raise DatasetError(data.name, f"no usable label: all are longer than {config.max_prediction} characters.")
        widths = network_widths(summary.sizes, config)
        self.in_training = in_training
        size = request.config.batch_size
        if not request.batch_size_typed:
            size = _automatic_batch_size(widths[in_training], config.traits)
        self.batch_size = size
        if size < cluster.num_replicas:
            raise ConfigError("--batch-size", size, f"has no image for each of {cluster.num_replicas} replicas.")
        plan = plan_batches(widths[in_training], size, config)
        share, plan, steps = _share_work(cluster, plan, widths[in_training], summary.files[in_training])
        part = "training" if split else "all"
        self.training = Batches(
            data.paths, config, plan, summary, part, drop_unknown=True, share=share, num_batches=steps
        )
        self.by_file, self.steps_per_epoch = share.by_file, steps
        self.validation, self.described = None, "without validation (--validation DATASET)"
        if split or held is not None:
            source, part = (data, "validation") if split else (held, "all")
            chosen = source.summary.held_out if split else np.ones(len(source.summary.labels), bool)
            widths = network_widths(source.summary.sizes[chosen], config)
            plan = plan_batches(widths, request.config.batch_size, config)
            self.validation = Batches(source.paths, config, plan, source.summary, part)
            where = "a fixed 5 % of them held out" if split else source.name
            self.described = f"validating on {int(chosen.sum())} ({where})"


def _tell_unusable(data: _Data, dataset: Dataset, config: ModelConfig) -> None:
    for i in np.flatnonzero(data.unusable)[:5]:
        label = dataset.summary.labels[i]
        missing = config.charset.missing(label)
        reason = f"outside the charset: {missing}" if missing else f"longer than {config.max_prediction}"
        log.warning("%s: record %d left out, label %r is %s", dataset.name, i + 1, label, reason)
    if (count := int(data.unusable.sum())) > 5:
        log.warning("%s: %d records left out in all for their labels", dataset.name, count)


def train(request: TrainRequest) -> Outcome:
    """Train a model, or go on with one, and leave it in the model folder.

    Raises:
      AocrError: bad data, settings that contradict the folder, a loss that is not finite, a full disk.
    """
    cluster = connect(request.devices)
    if not cluster.is_chief:
        log.setLevel(logging.WARNING)  # the chief tells it for all
    config = _resume_config(request)
    cluster.exchange("read")  # only then may the chief change the folder
    machine.set_seed(request.config.seed)
    with Progress(cluster.is_chief) as progress, ExitStack() as stack:
        progress.phase("reading images")
        if cluster.is_chief:
            stack.enter_context(ModelFolder(request.model_dir).held())
        data = stack.enter_context(open_dataset(request.datasets, request.data_base_dir))
        held = None
        if request.validation:
            held = stack.enter_context(open_dataset(request.validation, request.data_base_dir))
        fresh = config is None
        if fresh:
            config = _new_config(request, [d for d in (data, held) if d])
        size = config.charset.vocabulary_size
        if request.max_vocabulary and size > request.max_vocabulary:
            reason = f"the charset needs {size}. Raise it, or choose --charset."
            raise ConfigError("--target-vocab-size", request.max_vocabulary, reason)
        return _train(request, config, data, held, fresh, cluster, progress)


def _check_agreement(cluster: Cluster, config: ModelConfig, batches: _Data) -> None:
    """Refuse to train where workers see different data or flags."""
    view = [config.to_dict(), batches.steps_per_epoch, batches.batch_size]
    views = cluster.exchange(json.loads(json.dumps(view)))
    odd = next((number for number, other in enumerate(views) if other != views[0]), None)
    if odd is not None:
        reason = f"worker {odd} sees other data or flags than the chief. Give all workers the same command and data."
        raise TrainingError(reason)


def _train(
    request: TrainRequest,
    config: ModelConfig,
    data: Dataset,
    held: Dataset | None,
    fresh: bool,
    cluster: Cluster,
    progress: Progress,
) -> Outcome:
    batches, folder = _Data(request, config, data, held, cluster), ModelFolder(request.model_dir)
    _check_agreement(cluster, config, batches)
    _describe(config, data, batches.in_training, batches.described)
    _tell_unusable(batches, data, config)
    precision, why = machine.choose_precision(request.config.precision)
    progress.phase("building the network")
    with cluster.strategy.scope():
        model = build_recognizer(config, machine.POLICIES[precision])
        if request.init_from and (fresh or folder.newest() is None):
            start_from(request.init_from, model, config)
        cluster.exchange("built")
        if fresh and cluster.is_chief:  # only now that data and network are known to be good
            folder.clear()
            folder.write_config(config)
        cluster.exchange("ready")
        evaluator = None
        if batches.validation:
            reader = Reader(model, config)
            evaluator = Evaluator(reader, batches.validation, config.charset, request.use_distance, cluster)
        steps = batches.steps_per_epoch
        trainer = Trainer(model, request.config, folder, batches.training, evaluator, steps, cluster, progress)
    restored = trainer.restore()
    before = (folder.read_json(TRAIN) or {}).get("datasets")
    if restored and before and list(before) != list(request.datasets):
        log.warning("So far it was trained on %s. To begin anew: --no-resume.", ", ".join(map(str, before)))
    log.info("Resuming from %s" if restored else "A new model in %s", restored or request.model_dir)
    log.info(
        "%s network, %s parameters, %s (%s); %s, learning rate %g, batches of %d, %d steps an epoch",
        config.arch,
        f"{model.count_params():,}",
        precision,
        why,
        request.config.optimizer,
        request.config.learning_rate,
        batches.batch_size,
        batches.steps_per_epoch,
    )
    if cluster.num_replicas > 1:
        split = "by file" if batches.by_file else "by record"
        log.info("%s; data split %s", cluster.describe(batches.batch_size), split)
    if cluster.is_chief and not trainer.schedule.ended:
        _record(request, data, batches, precision)
    outcome = trainer.run()
    if cluster.is_chief and not outcome.interrupted:
        if batches.validation:
            progress.phase("calibrating the confidence")
            _calibrate(folder, model, config, batches.validation)
        if request.output_dir:
            _report_validation(request, data, held, batches)
    cluster.exchange("done")
    return outcome


def _calibrate(folder: ModelFolder, model: Recognizer, config: ModelConfig, validation: Batches) -> None:
    """Fit the confidence of the checkpoint that reading will use, and keep the temperature beside it."""
    chosen = folder.choose()
    load_weights(chosen.prefix, model)
    temperature, num_images = calibrate(model, config.charset, validation)
    folder.write_calibration(chosen.prefix, temperature, num_images)
    log.info("Confidence calibrated on %d validation images: temperature %.2f.", num_images, temperature)


def _report_validation(request: TrainRequest, data: Dataset, held: Dataset | None, batches: _Data) -> None:
    """Read the validation set with the checkpoint that reading will use, and write a page of it."""
    if batches.validation is None:
        log.warning("--output-dir %s: there is no validation set, so no report was written.", request.output_dir)
        return
    predictor = load(request.model_dir)
    source, part = (held, "all") if held else (data, "validation")
    report, samples = evaluate(predictor, source, part=part, use_distance=request.use_distance, keep_source=True)
    path = os.path.join(request.output_dir, "report.html")
    files.make_folder(request.output_dir)
    write_html_report(path, report, samples, f"Validation of {request.model_dir}")
    log.info("Report of the validation set written to %s", path)


def _record(request: TrainRequest, data: Dataset, batches: _Data, precision: str) -> None:
    values = {
        "train": {**asdict(request.config), "batch_size": batches.batch_size, "precision": precision},
        "datasets": list(request.datasets),
        "validation": list(request.validation),
        "num_images": len(data.summary.labels),
        "init_from": request.init_from,
        "versions": {"aocr": aocr.__version__, "tensorflow": tf.__version__},
    }
    ModelFolder(request.model_dir).write_json(TRAIN, values)
