"""Read images with a trained model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from PIL import Image

from aocr import files, machine
from aocr.config import ReadConfig
from aocr.data.images import CanonicalImage, canonical_image, image_to_bytes, is_single, read_file
from aocr.data.regions import cut_out, split_region
from aocr.errors import ConfigError, ImageError
from aocr.folder.model_folder import ModelFolder
from aocr.folder.words import is_box, open_folder
from aocr.reading.predictions import to_predictions
from aocr.reading.reader import Reader
from aocr.reading.views import View, slope_of
from aocr.report.pictures import encode_image, load_image, open_image
from aocr.results import Prediction

TURN_ASPECT = 1.5
"""Height / width from which an image may show upright text."""
SURE = 0.95
"""Confidence below which an image is also read stretched and, if its text slopes, levelled."""
STRETCHES = (1.5, 0.8)
"""Factors by which an image that is read unsurely is made wider."""
WINDOW = 8
"""Number of batches whose images are sorted together, so that images of similar width share a batch."""

CUT = (
    "Some texts are longer than the %d characters that this model writes. They were cut and are marked as unsure. "
    "Train with a higher --max-prediction to read them whole."
)

log = logging.getLogger("aocr")


class Predictor:
    """A trained model, ready to read; `source` describes its weights in messages, `warns` is about cut texts.

    With `uses_views`, images far higher than wide are also read turned, those that are read unsurely also levelled and
    stretched, and the surest reading counts.
    Several threads may read with it at once. After a fork, TensorFlow's readers raise an AocrError; those of ONNX
    Runtime work.
    """

    def __init__(
        self, reader: Reader, batch_size: int = 64, source: str = "", uses_views: bool = False, warns: bool = True
    ):
        self.reader, self.config, self.batch_size, self.source = reader, reader.config, batch_size, source
        self.uses_views, self._has_warned = uses_views, not warns

    def predict(self, images: Any, *, colour: str = "rgb") -> list[Prediction]:
        """Read images.

        Args:
          images: one image or an iterable of images, each a path (`path#x,y,width,height` names a part), encoded
            bytes, a file object, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or float in
            0 to 1; or an array (N, H, W, C).
          colour: order of the channels of arrays, `rgb` or `bgr` (OpenCV).

        Returns:
          One Prediction per image, in order.

        Raises:
          ImageError: an image cannot be read.
          ConfigError: `colour` is something else.
        """
        results = []
        for result in self.predict_each(images, colour=colour):
            if isinstance(result, ImageError):
                raise result
            results.append(result)
        return results

    def predict_each(self, images: Any, *, colour: str = "rgb") -> Iterator[Prediction | ImageError]:
        """Yield the Prediction of each image, or the ImageError of one that cannot be read; `images` may be endless."""
        if colour not in ("rgb", "bgr"):
            raise ConfigError("colour", colour, "must be rgb or bgr.")
        images = iter([images] if is_single(images) else images)
        while window := [_to_bytes(image, colour) for image in islice(images, WINDOW * self.batch_size)]:
            readable = (i for i, image in enumerate(window) if not isinstance(image, ImageError))
            order = sorted(readable, key=lambda i: window[i].width / window[i].height)
            results: dict[int, Any] = dict(enumerate(window))
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                results.update(zip(batch, self.read_batch([window[i].data for i in batch]), strict=True))
            self._warn_of_cut(results.values())
            yield from (results[i] for i in range(len(window)))

    def _warn_of_cut(self, results: Iterable[Any]) -> None:
        """Warn once if a text was cut at the model's limit."""
        if not self._has_warned and any(isinstance(result, Prediction) and result.cut for result in results):
            self._has_warned = True
            log.warning(CUT, self.config.max_prediction)

    def read_batch(self, images: Sequence[bytes]) -> list[Prediction]:
        """Read encoded images as one batch, some also in other views if this model `uses_views`."""
        results = self.read_encoded(images)
        self.try_views(images, results)
        return results

    def try_views(self, images: Sequence[bytes], results: list[Prediction]) -> None:
        """Replace results by surer ones of high images turned, and of unsure images levelled and stretched.

        Does nothing unless this model `uses_views`.
        """
        if not self.uses_views:
            return
        sizes = [open_image(image).size for image in images]
        high = [i for i, (width, height) in enumerate(sizes) if height >= TURN_ASPECT * width]
        unsure = [i for i, result in enumerate(results) if result.confidence < SURE]
        pictures = {i: load_image(images[i], f"image {i + 1}") for i in {*high, *unsure}}
        tries = [(i, View(turn=turn)) for turn in ("left", "right") for i in high]
        tries += [(i, View(angle=angle)) for i in unsure if (angle := slope_of(pictures[i]))]
        tries += [(i, View(stretch=stretch)) for stretch in STRETCHES for i in unsure]
        tries.sort(key=lambda each: each[1].aspect(*sizes[each[0]]))  # similar widths share a batch
        for start in range(0, len(tries), self.batch_size):
            batch = tries[start : start + self.batch_size]
            readings = self.read_views([pictures[i] for i, _ in batch], [view for _, view in batch])
            for (i, _), reading in zip(batch, readings, strict=True):
                if reading.text and reading.confidence > results[i].confidence:
                    results[i] = reading

    def read_views(self, pictures: Sequence[Image.Image], views: Sequence[View]) -> list[Prediction]:
        """Read RGB images as one batch, each in one view."""
        seen = [encode_image(view.of(picture), "BMP") for view, picture in zip(views, pictures, strict=True)]
        readings = zip(views, self.read_encoded(seen), pictures, strict=True)
        return [view.back(reading, picture.size) for view, reading, picture in readings]

    def read_encoded(self, images: Sequence[bytes]) -> list[Prediction]:
        """Read encoded png, jpeg, bmp or gif images as one batch, as exports do: without converting them first."""
        pixels = self.reader.transform(images)
        reading = self.reader.read(pixels.images, pixels.widths)
        return to_predictions(reading, pixels, self.reader)


def _to_bytes(image: Any, colour: str) -> Any:
    """Convert an image to a CanonicalImage, or return the ImageError that says why it cannot be read."""
    if isinstance(image, (ImageError, CanonicalImage)):
        return image
    try:
        path, region = split_region(str(image)) if isinstance(image, (str, os.PathLike)) else ("", ())
        if region:
            return canonical_image(cut_out(read_file(path), region, path))
        return image_to_bytes(image, colour=colour)
    except ImageError as error:
        return error


def load(
    model_dir: files.Path = "checkpoints",
    *,
    precision: str = "float32",
    batch_size: int = 64,
    read_config: ReadConfig | None = None,
) -> Predictor:
    """Load a trained model into ONNX Runtime, or into TensorFlow if ONNX Runtime is not installed.

    TensorFlow is also used on a GPU, and for another precision than float32.

    Args:
      model_dir: a model folder, `words`, or an ONNX export.
      precision: of the convolutions: float32, bfloat16, float16 or auto (the machine's fastest).
      batch_size: images read together.
      read_config: beam and constraints; None: greedy, any text.

    Raises:
      CheckpointError: the model is missing or damaged, or a newer aocr or another program wrote it.
      ConfigError: a pattern, lexicon or precision cannot be used with this model.
    """
    model_dir = os.fspath(model_dir)
    is_export = files.is_graph(model_dir)
    if not is_export and not _uses_onnxruntime(precision):
        return load_network(model_dir, precision=precision, batch_size=batch_size, read_config=read_config)
    if precision not in ("float32", "auto"):
        raise ConfigError("--precision", precision, "ONNX Runtime reads in float32. Leave the flag out.")
    from aocr.reading.onnx import OnnxReader, open_export, open_weights

    if is_export:
        graph, source = open_export(model_dir), f"{model_dir}, an ONNX export"
    else:
        folder = open_folder(model_dir)
        graph, source = open_weights(folder), _describe(folder)
    return Predictor(OnnxReader(graph, read_config), batch_size, source, uses_views=is_box(model_dir))


def load_network(
    model_dir: str, *, precision: str = "float32", batch_size: int = 64, read_config: ReadConfig | None = None
) -> Predictor:
    """Load a model folder into TensorFlow, whose reader also computes likelihoods. Arguments as in `load`.

    Raises:
      AocrError: as `load`, or this process was forked after TensorFlow had started.
    """
    machine.start_tensorflow()
    machine.check_not_forked()
    from aocr.folder.variables import assign_weights
    from aocr.model.recognizer import build_recognizer
    from aocr.reading.network import NetworkReader

    folder = open_folder(model_dir)
    config, weights = folder.read_config(), folder.read_weights()
    precision, _ = machine.choose_precision(precision)
    model = build_recognizer(config, machine.POLICIES[precision])
    assign_weights(model_dir, model, weights)
    reader = NetworkReader(model, config, read_config, folder.weights_info().temperature)
    return Predictor(reader, batch_size, _describe(folder), uses_views=is_box(model_dir))


def _uses_onnxruntime(precision: str) -> bool:
    """Whether ONNX Runtime is to read a model folder."""
    if not machine.has_package("tensorflow"):
        return True
    return precision == "float32" and machine.has_package("onnxruntime") and not machine.has_gpu()


def _describe(folder: ModelFolder) -> str:
    return f"{folder}, {folder.weights_info().describe()}"
