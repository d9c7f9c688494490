"""The ONNX graph converted to OpenVINO: `reader.xml`, and the weights in `reader.bin`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

ABOUT = "OpenVINO model"
MAIN_FILE = "reader.xml"
NEEDED = ("openvino",)
IS_FOLDER = False

SETTINGS = ["aocr", "model"]
"""Path of model.json's settings in the model's `rt_info`."""


def _openvino():
    """Import openvino with its telemetry blocked."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def write(predictor, folder: str) -> None:
    """See `Format.write`."""
    import json

    openvino = _openvino()

    from aocr import files
    from aocr.exchange.serving import graph_of

    graph = os.path.join(folder, "graph.onnx")
    files.write(graph, graph_of(predictor))
    model = openvino.convert_model(graph)
    files.remove(graph)
    model.set_rt_info(json.dumps(predictor.config.to_dict(), ensure_ascii=False), SETTINGS)
    openvino.save_model(model, os.path.join(folder, MAIN_FILE), compress_to_fp16=False)


def read_back(folder: str, samples) -> Iterator[tuple]:
    """See `Format.read_back`."""
    import json

    openvino = _openvino()

    core = openvino.Core()
    model = core.read_model(os.path.join(folder, MAIN_FILE))
    charset = json.loads(model.get_rt_info(SETTINGS).value)["charset"]
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(model, "CPU", options)
    for images, widths in samples.pixels:
        outputs = compiled({"images": images, "widths": widths})
        yield from zip(samples.texts(outputs["ids"], charset), outputs["confidence"], strict=True)
