"""`aocr synth`: draw images of words to train on."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time

from aocr.cli import options
from aocr.errors import ConfigError, DatasetError, escape_control
from aocr.text.charset import Charset

log = logging.getLogger("aocr")

RECORDS_ENDING = ".tfrecords"
STYLES = ("scene", "print", "plate", "display", "captcha")
FLAGS_OF_TEXTS = ("texts", "pattern", "charset", "max_length", "lines", "style")
"""Flags that --like replaces."""

HELP = "draw images of words to train on"
ABOUT = """Draw labelled images of words in many fonts, with many kinds of wear and camera effects. Repeat the command
to continue an interrupted run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.set_defaults(usage_error=parser.error)
    add = parser.add_argument
    # fmt: off
    add("output", nargs="?", metavar="OUTPUT",
        help="folder for images and annotations.txt, or a file whose name ends in .tfrecords")
    add("--count", type=options.positive, default=10_000, metavar="N", help="number of images (default: 10000)")
    add("--shards", type=options.shards, default=1, metavar="N", help="write N record files (default: 1)")
    add("--seed", type=options.whole, default=0, metavar="N", help="random seed (default: 0)")
    add("--workers", type=options.positive, metavar="N",
        help="number of processes; does not change the images (default: one per core)")
    add("--boxes", action="store_true", help="also write boxes.jsonl, with the box of each character")
    add("--preview", metavar="FILE.png", help="draw the first images and their labels on a sheet")
    options.add_log_path(parser)
    add = parser.add_argument_group("texts").add_argument
    add("--texts", metavar="FILE", help="draw the lines of this file (default: an English mix)")
    add("--pattern", metavar="REGEX", help="draw random texts that match this regular expression")
    add("--charset", metavar="FILE|NAME",
        help="use only these symbols (default: those of --texts, else full-ascii)")
    add("--max-length", type=options.length, metavar="N",
        help="longest text in characters; longer lines are cut (default: 25)")
    add("--lines", type=options.positive, metavar="N",
        help="break texts into up to N lines; in --texts and --pattern \\n is a line break (default: 1)")
    add = parser.add_argument_group("looks").add_argument
    add("--style", choices=STYLES, help="kind of images (default: scene)")
    add("--fonts", nargs="+", metavar="DIR|FILE", help="fonts to use (default: those of this system)")
    add("--list-fonts", nargs="?", const="", metavar="FILE.png",
        help="list the usable fonts; with FILE.png also draw them on a sheet")
    group = parser.add_argument_group("imitation")
    group.add_argument("--like", nargs="+", metavar="DATASET",
        help="imitate these labelled images, with other texts of the same form (an annotation file, records, or a "
        "folder of images with their texts)")
    options.add_source(group)
    options.add_model_dir(group, or_words=True)
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Draw the images, and print their number."""
    if not args.output and not args.preview and args.list_fonts is None:
        args.usage_error("OUTPUT is missing: name a folder, or a file that ends in .tfrecords")
    if args.output and args.shards > 1 and not args.output.endswith(RECORDS_ENDING):
        raise ConfigError("--shards", args.shards, "needs an OUTPUT that ends in .tfrecords.")
    if args.boxes and (args.like or not args.output or args.output.endswith(RECORDS_ENDING)):
        raise ConfigError("--boxes", True, "needs an OUTPUT that is a folder, and cannot be combined with --like.")
    from aocr.synth.pipeline import num_cores

    workers = args.workers or num_cores()
    job = _imitating_job(args, workers) if args.like else _job(args, workers)
    if args.list_fonts is not None:
        _list_fonts(job, args.list_fonts)
    if args.preview:
        _preview(job, args.preview)
    if args.output:
        _draw(job, args.output, args.shards, workers)
    return 0


def _job(args: argparse.Namespace, workers: int):
    """Make the job that draws words in fonts."""
    for name in ("model_dir", "data_base_dir", "columns", "label_from_filename"):
        if value := getattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')}", value, "needs --like DATASET.")
    charset = Charset.from_name_or_file(args.charset).symbols if args.charset else None
    from aocr.synth.pipeline import SynthOptions, make_job

    typed = {name: value for name in ("style", "max_length", "lines") if (value := getattr(args, name)) is not None}
    sources = {"texts": args.texts, "pattern": args.pattern, "charset": charset}
    settings = SynthOptions(args.count, args.seed, boxes=args.boxes, **sources, **typed)
    return make_job(settings, args.fonts, workers)


def _imitating_job(args: argparse.Namespace, workers: int):
    """Make the job of `--like`, which draws images that imitate the user's."""
    for name in FLAGS_OF_TEXTS:
        if (value := getattr(args, name)) is not None:
            reason = "cannot be combined with --like, which takes it from the images."
            raise ConfigError(f"--{name.replace('_', '-')}", value, reason)
    model_dir = options.usual_model(args.model_dir)
    options.check_paths(args.like, model_dir)
    from aocr import machine

    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.folder.words import open_folder
    from aocr.reading.originals import find_originals, reading_like
    from aocr.reading.predictor import Predictor, load
    from aocr.synth.fonts.choice import faces_for
    from aocr.synth.like.painter import LikePainter
    from aocr.synth.pipeline import make_like_job

    with open_dataset(args.like, options.source_options(args), options.written(args)) as dataset:
        labels = dataset.summary.labels
        if not any(labels):
            raise DatasetError(dataset.name, "every label is empty. Check the annotation file's second column.")
        read_config = reading_like(labels, open_folder(model_dir).read_config())
        reader = load(model_dir, read_config=read_config).reader
        originals = find_originals(dataset, Predictor(reader, warns=False))  # cut texts are only misread ones
    faces = []
    # without fonts, all characters are cut from the user's images
    with contextlib.nullcontext() if args.fonts else contextlib.suppress(ConfigError):
        faces = faces_for(Charset.from_labels(labels).symbols, args.fonts, workers)
    job = make_like_job(args.count, args.seed, originals, faces)
    num_cut = LikePainter(originals, faces, args.seed).num_cut
    log.info("Cutting characters from %d of %d images, read correctly by %s.", num_cut, len(originals), model_dir)
    return job


def _draw(job, output: str, num_shards: int, workers: int) -> None:
    """Draw all images with a progress bar, and print their number."""
    from tqdm import tqdm

    from aocr.synth.pipeline import draw

    start, count = time.perf_counter(), job.count
    with contextlib.closing(draw(job, output, num_shards, workers)) as finished:
        num_earlier = next(finished)
        if num_earlier:
            log.info("Continuing after %d images.", num_earlier)
        with tqdm(total=count, initial=num_earlier, unit=" images", disable=not sys.stderr.isatty()) as bar:
            for num_done in finished:
                bar.update(num_done - bar.n)
    families = len({face.family for face in job.faces})
    speed = f"{(count - num_earlier) / (time.perf_counter() - start):.0f}"
    print(escape_control(f"{count:,} images drawn in {output}; font families: {families}; images per second: {speed}"))


def _preview(job, path: str) -> None:
    from aocr.synth.preview import NUM_PREVIEW, images_sheet, save_png

    painter, count = job.painter(), min(NUM_PREVIEW, job.count)
    save_png(images_sheet([painter.draw(number) for number in range(count)], job.faces), path)
    print(escape_control(f"The first {count} images are shown in {path}."))


def _list_fonts(job, path: str) -> None:
    """Print a line per face: number of charset characters that it has, family, file."""
    from aocr.synth.preview import fonts_sheet, save_png

    if path:
        save_png(fonts_sheet(job.faces), path)
    for face in job.faces:
        print(escape_control(f"{len(face.chars):6,}  {face.family}  {face.path}"))
    families = len({face.family for face in job.faces})
    print(f"Fonts: {len(job.faces):,}; families: {families:,}; first column: number of wanted characters in each")
