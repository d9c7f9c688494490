"""`aocr synth --like`: what looks like a person's own images."""

from __future__ import annotations

import argparse
import contextlib
import logging

from aocr.cli import options
from aocr.errors import ConfigError, DatasetError
from aocr.text.charset import Charset

log = logging.getLogger("aocr")

TAKEN_FROM_IMAGES = ("texts", "pattern", "charset", "max_length", "style")
"""Flags whose place `--like` takes."""


def make_like_job(args: argparse.Namespace, workers: int):
    """Read the images that others should be like, and find fonts for their labels: a LikeJob.

    Raises:
      AnnotationError, DatasetError: no image of use.
      CheckpointError: the model that finds characters cannot be used.
      ConfigError: a flag that does not go with --like; neither a font nor an image can be copied from.
    """
    for name in TAKEN_FROM_IMAGES:
        if getattr(args, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(flag, getattr(args, name), "does not go with --like, which takes it from the images.")
    options.check_paths(args.like, args.model_dir)
    from aocr import machine

    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.folder.words import open_folder
    from aocr.reading.originals import find_originals, reading_like
    from aocr.reading.predictor import load
    from aocr.synth.like.painter import LikeJob, LikeOptions
    from aocr.synth.pipeline import faces_for

    with open_dataset(args.like, args.data_base_dir, options.written(args)) as dataset:
        labels = dataset.summary.labels
        if not any(labels):
            raise DatasetError(dataset.name, "every label is empty. Check the annotation file's second column.")
        how = reading_like(labels, open_folder(args.model_dir).read_config())
        predictor = load(args.model_dir, read_config=how)
        originals = find_originals(dataset, predictor)
    faces = []
    # without a font all are made of the images' own characters
    with contextlib.nullcontext() if args.fonts else contextlib.suppress(ConfigError):
        faces = faces_for(Charset.from_labels(labels).symbols, args.fonts, workers)
    job = LikeJob(LikeOptions(args.count, args.seed), originals, faces)
    num_cut = job.painter().num_cut
    log.info("Characters are taken from %d of %d images, those that %s reads.", num_cut, len(originals), args.model_dir)
    return job
