"""Errors that the library raises on purpose.

AocrError
├── AnnotationError(path, lineno)   a line of an annotation file cannot be used
├── CharsetError(chars, text)       a text has characters outside the charset
├── ImageError(name)                an image cannot be read
├── DatasetError(path)              a dataset file is missing, damaged, empty or another program's
├── ConfigError(field, value)       a setting is impossible or contradicts the model folder
├── CheckpointError(model_dir)      a model folder is missing, damaged or another program's
├── TrainingError                   training cannot continue (loss is not finite, disk is full)
└── ExportError                     an export could not be written or differs from the model

A message is one line: where, what happened, what to do. Only ``aocr.cli.main`` prints it and exits.
"""

from __future__ import annotations

import re

HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that break a line, control a terminal or reverse the writing direction, and lone surrogates."""


def escape_control(text: str) -> str:
    """Escape control characters so that a text stays on one line and cannot control the terminal (`\\x1b`)."""
    return HIDDEN.sub(lambda match: repr(match[0])[1:-1], text)


class AocrError(Exception):
    """Base class of all errors of aocr."""

    def __init__(self, message: str = ""):
        super().__init__(escape_control(message))


class AnnotationError(AocrError):
    """A line of an annotation file cannot be used."""

    def __init__(self, path: str, lineno: int | None, reason: str):
        self.path = str(path)
        self.lineno = lineno
        position = self.path if lineno is None else f"{self.path}:{lineno}"
        super().__init__(f"{position}: {reason}")


class CharsetError(AocrError):
    """A text has characters outside the charset."""

    def __init__(self, chars: str, text: str, advice: str = "Retrain with --charset, or drop the line."):
        self.chars = chars
        self.text = text
        plural = "characters" if len(chars) > 1 else "a character"
        listed = ", ".join(repr(char) for char in chars[:20]) + (
            f" and {len(chars) - 20} more" if len(chars) > 20 else ""
        )
        super().__init__(f"{text!r} has {plural} outside the charset: {listed}. {advice}")


class ImageError(AocrError):
    """An image cannot be read."""

    def __init__(self, name: str, reason: str):
        self.name = str(name)
        self.reason = reason
        super().__init__(f"{self.name}: {reason}")


class DatasetError(AocrError):
    """A dataset file is missing, damaged, empty or another program's."""

    def __init__(self, path: str, reason: str):
        self.path = str(path)
        super().__init__(f"{self.path}: {reason}")


class ConfigError(AocrError):
    """A setting is impossible or contradicts the model folder."""

    def __init__(self, field: str, value: object, reason: str):
        self.field = field
        self.value = value
        super().__init__(f"{field} = {value!r}: {reason}")


class CheckpointError(AocrError):
    """A model folder is missing, damaged or another program's."""

    def __init__(self, model_dir: str, reason: str):
        self.model_dir = str(model_dir)
        super().__init__(f"{self.model_dir}: {reason}")


class TrainingError(AocrError):
    """Training cannot continue."""


class ExportError(AocrError):
    """An export could not be written or differs from the model."""
