"""An ONNX graph: one file with all that a reader needs, for ONNX Runtime and others. It takes pixels, not files."""

from __future__ import annotations

import os
from collections.abc import Iterator

ABOUT = "ONNX graph (for ONNX Runtime)"
MAIN_FILE = "reader.onnx"
IS_FOLDER = False

_NEEDED = ("onnx", "onnxruntime")


def write(predictor, folder: str) -> None:
    """As `Format.write`."""
    from importlib.util import find_spec

    from aocr import files
    from aocr.errors import ExportError
    from aocr.folder.weights import weights_of
    from aocr.onnx.file import write_graph

    for package in _NEEDED:
        if find_spec(package) is None:
            raise ExportError(f"The proof of an ONNX export needs {package}: pip install 'aocr[onnx]'.")
    weights = {name: variable.numpy() for name, variable in weights_of(predictor.reader.model).items()}
    data = write_graph(weights, predictor.config, predictor.reader.temperature)
    files.write(os.path.join(folder, MAIN_FILE), data)


def read_back(folder: str, samples) -> Iterator[tuple]:
    """As `Format.read_back`."""
    import json

    import onnx
    import onnxruntime

    path = os.path.join(folder, MAIN_FILE)
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    charset = json.loads(session.get_modelmeta().custom_metadata_map["model"])["charset"]
    for images, widths in samples.pixels:
        ids, confidence = session.run(["ids", "confidence"], {"images": images, "widths": widths})
        for row, probability in zip(ids.tolist(), confidence, strict=True):
            symbols = row[: row.index(2)] if 2 in row else row  # 2 ends a text; 0 and 1 print nothing
            yield "".join(charset[i - 3] for i in symbols if i > 2).encode(), probability
