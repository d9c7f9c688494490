"""`aocr check`: check a dataset without building records."""

from __future__ import annotations

import argparse
import logging

from aocr.cli import options
from aocr.cli.waiting import waiting
from aocr.errors import escape_control

log = logging.getLogger("aocr")

MAX_DOUBTED = 20
"""Maximum number of doubted labels to print."""

HELP = "check images and labels"
ABOUT = """Check every image and label as aocr dataset does, without writing records. With --model-dir, also list the
labels that the model contradicts, the most certain contradictions first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("annotations", metavar="DATASET", help="annotation file, TFRecords, or a folder")
    options.add_source(parser)
    options.add_log_path(parser)
    add("--charset", metavar="FILE|NAME", help="name labels with other symbols")
    add("--max-prediction", type=options.positive, metavar="N", help="name longer labels")
    add("--report", metavar="FILE", help="write every line with a fault to this file")
    add("--model-dir", "--job-dir", dest="model_dir", metavar="DIR",
        help="model folder, or words: list the labels that this model contradicts")
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Check the dataset and print a summary."""
    options.check_paths([], args.model_dir or "")
    from aocr.data.command import dataset
    from aocr.report.lines import pluralise

    with waiting("checking"):
        report = dataset(**options.arguments_of(dataset, args), output=None)
    print("\n".join(report.summary()))
    for warning in report.warnings():
        log.warning(warning)
    if args.model_dir:
        with waiting("reading"):
            doubted = _doubted(args)
        print(f"The model contradicts {pluralise(len(doubted), 'label')}{':' if doubted else '.'}")
        print("\n".join(doubted[:MAX_DOUBTED]), end="\n" if doubted else "")
        if len(doubted) > MAX_DOUBTED:
            print(f"... and {len(doubted) - MAX_DOUBTED} more. aocr label --audit shows them in the browser.")
    return 0


def _doubted(args: argparse.Namespace) -> list[str]:
    """Return a line for each label that the model contradicts: file, label, reading, its confidence."""
    from aocr.serving.labelling.guesses import read_labels

    guesses = read_labels(args.model_dir, args.annotations, options.source_options(args), allow_records=True)
    return [
        escape_control(f"{name}  label {guess.text!r}  read {guess.reading.text!r}  {guess.reading.confidence:.4f}")
        for name, guess in sorted(guesses, key=lambda pair: pair[1].rank)
        if guess.reading.text != guess.text
    ]
