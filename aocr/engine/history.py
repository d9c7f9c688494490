"""The learning curves of a model folder: `history.json`, drawn as `curves.png`."""

from __future__ import annotations

import math
from dataclasses import asdict

import tensorflow as tf

from aocr.curves import Point, draw_curves
from aocr.data.files import write_file
from aocr.engine.checkpoint import path_in, read_json, write_json
from aocr.engine.progress import log


class History:
    """The checks of a training, kept over restarts.

    Args:
      model_dir: the model folder.
      step: number of steps done; later checks, which a restart does again, are forgotten.
    """

    def __init__(self, model_dir: str, step: int):
        self.model_dir = model_dir
        kept = (read_json(path_in(model_dir, "history.json")) or {}).get("points", []) if step else []
        points = [Point(**{k: math.nan if v is None else v for k, v in values.items()}) for values in kept]
        self.points = [point for point in points if point.step <= step]

    def add(self, point: Point) -> None:
        """Keep a check, write the file and draw it anew. A picture that cannot be written stops nothing."""
        self.points.append(point)
        values = [{k: v if math.isfinite(v) else None for k, v in asdict(p).items()} for p in self.points]
        write_json(path_in(self.model_dir, "history.json"), {"points": values})
        path = path_in(self.model_dir, "curves.png")
        try:
            write_file(path, draw_curves(self.points))
        except tf.errors.OpError as error:
            log.warning("%s could not be written: %s", path, error.message)
