"""Reading with a frozen graph from the user's cache: the next `aocr predict` need not build the network again.

Building layers and tracing them takes several seconds of Python, reading one image a hundredth of one. Used where there
is no onnxruntime, a GPU, or another precision than float32; else `aocr.reading.onnx` keeps a graph of its own kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from aocr.config import ModelConfig
from aocr.folder.model_folder import Chosen, ModelFolder
from aocr.reading import cache
from aocr.reading.freezing import Part, freeze
from aocr.reading.network import NetworkReader, decode_with_fallback
from aocr.reading.reader import Pixels, Reader
from aocr.results import Reading

FORMAT = 4
"""To be counted up when the graph's ends or what it computes change."""

INPUTS = {"read": ["read_in0", "read_in1"], "transform": ["transform_in0"]}
OUTPUTS = {
    "read": [f"read_out{i}" for i in range(len(Reading._fields))],
    "transform": [f"transform_out{i}" for i in range(len(Pixels._fields))],
}

_OPERATIONS = """
    Abs Add AddN AddV2 All Any ArgMax Assert BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd Bitcast BitwiseAnd
    BroadcastTo Cast Ceil ConcatV2 Const Conv2D CudnnRNN CudnnRNNV2 CudnnRNNV3 Cumsum DecodeBmp DecodeGif
    DecodeImage DecodeJpeg DecodePng EnsureShape Enter Equal Erf Exit Exp ExpandDims Expm1 Fill Floor FloorDiv
    FloorMod _FusedBatchMatMulV2 _FusedBatchNormEx FusedBatchNormV3 _FusedConv2D _FusedMatMul Gather GatherV2
    Greater GreaterEqual Identity IdentityN Invert LeakyRelu Less LessEqual Log Log1p LogicalAnd LogicalNot
    LogicalOr LogSoftmax LoopCond MatMul Max Maximum MaxPool Mean Merge Minimum Mul Neg NextIteration NoOp
    NotEqual OnesLike Pack Pad PadV2 Placeholder Pow Prod Range Rank RealDiv Reciprocal RegexFullMatch Relu
    Relu6 Reshape ResizeBicubic ResizeBilinear ReverseSequence ReverseV2 Round Rsqrt ScaleAndTranslate Select
    SelectV2 Shape Sigmoid Size Slice Softmax Softplus Split SplitV Sqrt Square SquaredDifference Squeeze
    StaticRegexFullMatch StopGradient StridedSlice Sub Substr Sum Switch Tanh TensorListFromTensor
    TensorListGetItem TensorListReserve TensorListSetItem TensorListStack Tile TopKV2 Transpose Unpack ZerosLike
"""
HARMLESS = frozenset(_OPERATIONS.split())
"""Operations that compute and nothing else: all that a graph may hold. Those of our own graphs, and their kin."""


def _tensors(names: list[str]) -> list[str]:
    return [f"{name}:0" for name in names]


def foreign_operations(definition: tf.compat.v1.GraphDef) -> set[str]:
    """Operations in a graph and its functions that are not on the list of harmless ones."""
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    functions = {function.signature.name for function in definition.library.function}
    return {node.op for nodes in bodies for node in nodes} - HARMLESS - functions


class FrozenReader(Reader):
    """Reads with a frozen graph. Greedy, any text.

    Args:
      config: of the model.
      definition: of the graph, as `frozen_graph` makes it.
    """

    num_alternatives = 0

    def __init__(self, config: ModelConfig, definition: tf.compat.v1.GraphDef):
        self.config = config
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(definition, name="")
        options = tf.compat.v1.ConfigProto(allow_soft_placement=True)
        options.graph_options.rewrite_options.disable_meta_optimizer = True  # it is optimised
        options.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=graph, config=options)

    def _run(self, name: str, *values: np.ndarray) -> list[np.ndarray]:
        fed = zip(_tensors(INPUTS[name]), values, strict=True)
        return self._session.run(_tensors(OUTPUTS[name]), dict(fed))

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """As `Reader.transform`."""
        return decode_with_fallback(lambda data: self._run("transform", np.array(data, object)), images)

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """As `Reader.read`."""
        return Reading(*self._run("read", images, widths))


class KeepingReader(NetworkReader):
    """Reads with the network, and when closed keeps it frozen in the user's cache.

    Args:
      key: to keep it under.
      model, config, temperature: as of `NetworkReader`.
    """

    def __init__(self, key: str, model, config: ModelConfig, temperature: float):
        super().__init__(model, config, temperature=temperature)
        self.key = key

    def close(self) -> None:
        """Keep it, unless the cache cannot be written."""
        cache.write(self.key, frozen_graph(self).SerializeToString())


def key_of(folder: ModelFolder, chosen: Chosen, precision: str) -> str | None:
    """Digest of all that a graph depends on; None where the checkpoint cannot be read."""
    with contextlib.suppress(OSError):
        gpus = len(tf.config.list_physical_devices("GPU"))
        return cache.key_of(folder, chosen, "frozen", FORMAT, precision, tf.__version__, gpus)
    return None


def kept_reader(key: str, config: ModelConfig) -> FrozenReader | None:
    """The reader kept under a key; None where there is none, or it holds operations that may do harm."""
    with contextlib.suppress(ValueError, tf.errors.OpError):
        if (body := cache.read(key)) is not None:
            definition = tf.compat.v1.GraphDef.FromString(body)
            if not foreign_operations(definition):
                return FrozenReader(config, definition)
    return None


def frozen_graph(reader: NetworkReader) -> tf.compat.v1.GraphDef:
    """One graph of a reader's functions, weights as constants, after TensorFlow's own optimisation."""
    from tensorflow.python.grappler import tf_optimizer

    functions = {name: reader.functions[name].get_concrete_function() for name in INPUTS}
    graph = freeze({name: Part(function, INPUTS[name], OUTPUTS[name]) for name, function in functions.items()})
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    ends = [end for name in INPUTS for end in _tensors(INPUTS[name] + OUTPUTS[name])]
    meta.collection_def["train_op"].node_list.value.extend(ends)  # the optimiser drops what these do not need
    return tf_optimizer.OptimizeGraph(tf.compat.v1.ConfigProto(), meta)
