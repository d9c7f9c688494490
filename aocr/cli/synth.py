"""`aocr synth`: draw words to train on."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from aocr.cli import options
from aocr.errors import ConfigError, escape_control
from aocr.text.charset import Charset

log = logging.getLogger("aocr")

RECORDS_ENDING = ".tfrecords"
STYLES = ("scene", "print", "plate", "display", "captcha")


HELP = "draw words to train on"
ABOUT = """Draw labelled images of words in many fonts, worn and photographed in many ways. A run that was stopped goes
on when the same command is given again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.set_defaults(usage_error=parser.error)
    add = parser.add_argument
    # fmt: off
    add("output", nargs="?", metavar="OUTPUT",
        help="a folder for images and annotations.txt, or a file whose name ends in .tfrecords")
    add("--count", type=options.positive, default=10_000, metavar="N", help="images (default: 10000)")
    add("--shards", type=options.shards, default=1, metavar="N", help="write N files of records (default: 1)")
    add("--seed", type=options.whole, default=0, metavar="N", help="another N, other images (default: 0)")
    add("--workers", type=options.positive, metavar="N", help="processes; they change no image (default: one a core)")
    add("--preview", metavar="FILE.png", help="draw the first images and their labels on a sheet")
    options.add_log_path(parser)
    add = parser.add_argument_group("texts").add_argument
    add("--texts", metavar="FILE", help="draw the lines of this file (default: an English mix)")
    add("--pattern", metavar="REGEX", help="draw random texts that match this regular expression")
    add("--charset", metavar="FILE|NAME",
        help="keep within these symbols (default: those of --texts, else full-ascii)")
    add("--max-length", type=options.length, metavar="N",
        help="longest text in characters; of longer lines a part is drawn (default: 25)")
    add = parser.add_argument_group("looks").add_argument
    add("--style", choices=STYLES, help="kind of images (default: scene)")
    add("--fonts", nargs="+", metavar="DIR|FILE", help="fonts to draw in (default: this system's)")
    add("--list-fonts", nargs="?", const="", metavar="FILE.png",
        help="list the fonts that can be used; with FILE.png draw them on a sheet too")
    group = parser.add_argument_group("like images of yours")
    group.add_argument("--like", nargs="+", metavar="DATASET",
        help="draw what looks like these labelled images, with other texts of the same shape (an annotation file, "
        "records, or a folder of images named after their text)")
    options.add_data_base_dir(group)
    options.add_model_dir(group, or_words=True)
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Draw, then say what was drawn."""
    if not args.output and not args.preview and args.list_fonts is None:
        args.usage_error("OUTPUT is missing: name a folder, or a file that ends in .tfrecords")
    if args.output and args.shards > 1 and not args.output.endswith(RECORDS_ENDING):
        raise ConfigError("--shards", args.shards, "a folder has none. Name an OUTPUT that ends in .tfrecords.")
    from aocr.synth.pipeline import num_cores

    workers = args.workers or num_cores()
    job = _like_job(args, workers) if args.like else _job(args, workers)
    if args.list_fonts is not None:
        _list_fonts(job, args.list_fonts)
    if args.preview:
        _preview(job, args.preview)
    if args.output:
        _draw(job, args.output, args.shards, workers)
    return 0


def _job(args: argparse.Namespace, workers: int):
    """Words from nothing."""
    if args.model_dir or args.data_base_dir:
        flag, value = ("--model-dir", args.model_dir) if args.model_dir else ("--data-base-dir", args.data_base_dir)
        raise ConfigError(flag, value, "is for --like DATASET alone.")
    charset = Charset.from_name_or_file(args.charset).symbols if args.charset else None
    from aocr.synth.pipeline import SynthOptions, make_job

    given = {name: value for name in ("style", "max_length") if (value := getattr(args, name)) is not None}
    settings = SynthOptions(args.count, args.seed, texts=args.texts, pattern=args.pattern, charset=charset, **given)
    return make_job(settings, args.fonts, workers)


def _like_job(args: argparse.Namespace, workers: int):
    """What looks like images of the user's."""
    from aocr.cli.looking_alike import make_like_job

    args.model_dir = options.model_at_hand(args.model_dir)
    return make_like_job(args, workers)


def _draw(job, output: str, num_shards: int, workers: int) -> None:
    """Draw all images behind a bar, and say how many."""
    from tqdm import tqdm

    from aocr.synth.pipeline import draw

    count, begin, before = job.options.count, time.perf_counter(), []  # type: ignore[var-annotated]
    with tqdm(total=count, unit=" images", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int) -> None:
            if not before:  # what an earlier run has drawn
                bar.initial = done
                if done:
                    log.info("Going on after %d images.", done)
            bar.update(done - (before[-1] if before else 0))
            before[:] = [done]

        there = draw(job, output, num_shards, workers, progress)
    seconds = time.perf_counter() - begin
    families, speed = len({face.family for face in job.faces}), (count - there) / seconds
    print(
        escape_control(f"{count:,} images drawn in {output}; font families: {families}; images a second: {speed:.0f}")
    )


def _preview(job, path: str) -> None:
    from aocr.synth.preview import NUM_PREVIEW, images_sheet, save_png

    painter, count = job.painter(), min(NUM_PREVIEW, job.options.count)
    save_png(images_sheet([painter.draw(number) for number in range(count)], job.faces), path)
    print(escape_control(f"The first {count} images are shown in {path}."))


def _list_fonts(job, path: str) -> None:
    """A line for each face: characters of the charset that it has, family, file."""
    from aocr.synth.preview import fonts_sheet, save_png

    if path:
        save_png(fonts_sheet(job.faces), path)
    for face in job.faces:
        print(escape_control(f"{len(face.chars):6,}  {face.family}  {face.path}"))
    families = len({face.family for face in job.faces})
    print(f"Fonts: {len(job.faces):,}; families: {families:,}; first column: the wanted characters that each has")
