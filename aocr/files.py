"""Files on every file system: local ones by the standard library, gs://, s3:// and ram:// by TensorFlow.

Every function raises OSError where it fails, whatever the file system.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

from aocr.errors import AocrError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Path = str | os.PathLike
PNG = b"\x89PNG\r\n\x1a\n"
"""What a png begins with."""


def is_remote(path: Path) -> bool:
    """Whether TensorFlow must reach it."""
    return "://" in os.fspath(path)


def is_graph(path: Path) -> bool:
    """Whether a name is that of an ONNX export."""
    return os.fspath(path).endswith(".onnx")


def one_line(error: BaseException, limit: int = 160) -> str:
    """What an error says, shortened to one line of `limit` characters."""
    text = getattr(error, "message", None) or getattr(error, "strerror", None) or error
    text = re.sub(r"\{\{function_node \S+\}\}|\[Op:.*", "", str(text))
    return " ".join(text.split())[:limit] or type(error).__name__


def _tensorflow_errors() -> tuple[type[Exception], ...]:
    tf = sys.modules.get("tensorflow")
    return (tf.errors.OpError,) if tf else ()


@contextlib.contextmanager
def writing(path: Path, fail: Callable[[str], AocrError] | None = None, advice: str = "") -> Iterator[None]:
    """Turns a failure to write inside the block into the one line that a user sees.

    Args:
      path: that is written to.
      fail: reason -> error to raise; None: an AocrError of path and reason.
      advice: what to do; empty: to check the folder, its rights and the free space.
    """
    try:
        yield
    except (OSError, *_tensorflow_errors()) as error:  # type: ignore[misc]
        advice = advice or "Check the folder, its rights and the free space."
        reason = f"cannot be written ({one_line(error)}). {advice}"
        raise (fail(reason) if fail else AocrError(f"{os.fspath(path)}: {reason}")) from None


@contextlib.contextmanager
def tensorflow_errors(path: Path) -> Iterator[None]:
    """Turns the errors of TensorFlow's own readers and writers inside the block into OSErrors.

    A `tf.errors.DataLossError` stays: the file can be read, but what it holds is damaged.
    """
    import tensorflow as tf

    path = os.fspath(path)
    try:
        yield
    except tf.errors.DataLossError:
        raise
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(None, one_line(error), path) from None
    except tf.errors.UnimplementedError:
        advice = "For gs:// install tensorflow[gcs-filesystem]; for others their TensorFlow plug-in."
        raise OSError(None, f"TensorFlow has no file system for {path.split('://')[0]}://. {advice}", path) from None
    except tf.errors.OpError as error:
        raise OSError(None, one_line(error), path) from None


_LOCAL = SimpleNamespace(
    exists=os.path.exists,
    isdir=os.path.isdir,
    stat=lambda path: SimpleNamespace(length=os.path.getsize(path)),
    glob=glob.glob,
    listdir=os.listdir,
    walk=os.walk,
    makedirs=partial(os.makedirs, exist_ok=True),
    rename=lambda path, to, overwrite: os.replace(path, to),
    remove=os.remove,
    rmtree=shutil.rmtree,
    GFile=open,
)
"""The standard library under the names of `tf.io.gfile`."""


@contextlib.contextmanager
def _gfile(path: Path) -> Iterator:
    """`tf.io.gfile` for a remote path, its errors as OSErrors; for a local one what does the same."""
    if not is_remote(path):
        yield _LOCAL
        return
    import tensorflow as tf

    with tensorflow_errors(path):
        yield tf.io.gfile


def exists(path: Path) -> bool:
    """Whether there is a file or folder."""
    with _gfile(path) as gfile:
        return gfile.exists(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder."""
    with _gfile(path) as gfile:
        return gfile.isdir(path)


def size(path: Path) -> int:
    """Bytes of a file."""
    with _gfile(path) as gfile:
        return gfile.stat(path).length


def find(pattern: str) -> list[str]:
    """Paths that match a glob, sorted."""
    with _gfile(pattern) as gfile:
        return sorted(gfile.glob(pattern))


def names_in(folder: Path) -> list[str]:
    """Names of what lies in a folder, sorted."""
    with _gfile(folder) as gfile:
        return sorted(name.rstrip("/") for name in gfile.listdir(folder))


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`."""
    with _gfile(folder) as gfile:
        yield from gfile.walk(folder)


def read(path: Path, limit: int = -1) -> bytes:
    """The bytes of a file, at most `limit` of them from its start where that is not negative."""
    with _gfile(path) as gfile, gfile.GFile(path, "rb") as file:
        return file.read(limit)


def read_plain(path: Path, most: int) -> bytes:
    """The bytes of a file that a stranger may have put there.

    Raises:
      OSError: it cannot be read, is a pipe or a device, which may never end, or has more than `most` bytes.
    """
    refuse_endless(path)
    if size(path) > most:
        raise OSError(None, f"it has more than {most >> 20} MiB", os.fspath(path))
    return read(path)


def is_endless(path: Path) -> bool:
    """Whether something is there that is neither file nor folder: who reads it may wait for ever."""
    return not is_remote(path) and os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def refuse_endless(path: Path) -> None:
    """See that reading will end.

    Raises:
      OSError: it is a pipe or a device.
    """
    if is_endless(path):
        raise OSError(None, "a pipe or a device, not a file", os.fspath(path))


@contextlib.contextmanager
def opened(path: Path) -> Iterator:
    """A file to seek and read in, a piece here and a piece there."""
    if not is_remote(path):
        with open(path, "rb", buffering=0) as file:
            yield file
        return
    with _gfile(path) as gfile, gfile.GFile(path, "rb") as file:
        yield file


def text_lines(data: bytes) -> Iterator[str | None]:
    """Lines of a text file with or without BOM, ended by LF, CRLF or CR; None for one that is not UTF-8."""
    for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            yield None


def write(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one, never half.

    A device or a pipe, such as /dev/null or /dev/stdout, is written to and stays what it is.
    """
    if is_endless(path) or (not is_remote(path) and os.path.abspath(path).startswith(("/dev/", "/proc/"))):
        with open(path, "wb") as file:
            file.write(data)
        return
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    drop_link(temporary)
    try:
        with _gfile(path) as gfile, gfile.GFile(temporary, "wb") as file:
            file.write(data)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(temporary)
        raise


def write_picture(path: Path, data: bytes) -> None:
    """Write a png, as `write` does, but over nothing that is none.

    Raises:
      AocrError: something else has this name.
    """
    check_same(path, PNG, "png")
    write(path, data)


def check_same(path: Path, start: bytes, kind: str) -> None:
    """See that what would be written over begins as it will: the name may have been meant to be read.

    Raises:
      AocrError: it does not.
    """
    if not is_endless(path) and not is_folder(path) and exists(path) and size(path) and read(path, len(start)) != start:
        raise AocrError(f"{os.fspath(path)}: already exists and is no {kind}. Name another file, or remove it.")


def lock(handle: int) -> bool:
    """Lock an open file or folder until its handle is closed.

    Returns:
      Whether no other process holds it; true where the file system has no locks.
    """
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def rename(path: Path, to: Path) -> None:
    """Move a file to another name of the same file system, over what is there."""
    with _gfile(to) as gfile:
        gfile.rename(path, to, overwrite=True)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing."""
    with _gfile(path) as gfile:
        gfile.makedirs(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all it holds."""
    with _gfile(path) as gfile:
        is_tree = gfile.isdir(path) and not os.path.islink(path)
        (gfile.rmtree if is_tree else gfile.remove)(path)


def drop_link(path: Path) -> None:
    """Remove a link, so that what is then written to this name does not go where a stranger let it lead."""
    if os.path.islink(path):
        os.remove(path)


def copy_tree(source: str, target: str, last: str = "") -> None:
    """Copy a local folder with all it holds to a path of any file system.

    Args:
      source: the folder.
      target: path of the copy.
      last: name of a file in `source` that is copied when all others are there: who waits for it finds all.
    """
    paths = [os.path.join(base, name) for base, _, names in os.walk(source) for name in names]
    for path in sorted(paths, key=lambda path: os.path.relpath(path, source) == last):
        to = os.path.join(target, os.path.relpath(path, source))
        make_folder(os.path.dirname(to))
        write(to, read(path))
