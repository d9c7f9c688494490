"""OpenVINO's form of the ONNX graph: `reader.xml` and the weights, `reader.bin`. It takes pixels, not files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

ABOUT = "model of OpenVINO"
MAIN_FILE = "reader.xml"
NEEDED = ("openvino",)
IS_FOLDER = False

SETTINGS = ["aocr", "model"]
"""Where the settings of model.json lie in the model's `rt_info`."""


def _openvino():
    """The package, which cannot report to its maker what is done."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def write(predictor, folder: str) -> None:
    """As `Format.write`."""
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
    """As `Format.read_back`."""
    import json

    openvino = _openvino()

    core = openvino.Core()
    model = core.read_model(os.path.join(folder, MAIN_FILE))
    charset = json.loads(model.get_rt_info(SETTINGS).value)["charset"]
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(model, "CPU", how)
    for images, widths in samples.pixels:
        found = compiled({"images": images, "widths": widths})
        yield from zip(samples.texts(found["ids"], charset), found["confidence"], strict=True)
