"""The learning curves of a model folder: `history.json`, drawn as `curves.png`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from aocr import files
from aocr.folder.model_folder import CURVES, HISTORY, ModelFolder
from aocr.report.curves import Point, draw_curves
from aocr.training.progress import log


def _point(values: dict[str, Any]) -> Point:
    """A kept check; json has no NaN. A TypeError, AttributeError or OverflowError: it is none."""
    numbers: dict[str, Any] = {name: math.nan if value is None else value + 0 for name, value in values.items()}
    sum(map(float, numbers.values()))  # a whole number of json may be too large to be drawn
    return Point(**numbers)


class History:
    """The checks of a training, kept over restarts.

    Args:
      folder: the model folder.
      step: number of steps done; later checks, which a restart does again, are forgotten.
    """

    def __init__(self, folder: ModelFolder, step: int):
        self.folder = folder
        kept = (folder.read_json(HISTORY) or {}).get("points", []) if step else []
        try:
            points = [_point(values) for values in kept]
        except (TypeError, AttributeError, OverflowError):
            log.warning("%s is damaged: the curves begin anew.", folder.file(HISTORY))
            points = []
        self.points = [point for point in points if point.step <= step]

    def add(self, point: Point) -> None:
        """Keep a check, write the file and draw it anew. A picture that cannot be written stops nothing."""
        self.points.append(point)
        values = [{k: v if math.isfinite(v) else None for k, v in asdict(p).items()} for p in self.points]
        self.folder.write_json(HISTORY, {"points": values})
        path = self.folder.file(CURVES)
        try:
            files.write(path, draw_curves(self.points))
        except OSError as error:
            log.warning("%s could not be written: %s", path, files.one_line(error))
