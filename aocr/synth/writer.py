"""Writing images to a folder with annotations, or to TFRecord files, so that a stopped run can resume.

Files have temporary names until the end. After each block of images a state file records their valid sizes; a run
with the same settings truncates them to these and continues.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import BinaryIO

from aocr import files
from aocr.checksum import HEAD_BYTES, is_head, masked_crc32c
from aocr.errors import DatasetError
from aocr.protobuf import field, varint
from aocr.synth.drawing import Drawn

ANNOTATIONS = "annotations.txt"
RECORDS_ENDING = ".tfrecords"
IMAGES_PER_FOLDER = 1000


def make_record(drawn: Drawn) -> bytes:
    """Serialize an image as a TFRecord with the features that `aocr dataset` writes, without TensorFlow.

    A record is the length of its data (8 bytes, little-endian), the length's checksum, the data, the data's checksum.
    """
    texts = {"image": drawn.data, "label": drawn.label, "comment": b""}
    numbers = {"width": drawn.width, "height": drawn.height}
    values = {name: field(1, field(1, value)) for name, value in texts.items()}
    values |= {name: field(3, field(1, varint(number))) for name, number in numbers.items()}
    data = field(1, b"".join(field(1, field(1, name) + field(2, values[name])) for name in sorted(values)))
    length = struct.pack("<Q", len(data))
    return b"".join(part + masked_crc32c(part).to_bytes(4, "little") for part in (length, data))


def _write_error(path: str, error: OSError) -> DatasetError:
    advice = "Free disk space or check permissions, then repeat the command to resume."
    return DatasetError(path, f"cannot be written ({error.strerror or error}). {advice}")


class Writer:
    """Appends blocks of images to files and records progress; a context manager.

    Args:
      output: the folder or the stem of the records.
      names: final names of the files.
      settings: identifies the images; a run with other settings cannot be resumed.
    """

    def __init__(self, output: str, names: Sequence[str], settings: str):
        self._output, self._names, self._settings = output, list(names), settings
        self._temporary = [f"{name}.0.tmp" for name in names]
        self._state = f"{names[0]}.synth.json"
        self._files: list[BinaryIO] = []
        self._lock: int | None = None
        self.num_done = 0
        self.resumed = 0

    def __enter__(self) -> Writer:
        try:
            self._check()
            os.makedirs(os.path.dirname(self._names[0]) or ".", exist_ok=True)
            self._take_lock()
            for path, size in zip(self._temporary, self._read_state(), strict=True):
                file = open(path, "r+b", opener=_open_or_create)
                self._files.append(file)
                file.truncate(size)
                file.seek(size)
            self.resumed = self.num_done
        except OSError as error:
            self.__exit__()
            raise _write_error(self._output, error) from None
        except DatasetError:
            self.__exit__()
            raise
        return self

    def _take_lock(self) -> None:
        """Lock the first temporary file, so that a second run of the command does not write to it too.

        Raises:
          DatasetError: another run holds it.
        """
        lock = _open_or_create(self._temporary[0], os.O_RDWR)
        if not files.lock(lock):
            os.close(lock)
            raise DatasetError(self._output, "another aocr synth is writing here. Wait for it, or name another output.")
        self._lock = lock

    def __exit__(self, *error) -> None:
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        if self._lock is not None:
            if self.num_done == 0 and len(self._files) == len(self._names):
                self._remove_all()
            os.close(self._lock)

    def _remove_all(self) -> None:
        """Remove everything this run has written."""
        for path in self._temporary:
            with contextlib.suppress(OSError):
                os.remove(path)

    def _read_state(self) -> list[int]:
        """Return the valid sizes of the temporary files, and set `num_done`.

        Raises:
          DatasetError: the stopped run had other settings.
        """
        try:
            with open(self._state, encoding="utf-8") as file:
                state = json.load(file)
            num_done, settings, sizes = state["num_done"], state["settings"], state["sizes"]
            paths = zip(self._temporary, sizes, strict=True)
            if any(os.path.getsize(path) < size for path, size in paths):
                raise ValueError("a temporary file is too short")
        except (OSError, ValueError, KeyError, TypeError):
            return [0] * len(self._names)
        if settings != self._settings:
            reason = f"contains {num_done:,} images of a stopped run with other settings."
            advice = f"Repeat its command to resume it, or remove {self._leftover()}."
            raise DatasetError(self._output, f"{reason} {advice}")
        self.num_done = num_done
        return sizes

    def _leftover(self) -> str:
        """Return the path to remove in order to start over."""
        return self._state

    def _check(self) -> None:
        """Refuse to overwrite files that are not ours."""

    def _encode(self, number: int, drawn: Drawn) -> tuple[int, bytes]:
        """Return the index of the file that image `number` belongs to, and the bytes to append."""
        raise NotImplementedError

    def write(self, block: Sequence[Drawn]) -> None:
        """Append images and save the state.

        Raises:
          DatasetError: the disk is full, or the files cannot be written.
        """
        try:
            parts: defaultdict[int, list[bytes]] = defaultdict(list)
            for number, drawn in enumerate(block, self.num_done):
                index, data = self._encode(number, drawn)
                parts[index].append(data)
            for index, file in enumerate(self._files):
                file.write(b"".join(parts[index]))
                file.flush()
            num_done = self.num_done + len(block)
            state = {"settings": self._settings, "num_done": num_done, "sizes": [file.tell() for file in self._files]}
            files.write(self._state, json.dumps(state).encode())
            self.num_done = num_done
        except OSError as error:
            raise _write_error(self._output, error) from None

    def finish(self) -> None:
        """Rename the files to their final names."""
        try:
            for file, temporary, name in zip(self._files, self._temporary, self._names, strict=True):
                file.close()
                os.replace(temporary, name)
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._state)
        except OSError as error:
            raise _write_error(self._output, error) from None


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


class RecordWriter(Writer):
    """Writes TFRecord files; images are distributed to the shards in turn.

    Args:
      output: the file, or the stem of the shards.
      num_shards: number of files.
      settings: as for Writer.

    Raises:
      DatasetError: a file of another type has the name.
    """

    def __init__(self, output: str, num_shards: int, settings: str):
        shards = [f"{output}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]
        super().__init__(output, [output] if num_shards == 1 else shards, settings)

    def _check(self) -> None:
        for name in self._names:
            if os.path.isdir(name):
                raise DatasetError(name, "is a folder. Name a file to write.")
            if os.path.exists(name) and os.path.getsize(name) and not is_head(files.read(name, HEAD_BYTES)):
                raise DatasetError(name, "already exists and is not a TFRecord file. Name another file, or remove it.")

    def _encode(self, number: int, drawn: Drawn) -> tuple[int, bytes]:
        return number % len(self._names), make_record(drawn)


class FolderWriter(Writer):
    """Writes a folder of images, and `annotations.txt` with a line `path label` for each.

    Args:
      output: the folder.
      settings: as for Writer.

    Raises:
      DatasetError: the folder contains other files.
    """

    def __init__(self, output: str, settings: str):
        super().__init__(output, [os.path.join(output, ANNOTATIONS)], settings)

    def _check(self) -> None:
        if os.path.exists(self._output) and not os.path.isdir(self._output):
            raise DatasetError(self._output, f"is a file. Name a folder, or a file that ends in {RECORDS_ENDING}.")
        if os.path.isdir(self._output) and os.listdir(self._output) and not os.path.exists(self._state):
            raise DatasetError(self._output, "is not empty. Name another folder, or remove this one.")

    def _leftover(self) -> str:
        return self._output

    def _remove_all(self) -> None:
        super()._remove_all()
        shutil.rmtree(os.path.join(self._output, "images"), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self._output)

    def _encode(self, number: int, drawn: Drawn) -> tuple[int, bytes]:
        path = f"images/{number // IMAGES_PER_FOLDER:04d}/{number:07d}.{drawn.extension}"
        if number % IMAGES_PER_FOLDER == 0 or number == self.resumed:
            os.makedirs(os.path.dirname(os.path.join(self._output, path)), exist_ok=True)
        with open(os.path.join(self._output, path), "wb") as file:
            file.write(drawn.data)
        return 0, f"{path} {drawn.label}\n".encode()


def open_writer(output: str, num_shards: int, settings: str) -> Writer:
    """Create a writer of records or of a folder, by the output's extension."""
    if output.endswith(RECORDS_ENDING):
        return RecordWriter(output, num_shards, settings)
    return FolderWriter(output, settings)
