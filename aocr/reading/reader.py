"""What reads: one interface, whatever runs the network behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from aocr.config import ModelConfig, ReadConfig
from aocr.errors import ConfigError
from aocr.results import Reading


class Pixels(NamedTuple):
    """A batch as the network takes it.

    Attributes:
      images: (B, H, W, C) float32, zero to the right of each image's width.
      widths: (B,) int32, valid pixels of W.
      scales: (B,) float32, pixels of the original image that a pixel of `images` spans.
    """

    images: np.ndarray
    widths: np.ndarray
    scales: np.ndarray


class Reader(Protocol):
    """Reads batches of images. Arrays go in and come out.

    Attributes:
      config: of the model.
      num_alternatives: other readings to tell beside the best.
    """

    config: ModelConfig
    num_alternatives: int

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """Encoded images as the network's batch.

        Raises:
          ImageError: one of them cannot be decoded.
        """
        ...

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """Read a batch that `transform` gave."""
        ...

    def with_config(self, how: ReadConfig) -> Reader:
        """A reader of the same model that reads another way.

        Raises:
          ConfigError: a pattern or lexicon cannot be used with this model, or the reader knows one way only.
        """
        raise ConfigError("how", how, "this reader follows the likeliest symbols only.")

    def close(self) -> None:
        """To be called when all is read."""
        return
