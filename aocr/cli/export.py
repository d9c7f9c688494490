"""`aocr export`: a model for other programs."""

from __future__ import annotations

import argparse
import logging
import os

from aocr import machine
from aocr.cli import options
from aocr.errors import ConfigError, escape_control

log = logging.getLogger("aocr")

ADVICE = "To export that reader: aocr export DIR --model-dir words."

HELP = "write a model for other programs"
ABOUT = """Export a trained model in one of these formats: {}. The export is loaded again in a process of its own and
must read sample images as the model does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from aocr.exchange.formats import DEFAULT, FORMATS

    parser.description = ABOUT.format(", ".join(form.ABOUT for form in FORMATS.values()))
    parser.add_argument("export_dir", nargs="?", metavar="DIR", help="(default: AIP_MODEL_DIR, else exported)")
    parser.add_argument("--format", choices=list(FORMATS), default=DEFAULT, help="(default: %(default)s)")
    add = parser.add_argument
    add("--quantize", choices=["float16", "int8"], help="round the weights of litert to this; needs --check")
    add("--check", metavar="DATASET", help="images with labels; rounded weights that read 1 %% fewer are refused")
    options.add_model_dir(parser)
    options.add_data_base_dir(parser)
    options.add_log_path(parser)
    options.add_gpu(parser)
    options.add_network(parser, training=False)
    parser.set_defaults(precision="float32", batch_size=64)


def run(args: argparse.Namespace) -> int:
    """Export, prove, say where."""
    options.check_paths([args.check] if args.check else [], args.model_dir)
    from aocr.folder.words import NAME

    if args.export_dir == NAME:
        reason = f"is the name of the reader that comes with aocr, which a folder of this name would hide. {ADVICE}"
        raise ConfigError("DIR", NAME, reason)
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.exchange.export import check_choice, export

    check_choice(args.format, args.quantize, bool(args.check))
    predictor = options.open_model(args, network=True)
    log.info("Exporting %s", predictor.source)
    # Vertex AI looks for the model in the folder that it names, not in a numbered one
    given, named = args.export_dir, os.environ.get("AIP_MODEL_DIR")
    target = (predictor, given or named or "exported", args.format, bool(given or not named))
    if args.check:
        with open_dataset([args.check], args.data_base_dir) as dataset:
            path = export(*target, args.quantize, dataset)
        found = f"it read {args.check} about as well as the model does."
    else:
        path = export(*target)
        found = "it read sample images as the model does."
    print(escape_control(f"Exported to {path}. Loaded in a process of its own, {found}"))
    return 0
