"""`aocr export`: convert a model for other programs."""

from __future__ import annotations

import argparse

from aocr.cli import options
from aocr.errors import escape_control

HELP = "export a model for other programs"
ABOUT = """Export a trained model in one of these formats: {}. The export is then loaded in a process without aocr and
must read sample images like the model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from aocr.exchange.formats import DEFAULT, FORMATS

    parser.description = ABOUT.format(", ".join(form.ABOUT for form in FORMATS.values()))
    parser.add_argument(
        "export_dir", nargs="?", metavar="DIR", help="folder to write (default: $AIP_MODEL_DIR if set, else exported)"
    )
    parser.add_argument("--format", choices=list(FORMATS), default=DEFAULT, help="(default: %(default)s)")
    add = parser.add_argument
    add("--quantize", choices=["float16", "int8"], help="make the litert file smaller; needs --check")
    add("--check", metavar="DATASET", help="labelled images to check that --quantize loses at most 1 %% accuracy")
    options.add_model_dir(parser)
    options.add_source(parser)
    options.add_log_path(parser)
    options.add_gpu(parser)
    options.add_network(parser, training=False)


def run(args: argparse.Namespace) -> int:
    """Export the model and print its path."""
    options.check_paths([args.check] if args.check else [], args.model_dir)
    options.check_network(args, args.model_dir)
    from aocr.exchange.command import export

    path = export(**options.arguments_of(export, args))
    result = (
        f"it read {args.check} about as well as the model." if args.check else "it read sample images like the model."
    )
    print(escape_control(f"Exported to {path}. In a process without aocr {result}"))
    return 0
