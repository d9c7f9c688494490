"""Read checkpoints of aocr 0.7.6: convert names, shapes and gate orders to ours."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import tensorflow as tf

from aocr import files
from aocr.config import ModelConfig, check_typed
from aocr.errors import CheckpointError, ConfigError
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import NUM_SPECIALS, Charset

_DECODER = "embedding_attention_decoder/attention_decoder"
_CELL = f"{_DECODER}/multi_rnn_cell/cell_0"


def _lstm(kernel: np.ndarray, bias: np.ndarray, inputs: int) -> dict[str, np.ndarray]:
    """Convert BasicLSTMCell's kernel [input, state] x [i j f o] to Keras's two kernels x [i f c o]."""

    def reorder(array):
        i, j, f, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, f, j, o], axis=-1)

    kernel = reorder(kernel)
    return {"kernel": kernel[:inputs], "recurrent_kernel": kernel[inputs:], "bias": reorder(bias)}


def _gru(gates: tuple, candidate: tuple, inputs: int) -> dict[str, np.ndarray]:
    """Convert GRUCell's gates [r u] and candidate to Keras's kernels x [z r h]."""
    (gate_kernel, gate_bias), (kernel, bias) = gates, candidate

    def join(gate, rest):
        r, u = np.split(gate, 2, axis=-1)
        return np.concatenate([u, r, rest], axis=-1)

    joined = join(gate_kernel, kernel)
    return {"kernel": joined[:inputs], "recurrent_kernel": joined[inputs:], "bias": join(gate_bias, bias)}


def _newest(folder: str) -> str:
    """Return the newest checkpoint in a folder, even if its file `checkpoint` has a path of another machine."""
    state = tf.train.get_checkpoint_state(folder)
    if state is None:
        raise CheckpointError(folder, "holds no checkpoint of aocr 0.7.6. Copy the whole folder.")
    return os.path.join(folder, re.split(r"[/\\]", state.model_checkpoint_path)[-1])


class OldCheckpoint:
    """A checkpoint of aocr 0.7.6, with the variable names of its TensorFlow 1 release.

    Args:
      path: folder with a checkpoint, or path of a checkpoint without its extension.

    Raises:
      CheckpointError: there is no complete checkpoint.
    """

    def __init__(self, path: str):
        self.path = path
        try:
            reader = tf.train.load_checkpoint(_newest(path) if files.is_folder(path) else path)
            self.variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            reason = f"cannot be read ({files.one_line(error)}). Copy the whole folder, with all files model.ckpt-N.*."
            raise CheckpointError(path, reason) from None

    def get(self, name: str) -> np.ndarray:
        """Return a variable's value."""
        port = name.replace("/BatchNorm/", "/batch_normalization/")
        if name.startswith(_DECODER) and not name.startswith(_CELL):
            port = port.replace("/kernel", "/weights").replace("/bias", "/biases")
        for spelling in (name, port):
            if spelling in self.variables:
                return self.variables[spelling]
        raise CheckpointError(self.path, f"is not a checkpoint of aocr 0.7.6: it has no variable {name!r}.")

    def pair(self, prefix: str) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel and bias under `prefix`."""
        return self.get(f"{prefix}/kernel"), self.get(f"{prefix}/bias")


def read_config(checkpoint: OldCheckpoint, charset: Charset, typed: dict[str, Any]) -> ModelConfig:
    """Derive the settings from the variables' shapes, and the rest from `charset` and `typed`.

    `typed` has max_width, max_height, max_prediction, and settings to check against the checkpoint.

    Raises:
      CheckpointError: the checkpoint is another program's.
      ConfigError: the number of symbols or a typed setting contradicts the checkpoint.
    """
    vocabulary, embedding = checkpoint.get("embedding_attention_decoder/embedding").shape
    if vocabulary != charset.vocabulary_size:
        raise ConfigError(
            "--charset",
            charset.symbols,
            f"it has {len(charset)} symbols, but the checkpoint reads {vocabulary - NUM_SPECIALS}. "
            "Give the charset it was trained with (--full-ascii has 95 symbols).",
        )
    hidden = checkpoint.get(f"{_DECODER}/kernel").shape[1]
    derived = {
        "arch": "classic",
        "channels": checkpoint.get("conv_conv1/W").shape[2],
        "attn_num_hidden": hidden,
        "attn_num_layers": len(checkpoint.get("bidirectional_rnn/fw/basic_lstm_cell/bias")) // (4 * hidden),
        "target_embedding_size": embedding,
        "use_gru": f"{_CELL}/gru_cell/gates/kernel" in checkpoint.variables,
    }
    config = ModelConfig(charset, **{**typed, **derived})
    check_typed(checkpoint.path, config, typed)
    return config


def read_variables(checkpoint: OldCheckpoint, config: ModelConfig) -> dict[str, np.ndarray]:
    """Return all weights by our names (`Variable.path` without the model's name), float32."""
    weights: dict[str, np.ndarray] = {}
    for i in range(1, 8):
        weights[f"cnn/conv{i}/kernel"] = checkpoint.get(f"conv_conv{i}/W")
    for i in (3, 5, 7):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            weights[f"cnn/norm{i}/{part}"] = checkpoint.get(f"conv_conv{i}/BatchNorm/{part}")
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
        weights.update({f"{prefix}/{name}": array for name, array in arrays.items()})
    weights["decoder/embedding/embeddings"] = checkpoint.get("embedding_attention_decoder/embedding")
    weights["key/kernel"] = checkpoint.get(f"{_DECODER}/AttnW_0")[0, 0]
    weights["decoder/attention/v"] = checkpoint.get(f"{_DECODER}/AttnV_0")[:, None]
    return weights


def import_checkpoint(path: str, model_dir: str, charset: Charset, typed: dict[str, Any]) -> tuple[ModelConfig, int]:
    """Write a model folder from a checkpoint of aocr 0.7.6.

    `path` is as for `OldCheckpoint`, `typed` as for `read_config`; `model_dir` must not hold a model.

    Returns:
      Settings of the network, and the number of steps it was trained for.

    Raises:
      CheckpointError: there is no checkpoint, it is another program's or damaged, or `model_dir` is taken.
      ConfigError: the charset or a typed setting does not match.
      TrainingError: `model_dir` cannot be written, or the disk is full.
    """
    folder = ModelFolder(model_dir)
    if folder.find_config():
        raise CheckpointError(model_dir, "holds a model already. Choose another --model-dir.")
    folder.check_clear()
    checkpoint = OldCheckpoint(path)
    config = read_config(checkpoint, charset, typed)
    weights = read_variables(checkpoint, config)
    for name, variable in weights_of(build_recognizer(config)).items():
        if tuple(variable.shape) != weights[name].shape:
            shapes = f"{weights[name].shape} instead of {tuple(variable.shape)}"
            raise CheckpointError(path, f"is not a checkpoint of aocr 0.7.6: {name} has shape {shapes}.")
    step = int(checkpoint.variables.get("Variable", 0))
    folder.write_weights(weights, WeightsInfo(step=step), config)
    return config, step
