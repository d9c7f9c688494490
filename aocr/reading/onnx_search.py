"""Beam search, patterns and lexicons over ONNX graphs: the memory in one run, then a run a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aocr.config import ModelConfig
from aocr.onnx.network import Memory
from aocr.onnx.parts import STATE, cut, decoder_weights, memory_parts, write_step
from aocr.reading import arrays
from aocr.results import Reading
from aocr.text.charset import GO
from aocr.text.search import Constraint, search

Run = Callable[[Sequence[str], dict[str, np.ndarray]], list[np.ndarray]]
"""A graph under way: names of outputs, inputs by name -> outputs."""


class OnnxDecoder:
    """The decoder as `aocr.text.search` runs it.

    Args:
      run: of the graph of a step.
      config: of the model.
    """

    def __init__(self, run: Run, config: ModelConfig):
        self._run, self._config = run, config

    def initial_state(self, memory: Memory) -> tuple:
        """As `aocr.model.decoder.Decoder.initial_state`."""
        count, _, width = memory.values.shape
        flat = memory.state if memory.state is not None else np.zeros((count, self._config.state_size), np.float32)
        return flat, np.zeros((count, width), np.float32), np.zeros(count, np.float32)

    def step(self, token: np.ndarray, state: tuple, memory: Memory) -> tuple:
        """As `aocr.model.decoder.Decoder.step`."""
        fed = {name: part for name, part in memory._asdict().items() if part is not None and name != "state"}
        fed.update(zip(STATE, state, strict=True), token=token.astype(np.int64))
        logits, attention, *after = self._run(["logits", "attention", *(f"new_{name}" for name in STATE)], fed)
        return logits, attention, tuple(after)

    def overrun(self, state: tuple, memory: Memory) -> np.ndarray:
        """As `aocr.model.decoder.Decoder.overrun`."""
        place = state[-1]
        return np.zeros_like(place) if memory.counts is None else place - memory.counts.max(axis=1)

    def go_tokens(self, memory: Memory) -> np.ndarray:
        """As `aocr.model.decoder.Decoder.go_tokens`."""
        return np.full(len(memory.values), GO, np.int32)


class OnnxSearch:
    """Reads batches by a search.

    Args:
      data: a file of `aocr.onnx`.
      start: a graph -> what runs it.
      config: of the model.
      beam: K.
      constraints: what texts must follow.
      temperature: of the confidence.

    Raises:
      ValueError: the file is damaged.
    """

    def __init__(
        self,
        data: bytes,
        start: Callable[[bytes], Run],
        config: ModelConfig,
        beam: int,
        constraints: Sequence[Constraint],
        temperature: float,
    ):
        self._parts = memory_parts(config)
        self._encode = start(cut(data, self._parts))
        self._decoder = OnnxDecoder(start(write_step(decoder_weights(data), config)), config)
        self._config, self._beam, self._constraints, self._temperatures = config, beam, constraints, (1.0, temperature)

    def __call__(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """As `Reader.read`."""
        found = self._encode(self._parts, {"images": images, "widths": widths})
        return search(
            arrays,
            arrays.collect_steps,
            self._decoder,
            Memory(**dict(zip(self._parts, found, strict=True))),
            self._config.max_steps,
            temperatures=self._temperatures,
            beam=self._beam,
            constraints=self._constraints,
            free_symbols=self._config.traits.free_symbols,
        )
