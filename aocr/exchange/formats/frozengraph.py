"""A frozen graph: one file, with the ends that exports of aocr 0.7.6 have."""

from __future__ import annotations

import os
from collections.abc import Iterator

ABOUT = "frozen graph"
MAIN_FILE = "frozen_graph.pb"
NEEDED = ()
IS_FOLDER = False

INPUT, OUTPUTS = "input_image_as_bytes", ["prediction", "probability"]


def write(predictor, folder: str) -> None:
    """As `Format.write`."""
    from aocr import files
    from aocr.exchange.serving import ServingModule
    from aocr.reading.freezing import Part, freeze

    module = ServingModule(predictor)  # its functions hold it weakly
    serve = Part(module.serve.get_concrete_function(), [INPUT], OUTPUTS)
    graph = freeze({"aocr": serve})  # of the outputs `output`, `probability`
    files.write(os.path.join(folder, MAIN_FILE), graph.as_graph_def().SerializeToString())


def read_back(folder: str, samples) -> Iterator[tuple]:
    """As `Format.read_back`."""
    import numpy as np
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    with open(os.path.join(folder, MAIN_FILE), "rb") as file:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(file.read()), name="")
    session = tf.compat.v1.Session()
    for batch in (*samples.images, samples.images):
        texts, probabilities = session.run([f"{name}:0" for name in OUTPUTS], {f"{INPUT}:0": batch})
        yield from zip(np.ravel(np.array(texts, object)), np.ravel(probabilities), strict=True)
