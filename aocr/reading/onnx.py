"""Reading with ONNX Runtime, without TensorFlow: an export, or a model folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from aocr import files, machine
from aocr.config import ModelConfig, ReadConfig
from aocr.data import pixels
from aocr.data.images import canonical_image
from aocr.errors import AocrError, CheckpointError, ConfigError
from aocr.folder.model_folder import Chosen
from aocr.folder.shapes import check_shapes, key_shapes
from aocr.folder.weights import read_weights
from aocr.onnx.file import read_settings, write_graph
from aocr.reading.constraints import make_constraints
from aocr.reading.onnx_search import OnnxSearch, Run
from aocr.reading.reader import Pixels, Reader
from aocr.results import Reading

MAX_BYTES = 2**29
"""Bytes that a file may have; the default network takes 6.5 million, the classic one 40."""

_OUTPUTS = ["ids", "probabilities", "attention", "confidence", "log_probs"]


class OnnxReader(Reader):
    """Reads with a graph that `aocr.onnx` wrote.

    Args:
      path: where it comes from, for messages.
      data: the graph.
      config: of the model.
      temperature: of the confidence.
      how: beam and constraints.
      start: gives what runs a graph; None: sessions of its own. `with_config` hands it on, so that they are shared.

    Raises:
      CheckpointError: ONNX Runtime cannot use the graph.
      ConfigError: a pattern or lexicon cannot be used with this model.
      AocrError: there is no onnxruntime.
    """

    def __init__(
        self,
        path: str,
        data: bytes,
        config: ModelConfig,
        temperature: float,
        how: ReadConfig | None = None,
        start: Callable[[bytes], Run] | None = None,
    ):
        how = how or ReadConfig()
        self.path, self.config, self.num_alternatives = path, config, how.alternatives
        self._data, self._temperature = data, temperature
        constraints = make_constraints(how, config.charset, config.max_steps)
        # nothing of a session holds the reader: its memory is free once it is dropped
        self._start = start or lru_cache(None)(partial(_start, path))
        self._read: Callable[[np.ndarray, np.ndarray], Reading]
        if how.width == 1 and not constraints:
            self._read = partial(_read_greedily, self._start(data))
            return
        try:
            self._read = OnnxSearch(data, self._start, config, how.width, constraints, temperature)
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(path, error) from None

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """As `Reader.transform`."""
        try:
            return Pixels(*pixels.batched(images, self.config))
        except Exception:  # a damaged image, where nobody looked before; Pillow has errors of many kinds
            return Pixels(*pixels.batched([canonical_image(image).data for image in images], self.config))

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """As `Reader.read`.

        Raises:
          CheckpointError: the graph is not of the network that its settings tell.
        """
        reading = self._read(images, widths)
        if not _is_of(reading, len(images), self.config.max_steps):
            raise CheckpointError(self.path, "gives arrays of sizes that cannot be. Export the model again.")
        if reading.ids.size and not 0 <= reading.ids.min() <= reading.ids.max() < self.config.charset.vocabulary_size:
            raise CheckpointError(self.path, "gives symbols that its charset does not have. Export the model again.")
        if not np.isfinite(reading.confidence).all():
            raise CheckpointError(self.path, "gives confidences that are no numbers. Export the model again.")
        return reading

    def with_config(self, how: ReadConfig) -> OnnxReader:
        """As `Reader.otherwise`."""
        return OnnxReader(self.path, self._data, self.config, self._temperature, how, self._start)


def _is_of(reading: Reading, count: int, most_steps: int) -> bool:
    """Whether arrays are those of a reading of `count` images."""
    ids, attention, log_probs = reading.ids, reading.attention, reading.log_probs
    return (
        ids.ndim == 2
        and ids.dtype.kind == "i"
        and ids.shape[0] == count
        and ids.shape[1] <= most_steps
        and reading.probabilities.shape == ids.shape
        and attention.ndim == 3
        and attention.shape[:2] == ids.shape
        and attention.shape[2] > 0
        and reading.confidence.shape == (count,)
        and log_probs.ndim == 3
        and log_probs.shape[0] == count
        and log_probs.size > 0
        and all(part.dtype.kind == "f" for part in (reading.probabilities, attention, reading.confidence, log_probs))
    )


def _read_greedily(run: Run, images: np.ndarray, widths: np.ndarray) -> Reading:
    found = run(_OUTPUTS, {"images": images, "widths": widths})
    ids, probabilities, attention, confidence, log_probs = found
    of_beams = (np.atleast_1d(part)[..., None, :] for part in (log_probs, ids))  # a foreign graph may give anything
    return Reading(ids, probabilities, attention, confidence, *of_beams)


def _start(path: str, data: bytes) -> Run:
    """The function of a graph.

    Args:
      path: where it comes from, for messages.
      data: the graph.
    """
    try:
        onnxruntime = machine.start_onnxruntime()
    except ImportError:
        raise AocrError("This needs onnxruntime: pip install onnxruntime.") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")  # else by bytes that may say another
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting must not cost a core

    def guarded(call: Callable, *args: Any) -> Any:
        try:
            return call(*args)
        except Exception as error:  # onnxruntime's have no common type
            raise _damaged(path, error) from None

    session = guarded(lambda: onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]))
    return lambda outputs, inputs: guarded(session.run, outputs, inputs)


def _damaged(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(path, f"cannot be read with ({files.one_line(error)}). Export the model again.")


def open_graph(path: str, how: ReadConfig | None = None) -> OnnxReader:
    """The reader of an export.

    Raises:
      CheckpointError: there is no such file, or it is not an export of aocr.
      ConfigError, AocrError: as `OnnxReader`.
    """
    try:
        data = files.read_plain(path, MAX_BYTES)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({files.one_line(error)}).") from None
    try:
        config, temperature = read_settings(data)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(path, f"is not an ONNX export of aocr: {files.one_line(error)}.") from None
    except AocrError as error:
        raise CheckpointError(path, str(error)) from None
    return OnnxReader(path, data, config, temperature, how)


def open_checkpoint(chosen: Chosen, config: ModelConfig, how: ReadConfig | None = None) -> OnnxReader:
    """The reader of a model folder's checkpoint.

    Raises:
      CheckpointError: the weights are damaged, or not of this network.
      ConfigError, AocrError: as `OnnxReader`.
    """
    weights = read_weights(chosen.prefix)
    check_shapes(chosen.prefix, weights, key_shapes(config))
    try:
        data = write_graph(weights, config, chosen.temperature)
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(chosen.prefix, f"does not fit model.json ({files.one_line(error)}).") from None
    return OnnxReader(chosen.prefix, data, config, chosen.temperature, how)
