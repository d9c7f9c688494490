"""LiteRT (TensorFlow Lite), for phones: reads one image at a time, padded to the network's width.

LiteRT has no loops, so every step is written out. The settings of model.json are in `reader.json` beside the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

ABOUT = "LiteRT model (for phones)"
MAIN_FILE = "reader.tflite"
NEEDED = ("ai_edge_litert",)
IS_FOLDER = False

QUANTIZATIONS = ("float16", "int8")
SETTINGS = "reader.json"
MAX_STEPS = 300
"""Maximum number of memory columns plus decoder steps."""


def write(predictor, folder: str, quantize: str | None = None) -> None:
    """See `Format.write`."""
    import json
    import tempfile

    import tensorflow as tf

    from aocr import files, machine

    module = tf.Module()
    module.weights = [variable.value for variable in predictor.reader.model.variables]
    with machine.quiet(), tempfile.TemporaryDirectory() as saved:  # the converter keeps names only of a SavedModel
        tf.saved_model.save(module, saved, signatures=_function(predictor))
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        data = converter.convert()
    files.write(os.path.join(folder, MAIN_FILE), data)
    settings = json.dumps(predictor.config.to_dict(), ensure_ascii=False)
    files.write(os.path.join(folder, SETTINGS), settings.encode())


def _function(predictor):
    """Return a concrete function that reads an image (1, H, W, C) of a width (1,)."""
    import tensorflow as tf

    from aocr.config import COLUMN_PIXELS
    from aocr.data.preprocess import padded_width
    from aocr.errors import ExportError
    from aocr.model.layers import unrolled

    config = predictor.config
    width = config.network_width if config.traits.fixed_width else padded_width(config.network_width)
    if (steps := -(-width // COLUMN_PIXELS) + config.max_steps) > MAX_STEPS:
        reason = f"this model has {steps} steps, the format supports up to {MAX_STEPS}."
        raise ExportError(f"A litert export cannot be made: {reason} Use --format onnx.")
    image = tf.TensorSpec((1, config.height, width, config.channels), tf.float32, "image")

    @tf.function(input_signature=(image, tf.TensorSpec((1,), tf.int32, "width")))
    def read(image, width):
        with unrolled():
            reading = predictor.reader.model.read(image, width, temperatures=(predictor.reader.temperature,))
        return {"ids": reading.ids, "probabilities": reading.probabilities, "confidence": reading.confidence}

    return read.get_concrete_function()


def read_back(folder: str, samples) -> Iterator[tuple]:
    """See `Format.read_back`. The images of a batch are read one by one."""
    import json

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    with open(os.path.join(folder, SETTINGS), encoding="utf-8") as file:
        charset = json.load(file)["charset"]
    interpreter = Interpreter(os.path.join(folder, MAIN_FILE), num_threads=1)
    run = interpreter.get_signature_runner()
    shape = run.get_input_details()["image"]["shape"]
    for images, widths in samples.pixels:
        for image, width in zip(images, widths, strict=True):
            padded = np.zeros(shape, np.float32)
            padded[0, :, : image.shape[1]] = image[:, : shape[2]]
            outputs = run(image=padded, width=np.array([width], np.int32))
            yield samples.texts(outputs["ids"], charset)[0], outputs["confidence"][0]
