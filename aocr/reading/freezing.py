"""Compiled functions as one graph that needs no variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Part(NamedTuple):
    """A function of the graph.

    Attributes:
      function: concrete, as `tf.function.get_concrete_function` gives it.
      inputs, outputs: names of the nodes at its ends, in its own order.
    """

    function: Any
    inputs: Sequence[str]
    outputs: Sequence[str]


def freeze(parts: dict[str, Part]) -> tf.Graph:
    """A graph of the functions, each under its key as a scope, its weights as constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = {scope: convert_variables_to_constants_v2(part.function) for scope, part in parts.items()}
    with tf.Graph().as_default() as graph:
        for scope, function in frozen.items():
            inputs = {
                tensor.name: tf.compat.v1.placeholder(tensor.dtype, tensor.shape, name)
                for tensor, name in zip(function.inputs, parts[scope].inputs, strict=True)
            }
            ends = [tensor.name for tensor in function.outputs]
            outputs = tf.graph_util.import_graph_def(function.graph.as_graph_def(), inputs, ends, name=scope)
            for output, name in zip(outputs, parts[scope].outputs, strict=True):
                tf.identity(output, name)
    return graph
