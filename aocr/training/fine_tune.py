"""Fine-tuning: start a model from the weights of another, even where their shapes differ."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np

from aocr.config import ModelConfig
from aocr.folder.model_folder import ModelFolder
from aocr.folder.variables import weights_of
from aocr.folder.words import BOX
from aocr.model.recognizer import Recognizer
from aocr.text.charset import NUM_SPECIALS, Charset
from aocr.training.monitor import log

VOCABULARY_AXES = {
    "decoder/embedding/embeddings": 0,
    "decoder/output_projection/kernel": 1,
    "decoder/output_projection/bias": 0,
    "ctc/kernel": 1,
    "ctc/bias": 0,
}
"""Variables with one row or column per symbol -> the axis of the symbols."""
PIXELS, ROWS = "cnn/stem/kernel", "cnn/collapse/kernel"
"""The first convolution, over the image's channels, and the last, over all its rows."""
GREY_SHARES = np.array([0.2989, 0.587, 0.114], np.float32) / 0.9999
"""Weights of red, green and blue in grey, as in `preprocess`; their sum is 1."""


def source_of(symbol: str, charset: Charset) -> str | None:
    """Return the most similar symbol of a charset: the same, its other case, or the letter without accents."""
    base = unicodedata.normalize("NFD", symbol)[0]
    return next((other for other in (symbol, symbol.swapcase(), base, base.swapcase()) if other in charset), None)


def num_unknown_symbols(start: Charset, charset: Charset) -> int:
    """Count the symbols of `charset` without a similar one in `start`."""
    return sum(source_of(symbol, start) is None for symbol in charset.symbols)


def covers_most_of(start: Charset, charset: Charset) -> bool:
    """Return whether at least half of the symbols of `charset` have a similar one in `start`."""
    return 2 * num_unknown_symbols(start, charset) <= len(charset.symbols)


def _with_rows(fresh: np.ndarray, source: np.ndarray, axis: int, start: Charset, charset: Charset) -> np.ndarray:
    """Return `fresh` with rows of `source` for special symbols and for symbols with a similar one in `start`."""
    similar = {symbol: other for symbol in charset.symbols if (other := source_of(symbol, start))}
    specials = list(range(NUM_SPECIALS))
    ours = specials + [charset.encode(symbol)[0] for symbol in similar]
    theirs = specials + [start.encode(other)[0] for other in similar.values()]
    rows = np.moveaxis(fresh.copy(), axis, 0)
    rows[ours] = np.moveaxis(source, axis, 0)[theirs]
    return np.moveaxis(rows, 0, axis)


def _with_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Convert the first convolution (H, W, C, F) to `channels`; grey images give the same features as before."""
    if kernel.shape[2] == channels or kernel.shape[2] not in (1, 3):
        return kernel
    return kernel.sum(2, keepdims=True) if channels == 1 else kernel * GREY_SHARES[:, None]


def _with_height(kernel: np.ndarray, height: int) -> np.ndarray:
    """Resample the convolution over all rows (H, 1, C, F) to `height` rows; stretched images give the same result."""
    edges = np.linspace(0, kernel.shape[0], height + 1)
    rows = np.arange(kernel.shape[0])
    shares = np.minimum(edges[1:, None], rows + 1) - np.maximum(edges[:-1, None], rows)  # overlap of new and old rows
    return np.einsum("nr,rwcf->nwcf", shares.clip(0), kernel).astype(kernel.dtype)


class InitialWeights(NamedTuple):
    """The weights that a network starts from."""

    name: str
    """The model folder and a description of its weights, for messages."""
    charset: Charset
    """The model's charset."""
    weights: dict[str, np.ndarray]
    """Arrays by name."""

    def fitted(self, name: str, fresh: np.ndarray, charset: Charset) -> np.ndarray:
        """Return the initial value of a variable, or `fresh` if these weights have no counterpart.

        Args:
          name: name of the variable.
          fresh: its value in a new network.
          charset: charset of that network.
        """
        source = self.weights.get(name)
        if source is None or source.ndim != fresh.ndim:
            return fresh
        if name in VOCABULARY_AXES:
            axis = VOCABULARY_AXES[name]
            is_same = np.delete(source.shape, axis).tolist() == np.delete(fresh.shape, axis).tolist()
            is_same = is_same and source.shape[axis] == self.charset.vocabulary_size
            return _with_rows(fresh, source, axis, self.charset, charset) if is_same else fresh
        if name == PIXELS:
            source = _with_channels(source, fresh.shape[2])
        if name == ROWS:
            source = _with_height(source, fresh.shape[0])
        return source if source.shape == fresh.shape else fresh


def read_start(folder: ModelFolder, name: str) -> InitialWeights:
    """Read the weights of a model folder, called `name` in messages.

    Raises:
      CheckpointError: the folder has no weights, or they are damaged or do not match its model.json.
    """
    about = "model that comes with aocr" if folder.path == str(BOX) else folder.weights_info().describe()
    return InitialWeights(f"{name}, the {about}", folder.read_config().charset, folder.read_weights())


def start_from(start: InitialWeights, model: Recognizer, config: ModelConfig) -> None:
    """Assign the initial weights to a model, fitted to its shapes; variables without a counterpart are unchanged."""
    fresh_parts = []
    for name, variable in weights_of(model).items():
        fresh = variable.numpy()
        value = start.fitted(name, fresh, config.charset)
        if value is fresh and fresh.any():
            fresh_parts.append(name.split("/")[0])
        variable.assign(value)
    parts = f"; parts with new weights because their size differs: {', '.join(dict.fromkeys(fresh_parts))}"
    log.info("Starting from %s (--init-from none starts from random weights)", start.name)
    num_unknown = num_unknown_symbols(start.charset, config.charset)
    log.info("Symbols that are new to it: %d%s", num_unknown, parts if fresh_parts else "")
