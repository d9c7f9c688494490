"""`aocr label`: label images on a page in the browser."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from aocr import files, machine
from aocr.cli import options
from aocr.cli.predict import paths_of
from aocr.cli.waiting import waiting
from aocr.errors import ConfigError, ImageError, escape_control

log = logging.getLogger("aocr")

HELP = "label images in the browser, the least sure first"
ABOUT = """Label images on a page in the browser, on this machine only: the least sure reading first, each decision
written to the annotation file at once. Needs the extra serve (pip install 'aocr[serve]')."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("images", nargs="*", metavar="IMAGE",
        help="image files, folders with all that is in them, globs; -: paths from standard input")
    add("--output", dest="labels", required=True, metavar="FILE",
        help="the annotation file that labels are appended to; what stands in it is labelled already")
    add("--audit", metavar="ANNOTATIONS",
        help="look at labels that exist, in place of images without labels; first where model and label disagree most")
    options.add_model_dir(parser, or_words=True, graph_too=True)
    add("--retrain", type=options.positive, metavar="N",
        help="after each N labels fine-tune the model in the background and order the rest anew")
    add("--port", type=options.whole, default=8502, metavar="N",
        help="of the page's address; 0: any (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the images drawn at random (default: 0)")
    options.add_data_base_dir(parser)
    options.add_log_path(parser)
    options.add_gpu(parser)
    # fmt: on


def run(args: argparse.Namespace) -> int:
    """Read the images, serve the page until Ctrl-C, and say what was labelled."""
    if bool(args.images) == bool(args.audit):
        reason = "name images, or labels that exist (--audit ANNOTATIONS), and not both."
        raise ConfigError("IMAGE", args.images or "", reason)
    options.check_paths([args.audit] if args.audit else [], args.model_dir or "", graph_too=True)
    from aocr.serving.labelling.app import label_door
    from aocr.serving.labelling.label_files import LabelFiles
    from aocr.serving.web import listening

    label_files = LabelFiles(args.labels, args.data_base_dir)
    if args.audit and os.path.realpath(args.audit) in map(os.path.realpath, label_files.paths.values()):
        raise ConfigError("--output", args.labels, "is what is audited. Name another file: labels are never changed.")
    access = label_door(args.port)
    with label_files.held(), listening(access) as sockets:  # before images are read, which takes long
        return _serve(args, label_files, access, sockets)


def _serve(args: argparse.Namespace, label_files, access, sockets: Sequence) -> int:
    from aocr.folder.model_folder import MODEL, ModelFolder
    from aocr.serving.labelling.app import make_label_app
    from aocr.serving.labelling.labelling import Labelling
    from aocr.serving.labelling.retraining import Retraining, model_beside, new_beside
    from aocr.serving.web import run_app

    beside = model_beside(args.labels)
    model = options.model_at_hand(args.model_dir or (beside if os.path.isdir(beside) else None))
    if args.retrain and model.endswith(".onnx"):
        raise ConfigError("--retrain", args.retrain, "an ONNX export cannot be trained. Give the model folder.")
    for replaced in (beside, new_beside(args.labels)) if args.retrain else ():
        is_model = os.path.exists(ModelFolder(replaced).file(MODEL)) and not os.path.islink(replaced)
        if os.path.isdir(replaced) and not is_model:
            raise ConfigError("--retrain", replaced, "would be replaced, and is no model folder. Move it away.")
    if args.gpu_id is not None:
        machine.start_tensorflow()
        machine.use_gpu(args.gpu_id)
    log.info("Reading the images with %s", model)
    images, guesses, read = (_audited if args.audit else _unlabelled)(args, model, label_files)
    is_learnt = _learnt_by(model)
    if args.audit and (learnt := sum(map(is_learnt, images))):
        told = "The model has learnt from %d of these %d images: of wrong labels among them it finds only a part."
        log.warning(told, learnt, len(images))
    labelling = Labelling(images, guesses, label_files, args.seed, is_learnt)
    before = len(labelling.texts)
    log.info("%d images, %d of them labelled in %s", len(images), before, args.labels)
    retraining = Retraining(labelling, model, args.retrain, read)
    run_app(make_label_app(access, labelling, retraining, bool(args.audit)), sockets)
    _tell_end(args, labelling, len(labelling.texts) - before, model)
    return 0


def _learnt_by(model: str) -> Callable[[str], bool]:
    """Return a function that says of an image's path whether the model was trained on it."""
    from aocr.folder.words import open_folder

    learnt = None if files.is_graph(model) else open_folder(model).read_learnt()
    if learnt is None:
        return lambda path: False
    machine.start_tensorflow()
    from aocr.data.automatic import split_key
    from aocr.data.images import image_to_bytes

    digests = set(learnt.tolist())

    def is_learnt(path: str) -> bool:
        try:
            return int(split_key(image_to_bytes(path).data)) in digests
        except ImageError:  # removed meanwhile
            return False

    return is_learnt


def _unlabelled(args: argparse.Namespace, model: str, label_files):
    """Real paths of the images, their guesses, and what reads them anew with another model."""
    from tqdm import tqdm

    from aocr.report.lines import warn_of
    from aocr.serving.labelling.guesses import read_images
    from aocr.serving.labelling.label_files import writable

    named = list(dict.fromkeys(os.path.realpath(path) for path in paths_of(args.images)))
    paths = writable(named)
    left_out = [f"{path}: no annotation file can hold this name." for path in named if path not in set(paths)]

    def progress(results):
        return tqdm(results, total=len(paths), unit=" images", disable=not sys.stderr.isatty())

    found = list(zip(paths, read_images(model, paths, progress), strict=True))
    left_out += [str(guess) for _, guess in found if isinstance(guess, ImageError)]
    warn_of(log, [f"left out: {reason}" for reason in left_out], "images left out")
    images = {path: guess for path, guess in found if not isinstance(guess, ImageError)}
    if not images:
        raise ConfigError("IMAGE", " ".join(args.images), "there is no image that can be read.")

    def read(model: str) -> list:
        again = zip(images.items(), read_images(model, list(images)), strict=True)
        return [guess if isinstance(new, ImageError) else new for (_, guess), new in again]

    return list(images), list(images.values()), read


def _audited(args: argparse.Namespace, model: str, label_files):
    """As `_unlabelled`, of the images that an annotation file names."""
    from aocr.serving.labelling.guesses import read_labels

    def look(model: str) -> dict:
        by_path: dict = {}
        for name, guess in read_labels(model, args.audit, args.data_base_dir):
            path = label_files.real_path(name, args.audit)
            if path not in by_path or guess.rank < by_path[path].rank:  # of two labels the more doubtful one
                by_path[path] = guess
        return by_path

    with waiting("reading"):
        found = look(model)

    def read(model: str) -> list:
        new = look(model)
        return [new.get(path, guess) for path, guess in found.items()]

    return list(found), list(found.values()), read


def _tell_end(args: argparse.Namespace, labelling, new: int, model: str) -> None:
    """Say what was labelled, and what to type next."""
    from aocr.report.lines import pluralise
    from aocr.serving.labelling.label_files import Kind

    progress, paths = labelling.progress(), labelling.files.paths
    print(f"{pluralise(new, 'new label')}; {progress.labelled} of {progress.total} images have one.")
    validation = paths[Kind.VALIDATION]
    if progress.labelled and os.path.exists(validation):
        start = [] if files.is_graph(model) else ["--init-from", model]  # an export cannot be trained
        command = shlex.join(["aocr", "train", args.labels, "--validation", validation, *start, "--model-dir", "DIR"])
        print(escape_control(f"Next: {command}"))
