"""Fine-tuning: the weights of one model as the start of another, whose charset may differ."""

from __future__ import annotations

import numpy as np

from aocr.config import ModelConfig
from aocr.folder.weights import read_weights, weights_of
from aocr.folder.words import open_folder
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


def _rows(old: Charset, new: Charset) -> tuple[list[int], list[int]]:
    """Ids of the symbols both have, specials included: (in the old, in the new)."""
    shared = [symbol for symbol in new.symbols if symbol in old]
    specials = list(range(NUM_SPECIALS))
    return specials + [old.encode(s)[0] for s in shared], specials + [new.encode(s)[0] for s in shared]


def start_from(model_dir: str, model: Recognizer, config: ModelConfig) -> None:
    """Put the weights of the model in `model_dir` into `model`; rows of symbols it lacks stay fresh.

    Raises:
      CheckpointError: the folder has no checkpoint, or it is damaged.
    """
    folder = open_folder(model_dir)
    old, chosen = folder.read_config(), folder.choose()
    found = read_weights(chosen.prefix)
    theirs, ours = _rows(old.charset, config.charset)
    for name, variable in weights_of(model).items():
        if name not in VOCABULARY_AXES:
            variable.assign(found[name])
            continue
        value = np.moveaxis(variable.numpy().copy(), VOCABULARY_AXES[name], 0)
        value[ours] = np.moveaxis(found[name], VOCABULARY_AXES[name], 0)[theirs]
        variable.assign(np.moveaxis(value, 0, VOCABULARY_AXES[name]))
    new = len(config.charset) - (len(ours) - NUM_SPECIALS)
    log.info("Starting from %s, the %s: %d symbols new", model_dir, chosen.why, new)
