"""Fine-tuning: the weights of one model as the start of another, however the two differ in shape."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np

from aocr.config import ModelConfig
from aocr.folder.model_folder import ModelFolder
from aocr.folder.shapes import check_shapes, key_shapes
from aocr.folder.variables import weights_of
from aocr.folder.weights import read_weights
from aocr.folder.words import BOX
from aocr.model.recognizer import Recognizer
from aocr.text.charset import NUM_SPECIALS, Charset
from aocr.training.progress import log

VOCABULARY_AXES = {
    "decoder/embedding/embeddings": 0,
    "decoder/output_projection/kernel": 1,
    "decoder/output_projection/bias": 0,
    "ctc/kernel": 1,
    "ctc/bias": 0,
}
"""Variables with one row or column a symbol, and the axis it stands on."""
PIXELS, ROWS = "cnn/stem/kernel", "cnn/collapse/kernel"
"""Convolutions over the image's channels, and over all rows that are left of its height."""
GREY_SHARES = np.array([0.2989, 0.587, 0.114], np.float32) / 0.9999
"""Shares of red, green and blue in grey, as `preprocess` has them; together 1."""


def source_of(symbol: str, charset: Charset) -> str | None:
    """The symbol of a charset that looks most like another: itself, its other case, or the letter below its accents.

    Args:
      symbol: one character.
      charset: where to look.
    """
    base = unicodedata.normalize("NFD", symbol)[0]
    return next((one for one in (symbol, symbol.swapcase(), base, base.swapcase()) if one in charset), None)


def num_unknown_symbols(start: Charset, charset: Charset) -> int:
    """Symbols of `charset` that look like none of `start`, by `source_of`."""
    return sum(source_of(symbol, start) is None for symbol in charset.symbols)


def covers_most_of(start: Charset, charset: Charset) -> bool:
    """Whether half of the symbols of `charset` look like some of `start`."""
    return 2 * num_unknown_symbols(start, charset) <= len(charset.symbols)


def _with_rows(value: np.ndarray, found: np.ndarray, axis: int, start: Charset, charset: Charset) -> np.ndarray:
    """A fresh variable with the rows of special symbols and of those that look like one of `start`."""
    sources = {symbol: source for symbol in charset.symbols if (source := source_of(symbol, start))}
    specials = list(range(NUM_SPECIALS))
    ours = specials + [charset.encode(symbol)[0] for symbol in sources]
    theirs = specials + [start.encode(source)[0] for source in sources.values()]
    rows = np.moveaxis(value.copy(), axis, 0)
    rows[ours] = np.moveaxis(found, axis, 0)[theirs]
    return np.moveaxis(rows, 0, axis)


def _with_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, C, F) of a first convolution for images of `channels`: it gives the same for an image and its grey."""
    if kernel.shape[2] == channels or kernel.shape[2] not in (1, 3):
        return kernel
    return kernel.sum(2, keepdims=True) if channels == 1 else kernel * GREY_SHARES[:, None]


def _with_height(kernel: np.ndarray, height: int) -> np.ndarray:
    """(H, 1, C, F) of a convolution over all rows for `height` rows: it gives the same for rows drawn out to them."""
    edges = np.linspace(0, kernel.shape[0], height + 1)
    rows = np.arange(kernel.shape[0])
    shares = np.minimum(edges[1:, None], rows + 1) - np.maximum(edges[:-1, None], rows)  # overlap of new and old rows
    return np.einsum("nr,rwcf->nwcf", shares.clip(0), kernel).astype(kernel.dtype)


class Start(NamedTuple):
    """What a network starts from.

    Attributes:
      name: the model folder and its checkpoint, for people.
      charset: of the model.
      weights: by name.
    """

    name: str
    charset: Charset
    weights: dict[str, np.ndarray]

    def fitted(self, name: str, value: np.ndarray, charset: Charset) -> np.ndarray:
        """A variable for a network of other shapes.

        Args:
          name: of the variable.
          value: it, fresh.
          charset: of that network.

        Returns:
          The start's weights; `value` where nothing in the start corresponds to it.
        """
        found = self.weights.get(name)
        if found is None or found.ndim != value.ndim:
            return value
        if name in VOCABULARY_AXES:
            axis = VOCABULARY_AXES[name]
            same = np.delete(found.shape, axis).tolist() == np.delete(value.shape, axis).tolist()
            same = same and found.shape[axis] == self.charset.vocabulary_size
            return _with_rows(value, found, axis, self.charset, charset) if same else value
        if name == PIXELS:
            found = _with_channels(found, value.shape[2])
        if name == ROWS:
            found = _with_height(found, value.shape[0])
        return found if found.shape == value.shape else value


def read_start(folder: ModelFolder, name: str) -> Start:
    """The weights of the model in a folder, called `name` for people.

    Raises:
      CheckpointError: the folder has no checkpoint, it is damaged, or does not fit the folder's model.json.
    """
    config, chosen = folder.read_config(), folder.choose()
    weights = read_weights(chosen.prefix)
    check_shapes(chosen.prefix, weights, key_shapes(config))
    about = "reader that comes with aocr" if folder.path == str(BOX) else chosen.why
    return Start(f"{name}, the {about}", config.charset, weights)


def start_from(start: Start, model: Recognizer, config: ModelConfig) -> None:
    """Put the weights of `start` into `model`, fitted to its shapes; what the start has nothing for stays fresh."""
    fresh = []
    for name, variable in weights_of(model).items():
        value = variable.numpy()
        fitted = start.fitted(name, value, config.charset)
        if fitted is value:
            fresh.append(name.split("/")[0])
        variable.assign(fitted)
    sizes = f"; parts that begin anew, for their size differs: {', '.join(dict.fromkeys(fresh))}" if fresh else ""
    log.info("Starting from %s (--init-from none starts from nothing)", start.name)
    log.info("Symbols that are new to it: %d%s", num_unknown_symbols(start.charset, config.charset), sizes)
