"""A network's weights by name, and in a checkpoint."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from aocr import files
from aocr.errors import CheckpointError
from aocr.folder.compact import read_compact
from aocr.folder.index import check_index
from aocr.folder.model_folder import COMPACT
from aocr.folder.pointers import check_literal
from aocr.folder.shapes import check_shapes

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

WEIGHTS, AVERAGED = "model", "averaged"
"""Groups of a checkpoint: the weights, and their running average, which reading uses where it is there."""


def weights_of(model: keras.Model) -> dict[str, tf.Variable]:
    """The model's variables by name; random number states are left out, they follow from the step."""
    return {v.path.split("/", 1)[1]: v.value for v in model.variables if not v.path.endswith("seed_generator_state")}


def read_weights(prefix: str) -> dict[str, np.ndarray]:
    """The weights in a checkpoint or in `weights.npz`, by name: their average where it holds one.

    Raises:
      CheckpointError: the checkpoint is missing or damaged.
    """
    if prefix.endswith(COMPACT):
        return read_compact(prefix)
    check_literal(prefix)
    try:
        check_index(prefix)
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)  # load_checkpoint would take it for a folder on ram://
        keys = [key for key in reader.get_variable_to_shape_map() if key.endswith(_VALUE)]
        group = f"{AVERAGED}/" if any(key.startswith(f"{AVERAGED}/") for key in keys) else f"{WEIGHTS}/"
        names = {key[len(group) : -len(_VALUE)].replace(".S", "/"): key for key in keys if key.startswith(group)}
        found = {name: reader.get_tensor(key) for name, key in names.items()}
        if odd := next((name for name, array in found.items() if not np.isfinite(array).all()), None):
            raise ValueError(f"{odd!r} holds what is no number")
        return found
    except Exception as error:  # TensorFlow's reader has errors of many kinds: IndexError where a file is cut off
        raise CheckpointError(prefix, f"is missing or damaged ({files.one_line(error)}).") from None


def assign_weights(prefix: str, model: keras.Model, found: dict[str, np.ndarray]) -> None:
    """Put weights into the model; every variable must be there with its shape.

    Args:
      prefix: where they come from, for messages.
      model: to fill.
      found: weights by name.

    Raises:
      CheckpointError: they do not fit.
    """
    weights = weights_of(model)
    if set(found) != set(weights):
        odd = sorted(set(found) ^ set(weights))[0]
        raise CheckpointError(
            prefix, f"does not fit model.json: only one of the two has {odd!r}. Restore the folder whole."
        )
    check_shapes(prefix, found, {name: tuple(variable.shape) for name, variable in weights.items()})
    for name, variable in weights.items():
        variable.assign(found[name])


def load_weights(prefix: str, model: keras.Model) -> None:
    """Put the weights of checkpoint `prefix` into the model.

    Raises:
      CheckpointError: the checkpoint is damaged or does not fit model.json.
    """
    assign_weights(prefix, model, read_weights(prefix))
