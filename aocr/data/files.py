"""Files on every file system that TensorFlow knows: local paths, gs://, s3://, ram://."""

from __future__ import annotations

import contextlib
import os
import re

import tensorflow as tf


def first_line(error: BaseException) -> str:
    """What an error says, shortened to one line."""
    text = re.sub(r"\{\{function_node \S+\}\}|\[Op:.*", "", str(getattr(error, "message", error)))
    lines = text.strip().splitlines()
    return lines[0].strip()[:160] if lines else type(error).__name__


def write_file(path: str | os.PathLike, data: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one, never half.

    Raises:
      tf.errors.OpError: the folder is missing or cannot be written, or the disk is full.
    """
    path = os.fspath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)
        raise


def copy_tree(source: str, target: str, last: str = "") -> None:
    """Copy a local folder with all it holds to a path of any file system.

    Args:
      source: the folder.
      target: path of the copy.
      last: name of a file in `source` that is copied when all others are there: who waits for it finds all.

    Raises:
      tf.errors.OpError: it cannot be written.
    """
    paths = [os.path.join(base, name) for base, _, names in os.walk(source) for name in names]
    for path in sorted(paths, key=lambda path: os.path.relpath(path, source) == last):
        to = os.path.join(target, os.path.relpath(path, source))
        tf.io.gfile.makedirs(os.path.dirname(to))
        tf.io.gfile.copy(path, to, overwrite=True)
