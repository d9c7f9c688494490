"""`aocr train`: learn to read from images and labels."""

from __future__ import annotations

import argparse
import logging
import shlex

from aocr import machine
from aocr.cli import options
from aocr.cli.waiting import waiting
from aocr.config import MAX_EPOCHS, OPTIMIZERS, TrainConfig
from aocr.errors import ConfigError, escape_control
from aocr.tf_config import current_task

log = logging.getLogger("aocr")

UNCHANGED = "Nothing was trained: the training had already ended at step %d: %s. With a higher limit it goes on."
NOT_YET = (
    "The model cannot read yet: most characters in the images shown above are wrong. Try, in this order: "
    "see that labels and images belong together (aocr dataset ANNOTATIONS OUTPUT --preview FILE); "
    "train longer (the same command with a higher --max-time, --num-epoch or --patience goes on); "
    "label more images, or draw some that look alike (aocr synth)."
)

ADADELTA_FROM = 0.1
"""A typed learning rate from here on is meant for Adadelta, the optimizer of aocr 0.7.6."""


HELP = "train a model, or go on with one"
ABOUT = "Train a model on images with labels. The same call again resumes where it stopped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("datasets", nargs="+", metavar="DATASET",
        help="TFRecords of aocr dataset (globs and shards too), an annotation file, or a folder of images named "
        "after their text")
    options.add_model_dir(parser, written=True)
    options.add_log_path(parser, "aocr.log in the model folder")
    options.add_data_base_dir(parser)
    options.add_gpu(parser)
    add("--devices", type=options.devices, metavar="all|N|I,J",
        help="GPUs of this machine that train together (default: one; in a cluster of TF_CONFIG all)")
    add("--no-resume", dest="resume", action="store_false", help="start anew, forget what is there")
    add("--validation", nargs="+", default=[], metavar="DATASET",
        help="validate on this (default: a fixed 5%% of the training set; of fewer than 200 images 20%%, which are "
        "learnt from at the end; of fewer than 25 none)")
    add("--charset", metavar="FILE|NAME|auto", default=argparse.SUPPRESS,
        help="the symbols to read: a text file, digits, alphanumeric, full-ascii, ... (default: those of the labels)")
    add("--init-from", metavar="DIR",
        help="start from the weights of this model folder; none: from nothing (default: words, the reader that comes "
        "with aocr; --arch classic: none)")
    add("--charset-policy", choices=("fail", "union", "new"), default="union",
        help="if --init-from has another charset: fail; union: add the new symbols; new: those of the data only "
        "(default: %(default)s)")
    add("--look-alikes", type=options.whole, metavar="N",
        help="draw N images that look like yours, and mix them in among yours (default: 25 for each of fewer than 200 "
        "images, where the training starts from a reader and no image of --unlabeled is trusted; else none)")
    add("--unlabeled", nargs="+", default=[], metavar="PATH",
        help="learn from these images too, where the model reads them so surely that it can be trusted: folders, image "
        "files, annotation files, records; labels in them are ignored")
    add("--exclude", nargs="+", default=[], metavar="DATASET",
        help="of --unlabeled, never learn from these images (those of a test set)")
    add("--target-vocab-size", type=options.positive, metavar="N",
        help="refuse a charset of more than N symbols, 3 special ones counted")
    add("--output-dir", metavar="DIR",
        help="after training, write a report of the validation set here (report.html)")
    # fmt: on
    options.add_no_distance(parser)
    _add_recipe(parser.add_argument_group("how it is trained"))
    options.add_network(parser, training=True)


def _add_recipe(group) -> None:
    add, default = group.add_argument, TrainConfig()
    # fmt: off
    add("--batch-size", type=options.batch, metavar="N",
        help="images a step (default: from the data, up to 32; classic 65)")
    add("--num-epoch", type=options.positive, metavar="N",
        help=f"end after the steps of N passes over the data, all calls together (default: {MAX_EPOCHS})")
    add("--max-time", type=options.duration, metavar="TIME",
        help="end after so much training time, all calls together: 10m, 1h30m")
    add("--patience", type=options.positive, default=default.patience, metavar="N",
        help="end after this many checks in a row without progress (default: %(default)s)")
    add("--steps-per-checkpoint", type=options.positive, default=default.steps_per_checkpoint, metavar="N",
        help="steps between checkpoints, and between validations (default: %(default)s)")
    add("--optimizer", choices=tuple(OPTIMIZERS), help="how steps are taken (default: adamw)")
    add("--initial-learning-rate", type=options.above_zero, metavar="X",
        help="learning rate after warm-up (default: the optimizer's own; from 0.1 on the optimizer is adadelta unless "
        "another is named)")
    add("--max-gradient-norm", type=options.above_zero, default=default.max_gradient_norm, metavar="X",
        help="clip gradients to this norm (default: %(default)s)")
    add("--no-gradient-clipping", dest="clip_gradients", action="store_false", help="do not clip gradients")
    add("--augment", action=argparse.BooleanOptionalAction, default=True,
        help="vary the training images (default: yes)")
    add("--augment-strength", type=options.above_zero, default=1.0, metavar="S",
        help="how much they vary (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="fixes all that is random (default: 0)")
    add("--deterministic", action="store_true",
        help="the same weights to the bit from the same seed on a GPU too, at a slower pace (on a CPU they always are)")
    # fmt: on
    options.add_precision(group, "auto")


def train_config(args: argparse.Namespace) -> TrainConfig:
    """The TrainConfig of the typed flags."""
    typed, rate = options.fields_of(TrainConfig, args), args.initial_learning_rate
    if args.optimizer is None:
        typed["optimizer"] = TrainConfig.optimizer
        if rate is not None and rate >= ADADELTA_FROM:
            typed["optimizer"] = "adadelta"
            log.info("A learning rate of %g is meant for Adadelta: using it (--optimizer adamw for AdamW).", rate)
    return TrainConfig(**typed)


def run(args: argparse.Namespace) -> int:
    """Train, then say what to type next."""
    config, task = train_config(args), current_task()
    if task and task.index < 0:
        log.info("TF_CONFIG makes this process a parameter server or evaluator; aocr needs none. Nothing to do.")
        return 0
    if args.exclude and not args.unlabeled:
        raise ConfigError("--exclude", " ".join(args.exclude), "is for --unlabeled alone.")
    options.check_paths([*args.datasets, *args.validation, *args.unlabeled, *args.exclude], args.model_dir)
    typed = options.typed_settings(args)
    with waiting("starting TensorFlow"):
        machine.start_tensorflow()
        from aocr.folder.model_folder import ModelFolder
        from aocr.training.request import TrainRequest
        from aocr.training.run import train

    if args.gpu_id is not None:
        if args.devices is not None:
            raise ConfigError("--devices", args.devices, "cannot stand beside --gpu-id: both choose GPUs.")
        machine.use_gpu(args.gpu_id)
    outcome = train(TrainRequest(**options.fields_of(TrainRequest, args), typed=typed, config=config))
    if task and task.index > 0:
        return 130 if outcome.interrupted else 0  # the chief tells the rest
    if outcome.interrupted:
        log.info("Saved at step %d (%s). The same command goes on from here.", outcome.step, outcome.reason)
        return 130
    info = ModelFolder(args.model_dir).weights_info()
    said = "Training ended after step %d: %s." if outcome.trained else UNCHANGED
    log.info(said, outcome.step, outcome.reason)
    log.info("test, predict and export will use the %s.", info.describe())
    flag = "" if args.model_dir == "checkpoints" else f" --model-dir {shlex.quote(args.model_dir)}"
    next_steps = f"Next: aocr test DATASET{flag}, aocr predict IMAGE...{flag}, aocr export{flag}"
    print(escape_control(next_steps if outcome.can_read else NOT_YET))
    return 0
