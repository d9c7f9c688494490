"""Plan a training from its arguments and the data: the network's settings, the split, and the batches."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aocr.config import CTC_WEIGHT, LINE_HEIGHTS, ModelConfig, check_typed, find_arch, num_bands
from aocr.data import automatic
from aocr.data.batching import Share, plan_batches, share_work
from aocr.data.datasets import Dataset
from aocr.data.pipeline import Batches
from aocr.data.records import read_examples
from aocr.errors import CharsetError, CheckpointError, ConfigError, DatasetError
from aocr.folder.model_folder import ModelFolder
from aocr.folder.words import open_folder
from aocr.report.lines import pluralise, warn_of
from aocr.text.charset import Charset
from aocr.training.cluster import Cluster
from aocr.training.learner import newest_checkpoint
from aocr.training.monitor import details_log, log
from aocr.training.orientation import turn_for
from aocr.training.request import NOTHING, TrainRequest
from aocr.training.split import Split, learnt_images, split_images

SMALL_SPLIT, LARGE_SPLIT = "a fixed 20 % of all images", "a fixed 5 % of all images"
NUM_SHOWN = 3
"""Number of labels that are shown at the start."""
LOOK_ALIKES = 25
"""Number of look-alikes for each training image of a small set."""


@dataclass(frozen=True)
class Plan:
    """The settings, data and batches of a training."""

    config: ModelConfig
    """Settings of the network."""
    data: Dataset
    """The training set, N images."""
    validation_data: tuple[Dataset, str] | None
    """The dataset to validate on, `data` or another, and its part (`all` or `validation`); None: no validation."""
    in_training: np.ndarray
    """(N,) bool, the images to train on."""
    unusable: np.ndarray
    """(N,) bool, the images whose label is too long or has symbols outside the charset."""
    split: Split
    """The split of the training set."""
    learnt: np.ndarray
    """(M,) int64 digests of the images that the model was, or will be, trained on."""
    batch_size: int
    """Images per batch, over all workers."""
    share: Share
    """The part of the data that this worker trains on."""
    training: Batches
    """Batches to train on."""
    validation: Batches | None
    """Batches to validate on."""
    closing: Batches | None
    """Batches of all images of a small set, for the last phase; None: `training` is used to the end."""
    look_alikes: int
    """Number of look-alikes to mix in."""

    @property
    def num_validation(self) -> int:
        """Number of validation images."""
        return int(part_of(*self.validation_data).sum()) if self.validation_data else 0

    def log(self) -> None:
        """Log the charset, the limits, the split and the records that are left out."""
        config, sizes = self.config, self.data.summary.sizes
        for line in sample_labels(self.data):
            log.info("%s", line)
        log.info("Charset: %s", config.charset.describe())
        limits = config.max_prediction, config.network_width, config.height
        message = "Limits: texts of %d characters, images %d px wide at height %d (%s)"
        details_log.info(message, *limits, "--max-prediction, --max-width, --height")
        widths = automatic.widths_at(config.height, automatic.turned_sizes(sizes, config.turn))
        shrunk = int((widths > config.network_width).sum())
        if shrunk and config.bands == 1:
            log.warning("%d of %d images are wider and are scaled down to fit.", shrunk, len(sizes))
        log.info("Training on %s, %s", pluralise(int(self.in_training.sum()), "image"), self._describe_validation())
        self._warn_of_overlap()
        unusable = [self._why_unusable(i) for i in np.flatnonzero(self.unusable).tolist()]
        warn_of(log, unusable, f"records of {self.data.name} left out because of their labels")

    def _warn_of_overlap(self) -> None:
        dataset, _ = self.validation_data or (self.data, "")
        if dataset is self.data:
            return
        if shared := int(self.split.held_out.sum()):
            log.warning("%s of %s also in --validation: not trained on.", pluralise(shared, "image"), self.data.name)
        if seen := self.split.num_seen:
            message = "%d of the %d validation images (%s) were trained on before: the scores are too good."
            log.warning(message, seen, self.num_validation, dataset.name)

    def _why_unusable(self, number: int) -> str:
        config, label = self.config, self.data.summary.labels[number]
        missing = config.charset.missing(label)
        longer = f"is longer than {config.max_prediction} characters (--max-prediction)"
        reason = f"has characters outside the charset: {missing}" if missing else longer
        return f"{self.data.name}: record {number + 1} is left out: its label {label!r} {reason}"

    def _describe_validation(self) -> str:
        seen = self.split.num_seen
        if self.validation_data is None:
            why = "every image that could be used was trained on before; " if seen else ""
            return f"without validation ({why}--validation DATASET)"
        (dataset, _), count = self.validation_data, self.num_validation
        if dataset is not self.data:
            return f"validating on {count} ({dataset.name})"
        share = SMALL_SPLIT if self.closing else LARGE_SPLIT
        which = "that it was not trained on" if seen else f"({share}"
        end = ", trained on in the last phase" if self.closing else ""
        return f"validating on {count} {which}{end}{'' if seen else ')'}"


def sample_labels(dataset: Dataset) -> list[str]:
    """Return the first labels with their files: what was taken for a label shows at once."""
    examples = list(read_examples(dataset.paths[0], NUM_SHOWN))
    names = [example.comment or f"record {number}" for number, example in enumerate(examples, 1)]
    width = max((len(example.label) for example in examples), default=0)
    return [
        "Labels, for example:",
        *(f"  {e.label:<{min(width, 30)}}  {n}" for e, n in zip(examples, names, strict=True)),
    ]


def part_of(dataset: Dataset, part: str) -> np.ndarray:
    """Return a mask, (N,) bool, of the records in a part of a dataset: `all` or `validation`."""
    held_out = dataset.summary.held_out
    return held_out if part == "validation" else np.ones(len(held_out), bool)


def resumed_config(request: TrainRequest) -> ModelConfig | None:
    """Return the settings of the network whose training is resumed; None: a new training begins.

    Raises:
      CheckpointError: the folder is damaged, belongs to another program, or has weights but no checkpoint.
      ConfigError: a typed setting contradicts it.
    """
    folder = ModelFolder(request.model_dir)
    config = folder.find_config() if request.resume else None
    if config is None:
        folder.check_clear()
        start = open_folder(request.init_from) if request.init_from not in (None, NOTHING) else None
        if start and start.find_config() and os.path.realpath(start.path) == os.path.realpath(request.model_dir):
            reason = "is the --model-dir that would be overwritten. Give another --model-dir."
            raise ConfigError("--init-from", request.init_from, reason)
        return None
    check_typed(request.model_dir, config, request.typed, ", or start again with --no-resume")
    if newest_checkpoint(folder):
        return config
    # a training that was killed before its first checkpoint may start again: it soon writes the same weights
    if folder.has_weights() and not 0 < folder.weights_info().step <= request.config.steps_per_checkpoint:
        advice = f"To start from it, give --init-from {folder} and another --model-dir"
        reason = f"has a model, but no checkpoint to resume from. {advice}; --no-resume removes it and starts again."
        raise CheckpointError(folder.path, reason)
    return config


def new_config(request: TrainRequest, datasets: Sequence[Dataset]) -> ModelConfig:
    """Return the network's settings for a first training on this data, the training set first.

    Raises:
      CharsetError: `init_from` has another charset, and `charset_policy` is `fail`.
      ConfigError: a setting is impossible or contradicts `init_from`.
    """
    labels = [label for data in datasets for label in data.summary.labels]
    settings = {"charset": Charset.from_labels(labels), **request.typed}
    base = _init_config(request)
    arch = find_arch(settings.get("arch", base.arch if base else ModelConfig.arch))
    settings["ctc_weight"] = CTC_WEIGHT if arch.ctc else 0.0
    if arch.follows_data and "turn" not in settings:
        settings["turn"] = turn_for(datasets[0], base.turn if base else "none")
    turn = settings.get("turn", "none")
    sizes = [automatic.turned_sizes(data.summary.sizes, turn) for data in datasets]
    if arch.follows_data and "bands" not in settings:
        settings.update(_bands_of(datasets[0].summary.labels, sizes[0], settings))
    bands_height = settings["height"] if settings.get("bands", 1) > 1 else None
    settings.update(automatic.limits_for(labels, np.concatenate(sizes), request.typed, bands_height))
    if base:
        return _extended(base, settings, request)
    if arch.follows_data:
        settings.setdefault("height", automatic.height_for(sizes[0]))
        if "channels" not in settings:
            settings["channels"] = _channels_of(datasets[0])
    return ModelConfig(**{**arch.defaults, **settings})


def _bands_of(labels: Sequence[str], sizes: np.ndarray, settings: dict[str, Any]) -> dict[str, int]:
    """Return the height and the bands of the network if the images seem to have several lines, else nothing."""
    lines, narrow = automatic.lines_for(np.array([len(label) for label in labels]), sizes)
    height: int = settings.get("height", LINE_HEIGHTS.get(lines, 0))
    if lines == 1 or height not in LINE_HEIGHTS.values():
        return {}
    bands = num_bands(height)
    log.info(automatic.LINES_MESSAGE, narrow.sum(), len(labels), lines)
    log.info("Reading at height %d in %d bands (--lines 1 reads a single line)", height, bands)
    return {"height": height, "bands": bands}


def _channels_of(data: Dataset) -> int:
    """Return 3 if many images would lose contrast in grey, else 1."""
    share = automatic.share_with_colour(data.paths, len(data.summary.labels))
    channels = automatic.channels_for(share)
    if channels == 3:
        message = "Reading in colour: %.0f %% of the images lose much contrast in grey (--no-color reads them in grey)"
        log.info(message, 100 * share)
    return channels


def _init_config(request: TrainRequest) -> ModelConfig | None:
    """Return the settings of the `init_from` model, if one was named."""
    if request.init_from in (None, NOTHING):
        return None
    base = open_folder(str(request.init_from)).find_config()
    if base is None:
        raise ConfigError("--init-from", request.init_from, "is not a model folder of aocr (none: random weights).")
    return base


def _extended(base: ModelConfig, settings: dict[str, Any], request: TrainRequest) -> ModelConfig:
    """Return the settings of the `init_from` model, updated with `settings`; `charset_policy` decides the charset."""
    check_typed(str(request.init_from), base, {name: settings[name] for name in ("arch",) if name in settings})
    new = settings["charset"]
    missing = base.charset.missing(new.symbols)
    if request.charset_policy == "fail" and missing:
        raise CharsetError(missing, new.symbols, "Choose --charset-policy union or new.")
    charset = new if request.charset_policy == "new" else Charset(base.charset.symbols + missing)
    return replace(base, **{**settings, "charset": charset})


def make_plan(
    request: TrainRequest, config: ModelConfig | None, data: Dataset, validation: Dataset | None, cluster: Cluster,
    closed: bool = False,
) -> Plan:  # fmt: skip
    """Plan a training.

    Args:
      request: the user's arguments.
      config: settings of the network whose training is resumed; None: a new training begins.
      data: the training set.
      validation: a separate validation set, if there is one.
      cluster: its workers share the data.
      closed: whether the validation images were trained on in the last phase, so that the split stays.

    Raises:
      CharsetError, ConfigError, DatasetError: the data or the settings cannot be used.
    """
    if not any(data.summary.labels):
        raise DatasetError(data.name, "every label is empty. Check the annotation file's second column.")
    is_new = config is None
    config = config or new_config(request, [dataset for dataset in (data, validation) if dataset])
    size, limit = config.charset.vocabulary_size, request.target_vocab_size
    if limit and size > limit:
        raise ConfigError("--target-vocab-size", limit, f"the charset needs {size}. Raise it, or choose --charset.")

    source = request.start_folder(config)
    recorded = None if is_new else ModelFolder(request.model_dir).read_learnt()
    learnt = learnt_images(source[0] if source else None) if recorded is None or closed else recorded
    split = split_images(data.summary, validation.summary if validation else None, learnt)
    unusable = _unusable(data, config)
    in_training = ~split.held_out & ~unusable
    _check_usable(data, split.held_out, unusable, config)
    data = replace(data, summary=data.summary._replace(held_out=split.held_out & ~unusable))
    learnt = np.union1d(learnt if recorded is None else recorded, data.summary.split_keys[in_training])

    widths = automatic.network_widths(data.summary.sizes[in_training], config)
    batch_size = request.config.batch_size or automatic.batch_size_for(widths, config.traits)
    if batch_size < cluster.num_replicas:
        reason = f"must be {cluster.num_replicas} or more: each of the replicas needs an image."
        raise ConfigError("--batch-size", batch_size, reason)

    is_small = automatic.is_small(len(data.summary.labels))
    from_nothing = source is None
    part = "training" if data.summary.held_out.any() else "all"
    training, share = _training_batches(data, config, batch_size, in_training, part, cluster, from_nothing)
    closing = None
    if validation is None and part == "training" and is_small:
        closing, _ = _training_batches(data, config, batch_size, ~unusable, "all", cluster, from_nothing)
    validation_data = (data, "validation") if part == "training" and not validation else None
    if validation:
        validation_data = _usable_validation(validation, config)
    validation_batches = _validation_batches(*validation_data, batch_size, config) if validation_data else None

    look_alikes = request.look_alikes
    if look_alikes is None:
        imitates = is_small and validation_data and not from_nothing and cluster.num_workers == 1
        look_alikes = LOOK_ALIKES * int(in_training.sum()) if imitates else 0
    return Plan(
        config=config,
        data=data,
        validation_data=validation_data,
        in_training=in_training,
        unusable=unusable,
        split=split,
        learnt=learnt,
        batch_size=batch_size,
        share=share,
        training=training,
        validation=validation_batches,
        closing=closing,
        look_alikes=look_alikes,
    )


def _unusable(data: Dataset, config: ModelConfig) -> np.ndarray:
    """Return a mask, (N,) bool, of the records whose label the network cannot write."""
    labels = data.summary.labels
    return np.array([len(label) > config.max_prediction or bool(config.charset.missing(label)) for label in labels])


def _usable_validation(data: Dataset, config: ModelConfig) -> tuple[Dataset, str]:
    """Return a validation set and the part of it whose labels the network can write.

    Raises:
      CharsetError, DatasetError: there is no such label.
    """
    unusable = _unusable(data, config)
    if not unusable.any():
        return data, "all"
    _check_usable(data, np.zeros_like(unusable), unusable, config)
    message = "%s: not validating on %s whose labels are too long or have symbols outside the charset"
    log.warning(message, data.name, pluralise(int(unusable.sum()), "image"))
    return replace(data, summary=data.summary._replace(held_out=~unusable)), "validation"


def check_symbols(data: Dataset, config: ModelConfig, model_dir: str) -> None:
    """Refuse to resume a training with images that the model cannot learn to read.

    Raises:
      ConfigError: labels have symbols outside the charset of the model in `model_dir`.
    """
    missing = [symbols for label in data.summary.labels if (symbols := config.charset.missing(label))]
    if not missing:
        return
    symbols = Charset.from_labels(missing).describe(30)
    reason = f"the model lacks symbols in the labels of {len(missing)} of {len(data.summary.labels)} images"
    advice = f"Continue with --init-from {shlex.quote(model_dir)} --model-dir NEW, or start again with --no-resume"
    raise ConfigError("--model-dir", model_dir, f"{reason} ({symbols}). {advice}; --charset leaves them out.")


def _check_usable(data: Dataset, held_out: np.ndarray, unusable: np.ndarray, config: ModelConfig) -> None:
    """Raise an error with the reason if there is nothing to train on."""
    if held_out.all():
        reason = "every image is also in --validation. Give other images there, or leave it out."
        raise DatasetError(data.name, reason)
    if (held_out | unusable).all():
        label = data.summary.labels[int(np.argmax(unusable))]
        if missing := config.charset.missing(label):
            raise CharsetError(missing, label)
        raise DatasetError(data.name, f"no usable label: all are longer than {config.max_prediction} characters.")


def _training_batches(
    data: Dataset, config: ModelConfig, size: int, usable: np.ndarray, part: str, cluster: Cluster,
    warm_up_augmentation: bool,
) -> tuple[Batches, Share]:  # fmt: skip
    """Return this worker's batches of a part of the data, and its share; `usable`: (N,) bool, the records to use."""
    summary = data.summary
    widths = automatic.network_widths(summary.sizes[usable], config)
    whole = plan_batches(widths, size, config)
    share, plan = share_work(whole, widths, summary.files[usable], cluster.worker, cluster.num_workers)
    batches = Batches(
        data.paths, config, plan, summary, part,
        drop_unknown=True, share=share, warm_up_augmentation=warm_up_augmentation,
    )  # fmt: skip
    return batches, share


def _validation_batches(dataset: Dataset, part: str, batch_size: int, config: ModelConfig) -> Batches:
    widths = automatic.network_widths(dataset.summary.sizes[part_of(dataset, part)], config)
    return Batches(
        dataset.paths, config, plan_batches(widths, batch_size, config), dataset.summary, part, drop_unknown=True
    )
