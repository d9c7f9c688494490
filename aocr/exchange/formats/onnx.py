"""An ONNX graph: one file with everything a reader needs. Its input is pixels, not encoded images."""

from __future__ import annotations

import os
from collections.abc import Iterator

ABOUT = "ONNX graph (for ONNX Runtime)"
MAIN_FILE = "reader.onnx"
IS_FOLDER = False

NEEDED = ("onnx", "onnxruntime")


def write(predictor, folder: str) -> None:
    """See `Format.write`."""
    from aocr import files
    from aocr.exchange.serving import graph_of

    files.write(os.path.join(folder, MAIN_FILE), graph_of(predictor))


def read_back(folder: str, samples) -> Iterator[tuple]:
    """See `Format.read_back`."""
    import json

    import onnx

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as aocr.machine does
    import onnxruntime

    path = os.path.join(folder, MAIN_FILE)
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    charset = json.loads(session.get_modelmeta().custom_metadata_map["model"])["charset"]
    for images, widths in samples.pixels:
        ids, confidence = session.run(["ids", "confidence"], {"images": images, "widths": widths})
        yield from zip(samples.texts(ids, charset), confidence, strict=True)
