"""Reading images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from aocr import machine
from aocr.config import ModelConfig, ReadConfig
from aocr.data.images import CanonicalImage, as_png, image_to_bytes
from aocr.data.preprocess import batched
from aocr.errors import ImageError
from aocr.folder.model_folder import ModelFolder
from aocr.folder.weights import load_weights
from aocr.model.recognizer import Recognizer, build_recognizer
from aocr.reading import frozen
from aocr.reading.frozen import KeptGraph
from aocr.reading.reader import Reader, to_predictions
from aocr.results import Prediction

WINDOW = 8
"""Batches' worth of images that are looked at together, so that images of like width share a batch."""


class Predictor:
    """A trained model, ready to read.

    Args:
      model: with its weights; None where a graph reads.
      config: of the model.
      model_dir: where it comes from.
      checkpoint_used: which checkpoint, in words.
      batch_size: images read together.
      how: beam and constraints.
      temperature: of the confidence.
      graph: that reads in place of the model; greedy, any text.
    """

    def __init__(
        self,
        model: Recognizer | None,
        config: ModelConfig,
        model_dir: str = "",
        checkpoint_used: str = "",
        batch_size: int = 64,
        how: ReadConfig | None = None,
        temperature: float = 1.0,
        graph: KeptGraph | None = None,
    ):
        self.model, self.config = model, config
        self.model_dir, self.checkpoint_used = model_dir, checkpoint_used
        self.batch_size, self.temperature = batch_size, temperature
        self.reader = graph or Reader(model, config, how, temperature)
        self._preprocess = (
            graph.preprocess
            if graph
            else tf.function(lambda data: batched(data, config), input_signature=(tf.TensorSpec((None,), tf.string),))
        )

    def finish(self) -> None:
        """To be called when all is read; see `load`."""

    def predict(self, images: Sequence[Any]) -> list[Prediction]:
        """Read images.

        Args:
          images: paths, encoded bytes, PIL images, or arrays (H, W), (H, W, 1) or (H, W, 3), uint8 or float
            in 0 to 1.

        Returns:
          One Prediction an image, in order.

        Raises:
          ImageError: one of them cannot be read.
        """
        if isinstance(images, (str, bytes)) or not isinstance(images, Iterable):
            images = [images]
        results = list(self.predict_each(images))
        for result in results:
            if isinstance(result, ImageError):
                raise result
        return results

    def predict_each(self, images: Iterable[Any]) -> Iterator[Prediction | ImageError]:
        """As `predict`, one after the other and without end: an image that cannot be read gives its error."""
        images = iter(images)
        while window := [_checked(image) for image in islice(images, WINDOW * self.batch_size)]:
            readable = (i for i, image in enumerate(window) if not isinstance(image, ImageError))
            order = sorted(readable, key=lambda i: window[i].width / window[i].height)
            results = dict(enumerate(window))
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                results.update(zip(chosen, self.read_encoded([window[i].data for i in chosen]), strict=True))
            yield from (results[i] for i in range(len(window)))

    def read_encoded(self, images: Sequence[bytes]) -> list[Prediction]:
        """Read encoded png, jpeg, bmp or gif images as they are and as one batch, the way an export does."""
        pixels, widths, scales = self._transformed(images)
        reading = self.reader.read(pixels, widths)
        original = [round(width * scale) for width, scale in zip(widths, scales, strict=True)]
        return to_predictions(reading, scales, original, self.config.charset, self.reader.num_alternatives)

    def _transformed(self, images: Sequence[bytes]) -> list[np.ndarray]:
        """As `aocr.data.preprocess.batched`."""
        try:
            return [np.asarray(value) for value in self._preprocess(images)]
        except tf.errors.InvalidArgumentError:  # one of them is a jpeg that Pillow reads and TensorFlow does not
            return [np.asarray(value) for value in self._preprocess([self._decodable(data) for data in images])]

    def _decodable(self, data: bytes) -> bytes:
        try:
            self._preprocess([data])
        except tf.errors.InvalidArgumentError:
            return as_png(data)
        return data


def _checked(image: Any) -> CanonicalImage | ImageError:
    try:
        return image_to_bytes(image)
    except ImageError as error:
        return error


def load(
    model_dir: str = "checkpoints",
    *,
    precision: str = "float32",
    batch_size: int = 64,
    how: ReadConfig | None = None,
    quick: bool = False,
) -> Predictor:
    """Load a trained model: the best checkpoint on validation, else the newest.

    Args:
      model_dir: the model folder.
      precision: of the convolutions: float32, bfloat16, float16 or auto (the machine's fastest).
      batch_size: images read together.
      how: beam and constraints; None: greedy, any text.
      quick: read by the graph that the model folder keeps, if it does; such a predictor has no `model`. Else
        `finish` keeps one for the next time. For greedy reading of any text; else nothing changes.

    Raises:
      CheckpointError: the folder is missing, empty, damaged, of a newer aocr or of another program.
      ConfigError: a pattern or lexicon cannot be used with this model.
    """
    folder = ModelFolder(model_dir)
    config, chosen = folder.read_config(), folder.choose()
    precision, _ = machine.choose_precision(precision)
    used = f"{chosen.prefix}, the {chosen.why}"
    quick = quick and how in (None, ReadConfig())
    if quick and (graph := frozen.opened(model_dir, chosen, precision)):
        return Predictor(None, config, model_dir, used, batch_size, how, chosen.temperature, graph)
    model = build_recognizer(config, machine.POLICIES[precision])
    load_weights(chosen.prefix, model)
    predictor = Predictor(model, config, model_dir, used, batch_size, how, chosen.temperature)
    if quick:
        functions = {"read": predictor.reader.read, "preprocess": predictor._preprocess}
        predictor.finish = partial(frozen.keep, model_dir, chosen, precision, functions)
    return predictor
