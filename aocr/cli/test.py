"""`aocr test`: score a model on images with labels."""

from __future__ import annotations

import argparse
import logging
import math

from aocr import files, machine
from aocr.cli import options

log = logging.getLogger("aocr")


HELP = "score a model on images with labels"
ABOUT = "Score a trained model on images with labels."


RESULTS = "results"
"""Folder of pictures where none is named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("datasets", nargs="+", metavar="DATASET", help="TFRecords of aocr dataset, an annotation file, or a folder")
    options.add_model_dir(parser)
    options.add_log_path(parser)
    options.add_data_base_dir(parser)
    options.add_gpu(parser)
    options.add_no_distance(parser)
    add("--visualize", action="store_true", help="draw where the model looked, into --output-dir")
    add("--output-dir", metavar="DIR", help=f"folder of --visualize (default: {RESULTS})")
    add("--report", metavar="FILE", help="write a page with scores and misses (HTML)")
    add("--json", action="store_true", help="print the scores as one JSON object and nothing else")
    options.add_reading(parser)
    options.add_network(parser, training=False)


def run(args: argparse.Namespace) -> int:
    """Score, print the misses, write what was asked for."""
    options.check_paths(args.datasets, args.model_dir)
    if args.output_dir and not args.visualize:
        log.warning("--output-dir is for --visualize: nothing is drawn.")
    if args.report:
        files.check_same(args.report, b"<!DOCTYPE html>", "page")
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.reading.evaluator import evaluate
    from aocr.report.attention import write_visualization
    from aocr.report.lines import result_line, score_json, score_text
    from aocr.report.page import write_html_report

    predictor = options.open_model(args, network=True)
    log.info("Reading with %s", predictor.source)
    keep = args.visualize or bool(args.report)
    with open_dataset(args.datasets, args.data_base_dir) as dataset:
        report, samples = evaluate(predictor, dataset, use_distance=args.use_distance, keep_source=keep)
    _tell_learnt(args.model_dir, dataset.summary.split_keys)
    foreign = sum(math.isnan(sample.log_likelihood) for sample in samples)
    if foreign:
        log.warning(
            "The model cannot write %d of the %d labels: they have symbols outside its charset or are too long. "
            "They count as misread, and are left out of the perplexity.",
            *(foreign, len(samples)),
        )
    if not args.json:
        for sample in samples:
            if not sample.correct:
                print(result_line(sample, args.use_distance))
    if args.visualize:
        folder = args.output_dir or RESULTS
        for sample in samples:
            write_visualization(sample, folder)
        log.info("Attention of %d images drawn in %s", len(samples), folder)
    if args.report:
        write_html_report(args.report, report, samples, f"aocr test {dataset.name}")
        log.info("Report written to %s", args.report)
    print(score_json(report) if args.json else score_text(report))
    return 0


def _tell_learnt(model_dir: str, places) -> None:
    """Warn of those of these images, each by its place, that the model has learnt from."""
    from aocr.folder.words import open_folder
    from aocr.training.seen import seen_by_reader

    if files.is_graph(model_dir):
        return
    if learnt := int(seen_by_reader(open_folder(model_dir)).is_known(places).sum()):
        told = "The model has learnt from %d of these %d images: it reads others less well than the scores say."
        log.warning(told, learnt, len(places))
