"""Flags that several commands share. Standard library and the ground floor only."""

from __future__ import annotations

import argparse
import difflib
import glob
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from aocr import files, machine
from aocr.config import ARCHS, HEIGHTS, MAX_BATCH, PRECISIONS, ModelConfig, ReadConfig
from aocr.errors import ConfigError, DatasetError, escape_control
from aocr.text.charset import Charset

log = logging.getLogger("aocr")

MODEL_FIELDS = [field.name for field in fields(ModelConfig) if field.name != "charset"]
"""Settings of the network. A flag not typed leaves no attribute, so that it can be told from one that was."""


MAX_DRAWN = 300
"""Characters of a text that is drawn; more make images too large to be of use."""

FULL_ASCII = "the charset of all ASCII characters from 32 to 126"


class Parser(argparse.ArgumentParser):
    """Says a wrong usage in one line, with the flag that was probably meant."""

    def error(self, message: str):  # noqa: D102 (argparse calls it)
        match = re.match(r"unrecognized arguments: (-\S+)", message)
        known = [flag for action in self._actions for flag in action.option_strings]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known += [flag for parser in action.choices.values() for flag in parser._option_string_actions]
        typed = match[1].split("=")[0] if match else ""
        close = difflib.get_close_matches(typed, known, 1) if typed and typed not in known else []
        hint = f" Did you mean {close[0]}?" if close else ""
        command = "aocr" if self.prog.endswith("--phase") else self.prog
        self.exit(2, f"{self.prog}: {escape_control(message)}.{hint} {command} --help shows the usage.\n")


def _number(kind: type, allowed: Callable[[float], bool], rule: str) -> Callable[[str], float]:
    """An argparse type: a number of `kind` that is allowed by the rule."""

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
shards = _number(int, lambda value: 1 <= value <= 99_999, "1 to 99,999")  # five digits stand in their names
length = _number(int, lambda value: 1 <= value <= MAX_DRAWN, f"1 to {MAX_DRAWN:,}")
share = _number(float, lambda value: 0 <= value <= 1, "between 0 and 1")
above_zero = _number(float, lambda value: 0 < value < float("inf"), "above 0")


def duration(text: str) -> float:
    """argparse type: seconds of `90`, `45s`, `10m`, `2h` or `1h30m`."""
    match = re.fullmatch(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", text.strip())
    if not text.strip() or not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration like 90s, 10m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + seconds
    if total < 1:
        raise argparse.ArgumentTypeError("must be at least 1s")
    return float(total)


def devices(text: str) -> str:
    """argparse type: `all`, how many, or which with commas."""
    numbers = text.rstrip(",").split(",")
    if text != "all" and not (all(number.isdecimal() for number in numbers) and len(set(numbers)) == len(numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not all, a number, or numbers with commas")
    if text == "0":
        raise argparse.ArgumentTypeError("must be 1 or more (for GPU 0 alone: --gpu-id 0)")
    return text if text.endswith(",") or len(numbers) == 1 else ",".join(numbers)


def usual_model_dir() -> str:
    """The model folder where none is named; Vertex AI names one."""
    return os.environ.get("AIP_CHECKPOINT_DIR") or "checkpoints"


def add_model_dir(parser, or_words: bool = False, written: bool = False, graph_too: bool = False) -> None:
    """--model-dir, under its cloud name too.

    Args:
      parser: to add it to, or a group of one.
      or_words: whether the reader in the box stands in where there is no folder; then the default is None.
      written: whether the command writes the folder, so that it cannot be the reader in the box.
      graph_too: whether an ONNX export serves as well as a folder.
    """
    folder = "the model folder or an ONNX export" if graph_too else "the model folder"
    help = "the model folder that is written" if written else f"{folder}; words: the reader that comes with aocr"
    help += f" (default: AIP_CHECKPOINT_DIR of the environment, else checkpoints{', else words' if or_words else ''})"
    default = None if or_words else usual_model_dir()
    parser.add_argument("--model-dir", "--job-dir", dest="model_dir", metavar="DIR", default=default, help=help)


def model_at_hand(model_dir: str | None) -> str:
    """The model folder that was typed, else the usual one; the reader in the box where that holds a log at the most."""
    from aocr.folder.model_folder import LOG
    from aocr.folder.words import NAME

    usual = model_dir or usual_model_dir()
    if model_dir or "://" in usual or (os.path.isdir(usual) and os.listdir(usual) not in ([], [LOG])):
        return usual
    log.info("There is no model in %s: reading with %s, the reader that comes with aocr.", usual, NAME)
    return NAME


def add_log_path(parser: argparse.ArgumentParser, default: str = "none") -> None:
    """--log-path."""
    parser.add_argument("--log-path", metavar="FILE", help=f"write the log here too (default: {default})")


def add_gpu(parser: argparse.ArgumentParser) -> None:
    """--gpu-id."""
    parser.add_argument("--gpu-id", type=int, metavar="N", help="use this GPU; -1: none (default: the first, if any)")


def add_precision(parser: argparse.ArgumentParser, default: str) -> None:
    """--precision."""
    help = "arithmetic of the convolutions; auto: what this machine does fastest (default: %(default)s)"
    parser.add_argument("--precision", choices=PRECISIONS, default=default, help=help)


def add_data_base_dir(parser) -> None:
    """--data-base-dir, of a parser or of a group of one."""
    help = "look for the images of annotation files in this folder too"
    parser.add_argument("--data-base-dir", metavar="DIR", help=help)


def add_no_distance(parser: argparse.ArgumentParser) -> None:
    """--no-distance."""
    help = "count whole words in the score of aocr 0.7.6, not edit distance"
    parser.add_argument("--no-distance", dest="use_distance", action="store_false", help=help)


def add_network(parser: argparse.ArgumentParser, training: bool) -> None:
    """Flags that fix the network; outside training they are checked against the model folder."""
    about = "the network" if training else "the network, checked against the model folder"
    group = parser.add_argument_group(about)

    def add(*names: str, help: str, **kwargs: Any) -> None:
        if not training:
            help = re.sub(r" \(default: .*\)", "", help)  # it is what the folder has
        group.add_argument(*names, default=argparse.SUPPRESS, help=help, **kwargs)

    add("--arch", choices=ARCHS, help="classic: the network of aocr 0.7.6 (default: default)")
    add("--height", type=int, choices=HEIGHTS, help="bring images to this height (default: from the data)")
    add("--max-width", type=positive, metavar="PX", help="shrink wider images to this (default: from the data)")
    add("--max-height", type=positive, metavar="PX", help="the height --max-width is meant at (default: from the data)")
    add("--max-prediction", type=positive, metavar="N", help="longest text in characters (default: from the data)")
    add("--color", dest="channels", action="store_const", const=3, help="read colour (default: by the images)")
    add("--no-color", dest="channels", action="store_const", const=1, help="read grey (default: by the images)")
    add("--full-ascii", action="store_true", help=FULL_ASCII)
    add("--attn-num-hidden", type=positive, metavar="N", help="units of a decoder layer (default: 128)")
    add("--attn-num-layers", type=positive, metavar="N", help="decoder layers (default: 1; classic 2)")
    add("--target-embedding-size", type=positive, metavar="N", help="numbers a symbol (default: 32; classic 10)")
    add("--use-gru", action="store_true", help="GRU cells in the decoder in place of LSTM")


def typed_network(args: argparse.Namespace) -> dict[str, Any]:
    """The network's settings that were typed, by field."""
    return {name: getattr(args, name) for name in MODEL_FIELDS if hasattr(args, name)}


def typed_settings(args: argparse.Namespace) -> dict[str, Any]:
    """As `typed_network`, and the charset unless it is to be taken from the data.

    Raises:
      CharsetError, ConfigError: the charset cannot be read.
    """
    charset = typed_charset(args)
    known = {} if charset in (None, "auto") else {"charset": Charset.from_name_or_file(charset)}
    return {**typed_network(args), **known}


def fields_of(record: type, args: argparse.Namespace) -> dict[str, Any]:
    """The flags that bear the names of a dataclass's fields."""
    return {field.name: getattr(args, field.name) for field in fields(record) if hasattr(args, field.name)}


def typed_charset(args: argparse.Namespace) -> str | None:
    """The charset that was typed, by --charset or by --full-ascii."""
    return "full-ascii" if getattr(args, "full_ascii", False) else getattr(args, "charset", None)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Flags of how images are read and texts looked for."""
    add_precision(parser, "float32")
    parser.add_argument("--batch-size", type=batch, default=64, metavar="N", help="images read together (default: 64)")
    add = parser.add_argument_group("reading").add_argument
    add("--beam", type=positive, default=1, metavar="N", help="follow the N likeliest texts (default: 1)")
    add("--pattern", metavar="REGEX", help="read only texts that match this regular expression from end to end")
    add("--lexicon", metavar="FILE", help="read only the texts of this file, one a line")
    help = "texts outside the lexicon are read too, where they are exp(W) times likelier"
    add("--lexicon-weight", type=above_zero, metavar="W", help=help)


def check_paths(paths: Sequence[str], model_dir: str, graph_too: bool = False) -> None:
    """Find the commonest slips before TensorFlow starts: data that do not exist or are a model, a model that is a file.

    Args:
      paths: of data.
      model_dir: of the model.
      graph_too: whether an ONNX export serves as well as a folder.

    Raises:
      DatasetError, ConfigError: such a slip.
    """
    from aocr.exchange.formats.onnx import MAIN_FILE
    from aocr.folder.model_folder import MODEL

    for path in paths:
        plain = "://" not in path and not glob.has_magic(path)
        if plain and not os.path.exists(path) and not glob.glob(f"{glob.escape(path)}-*-of-*"):
            raise DatasetError(path, "there is no such file. Check the path; make records with aocr dataset.")
        if plain and os.path.exists(os.path.join(path, MODEL)):
            raise DatasetError(path, "is the folder of a model, not of images. Give it by --model-dir.")
    export = os.path.join(model_dir, MAIN_FILE)
    if graph_too and os.path.isfile(export) and not os.path.exists(os.path.join(model_dir, MODEL)):
        raise ConfigError("--model-dir", model_dir, f"holds an export, no model. Give --model-dir {export}.")
    if os.path.isfile(model_dir) and not (graph_too and files.is_graph(model_dir)):
        raise ConfigError("--model-dir", model_dir, "is a file. Give the folder of the model.")


WRITTEN = {
    "output": "OUTPUT",
    "report": "--report",
    "preview": "--preview",
    "list_fonts": "--list-fonts",
    "log_path": "--log-path",
}
"""Files that commands write, and how they are called where they are typed. `aocr label` appends to its `labels`."""


def check_written(args: argparse.Namespace) -> None:
    """Refuse to write a file that the same command reads, or writes for another purpose.

    Raises:
      ConfigError: naming the argument.
    """
    taken: set[str] = set()
    for name, value in vars(args).items():
        if name not in WRITTEN and name != "images":  # a glob of images may take in the log too
            texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
            taken.update(os.path.realpath(path) for text in texts for path in _named(text))
    for name, flag in WRITTEN.items():
        path = getattr(args, name, None)
        if not path or files.is_remote(path) or files.is_endless(path):  # /dev/null takes all
            continue
        names = _shards(f"{args.shards:05d}", path) if name == "output" and getattr(args, "shards", 1) > 1 else [path]
        if not taken.isdisjoint(map(os.path.realpath, names)):
            raise ConfigError(flag, path, "is read or written by this command already. Name another file.")
        taken.add(os.path.realpath(path))


def written(args: argparse.Namespace) -> frozenset[str]:
    """Real paths of the files that a command writes anew, which no line of its data may name as an image."""
    paths = (getattr(args, name, None) for name in WRITTEN if name != "log_path")  # that one is gone on with
    return frozenset(os.path.realpath(path) for path in paths if path and not files.is_remote(path))


def _named(text: str) -> list[str]:
    """Files that a text names, should it be a path, a glob or the stem of shards."""
    if not text or "\0" in text:
        return []
    if os.path.isfile(text):
        return [text]
    return glob.glob(text) if glob.has_magic(text) else _shards("*", text)


def _shards(total: str, stem: str) -> list[str]:
    """Files that are there under a name of shards, so many in all."""
    return glob.glob(f"{glob.escape(stem)}-*-of-{total}")


def open_model(args: argparse.Namespace, network: bool = False):
    """Load the model for a command that reads.

    Args:
      args: the command line.
      network: whether the command needs the network in TensorFlow, not just readings.

    Raises:
      CheckpointError: the model folder cannot be used.
      ConfigError: a typed flag contradicts it.
    """
    from aocr.folder.typed import check_typed
    from aocr.reading.predictor import load, load_network

    if args.gpu_id is not None and not files.is_graph(args.model_dir):
        machine.start_tensorflow()
        machine.use_gpu(args.gpu_id)
    load_model = load_network if network else load
    read_config = ReadConfig(**fields_of(ReadConfig, args))
    predictor = load_model(
        args.model_dir, precision=args.precision, batch_size=args.batch_size, read_config=read_config
    )
    check_typed(args.model_dir, predictor.config, typed_settings(args))
    return predictor
