"""`aocr.test`: what `aocr test` does, as a function."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from typing import Any

from aocr import files, machine
from aocr.config import ReadConfig, SourceOptions, fields_in
from aocr.errors import ConfigError
from aocr.folder.words import open_folder
from aocr.reading.predictor import load_network
from aocr.results import EvalReport, Sample

log = logging.getLogger("aocr")

RESULTS = "results"
"""Default folder of the attention pictures."""


def test(
    datasets: files.Paths, *, model_dir: files.Path = "checkpoints", data_base_dir: str | None = None,
    columns: str | None = None, label_from_filename: str | None = None, empty_labels: bool = False,
    gpu_id: int | None = None, use_distance: bool = True, visualize: bool = False, output_dir: str | None = None,
    report: str | None = None, precision: str = "float32", batch_size: int = 64, beam: int = 1,
    pattern: str | None = None, lexicon: str | None = None, lexicon_weight: float | None = None,
    symbols: str | None = None, spaces: bool = True,
) -> tuple[EvalReport, list[Sample]]:  # fmt: skip
    """Score a model on images with labels.

    Arguments are those of `aocr test`; `use_distance=False` is `--no-distance`, `symbols` is `--charset`,
    and `spaces=False` is `--no-spaces`.

    Returns:
      The scores, and every image with its label and reading, in the dataset's order.

    Raises:
      AocrError: the model or the data cannot be used.
    """
    settings, model_dir = locals(), os.fspath(model_dir)
    return score_models([model_dir], settings)[model_dir]


def score_models(models: Sequence[str], settings: dict[str, Any]) -> dict[str, tuple[EvalReport, list[Sample]]]:
    """Score models on the same images: model folder -> what `test` returns. `settings` are arguments of `test`."""
    visualize, report, output_dir = settings["visualize"], settings["report"], settings["output_dir"]
    if output_dir and not visualize:
        log.warning("--output-dir has no effect without --visualize.")
    if len(models) > 1 and (visualize or report):
        raise ConfigError("--model-dir", models, "--visualize and --report show one model. Give one --model-dir.")
    if report:
        files.check_same(report, b"<!DOCTYPE html>", "page")
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.reading.evaluator import evaluate

    if settings["gpu_id"] is not None:
        machine.use_gpu(settings["gpu_id"])
    read_config = ReadConfig(**fields_in(ReadConfig, settings))
    loading = {"precision": settings["precision"], "batch_size": settings["batch_size"], "read_config": read_config}
    predictors = {model_dir: load_network(model_dir, **loading) for model_dir in models}
    source, results = SourceOptions(**fields_in(SourceOptions, settings)), {}
    with open_dataset(files.path_list(settings["datasets"]), source) as dataset:
        for model_dir, predictor in predictors.items():
            log.info("Reading with %s", predictor.source)
            keep, use_distance = visualize or bool(report), settings["use_distance"]
            scores, samples = evaluate(predictor, dataset, use_distance=use_distance, keep_source=keep)
            _warn(model_dir, dataset.summary.split_keys.tolist(), samples)
            results[model_dir] = scores, samples
    if visualize:
        _draw(samples, output_dir or RESULTS)
    if report:
        from aocr.report.page import write_html_report

        write_html_report(report, scores, samples, f"aocr test {dataset.name}")
        log.info("Wrote the report to %s", report)
    return results


def _draw(samples: list[Sample], folder: str) -> None:
    from aocr.report.attention import write_visualization
    from aocr.report.index import write_index

    index = write_index(folder, {write_visualization(sample, folder): sample for sample in samples})
    log.info("Drew the attention of %d images: open %s", len(samples), index)


def _warn(model_dir: str, digests: list[int], samples: list[Sample]) -> None:
    """Warn if the model was trained on some of these images, or cannot write some of the labels."""
    learnt = open_folder(model_dir).read_learnt()
    trained_on = set() if learnt is None else set(learnt.tolist())
    if num_learnt := sum(digest in trained_on for digest in digests):
        warning = "The model was trained on %d of these %d images, so expect lower scores on new images."
        log.warning(warning, num_learnt, len(digests))
    if num_unwritable := sum(math.isnan(sample.log_likelihood) for sample in samples):
        log.warning(
            "The model cannot write %d of the %d labels: they have symbols outside its charset or are too long. "
            "They count as misread and are left out of the perplexity.",
            num_unwritable,
            len(samples),
        )
