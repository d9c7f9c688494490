"""Reading images with a trained model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from aocr import files, machine
from aocr.config import ModelConfig, ReadConfig
from aocr.data.images import image_to_bytes
from aocr.errors import AocrError, ConfigError, ImageError
from aocr.folder.model_folder import Chosen, ModelFolder
from aocr.folder.words import open_folder
from aocr.reading.predictions import to_predictions
from aocr.reading.reader import Reader
from aocr.results import Prediction

WINDOW = 8
"""Batches' worth of images that are looked at together, so that images of like width share a batch."""


class Predictor:
    """A trained model, ready to read.

    Args:
      reader: that reads batches.
      batch_size: images read together.
      chosen: the checkpoint that it reads with.
    """

    def __init__(self, reader: Reader, batch_size: int = 64, chosen: Chosen | None = None):
        self.reader, self.config, self.batch_size, self.chosen = reader, reader.config, batch_size, chosen

    def close(self) -> None:
        """To be called when all is read; a reader may keep itself for the next time."""
        self.reader.close()

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
        results = []
        for result in self.predict_each(images):
            if isinstance(result, ImageError):
                raise result
            results.append(result)
        return results

    def predict_each(self, images: Iterable[Any]) -> Iterator[Prediction | ImageError]:
        """As `predict`, one after the other and without end: an image that cannot be read gives its error."""
        images = iter(images)
        while window := [_checked(image) for image in islice(images, WINDOW * self.batch_size)]:
            readable = (i for i, image in enumerate(window) if not isinstance(image, ImageError))
            order = sorted(readable, key=lambda i: window[i].width / window[i].height)
            results: dict[int, Any] = dict(enumerate(window))
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                results.update(zip(chosen, self.read_encoded([window[i].data for i in chosen]), strict=True))
            yield from (results[i] for i in range(len(window)))

    def read_encoded(self, images: Sequence[bytes]) -> list[Prediction]:
        """Read encoded png, jpeg, bmp or gif images as they are and as one batch, the way an export does."""
        pixels, widths, scales = self.reader.transform(images)
        reading = self.reader.read(pixels, widths)
        original = [round(width * scale) for width, scale in zip(widths, scales, strict=True)]
        return to_predictions(reading, scales, original, self.config.charset, self.reader.num_alternatives)


def _checked(image: Any) -> Any:
    """The image as it can be read, or the ImageError that says why it cannot."""
    try:
        return image_to_bytes(image)
    except ImageError as error:
        return error


def _reads_by_onnx(quick: bool, precision: str) -> bool:
    if not machine.has_package("tensorflow"):
        _check_float32(precision)
        return True
    return quick and precision == "float32" and machine.has_package("onnxruntime") and not machine.has_gpu()


def _check_float32(precision: str) -> None:
    if precision not in ("float32", "auto"):
        raise ConfigError("--precision", precision, "ONNX Runtime reads in float32. Leave the flag out.")


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
      model_dir: the model folder, or an ONNX export, which is read without TensorFlow.
      precision: of the convolutions: float32, bfloat16, float16 or auto (the machine's fastest).
      batch_size: images read together.
      how: beam and constraints; None: greedy, any text.
      quick: read without building the network where that can be. By ONNX Runtime where it is installed, for float32
        and where there is no GPU; else, for greedy reading of any text, with the frozen graph that the user's cache
        keeps of this model, if it does, or `close` keeps one for the next time.

    Raises:
      CheckpointError: the folder is missing, empty, damaged, of a newer aocr or of another program.
      ConfigError: a pattern, lexicon or precision cannot be used with this model.
    """
    if files.is_graph(model_dir):
        _check_float32(precision)
        from aocr.reading.onnx import open_graph

        return Predictor(open_graph(model_dir, how), batch_size, Chosen(model_dir, "ONNX export"))
    folder = open_folder(model_dir)
    while True:
        config, chosen = folder.read_config(), folder.choose()
        try:
            return Predictor(_checkpoint_reader(folder, config, chosen, how, precision, quick), batch_size, chosen)
        except (AocrError, OSError):
            if folder.choose() == chosen:
                raise
            # else a training under way has put a better one in its place meanwhile


def _checkpoint_reader(
    folder: ModelFolder, config: ModelConfig, chosen: Chosen, how: ReadConfig | None, precision: str, quick: bool
) -> Reader:
    """The reader of a model folder's checkpoint, as `load` says."""
    if _reads_by_onnx(quick, precision):
        from aocr.reading.onnx import open_checkpoint

        return open_checkpoint(chosen, config, how)
    return _network_reader(folder, config, chosen, how, precision, quick)


def _network_reader(
    folder: ModelFolder, config: ModelConfig, chosen: Chosen, how: ReadConfig | None, precision: str, quick: bool
) -> Reader:
    """The reader by TensorFlow of a model folder: its network, or the frozen graph that was kept of it."""
    machine.start_tensorflow()
    from aocr.folder.shapes import check_shapes, key_shapes
    from aocr.folder.variables import assign_weights
    from aocr.folder.weights import read_weights
    from aocr.model.recognizer import build_recognizer
    from aocr.reading import frozen
    from aocr.reading.network import NetworkReader

    precision, _ = machine.choose_precision(precision)
    key = frozen.key_of(folder, chosen, precision) if quick and how in (None, ReadConfig()) else None
    kept = frozen.kept_reader(key, config) if key else None
    if kept:
        return kept
    weights = read_weights(chosen.prefix)
    check_shapes(chosen.prefix, weights, key_shapes(config))
    model = build_recognizer(config, machine.POLICIES[precision])
    assign_weights(chosen.prefix, model, weights)
    if key:
        return frozen.KeepingReader(key, model, config, chosen.temperature)
    return NetworkReader(model, config, how, chosen.temperature)
