"""`aocr export`: convert a model for other programs."""

from __future__ import annotations

import argparse
import logging
import os

from aocr import machine
from aocr.cli import options
from aocr.errors import ConfigError, escape_control

log = logging.getLogger("aocr")

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
    parser.set_defaults(precision="float32", batch_size=64)


def run(args: argparse.Namespace) -> int:
    """Export the model and print its path."""
    options.check_paths([args.check] if args.check else [], args.model_dir)
    from aocr.folder.words import NAME

    if args.export_dir == NAME:
        reason = "a folder of this name would hide the model that comes with aocr. To export that model:"
        raise ConfigError("DIR", NAME, f"{reason} aocr export DIR --model-dir words.")
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.exchange.export import check_choice, export

    check_choice(args.format, args.quantize, bool(args.check))
    predictor = options.open_model(args, network=True)
    log.info("Exporting %s", predictor.source)
    vertex_dir = os.environ.get("AIP_MODEL_DIR")  # Vertex AI expects the model in this folder, not in a numbered one
    export_dir = args.export_dir or vertex_dir or "exported"
    is_numbered = bool(args.export_dir or not vertex_dir)
    if args.check:
        with open_dataset([args.check], options.source_options(args)) as dataset:
            path = export(predictor, export_dir, args.format, is_numbered, args.quantize, dataset)
        result = f"it read {args.check} about as well as the model."
    else:
        path = export(predictor, export_dir, args.format, is_numbered)
        result = "it read sample images like the model."
    print(escape_control(f"Exported to {path}. In a process without aocr {result}"))
    return 0
