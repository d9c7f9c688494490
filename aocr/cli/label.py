"""`aocr label`: label images on a page in the browser."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from aocr import files, machine
from aocr.cli import options
from aocr.cli.predict import paths_of
from aocr.cli.waiting import waiting
from aocr.config import ReadConfig
from aocr.errors import ConfigError, ImageError, escape_control

log = logging.getLogger("aocr")

HELP = "label images in the browser, the least certain first"
ABOUT = """Label images on a page in the browser, on this machine only. The least certain reading comes first; each
decision is written to the annotation file at once. Needs the extra serve (pip install 'aocr[serve]')."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("images", nargs="*", metavar="IMAGE",
        help="image files, folders (with subfolders), globs; -: paths from standard input")
    add("--output", dest="labels", required=True, metavar="FILE",
        help="annotation file to append labels to; images already in it are not shown again")
    add("--audit", metavar="ANNOTATIONS",
        help="check an existing label file: the labels that the model doubts most come first")
    options.add_model_dir(parser, or_words=True, or_export=True)
    options.add_symbols(add)
    add("--retrain", type=options.positive, metavar="N",
        help="after every N labels train a better model in the background, then re-sort the remaining images by it")
    add("--port", type=options.whole, default=8502, metavar="N",
        help="port of the page; 0: any free one (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the random choice of images (default: 0)")
    options.add_source(parser)
    options.add_log_path(parser)
    options.add_gpu(parser)
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Read the images, serve the page until Ctrl-C, and print what was labelled."""
    if bool(args.images) == bool(args.audit):
        reason = "Name images to label, or --audit ANNOTATIONS to review existing labels, not both."
        raise ConfigError("IMAGE", args.images or "", reason)
    options.check_paths([args.audit] if args.audit else [], args.model_dir or "", or_export=True)
    from aocr.serving.labelling.label_files import LabelFiles
    from aocr.serving.web import ServerAccess, listening

    label_files = LabelFiles(args.labels, args.data_base_dir)
    if args.audit and os.path.realpath(args.audit) in map(os.path.realpath, label_files.paths.values()):
        raise ConfigError("--output", args.labels, "is the audited file, which is never changed. Choose another file.")
    access = ServerAccess("127.0.0.1", args.port)
    with label_files.locked(), listening(access) as sockets:  # first, because reading the images takes long
        _serve(args, label_files, access, sockets)
    return 0


def _serve(args: argparse.Namespace, label_files, access, sockets: Sequence) -> None:
    from aocr.folder.model_folder import MODEL
    from aocr.reading.symbols import SymbolFilter
    from aocr.serving.labelling.app import make_label_app
    from aocr.serving.labelling.labelling import Labelling
    from aocr.serving.labelling.retraining import Retraining, retrained_model
    from aocr.serving.web import run_app

    retrained = retrained_model(args.labels)
    model = options.usual_model(args.model_dir or (retrained if os.path.isdir(retrained) else None))
    if args.retrain and files.is_graph(model):
        raise ConfigError("--retrain", args.retrain, "an ONNX export cannot be trained. Use the model folder.")
    for folder in (retrained, f"{retrained}.new") if args.retrain else ():
        if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, MODEL)):
            raise ConfigError("--retrain", folder, "would be overwritten, and is not a model folder. Move it away.")
    read_config = ReadConfig(symbols=args.symbols, spaces=args.spaces)
    symbol_filter = None if read_config == ReadConfig() else SymbolFilter.of(read_config)
    if args.gpu_id is not None:
        machine.start_tensorflow()
        machine.use_gpu(args.gpu_id)
    log.info("Reading the images with %s", model)
    images, guesses, read = (_audited if args.audit else _unlabelled)(args, model, label_files)
    was_trained_on = _training_images(model)
    num_trained_on = sum(map(was_trained_on, images)) if args.audit else 0
    if num_trained_on:
        message = "The model was trained on %d of these %d images, so it will miss many wrong labels among them."
        log.warning(message, num_trained_on, len(images))
    if args.audit:  # the texts are labels
        symbol_filter = SymbolFilter()
    labelling = Labelling(images, guesses, label_files, args.seed, was_trained_on, symbol_filter)
    num_labels = len(labelling.texts)
    log.info("%d images, %d of them labelled in %s", len(images), num_labels, args.labels)
    retraining = Retraining(labelling, model, args.retrain, read)
    run_app(make_label_app(access, labelling, retraining, bool(args.audit)), sockets)
    _print_summary(labelling, len(labelling.texts) - num_labels, model)


def _training_images(model: str) -> Callable[[str], bool]:
    """Return a function of an image's path: whether the model's folder records that it was trained on."""
    from aocr.folder.words import open_folder

    learnt = None if files.is_graph(model) else open_folder(model).read_learnt()
    if learnt is None:
        return lambda path: False
    machine.start_tensorflow()
    from aocr.data.automatic import split_key
    from aocr.data.images import image_to_bytes

    digests = set(learnt.tolist())

    def was_trained_on(path: str) -> bool:
        try:
            return int(split_key(image_to_bytes(path).data)) in digests
        except ImageError:  # it has been removed meanwhile
            return False

    return was_trained_on


def _unlabelled(args: argparse.Namespace, model: str, label_files):
    """Return real paths of the images, their guesses, and a function that reads them with another model."""
    from tqdm import tqdm

    from aocr.report.lines import warn_of
    from aocr.serving.labelling.guesses import read_images
    from aocr.serving.labelling.label_files import UNWRITABLE

    paths, left_out = [], []
    for path in dict.fromkeys(map(os.path.realpath, paths_of(args.images))):
        if UNWRITABLE.search(path):
            left_out.append(f"{path}: an annotation file cannot contain this file name.")
        else:
            paths.append(path)

    def progress(results):
        return tqdm(results, total=len(paths), unit=" images", disable=not sys.stderr.isatty())

    guesses = {}
    for path, guess in zip(paths, read_images(model, paths, progress), strict=True):
        if isinstance(guess, ImageError):
            left_out.append(str(guess))
        else:
            guesses[path] = guess
    warn_of(log, [f"left out: {reason}" for reason in left_out], "images left out")
    if not guesses:
        raise ConfigError("IMAGE", " ".join(args.images), "none of the images can be read.")

    def read(model: str) -> list:
        new_guesses = zip(guesses.values(), read_images(model, list(guesses)), strict=True)
        return [old if isinstance(new, ImageError) else new for old, new in new_guesses]

    return list(guesses), list(guesses.values()), read


def _audited(args: argparse.Namespace, model: str, label_files):
    """Return the same as `_unlabelled`, for the images in an annotation file."""
    from aocr.serving.labelling.guesses import read_labels

    def read_all(model: str) -> dict:
        guesses: dict = {}
        for name, guess in read_labels(model, args.audit, options.source_options(args)):
            path = label_files.real_path(name, args.audit)
            if path not in guesses or guess.rank < guesses[path].rank:  # keep the more doubtful of two labels
                guesses[path] = guess
        return guesses

    with waiting("reading"):
        guesses = read_all(model)

    def read(model: str) -> list:
        new_guesses = read_all(model)
        return [new_guesses.get(path, guess) for path, guess in guesses.items()]

    return list(guesses), list(guesses.values()), read


def _print_summary(labelling, num_new: int, model: str) -> None:
    """Print the number of labels, and the command to train on them."""
    from aocr.report.lines import pluralise

    num_labels = len(labelling.texts)
    print(f"{pluralise(num_new, 'new label')}; {num_labels} of {len(labelling.images)} images have one.")
    if num_labels:
        print(escape_control(f"Next: {labelling.files.training_command(model)}"))
