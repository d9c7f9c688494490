"""Flags that several commands share, and checks of what was typed."""

from __future__ import annotations

import argparse
import difflib
import glob
import logging
import os
import re
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from aocr import files, machine
from aocr.config import (
    ARCHS,
    HEIGHTS,
    LINE_HEIGHTS,
    MAX_BATCH,
    PRECISIONS,
    TURNS,
    WHOLE_NAME,
    ReadConfig,
    SourceOptions,
    check_typed,
    fields_in,
    typed_settings,
)
from aocr.errors import ConfigError, DatasetError, escape_control

log = logging.getLogger("aocr")

Container = argparse._ActionsContainer
"""A parser, or a group of one."""

ALL_HEIGHTS = sorted({*HEIGHTS, *LINE_HEIGHTS.values()})
MAX_DRAWN_LENGTH = 300
"""Maximum length of a drawn text in characters; a longer one makes the image too large."""

FULL_ASCII = "the charset of all ASCII characters from 32 to 126"


class Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line, with the flag or command that was probably meant."""

    def error(self, message: str):  # noqa: D102 (argparse calls it)
        match = re.match(r"unrecognized arguments: (-[^\s=]+)|argument COMMAND: invalid choice: '([^']+)'", message)
        typed = match[1] or match[2] if match else ""
        known = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known += action.choices
                known += [flag for parser in action.choices.values() for flag in parser._option_string_actions]
        close = difflib.get_close_matches(typed, known, 1) if typed not in known else []
        hint = f" Did you mean {close[0]}?" if close else ""
        command = "aocr" if self.prog.endswith("--phase") else self.prog
        self.exit(2, f"{self.prog}: {escape_control(message)}.{hint} {command} --help shows the usage.\n")


def _number(kind: type, allowed: Callable[[float], bool], rule: str) -> Callable[[str], float]:
    """Make an argparse type: a number of `kind` that satisfies the rule."""

    def parse(text: str):
        value = kind(text)
        if not allowed(value):
            raise argparse.ArgumentTypeError(f"must be {rule}, not {text}")
        return value

    parse.__name__ = "whole number" if kind is int else "number"  # argparse names it: "invalid number value"
    return parse


positive = _number(int, lambda value: value >= 1, "1 or more")
whole = _number(int, lambda value: value >= 0, "0 or more")
batch = _number(int, lambda value: 1 <= value <= MAX_BATCH, f"1 to {MAX_BATCH:,}")
shards = _number(int, lambda value: 1 <= value <= 99_999, "1 to 99,999")  # their file names have five digits
length = _number(int, lambda value: 1 <= value <= MAX_DRAWN_LENGTH, f"1 to {MAX_DRAWN_LENGTH:,}")
share = _number(float, lambda value: 0 <= value <= 1, "between 0 and 1")
above_zero = _number(float, lambda value: 0 < value < float("inf"), "above 0")


def duration(text: str) -> float:
    """Parse a duration such as `90`, `45s`, `10m`, `2h` or `1h30m` to seconds; an argparse type."""
    match = re.fullmatch(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", text.strip())
    if not text.strip() or not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 90s, 10m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total < 1:
        raise argparse.ArgumentTypeError("must be at least 1s")
    return float(total)


def devices(text: str) -> str:
    """Check `all`, a number of GPUs, or a comma-separated list of GPU ids; an argparse type."""
    numbers = text.rstrip(",").split(",")
    if text != "all" and not (all(number.isdecimal() for number in numbers) and len(set(numbers)) == len(numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not all, a number of GPUs, or a list of ids such as 0,2")
    if text == "0":
        raise argparse.ArgumentTypeError("must be 1 or more (for GPU 0 alone: --gpu-id 0)")
    return text


def usual_model_dir() -> str:
    """Return the default model folder; Vertex AI sets it with an environment variable."""
    return os.environ.get("AIP_CHECKPOINT_DIR") or "checkpoints"


def add_model_dir(
    parser: Container, or_words: bool = False, written: bool = False, or_export: bool = False, several: bool = False
) -> None:
    """Add --model-dir, also under its cloud name --job-dir.

    Args:
      parser: the parser, or a group of it.
      or_words: fall back to the model that comes with aocr if the folder is missing; the default is then None.
      written: the command writes the folder, so it cannot be the model that comes with aocr.
      or_export: accept an ONNX export as well as a folder.
      several: collect repeated folders in a list; the default is then None.
    """
    folder = "model folder or ONNX export" if or_export else "model folder"
    help = "model folder to write" if written else f"{folder}; words: the model that comes with aocr"
    help += f" (default: $AIP_CHECKPOINT_DIR if set, else checkpoints{', else words' if or_words else ''})"
    default = None if or_words or several else usual_model_dir()
    action, help = ("append", f"{help}; repeat it to compare models") if several else ("store", help)
    parser.add_argument(
        "--model-dir", "--job-dir", dest="model_dir", metavar="DIR", default=default, action=action, help=help
    )


def usual_model(model_dir: str | None) -> str:
    """Return the typed model folder, else the default one, else the model that comes with aocr."""
    from aocr.folder.model_folder import LOG
    from aocr.folder.words import NAME

    usual = model_dir or usual_model_dir()
    has_model = os.path.isdir(usual) and os.listdir(usual) not in ([], [LOG])
    if model_dir or "://" in usual or has_model:
        return usual
    log.info("No model in %s: using %s, the model that comes with aocr.", usual, NAME)
    return NAME


def add_log_path(parser: Container, default: str = "none") -> None:
    """Add --log-path."""
    parser.add_argument("--log-path", metavar="FILE", help=f"also write the log to this file (default: {default})")


def add_gpu(parser: Container) -> None:
    """Add --gpu-id."""
    parser.add_argument("--gpu-id", type=int, metavar="N", help="GPU to use; -1: none (default: the first, if any)")


def add_precision(parser: Container, default: str) -> None:
    """Add --precision."""
    help = "arithmetic of the convolutions; auto: the fastest on this machine (default: %(default)s)"
    parser.add_argument("--precision", choices=PRECISIONS, default=default, help=help)


def add_source(parser: Container) -> None:
    """Add the flags of `SourceOptions`: how labelled images are read."""
    add = parser.add_argument
    # fmt: off
    add("--data-base-dir", metavar="DIR", help="also look for the images of annotation files in this folder")
    add("--columns", metavar="PATH,TEXT",
        help="names or numbers (from 1) of a table's columns, or keys of JSON; plain: lines of 'path label' as they "
        "stand (default: by the content)")
    add("--label-from-filename", type=name_pattern, nargs="?", const=WHOLE_NAME, metavar="REGEX",
        help="in a folder the file names are the labels; of REGEX the part in parentheses: '(.+)_[0-9]+'")
    add("--empty-labels", action="store_true",
        help="keep images with an empty label even if they are 10 %% or more")
    # fmt: on


def name_pattern(text: str) -> str:
    """Check a regular expression with a group; an argparse type."""
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from None
    if not groups:
        reason = "has no label in parentheses. Write '(.+)_[0-9]+', or the flag alone after the folder"
        raise argparse.ArgumentTypeError(f"{text!r} {reason}")
    return text


def source_options(args: argparse.Namespace) -> SourceOptions:
    """Return the typed `SourceOptions`."""
    return SourceOptions(**fields_of(SourceOptions, args))


def add_no_distance(parser: Container) -> None:
    """Add --no-distance."""
    help = "for the old aocr 0.7.6 score only: count whole words, not characters"
    parser.add_argument("--no-distance", dest="use_distance", action="store_false", help=help)


def add_network(parser: argparse.ArgumentParser, training: bool) -> None:
    """Add the flags of the network. Elsewhere help hides them: scripts of aocr 0.7.6 repeat those of the model."""
    group = parser.add_argument_group("network")

    def add(flag: str, help: str, **kwargs: Any) -> None:
        group.add_argument(flag, default=argparse.SUPPRESS, help=help if training else argparse.SUPPRESS, **kwargs)

    add("--arch", "classic: the network of aocr 0.7.6 (default: default)", choices=ARCHS)
    add("--height", "scale images to this height (default: from the data)", type=int, choices=ALL_HEIGHTS)
    add(
        "--lines",
        "lines of text in an image; auto: from the data (default: auto)",
        choices=("auto", "1", *map(str, LINE_HEIGHTS)),
    )
    add("--turn", "turn upright text by 90 degrees; auto: from the data (default: auto)", choices=("auto", *TURNS))
    add("--max-width", "shrink wider images to this width (default: from the data)", type=positive, metavar="PX")
    add("--max-height", "image height at which --max-width is measured (default: from the data)",
        type=positive, metavar="PX")  # fmt: skip
    add("--max-prediction", "longest text in characters (default: from the data)", type=positive, metavar="N")
    add("--color", "read colour (default: from the images)", dest="channels", action="store_const", const=3)
    add("--no-color", "read grey (default: from the images)", dest="channels", action="store_const", const=1)
    add("--full-ascii", FULL_ASCII, action="store_true")
    add("--attn-num-hidden", "units of a decoder layer (default: 128)", type=positive, metavar="N")
    add("--attn-num-layers", "decoder layers (default: 1; classic 2)", type=positive, metavar="N")
    add("--target-embedding-size", "size of a symbol's embedding (default: 32; "
        "classic 10)", type=positive, metavar="N")  # fmt: skip
    add("--use-gru", "GRU cells in the decoder instead of LSTM", action="store_true")


def everyday_first(parser: argparse.ArgumentParser, flags: Sequence[str]) -> None:
    """In the help, put these flags first, and say of the groups of the others that they are for experts."""
    groups = [group for group in parser._action_groups if group.title != "positional arguments"]
    actions = {flag: (group, a) for group in groups for a in group._group_actions for flag in a.option_strings}
    first = parser.add_argument_group("everyday flags")
    for flag in flags:
        group, action = actions[flag]
        group._group_actions.remove(action)
        first._group_actions.append(action)
    for group in groups:
        group.title = f"for experts: {group.title}".replace("for experts: options", "other flags")
    parser._action_groups = [*parser._action_groups[:1], first, *groups]
    parser.usage = f"{parser.prog} DATASET... [--model-dir DIR] [--max-time TIME] [other flags]"


def arguments_of(function: Callable, args: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed arguments that are named as parameters of the function of a command."""
    return {name: getattr(args, name) for name in signature(function).parameters if hasattr(args, name)}


def fields_of(record: type, args: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed arguments that are named as fields of a dataclass."""
    return fields_in(record, vars(args))


def check_network(args: argparse.Namespace, model_dir: str) -> None:
    """Refuse typed flags of the network that contradict a model folder.

    Raises:
      CheckpointError, ConfigError: the folder cannot be used, or a flag contradicts it.
    """
    from aocr.folder.words import open_folder

    if typed := typed_settings(vars(args)):
        check_typed(model_dir, open_folder(model_dir).read_config(), typed)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the flags of reading and text search."""
    add_precision(parser, "float32")
    parser.add_argument("--batch-size", type=batch, default=64, metavar="N", help="images read at once (default: 64)")
    add = parser.add_argument_group("reading").add_argument
    add("--beam", type=positive, default=1, metavar="N", help="beam width: follow the N likeliest texts (default: 1)")
    add("--pattern", metavar="REGEX", help="read only texts that match this regular expression as a whole")
    add(
        "--lexicon",
        metavar="FILE|english",
        help="read only the texts in this file, one per line, perhaps a tab and a frequency after it; english: prefer "
        "frequent English words, but read other texts too",
    )
    add_symbols(add)
    help = "also allow texts that are not in the list, if e^W times as likely (W=5: about 150 times)"
    add("--lexicon-weight", type=above_zero, metavar="W", help=help)


def add_symbols(add: Callable[..., Any]) -> None:
    """Add --charset and --no-spaces, which say what the texts to read consist of."""
    help = (
        "the characters of your texts: digits, alphanumeric (capitals), ... or a text file. Others that are read are "
    )
    help += "dropped; small letters become capitals if only these are listed, and the reverse"
    add("--charset", dest="symbols", metavar="NAME|FILE", help=help)
    add("--no-spaces", dest="spaces", action="store_false", help="drop spaces from what is read")


def check_paths(paths: Sequence[str], model_dir: str, or_export: bool = False) -> None:
    """Report common mistakes before TensorFlow starts: missing data, a model given as data, a file as model folder.

    Args:
      paths: of data.
      model_dir: of the model.
      or_export: accept an ONNX export as well as a folder.

    Raises:
      DatasetError, ConfigError: such a mistake.
    """
    from aocr.exchange.formats.onnx import MAIN_FILE
    from aocr.folder.model_folder import MODEL

    for path in paths:
        is_local = "://" not in path and not glob.has_magic(path)
        if is_local and not os.path.exists(path) and not _shards("*", path):
            raise DatasetError(path, "there is no such file. Check the path; make records with aocr dataset.")
        if is_local and os.path.exists(os.path.join(path, MODEL)):
            raise DatasetError(path, "is a model folder, not data. Give it with --model-dir.")
    export = os.path.join(model_dir, MAIN_FILE)
    if or_export and os.path.isfile(export) and not os.path.exists(os.path.join(model_dir, MODEL)):
        raise ConfigError("--model-dir", model_dir, f"contains an export, not a model. Give --model-dir {export}.")
    if os.path.isfile(model_dir) and not (or_export and files.is_graph(model_dir)):
        raise ConfigError("--model-dir", model_dir, "is a file. Give the folder of the model.")


OUTPUT_FLAGS = {
    "output": "OUTPUT",
    "report": "--report",
    "preview": "--preview",
    "list_fonts": "--list-fonts",
    "log_path": "--log-path",
}
"""Arguments that name a file to write, with their names on the command line. (`aocr label` appends to `labels`.)"""


def check_written(args: argparse.Namespace) -> None:
    """Refuse to write a file that the same command reads, or writes for another purpose.

    Raises:
      ConfigError: an argument names such a file.
    """
    taken: set[str] = set()
    for name, value in vars(args).items():
        if name not in OUTPUT_FLAGS and name != "images":  # a glob of images may include the log
            texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
            taken.update(os.path.realpath(path) for text in texts for path in _files_named(text))
    for name, flag in OUTPUT_FLAGS.items():
        path = getattr(args, name, None)
        if not path or files.is_remote(path) or files.is_device(path):  # /dev/null may be named twice
            continue
        has_shards = name == "output" and getattr(args, "shards", 1) > 1
        targets = set(map(os.path.realpath, _shards(f"{args.shards:05d}", path) if has_shards else [path]))
        if taken & targets:
            raise ConfigError(flag, path, "this command also reads or writes this file elsewhere. Name another file.")
        taken |= targets


def written(args: argparse.Namespace) -> frozenset[str]:
    """Return the real paths of the files that a command overwrites, which its data must not name as images."""
    paths = (getattr(args, name, None) for name in OUTPUT_FLAGS if name != "log_path")  # the log is appended to
    return frozenset(os.path.realpath(path) for path in paths if path and not files.is_remote(path))


def _files_named(text: str) -> list[str]:
    """Return the existing files that a text names as a path, a glob or the stem of shards."""
    if not text or "\0" in text:
        return []
    if os.path.isfile(text):
        return [text]
    return glob.glob(text) if glob.has_magic(text) else _shards("*", text)


def _shards(total: str, stem: str) -> list[str]:
    """Return the existing shards of `stem` whose names end in `total`."""
    return glob.glob(f"{glob.escape(stem)}-*-of-{total}")


def open_model(args: argparse.Namespace):
    """Load the model for a command that reads images.

    Raises:
      CheckpointError: the model folder cannot be used.
      ConfigError: a typed flag contradicts it.
    """
    from aocr.reading.predictor import load

    if args.gpu_id is not None and not files.is_graph(args.model_dir):
        machine.start_tensorflow()
        machine.use_gpu(args.gpu_id)
    read_config = ReadConfig(**fields_of(ReadConfig, args))
    predictor = load(args.model_dir, precision=args.precision, batch_size=args.batch_size, read_config=read_config)
    check_typed(args.model_dir, predictor.config, typed_settings(vars(args)))
    return predictor
