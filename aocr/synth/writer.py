"""Where drawn images go: a folder with annotations, or TFRecord files; in blocks, so that a killed run goes on.

Everything is written under temporary names first. After each block a small state beside them says how far they are
whole; a run with the same settings cuts them there and goes on. The last step gives them their names.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from aocr import files
from aocr.checksum import HEAD_BYTES, is_head
from aocr.errors import DatasetError
from aocr.synth.drawing import Drawn
from aocr.synth.records import example, framed

ANNOTATIONS = "annotations.txt"
RECORDS_ENDING = ".tfrecords"
PER_FOLDER = 1000
MAX_STATE_BYTES = 2**20


def _failed(path: str, error: OSError) -> DatasetError:
    reason = error.strerror or str(error)
    return DatasetError(
        path,
        f"cannot be written ({reason}). Free space or check rights, then give the same command: it goes on from here.",
    )


def _open_or_make(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _odd_in(folder: str) -> Iterator[str]:
    """Links, which may lead anywhere, pipes and devices in a folder and the folders in it."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    yield entry.path


class Writer:
    """Appends blocks of images to files, and remembers how far they are whole: a context manager.

    Another run is kept off the same files; not so on Windows.

    Args:
      output: the folder or the stem of the records.
      names: of the files at the end.
      settings: whatever decides the images; work of other settings is not gone on with.
    """

    def __init__(self, output: str, names: Sequence[str], settings: str):
        self._output, self._names, self._settings = output, list(names), settings
        self._temporary = [f"{name}.0.tmp" for name in names]
        self._state = f"{names[0]}.synth.json"
        self._files: list[BinaryIO] = []
        self._lock: int | None = None
        self._entered = False
        self.num_done = 0
        self.resumed = 0

    def __enter__(self) -> Writer:
        try:
            self._check()
            os.makedirs(os.path.dirname(self._names[0]) or ".", exist_ok=True)
            self._open(0)
            self._hold()
            sizes = self._read_state()
            self._entered = True
            for number, size in enumerate(sizes):
                file = self._open(number)
                file.truncate(size)
                file.seek(size)
            self.resumed = self.num_done
        except OSError as error:
            self.__exit__()
            raise _failed(self._output, error) from None
        except DatasetError:
            self.__exit__()
            raise
        return self

    def _open(self, number: int) -> BinaryIO:
        """A temporary file, opened once."""
        if number == len(self._files):
            file = open(self._temporary[number], "r+b", opener=_open_or_make)  # noqa: SIM115 (closed on leaving)
            self._files.append(file)
        return self._files[number]

    def _hold(self) -> None:
        """Keep others off the files, until the end of this run.

        Raises:
          DatasetError: another is at work on them.
        """
        lock = os.dup(self._files[0].fileno())  # it holds when the file is closed, to be renamed
        if not files.lock(lock) or self._has_ended(lock):
            os.close(lock)
            reason = "another aocr synth is at work on it. Wait for it, or name another output."
            raise DatasetError(self._output, reason)
        self._lock = lock

    def _has_ended(self, handle: int) -> bool:
        """Whether another run has just given the file of a handle its last name."""
        try:
            return not os.path.samestat(os.fstat(handle), os.stat(self._temporary[0]))
        except FileNotFoundError:
            return True

    def __exit__(self, *error) -> None:
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close()
        if self._entered and self.num_done == 0:  # nothing to go on with
            self._clear()
        if self._lock is not None:
            os.close(self._lock)

    def _clear(self) -> None:
        """Remove all that this run has written."""
        for path in self._temporary:
            with contextlib.suppress(OSError):
                os.remove(path)

    def _read_state(self) -> list[int]:
        """Sizes up to which the temporary files are whole; sets `num_done`.

        Raises:
          DatasetError: a run of other settings was stopped here.
        """
        try:
            state = json.loads(files.read_plain(self._state, MAX_STATE_BYTES))
            num_done, settings, sizes = state["num_done"], state["settings"], state["sizes"]
            whole = all(os.path.getsize(path) >= size for path, size in zip(self._temporary, sizes, strict=True))
            whole = whole and all(type(number) is int and number >= 0 for number in (num_done, *sizes))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return [0] * len(self._names)
        if not whole:
            return [0] * len(self._names)
        if settings != self._settings:
            raise DatasetError(
                self._output,
                f"holds {num_done:,} images of a stopped run with other settings. Give its command again to go on, "
                f"or remove {self._leftover()}.",
            )
        self.num_done = num_done
        return sizes

    def _leftover(self) -> str:
        """What to remove so as to begin anew."""
        return self._state

    def _check(self) -> None:
        """Refuse to write over what is not ours."""

    def _pieces(self, number: int, drawn: Drawn) -> tuple[int, bytes]:
        """Which file image `number` goes to, and its bytes there."""
        raise NotImplementedError

    def write(self, block: Sequence[Drawn]) -> None:
        """Append images and note how far the files are whole.

        Raises:
          DatasetError: the disk is full, or the files cannot be written.
        """
        try:
            pieces: dict[int, list[bytes]] = {}
            for number, drawn in enumerate(block, self.num_done):
                place, data = self._pieces(number, drawn)
                pieces.setdefault(place, []).append(data)
            for place, parts in pieces.items():
                self._files[place].write(b"".join(parts))
            for file in self._files:
                file.flush()
            done = self.num_done + len(block)
            state = {"settings": self._settings, "num_done": done, "sizes": [file.tell() for file in self._files]}
            with open(self._state + ".tmp", "w", encoding="utf-8", opener=_open_or_make) as kept:
                json.dump(state, kept)
            os.replace(self._state + ".tmp", self._state)
            self.num_done = done
        except OSError as error:
            with contextlib.suppress(OSError):
                os.remove(self._state + ".tmp")
            raise _failed(self._output, error) from None

    def finish(self) -> None:
        """Give the files their names."""
        try:
            for file, temporary, name in zip(self._files, self._temporary, self._names, strict=True):
                file.close()
                os.replace(temporary, name)
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._state)
        except OSError as error:
            raise _failed(self._output, error) from None


class RecordWriter(Writer):
    """TFRecord files; images are dealt to the shards in turn.

    Args:
      output: the file, or the stem of the shards.
      num_shards: number of files.
      settings: as in Writer.

    Raises:
      DatasetError: something that holds no records has the name.
    """

    def __init__(self, output: str, num_shards: int, settings: str):
        shards = [f"{output}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]
        super().__init__(output, [output] if num_shards == 1 else shards, settings)

    def _check(self) -> None:
        for name in self._names:
            if os.path.isdir(name):
                raise DatasetError(name, "is a folder. Name a file to write.")
            if os.path.exists(name) and os.path.getsize(name):
                with open(name, "rb") as file:
                    if not is_head(file.read(HEAD_BYTES)):
                        raise DatasetError(
                            name, "already exists and holds no records. Name another output, or remove it."
                        )

    def _pieces(self, number: int, drawn: Drawn) -> tuple[int, bytes]:
        record = framed(example(drawn.data, drawn.label, drawn.width, drawn.height))
        return number % len(self._names), record


class FolderWriter(Writer):
    """A folder of images, and `annotations.txt` with a `path label` a line.

    Args:
      output: the folder.
      settings: as in Writer.

    Raises:
      DatasetError: the folder holds other things.
    """

    def __init__(self, output: str, settings: str):
        super().__init__(output, [os.path.join(output, ANNOTATIONS)], settings)

    def _check(self) -> None:
        if os.path.exists(self._output) and not os.path.isdir(self._output):
            raise DatasetError(self._output, f"is a file. Name a folder, or a file that ends in {RECORDS_ENDING}.")
        if os.path.isdir(self._output) and os.listdir(self._output) and not os.path.exists(self._state):
            raise DatasetError(self._output, "is not empty. Name another folder, or remove this one.")
        if os.path.isdir(self._output) and (odd := next(_odd_in(self._output), None)):
            raise DatasetError(odd, "is neither file nor folder, and of no stopped run. Name another folder.")

    def _leftover(self) -> str:
        return self._output

    def _clear(self) -> None:
        super()._clear()
        shutil.rmtree(os.path.join(self._output, "images"), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(self._output)

    def _pieces(self, number: int, drawn: Drawn) -> tuple[int, bytes]:
        folder, name = f"images/{number // PER_FOLDER:04d}", f"{number:07d}.{drawn.ending}"
        if number % PER_FOLDER == 0 or number == self.resumed:
            os.makedirs(os.path.join(self._output, folder), exist_ok=True)
        with open(os.path.join(self._output, folder, name), "wb") as file:
            file.write(drawn.data)
        return 0, f"{folder}/{name} {drawn.label}\n".encode()


def open_writer(output: str, num_shards: int, settings: str) -> Writer:
    """The writer that an output's ending asks for."""
    if output.endswith(RECORDS_ENDING):
        return RecordWriter(output, num_shards, settings)
    return FolderWriter(output, settings)
