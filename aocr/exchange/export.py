"""Exports: written, loaded again in a process without aocr, compared with the model, and only then kept."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from aocr import files
from aocr.config import ModelConfig
from aocr.data.preprocess import batched, preprocess, scale_image
from aocr.errors import ExportError
from aocr.folder.model_folder import MODEL, ModelFolder
from aocr.reading.freezing import Part, freeze
from aocr.reading.predictor import Predictor
from aocr.text.charset import EOS, NUM_SPECIALS

TOLERANCE = 1e-3
"""Largest difference in probability between an export and the model."""


class ServingModule(tf.Module):
    """A model with the whole preprocessing in graph, for programs that know nothing of aocr.

    Args:
      predictor: the model.
    """

    def __init__(self, predictor: Predictor):
        super().__init__()
        self._variables = [v.value for v in predictor.model.variables]
        self._model, self._config = (lambda: predictor.model), predictor.config
        self._temperature = predictor.temperature
        specials = [""] * NUM_SPECIALS
        self._symbols = np.array(specials + [c.encode() for c in predictor.config.charset.symbols], object)

    def _read_all(self, items: tf.Tensor, transform: Callable) -> dict[str, tf.Tensor]:
        """Transform each item to the network's image, read them as one batch."""
        images, widths, _ = batched(items, self._config, transform)
        reading = self._model().read(images, widths, temperatures=(self._temperature,))
        before_end = tf.math.cumsum(tf.cast(tf.equal(reading.ids, EOS), tf.int32), axis=1) == 0
        symbols = tf.gather(tf.constant(self._symbols, tf.string), reading.ids)
        text = tf.strings.reduce_join(tf.where(before_end, symbols, ""), axis=1)
        return {"output": text, "probability": tf.cast(reading.confidence, tf.float64)}

    @tf.function(input_signature=(tf.TensorSpec(None, tf.string, name="input"),))
    def serve(self, input):
        """Encoded images, string [] or [batch] -> output (text) and probability of the same shape."""
        results = self._read_all(tf.reshape(input, [-1]), preprocess)
        return {name: tf.reshape(value, tf.shape(input)) for name, value in results.items()}

    def pixels_function(self):
        """A function of float images of one size, (batch, height, width, channels), values 0 to 255."""
        spec = tf.TensorSpec((None, None, None, self._config.channels), tf.float32, name="input")
        return tf.function(lambda input: self._read_all(input, scale_image), input_signature=(spec,))


def _write_savedmodel(predictor: Predictor, folder: str) -> None:
    module = ServingModule(predictor)
    pixels = module.pixels_function()
    signatures = {"serving_default": module.serve.get_concrete_function(), "pixels": pixels.get_concrete_function()}
    tf.saved_model.save(module, folder, signatures=signatures)
    extra = os.path.join(folder, "assets.extra")
    os.makedirs(extra, exist_ok=True)
    files.write(os.path.join(extra, MODEL), files.read(ModelFolder(predictor.model_dir).file(MODEL)))


def _write_frozen_graph(predictor: Predictor, folder: str) -> None:
    module = ServingModule(predictor)  # its functions hold it weakly
    serve = Part(module.serve.get_concrete_function(), ["input_image_as_bytes"], ["prediction", "probability"])
    graph = freeze({"aocr": serve})  # of the outputs `output`, `probability`
    with open(os.path.join(folder, "frozen_graph.pb"), "wb") as file:
        file.write(graph.as_graph_def().SerializeToString())


WRITERS = {"savedmodel": _write_savedmodel, "frozengraph": _write_frozen_graph}


def _samples(config: ModelConfig) -> list[bytes]:
    """Drawn images of several sizes and formats."""
    symbols = [c for c in config.charset.symbols if c.isprintable()] or ["x"]
    draws = np.random.default_rng(0)
    samples = []
    for i, (width, height, kind) in enumerate(
        ((100, 32, "PNG"), (160, 60, "JPEG"), (60, 20, "BMP"), (300, 40, "GIF"), (40, 64, "PNG"), (90, 33, "JPEG"))
    ):
        text = "".join(draws.choice(symbols, 1 + i))
        image = Image.new("RGB", (width, height), tuple(draws.integers(150, 256, 3).tolist()))
        font = ImageFont.load_default(max(8, height * 2 // 3))
        ImageDraw.Draw(image).text((4, height // 8), text, tuple(draws.integers(0, 100, 3).tolist()), font)
        buffer = io.BytesIO()
        image.save(buffer, kind)
        samples.append(buffer.getvalue())
    return samples


_CHILD = """
import base64, json, os, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "aocr":
            raise ImportError("aocr is out of reach here")
sys.meta_path.insert(0, Blocked())
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
request = json.load(sys.stdin)
images = [base64.b64decode(image) for image in request["images"]]
import tensorflow as tf
if request["format"] == "savedmodel":
    model = tf.saved_model.load(request["folder"])
    def read(data):
        result = model.signatures["serving_default"](input=tf.constant(data))
        return result["output"].numpy(), result["probability"].numpy()
else:
    graph = tf.compat.v1.GraphDef()
    with open(os.path.join(request["folder"], "frozen_graph.pb"), "rb") as file:
        graph.ParseFromString(file.read())
    tf.compat.v1.disable_eager_execution()
    tf.import_graph_def(graph, name="")
    session = tf.compat.v1.Session()
    def read(data):
        return session.run(["prediction:0", "probability:0"], {"input_image_as_bytes:0": data})
single = [read(image) for image in images]
together = read(images)
rows = [[text.decode() if isinstance(text, bytes) else text.item().decode(), float(p)] for text, p in single]
rows += [[text.decode(), float(p)] for text, p in zip(*together)]
if request["format"] == "savedmodel":
    for image in images[:1]:
        pixels = tf.cast(tf.io.decode_image(image, channels=request["channels"]), tf.float32)[None]
        result = model.signatures["pixels"](input=pixels)
        rows.append([result["output"].numpy()[0].decode(), float(result["probability"].numpy()[0])])
print("RESULT " + json.dumps(rows))
"""


def _read_elsewhere(folder: str, kind: str, images: list[bytes], config: ModelConfig) -> list[list[Any]]:
    """[text, probability] of each image alone, then all in one batch, in a process that cannot import aocr."""
    request = {
        "folder": os.path.abspath(folder),
        "format": kind,
        "images": [base64.b64encode(image).decode() for image in images],
        "channels": config.channels,
    }
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=json.dumps(request), capture_output=True, text=True, cwd=folder
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[len("RESULT ") :])
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    raise ExportError(f"The {kind} export cannot be loaded on its own: {last[:300]}")


def prove(predictor: Predictor, folder: str, kind: str) -> None:
    """Check that an export reads sample images as the model does.

    Raises:
      ExportError: it cannot be loaded, or a text or a probability differs.
    """
    images = _samples(predictor.config)
    expected = predictor.read_encoded(images)
    expected += expected + (expected[:1] if kind == "savedmodel" else [])
    found = _read_elsewhere(folder, kind, images, predictor.config)
    for prediction, (text, probability) in zip(expected, found, strict=True):
        if text != prediction.text or abs(probability - prediction.confidence) > TOLERANCE:
            ours = f"{prediction.text!r} ({prediction.confidence:.4f})"
            raise ExportError(
                f"The {kind} export reads {text!r} ({probability:.4f}) where the model reads {ours}. Nothing was kept."
            )


MAIN_FILES = {"savedmodel": "saved_model.pb", "frozengraph": "frozen_graph.pb"}
"""The file of an export that is written when all others are there."""


def _destination(export_dir: str, kind: str, numbered: bool) -> str:
    """DIR/1, or the next number that is free; DIR itself for a frozen graph, or where no number is wanted."""
    if kind == "frozengraph" or not numbered:
        return export_dir
    names = (name.rstrip("/") for name in files.names_in(export_dir))
    return os.path.join(export_dir, str(max((int(name) for name in names if name.isdigit()), default=0) + 1))


def _put(folder: str, target: str, main: str) -> None:
    """Move a finished export to its place: by one rename where the place is new and local, else file by file."""
    if "://" not in target and not os.path.exists(target):
        os.chmod(folder, 0o755)
        os.rename(folder, target)
        os.makedirs(folder)  # for the temporary directory to remove
    else:
        files.copy_tree(folder, target, last=main)


def export(predictor: Predictor, export_dir: str, kind: str, numbered: bool = True) -> str:
    """Export a model and prove the export.

    Args:
      predictor: the model, in float32.
      export_dir: folder to write to; made if it is missing.
      kind: `savedmodel` or `frozengraph`.
      numbered: whether a SavedModel goes into a numbered folder inside, as TensorFlow Serving wants.

    Returns:
      Path of what was written.

    Raises:
      ExportError: it cannot be written, or does not read as the model does; then nothing is left behind.
    """
    made = not files.is_folder(export_dir)
    local = None if "://" in export_dir else export_dir
    try:
        files.make_folder(export_dir)
        with tempfile.TemporaryDirectory(prefix=".aocr-", dir=local) as folder:
            WRITERS[kind](predictor, folder)
            prove(predictor, folder, kind)
            path = _destination(export_dir, kind, numbered)
            if kind == "frozengraph" and local:
                os.replace(os.path.join(folder, MAIN_FILES[kind]), os.path.join(path, MAIN_FILES[kind]))
            else:
                _put(folder, path, MAIN_FILES[kind])
        return os.path.join(path, MAIN_FILES[kind]) if kind == "frozengraph" else path
    except (OSError, tf.errors.OpError) as error:
        reason = f"the export cannot be written ({files.one_line(error)})"
        raise ExportError(f"{export_dir}: {reason}. Check rights and space.") from None
    finally:
        if made and local and os.path.isdir(export_dir) and not os.listdir(export_dir):
            os.rmdir(export_dir)
