"""A network's variables by name, and weights put into them."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from aocr.errors import CheckpointError
from aocr.folder.shapes import check_shapes
from aocr.folder.weights import read_weights


def weights_of(model: keras.Model) -> dict[str, tf.Variable]:
    """The model's variables by name; random number states are left out, they follow from the step."""
    return {v.path.split("/", 1)[1]: v.value for v in model.variables if not v.path.endswith("seed_generator_state")}


def assign_all(prefix: str, variables: Mapping[str, tf.Variable], found: dict[str, np.ndarray]) -> None:
    """Give variables their values; each must be there with its shape, and nothing else.

    Args:
      prefix: where the values come from, for messages.
      variables: to fill, by name.
      found: values by name.

    Raises:
      CheckpointError: they do not fit.
    """
    if set(found) != set(variables):
        odd = sorted(set(found) ^ set(variables))[0]
        raise CheckpointError(
            prefix, f"does not fit model.json: only one of the two has {odd!r}. Restore the folder whole."
        )
    check_shapes(prefix, found, {name: tuple(variable.shape) for name, variable in variables.items()})
    for name, variable in variables.items():
        if found[name].dtype != variable.dtype.as_numpy_dtype:
            raise CheckpointError(prefix, f"is damaged ({name!r} is of another type).")
        variable.assign(found[name])


def assign_weights(prefix: str, model: keras.Model, found: dict[str, np.ndarray]) -> None:
    """Put weights into the model, as `assign_all`."""
    assign_all(prefix, weights_of(model), found)


def load_weights(prefix: str, model: keras.Model) -> None:
    """Put the weights of checkpoint `prefix` into the model.

    Raises:
      CheckpointError: the checkpoint is damaged or does not fit model.json.
    """
    assign_weights(prefix, model, read_weights(prefix))
