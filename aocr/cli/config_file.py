"""`aocr train --config run.toml`: flags by their names, read from a file and written to one."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import tomllib
from typing import Any

from aocr import files
from aocr.errors import AocrError, ConfigError

DATA = "datasets"
"""Name of the positional arguments."""
FILE = "run.toml"
"""Name of the file in a model folder."""
HEADER = "# Flags of the last `aocr train` here. Repeat it from the same folder with --config and this file.\n"
NOT_SETTINGS = ("help", "config", "resume")
"""Arguments that a file does not repeat."""


def read_config(path: str, parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Read a file of flags of `parser`; return its datasets, and its flags as a command line.

    Raises:
      AocrError, ConfigError: the file cannot be read, is not TOML, or names something else.
    """
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({files.one_line(error)}). Write lines such as max-time = '10m'."
        raise AocrError(f"{path}: {reason}") from None
    known = [DATA, *(flag[2:] for flag in parser._option_string_actions if flag.startswith("--"))]
    datasets: list[str] = []
    argv: list[str] = []
    for key, value in values.items():
        name = key.replace("_", "-")
        opposite = f"no-{name}"
        if isinstance(value, bool) and opposite in known and not (value and name in known):
            if value:
                continue
            name = opposite
        elif value is False and name in known:
            continue
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ConfigError(key, value, f"{path}: there is no such flag.{hint}")
        items = [str(item) for item in (value if isinstance(value, list) else [value])]
        if name == DATA:
            datasets = items
        elif isinstance(value, list):
            argv += [f"--{name}", *items]
        else:
            argv.append(f"--{name}" if isinstance(value, bool) else f"--{name}={value}")
    return datasets, argv


def write_config(model_dir: str, parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Write the arguments that differ from the defaults to the model folder; leave a file of the user's as it is."""
    path = os.path.join(model_dir, FILE)
    if files.exists(path) and files.read(path, len(HEADER)) != HEADER.encode():
        return
    lines = [HEADER]
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in NOT_SETTINGS or value in (None, action.default, [], argparse.SUPPRESS):
            continue
        is_switch = action.nargs == 0 and not isinstance(action, argparse.BooleanOptionalAction)
        if not is_switch or action.const == value:
            name = action.option_strings[0][2:] if action.option_strings else action.dest
            lines.append(f"{name} = {_toml(True if is_switch else value)}\n")
    with files.writing(path):
        files.write(path, "".join(lines).encode())


def _toml(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # a duration
        value = int(value)
    return json.dumps(value, ensure_ascii=False)
