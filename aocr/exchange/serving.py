"""A model as TensorFlow functions that need no aocr: images in, texts out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from aocr.data.preprocess import batched, preprocess, scale_image
from aocr.reading.predictor import Predictor
from aocr.text.charset import EOS, NUM_SPECIALS


def graph_of(predictor: Predictor) -> bytes:
    """Encode a model as an ONNX file."""
    from aocr.folder.variables import weights_of
    from aocr.onnx import file

    reader: Any = predictor.reader  # a NetworkReader
    weights = {name: variable.numpy() for name, variable in weights_of(reader.model).items()}
    return file.write_graph(weights, predictor.config, reader.temperature)


class ServingModule(tf.Module):
    """A model, loaded by `load_network`, and its preprocessing as a tf.Module."""

    def __init__(self, predictor: Predictor):
        super().__init__()
        reader: Any = predictor.reader  # a NetworkReader
        self._variables = [v.value for v in reader.model.variables]
        self._model, self._config, self._temperature = (lambda: reader.model), reader.config, reader.temperature
        specials = [""] * NUM_SPECIALS
        self._symbols = np.array(specials + [c.encode() for c in reader.config.charset.symbols], object)

    def _read_all(self, items: tf.Tensor, transform: Callable) -> dict[str, tf.Tensor]:
        """Convert each item with `transform` and read them as one batch."""
        images, widths, _ = batched(items, self._config, transform)
        reading = self._model().read(images, widths, temperatures=(self._temperature,))
        before_end = tf.math.cumsum(tf.cast(tf.equal(reading.ids, EOS), tf.int32), axis=1) == 0
        symbols = tf.gather(tf.constant(self._symbols, tf.string), reading.ids)
        text = tf.strings.reduce_join(tf.where(before_end, symbols, ""), axis=1)
        return {"output": text, "probability": tf.cast(reading.confidence, tf.float64)}

    @tf.function(input_signature=(tf.TensorSpec(None, tf.string, name="input"),))
    def serve(self, input):
        """Read encoded images: string [] or [batch] -> output (text) and probability of the same shape."""
        results = self._read_all(tf.reshape(input, [-1]), preprocess)
        return {name: tf.reshape(value, tf.shape(input)) for name, value in results.items()}

    def pixels_function(self):
        """Return a function that reads float images of one size: (batch, height, width, channels), values 0 to 255."""
        spec = tf.TensorSpec((None, None, None, self._config.channels), tf.float32, name="input")
        return tf.function(lambda input: self._read_all(input, scale_image), input_signature=(spec,))
