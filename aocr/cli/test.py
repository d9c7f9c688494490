"""`aocr test`: score a model on images with labels."""

from __future__ import annotations

import argparse
import logging

from aocr import machine
from aocr.cli import options

log = logging.getLogger("aocr")


def add_parser(sub) -> None:
    """Add the command to argparse's subparsers."""
    parser = sub.add_parser(
        "test", help="score a model on images with labels", description="Score a trained model on images with labels."
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "datasets", nargs="+", metavar="DATASET", help="TFRecords of aocr dataset, an annotation file, or a folder"
    )
    options.add_model_dir(parser)
    options.add_log_path(parser)
    options.add_data_base_dir(parser)
    options.add_gpu(parser)
    options.add_precision(parser, "float32")
    parser.add_argument("--batch-size", type=options.positive, default=64, metavar="N", help="images read together")
    parser.add_argument(
        "--no-distance", dest="use_distance", action="store_false",
        help="count whole words in the score of aocr 0.7.6, not edit distance",
    )  # fmt: skip
    parser.add_argument("--visualize", action="store_true", help="draw where the model looked, into --output-dir")
    parser.add_argument(
        "--output-dir", default="results", metavar="DIR", help="folder of --visualize (default: %(default)s)"
    )
    parser.add_argument("--report", metavar="FILE", help="write a page with scores and misses (HTML)")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object and nothing else")
    options.add_reading(parser)
    options.add_network(parser, training=False)


def run(args: argparse.Namespace) -> int:
    """Score, print the misses, write what was asked for."""
    options.check_paths(args.datasets, args.model_dir)
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.reading.evaluator import evaluate
    from aocr.report.attention import write_visualization
    from aocr.report.lines import result_line, score_json, score_text
    from aocr.report.page import write_html_report

    predictor = options.open_model(args)
    log.info("Reading with %s", predictor.chosen)
    keep = args.visualize or bool(args.report)
    with open_dataset(args.datasets, args.data_base_dir) as dataset:
        report, samples = evaluate(predictor, dataset, use_distance=args.use_distance, keep_source=keep)
    if not args.json:
        for sample in samples:
            if not sample.correct:
                print(result_line(sample, args.use_distance))
    if args.visualize:
        for sample in samples:
            write_visualization(sample, args.output_dir)
        log.info("Attention of %d images drawn in %s", len(samples), args.output_dir)
    if args.report:
        write_html_report(args.report, report, samples, f"aocr test {dataset.name}")
        log.info("Report written to %s", args.report)
    print(score_json(report) if args.json else score_text(report))
    return 0
