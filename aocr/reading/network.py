"""Reading with the network itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from aocr.config import ModelConfig, ReadConfig
from aocr.data.images import as_png
from aocr.data.preprocess import batched
from aocr.model.recognizer import Recognizer
from aocr.reading.constraints import make_constraints
from aocr.reading.reader import Pixels, Reader
from aocr.results import Reading
from aocr.text.search import Constraint


def decode_with_fallback(decode: Callable, images: Sequence[bytes]) -> Pixels:
    """`decode(images)`, where some may be files that Pillow reads and TensorFlow does not."""
    try:
        return Pixels(*map(np.asarray, decode(images)))
    except tf.errors.InvalidArgumentError:
        return Pixels(*map(np.asarray, decode([_decodable(decode, image) for image in images])))


def _decodable(decode: Callable, image: bytes) -> bytes:
    try:
        decode([image])
    except tf.errors.InvalidArgumentError:
        return as_png(image)
    return image


class NetworkReader(Reader):
    """Compiled functions of a model: one trace each, whatever the batch's shape.

    Args:
      model: to read with.
      config: of the model.
      how: beam and constraints.
      temperature: of the confidence.

    Attributes:
      functions: tf.functions `transform`, `read` and `log_likelihood`.

    Raises:
      ConfigError: a pattern or lexicon cannot be used with this model.
    """

    def __init__(self, model: Recognizer, config: ModelConfig, how: ReadConfig | None = None, temperature: float = 1.0):
        how = how or ReadConfig()
        encoded = tf.TensorSpec((None,), tf.string)
        images = tf.TensorSpec((None, config.height, None, config.channels), tf.float32)
        widths = tf.TensorSpec((None,), tf.int32)
        ids = tf.TensorSpec((None, None), tf.int32)
        weights = tf.TensorSpec((None, None), tf.float32)
        found = make_constraints(how, config.charset, config.max_steps)
        constraints = [Constraint(*map(tf.constant, tables), penalty) for *tables, penalty in found]  # type: ignore[call-arg]

        def read(images, widths):
            temperatures = (1.0, temperature)
            return model.read(images, widths, temperatures=temperatures, beam=how.width, constraints=constraints)

        def log_likelihood(images, widths, tokens, targets, weights):
            logits, *_ = model(images, widths, tokens)
            picked = tf.gather(tf.nn.log_softmax(logits), targets, axis=2, batch_dims=2)  # (B, T, V) -> (B, T)
            return tf.reduce_sum(picked * weights, 1)

        def function(call, *signature):  # conditions and loops are those of a graph already
            return tf.function(call, input_signature=signature, autograph=False)

        self.model, self.config, self.temperature = model, config, temperature
        self.num_alternatives = how.alternatives
        self.functions = {
            "transform": function(lambda data: batched(data, config), encoded),
            "read": function(read, images, widths),
            "log_likelihood": function(log_likelihood, images, widths, ids, ids, weights),
        }

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """As `Reader.transform`."""
        return decode_with_fallback(self.functions["transform"], images)

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """As `Reader.read`."""
        return Reading(*map(np.asarray, self.functions["read"](images, widths)))

    def with_config(self, how: ReadConfig) -> NetworkReader:
        """As `Reader.otherwise`."""
        return NetworkReader(self.model, self.config, how, self.temperature)

    def log_likelihood(self, images, widths, tokens, targets, weights) -> np.ndarray:
        """(B,) ln of the probability of each label and its end, teacher forced; arguments as of a `Batch`."""
        return self.functions["log_likelihood"](images, widths, tokens, targets, weights).numpy()
