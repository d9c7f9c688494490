"""`aocr predict`: read images."""

from __future__ import annotations

import argparse
import glob
import logging
import os
import sys
from collections.abc import Iterator

from aocr.cli import options
from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.errors import ConfigError
from aocr.results import Prediction

log = logging.getLogger("aocr")
results_log = logging.getLogger("aocr.results")
"""Readings as aocr 0.7.6 logged them, for scripts that look there; to the log file only."""


PAGE_HEIGHT, PAGE_ASPECT = 400, 2.0
"""Images higher than this many pixels and not as many times as wide as high are no words or lines."""
UNSURE = 2.0
"""A least confidence that nothing reaches."""


HELP = "read images"
ABOUT = "Read images with a trained model: one line an image, its path, text and confidence."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("images", nargs="*", metavar="IMAGE",
        help="image files, folders with all that is in them, globs; - or nothing: paths from standard input")
    options.add_model_dir(parser, or_words=True, graph_too=True)
    options.add_log_path(parser)
    options.add_gpu(parser)
    add("--json", action="store_true", help="a JSON object a line, with boxes of the characters")
    add("--attention", action="store_true", help="with --json: the attention weights too")
    options.add_reading(parser)
    add("--alternatives", type=options.whole, default=0, metavar="N", help="tell N other readings too (default: 0)")
    add("--min-confidence", type=options.share, metavar="P",
        help="mark what is less sure than P, from 0 to 1, as unsure")
    # fmt: on
    options.add_network(parser, training=False)


def _chunks(arguments: list[str]) -> Iterator[list[str]]:
    """Paths that are read together: those of the command line, and those from standard input as they come.

    So a program that pipes in paths can wait for each answer.
    """
    from aocr.data.annotations import images_in

    waiting: list[str] = []
    for argument in arguments or ["-"]:
        if argument == "-":
            yield waiting
            yield from _from_stdin()
            waiting = []
        elif os.path.isdir(argument):
            waiting += images_in(argument)
        else:
            is_glob = glob.has_magic(argument) and not os.path.exists(argument)  # `a[1].png` may be a file's name
            waiting += (is_glob and sorted(glob.glob(argument))) or [argument]
    yield waiting


def paths_of(arguments: list[str]) -> list[str]:
    """All paths that arguments name: files, folders, globs, `-`."""
    return [path for chunk in _chunks(arguments) for path in chunk]


def _from_stdin() -> Iterator[list[str]]:
    rest = b""
    while chunk := os.read(sys.stdin.fileno(), 1 << 16):
        if b"\0" in chunk:
            raise ConfigError("IMAGE", "-", "standard input holds no paths, one a line. An image is given by its path.")
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [line.decode("utf-8", "surrogateescape").strip("\r") for line in lines if line.strip()]
    if rest.strip():
        yield [rest.decode("utf-8", "surrogateescape").strip("\r")]


def _is_page(prediction: Prediction, config: ModelConfig) -> bool:
    """Whether an image has the shape of a page or a photograph, not that of a word or a line."""
    height = config.height * prediction.column_width / COLUMN_PIXELS
    return height > PAGE_HEIGHT and prediction.image_width < PAGE_ASPECT * height


def run(args: argparse.Namespace) -> int:
    """Read the images; 1 where one of them could not be read."""
    if args.attention and not args.json:
        raise ConfigError("--attention", args.attention, "is for --json alone.")
    args.model_dir = options.model_at_hand(args.model_dir)
    options.check_paths([], args.model_dir, graph_too=True)
    from aocr.errors import ImageError
    from aocr.folder.words import is_box
    from aocr.report.lines import prediction_json, prediction_line

    predictor = options.open_model(args)
    reads_words = is_box(args.model_dir)
    failed = total = 0
    for paths in _chunks(args.images):
        for path, result in zip(paths, predictor.predict_each(paths), strict=True):
            total += 1
            if isinstance(result, ImageError):
                failed += 1
                print(f"aocr: {result}", file=sys.stderr, flush=True)
                results_log.info("Result: error while opening file %s.", path)
                continue
            results_log.info("Result: OK. %.2f %s", result.confidence, result.text)
            least = args.min_confidence
            if reads_words and _is_page(result, predictor.config):
                log.warning("%s looks like a whole page or scene. Crop it to a word or a line.", path)
                least = UNSURE
            if args.json:
                print(prediction_json(path, result, args.attention, least), flush=True)
            else:
                print(prediction_line(path, result, least or 0.0), flush=True)
    if not total:
        print("aocr: no image to read. Name images or folders, or pipe in their paths.", file=sys.stderr)
    if failed:
        print(f"aocr: {failed} of {total} images could not be read.", file=sys.stderr)
    return 1 if failed or not total else 0
