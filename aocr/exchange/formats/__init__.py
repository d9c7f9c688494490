"""What `aocr export` writes: every module here is a format of its own name, listed by being here.

A module imports neither aocr nor TensorFlow at its top: its `read_back` runs where aocr is out of reach.
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
    """What each module of this package holds.

    Attributes:
      ABOUT: the format in a few words.
      MAIN_FILE: of its files the one that is written when all others are there.
      NEEDED: packages that the format's extra, of its own name, brings.
      IS_FOLDER: whether an export is a folder of its own, by number as TensorFlow Serving wants it; else it is
        the main file and those beside it.
    """

    __file__: str
    ABOUT: str
    MAIN_FILE: str
    NEEDED: tuple[str, ...]
    IS_FOLDER: bool

    def write(self, predictor: Predictor, folder: str) -> None:
        """Write an export into an empty folder; where `QUANTIZATIONS` has some, `quantize` may name one of them."""
        ...

    def read_back(self, folder: str, samples: Samples) -> Iterator[tuple[bytes, Any]]:
        """(text, probability) of each image alone, then of all as one batch, then again in other ways."""
        ...


FORMATS: dict[str, Format] = {
    name: import_module(f"{__name__}.{name}")  # type: ignore[misc]
    for name in sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: name != DEFAULT)
}
