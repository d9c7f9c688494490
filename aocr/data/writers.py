"""Write labelled images for other programs: what is written here, `data/formats` reads."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from aocr import files, machine
from aocr.data.records import Example
from aocr.errors import ConfigError, DatasetError

MAP_BYTES = 2**24
"""Size of an LMDB at first; it grows."""

Put = Callable[[int, Example], None]
"""Writes an image, given its number from 1."""


def _image(folder: str, number: int, example: Example) -> str:
    """Write an image to a folder and return its file name."""
    name = f"{number:09d}{'.png' if example.image.startswith(files.PNG) else '.jpg'}"
    with open(os.path.join(folder, name), "wb") as file:
        file.write(example.image)
    return name


@contextlib.contextmanager
def _table(folder: str, name: str, header: str, line: Callable[[str, str], str]) -> Iterator[Put]:
    """Write images to a subfolder, and a line for each to a text file."""
    os.makedirs(os.path.join(folder, "images"))
    with open(os.path.join(folder, name), "w", encoding="utf-8", newline="") as file:
        file.write(header)

        def put(number: int, example: Example) -> None:
            image = _image(os.path.join(folder, "images"), number, example)
            file.write(line(f"images/{image}", example.label))

        yield put


def _csv_line(*cells: str) -> str:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(cells)
    return line.getvalue()


@contextlib.contextmanager
def _pairs(folder: str) -> Iterator[Put]:
    """Write a text file beside each image."""

    def put(number: int, example: Example) -> None:
        stem = os.path.splitext(_image(folder, number, example))[0]
        with open(os.path.join(folder, f"{stem}.gt.txt"), "w", encoding="utf-8", newline="") as file:
            file.write(f"{example.label}\n")

    yield put


@contextlib.contextmanager
def _lmdb(folder: str) -> Iterator[Put]:
    """Write the keys of scene text: `image-000000001`, `label-000000001` and `num-samples`."""
    import lmdb

    def put(number: int, example: Example) -> None:
        values = {b"image-%09d" % number: example.image, b"label-%09d" % number: example.label.encode()}
        values[b"num-samples"] = b"%d" % number
        while True:
            try:
                with environment.begin(write=True) as transaction:
                    for key, value in values.items():
                        transaction.put(key, value)
                return
            except lmdb.MapFullError:
                environment.set_mapsize(2 * environment.info()["map_size"])
            except lmdb.Error as error:
                raise OSError(None, str(error), folder) from None

    with contextlib.closing(lmdb.open(folder, map_size=MAP_BYTES, sync=False)) as environment:
        yield put
        environment.sync(True)


def _line_flaw(label: str) -> str:
    return "a TAB or a line break" if set(label) & set("\t\n\r") else ""


def _text_flaw(label: str) -> str:
    if len(f"{label}|".splitlines()) > 1:
        return "a line break"
    return "white space around it" if label != label.strip() or label.startswith("\ufeff") else ""


class Target(NamedTuple):
    """A format to write."""

    open: Callable[[str], contextlib.AbstractContextManager[Put]]
    """Open a new folder for writing."""
    flaw: Callable[[str], str]
    """Say what of a label the format cannot hold; empty: nothing."""


TARGETS = {
    "csv": Target(
        partial(_table, name="labels.csv", header=_csv_line("path", "text"), line=_csv_line), lambda label: ""
    ),
    "gt-txt": Target(_pairs, _text_flaw),
    "lmdb": Target(_lmdb, lambda label: ""),
    "paddle": Target(partial(_table, name="labels.txt", header="", line="{}\t{}\n".format), _line_flaw),
}
"""Formats to write, by their name on the command line."""


class FolderWriter:
    """Context manager that writes a folder of images in one of `TARGETS`; it appears when it is complete.

    Raises:
      ConfigError: a package is missing.
      DatasetError: the folder exists already or cannot be written.
    """

    def __init__(self, path: str, kind: str):
        self.path, self.paths, self._target = path, [path], TARGETS[kind]
        self._temporary = f"{path.rstrip('/')}.{os.getpid()}.tmp"
        self._count = 0
        self._stack = contextlib.ExitStack()
        if kind == "lmdb" and not machine.has_package("lmdb"):
            raise ConfigError("--export", kind, "needs the package lmdb: pip install 'aocr[lmdb]'.")
        if files.is_remote(path):
            raise ConfigError("OUTPUT", path, "--export writes to a folder of this machine.")
        if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
            raise DatasetError(path, "already exists. Name another folder, or remove it.")

    def _writing(self) -> contextlib.AbstractContextManager:
        return files.writing(self.path, partial(DatasetError, self.path), "Free space or check rights.")

    def __enter__(self) -> FolderWriter:
        with self._writing():
            os.makedirs(self._temporary)
            self._put = self._stack.enter_context(self._target.open(self._temporary))
        return self

    def write(self, example: Example) -> None:
        """Add an image."""
        self._count += 1
        with self._writing():
            self._put(self._count, example)

    def __exit__(self, kind, error, trace) -> None:
        try:
            with self._writing():
                self._stack.__exit__(kind, error, trace)
                if kind is None:
                    os.rename(self._temporary, self.path)
        finally:
            if os.path.isdir(self._temporary):
                files.remove(self._temporary)
