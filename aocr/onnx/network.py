"""The CNNs and the encoder as ONNX: from images to the decoder's memory. They compute what `aocr.model` does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aocr.config import COLUMN_PIXELS, ModelConfig, band_size
from aocr.onnx.graph import FLOAT, INT32, INT64, Graph

Weights = dict[str, np.ndarray]

NORM_EPSILON = 1e-3
"""Epsilon of every batch normalisation in both architectures."""
_REPRESENTATIVE = 16
"""A width whose "same" padding equals that of every width the default network is given."""


class Memory(NamedTuple):
    """What the decoder attends to: names of a graph's tensors, or arrays. B images, S columns."""

    values: Any
    """(B, S, M)."""
    keys: Any
    """(B, S, A), `values` projected for the attention."""
    mask: Any = None
    """(B, S) boolean; None to attend to every column."""
    counts: Any = None
    """(B, S) number of symbols started up to each column; None without a CTC head."""
    state: Any = None
    """(B, state size), the decoder's first state; None for zeros."""
    ctc: Any = None
    """(B, S, V), logits of the CTC head; None without one, or if it takes no part in reading."""


def _same(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return TensorFlow's "same" padding before and after, and the output size."""
    output_size = -(-size // stride)
    total = max((output_size - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, output_size


class _Convolutions:
    """Adds convolutions with batch normalisation folded in, and tracks the size of the feature maps."""

    def __init__(self, graph: Graph, weights: Weights, height: int, width: int):
        self.graph, self.weights, self.size = graph, weights, (height, width)

    def _pads(self, kernel: tuple[int, int], strides: tuple[int, int]) -> list[int]:
        top, bottom, height = _same(self.size[0], kernel[0], strides[0])
        left, right, width = _same(self.size[1], kernel[1], strides[1])
        self.size = (height, width)
        return [top, left, bottom, right]

    def convolve(self, x: str, name: str, norm: str | None = None, strides: tuple[int, int] = (1, 1), pads=None) -> str:
        """Add a convolution and the batch normalisation `norm` after it."""
        kernel = self.weights[f"{name}/kernel"].astype(np.float64)
        inputs = []
        if norm:
            scale, shift = self.folded(norm)
            kernel = kernel * scale
            inputs = [shift.astype(np.float32)]
        shape = kernel.shape[:2]
        pads = self._pads(shape, strides) if pads is None else pads
        kernel = kernel.transpose(3, 2, 0, 1).astype(np.float32)  # rows, columns, in, out -> out, in, rows, columns
        return self.graph.Conv(x, kernel, *inputs, kernel_shape=shape, strides=strides, pads=pads)

    def folded(self, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch normalisation as a factor and an offset, float64."""
        gamma, beta, mean, variance = (
            self.weights[f"{norm}/{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        return scale, beta - mean * scale

    def pool(self, x: str, size: tuple[int, int]) -> str:
        """Add a max-pooling node whose windows do not overlap."""
        return self.graph.MaxPool(x, kernel_shape=size, strides=size, pads=self._pads(size, size))


def _block(cnn: _Convolutions, x: str, name: str, strides: tuple[int, int], mask: str) -> str:
    """Add a residual block; `mask` marks the columns of its output."""
    g = cnn.graph
    input_size = cnn.size
    y = g.Mul(g.Relu(cnn.convolve(x, f"{name}/conv1", f"{name}/norm1", strides)), mask)
    y = cnn.convolve(y, f"{name}/conv2", f"{name}/norm2")
    if f"{name}/project/kernel" in cnn.weights:
        cnn.size = input_size
        x = cnn.convolve(x, f"{name}/project", f"{name}/norm", strides)
    return g.Mul(g.Relu(g.Add(x, y)), mask)


def _columns(g: Graph, images: str, widths: str, pixels: int) -> str:
    """Add a mask of the columns, each `pixels` wide, that contain part of an image: (B, W / pixels) boolean."""
    width = g.Gather(g.Shape(images), 2, axis=0)
    columns = g.Cast(g.Range(0, width, pixels), to=INT32)
    return g.Less(columns, g.Unsqueeze(widths, [1]))


def _residual(g: Graph, weights: Weights, config: ModelConfig, images: str, widths: str) -> str:
    """Add the default CNN: (B, H, W, C) -> (B * R, 256, S) for R bands."""
    cnn = _Convolutions(g, weights, config.height, _REPRESENTATIVE)
    halves, quarters = (
        g.Unsqueeze(g.Cast(_columns(g, images, widths, pixels), to=FLOAT), [1, 2]) for pixels in (2, COLUMN_PIXELS)
    )
    x = g.Transpose(images, perm=[0, 3, 1, 2])
    x = g.Mul(g.Relu(cnn.convolve(x, "cnn/stem", "cnn/stem_norm", (2, 2))), halves)
    x = _block(cnn, x, "cnn/block1", (1, 1), halves)
    x = _block(cnn, x, "cnn/block2", (2, 2), quarters)
    x = _block(cnn, x, "cnn/block3", (2, 1), quarters)
    scale, shift = cnn.folded("cnn/collapse_norm")  # a factor below zero must come after the maximum
    rows, stride = (pixels // 8 for pixels in band_size(config.height, config.bands))
    collapsed = cnn.convolve(x, "cnn/collapse", strides=(stride, 1), pads=[0, 0, 0, 0])
    anywhere = cnn.convolve(x, "cnn/anywhere", pads=[0, 0, 0, 0])
    strongest = g.MaxPool(anywhere, kernel_shape=(rows, 1), strides=(stride, 1), pads=[0, 0, 0, 0])
    factor, offset = (vector.astype(np.float32)[:, None, None] for vector in (scale, shift))
    x = g.Relu(g.Add(g.Mul(g.Add(collapsed, strongest), factor), offset))
    if config.bands == 1:
        return g.Squeeze(x, [2])
    x = g.Add(x, weights["cnn/band_vectors"].astype(np.float32).T[:, :, None])  # (B, 256, R, S)
    x = g.Transpose(x, perm=[0, 2, 1, 3])
    return g.Reshape(x, g.Concat(np.array([-1]), g.Slice(g.Shape(x), [2], [4], [0]), axis=0))


def _classic(g: Graph, weights: Weights, config: ModelConfig, images: str) -> str:
    """Add the classic CNN: (B, 32, W, C) -> (B, 512, S)."""
    cnn = _Convolutions(g, weights, config.height, config.network_width)
    x = g.Transpose(images, perm=[0, 3, 1, 2])
    pools = ((2, 2), (2, 2), None, (2, 1), None, (2, 1), (2, 1))
    for i, pool in enumerate(pools, 1):
        norm = f"cnn/norm{i}" if f"cnn/norm{i}/gamma" in weights else None
        x = g.Relu(cnn.convolve(x, f"cnn/conv{i}", norm))
        if pool:
            x = cnn.pool(x, pool)
    return g.Squeeze(x, [2])


def _lstm_order(array: np.ndarray) -> np.ndarray:
    """Reorder Keras's gates i f c o on the last axis to ONNX's i o f c on the first."""
    i, f, c, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1).T


def _encoder(g: Graph, weights: Weights, features: str, lengths: str | None) -> tuple[str, str, str]:
    """Add the bidirectional LSTM: (B, F, S) -> memory (B, S, 2U); final states h and c, each (2, B, U).

    It is two forward LSTMs, the second over reversed sequences: OpenVINO computes wrong results with the input
    `sequence_lens`.
    """
    end = np.iinfo(np.int64).max

    def reverse(x: str) -> str:
        if lengths is None:
            return g.Slice(x, [-1], [-end], [0], [-1])
        return g.ReverseSequence(x, lengths, time_axis=0, batch_axis=1)

    x = g.Transpose(features, perm=[2, 0, 1])
    outputs, hs, cs = [], [], []
    for direction in ("forward", "backward"):
        cell = f"encoder/lstm/{direction}_lstm/lstm_cell"
        kernel, recurrent, bias = (
            _lstm_order(weights[f"{cell}/{part}"])[None].astype(np.float32)
            for part in ("kernel", "recurrent_kernel", "bias")
        )
        source = reverse(x) if direction == "backward" else x
        biases = np.concatenate([bias, 0 * bias], axis=1)
        y, h, c = g.LSTM(source, kernel, recurrent, biases, outputs=3, hidden_size=recurrent.shape[2])
        y = g.Squeeze(y, [1])  # (S, 1, B, U) -> (S, B, U)
        outputs.append(reverse(y) if direction == "backward" else y)
        hs.append(h)
        cs.append(c)
    memory = g.Transpose(g.Concat(*outputs, axis=2), perm=[1, 0, 2])
    return memory, g.Concat(*hs, axis=0), g.Concat(*cs, axis=0)


def _symbol_counts(g: Graph, logits: str, mask: str, from_right: bool) -> str:
    """Add `aocr.model.attention.symbol_counts` of the CTC head's logits (B, S, V)."""
    end = np.iinfo(np.int64).max
    probabilities = g.Slice(g.Softmax(logits, axis=-1), [1], [end], [2])
    probabilities = g.Mul(probabilities, g.Unsqueeze(g.Cast(mask, to=FLOAT), [2]))
    if from_right:
        before = g.Pad(g.Slice(probabilities, [1], [end], [1]), [0, 0, 0, 0, 1, 0])
    else:
        before = g.Pad(g.Slice(probabilities, [0], [-1], [1]), [0, 1, 0, 0, 0, 0])
    started = g.ReduceSum(g.Mul(probabilities, g.Sub(1.0, before)), [2], keepdims=0)
    return g.CumSum(started, 1, reverse=int(from_right))


def _in_succession(g: Graph, x: str, config: ModelConfig) -> str:
    """Join the bands of an image in reading order: (B * R, S, F) -> (B, R * S, F)."""
    if config.bands == 1:
        return x
    rest = g.Slice(g.Shape(x), [1], [3], [0])  # S, F
    x = g.Reshape(x, g.Concat(np.array([-1, config.bands]), rest, axis=0))
    if config.charset.right_to_left:
        x = g.Gather(x, np.arange(config.bands)[::-1].copy(), axis=1)
    return g.Reshape(x, g.Concat(np.array([-1]), g.Mul(rest, np.array([config.bands, 1])), axis=0))


def encode(g: Graph, weights: Weights, config: ModelConfig, images: str, widths: str) -> Memory:
    """Add the CNN and the encoder for images (B, H, W, C) of these widths (B,)."""
    traits = config.traits
    mask = lengths = counts = state = logits = None
    if traits.residual_cnn:
        features = _residual(g, weights, config, images, widths)
    else:
        features = _classic(g, weights, config, images)
    if traits.ctc:
        mask = _columns(g, images, widths, COLUMN_PIXELS)
        columns = g.Div(g.Add(widths, np.int32(COLUMN_PIXELS - 1)), np.int32(COLUMN_PIXELS))
        lengths = g.Cast(columns, to=INT64)
        if config.bands > 1:
            mask = g.Tile(mask, np.array([1, config.bands]))
            lengths = g.Reshape(g.Tile(g.Unsqueeze(lengths, [1]), np.array([1, config.bands])), np.array([-1]))
        by_column = _in_succession(g, g.Transpose(features, perm=[0, 2, 1]), config)
        logits = g.Add(g.MatMul(by_column, weights["ctc/kernel"]), weights["ctc/bias"])
        counts = _symbol_counts(g, logits, mask, config.charset.right_to_left)
    values, h, c = _encoder(g, weights, features, lengths)
    values = _in_succession(g, values, config)
    if traits.starts_from_encoder:
        forward = (g.Gather(part, 0, axis=0) for part in (c, h))
        state = g.Slice(g.Concat(*forward, axis=1), [0], [config.state_size], [1])
    return Memory(values, g.MatMul(values, weights["key/kernel"]), mask, counts, state, logits)
