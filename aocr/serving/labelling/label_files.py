"""The files that decisions go to: lines are appended, and only this run's own last lines are ever taken back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from typing import NamedTuple

from aocr import files
from aocr.data.annotations import candidate_paths, parse_annotations
from aocr.errors import AnnotationError, AocrError, ConfigError

UNWRITABLE = re.compile("[\t\n\r\ud800-\udfff]|\\s$")
"""What a path in an annotation file cannot have: it ends the path or the line, is not UTF-8, or is stripped."""


class Kind(Enum):
    """Where a decision goes, and what the file's name has before its ending."""

    TRAINING = ""
    VALIDATION = ".validation"
    UNREADABLE = ".unreadable"


class Written(NamedTuple):
    """What was appended to a file.

    Attributes:
      kind: of the file.
      at: byte of the file that it begins at.
      data: the lines.
    """

    kind: Kind
    at: int
    data: bytes


class LabelFiles:
    """The annotation file, the one of the images drawn at random, and the list of images that cannot be read.

    Each decision is one line in one of them, on disk before the next image is shown.

    Args:
      output: the annotation file; the other two stand beside it.
      data_base_dir: where paths in files that exist may start.

    Raises:
      ConfigError: it is a folder, a pipe or a device, or is not on this machine's disk; or one of the others is a link,
        which may lead anywhere, a pipe or a device.
    """

    def __init__(self, output: str, data_base_dir: str | None = None):
        if files.is_remote(output) or os.path.isdir(output) or files.is_endless(output):
            raise ConfigError("--output", output, "must be a file on this machine's disk: it is written line by line.")
        self.output, self.data_base_dir = output, data_base_dir
        stem, ending = os.path.splitext(output)
        self.paths = {kind: f"{stem}{kind.value}{ending}" for kind in Kind}
        for path in self.paths.values():
            if path != output and (os.path.islink(path) or files.is_endless(path)):  # in a stranger's folder, perhaps
                reason = "would be written to, and is a link, a pipe or a device. Remove it, or give another --output."
                raise ConfigError("--output", path, reason)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs of `aocr label` off the file; Windows keeps nobody off.

        Raises:
          AocrError: another run holds it, or a file cannot be written.
          AnnotationError: a file has a line that is no annotation.
        """
        is_new = not os.path.exists(self.output)
        with files.writing(self.output):
            os.makedirs(os.path.dirname(self.output) or ".", exist_ok=True)
            handle = os.open(self.output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            self._lock(handle)
            self._check()
            yield
        finally:
            os.close(handle)
            with suppress(OSError):
                if is_new and not os.path.getsize(self.output):
                    os.remove(self.output)

    def _lock(self, handle: int) -> None:
        if not files.lock(handle):
            reason = "another aocr label is at work on it. End that one, or give another --output."
            raise AocrError(f"{self.output}: {reason}")

    def _check(self) -> None:
        """See that what stands can be read and written, before anything else takes its time."""
        for kind, path in self.paths.items():
            if os.path.exists(path):
                with files.writing(path), open(path, "ab"):
                    pass
                self.labels(kind)

    def labels(self, kind: Kind) -> dict[str, str]:
        """Labels that stand in a file, by the real path of the image; of two of the same image the later.

        For unreadable images the labels are empty.

        Raises:
          AnnotationError: the file has a line that is no annotation.
        """
        path = self.paths[kind]
        if not os.path.exists(path) or not os.path.getsize(path):
            return {}
        found = {}
        for line in parse_annotations(files.read(path), path):
            if line.not_utf8 or (line.label is None and kind is not Kind.UNREADABLE):
                raise AnnotationError(path, line.lineno, line.not_utf8 or "has no label. Mend or remove the line.")
            found[self.real_path(line.path, path)] = line.label or ""
        return found

    def real_path(self, path: str, annotations: str) -> str:
        """The image that a path of an annotation file names, found as `aocr dataset` finds it."""
        tried = candidate_paths(path, annotations, self.data_base_dir)
        return os.path.realpath(next((path for path in tried if os.path.exists(path)), tried[0]))

    def append(self, kind: Kind, decisions: Iterable[tuple[str, str]]) -> Written:
        """Write decisions, and see that they are on the disk.

        Args:
          kind: which file.
          decisions: the real path of each image, and its label.

        Raises:
          AocrError: the file cannot be written; then it is as it was.
        """
        path = self.paths[kind]
        lines = [annotation_line(self._written_path(image, path), label) for image, label in decisions]
        data = "".join(lines).encode()
        with files.writing(path), open(path, "a+b", buffering=0) as file:
            at = file.seek(0, os.SEEK_END)
            if at:
                file.seek(at - 1)
                data = data if file.read(1) in b"\r\n" else b"\n" + data
            try:
                if file.write(data) != len(data):
                    raise OSError(None, "the disk is full")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(at)
                if not at and kind is not Kind.TRAINING:  # that one is held
                    os.remove(path)
                raise
        return Written(kind, at, data)

    def _written_path(self, image: str, annotations: str) -> str:
        """How a file names an image: relative to its own folder where the image lies in it, else from the root on."""
        folder = os.path.realpath(os.path.dirname(annotations) or ".")
        if os.path.commonpath([folder, image]) != folder:
            return image
        relative = os.path.relpath(image, folder)
        if relative != relative.strip() or relative.startswith("\ufeff"):  # it would be read back without these
            return image
        return relative if self.real_path(relative, annotations) == image else image

    def take_back(self, written: Written) -> None:
        """Take the last decision back out of its file.

        Raises:
          AocrError: the file has changed since, or cannot be written.
        """
        path = self.paths[written.kind]
        with files.writing(path), open(path, "r+b") as file:
            file.seek(written.at)
            if file.read() != written.data:
                raise AocrError(f"{path}: another program has changed it since. Change the label there.")
            file.truncate(written.at)
            os.fsync(file.fileno())


def annotation_line(path: str, label: str) -> str:
    """The line of an annotation file that is read as this path and label."""
    needs_tab = path.split(maxsplit=1) != [path] or label != label.strip() or not label or "\t" in label
    return path + ("\t" if needs_tab else " ") + label + "\n"


def writable(paths: Sequence[str]) -> list[str]:
    """Those paths that an annotation file can hold."""
    return [path for path in paths if not UNWRITABLE.search(path)]
