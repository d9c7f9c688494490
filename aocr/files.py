"""Files on any file system: local ones with the standard library; gs://, s3:// and ram:// with TensorFlow.

Every function raises OSError if it fails, on any file system.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import SimpleNamespace

from aocr.errors import AocrError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Path = str | os.PathLike
Paths = Path | Iterable[Path]
"""One path or several."""
PNG = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG file."""


def path_list(paths: Paths) -> list[str]:
    """Return one path or several as a list of strings."""
    return [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]


def is_remote(path: Path) -> bool:
    """Whether a path needs TensorFlow's file systems."""
    return "://" in os.fspath(path)


def is_graph(path: Path) -> bool:
    """Whether a path names an ONNX export."""
    return os.fspath(path).endswith(".onnx")


def one_line(error: BaseException, limit: int = 160) -> str:
    """Return an error's message as one line of at most `limit` characters."""
    text = getattr(error, "message", None) or getattr(error, "strerror", None) or error
    text = re.sub(r"\{\{function_node \S+\}\}|\[Op:.*", "", str(text))
    return " ".join(text.split())[:limit] or type(error).__name__


def _tensorflow_errors() -> tuple[type[Exception], ...]:
    tf = sys.modules.get("tensorflow")
    return (tf.errors.OpError,) if tf else ()


@contextlib.contextmanager
def writing(path: Path, fail: Callable[[str], AocrError] | None = None, advice: str = "") -> Iterator[None]:
    """Turn a failure to write inside the block into a one-line error.

    Args:
      path: the file or folder that is written.
      fail: builds the error from its reason; None: an AocrError with the path.
      advice: what to do about it; empty: check the folder, its permissions and the free space.
    """
    try:
        yield
    except (OSError, *_tensorflow_errors()) as error:  # type: ignore[misc]
        advice = advice or "Check the folder, its permissions and the free space."
        reason = f"cannot be written ({one_line(error)}). {advice}"
        raise (fail(reason) if fail else AocrError(f"{os.fspath(path)}: {reason}")) from None


@contextlib.contextmanager
def tensorflow_errors(path: Path) -> Iterator[None]:
    """Turn errors of TensorFlow's readers and writers inside the block into OSErrors.

    A `tf.errors.DataLossError` is left as it is: the file can be read, but its contents are damaged.
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
        advice = "For gs://, install aocr[gcs]; for others, their TensorFlow plug-in."
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
    """Yield `tf.io.gfile` for a remote path, with its errors as OSErrors; `_LOCAL` for a local one."""
    if not is_remote(path):
        yield _LOCAL
        return
    import tensorflow as tf

    with tensorflow_errors(path):
        yield tf.io.gfile


def exists(path: Path) -> bool:
    """Whether a file or folder exists."""
    with _gfile(path) as gfile:
        return gfile.exists(path)


def is_folder(path: Path) -> bool:
    """Whether a folder exists."""
    with _gfile(path) as gfile:
        return gfile.isdir(path)


def is_device(path: Path) -> bool:
    """Whether a local path exists and is neither a file nor a folder, such as /dev/null or a pipe."""
    return not is_remote(path) and os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def size(path: Path) -> int:
    """Return the size of a file in bytes."""
    with _gfile(path) as gfile:
        return gfile.stat(path).length


def find(pattern: str) -> list[str]:
    """Return the paths that match a glob, sorted."""
    with _gfile(pattern) as gfile:
        return sorted(gfile.glob(pattern))


def names_in(folder: Path) -> list[str]:
    """Return the names of a folder's entries, sorted."""
    with _gfile(folder) as gfile:
        return sorted(name.rstrip("/") for name in gfile.listdir(folder))


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as `os.walk` does."""
    with _gfile(folder) as gfile:
        yield from gfile.walk(folder)


def read(path: Path, limit: int = -1) -> bytes:
    """Return the bytes of a file, or its first `limit` bytes if that is not negative."""
    with _gfile(path) as gfile, gfile.GFile(path, "rb") as file:
        return file.read(limit)


def refuse_device(path: Path) -> None:
    """Refuse to read a pipe or a device, which may never end and gives its bytes only once.

    Raises:
      OSError: it is a pipe or a device.
    """
    if is_device(path):
        raise OSError(None, "a pipe or a device, not a file", os.fspath(path))


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file that may be untrusted, or whose name may be.

    Raises:
      OSError: it cannot be read, is a pipe or a device, or has more than `max_bytes`.
    """
    refuse_device(path)
    if size(path) > max_bytes:
        raise OSError(None, f"it has more than {max_bytes >> 20} MiB", os.fspath(path))
    return read(path)


@contextlib.contextmanager
def opened(path: Path) -> Iterator:
    """Open a file for reading and seeking."""
    if not is_remote(path):
        with open(path, "rb", buffering=0) as file:
            yield file
        return
    with _gfile(path) as gfile, gfile.GFile(path, "rb") as file:
        yield file


def text_lines(data: bytes) -> Iterator[str | None]:
    """Split a text file, with or without BOM, at LF, CRLF or CR; a line that is not UTF-8 becomes None."""
    for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            yield None


def write(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old one or the whole new one.

    A device such as /dev/null or /dev/stdout is written to directly.
    """
    if is_device(path) or os.path.abspath(path).startswith(("/dev/", "/proc/")):
        with open(path, "wb") as file:
            file.write(data)
        return
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    try:
        with _gfile(path) as gfile, gfile.GFile(temporary, "wb") as file:
            file.write(data)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(temporary)
        raise


def write_picture(path: Path, data: bytes) -> None:
    """Write a PNG atomically, replacing only a PNG.

    Raises:
      AocrError: the path is a file of another type.
    """
    check_same(path, PNG, "PNG image")
    write(path, data)


def check_same(path: Path, start: bytes, kind: str) -> None:
    """Refuse to overwrite a file of another type.

    Args:
      path: the file to be written.
      start: first bytes of its type.
      kind: name of the type.

    Raises:
      AocrError: a file exists that begins with other bytes.
    """
    is_file = exists(path) and not is_folder(path) and not is_device(path)
    if is_file and size(path) and read(path, len(start)) != start:
        raise AocrError(f"{os.fspath(path)}: already exists and is not a {kind}. Name another file, or remove it.")


def lock(handle: int) -> bool:
    """Lock an open file or folder until its handle is closed.

    Returns:
      Whether no other process holds the lock; true on a file system without locks.
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
    """Rename a file within its file system, replacing the target."""
    with _gfile(to) as gfile:
        gfile.rename(path, to, overwrite=True)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents."""
    with _gfile(path) as gfile:
        gfile.makedirs(path)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents."""
    with _gfile(path) as gfile:
        is_tree = gfile.isdir(path) and not os.path.islink(path)
        (gfile.rmtree if is_tree else gfile.remove)(path)


def copy_tree(source: str, target: str, last: str = "") -> None:
    """Copy a local folder to a path of any file system.

    Args:
      source: the folder.
      target: path of the copy.
      last: name of the file in `source` that is copied last: when it exists, the copy is complete.
    """
    paths = [os.path.join(base, name) for base, _, names in os.walk(source) for name in names]
    for path in sorted(paths, key=lambda path: os.path.relpath(path, source) == last):
        to = os.path.join(target, os.path.relpath(path, source))
        make_folder(os.path.dirname(to))
        write(to, read(path))
