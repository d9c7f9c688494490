"""`aocr.export`: what `aocr export` does, as a function."""

from __future__ import annotations

import logging
import os

from aocr import files, machine
from aocr.config import SourceOptions, fields_in
from aocr.errors import ConfigError
from aocr.exchange.formats import DEFAULT
from aocr.folder.words import NAME
from aocr.reading.predictor import load_network

log = logging.getLogger("aocr")


def export(
    export_dir: files.Path | None = None, *, format: str = DEFAULT, quantize: str | None = None,
    check: str | None = None, model_dir: files.Path = "checkpoints", data_base_dir: str | None = None,
    columns: str | None = None, label_from_filename: str | None = None, empty_labels: bool = False,
    gpu_id: int | None = None,
) -> str:  # fmt: skip
    """Export a model for other programs, and check in a process without aocr that the export reads like the model.

    Arguments are those of `aocr export`.

    Returns:
      Path of the folder or the main file written.

    Raises:
      ConfigError, ExportError: the format or its settings are impossible, a package is missing, the export cannot be
        written or does not read like the model. Nothing is left behind.
      CheckpointError: the model cannot be used.
    """
    settings, model_dir = locals(), os.fspath(model_dir)
    if export_dir == NAME:
        reason = "a folder of this name would hide the model that comes with aocr. To export that model:"
        raise ConfigError("DIR", NAME, f"{reason} aocr export DIR --model-dir words.")
    machine.start_tensorflow()
    from aocr.data.datasets import open_dataset
    from aocr.exchange.export import check_choice, write_export

    check_choice(format, quantize, bool(check))
    if gpu_id is not None:
        machine.use_gpu(gpu_id)
    predictor = load_network(model_dir)
    log.info("Exporting %s", predictor.source)
    vertex_dir = os.environ.get("AIP_MODEL_DIR")  # Vertex AI expects the model in this folder, not in a numbered one
    folder, is_numbered = os.fspath(export_dir or vertex_dir or "exported"), bool(export_dir or not vertex_dir)
    if not check:
        return write_export(predictor, folder, format, is_numbered)
    with open_dataset([check], SourceOptions(**fields_in(SourceOptions, settings))) as dataset:
        return write_export(predictor, folder, format, is_numbered, quantize, dataset)
