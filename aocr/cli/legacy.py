"""The interface of the original Attention-OCR: `python -m aocr --phase=train --data-path=F ...`."""

from __future__ import annotations

import argparse

from aocr.cli.options import Parser
from aocr.errors import ConfigError

FOR_TRAINING = (
    *("--steps-per-checkpoint", "--num-epoch", "--batch-size"),
    *("--initial-learning-rate", "--target-vocab-size"),
)
"""Flags with a value that the original also accepted when testing, without effect."""


def is_legacy(argv: list[str]) -> bool:
    """Whether the command line uses the original's interface."""
    return any(word.split("=")[0] in ("--phase", "-phase") for word in argv)


def _dashes(word: str) -> str:
    """Normalise the spelling of a flag: `--data_path` and `-data-path` mean `--data-path`."""
    if not word.startswith("-") or word.lstrip("-")[:1].isdigit():
        return word
    name, equals, value = word.partition("=")
    return "--" + name.lstrip("-").replace("_", "-") + equals + value


def _parser() -> Parser:
    parser = Parser(prog="aocr --phase", allow_abbrev=False)
    parser.add_argument("--phase", choices=("train", "test"), default="test")
    parser.add_argument("--data-path", required=True)
    for name, default in (("load-model", True), ("visualize", False), ("old-model-version", False)):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=default)
    parser.add_argument("--attn-use-lstm", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--use-gru", dest="attn_use_lstm", action="store_false")
    return parser


def translate(argv: list[str]) -> list[str]:
    """Translate the original's command line to today's.

    Raises:
      ConfigError: a flag is no longer supported.
    """
    known, rest = _parser().parse_known_args([_dashes(word) for word in argv])
    if known.old_model_version:
        raise ConfigError("--old-model-version", True, "cannot read weights of old Keras versions. Train a new model.")
    argv = [known.phase, known.data_path]
    if not known.attn_use_lstm:
        argv.append("--use-gru")
    if known.phase == "train":
        return [*argv, *([] if known.load_model else ["--no-resume"]), *rest]
    if not known.load_model:
        raise ConfigError("--no-load-model", True, "testing needs a trained model. Leave the flag out.")
    return [*argv, *(["--visualize"] if known.visualize else []), *_without(rest, FOR_TRAINING)]


def _without(words: list[str], flags: tuple[str, ...]) -> list[str]:
    """Return `words` without these flags and their values."""
    rest, is_value = [], False
    for word in words:
        name, equals, _ = word.partition("=")
        if is_value:
            is_value = False
        elif name in flags:
            is_value = not equals
        else:
            rest.append(word)
    return rest
