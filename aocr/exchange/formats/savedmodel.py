"""A SavedModel that includes the preprocessing."""

from __future__ import annotations

import os
from collections.abc import Iterator

ABOUT = "SavedModel (for TensorFlow Serving)"
MAIN_FILE = "saved_model.pb"
NEEDED = ()
IS_FOLDER = True


def write(predictor, folder: str) -> None:
    """See `Format.write`. TensorFlow Serving ignores `assets.extra`."""
    import tensorflow as tf

    from aocr.exchange.serving import ServingModule
    from aocr.folder.model_folder import ModelFolder

    module = ServingModule(predictor)
    pixels = module.pixels_function()
    signatures = {"serving_default": module.serve.get_concrete_function(), "pixels": pixels.get_concrete_function()}
    tf.saved_model.save(module, folder, signatures=signatures)
    ModelFolder(os.path.join(folder, "assets.extra")).write_config(predictor.config)


def read_back(folder: str, samples) -> Iterator[tuple]:
    """See `Format.read_back`; at the end the first image, a png, is read from its pixels."""
    import numpy as np
    import tensorflow as tf

    signatures = tf.saved_model.load(folder).signatures
    images = samples.images
    pixels = tf.cast(tf.io.decode_image(images[0], channels=samples.channels), tf.float32)[None]
    calls = [("serving_default", batch) for batch in (*images, images)]
    for name, batch in (*calls, ("pixels", pixels)):
        result = signatures[name](input=tf.constant(batch))
        yield from zip(np.ravel(result["output"]), np.ravel(result["probability"]), strict=True)
