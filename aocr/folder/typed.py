"""Typed flags against the settings of a model folder."""

from __future__ import annotations

from typing import Any

from aocr.config import ModelConfig
from aocr.errors import ConfigError
from aocr.text.charset import NAMES


def check_typed(model_dir: str, config: ModelConfig, typed: dict[str, Any], advice: str = "") -> None:
    """Refuse flags that contradict a model folder.

    Args:
      model_dir: its path, for messages.
      config: the folder's.
      typed: settings the user typed, by field of ModelConfig.
      advice: what a user can do instead of leaving the flag out.

    Raises:
      ConfigError: naming the flag and both values.
    """
    for name, value in typed.items():
        if value != (kept := getattr(config, name)):
            flag, value, kept = _as_typed(name, value, kept)
            raise ConfigError(flag, value, f"the model in {model_dir} has {kept}. Leave the flag out{advice}.")


def _as_typed(name: str, value: Any, kept: Any) -> tuple[str, Any, str]:
    """A setting's flag, the value typed, and the folder's value, as a user knows them."""
    if name == "channels":
        return ("--color" if value == 3 else "--no-color"), True, "colour" if kept == 3 else "grey"
    if name == "use_gru":
        return "--use-gru", value, "GRU cells" if kept else "LSTM cells"
    if name == "charset":
        flag = ("--full-ascii", True) if value.symbols == NAMES["full-ascii"] else ("--charset", value.symbols)
        return *flag, repr(kept.symbols)
    return f"--{name.replace('_', '-')}", value, repr(kept)
