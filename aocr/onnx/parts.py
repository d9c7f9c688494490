"""What a search needs out of a file: the graph that ends with the memory, and the graph of one step."""

from __future__ import annotations

import numpy as np

from aocr import __version__
from aocr.config import ModelConfig
from aocr.onnx.decoder import Decoder
from aocr.onnx.file import MEMORY
from aocr.onnx.graph import FLOAT, INT64, Graph
from aocr.onnx.network import Memory, Weights
from aocr.protobuf import field, fields

STATE = ("flat", "context", "place")
"""The decoder's state, in order."""
_GRAPH, _NODE, _INITIALIZER, _OUTPUT = 7, 1, 5, 12
_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_}


def memory_parts(config: ModelConfig) -> list[str]:
    """Which parts of the memory a network has."""
    traits = config.traits
    guided = ["mask", "counts"] if traits.ctc else []
    return ["values", "keys", *guided, *(["state"] if traits.starts_from_encoder else [])]


def _names(node: memoryview) -> tuple[list[str], list[str]]:
    """Names of a node's inputs and outputs."""
    found: dict[int, list[str]] = {1: [], 2: []}
    for number, value in fields(node):
        if number in found:
            found[number].append(str(value, "utf-8"))
    return found[1], found[2]


def _name(message: memoryview, number: int) -> str:
    return next((str(value, "utf-8") for part, value in fields(message) if part == number), "")


def cut(data: bytes, outputs: list[str]) -> bytes:
    """A file whose graph gives these of its outputs alone, without the nodes that they do not need.

    Raises:
      ValueError: the file is damaged.
    """
    return b"".join(field(n, _cut_graph(value, outputs) if n == _GRAPH else value) for n, value in fields(data))


def _cut_graph(graph: memoryview, outputs: list[str]) -> bytes:
    needed, kept = set(outputs), []
    for number, value in reversed(list(fields(graph))):  # a node stands after those that it needs
        if number == _NODE:
            inputs, made = _names(value)
            if needed.isdisjoint(made):
                continue
            needed.update(inputs)
        elif number == _OUTPUT and _name(value, 1) not in outputs:
            continue
        kept.append((number, value))
    kept = [(n, value) for n, value in kept if n != _INITIALIZER or _name(value, 8) in needed]
    return b"".join(field(number, value) for number, value in reversed(kept))


def decoder_weights(data: bytes) -> Weights:
    """The decoder's weights out of a file.

    Raises:
      ValueError: the file is damaged.
    """
    graph = next((value for number, value in fields(data) if number == _GRAPH), b"")
    tensors = (value for number, value in fields(graph) if number == _INITIALIZER)
    return {name: _array(tensor) for tensor in tensors if (name := _name(tensor, 8)).startswith("decoder/")}


def _array(tensor: memoryview) -> np.ndarray:
    found: dict[int, list] = {}
    for number, value in fields(tensor):
        found.setdefault(number, []).append(value)
    (kind,), (raw,) = found.get(2, [1]), found.get(9, [b""])
    return np.frombuffer(raw, _DTYPES[kind]).reshape(found.get(1, ()))


def write_step(weights: Weights, config: ModelConfig) -> bytes:
    """The graph of a step of the decoder.

    Inputs, for R texts under way and S columns: `token` (R,) int64, the state before the step (`STATE`), and the
    memory without its `state`, a row a text. Outputs: `logits` (R, V), `attention` (R, S), and the state after it,
    `new_` before its names.
    """
    g = Graph()
    decoder = Decoder(weights, config)
    token = g.input("token", INT64, ("rows",))
    state = (
        g.input("flat", FLOAT, ("rows", config.state_size)),
        g.input("context", FLOAT, ("rows", "values")),
        g.input("place", FLOAT, ("rows",)),
    )
    parts = {name: g.input(name, MEMORY[name][0], ("rows", *MEMORY[name][1:]))
             for name in memory_parts(config) if name != "state"}  # fmt: skip
    logits, attention, after = decoder.step(g, token, state, Memory(**parts))
    g.output(logits, "logits", FLOAT, ("rows", config.charset.vocabulary_size))
    g.output(attention, "attention", FLOAT, ("rows", "columns"))
    shapes: tuple[tuple[int | str, ...], ...] = (("rows", config.state_size), ("rows", "values"), ("rows",))
    for name, tensor, shape in zip(STATE, after, shapes, strict=True):
        g.output(tensor, f"new_{name}", FLOAT, shape)
    return g.model("aocr", __version__, {})
