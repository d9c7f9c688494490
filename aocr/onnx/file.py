"""A model as one ONNX file that holds all that a reader needs."""

from __future__ import annotations

import json

from aocr import __version__
from aocr.config import ModelConfig
from aocr.onnx.decoder import Decoder
from aocr.onnx.graph import BOOL, FLOAT, INT32, Graph
from aocr.onnx.network import Weights, encode

FORMAT = 1
"""To be counted up when the graph's ends or the metadata change."""

MEMORY = {
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
