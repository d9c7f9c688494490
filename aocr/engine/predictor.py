"""Reading images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from aocr.config import ModelConfig, ReadConfig
from aocr.data.preprocess import preprocess
from aocr.engine import checkpoint, kept_graph, runtime
from aocr.engine.kept_graph import KeptGraph
from aocr.engine.reading import Reader, padded_width, to_predictions
from aocr.errors import CheckpointError, ImageError
from aocr.images import as_png, image_to_bytes
from aocr.model.recognizer import Recognizer, build_recognizer
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
            else tf.function(lambda data: preprocess(data, config), input_signature=(tf.TensorSpec((), tf.string),))
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
        window: list[Any] = []
        for image in images:
            window.append(self._load(image))
            if len(window) == WINDOW * self.batch_size:
                yield from self._read(window)
                window = []
        yield from self._read(window)

    def read_encoded(self, images: Sequence[bytes]) -> list[Prediction]:
        """Read encoded png, jpeg, bmp or gif images as they are, the way an export does."""
        loaded = []
        for data in images:
            pixels, width, scale = self._preprocess(data)
            loaded.append((np.asarray(pixels), int(width), float(scale), round(int(width) * float(scale))))
        return list(self._read(loaded))

    def _load(self, image: Any) -> tuple | ImageError:
        """(32, W, C) array, valid width, scale and original width."""
        try:
            data = image_to_bytes(image)
        except ImageError as error:
            return error
        try:
            pixels, width, scale = self._preprocess(data.data)
        except tf.errors.InvalidArgumentError:
            pixels, width, scale = self._preprocess(as_png(data.data))
        return np.asarray(pixels), int(width), float(scale), data.width

    def _read(self, window: list) -> Iterator[Prediction | ImageError]:
        results = dict(enumerate(window))
        order = sorted(
            (i for i, loaded in enumerate(window) if not isinstance(loaded, ImageError)),
            key=lambda i: window[i][0].shape[1],
        )
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            results.update(zip(chosen, self._read_batch([window[i] for i in chosen]), strict=True))
        yield from (results[i] for i in range(len(window)))

    def _read_batch(self, loaded: list[tuple]) -> list[Prediction]:
        pixels, widths, scales, original = zip(*loaded, strict=True)
        widest = max(p.shape[1] for p in pixels)
        wide = widest if self.config.arch == "classic" else padded_width(widest)
        images = np.zeros((len(pixels), pixels[0].shape[0], wide, self.config.channels), np.float32)
        for row, image in zip(images, pixels, strict=True):
            row[:, : image.shape[1]] = image
        reading = self.reader.read(images, np.array(widths, np.int32))
        return to_predictions(reading, scales, original, self.config.charset, self.reader.num_alternatives)


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
    config = checkpoint.read_config(model_dir)
    if config is None:
        state = "is empty or not a model folder" if tf.io.gfile.isdir(model_dir) else "does not exist"
        raise CheckpointError(model_dir, f"{state}. Train first (aocr train DATASET), or give --model-dir.")
    chosen = checkpoint.choose(model_dir)
    precision, _ = runtime.choose_precision(precision)
    used = f"{chosen.prefix}, the {chosen.why}"
    quick = quick and how in (None, ReadConfig())
    if quick and (graph := kept_graph.opened(model_dir, chosen, precision)):
        return Predictor(None, config, model_dir, used, batch_size, how, chosen.temperature, graph)
    model = build_recognizer(config, runtime.POLICIES[precision])
    checkpoint.load_weights(chosen.prefix, model)
    predictor = Predictor(model, config, model_dir, used, batch_size, how, chosen.temperature)
    if quick:
        functions = {"read": predictor.reader.read, "preprocess": predictor._preprocess}
        predictor.finish = partial(kept_graph.keep, model_dir, chosen, precision, functions)
    return predictor
