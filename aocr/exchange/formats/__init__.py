"""The formats of `aocr export`: one module each, named after the format.

At module level, they import neither aocr nor TensorFlow: `read_back` runs in a process without aocr.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aocr.exchange.proof import Samples
    from aocr.reading.predictor import Predictor

DEFAULT = "savedmodel"


class Format(Protocol):
    """The members of each module. A format that can be quantised also has `QUANTIZATIONS`, the choices."""

    __file__: str
    ABOUT: str
    """The format in a few words."""
    MAIN_FILE: str
    """Name of the file that is written last."""
    NEEDED: tuple[str, ...]
    """Packages that the extra named after the format installs."""
    IS_FOLDER: bool
    """Whether an export is a folder, numbered for TensorFlow Serving; if not, a main file and files beside it."""

    def write(self, predictor: Predictor, folder: str) -> None:
        """Write an export into an empty folder; `quantize`, if supported, is one of `QUANTIZATIONS`."""
        ...

    def read_back(self, folder: str, samples: Samples) -> Iterator[tuple[bytes, Any]]:
        """Yield (text, probability) of each image read alone, of all read as one batch, then of other ways to read."""
        ...


FORMATS: dict[str, Format] = {
    name: import_module(f"{__name__}.{name}")  # type: ignore[misc]
    for name in sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: name != DEFAULT)
}
