"""A model as one ONNX file that holds everything a reader needs, and the graph of a single decoder step."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from aocr import __version__
from aocr.config import ModelConfig
from aocr.errors import AocrError
from aocr.onnx.decoder import Decoder, State
from aocr.onnx.graph import BOOL, FLOAT, INT32, INT64, Graph
from aocr.onnx.network import Memory, Weights, encode
from aocr.protobuf import fields

FORMAT = 2
"""Increase it when the graph's inputs, outputs or metadata change."""

MEMORY: dict[str, tuple] = {
    "values": (FLOAT, "columns", "values"),
    "keys": (FLOAT, "columns", "keys"),
    "mask": (BOOL, "columns"),
    "counts": (FLOAT, "columns"),
    "state": (FLOAT, "state"),
    "ctc": (FLOAT, "columns", "symbols"),
}
"""Element type of each part of the memory, and its dimensions after the batch."""

EXTERNAL_DATA = b"\x0a\x08location"
"""Bytes that mark a tensor whose data is in another file: the key of the entry that names the file."""
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _NAME, _RAW_DATA = 1, 8, 9


def memory_parts(config: ModelConfig) -> list[str]:
    """List the names of the parts of a network's memory."""
    traits = config.traits
    guided = ["mask", "counts"] if traits.ctc else []
    state = ["state"] if traits.starts_from_encoder else []
    return ["values", "keys", *guided, *state, *(["ctc"] if config.ctc_weight else [])]


def write_graph(weights: Weights, config: ModelConfig, temperature: float) -> bytes:
    """Encode a network as an ONNX file.

    Inputs: `images` (B, H, W, C) float32 as `aocr.data.preprocess` makes them, `widths` (B,) int32. Outputs, with T
    steps and S columns: `ids` (B, T) int32, `probabilities` (B, T), `attention` (B, T, S), `confidence` (B,),
    `log_probs` (B, 2), the log-probability of the text without and with the temperature, and the parts of the memory.
    """
    g = Graph()
    width = config.network_width if config.traits.fixed_width else "width"
    images = g.input("images", FLOAT, ("batch", config.height, width, config.channels))
    widths = g.input("widths", INT32, ("batch",))
    memory = encode(g, weights, config, images, widths)
    ids, probabilities, attention, log_probs = Decoder(weights, config).read(g, memory, (1.0, temperature))
    g.output(g.Cast(g.Transpose(ids, perm=[1, 0]), to=INT32), "ids", INT32, ("batch", "steps"))
    g.output(g.Transpose(probabilities, perm=[1, 0]), "probabilities", FLOAT, ("batch", "steps"))
    g.output(g.Transpose(attention, perm=[1, 0, 2]), "attention", FLOAT, ("batch", "steps", "columns"))
    g.output(g.Exp(g.Gather(log_probs, 1, axis=1)), "confidence", FLOAT, ("batch",))
    g.output(log_probs, "log_probs", FLOAT, ("batch", 2))
    for name in memory_parts(config):
        kind, *sizes = MEMORY[name]
        g.output(getattr(memory, name), name, kind, ("batch", *sizes))
    settings = json.dumps(config.to_dict(), ensure_ascii=False)
    metadata = {"format": str(FORMAT), "model": settings, "temperature": repr(float(temperature))}
    return g.model("aocr", __version__, metadata)


def write_step(weights: Weights, config: ModelConfig) -> bytes:
    """Encode one decoder step as an ONNX file, for beam search.

    Inputs, for R texts and S columns: `token` (R,) int64, the state before the step, and the memory without its
    `state` and `ctc`, one row per text. Outputs: `logits` (R, V), `attention` (R, S), and the state after the step,
    its names with the prefix `new_`.
    """
    g = Graph()
    token = g.input("token", INT64, ("rows",))
    state_shapes: dict[str, tuple[int | str, ...]]
    state_shapes = {"flat": ("rows", config.state_size), "context": ("rows", "values"), "position": ("rows",)}
    state = State(**{name: g.input(name, FLOAT, shape) for name, shape in state_shapes.items()})
    memory = {}
    for name in memory_parts(config):
        if name not in ("state", "ctc"):
            kind, *sizes = MEMORY[name]
            memory[name] = g.input(name, kind, ("rows", *sizes))
    logits, attention, new_state = Decoder(weights, config).step(g, token, state, Memory(**memory))
    g.output(logits, "logits", FLOAT, ("rows", config.charset.vocabulary_size))
    g.output(attention, "attention", FLOAT, ("rows", "columns"))
    for name, shape in state_shapes.items():
        g.output(getattr(new_state, name), f"new_{name}", FLOAT, shape)
    return g.model("aocr", __version__, {})


def read_metadata(metadata: Mapping[str, str]) -> tuple[ModelConfig, float]:
    """Read the settings and the temperature from a file's metadata.

    Raises:
      ValueError: there are no settings.
      ConfigError: the settings are not those of a model.
      AocrError: a newer aocr wrote the file.
    """
    if not metadata.get("format", "").isdecimal():
        raise ValueError("it has no settings of aocr")
    if int(metadata["format"]) > FORMAT:
        raise AocrError("was written by a newer aocr. Upgrade aocr.")
    return ModelConfig.from_dict(json.loads(metadata["model"])), float(metadata["temperature"])


def decoder_weights(data: bytes) -> Weights:
    """Read the decoder's weights from a file, by name."""
    weights = {}
    for number, graph in fields(data):
        for part, tensor in fields(graph) if number == _GRAPH else ():
            if part == _INITIALIZER:
                dims = [value for key, value in fields(tensor) if key == _DIMS]
                values = dict(fields(tensor))
                name = bytes(values[_NAME]).decode()
                if name.startswith("decoder/"):
                    weights[name] = np.frombuffer(values[_RAW_DATA], np.float32).reshape(dims)
    return weights
