"""What a model reads, how large it is, and how well it read: `aocr info`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from aocr import files
from aocr.config import ModelConfig
from aocr.folder.model_folder import TRAIN, WEIGHTS, ModelFolder
from aocr.folder.words import open_folder


def describe_model(model_dir: str, formats: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names and values of what is known of a model.

    Args:
      model_dir: a model folder, `words`, or an ONNX export.
      formats: names of the formats that a model folder can be exported to.

    Raises:
      CheckpointError: the model cannot be used.
    """
    if files.is_graph(model_dir):
        from aocr.reading.onnx import open_export

        graph = open_export(model_dir)
        size = f"{files.size(model_dir) / 2**20:.1f} MiB"
        return [*_network(graph.config), ("size", size), ("temperature", f"{graph.temperature:.2f}")]
    folder = open_folder(model_dir)
    config, weights, info = folder.read_config(), folder.read_weights(), folder.weights_info()
    num_parameters = sum(int(np.prod(array.shape)) for array in weights.values())
    calibration = f"temperature {info.temperature:.2f}, fitted to {info.num_calibration_images:,} images"
    return [
        *_network(config),
        ("size", f"{num_parameters:,} parameters, {files.size(folder.file(WEIGHTS)) / 2**20:.1f} MiB"),
        ("weights", info.describe()),
        ("confidence", calibration if info.num_calibration_images else "not calibrated"),
        *_training(folder),
        ("formats", f"model folder; aocr export writes {', '.join(formats)}"),
    ]


def _network(config: ModelConfig) -> list[tuple[str, str]]:
    colour = "colour" if config.channels == 3 else "grey"
    return [
        ("network", f"{config.arch}, {'GRU' if config.use_gru else 'LSTM'}, {colour}"),
        ("charset", config.charset.describe(1000)),
        ("longest text", f"{config.max_prediction} characters"),
        ("image", f"{config.height} px high, up to {config.network_width} px wide; others are scaled to fit"),
    ]


def _training(folder: ModelFolder) -> list[tuple[str, str]]:
    """Return what the folder records of its training."""
    record, learnt = folder.read_json(TRAIN) or {}, folder.read_learnt()
    rows = [] if learnt is None else [("trained on", f"{len(learnt):,} images")]
    if isinstance(datasets := record.get("datasets"), list):
        rows.append(("datasets", ", ".join(map(str, datasets))))
    return rows
