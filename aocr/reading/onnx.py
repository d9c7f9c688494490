"""Reading with ONNX Runtime, without TensorFlow: an export, or the weights of a model that was passed on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aocr import files
from aocr.config import ModelConfig, ReadConfig
from aocr.data import pixels
from aocr.data.images import canonical_image
from aocr.errors import AocrError, CheckpointError, ConfigError
from aocr.folder.compact import read_compact
from aocr.folder.model_folder import Chosen
from aocr.onnx.file import read_settings, write_graph
from aocr.reading.reader import Pixels, Reader
from aocr.results import Reading

MOST_BYTES = 2**29
"""Bytes that a file may have; the default network takes 6.5 million, the classic one 40."""

_OUTPUTS = ["ids", "probabilities", "attention", "confidence", "log_probs"]


class OnnxReader(Reader):
    """Reads with a graph that `aocr.onnx` wrote. Greedy, any text.

    Args:
      path: where it comes from, for messages.
      data: the graph.
      config: of the model.
      how: beam and constraints; only what a greedy reading of any text is.

    Raises:
      CheckpointError: ONNX Runtime cannot use the graph.
      ConfigError: a beam, a pattern or a lexicon is asked for.
      AocrError: there is no onnxruntime.
    """

    num_alternatives = 0

    def __init__(self, path: str, data: bytes, config: ModelConfig, how: ReadConfig | None = None):
        for name, asked in vars(how or ReadConfig()).items():
            if asked != getattr(ReadConfig(), name):
                reason = "reading without TensorFlow follows the likeliest symbols only, without a constraint."
                raise ConfigError(
                    f"--{name.replace('_', '-')}", asked, f"{reason} Leave it out, or read the model folder."
                )
        self.path, self.config = path, config
        self._session = _start(path, data)

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """As `Reader.transform`."""
        return Pixels(*pixels.batched([canonical_image(image).data for image in images], self.config))

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """As `Reader.read`.

        Raises:
          CheckpointError: the graph is not of the network that its settings tell.
        """
        try:
            found = self._session.run(_OUTPUTS, {"images": images, "widths": widths})
        except Exception as error:  # onnxruntime's have no common type
            raise _damaged(self.path, error) from None
        ids, probabilities, attention, confidence, log_probs = found
        if ids.size and not 0 <= ids.min() <= ids.max() < self.config.charset.vocabulary_size:
            raise CheckpointError(self.path, "gives symbols that its charset does not have. Export the model again.")
        return Reading(ids, probabilities, attention, confidence, log_probs[:, None], ids[:, None])


def _damaged(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(path, f"cannot be read with ({files.one_line(error)}). Export the model again.")


def _start(path: str, data: bytes):
    """ONNX Runtime's session of a graph."""
    try:
        import onnxruntime
    except ImportError:
        raise AocrError("This needs onnxruntime: pip install onnxruntime.") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting must not cost a core
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's have no common type
        raise _damaged(path, error) from None


def open_graph(path: str, how: ReadConfig | None = None) -> OnnxReader:
    """The reader of an export.

    Raises:
      CheckpointError: there is no such file, or it is not an export of aocr.
      ConfigError, AocrError: as `OnnxReader`.
    """
    try:
        if files.size(path) > MOST_BYTES:
            raise CheckpointError(path, f"has more than {MOST_BYTES >> 20} MiB. It is not an export of aocr.")
        data = files.read(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({files.one_line(error)}).") from None
    try:
        config, _ = read_settings(data)
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(path, f"is not an ONNX export of aocr: {files.one_line(error)}.") from None
    except AocrError as error:
        raise CheckpointError(path, str(error)) from None
    return OnnxReader(path, data, config, how)


def open_weights(chosen: Chosen, config: ModelConfig, how: ReadConfig | None = None) -> OnnxReader:
    """The reader of a model that was passed on, of its `weights.npz`.

    Raises:
      CheckpointError: the weights are damaged, or not of this network.
      ConfigError, AocrError: as `OnnxReader`.
    """
    weights = read_compact(chosen.prefix)
    try:
        data = write_graph(weights, config, chosen.temperature)
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(chosen.prefix, f"does not fit model.json ({files.one_line(error)}).") from None
    return OnnxReader(chosen.prefix, data, config, how)
