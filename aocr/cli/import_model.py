"""`aocr import`: convert a checkpoint of aocr 0.7.6 to a model folder."""

from __future__ import annotations

import argparse
import logging
import shlex

from aocr import machine
from aocr.cli import options
from aocr.config import typed_charset, typed_network
from aocr.errors import escape_control
from aocr.text.charset import Charset

log = logging.getLogger("aocr")

LIMITS = {"max_width": 160, "max_height": 60, "max_prediction": 8}
"""Defaults of aocr 0.7.6; a checkpoint does not record them."""

HELP = "convert a checkpoint of aocr 0.7.6 to a model folder"
ABOUT = """Convert a trained checkpoint of aocr 0.7.6 (model.ckpt-N.*) to a model folder. The network's sizes are read
from the checkpoint; give the charset and the limits that it was trained with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add(
        "checkpoint", metavar="CHECKPOINT", help="folder with model.ckpt-N.*, or path of a checkpoint without extension"
    )
    options.add_model_dir(parser, written=True)
    options.add_log_path(parser)
    # fmt: off
    add("--charset", default="alphanumeric", metavar="FILE|NAME",
        help="the symbols in the order of their ids (default: %(default)s)")
    # fmt: on
    add("--full-ascii", action="store_true", help=options.FULL_ASCII)
    for name, default in LIMITS.items():
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=options.positive, default=default, metavar="N", help="as in training (default: %(default)s)")
    group = parser.add_argument_group("the network, checked against the checkpoint")
    for name in ("attn-num-hidden", "attn-num-layers", "target-embedding-size"):
        group.add_argument(f"--{name}", type=options.positive, default=argparse.SUPPRESS, metavar="N")
    colour = {"dest": "channels", "action": "store_const", "default": argparse.SUPPRESS}
    group.add_argument("--color", const=3, help="the model reads colour", **colour)  # type: ignore[arg-type]
    group.add_argument("--no-color", const=1, help="the model reads grey", **colour)  # type: ignore[arg-type]
    group.add_argument("--use-gru", action="store_true", default=argparse.SUPPRESS, help="the model has GRU cells")


def run(args: argparse.Namespace) -> int:
    """Import the checkpoint and print the next command."""
    charset = Charset.from_name_or_file(typed_charset(vars(args)))  # type: ignore[arg-type]
    machine.start_tensorflow()
    from aocr.exchange.aocr_0_7_6 import import_checkpoint

    typed = typed_network(vars(args))
    config, step = import_checkpoint(args.checkpoint, args.model_dir, charset, typed)
    cells = "GRU" if config.use_gru else "LSTM"
    log.info(
        "Read the weights of step %d: %d layers of %d %s units",
        step,
        config.attn_num_layers,
        config.attn_num_hidden,
        cells,
    )
    next_step = f"aocr test DATASET --model-dir {shlex.quote(args.model_dir)}"
    print(escape_control(f"Imported to {args.model_dir}. Next: {next_step}"))
    return 0
