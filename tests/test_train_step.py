"""The compiled step: its operations run on a GPU, and one trace serves batches of all shapes.

TensorFlow's registry of kernels lists those of GPUs on any machine.
"""

import subprocess
from types import SimpleNamespace

import pytest
import tensorflow as tf
from conftest import random_batch, start_aocr
from tensorflow.python.framework import kernels

import aocr
from aocr import machine
from aocr.config import ARCHS, ModelConfig, TrainConfig
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.reading.network import NetworkReader
from aocr.text.charset import Charset
from aocr.training.cluster import Cluster
from aocr.training.learner import Learner, WeightAverage
from aocr.training.schedule import TrainState
from aocr.training.step import TrainStep, make_optimizer

NOT_DETERMINISTIC = {
    "AdjustContrastv2", "CropAndResizeGradBoxes", "CropAndResizeGradImage", "DepthwiseConv2dNativeBackpropFilter",
    "FakeQuantWithMinMaxVarsGradient", "FakeQuantWithMinMaxVarsPerChannelGradient", "ResizeNearestNeighborGrad",
    "SegmentProd", "SoftmaxCrossEntropyWithLogits", "SparseTensorDenseMatMul", "UnsortedSegmentProd",
}  # fmt: skip
"""Operations whose kernel for GPUs refuses, or once refused, to run under determinism."""


def nodes_of(function) -> list:
    """Return every node of a function and of the functions that it calls, without the calls themselves."""
    graph = function.graph.as_graph_def()
    called = {f.signature.name for f in graph.library.function} | {"PartitionedCall", "StatefulPartitionedCall"}
    bodies = (graph.node, *(f.node_def for f in graph.library.function))
    return [node for body in bodies for node in body if node.op not in called]


def runs_on_gpu(node) -> bool:
    """Return whether a kernel for GPUs, or for any device, takes the types of a node."""
    return any(
        kernel.device_type in ("GPU", "DEFAULT")
        and all(node.attr[c.name].type in c.allowed_values.list.type for c in kernel.constraint)
        for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
    )


@pytest.mark.parametrize(
    ("arch", "precision"),
    [("default", "bfloat16"), *(pytest.param(*pair, marks=pytest.mark.slow)
                                for pair in (("default", "float16"), ("classic", "float32")))],
)  # fmt: skip
def test_one_trace_of_operations_that_run_on_a_gpu(arch, precision):
    sizes = {"attn_num_hidden": 8, "max_width": 96, "max_height": 32, "max_prediction": 4}
    config, train_config = ModelConfig(Charset("ab"), arch=arch, **{**ARCHS[arch].defaults, **sizes}), TrainConfig()
    model = build_recognizer(config, machine.POLICIES[precision])
    learner = Learner(model, make_optimizer(train_config, model), WeightAverage(weights_of(model)), TrainState())
    step = TrainStep(learner, train_config, Cluster(tf.distribute.get_strategy()))

    nodes = nodes_of(step._run.get_concrete_function())
    operations = {node.op for node in nodes}
    assert {"Conv2DBackpropFilter", "FusedBatchNormGradV3"} <= operations
    assert not NOT_DETERMINISTIC & operations
    # booleans: float16's loss scaling gathers one per gradient, which TensorFlow itself runs on the CPU
    on_cpu = [node for node in nodes if not runs_on_gpu(node)]
    assert not [str(node) for node in on_cpu if node.attr["T"].type != tf.bool.as_datatype_enum]
    training = [node.attr["is_training"].b for node in nodes if node.op == "FusedBatchNormGradV3"]
    assert all(training)  # TensorFlow: "A deterministic GPU implementation ... is not currently available" for False

    reader = NetworkReader(model, config)
    for number, shape in enumerate([(3, 32, 2), (3, 64, 2), (2, 64, 3), (1, 96, 1)]):
        batch = random_batch(config, *shape)
        step(batch, 0.001, number)
        reader.read(batch.images, batch.widths)
        reader.log_likelihood(batch.images, batch.widths, batch.tokens, batch.targets, batch.weights)
    for function in (step._run, reader.functions["read"], reader.functions["log_likelihood"]):
        assert function.experimental_get_tracing_count() == 1


def test_an_operation_without_a_gpu_kernel():
    assert not runs_on_gpu(SimpleNamespace(op="DecodeJpeg", attr={}))


@pytest.mark.slow
def test_importing_the_training_runs_no_operation():
    """Afterwards TensorFlow would refuse to choose devices, as it refuses here to split the CPU."""
    split = "[tf.config.LogicalDeviceConfiguration()] * 2)"
    code = (
        "from aocr import machine; machine.start_tensorflow(); import aocr.training.run, tensorflow as tf; "
        f"tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], {split}"
    )
    process = start_aocr(program=("-c", code), stderr=subprocess.PIPE)
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_reading_ends_with_the_longest_text_of_the_batch(trained, numbers):
    model, num_steps = aocr.load(str(trained)), []
    read = model.reader.read

    def watched(*batch):
        reading = read(*batch)
        num_steps.append(reading.ids.shape[1])
        return reading

    model.reader.read = watched
    lines = [line.split() for line in numbers.read_text().splitlines()]
    for length in (1, 2):
        paths = [str(numbers.parent / path) for path, text in lines if len(text) == length][:8]
        longest = max(len(prediction.text) for prediction in model.predict(paths))
        assert num_steps.pop() == longest + 1 <= model.config.max_prediction
