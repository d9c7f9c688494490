"""`aocr test`: score a model on images with labels."""

from __future__ import annotations

import argparse

from aocr.cli import options

HELP = "score a model on images with labels"
ABOUT = "Score a trained model on images with labels."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("datasets", nargs="+", metavar="DATASET", help="TFRecords of aocr dataset, an annotation file, or a folder")
    options.add_model_dir(parser)
    options.add_log_path(parser)
    options.add_source(parser)
    options.add_gpu(parser)
    options.add_no_distance(parser)
    add("--visualize", action="store_true", help="draw the attention on each image, in --output-dir")
    add("--output-dir", metavar="DIR", help="folder for --visualize (default: results)")
    add("--report", metavar="FILE", help="write an HTML page with the scores and the misread images")
    add("--json", action="store_true", help="print only the scores, as a JSON object")
    options.add_reading(parser)
    options.add_network(parser, training=False)


def run(args: argparse.Namespace) -> int:
    """Score the model, print the misread images, and write the report and pictures."""
    options.check_paths(args.datasets, args.model_dir)
    options.check_network(args)
    from aocr.reading.command import test
    from aocr.report.lines import result_line, score_json, score_text

    scores, samples = test(**options.arguments_of(test, args))
    if not args.json:
        for sample in samples:
            if not sample.correct:
                print(result_line(sample, args.use_distance))
    print(score_json(scores) if args.json else score_text(scores))
    return 0
