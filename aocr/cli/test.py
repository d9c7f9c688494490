"""`aocr test`: score a model on images with labels."""

from __future__ import annotations

import argparse
import logging
import math
from typing import Any

from aocr import files, machine
from aocr.cli import options
from aocr.errors import ConfigError
from aocr.results import EvalReport, Sample

log = logging.getLogger("aocr")

HELP = "score a model on images with labels"
ABOUT = "Score a trained model on images with labels, or compare several models on the same images."

RESULTS = "results"
"""Default folder of the attention pictures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("datasets", nargs="+", metavar="DATASET", help="TFRecords of aocr dataset, an annotation file, or a folder")
    options.add_model_dir(parser, several=True)
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
    """Score the models, print the misread images, and write the report and pictures."""
    models = list(dict.fromkeys(args.model_dir or [options.usual_model_dir()]))
    for model_dir in models:
        options.check_paths(args.datasets, model_dir)
    if args.output_dir and not args.visualize:
        log.warning("--output-dir has no effect without --visualize.")
    if len(models) > 1 and (args.visualize or args.report):
        raise ConfigError("--model-dir", models, "--visualize and --report show one model. Give one --model-dir.")
    if args.report:
        files.check_same(args.report, b"<!DOCTYPE html>", "page")
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset

    predictors = {name: options.open_model(argparse.Namespace(**{**vars(args), "model_dir": name}), network=True)
                  for name in models}  # fmt: skip
    with open_dataset(args.datasets, options.source_options(args)) as dataset:
        results = {name: _evaluate(args, name, predictor, dataset) for name, predictor in predictors.items()}
    if len(models) > 1:
        _print_comparison(results, args.json)
    else:
        _print_scores(args, *results[models[0]], dataset.name)
    return 0


def _evaluate(
    args: argparse.Namespace, model_dir: str, predictor: Any, dataset: Any
) -> tuple[EvalReport, list[Sample]]:
    """Score one model, and warn if its scores do not say how well it reads new images."""
    from aocr.reading.evaluator import evaluate

    log.info("Reading with %s", predictor.source)
    keep = args.visualize or bool(args.report)
    report, samples = evaluate(predictor, dataset, use_distance=args.use_distance, keep_source=keep)
    _warn_of_learnt(model_dir, dataset.summary.split_keys.tolist())
    if num_unwritable := sum(math.isnan(sample.log_likelihood) for sample in samples):
        log.warning(
            "The model cannot write %d of the %d labels: they have symbols outside its charset or are too long. "
            "They count as misread and are left out of the perplexity.",
            num_unwritable,
            len(samples),
        )
    return report, samples


def _print_comparison(results: dict[str, tuple[EvalReport, list[Sample]]], as_json: bool) -> None:
    """Print the scores of several models, and the images that only some of them read right."""
    from aocr.report.lines import compare, comparison_json, comparison_text, difference_lines

    reports = {model_dir: report for model_dir, (report, _) in results.items()}
    samples = {model_dir: samples for model_dir, (_, samples) in results.items()}
    if as_json:
        print(comparison_json(reports, compare(samples)))
        return
    print("\n".join([*difference_lines(samples), comparison_text(reports, compare(samples))]))


def _print_scores(args: argparse.Namespace, report: EvalReport, samples: list[Sample], name: str) -> None:
    """Print the scores and the misread images; write the report and pictures."""
    from aocr.report.attention import write_visualization
    from aocr.report.index import write_index
    from aocr.report.lines import result_line, score_json, score_text
    from aocr.report.page import write_html_report

    if not args.json:
        for sample in samples:
            if not sample.correct:
                print(result_line(sample, args.use_distance))
    if args.visualize:
        folder = args.output_dir or RESULTS
        index = write_index(folder, {write_visualization(sample, folder): sample for sample in samples})
        log.info("Drew the attention of %d images: open %s", len(samples), index)
    if args.report:
        write_html_report(args.report, report, samples, f"aocr test {name}")
        log.info("Wrote the report to %s", args.report)
    print(score_json(report) if args.json else score_text(report))


def _warn_of_learnt(model_dir: str, digests: list[int]) -> None:
    """Warn if the model was trained on some of these images."""
    from aocr.folder.words import open_folder

    learnt = open_folder(model_dir).read_learnt()
    trained_on = set() if learnt is None else set(learnt.tolist())
    if num_learnt := sum(digest in trained_on for digest in digests):
        warning = "The model was trained on %d of these %d images, so expect lower scores on new images."
        log.warning(warning, num_learnt, len(digests))
