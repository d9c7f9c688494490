"""The user's own cache: `$XDG_CACHE_HOME/aocr`, else `~/.cache/aocr`. What another could have written is not read.

AOCR_CACHE=off turns it off. What cannot be written is not kept, and nobody is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any

from aocr import __version__, files
from aocr.folder.model_folder import MODEL, Chosen, ModelFolder

MAX_FILES, MAX_BYTES = 8, 2**29
"""Limits on what is kept; beyond them what was used longest ago goes."""
_DIGEST_SIZE = hashlib.sha256().digest_size
_OTHERS_CAN_WRITE = 0o022


def folder() -> str:
    """Path of the cache's folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "aocr")


def _refuse_others(handle: int) -> None:
    found = os.fstat(handle)
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_CAN_WRITE:
        raise PermissionError("another user could have written here")


@contextlib.contextmanager
def _opened(name: str, flags: int, mode: int = 0o600, *, within: int | None = None) -> Iterator[int]:
    """A descriptor of a file or folder of this user that no other can write; no link is followed."""
    handle = os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=within)
    try:
        _refuse_others(handle)
        yield handle
    finally:
        os.close(handle)


def _folder(make: bool = False) -> contextlib.AbstractContextManager[int]:
    if os.environ.get("AOCR_CACHE") == "off" or os.open not in os.supports_dir_fd:
        raise PermissionError("there is no cache")
    if make:
        os.makedirs(os.path.dirname(folder()), mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder(), 0o700)
    return _opened(folder(), os.O_RDONLY | os.O_DIRECTORY)


def key_of(folder: ModelFolder, chosen: Chosen, *facts: Any) -> str:
    """The key of what depends on a checkpoint's weights, its settings and temperature, this version, and on `facts`.

    Raises:
      OSError: the checkpoint cannot be read, or is too large for what depends on it to be kept.
    """
    paths = [*folder.weight_files(chosen), folder.file(MODEL)]
    digests = [hashlib.sha256(files.read_plain(path, MAX_BYTES)).hexdigest() for path in paths]
    return hashlib.sha256(json.dumps([digests, chosen.temperature, __version__, *facts]).encode()).hexdigest()


def read(key: str) -> bytes | None:
    """What was kept under a key; None where nothing was, or it cannot be trusted."""
    with contextlib.suppress(OSError), _folder() as home, _opened(key, os.O_RDONLY, within=home) as handle:
        os.utime(key, dir_fd=home)
        with open(handle, "rb", closefd=False) as file:
            digest, data = file.read(_DIGEST_SIZE), file.read()
        if hashlib.sha256(data).digest() == digest:
            return data
    return None


def write(key: str, data: bytes) -> None:
    """Keep data under a key, a name of letters and digits."""
    with contextlib.suppress(OSError), _folder(make=True) as home:
        _replace(home, key, hashlib.sha256(data).digest() + data)
        _drop_oldest(home)


def _replace(home: int, key: str, content: bytes) -> None:
    temporary = f"{key}.{os.getpid()}.tmp"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with _opened(temporary, flags, within=home) as handle, open(handle, "wb", closefd=False) as file:
            file.write(content)
        os.replace(temporary, key, src_dir_fd=home, dst_dir_fd=home)
    except OSError:
        os.remove(temporary, dir_fd=home)
        raise


def _drop_oldest(home: int) -> None:
    found = {name: os.stat(name, dir_fd=home, follow_symlinks=False) for name in os.listdir(home)}
    total = 0
    for number, name in enumerate(sorted(found, key=lambda name: -found[name].st_mtime_ns)):
        total += found[name].st_size
        if number >= MAX_FILES or total > MAX_BYTES:
            os.remove(name, dir_fd=home)
