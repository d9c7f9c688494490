"""`aocr test`: score a model on images with labels."""

from __future__ import annotations

import argparse

from aocr.cli import options
from aocr.results import EvalReport, Sample

HELP = "score a model on images with labels"
ABOUT = "Score a trained model on images with labels, or compare several models on the same images."


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
    add("--output-dir", metavar="DIR", help="folder for --visualize (default: results)")
    add("--report", metavar="FILE", help="write an HTML page with the scores and the misread images")
    add("--json", action="store_true", help="print only the scores, as a JSON object")
    options.add_reading(parser)
    options.add_network(parser, training=False)


def run(args: argparse.Namespace) -> int:
    """Score the models, print the misread images, and write the report and pictures."""
    models = list(dict.fromkeys(args.model_dir or [options.usual_model_dir()]))
    for model_dir in models:
        options.check_paths(args.datasets, model_dir)
        options.check_network(args, model_dir)
    from aocr.reading.command import score_models, test
    from aocr.report.lines import result_line, score_json, score_text

    results = score_models(models, options.arguments_of(test, args))
    if len(models) > 1:
        _print_comparison(results, args.json)
        return 0
    report, samples = results[models[0]]
    if not args.json:
        for sample in samples:
            if not sample.correct:
                print(result_line(sample, args.use_distance))
    print(score_json(report) if args.json else score_text(report))
    return 0


def _print_comparison(results: dict[str, tuple[EvalReport, list[Sample]]], as_json: bool) -> None:
    """Print the scores of several models, and the images that only some of them read right."""
    from aocr.report.lines import compare, comparison_json, comparison_text, difference_lines

    reports = {model_dir: report for model_dir, (report, _) in results.items()}
    samples = {model_dir: samples for model_dir, (_, samples) in results.items()}
    if as_json:
        print(comparison_json(reports, compare(samples)))
        return
    print("\n".join([*difference_lines(samples), comparison_text(reports, compare(samples))]))
