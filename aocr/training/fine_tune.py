"""Fine-tuning: the weights of one model as the start of another, whose charset may differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aocr.config import ModelConfig
from aocr.folder.weights import check_shapes, read_weights, weights_of
from aocr.folder.words import open_folder
from aocr.model.recognizer import Recognizer, key_shapes
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


def _rows(old: Charset, new: Charset) -> tuple[list[int], list[int]]:
    """Ids of the symbols both have, specials included: (in the old, in the new)."""
    shared = [symbol for symbol in new.symbols if symbol in old]
    specials = list(range(NUM_SPECIALS))
    return specials + [old.encode(s)[0] for s in shared], specials + [new.encode(s)[0] for s in shared]


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


def read_start(model_dir: str) -> Start:
    """The weights of the model in `model_dir`.

    Raises:
      CheckpointError: the folder has no checkpoint, it is damaged, or does not fit the folder's model.json.
    """
    folder = open_folder(model_dir)
    config, chosen = folder.read_config(), folder.choose()
    weights = read_weights(chosen.prefix)
    check_shapes(chosen.prefix, weights, key_shapes(config))
    return Start(f"{model_dir}, the {chosen.why}", config.charset, weights)


def start_from(start: Start, model: Recognizer, config: ModelConfig) -> None:
    """Put the weights of `start` into `model`; rows of symbols it lacks stay fresh."""
    theirs, ours = _rows(start.charset, config.charset)
    for name, variable in weights_of(model).items():
        if name not in VOCABULARY_AXES:
            variable.assign(start.weights[name])
            continue
        value = np.moveaxis(variable.numpy().copy(), VOCABULARY_AXES[name], 0)
        value[ours] = np.moveaxis(start.weights[name], VOCABULARY_AXES[name], 0)[theirs]
        variable.assign(np.moveaxis(value, 0, VOCABULARY_AXES[name]))
    new = len(config.charset) - (len(ours) - NUM_SPECIALS)
    log.info("Starting from %s: %d symbols new", start.name, new)
