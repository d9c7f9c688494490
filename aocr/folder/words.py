"""`words`, the model in the package, trained on synthetic words only."""

from __future__ import annotations

from pathlib import Path

from aocr import files
from aocr.folder.model_folder import ModelFolder

NAME = "words"
"""Its name as a model folder; a folder of that name on disk takes precedence."""
BOX = Path(__file__).parent / "box"
"""Folder of the model that comes with the package."""


def is_box(model_dir: str) -> bool:
    """Return whether a path names the model in the package."""
    return model_dir == NAME and not files.is_folder(model_dir)


def open_folder(model_dir: str) -> ModelFolder:
    """Return the model folder that a path, or `words`, names."""
    return ModelFolder(BOX if is_box(model_dir) else model_dir)
