"""`aocr export`: a model for other programs."""

from __future__ import annotations

import argparse
import logging
import os

from aocr import machine
from aocr.cli import options

log = logging.getLogger("aocr")


HELP = "write a model for other programs"
ABOUT = """Export a trained model as a {}. The export is loaded again in a process of its own and must read sample
images as the model does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from aocr.exchange.formats import DEFAULT, FORMATS

    parser.description = ABOUT.format(" or a ".join(form.ABOUT for form in FORMATS.values()))
    parser.add_argument("export_dir", nargs="?", metavar="DIR", help="(default: AIP_MODEL_DIR, else exported)")
    parser.add_argument("--format", choices=list(FORMATS), default=DEFAULT, help="(default: %(default)s)")
    options.add_model_dir(parser)
    options.add_log_path(parser)
    options.add_gpu(parser)
    options.add_network(parser, training=False)
    parser.set_defaults(precision="float32", batch_size=64)


def run(args: argparse.Namespace) -> int:
    """Export, prove, say where."""
    options.check_paths([], args.model_dir)
    machine.start_tensorflow()
    from aocr.exchange.export import export

    predictor = options.open_model(args)
    log.info("Exporting %s", predictor.chosen)
    # Vertex AI looks for the model in the folder that it names, not in a numbered one
    given, named = args.export_dir, os.environ.get("AIP_MODEL_DIR")
    path = export(predictor, given or named or "exported", args.format, numbered=bool(given or not named))
    print(f"Exported to {path}. Loaded in a process of its own, it read sample images as the model does.")
    return 0
