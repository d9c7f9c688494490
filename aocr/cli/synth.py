"""`aocr synth`: draw words to train on."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from aocr.cli import options
from aocr.charset import Charset
from aocr.errors import ConfigError

log = logging.getLogger("aocr")


def add_parser(sub) -> None:
    """Add the command to argparse's subparsers."""
    parser = sub.add_parser(
        "synth",
        help="draw words to train on",
        description="Draw images of words, labelled, in many fonts and conditions. A run that was stopped goes on "
        "when the same command is given again.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("output", metavar="OUTPUT", help="folder for images and annotations.txt, or file.tfrecords")
    parser.add_argument("--count", type=options.positive, default=10_000, metavar="N", help="images (default: 10000)")
    parser.add_argument("--shards", type=options.positive, default=1, metavar="N", help="write N files of records")
    parser.add_argument("--seed", type=options.whole, default=0, metavar="N", help="other images for another N (0)")
    parser.add_argument("--charset", default="full-ascii", metavar="FILE|NAME", help="symbols to keep within")
    parser.add_argument("--fonts", nargs="+", metavar="DIR|FILE", help="fonts to draw in (default: this system's)")
    parser.add_argument("--style", default="scene", help="kind of images (default: %(default)s)")
    parser.add_argument("--max-length", type=options.positive, default=25, metavar="N", help="longest text (25)")
    parser.add_argument("--workers", type=options.positive, metavar="N", help="processes (default: one a core)")
    options.add_log_path(parser)


def run(args: argparse.Namespace) -> int:
    """Draw, then say what was drawn."""
    charset = Charset.from_name_or_file(args.charset)
    from tqdm import tqdm

    from aocr.synth.pipeline import SynthOptions, draw, make_job, num_cores

    if args.shards > 1 and not args.output.endswith(".tfrecords"):
        raise ConfigError("--shards", args.shards, "a folder has none. Name an OUTPUT that ends in .tfrecords.")
    workers = args.workers or num_cores()
    settings = SynthOptions(args.count, args.seed, args.style, charset.symbols, args.max_length)
    job = make_job(settings, args.fonts, workers)
    begin = time.perf_counter()
    with tqdm(total=args.count, unit=" images", disable=not sys.stderr.isatty()) as bar:
        there = draw(job, args.output, args.shards, workers, bar.update)
    rate = (args.count - there) / (time.perf_counter() - begin)
    families = len({face.family for face in job.faces})
    print(f"{args.count:,} images drawn in {args.output}: {families} families of fonts, {rate:.0f} images a second")
    return 0
