"""The models that a server reads with, and their versions."""

from __future__ import annotations

import io
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from aocr import files, machine
from aocr.config import ModelConfig, ReadConfig, width_at
from aocr.data import pixels
from aocr.errors import AocrError, CheckpointError
from aocr.folder.model_folder import MODEL, ModelFolder
from aocr.folder.words import NAME as WORDS
from aocr.reading.predictions import to_predictions
from aocr.reading.predictor import Predictor, load
from aocr.results import Prediction
from aocr.serving.batching import Read
from aocr.serving.web import HTTPError

log = logging.getLogger("aocr")

MAX_WAYS = 16
"""Ways of reading (beam, pattern, lexicon) that a model keeps ready; the one longest unused makes room."""


def name_of(path: str) -> str:
    """What a model is called in requests: its folder's name, or that of its file."""
    path = path.rstrip("/") or path
    stem = os.path.basename(path).removesuffix(".onnx") if files.is_graph(path) else os.path.basename(path)
    return os.path.basename(os.path.dirname(os.path.abspath(path))) if stem == "reader" else stem


def find_versions(path: str) -> dict[int, str]:
    """Version number -> what can be loaded. A model that is no folder of numbered exports has the one version 1.

    Raises:
      CheckpointError: there is nothing of ours.
    """
    if files.is_graph(path) or (path == WORDS and not files.is_folder(path)):
        return {1: path}
    names = files.names_in(path) if files.is_folder(path) else []
    if MODEL not in names and (numbers := [name for name in names if name.isdecimal()]):
        inside = {int(name): _model_in(os.path.join(path, name)) for name in numbers}
        if found := {number: inner for number, inner in inside.items() if inner}:
            return found
        reason = "holds exports of another kind (a SavedModel may run anything). Make them with --format onnx."
        raise CheckpointError(path, reason)
    return {1: _model_in(path) or path}


def _model_in(folder: str) -> str | None:
    """The model folder or the ONNX export that a folder is or holds."""
    names = files.names_in(folder) if files.is_folder(folder) else []
    graphs = [name for name in names if files.is_graph(name)]
    if MODEL in names:
        return folder
    return os.path.join(folder, graphs[0]) if len(graphs) == 1 else None


class Version:
    """One version of a model, ready to read.

    Args:
      number: of the version.
      path: of the model.
      batch_size: images read together.

    Attributes:
      number: of the version.
      config: of the model.
      about: the checkpoint in words.

    Raises:
      AocrError: it cannot be loaded, or does not read.
    """

    def __init__(self, number: int, path: str, batch_size: int):
        self.number, self._batch_size = number, batch_size
        self._plain = load(path, batch_size=batch_size)
        self.config: ModelConfig = self._plain.config
        self.about = self._plain.source
        self._ways: OrderedDict[ReadConfig, Predictor] = OrderedDict()
        self._warm_up()

    def _warm_up(self) -> None:
        """Read blank images, two so that TensorFlow traces its graph now: no client waits for the first reading."""
        blank = io.BytesIO()
        Image.new("L", (2 * self.config.height, self.config.height), 255).save(blank, "PNG")
        self._plain.read_encoded(2 * [blank.getvalue()])

    def width(self, width: int, height: int) -> int:
        """Pixels that an image is wide as the network sees it."""
        return min(int(width_at(self.config.height, width, height)), self.config.network_width)

    def reading(self, how: ReadConfig) -> Read:
        """What reads encoded images so. May take a while: not in the event loop.

        Raises:
          ConfigError: the pattern or lexicon cannot be used with this model.
        """
        if how == ReadConfig():
            return self._plain.read_encoded
        predictor = self._ways.pop(how, None) or Predictor(self._plain.reader.with_config(how), self._batch_size)
        self._ways[how] = predictor
        while len(self._ways) > MAX_WAYS:
            self._ways.popitem(last=False)
        return predictor.read_encoded

    def read_pixels(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Read decoded images, (H, W, C) from 0 to 255, one batch."""
        found, widths, scales = pixels.batched(images, self.config, pixels.scale_image)
        reading = self._plain.reader.read(found, widths)
        return to_predictions(reading, scales, [image.shape[1] for image in images], self.config.charset)


class Model:
    """A model that is served: the newest version of it that can be read.

    Args:
      path: a model folder, an ONNX export, or a folder of numbered ones.
      name: in requests; empty: `name_of` the path.
      batch_size: images read together.

    Attributes:
      name: in requests.
      version: that reads.

    Raises:
      AocrError: it cannot be loaded.
    """

    def __init__(self, path: str, name: str, batch_size: int):
        self.path, self.name = path, name or name_of(path)
        self._load = partial(Version, batch_size=batch_size)
        found = find_versions(path)
        newest = max({n: inner for n, inner in found.items() if not _in_training(inner)}.items() or found.items())
        self._is_numbered = len(found) > 1 or newest[1] != path
        self._seen: dict[int, list] = {}
        self._failed: dict[int, list] = {}
        self._was_replaced = False  # a version was, since the last look
        self.version = self._load(*newest)

    def find(self, number: str | None) -> Version:
        """The version that a request asks for.

        Raises:
          HTTPError: it is not the one that is served.
        """
        if number is not None and int(number) != self.version.number:
            raise HTTPError(404, f"{self.name} is served in version {self.version.number}.")
        return self.version

    def look_for_newer(self) -> None:
        """Take up another version where there is one, its training has ended and its files stand still."""
        if not self._is_numbered:
            return
        if self._was_replaced:  # by now its last requests are answered
            self._was_replaced = False
            machine.give_back_memory()
        try:
            found = {number: (path, _sizes(path)) for number, path in find_versions(self.path).items()}
        except (AocrError, OSError):  # the folder is being replaced
            return
        for number, (path, sizes) in sorted(found.items(), reverse=True):
            if number == self.version.number:
                return
            if sizes == self._failed.get(number) or _in_training(path):
                continue
            if sizes != self._seen.get(number):  # it may still be written
                self._seen[number] = sizes
                return
            if self._take_up(number, path):
                return
            self._failed[number] = sizes

    def _take_up(self, number: int, path: str) -> bool:
        try:
            self.version = self._load(number, path)
        except Exception as error:  # a damaged model brings libraries to errors of many kinds
            log.warning("Version %d is not taken up: %s", number, files.one_line(error))
            return False
        self._was_replaced = True
        log.info("%s: version %d reads from now on.", self.name, number)
        return True


def _in_training(path: str) -> bool:
    """Whether a model is not done yet."""
    return files.is_folder(path) and ModelFolder(path).is_in_training()


def _sizes(path: str) -> list[tuple[str, int]]:
    """Names and bytes of a model's files."""
    if files.is_graph(path):
        return [(path, files.size(path))]
    paths = [os.path.join(path, name) for name in files.names_in(path)]
    return [(path, files.size(path)) for path in paths if not files.is_folder(path)]
