"""Read with ONNX Runtime, without TensorFlow: an ONNX export or a model folder."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from aocr import files, machine
from aocr.config import ReadConfig
from aocr.data import pixels
from aocr.data.images import canonical_image
from aocr.errors import AocrError, CheckpointError
from aocr.folder.model_folder import MODEL, WEIGHTS, ModelFolder
from aocr.onnx.decoder import State
from aocr.onnx.file import EXTERNAL_DATA, decoder_weights, memory_parts, read_metadata, write_graph, write_step
from aocr.onnx.network import Memory
from aocr.reading import arrays
from aocr.reading.constraints import make_constraints
from aocr.reading.reader import Pixels, Reader
from aocr.results import Reading
from aocr.text.charset import GO
from aocr.text.ctc import column_log_probs
from aocr.text.search import search

_OUTPUTS = ["ids", "probabilities", "attention", "confidence", "log_probs"]
_Result = TypeVar("_Result")
_sessions: weakref.WeakSet = weakref.WeakSet()


def _keep_sessions() -> None:
    """Keep sessions for ever: in a fork the end of one would wait for its threads, which are not there."""
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_sessions)


class OnnxGraph:
    """A network ready to run, made from the `data` of an ONNX file; messages name its `path`.

    It is also a decoder for `aocr.text.search`, and runs ONNX Runtime once per step.

    Raises:
      CheckpointError: it is not an ONNX file of aocr, or it is damaged.
      AocrError: onnxruntime is not installed.
    """

    def __init__(self, path: str, data: bytes):
        self.path, self._data = path, data
        if EXTERNAL_DATA in data:
            raise CheckpointError(path, "its weights are in another file. Export the model again.")
        self._session = self._start_session(data)
        try:
            self.config, self.temperature = read_metadata(self._session.get_modelmeta().custom_metadata_map)
        except (AocrError, ValueError, TypeError) as error:
            raise CheckpointError(path, f"is not an ONNX export of aocr: {files.one_line(error)}") from None

    def _guarded(self, call: Callable[[], _Result]) -> _Result:
        """Call a function of ONNX Runtime; turn its errors, which have no common type, into a CheckpointError."""
        try:
            return call()
        except Exception as error:
            reason = f"ONNX Runtime cannot read it ({files.one_line(error)}). Export the model again."
            raise CheckpointError(self.path, reason) from None

    def _start_session(self, data: bytes) -> Any:
        try:
            onnxruntime = machine.start_onnxruntime()
        except ImportError:
            raise AocrError("Reading without TensorFlow needs onnxruntime: pip install onnxruntime.") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # do not keep a core busy waiting
        providers = ["CPUExecutionProvider"]
        session = self._guarded(lambda: onnxruntime.InferenceSession(data, options, providers=providers))
        _sessions.add(session)
        return session

    @cached_property
    def _step_session(self) -> Any:
        return self._start_session(self._guarded(lambda: write_step(decoder_weights(self._data), self.config)))

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """Read a batch greedily."""
        inputs = {"images": images, "widths": widths}
        outputs = self._guarded(lambda: self._session.run(_OUTPUTS, inputs))
        ids, probabilities, attention, confidence, log_probs = outputs
        return Reading(ids, probabilities, attention, confidence, log_probs[:, None], ids[:, None])

    def encode(self, images: np.ndarray, widths: np.ndarray) -> Memory:
        """Compute the decoder's memory of a batch."""
        parts = memory_parts(self.config)
        options = machine.start_onnxruntime().RunOptions()
        options.only_execute_path_to_fetches = True  # skip greedy reading
        outputs = self._guarded(lambda: self._session.run(parts, {"images": images, "widths": widths}, options))
        return Memory(**dict(zip(parts, outputs, strict=True)))

    def initial_state(self, memory: Memory) -> tuple:
        """See `aocr.model.decoder.Decoder.initial_state`."""
        count, _, width = memory.values.shape
        flat = np.zeros((count, self.config.state_size), np.float32) if memory.state is None else memory.state
        return flat, np.zeros((count, width), np.float32), np.zeros(count, np.float32)

    def step(self, token: np.ndarray, state: tuple, memory: Memory) -> tuple:
        """See `aocr.model.decoder.Decoder.step`."""
        inputs = {name: part for name, part in memory._asdict().items() if part is not None and name != "state"}
        inputs.update(zip(State._fields, state, strict=True), token=token.astype(np.int64))
        outputs = ["logits", "attention", *(f"new_{name}" for name in State._fields)]
        session = self._step_session
        logits, attention, *new_state = self._guarded(lambda: session.run(outputs, inputs))
        return logits, attention, tuple(new_state)

    def overrun(self, state: tuple, memory: Memory) -> np.ndarray:
        """See `aocr.model.decoder.Decoder.overrun`."""
        position = state[-1]
        return np.zeros_like(position) if memory.counts is None else position - memory.counts.max(axis=1)

    def go_tokens(self, memory: Memory) -> np.ndarray:
        """See `aocr.model.decoder.Decoder.go_tokens`."""
        return np.full(len(memory.values), GO, np.int32)


class OnnxReader(Reader):
    """Reads with an ONNX graph; by default greedily and without constraints.

    Raises:
      ConfigError: a pattern or lexicon cannot be used with this model.
    """

    def __init__(self, graph: OnnxGraph, read_config: ReadConfig | None = None):
        read_config = read_config or ReadConfig()
        self.graph, self.config, self.temperature = graph, graph.config, graph.temperature
        self.num_alternatives = read_config.alternatives
        self._beam = read_config.width
        constraints = make_constraints(read_config, self.config.charset, self.config.max_steps)
        self._constraints, self.symbol_filter = constraints

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """See `Reader.transform`."""
        try:
            return Pixels(*pixels.batched(images, self.config))
        except Exception:  # a damaged image; Pillow's errors have no common type
            return Pixels(*pixels.batched([canonical_image(image).data for image in images], self.config))

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """See `Reader.read`."""
        if self._beam == 1 and not self._constraints:
            return self.graph.read(images, widths)
        memory, log_probs = self.graph.encode(images, widths), None
        if memory.ctc is not None:
            log_probs = column_log_probs(arrays, memory.ctc, memory.mask, self.config.charset.right_to_left)
        return search(
            arrays,
            arrays.collect_steps,
            self.graph,
            memory._replace(ctc=None),
            self.config.max_steps,
            temperatures=(1.0, self.temperature),
            beam=self._beam,
            constraints=self._constraints,
            free_symbols=self.config.traits.free_symbols,
            ctc_log_probs=log_probs,
            ctc_weight=self.config.ctc_weight,
        )

    def with_config(self, read_config: ReadConfig) -> OnnxReader:
        """See `Reader.with_config`."""
        return OnnxReader(self.graph, read_config)


def open_export(path: str) -> OnnxGraph:
    """Open an ONNX export.

    Raises:
      CheckpointError: there is no such file, or it is not an export of aocr.
      AocrError: onnxruntime is not installed.
    """
    try:
        data = files.read(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({files.one_line(error)}).") from None
    return OnnxGraph(path, data)


def open_weights(folder: ModelFolder) -> OnnxGraph:
    """Build the graph of a model folder.

    Raises:
      CheckpointError: the folder is empty, or its files are damaged.
      AocrError: onnxruntime is not installed.
    """
    weights = folder.read_weights()
    try:
        data = write_graph(weights, folder.read_config(), folder.weights_info().temperature)
    except (KeyError, ValueError, IndexError) as error:
        reason = f"{WEIGHTS} does not match {MODEL} ({files.one_line(error)}). Restore the folder from a backup."
        raise CheckpointError(folder.path, reason) from None
    return OnnxGraph(folder.path, data)
