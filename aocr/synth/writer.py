"""Write images to a folder with annotations, or to TFRecord files, so that a stopped run can resume.

Files have temporary names until the end. After each block of images a state file records their valid sizes; a run
with the same settings truncates them to these sizes and continues.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from typing import BinaryIO

from aocr import files
from aocr.errors import DatasetError
from aocr.synth.drawing import Drawn
from aocr.tfrecord import check_replaceable, encode_example, frame

ANNOTATIONS, BOXES = "annotations.txt", "boxes.jsonl"
RECORDS_ENDING = ".tfrecords"
IMAGES_PER_FOLDER = 1000
RESUME = "Free disk space or check permissions, then repeat the command to resume."


class Writer:
    """Appends blocks of images to files and records progress; resumes only a run with the same `settings`."""

    def __init__(self, output: str, names: Sequence[str], settings: str):
        self._output, self._names, self._settings = output, list(names), settings
        self._temporary = [f"{name}.0.tmp" for name in names]
        self._state = f"{names[0]}.synth.json"
        self._files: list[BinaryIO] = []
        self._is_open = False
        self.num_done = 0

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return files.writing(self._output, partial(DatasetError, self._output), RESUME)

    def open(self) -> None:
        """Open the files, positioned after the valid data of a stopped run."""
        with self._errors():
            self._check()
            os.makedirs(os.path.dirname(self._names[0]) or ".", exist_ok=True)
            for path in self._temporary:
                self._files.append(open(path, "ab"))  # noqa: SIM115 (closed in `close`)
            if not files.lock(self._files[0].fileno()):
                raise DatasetError(self._output, "another aocr synth is writing here. Wait, or name another output.")
            for file, size in zip(self._files, self._read_state(), strict=True):
                file.truncate(size)
                file.seek(size)
        self._is_open = True

    def close(self) -> None:
        """Close the files; remove them if there is nothing to resume."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        if self._is_open and self.num_done == 0:
            self._remove_all()

    def _remove_all(self) -> None:
        for path in self._temporary:
            with contextlib.suppress(OSError):
                os.remove(path)

    def _read_state(self) -> list[int]:
        """Return the valid sizes of the temporary files, and set `num_done`."""
        try:
            state = json.loads(files.read(self._state))
            num_done, settings, sizes = state["num_done"], state["settings"], state["sizes"]
            if any(os.path.getsize(path) < size for path, size in zip(self._temporary, sizes, strict=True)):
                raise ValueError("a file is shorter than it was")
        except (OSError, ValueError, KeyError, TypeError):
            return [0] * len(self._names)
        if settings != self._settings:
            reason = f"contains {num_done:,} images of a stopped run with other settings."
            raise DatasetError(self._output, f"{reason} Repeat its command to resume it, or name another output.")
        self.num_done = num_done
        return sizes

    def _check(self) -> None:
        """Refuse to overwrite files of another type."""

    def _encode(self, number: int, drawn: Drawn) -> list[tuple[int, bytes]]:
        """Encode the image with the index `number`; return indices of files and the bytes to append to each."""
        raise NotImplementedError

    def write(self, block: Sequence[Drawn]) -> None:
        """Append images and save the state."""
        with self._errors():
            for number, drawn in enumerate(block, self.num_done):
                for index, data in self._encode(number, drawn):
                    self._files[index].write(data)
            for file in self._files:
                file.flush()
            num_done = self.num_done + len(block)
            state = {"settings": self._settings, "num_done": num_done, "sizes": [file.tell() for file in self._files]}
            files.write(self._state, json.dumps(state).encode())
            self.num_done = num_done

    def finish(self) -> None:
        """Rename the files to their final names."""
        with self._errors():
            for file, temporary, name in zip(self._files, self._temporary, self._names, strict=True):
                file.close()
                os.replace(temporary, name)
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._state)


class RecordWriter(Writer):
    """Writes TFRecord files; images are distributed to the shards in turn."""

    def __init__(self, output: str, num_shards: int, settings: str):
        shards = [f"{output}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]
        super().__init__(output, [output] if num_shards == 1 else shards, settings)

    def _check(self) -> None:
        for name in self._names:
            check_replaceable(name)

    def _encode(self, number: int, drawn: Drawn) -> list[tuple[int, bytes]]:
        record = encode_example(drawn.data, drawn.label, drawn.width, drawn.height)
        return [(number % len(self._names), frame(record))]


class FolderWriter(Writer):
    """Writes a folder of images, and `annotations.txt` with a line `path label` for each.

    With `boxes` also `boxes.jsonl`: the path, the text and a box [left, top, right, bottom] for each character.
    """

    def __init__(self, output: str, settings: str, boxes: bool = False):
        names = [ANNOTATIONS, BOXES] if boxes else [ANNOTATIONS]
        super().__init__(output, [os.path.join(output, name) for name in names], settings)
        self._boxes = boxes

    def _check(self) -> None:
        if os.path.exists(self._output) and not os.path.isdir(self._output):
            raise DatasetError(self._output, f"is a file. Name a folder, or a file that ends in {RECORDS_ENDING}.")
        if os.path.isdir(self._output) and os.listdir(self._output) and not os.path.exists(self._state):
            raise DatasetError(self._output, "is not empty. Name another folder, or remove this one.")

    def _remove_all(self) -> None:
        super()._remove_all()
        shutil.rmtree(os.path.join(self._output, "images"), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self._output)

    def _encode(self, number: int, drawn: Drawn) -> list[tuple[int, bytes]]:
        extension = "png" if drawn.data.startswith(files.PNG) else "jpg"
        path = f"images/{number // IMAGES_PER_FOLDER:04d}/{number:07d}.{extension}"
        os.makedirs(os.path.dirname(os.path.join(self._output, path)), exist_ok=True)
        with open(os.path.join(self._output, path), "wb") as file:
            file.write(drawn.data)
        parts = [(0, f"{path} {drawn.label}\n".encode())]
        if self._boxes:
            value = {"path": path, "text": drawn.label, "boxes": drawn.boxes}
            parts.append((1, (json.dumps(value, ensure_ascii=False) + "\n").encode()))
        return parts


@contextlib.contextmanager
def open_writer(output: str, num_shards: int, settings: str, boxes: bool = False) -> Iterator[Writer]:
    """Open a writer for TFRecord files or a folder, chosen by the output's extension; close it after the block.

    Raises:
      DatasetError: the files cannot be written, are of another type, or belong to a run with other settings.
    """
    is_records = output.endswith(RECORDS_ENDING)
    writer = RecordWriter(output, num_shards, settings) if is_records else FolderWriter(output, settings, boxes)
    try:
        writer.open()
        yield writer
    finally:
        writer.close()
