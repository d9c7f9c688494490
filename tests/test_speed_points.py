"""What makes it fast: buckets by width, reading that stops when all texts have ended, one trace per function."""

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
from aocr.training.learner import Learner
from aocr.training.optimizers import make_optimizer
from aocr.training.schedule import TrainState
from aocr.training.step import TrainStep

SHAPES = [(3, 32, 2), (3, 64, 2), (2, 64, 3), (1, 96, 1)]


@pytest.mark.parametrize("arch", ["default", "classic"])
def test_batches_of_all_shapes_share_one_trace(arch):
    machine.set_seed(0)
    settings = {**ARCHS[arch].defaults, "attn_num_hidden": 8, "max_width": 96, "max_height": 32, "max_prediction": 4}
    config, train_config = ModelConfig(Charset("ab"), arch=arch, **settings), TrainConfig()
    model = build_recognizer(config)
    learner = Learner(model, make_optimizer(train_config, model), WeightAverage(weights_of(model)), TrainState())
    step = TrainStep(learner, train_config, Cluster(tf.distribute.get_strategy()))
    reader = NetworkReader(model, config)
    for number, shape in enumerate(SHAPES):
        batch = random_batch(config, *shape)
        step(batch, 0.001, number)
        reader.read(batch.images, batch.widths)
        reader.log_likelihood(batch.images, batch.widths, batch.tokens, batch.targets, batch.weights)
    for function in (step._run, reader.functions["read"], reader.functions["log_likelihood"]):
        assert function.experimental_get_tracing_count() == 1


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
        predictions = model.predict(paths)
        longest = max(len(prediction.text) for prediction in predictions)
        assert max(prediction.attention.shape[0] for prediction in predictions) == longest + 1
        assert num_steps.pop() == longest + 1 <= model.config.max_prediction


def test_buckets_waste_little_on_padding():
    sizes = np.stack([np.random.default_rng(0).gamma(4.0, 30.0, 3000).astype(int) + 12, np.full(3000, 32)], 1)
    config = ModelConfig(Charset("ab"), max_width=int(sizes[:, 0].max()), max_height=32)
    widths = network_widths(sizes, config)
    plan = plan_batches(widths, 65, config)
    padded = np.asarray(plan.edges)[np.searchsorted(plan.edges, widths)]
    assert 1 - widths.sum() / padded.sum() < 0.10
    assert plan.num_batches(widths) < 1.2 * len(widths) / 65
