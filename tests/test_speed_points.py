"""What speed rests on: buckets by width, reading that stops when all texts have ended, one trace a function."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import random_batch

import aocr
from aocr import machine
from aocr.config import ARCHS, ModelConfig, TrainConfig
from aocr.data.automatic import network_widths
from aocr.data.batching import plan_batches
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.reading.network import NetworkReader
from aocr.text.charset import Charset
from aocr.training.averaging import WeightAverage
from aocr.training.cluster import Cluster
from aocr.training.optimizers import make_optimizer
from aocr.training.step import TrainStep

SHAPES = [(3, 32, 2), (3, 64, 2), (2, 64, 3), (1, 96, 1)]


@pytest.mark.parametrize("arch", ["default", "classic"])
def test_whatever_the_shape_of_a_batch_there_is_one_trace(arch):
    machine.set_seed(0)
    settings = {**ARCHS[arch].defaults, "attn_num_hidden": 8, "max_width": 96, "max_height": 32, "max_prediction": 4}
    config = ModelConfig(Charset("ab"), arch=arch, **settings)
    model = build_recognizer(config)
    how = TrainConfig()
    average = WeightAverage(weights_of(model))
    step = TrainStep(model, make_optimizer(how, model), how, Cluster(tf.distribute.get_strategy()), average)
    reader = NetworkReader(model, config)
    for number, shape in enumerate(SHAPES):
        one = random_batch(config, *shape)
        step(one, 0.001, number)
        reader.read(one.images, one.widths)
        reader.log_likelihood(one.images, one.widths, one.tokens, one.targets, one.weights)
    for function in (step._run, reader.functions["read"], reader.functions["log_likelihood"]):
        assert function.experimental_get_tracing_count() == 1


def test_reading_ends_with_the_longest_text_of_the_batch(trained, numbers):
    predictor, steps_done = aocr.load(str(trained)), []
    read = predictor.reader.read

    def watched(*batch):
        reading = read(*batch)
        steps_done.append(reading.ids.shape[1])
        return reading

    predictor.reader.read = watched
    lines = [line.split() for line in numbers.read_text().splitlines()]
    for length in (1, 2):
        chosen = [str(numbers.parent / path) for path, text in lines if len(text) == length][:8]
        found = predictor.predict(chosen)
        longest = max(len(prediction.text) for prediction in found)
        steps = {prediction.attention.shape[0] for prediction in found}
        assert max(steps) == longest + 1
        assert steps_done.pop() == longest + 1 <= predictor.config.max_prediction


def test_narrow_words_do_not_pay_for_wide_ones():
    sizes = np.stack([np.random.default_rng(0).gamma(4.0, 30.0, 3000).astype(int) + 12, np.full(3000, 32)], 1)
    config = ModelConfig(Charset("ab"), max_width=int(sizes[:, 0].max()), max_height=32)
    widths = network_widths(sizes, config)
    plan = plan_batches(widths, 65, config)
    padded = np.asarray(plan.edges)[np.searchsorted(plan.edges, widths)]
    assert 1 - widths.sum() / padded.sum() < 0.10
    assert plan.num_batches(widths) < 1.2 * len(widths) / 65
