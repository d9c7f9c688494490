"""Every error the library raises on purpose.

AocrError
├── AnnotationError(path, lineno)   a line of an annotation file cannot be used
├── CharsetError(chars, text)       a text has characters the charset lacks
├── ImageError(name)                an image cannot be read
├── DatasetError(path)              a dataset file is missing, damaged, empty or of another program
├── ConfigError(field, value)       a setting is impossible, or contradicts the model folder
├── CheckpointError(model_dir)      a model folder is missing, incomplete or of another program
├── TrainingError                   training cannot go on (loss is not finite, disk is full)
└── ExportError                     an export could not be written or does not equal the model

A message is one line that says what, where, and what to do. Only ``aocr.cli.main`` prints one and exits.
"""

from __future__ import annotations

import re

HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that break a line, control a terminal or turn the direction of writing, and what is not Unicode."""


def escape_control(text: str) -> str:
    """`text` on one line of a terminal: each hidden character as Python writes it in a string, such as `\\x1b`."""
    return HIDDEN.sub(lambda match: repr(match[0])[1:-1], text)


class AocrError(Exception):
    """Base of all errors of aocr: catch this to catch them all."""

    def __init__(self, message: str = ""):
        super().__init__(escape_control(message))


class AnnotationError(AocrError):
    """A line of an annotation file cannot be used."""

    def __init__(self, path: str, lineno: int | None, reason: str):
        self.path = str(path)
        self.lineno = lineno
        place = self.path if lineno is None else f"{self.path}:{lineno}"
        super().__init__(f"{place}: {reason}")


class CharsetError(AocrError):
    """A text has characters that the charset does not have."""

    def __init__(self, chars: str, text: str, advice: str = "Retrain with --charset, or drop the line."):
        self.chars = chars
        self.text = text
        plural = "characters" if len(chars) > 1 else "a character"
        shown = ", ".join(repr(char) for char in chars)
        super().__init__(f"{text!r} has {plural} outside the charset: {shown}. {advice}")


class ImageError(AocrError):
    """An image cannot be read."""

    def __init__(self, name: str, reason: str):
        self.name = str(name)
        self.reason = reason
        super().__init__(f"{self.name}: {reason}")


class DatasetError(AocrError):
    """A dataset file is missing, damaged, empty, or another program's."""

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
    """A model folder is missing, incomplete or another program's."""

    def __init__(self, model_dir: str, reason: str):
        self.model_dir = str(model_dir)
        super().__init__(f"{self.model_dir}: {reason}")


class TrainingError(AocrError):
    """Training cannot go on."""


class ExportError(AocrError):
    """An export could not be written, or does not give what the model gives."""
