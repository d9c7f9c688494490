"""`aocr.train`: what `aocr train` does, as a function."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from aocr import files, machine
from aocr.config import TrainConfig, fields_in, typed_settings
from aocr.errors import ConfigError
from aocr.training.request import TrainRequest

if TYPE_CHECKING:
    from aocr.training.loop import Outcome

log = logging.getLogger("aocr")

MIN_ADADELTA_RATE = 0.1
"""A typed learning rate of at least this is meant for Adadelta, the optimizer of aocr 0.7.6."""


def train(
    datasets: files.Paths, *, model_dir: files.Path = "checkpoints", data_base_dir: str | None = None,
    columns: str | None = None, label_from_filename: str | None = None, empty_labels: bool = False,
    validation: files.Paths = (), charset: str | None = None, full_ascii: bool = False,
    target_vocab_size: int | None = None, unlabeled: files.Paths = (), exclude: files.Paths = (),
    look_alikes: int | None = None, resume: bool = True, init_from: str | None = None, charset_policy: str = "union",
    num_epoch: int | None = None, max_time: float | None = None, patience: int = TrainConfig.patience,
    steps_per_checkpoint: int = TrainConfig.steps_per_checkpoint, batch_size: int | None = None,
    optimizer: str | None = None, initial_learning_rate: float | None = None,
    max_gradient_norm: float = TrainConfig.max_gradient_norm, clip_gradients: bool = True, augment: bool = True,
    augment_strength: float = 1.0, precision: str = "auto", seed: int = 0, deterministic: bool = False,
    arch: str | None = None, height: int | None = None, lines: int | str = "auto", turn: str = "auto",
    max_width: int | None = None, max_height: int | None = None,
    max_prediction: int | None = None, channels: int | None = None, attn_num_hidden: int | None = None,
    attn_num_layers: int | None = None, target_embedding_size: int | None = None, use_gru: bool | None = None,
    gpu_id: int | None = None, devices: str | None = None, output_dir: str | None = None, use_distance: bool = True,
) -> Outcome:  # fmt: skip
    """Train a model, or resume its training, and leave it in the model folder.

    Arguments are those of `aocr train`: `resume=False` is `--no-resume`, `channels=3` is `--color`,
    `use_distance=False` is `--no-distance`, `clip_gradients=False` is `--no-gradient-clipping`; `max_time` is in
    seconds.

    Returns:
      Why and when the training ended, and the scores of the weights.

    Raises:
      AocrError: bad data, settings that contradict the folder, a loss that is not finite, a full disk.
    """
    settings = locals()
    settings["model_dir"] = os.fspath(model_dir)
    for name in ("datasets", "validation", "unlabeled", "exclude"):
        settings[name] = files.path_list(settings[name])
    if exclude and not unlabeled:
        raise ConfigError("--exclude", " ".join(settings["exclude"]), "needs --unlabeled.")
    if gpu_id is not None and devices is not None:
        raise ConfigError("--devices", devices, "cannot be combined with --gpu-id: both choose GPUs.")
    settings |= {"config": train_config(settings), "typed": typed_settings(settings)}
    machine.start_tensorflow()
    from aocr.training import run

    if gpu_id is not None:
        machine.use_gpu(gpu_id)
    return run.train(TrainRequest(**fields_in(TrainRequest, settings)))


def train_config(settings: dict[str, Any]) -> TrainConfig:
    """Return the TrainConfig of `train`'s arguments."""
    values, rate = fields_in(TrainConfig, settings), settings["initial_learning_rate"]
    if settings["optimizer"] is None:
        values["optimizer"] = TrainConfig.optimizer
        if rate is not None and rate >= MIN_ADADELTA_RATE:
            values["optimizer"] = "adadelta"
            log.info("Using Adadelta for the learning rate %g. Give --optimizer adamw to use AdamW.", rate)
    return TrainConfig(**values)
