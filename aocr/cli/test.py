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
"""Default folder of the attention pictures."""


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
    add("--output-dir", metavar="DIR", help=f"folder for --visualize (default: {RESULTS})")
    add("--report", metavar="FILE", help="write an HTML page with the scores and the misread images")
    add("--json", action="store_true", help="print only the scores, as a JSON object")
    options.add_reading(parser)
    options.add_network(parser, training=False)


def run(args: argparse.Namespace) -> int:
    """Score the model, print the misread images, and write the report and pictures."""
    options.check_paths(args.datasets, args.model_dir)
    if args.output_dir and not args.visualize:
        log.warning("--output-dir has no effect without --visualize.")
    if args.report:
        files.check_same(args.report, b"<!DOCTYPE html>", "page")
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.reading.evaluator import evaluate
    from aocr.report.attention import write_visualization
    from aocr.report.index import write_index
    from aocr.report.lines import result_line, score_json, score_text
    from aocr.report.page import write_html_report

    predictor = options.open_model(args, network=True)
    log.info("Reading with %s", predictor.source)
    keep = args.visualize or bool(args.report)
    with open_dataset(args.datasets, options.source_options(args)) as dataset:
        report, samples = evaluate(predictor, dataset, use_distance=args.use_distance, keep_source=keep)
    _warn_of_learnt(args.model_dir, dataset.summary.split_keys.tolist())
    if num_unwritable := sum(math.isnan(sample.log_likelihood) for sample in samples):
        log.warning(
            "The model cannot write %d of the %d labels: they have symbols outside its charset or are too long. "
            "They count as misread and are left out of the perplexity.",
            num_unwritable,
            len(samples),
        )
    if not args.json:
        for sample in samples:
            if not sample.correct:
                print(result_line(sample, args.use_distance))
    if args.visualize:
        folder = args.output_dir or RESULTS
        index = write_index(folder, {write_visualization(sample, folder): sample for sample in samples})
        log.info("Drew the attention of %d images: open %s", len(samples), index)
    if args.report:
        write_html_report(args.report, report, samples, f"aocr test {dataset.name}")
        log.info("Wrote the report to %s", args.report)
    print(score_json(report) if args.json else score_text(report))
    return 0


def _warn_of_learnt(model_dir: str, digests: list[int]) -> None:
    """Warn if the model was trained on some of these images."""
    from aocr.folder.words import open_folder

    learnt = open_folder(model_dir).read_learnt()
    trained_on = set() if learnt is None else set(learnt.tolist())
    if num_learnt := sum(digest in trained_on for digest in digests):
        warning = "The model was trained on %d of these %d images, so expect lower scores on new images."
        log.warning(warning, num_learnt, len(digests))
