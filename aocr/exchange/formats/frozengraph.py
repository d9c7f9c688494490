"""A frozen graph: one file, with the input and output names of aocr 0.7.6's exports."""

from __future__ import annotations

import os
from collections.abc import Iterator

ABOUT = "frozen graph"
MAIN_FILE = "frozen_graph.pb"
NEEDED = ()
IS_FOLDER = False

INPUT, OUTPUTS = "input_image_as_bytes", ["prediction", "probability"]


def write(predictor, folder: str) -> None:
    """See `Format.write`."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from aocr import files
    from aocr.exchange.serving import ServingModule

    module = ServingModule(predictor)  # keep a reference: its functions hold it weakly
    frozen = convert_variables_to_constants_v2(module.serve.get_concrete_function())
    (source,) = frozen.inputs
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(source.dtype, source.shape, INPUT)
        names = [tensor.name for tensor in frozen.outputs]  # of `output` and `probability`
        outputs = tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), {source.name: images}, names, name="aocr")
        for output, name in zip(outputs, OUTPUTS, strict=True):
            tf.identity(output, name)
    files.write(os.path.join(folder, MAIN_FILE), graph.as_graph_def().SerializeToString())


def read_back(folder: str, samples) -> Iterator[tuple]:
    """See `Format.read_back`."""
    import numpy as np
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    with open(os.path.join(folder, MAIN_FILE), "rb") as file:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(file.read()), name="")
    session = tf.compat.v1.Session()
    for batch in (*samples.images, samples.images):
        texts, probabilities = session.run([f"{name}:0" for name in OUTPUTS], {f"{INPUT}:0": batch})
        yield from zip(np.ravel(np.array(texts, object)), np.ravel(probabilities), strict=True)
