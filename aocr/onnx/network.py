"""The encoders as ONNX: images become the memory that the decoder reads from. They follow `aocr.model`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aocr.config import COLUMN_PIXELS, ModelConfig
from aocr.onnx.graph import FLOAT, INT32, INT64, Graph

Weights = dict[str, np.ndarray]

NORM_EPSILON = 1e-3
"""Of every batch norm, in both networks."""
_REPRESENTATIVE = 16
"""A width that every width of the default network is a multiple of."""


class Memory(NamedTuple):
    """What the decoder reads from: names of tensors of a graph, or arrays. B images, S columns.

    Attributes:
      values: (B, S, M).
      keys: (B, S, A), the attention's view of `values`.
      mask: (B, S) boolean; None where every column is attended to.
      counts: (B, S) symbols begun up to each column; None where nothing guides attention.
      state: (B, state size), the decoder's first; None where it is zero.
    """

    values: Any
    keys: Any
    mask: Any = None
    counts: Any = None
    state: Any = None


def _same(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Padding before and after so that "same" holds as TensorFlow means it, and the size after."""
    after = -(-size // stride)
    total = max((after - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, after


class _Convolutions:
    """Convolutions with their batch norm folded in, over images of a size that it keeps account of."""

    def __init__(self, graph: Graph, weights: Weights, height: int, width: int):
        self.graph, self.weights, self.size = graph, weights, (height, width)

    def _pads(self, kernel: tuple[int, int], strides: tuple[int, int]) -> list[int]:
        both = [_same(*args) for args in zip(self.size, kernel, strides, strict=True)]
        self.size = (both[0][2], both[1][2])
        return [both[0][0], both[1][0], both[0][1], both[1][1]]

    def convolve(self, x: str, name: str, norm: str | None = None, strides: tuple[int, int] = (1, 1), pads=None) -> str:
        """A convolution, and the batch norm after it."""
        kernel = self.weights[f"{name}/kernel"].astype(np.float64)
        inputs = []
        if norm:
            scale, shift = self.folded(norm)
            kernel, inputs = kernel * scale, [shift.astype(np.float32)]
        shape = kernel.shape[:2]
        pads = self._pads(shape, strides) if pads is None else pads
        kernel = kernel.transpose(3, 2, 0, 1).astype(np.float32)  # rows, columns, in, out -> out, in, rows, columns
        return self.graph.Conv(x, kernel, *inputs, kernel_shape=shape, strides=strides, pads=pads)

    def folded(self, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """What a batch norm multiplies with, and what it then adds."""
        gamma, beta, mean, variance = (
            self.weights[f"{norm}/{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        return scale, beta - mean * scale

    def pool(self, x: str, size: tuple[int, int]) -> str:
        """The largest of each field, fields beside each other."""
        return self.graph.MaxPool(x, kernel_shape=size, strides=size, pads=self._pads(size, size))


def _block(cnn: _Convolutions, x: str, name: str, strides: tuple[int, int], mask: str) -> str:
    """A residual block; its mask is that of its output."""
    g, before = cnn.graph, cnn.size
    y = g.Mul(g.Relu(cnn.convolve(x, f"{name}/conv1", f"{name}/norm1", strides)), mask)
    y = cnn.convolve(y, f"{name}/conv2", f"{name}/norm2")
    if f"{name}/project/kernel" in cnn.weights:
        after, cnn.size = cnn.size, before
        x = cnn.convolve(x, f"{name}/project", f"{name}/norm", strides)
        cnn.size = after
    return g.Mul(g.Relu(g.Add(x, y)), mask)


def _columns(g: Graph, images: str, widths: str, pixels: int) -> str:
    """(B, W / pixels) boolean: which columns of so many pixels hold some of their image."""
    width = g.Gather(g.Shape(images), 2, axis=0)
    columns = g.Cast(g.Range(0, width, pixels), to=INT32)
    return g.Less(columns, g.Unsqueeze(widths, [1]))


def _residual(g: Graph, weights: Weights, config: ModelConfig, images: str, widths: str) -> str:
    """(B, H, W, C) -> (B, 256, S)."""
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
    rows = config.height // 8
    both = g.Add(
        cnn.convolve(x, "cnn/collapse", strides=(rows, 1), pads=[0, 0, 0, 0]),
        g.ReduceMax(cnn.convolve(x, "cnn/anywhere", pads=[0, 0, 0, 0]), axes=[2], keepdims=1),
    )
    column = lambda vector: vector.astype(np.float32)[:, None, None]  # noqa: E731
    return g.Squeeze(g.Relu(g.Add(g.Mul(both, column(scale)), column(shift))), [2])


def _classic(g: Graph, weights: Weights, config: ModelConfig, images: str) -> str:
    """(B, 32, W, C) -> (B, 512, S)."""
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
    """Keras's gates i f c o on the last axis -> ONNX's i o f c on the first."""
    into, keep, new, out = np.split(array, 4, axis=-1)
    return np.concatenate([into, out, keep, new], axis=-1).T


def _encoder(g: Graph, weights: Weights, features: str, lengths: str | None) -> tuple[str, str, str]:
    """(B, F, S) -> memory (B, S, 2U); final states h and c, each (2, B, U).

    Two LSTMs that go forward, the second over sequences turned round: OpenVINO is wrong with lengths of sequences.
    """
    end = np.iinfo(np.int64).max

    def turned(x: str) -> str:
        if lengths is None:
            return g.Slice(x, [-1], [-end], [0], [-1])
        return g.ReverseSequence(x, lengths, time_axis=0, batch_axis=1)

    x = g.Transpose(features, perm=[2, 0, 1])
    ways = []
    for way in ("forward", "backward"):
        cell = f"encoder/lstm/{way}_lstm/lstm_cell"
        kernel, recurrent, bias = (
            _lstm_order(weights[f"{cell}/{part}"])[None].astype(np.float32)
            for part in ("kernel", "recurrent_kernel", "bias")
        )
        inputs = (turned(x) if way == "backward" else x, kernel, recurrent, np.concatenate([bias, 0 * bias], axis=1))
        y, h, c = g.LSTM(*inputs, outputs=3, hidden_size=recurrent.shape[2])
        y = g.Squeeze(y, [1])  # (S, 1, B, U)
        ways.append((turned(y) if way == "backward" else y, h, c))
    ys, hs, cs = zip(*ways, strict=True)
    return g.Transpose(g.Concat(*ys, axis=2), perm=[1, 0, 2]), g.Concat(*hs, axis=0), g.Concat(*cs, axis=0)


def _symbol_counts(g: Graph, weights: Weights, features: str, mask: str, from_right: bool) -> str:
    """As `aocr.model.attention.symbol_counts`, of features (B, S, F)."""
    logits = g.Add(g.MatMul(features, weights["ctc/kernel"]), weights["ctc/bias"])
    end = np.iinfo(np.int64).max
    chances = g.Slice(g.Softmax(logits, axis=-1), [1], [end], [2])
    chances = g.Mul(chances, g.Unsqueeze(g.Cast(mask, to=FLOAT), [2]))
    if from_right:
        before = g.Pad(g.Slice(chances, [1], [end], [1]), [0, 0, 0, 0, 1, 0])
    else:
        before = g.Pad(g.Slice(chances, [0], [-1], [1]), [0, 1, 0, 0, 0, 0])
    begun = g.ReduceSum(g.Mul(chances, g.Sub(1.0, before)), [2], keepdims=0)
    return g.CumSum(begun, 1, reverse=int(from_right))


def encode(g: Graph, weights: Weights, config: ModelConfig, images: str, widths: str) -> Memory:
    """The memory of images (B, H, W, C) of valid widths (B,)."""
    traits = config.traits
    mask = lengths = counts = state = None
    if traits.residual_cnn:
        features = _residual(g, weights, config, images, widths)
    else:
        features = _classic(g, weights, config, images)
    if traits.ctc:
        mask = _columns(g, images, widths, COLUMN_PIXELS)
        columns = g.Div(g.Add(widths, np.int32(COLUMN_PIXELS - 1)), np.int32(COLUMN_PIXELS))
        lengths = g.Cast(columns, to=INT64)
        by_column = g.Transpose(features, perm=[0, 2, 1])
        counts = _symbol_counts(g, weights, by_column, mask, config.charset.right_to_left)
    values, h, c = _encoder(g, weights, features, lengths)
    if traits.starts_from_encoder:
        forward = (g.Gather(part, 0, axis=0) for part in (c, h))
        state = g.Slice(g.Concat(*forward, axis=1), [0], [config.state_size], [1])
    return Memory(values, g.MatMul(values, weights["key/kernel"]), mask, counts, state)
