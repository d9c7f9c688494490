"""Reading checkpoints of aocr 0.7.6: names, shapes and gate orders turned into ours."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from aocr import files
from aocr.config import ModelConfig
from aocr.errors import CheckpointError, ConfigError
from aocr.folder.bundle import Bundle
from aocr.folder.checkpoints import check_free, write_weights
from aocr.folder.compact import as_float32
from aocr.folder.model_folder import MAX_POINTER_BYTES, ModelFolder
from aocr.folder.pointers import named
from aocr.folder.typed import check_typed
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import NUM_SPECIALS, Charset

_DECODER = "embedding_attention_decoder/attention_decoder"
_CELL = f"{_DECODER}/multi_rnn_cell/cell_0"
MAX_STEPS = 2**40
"""More than any training takes; they stand in the names of files."""


def _lstm(kernel: np.ndarray, bias: np.ndarray, inputs: int) -> dict[str, np.ndarray]:
    """BasicLSTMCell's [input, state] x [i j f o] -> Keras's input and state kernels x [i f c o]."""

    def reorder(array):
        i, j, f, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, f, j, o], axis=-1)

    kernel = reorder(kernel)
    return {"kernel": kernel[:inputs], "recurrent_kernel": kernel[inputs:], "bias": reorder(bias)}


def _gru(gates: tuple, candidate: tuple, inputs: int) -> dict[str, np.ndarray]:
    """GRUCell's gates [r u] and candidate -> Keras's kernels x [z r h]."""
    (gate_kernel, gate_bias), (kernel, bias) = gates, candidate

    def join(gate, rest):
        r, u = np.split(gate, 2, axis=-1)
        return np.concatenate([u, r, rest], axis=-1)

    joined = join(gate_kernel, kernel)
    return {"kernel": joined[:inputs], "recurrent_kernel": joined[inputs:], "bias": join(gate_bias, bias)}


def _newest(folder: str) -> str:
    """The checkpoint that a folder's file `checkpoint` names; wherever that says it lay, it lies in the folder now."""
    names = named(files.read_plain(os.path.join(folder, "checkpoint"), MAX_POINTER_BYTES))
    if not names:
        raise ValueError("the file names none")
    return os.path.join(folder, re.split(r"[/\\]", names[0])[-1])


class OldCheckpoint:
    """Variables of a checkpoint of aocr 0.7.6 under their TensorFlow 1 names, whichever program wrote it."""

    def __init__(self, path: str):
        try:
            self._bundle = Bundle(_newest(path) if files.is_folder(path) else path)
        except (OSError, ValueError):
            reason = "holds no complete checkpoint of aocr 0.7.6: the files model.ckpt-N.* are missing or damaged"
            raise CheckpointError(path, f"{reason}. Copy the whole folder.") from None
        self.path = path
        self.shapes = self._bundle.shapes

    def _find(self, name: str) -> str:
        port = name.replace("/BatchNorm/", "/batch_normalization/")
        if name.startswith(_DECODER) and not name.startswith(_CELL):
            port = port.replace("/kernel", "/weights").replace("/bias", "/biases")
        for spelling in (name, port):
            if spelling in self.shapes:
                return spelling
        raise CheckpointError(self.path, f"not a checkpoint of aocr 0.7.6: it has no variable {name!r}.")

    def has(self, name: str) -> bool:
        """Whether there is such a variable, by its released name."""
        return name in self.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape."""
        return self.shapes[self._find(name)]

    def _value(self, name: str) -> np.ndarray:
        (value,) = self._bundle.read([name]).values()
        return value

    def get(self, name: str) -> np.ndarray:
        """Its value, all of it numbers."""
        try:
            return as_float32(name, self._value(self._find(name)))
        except (OSError, ValueError):
            raise CheckpointError(self.path, f"is damaged: {name!r} cannot be read. Copy the whole folder.") from None

    def steps(self) -> int:
        """Number of steps that it was trained for; 0 where that is not told."""
        if self.shapes.get("Variable") != ():
            return 0
        try:
            value = self._value("Variable")
            if not value < MAX_STEPS:  # NaN too
                raise ValueError("a number of steps that cannot be")
            return max(0, int(value))
        except (OSError, ValueError):
            raise CheckpointError(self.path, "is damaged: 'Variable' cannot be read. Copy the whole folder.") from None

    def pair(self, prefix: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias under `prefix`."""
        return self.get(f"{prefix}/kernel"), self.get(f"{prefix}/bias")


def read_config(checkpoint: OldCheckpoint, charset: Charset, typed: dict[str, Any]) -> ModelConfig:
    """The settings that the variables' shapes reveal, with `charset` and `typed` for what they cannot.

    Args:
      checkpoint: to read shapes from.
      charset: the symbols in the order of their ids.
      typed: max_width, max_height, max_prediction, and settings to check against the checkpoint.

    Raises:
      CheckpointError: it is another program's.
      ConfigError: the charset has not as many symbols as the checkpoint, or a typed setting contradicts it.
    """
    vocabulary, embedding = checkpoint.shape("embedding_attention_decoder/embedding")
    if vocabulary != charset.vocabulary_size:
        raise ConfigError(
            "--charset",
            charset.symbols,
            f"it has {len(charset)} symbols, but the checkpoint reads {vocabulary - NUM_SPECIALS}. "
            "Give the charset it was trained with (--full-ascii has 95 symbols).",
        )
    hidden = checkpoint.shape(f"{_DECODER}/kernel")[1]
    shown = {
        "arch": "classic",
        "channels": checkpoint.shape("conv_conv1/W")[2],
        "attn_num_hidden": hidden,
        "attn_num_layers": checkpoint.shape("bidirectional_rnn/fw/basic_lstm_cell/bias")[0] // (4 * hidden),
        "target_embedding_size": embedding,
        "use_gru": checkpoint.has(f"{_CELL}/gru_cell/gates/kernel"),
    }
    config = ModelConfig(charset, **{**typed, **shown})
    check_typed(checkpoint.path, config, typed)
    return config


def read_variables(checkpoint: OldCheckpoint, config: ModelConfig) -> dict[str, np.ndarray]:
    """All weights under our names (`Variable.path` without the model's name), float32."""
    found: dict[str, np.ndarray] = {}
    for i in range(1, 8):
        found[f"cnn/conv{i}/kernel"] = checkpoint.get(f"conv_conv{i}/W")
    for i in (3, 5, 7):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            found[f"cnn/norm{i}/{part}"] = checkpoint.get(f"conv_conv{i}/BatchNorm/{part}")
    parts = {}
    for old, new in (("fw", "forward"), ("bw", "backward")):
        kernel, bias = checkpoint.pair(f"bidirectional_rnn/{old}/basic_lstm_cell")
        parts[f"encoder/lstm/{new}_lstm/lstm_cell"] = _lstm(kernel, bias, kernel.shape[0] - bias.shape[0] // 4)
    hidden = config.attn_num_hidden
    if config.use_gru:
        gates, candidate = (checkpoint.pair(f"{_CELL}/gru_cell/{part}") for part in ("gates", "candidate"))
        parts["decoder/cell0"] = _gru(gates, candidate, hidden)
    else:
        parts["decoder/cell0"] = _lstm(*checkpoint.pair(f"{_CELL}/basic_lstm_cell"), hidden)
    for old, new in (
        (_DECODER, "input_projection"),
        (f"{_DECODER}/Attention_0", "attention/query"),
        (f"{_DECODER}/AttnOutputProjection", "output_projection"),
    ):
        kernel, bias = checkpoint.pair(old)
        parts[f"decoder/{new}"] = {"kernel": kernel, "bias": bias}
    for prefix, arrays in parts.items():
        found.update({f"{prefix}/{name}": array for name, array in arrays.items()})
    found["decoder/embedding/embeddings"] = checkpoint.get("embedding_attention_decoder/embedding")
    found["key/kernel"] = checkpoint.get(f"{_DECODER}/AttnW_0")[0, 0]
    found["decoder/attention/v"] = checkpoint.get(f"{_DECODER}/AttnV_0")[:, None]
    return found


def import_checkpoint(path: str, model_dir: str, charset: Charset, typed: dict[str, Any]) -> tuple[ModelConfig, int]:
    """Write a model folder from a checkpoint of aocr 0.7.6.

    Args:
      path: folder with a checkpoint, or a checkpoint's path without ending.
      model_dir: folder to write; it must hold no model.
      charset: symbols in the order of their ids.
      typed: max_width, max_height, max_prediction it was trained with, and settings to check, as `read_config`.

    Returns:
      Settings of the network, and the number of steps it was trained for.

    Raises:
      CheckpointError: there is no checkpoint, it is another program's or damaged, or `model_dir` is taken.
      ConfigError: the charset or a typed setting does not fit.
      TrainingError: `model_dir` cannot be written, or the disk is full.
    """
    old = OldCheckpoint(path)
    try:
        config = read_config(old, charset, typed)
        found = read_variables(old, config)
        step = old.steps()
    except (ArithmeticError, IndexError, TypeError, ValueError):  # shapes of too few or too many sides, or of none
        raise CheckpointError(path, "is not of a network that aocr 0.7.6 could train: odd shapes.") from None
    folder = ModelFolder(model_dir)
    if folder.find_config():
        raise CheckpointError(model_dir, "holds a model already. Choose another --model-dir.")
    check_free(folder, step)
    model = build_recognizer(config)
    weights = weights_of(model)
    for name, variable in weights.items():
        if tuple(variable.shape) != found[name].shape:
            shapes = f"{found[name].shape} where {tuple(variable.shape)} is expected"
            raise CheckpointError(path, f"is not of a network that aocr 0.7.6 could train: {name} is {shapes}.")
        variable.assign(found[name])
    write_weights(folder, model, step)
    folder.write_config(config)  # last: without it the folder holds no model, so a broken-off import can be done again
    return config, step
