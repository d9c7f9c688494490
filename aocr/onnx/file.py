"""A model as one ONNX file that holds all that a reader needs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from aocr import __version__
from aocr.config import ModelConfig
from aocr.errors import AocrError
from aocr.onnx.decoder import Decoder
from aocr.onnx.graph import BOOL, FLOAT, INT32, INT64, Graph
from aocr.onnx.network import Weights, encode
from aocr.protobuf import fields

FORMAT = 1
"""To be counted up when the graph's ends or the metadata change."""

MEMORY: dict[str, tuple] = {
    "values": (FLOAT, "columns", "values"),
    "keys": (FLOAT, "columns", "keys"),
    "mask": (BOOL, "columns"),
    "counts": (FLOAT, "columns"),
    "state": (FLOAT, "state"),
}
"""What a search needs beside the decoder's weights: types and sizes, beside that of the batch."""


def write_graph(weights: Weights, config: ModelConfig, temperature: float) -> bytes:
    """The file of a network.

    Inputs: `images` (B, H, W, C) float32 as `aocr.data.preprocess` makes them, `widths` (B,) int32. Outputs, with T
    steps and S columns: `ids` (B, T) int32, `probabilities` (B, T), `attention` (B, T, S), `confidence` (B,), and
    `log_probs` (B, 2), ln of the text's probability without and with the temperature.

    Args:
      weights: of the network, by name.
      config: its settings.
      temperature: of the confidence.
    """
    g = Graph()
    fixed = config.traits.fixed_width
    width = config.network_width if fixed else "width"
    images = g.input("images", FLOAT, ("batch", config.height, width, config.channels))
    widths = g.input("widths", INT32, ("batch",))
    decoder = Decoder(weights, config)
    memory = encode(g, weights, config, images, widths)
    ids, probabilities, attention, log_probs = decoder.read(g, memory, (1.0, temperature))
    g.output(g.Cast(g.Transpose(ids, perm=[1, 0]), to=INT32), "ids", INT32, ("batch", "steps"))
    g.output(g.Transpose(probabilities, perm=[1, 0]), "probabilities", FLOAT, ("batch", "steps"))
    g.output(g.Transpose(attention, perm=[1, 0, 2]), "attention", FLOAT, ("batch", "steps", "columns"))
    g.output(g.Exp(g.Gather(log_probs, 1, axis=1)), "confidence", FLOAT, ("batch",))
    g.output(log_probs, "log_probs", FLOAT, ("batch", 2))
    for name, tensor in memory._asdict().items():
        if tensor:
            kind, *sizes = MEMORY[name]
            g.output(tensor, name, kind, ("batch", *sizes))
    settings = json.dumps(config.to_dict(), ensure_ascii=False)
    metadata = {"format": str(FORMAT), "model": settings, "temperature": repr(float(temperature))}
    return g.model("aocr", __version__, metadata)


MAX_SETTINGS = 2**22
"""Characters of the settings, which may take fifty times as many bytes in memory; usual ones take a thousand."""

_OPERATIONS = """
    Add ArgMax Cast Clip Concat Conv CumSum Div Equal Exp Gather GatherElements Greater Identity LSTM Less LogSoftmax
    Loop MatMul MaxPool Mul Or Pad Range ReduceMax ReduceMin ReduceSum Relu ReverseSequence Shape Sigmoid Slice Softmax
    Split Squeeze Sub Tanh Transpose Unsqueeze Where
"""
OPERATIONS = frozenset(_OPERATIONS.split())
"""Types of nodes that our graphs are made of: all that a file may hold. They compute and nothing else."""
_MODEL, _GRAPH = {1, 2, 3, 7, 8, 14}, {1, 2, 5, 11, 12}
_NODE, _TENSOR, _ATTRIBUTE = {1, 2, 3, 4, 5}, {1, 2, 8, 9}, {1, 2, 3, 4, 6, 8, 20}
"""Fields that our messages have. Functions, training, sparse tensors and those in other files are among the rest."""


def _known(message, allowed: set[int], what: str) -> Iterator[tuple]:
    for number, value in fields(message):
        if number not in allowed or (isinstance(value, float) and allowed is not _ATTRIBUTE):
            raise ValueError(f"{what} of another kind")
        yield number, value


def _bytes(value) -> bytes:
    if isinstance(value, int | float):  # bytes() would make as many zeros of it, and ONNX Runtime passes over it
        raise ValueError("a number in place of bytes")
    return bytes(value)


def _text(value) -> str:
    return _bytes(value).decode()


def _check_graph(graph, depth: int = 0) -> None:
    if depth > 1:
        raise ValueError("loops in loops")
    for number, value in _known(graph, _GRAPH, "a graph"):
        if number == 5:
            for _ in _known(value, _TENSOR, "a tensor"):
                pass
        elif number == 1:
            for part, inner in _known(value, _NODE, "a node"):
                if part == 4 and (kind := _text(inner)) not in OPERATIONS:
                    raise ValueError(f"the operation {kind[:40]!r}")
                if part == 5:
                    for place, body in _known(inner, _ATTRIBUTE, "an attribute"):
                        if place == 6:
                            _check_graph(body, depth + 1)


def _check_loops(graph, most: int) -> None:
    """Refuse a loop whose number of steps is not written in the file, or is above `most`: it might never end."""
    tensors = [dict(fields(value)) for number, value in fields(graph) if number == 5]
    numbers = {_bytes(tensor.get(8, b"")): _bytes(tensor.get(9, b"")) for tensor in tensors if tensor.get(2) == INT64}
    for number, value in fields(graph):
        parts = list(fields(value)) if number == 1 else []
        if (4, b"Loop") in parts:
            limit = numbers.get(_bytes(next((part for kind, part in parts if kind == 1), b"")), b"")
            if len(limit) != 8 or not 0 <= int.from_bytes(limit, "little", signed=True) <= most:
                raise ValueError(f"a loop that may take more than {most} steps")


def read_settings(data: bytes) -> tuple[ModelConfig, float]:
    """The settings and the temperature in a file, once it is known to compute and nothing else.

    Raises:
      ValueError: it is not of aocr, or damaged; says what of it is not.
      AocrError: a newer aocr wrote it.
    """
    metadata: dict[str, str] = {}
    graphs: list[memoryview] = []
    for number, value in _known(data, _MODEL, "a part"):
        if number == 7:
            if graphs:  # its weights would take the place of those of the first, the limit of a loop among them
                raise ValueError("two graphs")
            _check_graph(value)
            graphs.append(value)
        elif number == 14:
            pair = dict(fields(value))
            metadata[_text(pair.get(1, b""))] = _text(pair.get(2, b""))
    if not metadata.get("format", "").isdecimal():
        raise ValueError("no settings of aocr in it")
    if int(metadata["format"]) > FORMAT:
        raise AocrError("was written by a newer aocr. Upgrade aocr.")
    if len(metadata.get("model", "")) > MAX_SETTINGS:
        raise ValueError("settings that cannot be")
    try:
        settings, temperature = json.loads(metadata.get("model", "")), float(metadata.get("temperature", ""))
    except RecursionError:
        raise ValueError("settings that cannot be") from None
    if not isinstance(settings, dict) or not (math.isfinite(temperature) and temperature > 0):
        raise ValueError("settings that cannot be")
    config = ModelConfig.from_dict(settings)
    for graph in graphs:
        _check_loops(graph, config.max_steps)
    return config, temperature
