"""Read with the network in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from aocr import machine
from aocr.config import ModelConfig, ReadConfig
from aocr.data.preprocess import batched, decodable
from aocr.model.recognizer import Recognizer
from aocr.reading.constraints import make_constraints
from aocr.reading.reader import Pixels, Reader
from aocr.results import Reading
from aocr.text.search import Constraint


class NetworkReader(Reader):
    """Reads with the network in TensorFlow; by default greedily and without constraints.

    If the first batch is a single image, it is read eagerly, faster than tracing a graph; later batches use graphs.

    Raises:
      ConfigError: a pattern or lexicon cannot be used with this model.
    """

    def __init__(
        self, model: Recognizer, config: ModelConfig, read_config: ReadConfig | None = None, temperature: float = 1.0
    ):
        read_config = read_config or ReadConfig()
        tables, self.symbol_filter = make_constraints(read_config, config.charset, config.max_steps)
        constraints = [
            Constraint(*map(tf.constant, arrays), penalty)  # type: ignore[call-arg]
            for *arrays, penalty in tables
        ]
        beam = read_config.width

        def read(images, widths):
            return model.read(images, widths, temperatures=(1.0, temperature), beam=beam, constraints=constraints)

        def log_likelihood(images, widths, tokens, targets, weights):
            logits, *_ = model(images, widths, tokens)
            log_probs = tf.gather(tf.nn.log_softmax(logits), targets, axis=2, batch_dims=2)  # (B, T, V) -> (B, T)
            return tf.reduce_sum(log_probs * weights, 1)

        def function(call: Callable, *signature: tf.TensorSpec):
            return tf.function(call, input_signature=signature, autograph=False)

        encoded = tf.TensorSpec((None,), tf.string)
        images = tf.TensorSpec((None, config.height, None, config.channels), tf.float32)
        widths = tf.TensorSpec((None,), tf.int32)
        ids = tf.TensorSpec((None, None), tf.int32)
        weights = tf.TensorSpec((None, None), tf.float32)
        self.model, self.config, self.temperature = model, config, temperature
        self.num_alternatives = read_config.alternatives
        self.functions = {  # each traced once for batches of any shape
            "transform": function(lambda data: batched(data, config), encoded),
            "read": function(read, images, widths),
            "log_likelihood": function(log_likelihood, images, widths, ids, ids, weights),
        }
        self._called: set[str] = set()

    def _call(self, name: str, batch, *rest):
        """Call one of `functions`, eagerly if it is the first call and `batch` has a single image."""
        machine.check_not_forked()
        function = self.functions[name]
        is_eager = len(batch) == 1 and name not in self._called
        self._called.add(name)
        if is_eager:
            return function.python_function(tf.convert_to_tensor(batch), *map(tf.convert_to_tensor, rest))
        return function(batch, *rest)

    def transform(self, images: Sequence[bytes]) -> Pixels:
        """See `Reader.transform`."""
        try:
            parts = self._call("transform", images)
        except tf.errors.InvalidArgumentError:
            parts = self._call("transform", [decodable(image) for image in images])
        return Pixels(*map(np.asarray, parts))

    def read(self, images: np.ndarray, widths: np.ndarray) -> Reading:
        """See `Reader.read`."""
        return Reading(*map(np.asarray, self._call("read", images, widths)))

    def with_config(self, read_config: ReadConfig) -> NetworkReader:
        """See `Reader.with_config`."""
        return NetworkReader(self.model, self.config, read_config, self.temperature)

    def log_likelihood(self, images, widths, tokens, targets, weights) -> np.ndarray:
        """Compute the log-probability of each label and its end, teacher-forced: (B,). Arguments as in `Batch`."""
        return self.functions["log_likelihood"](images, widths, tokens, targets, weights).numpy()
