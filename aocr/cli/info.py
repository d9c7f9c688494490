"""`aocr info`: describe a model."""

from __future__ import annotations

import argparse

from aocr.cli import options
from aocr.errors import escape_control

HELP = "describe a model: charset, limits, size, scores"
ABOUT = "Print what a model reads, its limits and size, and how well it read its validation images."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("model_dir", nargs="?", metavar="MODEL",
        help="model folder, words, or ONNX export (default: as aocr predict)")  # fmt: skip
    options.add_log_path(parser)


def run(args: argparse.Namespace) -> int:
    """Print what is known of the model."""
    args.model_dir = options.usual_model(args.model_dir)
    options.check_paths([], args.model_dir, or_export=True)
    from aocr.exchange.formats import FORMATS
    from aocr.reading.info import describe_model

    rows = describe_model(args.model_dir, FORMATS)
    width = max(len(name) for name, _ in rows)
    print("\n".join(escape_control(f"{name:<{width}}  {value}") for name, value in rows))
    return 0
