"""`aocr predict`: read images."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import glob
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from aocr.cli import options
from aocr.errors import ConfigError, ImageError
from aocr.results import Prediction

log = logging.getLogger("aocr")
results_log = logging.getLogger("aocr.results")
"""Readings in the format of aocr 0.7.6's log, for scripts that parse it; written to the log file only."""

PAGE_HEIGHT, PAGE_ASPECT = 400, 2.0
"""An image higher than the first (pixels) and narrower than the second (width / height) is not a word or a line."""
ALWAYS_UNSURE = 2.0
"""A minimum confidence that no reading reaches."""

DOCUMENTS = ("alto", "hocr", "page")
"""Formats of one document for each image: names of `aocr.exchange.documents.DOCUMENTS`."""

HELP = "read images"
ABOUT = "Read images with a trained model. Prints a line for each image: its path, text and confidence."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("images", nargs="*", metavar="IMAGE",
        help="image files, folders or globs; - or nothing: read paths from standard input; path#x,y,w,h: a part")
    options.add_model_dir(parser, or_words=True, or_export=True)
    options.add_log_path(parser)
    options.add_gpu(parser)
    add("--boxes", metavar="FILE",
        help="read these parts of the images: YOLO, CSV, COCO, PAGE XML or ALTO; or a folder with a file per image")
    add("--format", choices=("tsv", "json", "csv", *DOCUMENTS),
        help="print a line per image (tsv, json, csv), or a document (default: tsv)")
    add("--json", action="store_true", help="--format json: an object per line, with the box of each character")
    add("--output-dir", metavar="DIR", help="write a document for each image to this folder, not to standard output")
    add("--attention", action="store_true", help="with --json: also print the attention weights")
    options.add_reading(parser)
    add("--alternatives", type=options.whole, default=0, metavar="N", help="also print the N next-best readings")
    add("--min-confidence", type=options.share, metavar="P",
        help="mark readings with a confidence below P (0 to 1) as unsure")
    # fmt: on
    options.add_network(parser, training=False)


def _chunks(arguments: list[str]) -> Iterator[list[str]]:
    """Yield lists of paths to read together: those of the command line, and those on standard input as they arrive.

    A program that pipes in paths can thus wait for each answer.
    """
    from aocr.data.annotations import images_in

    paths: list[str] = []
    for argument in arguments or ["-"]:
        if argument == "-":
            yield paths
            yield from _from_stdin()
            paths = []
        elif os.path.isdir(argument):
            paths += images_in(argument)
        else:
            is_glob = glob.has_magic(argument) and not os.path.exists(argument)  # `a[1].png` may be the name of a file
            paths += (is_glob and sorted(glob.glob(argument))) or [argument]
    yield paths


def paths_of(arguments: list[str]) -> list[str]:
    """Return all paths that the arguments name: files, folders, globs, `-`."""
    return [path for chunk in _chunks(arguments) for path in chunk]


def _from_stdin() -> Iterator[list[str]]:
    rest = b""
    while chunk := os.read(sys.stdin.fileno(), 1 << 16):
        if b"\0" in chunk:
            raise ConfigError("IMAGE", "-", "standard input must hold paths, one per line, not an image.")
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield [_path(line) for line in lines if line.strip()]
    if rest.strip():
        yield [_path(rest)]


def _path(line: bytes) -> str:
    """Return the path in a line, in the form in which the file exists."""
    from aocr.data.annotations import path_forms

    path = os.fsdecode(line.removeprefix(codecs.BOM_UTF8).strip(b"\r"))
    return next(filter(os.path.exists, path_forms(path)), path)


def _is_page(prediction: Prediction) -> bool:
    """Whether an image has the shape of a page or a photograph instead of a word or a line."""
    height = prediction.image_height
    return height > PAGE_HEIGHT and prediction.image_width < PAGE_ASPECT * height


def _check(args: argparse.Namespace) -> None:
    """Check flags that go together, and set the format that --json stands for."""
    if args.json and args.format not in (None, "json"):
        raise ConfigError("--json", args.json, f"contradicts --format {args.format}. Give one of them.")
    args.format = "json" if args.json else args.format or "tsv"
    if args.attention and args.format != "json":
        raise ConfigError("--attention", args.attention, "needs --json.")
    if args.output_dir and args.format not in DOCUMENTS:
        raise ConfigError("--output-dir", args.output_dir, f"needs --format {' or '.join(DOCUMENTS)}.")


def _results(args: argparse.Namespace, predictor: Any) -> Iterator[tuple[Any, Prediction | ImageError]]:
    """Yield a Part and its reading for each image that the command line names."""
    from aocr.reading.pages import Boxes, read_parts

    if args.boxes:
        paths = paths_of(args.images)
        yield from read_parts(predictor, paths, Boxes(args.boxes, only=len(paths) == 1))
        return
    for paths in _chunks(args.images):
        yield from read_parts(predictor, paths)


Emit = Callable[[Any, Prediction, float | None], None]
"""Writes the reading of a Part; the number is the confidence below which it is unsure."""


def _printer(args: argparse.Namespace) -> Emit:
    """Return a function that prints a reading in a line."""
    from aocr.report.lines import csv_header, prediction_csv, prediction_json, prediction_line

    def line(part: Any, prediction: Prediction, min_confidence: float | None) -> str:
        if args.format == "json":
            return prediction_json(part.path, prediction, args.attention, min_confidence, part.region)
        if args.format == "csv":
            return prediction_csv(part.name, prediction, min_confidence or 0.0)
        return prediction_line(part.name, prediction, min_confidence or 0.0)

    if args.format == "csv":
        print(csv_header(args.alternatives))
    return lambda *reading: print(line(*reading), flush=True)


@contextlib.contextmanager
def _output(args: argparse.Namespace) -> Iterator[Emit]:
    """Yield a function that prints a reading, or adds it to the document of its image."""
    if args.format not in DOCUMENTS:
        yield _printer(args)
        return
    from aocr.data.regions import split_region
    from aocr.exchange.documents import DocumentWriter

    args.images = sorted(paths_of(args.images), key=lambda path: split_region(path)[0])  # parts of an image together
    writer = DocumentWriter(args.format, [split_region(path)[0] for path in args.images], args.output_dir)
    yield lambda part, prediction, _: writer.add(part.path, part.width, part.height, part.region, prediction)
    writer.close()


def run(args: argparse.Namespace) -> int:
    """Read the images; return 1 if any could not be read."""
    _check(args)
    args.model_dir = options.usual_model(args.model_dir)
    options.check_paths([], args.model_dir, or_export=True)
    from aocr.folder.words import is_box

    with _output(args) as emit:
        predictor = options.open_model(args)
        reads_words = is_box(args.model_dir)
        failed = total = 0
        for part, result in _results(args, predictor):
            total += 1
            if isinstance(result, ImageError):
                failed += 1
                print(f"aocr: {result}", file=sys.stderr, flush=True)
                results_log.info("Result: error while opening file %s.", part.path)
                continue
            results_log.info("Result: OK. %.2f %s", result.confidence, result.text)
            min_confidence = args.min_confidence
            if reads_words and not part.region and _is_page(result):
                log.warning("%s looks like a whole page or scene. Crop it to a word or a line.", part.path)
                min_confidence = ALWAYS_UNSURE
            emit(part, result, min_confidence)
    if not total and not args.boxes:
        print("aocr: no images to read. Name images or folders, or pipe in their paths.", file=sys.stderr)
    if failed:
        print(f"aocr: {failed} of {total} images could not be read.", file=sys.stderr)
    return 1 if failed or not (total or args.boxes) else 0
