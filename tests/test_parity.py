"""The classic network computes the same numbers as aocr 0.7.6."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from aocr.data.preprocess import preprocess
from aocr.exchange.aocr_0_7_6 import OldCheckpoint, read_config, read_variables
from aocr.folder.variables import weights_of
from aocr.model.recognizer import build_recognizer
from aocr.text.charset import GO, NAMES, Charset

UPSTREAM = ROOT.parent / "shared" / "upstream"
pytestmark = pytest.mark.skipif(
    not UPSTREAM.exists(), reason="needs reference outputs of aocr 0.7.6 (../shared/upstream)"
)


@pytest.fixture(scope="module")
def reference():
    return dict(np.load(UPSTREAM / "reference.npz"))


@pytest.fixture(scope="module")
def model():
    old = OldCheckpoint(str(UPSTREAM / "model"))
    limits = {"max_width": 160, "max_height": 60, "max_prediction": 8}
    config = read_config(old, Charset(NAMES["alphanumeric"]), limits)
    model = build_recognizer(config)
    values = read_variables(old, config)
    weights = weights_of(model)
    assert values.keys() == weights.keys()
    for name, variable in weights.items():
        variable.assign(values[name])
    return model


@pytest.fixture(scope="module")
def images(model, reference):
    paths = [UPSTREAM / "images" / f"{str(name).removesuffix('.png')}.png" for name in reference["names"]]
    assert len(paths) == 48
    return np.stack([preprocess(tf.constant(path.read_bytes()), model.config)[0] for path in paths])


def test_preprocessed_image(images, reference):
    assert np.abs(images * 128 + 128 - reference["image"]).max() < 1e-3


def test_features(model, images, reference):
    features = model.cnn(images).numpy()
    assert np.abs(features - reference["features"]).max() < 1e-3 * np.abs(reference["features"]).max()


def test_text_attention_and_probability(model, images, reference):
    reading = model.read(images, np.full(len(images), images.shape[2]), stop_early=False)
    assert np.abs(reading.attention.numpy() - reference["attention"]).max() < 1e-4
    texts = [model.config.charset.decode(ids) for ids in reading.ids.numpy()]
    assert texts == [str(text) for text in reference["prediction"]]
    product = reading.probabilities.numpy().astype(np.float64).prod(axis=1)  # over all steps, as aocr 0.7.6 defines it
    assert np.abs(product - reference["probability"]).max() < 1e-4


def test_logits(model, images, reference):
    ids = reference["logits"].argmax(-1).astype(np.int32)
    tokens = np.concatenate([np.full((len(ids), 1), GO, np.int32), ids[:, :-1]], axis=1)
    logits, *_ = model(images, np.full(len(images), images.shape[2]), tokens)
    assert np.abs(logits.numpy() - reference["logits"]).max() < 1e-3 * np.abs(reference["logits"]).max()
