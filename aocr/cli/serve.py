"""`aocr serve`: answer requests over HTTP, and a page to try a model on."""

from __future__ import annotations

import argparse
import os

from aocr import files, machine
from aocr.cli import options
from aocr.cli.waiting import waiting
from aocr.errors import ConfigError

HELP = "read images for programs and browsers (HTTP)"
ABOUT = "Read images over HTTP, as TensorFlow Serving does and more, with a page to try it on. Ctrl-C ends it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    # fmt: off
    add("--model-dir", "--job-dir", dest="model_dir", metavar="DIR", action="append",
        help="the model folder, an ONNX export, or a folder of numbered ones, whose newest is read; once for each of "
             "several models (default: as aocr predict)")
    add("--name", dest="names", metavar="NAME", action="append", default=[],
        help="what the model is called in requests; once for each (default: as its folder)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="listen here (default: %(default)s, this machine only)")
    add("--port", type=options.whole, default=8501, metavar="N", help="at this port; 0: any (default: %(default)s)")
    add("--token", default=os.environ.get("AOCR_TOKEN"),
        help="what requests must bear (default: AOCR_TOKEN of the environment, else none)")
    add("--lexicon", dest="lexicons", metavar="NAME=FILE", action="append", default=[], type=_named,
        help="a list of texts, one a line, that requests may name")
    add("--batch-size", type=options.batch, default=32, metavar="N", help="images read together (default: 32)")
    # fmt: on
    options.add_log_path(parser)
    options.add_gpu(parser)


def _named(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, path


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    paths = args.model_dir or [options.model_at_hand(None)]
    if args.names and len(args.names) != len(paths):
        reason = f"there are {len(paths)} models and {len(args.names)} names. Give each model a name, or none."
        raise ConfigError("--name", args.names, reason)
    if args.token is not None and not args.token.strip():  # an unset variable of a script must not open the server
        raise ConfigError("--token", args.token, "is empty. Give a token, or leave --token and AOCR_TOKEN out.")
    for path in paths:
        options.check_paths([], path, graph_too=True)
    with waiting("Starting"):
        from aocr.serving.app import serve
        from aocr.serving.web import ServerAccess
        from aocr.text.lexicon import read_words

        if args.gpu_id is not None and not all(map(files.is_graph, paths)):
            machine.start_tensorflow()
            machine.use_gpu(args.gpu_id)
    lexicons = {name: tuple(read_words(path)) for name, path in args.lexicons}
    serve(paths, args.names, ServerAccess(args.host, args.port, args.token or ""), lexicons, args.batch_size)
    return 0
