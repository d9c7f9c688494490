"""`aocr serve`: read images over HTTP, with a page to try a model on."""

from __future__ import annotations

import argparse
import os

from aocr import files, machine
from aocr.cli import options
from aocr.cli.waiting import waiting
from aocr.config import ENGLISH
from aocr.errors import ConfigError

HELP = "read images for programs and browsers (HTTP)"
ABOUT = "Read images over HTTP, with TensorFlow Serving's API and more, and a page to try it on. Ctrl-C stops it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("--model-dir", "--job-dir", dest="model_dir", metavar="DIR", action="append",
        help="model folder or ONNX export; of versions 1/, 2/, ... in a folder, the highest is served. Repeat it for "
             "several models (default: as aocr predict)")
    add("--name", dest="names", metavar="NAME", action="append", default=[],
        help="name of the model in requests; repeat it for several models (default: name of the folder)")
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="address to listen on (default: %(default)s, this machine only)")
    add("--port", type=options.whole, default=8501, metavar="N",
        help="port to listen on; 0: any free one (default: %(default)s)")
    add("--token", default=os.environ.get("AOCR_TOKEN"),
        help="secret that requests must send as Authorization: Bearer TOKEN (default: the environment variable "
             "AOCR_TOKEN; if it is not set, no token is needed)")
    add("--lexicon", dest="lexicons", metavar="NAME=FILE", action="append", default=[], type=_name_and_file,
        help="a list of texts, one per line, that requests may select by name; may be repeated")
    add("--batch-size", type=options.batch, default=32, metavar="N", help="images read together (default: 32)")
    # fmt: on
    options.add_log_path(parser)
    options.add_gpu(parser)


def _name_and_file(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, path


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    paths = args.model_dir or [options.usual_model(None)]
    if args.names and len(args.names) != len(paths):
        reason = f"there are {len(paths)} models and {len(args.names)} names. Name every model, or none."
        raise ConfigError("--name", args.names, reason)
    if args.token is not None and not args.token.strip():  # an unset variable in a script must not disable the check
        raise ConfigError("--token", args.token, "is empty. Set a token, or omit --token and unset AOCR_TOKEN.")
    for path in paths:
        options.check_paths([], path, or_export=True)
    with waiting("Starting"):
        from aocr.serving.app import serve
        from aocr.serving.web import ServerAccess
        from aocr.text.lexicon import read_words

        if args.gpu_id is not None and not all(map(files.is_graph, paths)):
            machine.start_tensorflow()
            machine.use_gpu(args.gpu_id)
    lexicons = {ENGLISH: ENGLISH} | {name: tuple(read_words(path)) for name, path in args.lexicons}
    serve(paths, args.names, ServerAccess(args.host, args.port, args.token or ""), lexicons, args.batch_size)
    return 0
