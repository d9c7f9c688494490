"""The graph that reads, kept in the model folder: the next `aocr predict` need not build the network again.

Building layers and tracing them takes several seconds of Python, reading one image a hundredth of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import aocr
from aocr import files
from aocr.folder.model_folder import MODEL, Chosen, ModelFolder
from aocr.model.decoding import Reading
from aocr.reading.freezing import Part, freeze

NAME = "reading.pb"
FORMAT = 2
"""To be counted up when the graph's ends change."""

INPUTS = {"read": ["read_in0", "read_in1"], "preprocess": ["preprocess_in0"]}
OUTPUTS = {
    "read": [f"read_out{i}" for i in range(len(Reading._fields))],
    "preprocess": [f"preprocess_out{i}" for i in range(3)],
}


def _tensors(names: list[str]) -> list[str]:
    return [f"{name}:0" for name in names]


class KeptGraph:
    """Takes the place of a `Reader` and of the image transform. Greedy, any text.

    Args:
      definition: as `keep` makes it.
    """

    num_alternatives = 0

    def __init__(self, definition: tf.compat.v1.GraphDef):
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(definition, name="")
        config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
        config.graph_options.rewrite_options.disable_meta_optimizer = True  # it is optimised
        config.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=graph, config=config)

    def _run(self, name: str, *values) -> list[np.ndarray]:
        fed = zip(_tensors(INPUTS[name]), values, strict=True)
        return self._session.run(_tensors(OUTPUTS[name]), dict(fed))

    def read(self, images, widths) -> Reading:
        """As `Reader.read`; arrays in place of tensors."""
        return Reading(*self._run("read", images, widths))

    def preprocess(self, images: Sequence[bytes]) -> list[np.ndarray]:
        """As `aocr.data.preprocess.batched`; arrays in place of tensors."""
        return self._run("preprocess", np.array(images, object))


def _key(model_dir: str, chosen: Chosen, precision: str) -> dict[str, Any]:
    """What the graph depends on. The index of a checkpoint holds checksums of all its tensors."""
    digest, parts = hashlib.sha256(), files.find(f"{chosen.prefix}.data-*")
    for path in (f"{chosen.prefix}.index", ModelFolder(model_dir).file(MODEL)):
        digest.update(files.read(path))
    return {
        "format": FORMAT,
        "model": digest.hexdigest(),
        "bytes": [files.size(part) for part in sorted(parts)],
        "temperature": chosen.temperature,
        "precision": precision,
        "aocr": aocr.__version__,
        "tensorflow": tf.__version__,
        "gpus": len(tf.config.list_physical_devices("GPU")),
    }


def opened(model_dir: str, chosen: Chosen, precision: str) -> KeptGraph | None:
    """The graph kept for a checkpoint, or None where there is none or it is of another."""
    try:
        head, _, body = files.read(ModelFolder(model_dir).file(NAME)).partition(b"\n")
        if json.loads(head) == {**_key(model_dir, chosen, precision), "graph": hashlib.sha256(body).hexdigest()}:
            return KeptGraph(tf.compat.v1.GraphDef.FromString(body))
    except (OSError, ValueError, tf.errors.OpError):
        pass  # missing, damaged or unreadable: the network is built
    return None


def keep(model_dir: str, chosen: Chosen, precision: str, functions: dict) -> None:
    """Keep the functions of a model; where the folder cannot be written nothing is kept.

    Args:
      model_dir: the model folder.
      chosen: the checkpoint used.
      precision: the network's.
      functions: `read` and `preprocess`, tf.functions with input signatures.
    """
    if "://" not in model_dir and not os.access(model_dir, os.W_OK):
        return
    body = _optimised(functions).SerializeToString()
    with contextlib.suppress(OSError, tf.errors.OpError):
        head = {**_key(model_dir, chosen, precision), "graph": hashlib.sha256(body).hexdigest()}
        files.write(ModelFolder(model_dir).file(NAME), json.dumps(head).encode() + b"\n" + body)


def _optimised(functions: dict) -> tf.compat.v1.GraphDef:
    """One graph of several functions, weights as constants, after TensorFlow's own optimisation."""
    from tensorflow.python.grappler import tf_optimizer

    graph = freeze(
        {name: Part(f.get_concrete_function(), INPUTS[name], OUTPUTS[name]) for name, f in functions.items()}
    )
    meta = tf.compat.v1.train.export_meta_graph(graph_def=graph.as_graph_def(), graph=graph)
    kept = [end for name in functions for end in _tensors(INPUTS[name] + OUTPUTS[name])]
    meta.collection_def["train_op"].node_list.value.extend(kept)  # the optimiser drops what these do not need
    return tf_optimizer.OptimizeGraph(tf.compat.v1.ConfigProto(), meta)
