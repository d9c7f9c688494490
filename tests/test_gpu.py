"""What would fail on a GPU, according to TensorFlow's registry of kernels, which lists those of GPUs on any machine."""

import subprocess
from types import SimpleNamespace

import pytest
import tensorflow as tf
from conftest import start_aocr
from tensorflow.python.framework import kernels

from aocr import machine
from aocr.config import ARCHS, ModelConfig, TrainConfig
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import Charset
from aocr.training.averaging import WeightAverage
from aocr.training.cluster import Cluster
from aocr.training.learner import Learner
from aocr.training.optimizers import make_optimizer
from aocr.training.schedule import TrainState
from aocr.training.step import TrainStep

NOT_DETERMINISTIC = {
    "AdjustContrastv2", "CropAndResizeGradBoxes", "CropAndResizeGradImage", "DepthwiseConv2dNativeBackpropFilter",
    "FakeQuantWithMinMaxVarsGradient", "FakeQuantWithMinMaxVarsPerChannelGradient", "ResizeNearestNeighborGrad",
    "SegmentProd", "SoftmaxCrossEntropyWithLogits", "SparseTensorDenseMatMul", "UnsortedSegmentProd",
}  # fmt: skip
"""Operations whose kernel for GPUs refuses, or once refused, to run under determinism."""

SPLIT_CPU = """
import sys
import tensorflow as tf
from aocr import machine
from aocr.cli.main import main

def choose(gpu_id):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

machine.use_gpu = choose
status = main(sys.argv[1:])
print(len(tf.config.list_logical_devices("CPU")), "devices")
sys.exit(status)
"""
"""Trains, but splits the CPU instead of choosing a GPU: TensorFlow refuses both once an operation has run."""


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


@pytest.mark.parametrize("arch, precision", [("default", "bfloat16"), ("default", "float16"), ("classic", "float32")])
def test_every_operation_of_the_training_step_runs_on_a_gpu(arch, precision):
    network = ModelConfig(Charset("0123"), arch=arch, **{**ARCHS[arch].defaults, "attn_num_hidden": 8})
    model = build_recognizer(network, machine.POLICIES[precision])
    config, cluster = TrainConfig(), Cluster(tf.distribute.get_strategy())
    learner = Learner(model, make_optimizer(config, model), WeightAverage(weights_of(model)), TrainState())
    nodes = nodes_of(TrainStep(learner, config, cluster)._run.get_concrete_function())
    operations = {node.op for node in nodes}
    assert {"Conv2DBackpropFilter", "FusedBatchNormGradV3"} <= operations
    assert not NOT_DETERMINISTIC & operations
    # booleans: float16's loss scaling gathers one per gradient, which TensorFlow itself runs on the CPU
    on_cpu = [node for node in nodes if not runs_on_gpu(node)]
    assert not [str(node) for node in on_cpu if node.attr["T"].type != tf.bool.as_datatype_enum]
    training = [node.attr["is_training"].b for node in nodes if node.op == "FusedBatchNormGradV3"]
    assert all(training)  # TensorFlow: "A deterministic GPU implementation ... is not currently available" for False


def test_an_operation_without_a_gpu_kernel():
    assert not runs_on_gpu(SimpleNamespace(op="DecodeJpeg", attr={}))


@pytest.mark.slow
def test_devices_are_chosen_before_any_operation_runs(numbers, tmp_path):
    args = ("train", numbers, "--model-dir", tmp_path / "m", "--gpu-id", "0", "--num-epoch", "1", "--batch-size", "64")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start_aocr(*args, program=("-c", SPLIT_CPU), **pipes)
    out, log = process.communicate(timeout=600)
    assert process.returncode == 0, log
    assert out.splitlines()[-1] == "2 devices"
