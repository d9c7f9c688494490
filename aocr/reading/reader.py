"""The interface of the readers, whether TensorFlow or ONNX Runtime runs the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from aocr.config import ModelConfig, ReadConfig
from aocr.reading.symbols import SymbolFilter
from aocr.results import Reading


class Pixels(NamedTuple):
    """A batch of images as the network's input."""

    images: np.ndarray
    """(B, H, W, C) float32, zero to the right of each image's width."""
    widths: np.ndarray
    """(B,) int32, width of each image inside W."""
    scales: np.ndarray
    """(B,) float32, pixels of the original image per pixel of `images`."""


class Reader(Protocol):
    """Reads batches of images. Takes and returns numpy arrays."""

    config: ModelConfig
    """Settings of the network."""
    temperature: float
    """Divides the logits before the confidence is computed."""
    num_alternatives: int
    """Maximum number of alternative readings."""
    symbol_filter: SymbolFilter
    """The symbols that are kept in readings."""

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """Decode encoded images and bring them to the network's size.

        Raises:
          ImageError: an image cannot be decoded.
        """
        ...

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """Read a batch from `transform`."""
        ...

    def with_config(self, read_config: ReadConfig) -> Reader:
        """Return a reader of the same model with another ReadConfig.

        Raises:
          ConfigError: a pattern or lexicon cannot be used with this model.
        """
        ...
