"""`aocr dataset`: build TFRecords from annotations, and check them."""

from __future__ import annotations

import argparse
import logging

from aocr.cli import options
from aocr.errors import escape_control

log = logging.getLogger("aocr")

EXPORTS = ("csv", "gt-txt", "lmdb", "paddle")
"""Names of `aocr.data.writers.TARGETS`."""

HELP = "build TFRecords from images and labels, and check them"
ABOUT = """Build TFRecords from an annotation file with 'path label' per line, or from tables and folders of other
programs. Every image is checked; unusable lines are left out and counted, and the first few are listed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from aocr.data.command import RECORDS

    add = parser.add_argument
    add("annotations", metavar="ANNOTATIONS", help="annotation file, table, TFRecord of aocr 0.7.6, or folder")
    # fmt: off
    add("output", nargs="?", default=RECORDS, metavar="OUTPUT",
        help="TFRecord file, or folder of --export (default: %(default)s, or dataset-FORMAT)")
    add("--export", choices=EXPORTS, help="write a folder for other programs instead of records")
    options.add_source(parser)
    options.add_log_path(parser)
    add("--charset", metavar="FILE|NAME", help="leave out labels with other symbols")
    add("--max-prediction", type=options.positive, metavar="N", help="leave out longer labels")
    add("--report", metavar="FILE", help="write every left-out line with its reason to this file")
    add("--preview", metavar="FILE", help="draw a few images as the network will see them in training (PNG)")
    add("--strict", action="store_true", help="stop at the first unusable line")
    add("--shards", type=options.shards, default=1, metavar="N", help="write N files (default: 1)")
    add("--log-step", type=options.positive, default=500, metavar="N", help="log every N images (default: 500)")
    add("--force-uppercase", action=argparse.BooleanOptionalAction, default=False,
        help="convert labels to upper case, as aocr 0.7.6 did (default: no)")
    add("--save-filename", action="store_true", help="store each image's path as the record's comment")
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Build the records and print a summary."""
    from aocr.data.command import dataset
    from aocr.machine import progress_bar

    with progress_bar(unit=" images") as bar:

        def progress(done: int) -> None:
            bar.update()
            if bar.disable and done % args.log_step == 0:
                log.info("%d images done", done)

        report = dataset(**options.arguments_of(dataset, args), progress=progress)
    print("\n".join(report.summary()))
    for warning in report.warnings():
        log.warning(warning)
    if args.preview:
        print(escape_control(f"Preview written to {args.preview}"))
    return 0
