"""`aocr train`: train a model on images and labels."""

from __future__ import annotations

import argparse
import logging
import shlex

from aocr import machine
from aocr.cli import options
from aocr.cli.config_file import write_config
from aocr.cli.waiting import waiting
from aocr.config import MAX_EPOCHS, OPTIMIZERS, TrainConfig
from aocr.errors import escape_control
from aocr.tf_config import current_task

log = logging.getLogger("aocr")
details_log = logging.getLogger("aocr.details")

ALREADY_ENDED = "Nothing was trained: the training had already ended at step %d: %s. Raise the limit to continue it."
NOT_YET = (
    "The model cannot read yet: most characters in the images shown above are wrong. Try, in this order: "
    "check that labels and images belong together (aocr dataset ANNOTATIONS OUTPUT --preview FILE); "
    "train longer (repeat the command with a higher --max-time, --num-epoch or --patience); "
    "label more images, or draw similar ones (aocr synth)."
)

EVERYDAY = (
    "--model-dir", "--validation", "--max-time", "--charset", "--init-from", "--no-resume", "--output-dir",
)  # fmt: skip
"""The flags that help shows first."""

HELP = "train a model, or resume training it"
ABOUT = "Train a model on images with labels. The same command again resumes where it stopped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    # fmt: off
    parser.add_argument("datasets", nargs="*", metavar="DATASET",
        help="TFRecords of aocr dataset (globs and shards too), an annotation file, or a folder of images with "
        "their texts")
    parser.add_argument("--config", metavar="FILE",
        help="read flags from a TOML file by their names, such as max-time = '10m'; typed flags win. A training leaves "
        "its flags in run.toml in the model folder")
    _add_data(parser.add_argument_group("data"))
    folder = parser.add_argument_group("model folder")
    options.add_model_dir(folder, written=True)
    add = folder.add_argument
    add("--no-resume", dest="resume", action="store_false", help="start over and discard what is there")
    add("--init-from", metavar="DIR",
        help="start from the weights of this model folder; none: from random weights (default: words, the model that "
        "comes with aocr; --arch classic: none)")
    add("--charset-policy", choices=("fail", "union", "new"), default="union",
        help="if --init-from has another charset: fail; union: add the new symbols; new: only those of the data "
        "(default: %(default)s)")
    _add_stopping(parser.add_argument_group("when to stop"))
    _add_optimization(parser.add_argument_group("optimization"))
    options.add_network(parser, training=True)
    group = parser.add_argument_group("machine")
    options.add_gpu(group)
    add = group.add_argument
    add("--devices", type=options.devices, metavar="all|N|I,J",
        help="GPUs to train on: all, a number of GPUs, or a list of GPU ids such as 0,2 (default: one)")
    options.add_precision(group, "auto")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--deterministic", action="store_true",
        help="make a GPU give the same weights for the same seed, which is slower (a CPU always does)")
    group = parser.add_argument_group("output")
    options.add_log_path(group, "aocr.log in the model folder")
    group.add_argument("--output-dir", metavar="DIR",
        help="after training, write a report on the validation set to this folder (report.html)")
    group.add_argument("--verbose", action="store_true", help="show on the terminal all that the log has")
    options.add_no_distance(group)
    # fmt: on


def _add_data(group: options.Container) -> None:
    add = group.add_argument
    # fmt: off
    options.add_source(group)
    add("--validation", nargs="+", default=[], metavar="DATASET",
        help="images that progress is measured on. Default: 5 %% of yours are set aside; 20 %% of fewer than 200 "
        "(these are trained on in the last phase); none of fewer than 25")
    add("--charset", metavar="FILE|NAME|auto", default=argparse.SUPPRESS,
        help="symbols to read: a text file, digits, alphanumeric, full-ascii, ... (default: those of the labels)")
    add("--target-vocab-size", type=options.positive, metavar="N",
        help="stop if the labels have more than N-3 different characters (kept from aocr 0.7.6)")
    add("--unlabeled", nargs="+", default=[], metavar="PATH",
        help="also train on these images, as far as the model reads them reliably: folders, image files, annotation "
        "files, records; labels in them are ignored")
    add("--exclude", nargs="+", default=[], metavar="DATASET",
        help="images to leave out of --unlabeled, for example your test set")
    add("--look-alikes", type=options.whole, metavar="N",
        help="add N drawn images that imitate yours (default: 25 per image if you have fewer than 200 and start from "
        "a trained model; otherwise 0)")
    # fmt: on


def _add_stopping(group: options.Container) -> None:
    add, default = group.add_argument, TrainConfig()
    # fmt: off
    add("--num-epoch", type=options.positive, metavar="N",
        help=f"stop after N passes over the images, resumed runs included (default: {MAX_EPOCHS})")
    add("--max-time", type=options.duration, metavar="TIME",
        help="stop after this training time, resumed runs included: 10m, 1h30m")
    add("--patience", type=options.positive, default=default.patience, metavar="N",
        help="stop after N validations in a row without improvement (default: %(default)s)")
    add("--steps-per-checkpoint", type=options.positive, default=default.steps_per_checkpoint, metavar="N",
        help="steps between checkpoints, and between validations (default: %(default)s)")
    # fmt: on


def _add_optimization(group: options.Container) -> None:
    add, default = group.add_argument, TrainConfig()
    # fmt: off
    add("--batch-size", type=options.batch, metavar="N",
        help="images per step (default: from the data, up to 32; classic 65)")
    add("--optimizer", choices=tuple(OPTIMIZERS), help="optimizer (default: adamw)")
    add("--initial-learning-rate", type=options.above_zero, metavar="X",
        help="learning rate (default: what suits the optimizer). 0.1 or more selects adadelta unless you give "
        "--optimizer")
    add("--max-gradient-norm", type=options.above_zero, default=default.max_gradient_norm, metavar="X",
        help="clip gradients to this norm (default: %(default)s)")
    add("--no-gradient-clipping", dest="clip_gradients", action="store_false", help="do not clip gradients")
    add("--augment", action=argparse.BooleanOptionalAction, default=True,
        help="augment the training images at random (default: yes)")
    add("--augment-strength", type=options.above_zero, default=1.0, metavar="S",
        help="strength of the augmentation (default: %(default)s)")
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Train, then print the next commands to try."""
    task = current_task()
    if task and task.index < 0:
        log.info("TF_CONFIG makes this process a parameter server or evaluator; aocr needs none. Nothing to do.")
        return 0
    if not args.datasets:
        args.parser.error("the following arguments are required: DATASET")
    options.check_paths([*args.datasets, *args.validation, *args.unlabeled, *args.exclude], args.model_dir)
    with waiting("starting TensorFlow"):
        machine.start_tensorflow()
        from aocr.training.command import train

    outcome = train(**options.arguments_of(train, args))
    if task and task.index > 0:
        return 130 if outcome.interrupted else 0  # the chief prints the rest
    write_config(args.model_dir, args.parser, args)
    if outcome.interrupted:
        log.info("Saved at step %d (%s). The same command resumes from here.", outcome.step, outcome.reason)
        return 130
    message = "Training ended after step %d: %s." if outcome.trained else ALREADY_ENDED
    log.info(message, outcome.step, outcome.reason)
    details_log.info("test, predict and export will use the %s.", outcome.weights.describe())
    flag = "" if args.model_dir == "checkpoints" else f" --model-dir {shlex.quote(args.model_dir)}"
    if outcome.can_read and outcome.reads:
        print(outcome.reads)
    print(escape_control(f"Next: aocr predict YOUR-FOLDER{flag}" if outcome.can_read else NOT_YET))
    return 0
