"""RapidOCR: PP-OCR models in ONNX Runtime, without training."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from peer import Model, Peer, Reading, Task


class RapidOCR(Peer):
    """Recognition only, with the model in the package (PP-OCRv6 small); no text is dropped as uncertain."""

    name = "RapidOCR"
    requirements = ("rapidocr==3.10.0", "onnxruntime==1.32.0")
    trains = False

    def read(self, task: Task, model: Model | None) -> Reading:
        """Read in one process, an image at a time."""
        return self.read_inside(task)


def read(paths: str, output: str) -> None:
    """Read all images once; the start is not timed."""
    from rapidocr import RapidOCR as Engine

    one_thread = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    engine = Engine(params={"Global.log_level": "error", "Global.text_score": 0.0, **one_thread})
    texts, start = [], time.process_time()
    for path in json.loads(Path(paths).read_text("utf-8")):
        result = engine(path, use_det=False, use_cls=False, use_rec=True)
        texts.append(" ".join(result.txts or ()))
    found = {"texts": texts, "seconds": time.process_time() - start}
    Path(output).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    read(*sys.argv[2:])
