"""The files that decisions are written to. Lines are appended; only this run's own last lines are ever removed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from typing import NamedTuple

from aocr import files
from aocr.data.annotations import candidate_paths, parse_annotations
from aocr.errors import AnnotationError, AocrError, ConfigError
from aocr.folder.words import is_box

UNWRITABLE = re.compile("[\t\n\r\ud800-\udfff]|\\s$")
"""What a path in an annotation file cannot contain: characters that end the path or the line, or are stripped."""


MIN_VALIDATION = 20
"""Images chosen at random from which on a training is validated on them alone."""


class Kind(Enum):
    """Where a decision is written; the value is inserted before the file's extension."""

    TRAINING = ""
    VALIDATION = ".validation"
    UNREADABLE = ".unreadable"


class AppendedLines(NamedTuple):
    """Lines that were appended to a file."""

    kind: Kind
    offset: int
    """Size of the file in bytes before the lines were appended."""
    data: bytes


class LabelFiles:
    """The annotation file `output`; beside it, one for images chosen at random and a list of unreadable images.

    Raises:
      ConfigError: `output` is a folder or remote.
    """

    def __init__(self, output: str, data_base_dir: str | None = None):
        if files.is_remote(output) or os.path.isdir(output):
            raise ConfigError("--output", output, "must be a file on a local disk: lines are appended to it.")
        self.output, self.data_base_dir = output, data_base_dir
        stem, extension = os.path.splitext(output)
        self.paths = {kind: f"{stem}{kind.value}{extension}" for kind in Kind}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs of `aocr label` from using the files (not on Windows).

        Raises:
          AocrError: another run uses them, or a file cannot be written.
          AnnotationError: a file has a line that is not an annotation.
        """
        is_new = not os.path.exists(self.output)
        with files.writing(self.output):
            os.makedirs(os.path.dirname(self.output) or ".", exist_ok=True)
            handle = os.open(self.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            if not files.lock(handle):
                reason = "another aocr label is using this file. Stop it, or choose another --output."
                raise AocrError(f"{self.output}: {reason}")
            for kind, path in self.paths.items():
                if os.path.exists(path):
                    with files.writing(path), open(path, "ab"):
                        self.labels(kind)
            yield
        finally:
            os.close(handle)
            with suppress(OSError):
                if is_new and not os.path.getsize(self.output):
                    os.remove(self.output)

    def labels(self, kind: Kind) -> dict[str, str]:
        """Return {real path of the image: label} from a file; the last label of an image counts.

        The labels of unreadable images are empty.

        Raises:
          AnnotationError: the file has a line that is not an annotation.
        """
        path = self.paths[kind]
        if not os.path.exists(path) or not os.path.getsize(path):
            return {}
        labels = {}
        for line in parse_annotations(files.read(path), path):
            if line.not_utf8 or (line.label is None and kind is not Kind.UNREADABLE):
                raise AnnotationError(path, line.lineno, line.not_utf8 or "has no label. Correct or remove the line.")
            labels[self.real_path(line.path, path)] = line.label or ""
        return labels

    def training_arguments(self) -> list[str]:
        """Return the arguments of `aocr train` that name these labels.

        They are validated on the images chosen at random, or on a part of all if these are too few to say much.
        """
        training, validation = (self.paths[kind] for kind in (Kind.TRAINING, Kind.VALIDATION))
        num_random, has_others = len(self.labels(Kind.VALIDATION)), bool(self.labels(Kind.TRAINING))
        names = [training, validation] if has_others and num_random else [training if has_others else validation]
        if has_others and num_random >= MIN_VALIDATION:
            names.insert(1, "--validation")
        return [*names, *(["--data-base-dir", self.data_base_dir] if self.data_base_dir else [])]

    def training_command(self, model: str) -> str:
        """Return a command to paste that trains `model` further on these labels, in a folder named after them.

        A training starts from `words` by itself, and then reads no other symbols than those of the labels.
        """
        start = [] if files.is_graph(model) or is_box(model) else ["--init-from", model]
        folder = f"{os.path.splitext(self.output)[0]}-model"
        return shlex.join(["aocr", "train", *self.training_arguments(), *start, "--model-dir", folder])

    def real_path(self, path: str, annotations: str) -> str:
        """Return the image that a path in an annotation file refers to, found as `aocr dataset` finds it."""
        candidates = candidate_paths(path, annotations, self.data_base_dir)
        return os.path.realpath(next((path for path in candidates if os.path.exists(path)), candidates[0]))

    def append(self, kind: Kind, images: Sequence[str], labels: Sequence[str]) -> AppendedLines:
        """Append one line for each image, given by its real path, and flush the file to the disk.

        Raises:
          AocrError: the file cannot be written; it is left unchanged.
        """
        path = self.paths[kind]
        names = [self._path_to_write(image, path) for image in images]
        data = "".join(map(annotation_line, names, labels)).encode()
        with files.writing(path), open(path, "a+b", buffering=0) as file:
            offset = file.seek(0, os.SEEK_END)
            if offset:
                file.seek(offset - 1)
                data = data if file.read(1) in b"\r\n" else b"\n" + data
            try:
                if file.write(data) != len(data):
                    raise OSError(None, "the disk is full")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(offset)
                raise
        return AppendedLines(kind, offset, data)

    def _path_to_write(self, image: str, annotations: str) -> str:
        """Return an image's path relative to the file's folder if that is unambiguous, else its absolute path."""
        folder = os.path.realpath(os.path.dirname(annotations) or ".")
        relative = os.path.relpath(image, folder)
        if relative.startswith(os.pardir) or relative[0].isspace():  # leading spaces are stripped in reading
            return image
        return relative if self.real_path(relative, annotations) == image else image

    def remove_last(self, lines: AppendedLines) -> None:
        """Remove the lines that were appended last; raise an AocrError if the file has changed since."""
        path = self.paths[lines.kind]
        with files.writing(path), open(path, "r+b") as file:
            file.seek(lines.offset)
            if file.read() != lines.data:
                raise AocrError(f"{path}: was changed by another program. Edit the label there.")
            file.truncate(lines.offset)
            os.fsync(file.fileno())


def annotation_line(path: str, label: str) -> str:
    """Return the line of an annotation file that is parsed as this path and label."""
    needs_tab = path.split(maxsplit=1) != [path] or label != label.strip() or not label or "\t" in label
    return path + ("\t" if needs_tab else " ") + label + "\n"
