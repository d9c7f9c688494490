"""From what was typed and the data to a plan: the network's settings, batches, split, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aocr.config import ModelConfig, TrainConfig, find_arch
from aocr.data import automatic
from aocr.data.batching import Share, plan_batches, share_work
from aocr.data.datasets import Dataset
from aocr.data.pipeline import Batches
from aocr.errors import AocrError, CharsetError, ConfigError, DatasetError
from aocr.folder.checkpoints import is_closed
from aocr.folder.model_folder import SEEN, ModelFolder
from aocr.folder.typed import check_typed
from aocr.folder.words import BOX, NAME, open_folder
from aocr.report.lines import pluralise, warn_of
from aocr.text.charset import Charset
from aocr.training.cluster import Cluster
from aocr.training.progress import log
from aocr.training.seen import NOTHING_SEEN, Role, Split, own_split, read_seen, split_from

SMALL_SPLIT, LARGE_SPLIT = "a fixed 20 % of all images", "a fixed 5 % of all images"

NOTHING = "none"
"""What `--init-from` calls a start from nothing."""


LOOK_ALIKES = 25
"""Drawn images that are mixed in for each image of a small set."""


@dataclass(frozen=True)
class TrainRequest:
    """What the user typed.

    Attributes:
      datasets: what to learn from.
      validation: what to validate on; empty: a part of `datasets` where they are large enough.
      model_dir: the model folder.
      typed: fields of ModelConfig that were typed.
      config: how to train.
      resume: whether to go on with what the folder holds.
      init_from: model folder whose weights are the start; `NOTHING`: none; None: the reader in the box where the
        network is of its architecture.
      charset_policy: `fail`, `union` or `new`: what happens where a typed `init_from` has another charset.
      data_base_dir: where paths of annotation files may start.
      target_vocab_size: largest vocabulary allowed, special symbols counted; None: any.
      use_distance: whether the score of aocr 0.7.6 counts edit distance or whole words.
      look_alikes: drawn images, made to look like those of `datasets`, that are mixed in among them; 0: none; None:
        `LOOK_ALIKES` for each image of a small set that a reader is trained on, while no unlabelled one is trusted.
      unlabeled: images without labels to learn from too.
      exclude: images that are never learnt from, though they be among `unlabeled`.
      output_dir: where a report of the validation set goes after training; None: nowhere.
      devices: `all`, a number of them, or their numbers with commas; None: one.
    """

    datasets: Sequence[str]
    validation: Sequence[str] = ()
    model_dir: str = "checkpoints"
    typed: dict[str, Any] = field(default_factory=dict)
    config: TrainConfig = field(default_factory=TrainConfig)
    resume: bool = True
    init_from: str | None = None
    charset_policy: str = "union"
    data_base_dir: str | None = None
    target_vocab_size: int | None = None
    use_distance: bool = True
    look_alikes: int | None = None
    unlabeled: Sequence[str] = ()
    exclude: Sequence[str] = ()
    output_dir: str | None = None
    devices: str | None = None

    def start_folder(self, config: ModelConfig) -> tuple[ModelFolder, str] | None:
        """The model folder whose weights a new network starts from, and its name; None: it starts from nothing."""
        if self.init_from is None:
            return (ModelFolder(BOX), NAME) if config.traits.follows_data else None
        return None if self.init_from == NOTHING else (open_folder(self.init_from), self.init_from)


@dataclass(frozen=True)
class Plan:
    """What a training will do.

    Attributes:
      config: of the network.
      data: what it learns from.
      validation_data: what it is validated on: a dataset and the part of it; None: no validation.
      in_training: (N,) bool, the records of `data` that are trained on.
      unusable: (N,) bool, those whose label the network cannot be taught.
      batch_size: images a batch, over all workers.
      split: what is held out, and what the model will have seen.
      share: what this worker trains on.
      training, validation: the batches.
      closing: those of all images of a small set, to learn from at the end; None: `training` are all there are.
      look_alikes: how many drawn images are mixed in.
    """

    config: ModelConfig
    data: Dataset
    validation_data: tuple[Dataset, str] | None
    in_training: np.ndarray
    unusable: np.ndarray
    batch_size: int
    split: Split
    share: Share
    training: Batches
    validation: Batches | None
    closing: Batches | None
    look_alikes: int

    @property
    def num_validation(self) -> int:
        """Images that are validated on."""
        return int(_records_of(*self.validation_data).sum()) if self.validation_data else 0

    def describe(self) -> None:
        """Say at the start what the network will and will not see."""
        config, sizes = self.config, self.data.summary.sizes
        log.info("Charset: %s", config.charset.describe())
        log.info(
            "Limits: texts of %d characters, images %d px wide at height %d (--max-prediction, --max-width, --height)",
            *(config.max_prediction, config.network_width, config.height),
        )
        shrunk = int((automatic.widths_at(config.height, sizes) > config.network_width).sum())
        if shrunk:
            log.warning("%d of %d images are wider and are shrunk to fit, their proportions kept.", shrunk, len(sizes))
        log.info("Training on %s, %s", pluralise(int(self.in_training.sum()), "image"), self._validation_in_words())
        self._tell_apart()
        unusable = [self._why_unusable(i) for i in np.flatnonzero(self.unusable).tolist()]
        warn_of(log, unusable, f"records of {self.data.name} left out because of their labels")

    def _tell_apart(self) -> None:
        """Say what other sets and earlier trainings do to what is held out."""
        dataset, part = self.validation_data or (self.data, "training")
        if part != "all":
            return
        if count := int(self.split.held_out.sum()):
            log.warning("%s of --validation too: not learnt from.", pluralise(count, "image") + f" of {self.data.name}")
        if known := self.split.num_known:
            told = "%d of the %d validation images (%s) were learnt from before: the scores told are too good."
            log.warning(told, known, self.num_validation, dataset.name)

    def _why_unusable(self, number: int) -> str:
        config, label = self.config, self.data.summary.labels[number]
        missing = config.charset.missing(label)
        longer = f"is longer than {config.max_prediction} characters (--max-prediction)"
        reason = f"has symbols outside the charset: {missing}" if missing else longer
        return f"{self.data.name}: record {number + 1} is left out: its label {label!r} {reason}"

    def _validation_in_words(self) -> str:
        known = self.split.num_known
        if self.validation_data is None:
            why = "what would be held out was learnt from before; " if known else ""
            return f"without validation ({why}--validation DATASET)"
        (dataset, part), count = self.validation_data, self.num_validation
        if part == "all":
            return f"validating on {count} ({dataset.name})"
        share = SMALL_SPLIT if self.closing else LARGE_SPLIT
        which = "that it has not learnt from" if known else f"({share}"
        end = " and learnt from at the end" if self.closing else ""
        return f"validating on {count} {which}, held out{end}{'' if known else ')'}"


def _records_of(dataset: Dataset, part: str) -> np.ndarray:
    """(N,) bool, the records of a dataset that belong to a part: `all` or `validation`."""
    held_out = dataset.summary.held_out
    return held_out if part == "validation" else np.ones(len(held_out), bool)


def resumed_config(request: TrainRequest) -> ModelConfig | None:
    """The folder's network, if there is one to go on with.

    Raises:
      CheckpointError: the folder is damaged or of another program, or holds files that are not of aocr, or weights that
        cannot be gone on with.
      ConfigError: a typed setting contradicts it.
    """
    folder = ModelFolder(request.model_dir)
    config = folder.find_config() if request.resume else None
    if config is None:
        folder.check_clear()
        start = open_folder(request.init_from) if request.init_from not in (None, NOTHING) else None
        if start and start.find_config() and os.path.realpath(start.path) == os.path.realpath(request.model_dir):
            reason = "is the --model-dir that is begun anew, and would be lost. Give another --model-dir."
            raise ConfigError("--init-from", request.init_from, reason)
    else:
        check_typed(request.model_dir, config, request.typed, ", or train anew with --no-resume")
        folder.check_goes_on(request.config.steps_per_checkpoint)
    return config


def new_config(request: TrainRequest, datasets: Sequence[Dataset]) -> ModelConfig:
    """The network for a first training on this data, the training set first.

    Raises:
      CharsetError: `init_from` has another charset, and `charset_policy` is `fail`.
      ConfigError: a setting is impossible or contradicts `init_from`.
    """
    labels = [label for data in datasets for label in data.summary.labels]
    limits = automatic.limits_for(labels, np.concatenate([data.summary.sizes for data in datasets]), request.typed)
    settings = {"charset": Charset.from_labels(labels), **limits, **request.typed}
    if request.init_from not in (None, NOTHING):
        return _widened(settings, request)
    arch = find_arch(settings.get("arch", ModelConfig.arch))
    if arch.follows_data:
        settings.setdefault("height", automatic.height_for(datasets[0].summary.sizes))
        if "channels" not in settings:
            settings["channels"] = _channels_of(datasets[0])
    return ModelConfig(**{**arch.defaults, **settings})


def _channels_of(data: Dataset) -> int:
    """3 where grey would lose what colour tells, else 1."""
    share = automatic.share_with_colour(data.paths, len(data.summary.labels))
    channels = automatic.channels_for(share)
    if channels == 3:
        log.info(
            "Reading in colour: %.0f %% of the images lose much contrast in grey (--no-color reads them in grey)",
            100 * share,
        )
    return channels


def _widened(settings: dict[str, Any], request: TrainRequest) -> ModelConfig:
    """The network of `init_from` with the charset and the limits of `settings`, and with all that was typed."""
    base = open_folder(str(request.init_from)).find_config()
    if base is None:
        raise ConfigError("--init-from", request.init_from, "is not a model folder of aocr (none: from nothing).")
    check_typed(str(request.init_from), base, {name: settings[name] for name in ("arch",) if name in settings})
    new = settings["charset"]
    missing = base.charset.missing(new.symbols)
    if request.charset_policy == "fail" and missing:
        raise CharsetError(missing, new.symbols, "Choose --charset-policy union or new.")
    charset = new if request.charset_policy == "new" else Charset(base.charset.symbols + missing)
    return replace(base, **{**settings, "charset": charset})


def make_plan(
    request: TrainRequest, config: ModelConfig | None, data: Dataset, held: Dataset | None, cluster: Cluster
) -> Plan:
    """Plan a training.

    Args:
      request: what was typed.
      config: the network's settings, where there is one to go on with.
      data: what to learn from.
      held: what to validate on, if it was typed.
      cluster: whose workers share the work.

    Raises:
      CharsetError, ConfigError, DatasetError: the data or the settings cannot be used.
    """
    summary = data.summary
    if not any(summary.labels):
        raise DatasetError(data.name, "every label is empty. Check the annotation file's second column.")
    goes_on = config is not None and ModelFolder(request.model_dir).newest() is not None
    config = config or new_config(request, [dataset for dataset in (data, held) if dataset])
    size, most = config.charset.vocabulary_size, request.target_vocab_size
    if most and size > most:
        raise ConfigError("--target-vocab-size", most, f"the charset needs {size}. Raise it, or choose --charset.")
    unusable = np.array([not _can_learn(label, config) for label in summary.labels])
    split = _split(request, config, data, held, goes_on)
    summary = summary._replace(held_out=split.held_out)
    data = replace(data, summary=summary)
    in_training = ~split.held_out & ~unusable
    if split.held_out.all():
        reason = "every image is among those of --validation too. Give other images there, or leave it out."
        raise DatasetError(data.name, reason)
    if not in_training.any():
        raise _nothing_to_learn(data, summary.labels[int(np.argmax(unusable))], config)
    widths = automatic.network_widths(summary.sizes[in_training], config)
    batch_size = request.config.batch_size or automatic.batch_size_for(widths, config.traits)
    if batch_size < cluster.num_replicas:
        raise ConfigError(
            "--batch-size", batch_size, f"must be {cluster.num_replicas} or more: each of the replicas needs an image."
        )
    warm_up_augmentation = request.start_folder(config) is None
    part = "training" if split.held_out.any() else "all"
    training, share = _training_batches(data, config, batch_size, in_training, part, cluster, warm_up_augmentation)
    closing = None
    if held is None and part == "training" and automatic.is_small(len(summary.labels)):
        closing, _ = _training_batches(data, config, batch_size, ~unusable, "all", cluster, warm_up_augmentation)
    validation_data = (held, "all") if held else (data, "validation") if part == "training" else None
    validation = _validation_batches(*validation_data, batch_size, config) if validation_data else None
    batches = share, training, validation, closing
    look_alikes = request.look_alikes
    if look_alikes is None:
        mixes = (
            automatic.is_small(len(summary.labels))
            and validation
            and not warm_up_augmentation
            and cluster.num_workers == 1
        )
        look_alikes = LOOK_ALIKES * int(in_training.sum()) if mixes else 0
    return Plan(config, data, validation_data, in_training, unusable, batch_size, split, *batches, look_alikes)


def _split(request: TrainRequest, config: ModelConfig, data: Dataset, held: Dataset | None, goes_on: bool) -> Split:
    """What is held out of the data, by what the model has seen that goes on or that is the start."""
    start = (ModelFolder(request.model_dir), "") if goes_on else request.start_folder(config)
    before = read_seen(start[0]) if start else NOTHING_SEEN
    if goes_on and before and not is_closed(start[0]):  # type: ignore[index]
        before = before.closed(Role.HELD_OUT)
    if start and before is None and start[0].path != str(BOX):
        told = "%s does not tell which images its model has learnt from: of these no honest score can be told."
        log.warning(told, start[0].file(SEEN))
    if held:
        return split_from(data.summary, held.summary, before, goes_on)
    return own_split(data.summary, before, goes_on)


def _nothing_to_learn(data: Dataset, label: str, config: ModelConfig) -> AocrError:
    """Why no label can be taught; `label`: one of those that cannot."""
    if missing := config.charset.missing(label):
        return CharsetError(missing, label)
    return DatasetError(data.name, f"no usable label: all are longer than {config.max_prediction} characters.")


def _training_batches(
    data: Dataset,
    config: ModelConfig,
    size: int,
    taken: np.ndarray,
    part: str,
    cluster: Cluster,
    warm_up_augmentation: bool,
) -> tuple[Batches, Share]:
    """The batches of this worker from a part of the data, of which (N,) bool `taken` are the usable ones."""
    summary = data.summary
    widths = automatic.network_widths(summary.sizes[taken], config)
    whole = plan_batches(widths, size, config)
    share, plan = share_work(whole, widths, summary.files[taken], cluster.worker, cluster.num_workers)
    return Batches(
        data.paths,
        config,
        plan,
        summary,
        part,
        drop_unknown=True,
        share=share,
        warm_up_augmentation=warm_up_augmentation,
    ), share


def _can_learn(label: str, config: ModelConfig) -> bool:
    return len(label) <= config.max_prediction and not config.charset.missing(label)


def _validation_batches(dataset: Dataset, part: str, batch_size: int, config: ModelConfig) -> Batches:
    widths = automatic.network_widths(dataset.summary.sizes[_records_of(dataset, part)], config)
    return Batches(dataset.paths, config, plan_batches(widths, batch_size, config), dataset.summary, part)
