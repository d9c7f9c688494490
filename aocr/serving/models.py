"""The models that a server reads with, and their versions."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from aocr import files, machine
from aocr.config import ModelConfig, ReadConfig, width_at
from aocr.data import pixels
from aocr.errors import AocrError, CheckpointError
from aocr.folder.model_folder import MODEL, ModelFolder
from aocr.folder.words import is_box
from aocr.reading.predictions import to_predictions
from aocr.reading.predictor import Predictor, load
from aocr.reading.reader import Pixels
from aocr.results import Prediction
from aocr.serving.batching import Read
from aocr.serving.web import HTTPError

log = logging.getLogger("aocr")

MAX_READERS = 16
"""Combinations of beam, pattern and lexicon that a model keeps ready; the least recently used is dropped."""


def name_of(path: str) -> str:
    """Return the name of a model in requests: that of its folder or file."""
    path = path.rstrip("/") or path
    name = os.path.basename(path).removesuffix(".onnx") if files.is_graph(path) else os.path.basename(path)
    return os.path.basename(os.path.dirname(os.path.abspath(path))) if name == "reader" else name


def find_versions(path: str) -> dict[int, str]:
    """Return {version number: model path}; a path that is not a folder of numbered models has version 1 only.

    Raises:
      CheckpointError: the folder holds exports of another format.
    """
    if files.is_graph(path) or is_box(path):
        return {1: path}
    names = files.names_in(path) if files.is_folder(path) else []
    numbers = [name for name in names if name.isdecimal()]
    if MODEL in names or not numbers:
        return {1: _model_in(path) or path}
    models = {int(name): _model_in(os.path.join(path, name)) for name in numbers}
    versions = {number: model for number, model in models.items() if model}
    if not versions:
        reason = "holds exports of another format (loading a SavedModel could run any code). Export with --format onnx."
        raise CheckpointError(path, reason)
    return versions


def _model_in(folder: str) -> str | None:
    """Return the model in a folder: the folder itself, or its only ONNX export."""
    names = files.names_in(folder) if files.is_folder(folder) else []
    graphs = [name for name in names if files.is_graph(name)]
    if MODEL in names:
        return folder
    return os.path.join(folder, graphs[0]) if len(graphs) == 1 else None


class Version:
    """One version of a model, loaded and ready to read in batches of up to `batch_size` images, usually with `usual`.

    Raises:
      AocrError: the model cannot be loaded or cannot read.
    """

    def __init__(self, number: int, path: str, batch_size: int, usual: ReadConfig):
        self.number = number
        predictor = self.predictor = load(path, batch_size=batch_size, read_config=usual)
        self.config: ModelConfig = predictor.config

        def make_reader(read_config: ReadConfig) -> Read:
            """Return the function that reads encoded images with `read_config`; this may take seconds."""
            if read_config == usual:
                return predictor.read_batch
            reader = predictor.reader.with_config(read_config)
            return Predictor(reader, batch_size, uses_views=predictor.uses_views).read_batch

        self.reader = lru_cache(MAX_READERS)(make_reader)
        blank = io.BytesIO()  # a first batch makes TensorFlow trace its graph, and shows whether the model can read
        Image.new("L", (2 * self.config.height, self.config.height), 255).save(blank, "PNG")
        predictor.read_encoded(2 * [blank.getvalue()])

    def width(self, width: int, height: int) -> int:
        """Return the width of an image at the network's height, in pixels."""
        if self.config.turn != "none":
            width, height = height, width
        return min(int(width_at(self.config.height, width, height)), self.config.network_width)

    def read_pixels(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Read a batch of decoded images, each (H, W, C) with values from 0 to 255."""
        batch = Pixels(*pixels.batched(images, self.config, pixels.scale_image))
        reading = self.predictor.reader.read(batch.images, batch.widths)
        return to_predictions(reading, batch, self.predictor.reader)


class Model:
    """A model folder, an ONNX export, or a folder of numbered ones, of which the newest is served.

    If `name` is empty, it is `name_of(path)`.
    """

    def __init__(self, path: str, name: str, batch_size: int, usual: ReadConfig | None = None):
        self.path, self.name, self._options = path, name or name_of(path), (batch_size, usual or ReadConfig())
        versions = find_versions(path)
        finished = {number: model for number, model in versions.items() if not _in_training(model)}
        number = max(finished or versions)
        self._is_numbered = versions != {1: path}
        self._seen: dict[int, list] = {}
        self._failed: dict[int, list] = {}
        self.version = Version(number, versions[number], *self._options)

    def find(self, number: str | None) -> Version:
        """Return the current version; raise an HTTPError if a request names another."""
        if number is not None and int(number) != self.version.number:
            raise HTTPError(404, f"{self.name} is served in version {self.version.number}.")
        return self.version

    def look_for_newer(self) -> None:
        """Load another version if there is one whose training has ended and whose files no longer change."""
        if not self._is_numbered:
            return
        try:
            versions = {number: (path, _file_sizes(path)) for number, path in find_versions(self.path).items()}
        except (AocrError, OSError):  # the folder is being replaced
            return
        for number, (path, sizes) in sorted(versions.items(), reverse=True):
            if number == self.version.number:
                return
            if sizes == self._failed.get(number) or _in_training(path):
                continue
            if sizes != self._seen.get(number):  # its files may still change
                self._seen[number] = sizes
                return
            if self._load(number, path):
                return
            self._failed[number] = sizes

    def _load(self, number: int, path: str) -> bool:
        try:
            self.version = Version(number, path, *self._options)
        except Exception as error:  # damaged models raise errors of many kinds
            log.warning("%s: version %d cannot be loaded: %s", self.name, number, files.one_line(error))
            return False
        log.info("%s: now serving version %d.", self.name, number)
        machine.give_back_memory()
        return True


def _in_training(path: str) -> bool:
    return files.is_folder(path) and ModelFolder(path).is_in_training()


def _file_sizes(path: str) -> list[tuple[str, int]]:
    """Return names and sizes in bytes of a model's files."""
    if files.is_graph(path):
        return [(path, files.size(path))]
    paths = [os.path.join(path, name) for name in files.names_in(path)]
    return [(path, files.size(path)) for path in paths if not files.is_folder(path)]
