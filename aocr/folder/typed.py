"""Flags that the user typed, compared with the settings of a model folder."""

from __future__ import annotations

from typing import Any

from aocr.config import ModelConfig
from aocr.errors import ConfigError
from aocr.text.charset import NAMES


def check_typed(model_dir: str, config: ModelConfig, typed: dict[str, Any], advice: str = "") -> None:
    """Refuse flags that contradict a model folder.

    Args:
      model_dir: path of the folder, for the message.
      config: settings of the folder.
      typed: typed values by field of ModelConfig.
      advice: alternative to leaving the flag out, for the message.

    Raises:
      ConfigError: names the flag and both values.
    """
    for name, value in typed.items():
        model_value = getattr(config, name)
        if value != model_value:
            flag, value, model_value = _as_typed(name, value, model_value)
            raise ConfigError(flag, value, f"the model in {model_dir} has {model_value}. Leave the flag out{advice}.")


def _as_typed(name: str, value: Any, model_value: Any) -> tuple[str, Any, str]:
    """Return the flag of a setting, the typed value and the folder's value, as a user would write them."""
    if name == "channels":
        return ("--color" if value == 3 else "--no-color"), True, "colour" if model_value == 3 else "grey"
    if name == "use_gru":
        return "--use-gru", value, "GRU cells" if model_value else "LSTM cells"
    if name == "charset":
        flag = ("--full-ascii", True) if value.symbols == NAMES["full-ascii"] else ("--charset", value.symbols)
        return *flag, repr(model_value.symbols)
    return f"--{name.replace('_', '-')}", value, repr(model_value)
