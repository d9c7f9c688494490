"""The interface of the original Attention-OCR: `python -m aocr --phase=train --data-path=F ...`."""

from __future__ import annotations

from aocr.cli.options import Parser
from aocr.errors import ConfigError

FOR_TRAINING = (
    *("--steps-per-checkpoint", "--num-epoch", "--batch-size"),
    *("--initial-learning-rate", "--target-vocab-size"),
)
"""Flags with a value that the original took when testing too, without effect."""


def is_legacy(argv: list[str]) -> bool:
    """Whether the words are of the original's interface."""
    return any(word.split("=")[0] in ("--phase", "-phase") for word in argv)


def _dashes(word: str) -> str:
    """Either spelling of a flag: `--data_path` and `-data-path` mean `--data-path`."""
    if not word.startswith("-") or word.lstrip("-")[:1].isdigit():
        return word
    name, equals, value = word.partition("=")
    return "--" + name.lstrip("-").replace("_", "-") + equals + value


def _parser() -> Parser:
    parser = Parser(prog="aocr --phase", allow_abbrev=False)
    parser.add_argument("--phase", choices=("train", "test"), default="test")
    parser.add_argument("--data-path", required=True)
    for name, no, default in (("load-model", "no-load-model", True), ("visualize", "no-visualize", False)):
        dest = name.replace("-", "_")
        parser.add_argument(f"--{name}", dest=dest, action="store_true", default=default)
        parser.add_argument(f"--{no}", dest=dest, action="store_false")
    parser.add_argument("--attn-use-lstm", dest="use_gru", action="store_false")
    parser.add_argument("--no-attn-use-lstm", "--use-gru", dest="use_gru", action="store_true")
    parser.add_argument("--old-model-version", action="store_true")
    parser.add_argument("--no-old-model-version", dest="old_model_version", action="store_false")
    parser.set_defaults(use_gru=False, old_model_version=False)
    return parser


def translate(argv: list[str]) -> list[str]:
    """The same request in words of today's command line.

    Raises:
      ConfigError: a request that has no meaning any more.
    """
    known, rest = _parser().parse_known_args([_dashes(word) for word in argv])
    if known.old_model_version:
        raise ConfigError("--old-model-version", True, "weights of old Keras versions cannot be read. Train anew.")
    words = [known.phase, known.data_path]
    if known.phase == "train":
        words += [] if known.load_model else ["--no-resume"]
    else:
        if not known.load_model:
            raise ConfigError("--no-load-model", True, "testing needs a trained model. Leave the flag out.")
        words += ["--visualize"] if known.visualize else []
        rest = _without(rest, FOR_TRAINING)
    return words + (["--use-gru"] if known.use_gru else []) + rest


def _without(words: list[str], flags: tuple[str, ...]) -> list[str]:
    """`words` without these flags and their values."""
    kept, skip = [], False
    for word in words:
        name, equals, _ = word.partition("=")
        if skip:
            skip = False
        elif name in flags:
            skip = not equals
        else:
            kept.append(word)
    return kept
