"""`words`, the reader in the box: a model folder inside the package, trained on drawn words only."""

from __future__ import annotations

from pathlib import Path

from aocr import files
from aocr.folder.model_folder import ModelFolder

NAME = "words"
"""What it is called wherever a model folder is named; a folder of that name on disk comes first."""

BOX = Path(__file__).parent / "box"


def is_box(model_dir: str) -> bool:
    """Whether a path names the reader in the box."""
    return model_dir == NAME and not files.is_folder(model_dir)


def open_folder(model_dir: str) -> ModelFolder:
    """The model folder to read from that a path, or `words`, names."""
    return ModelFolder(BOX if is_box(model_dir) else model_dir)
