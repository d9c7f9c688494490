"""Pages and pictures of a scored dataset, written to any file system."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import tensorflow as tf

from aocr.data.files import first_line, write_file
from aocr.errors import AocrError
from aocr.report import html_page
from aocr.results import EvalReport, Sample
from aocr.visualize import attention_files, folder_name


def write_html_report(path: str, report: EvalReport, samples: Sequence[Sample], title: str) -> None:
    """Write the page of `html_page`; it appears only when it is whole.

    Raises:
      AocrError: the file cannot be written.
    """
    page = html_page(report, samples, title).encode(errors="backslashreplace")
    try:
        write_file(path, page)
    except tf.errors.OpError as error:
        raise AocrError(f"{path}: cannot be written ({first_line(error)}). Check the folder and free space.") from None


def write_visualization(sample: Sample, output_dir: str | os.PathLike) -> str:
    """Write `attention.gif`, `attention.png` and `word.txt` of one sample.

    They go to `correct/<name>/` or `incorrect/<name>/` under `output_dir`; folders are made. Doing it again
    overwrites the sample's own files only, and takes them away from where they no longer belong.

    Returns:
      The folder.

    Raises:
      ImageError: Pillow cannot decode the image.
      AocrError: the files cannot be written.
    """
    verdicts = ("correct", "incorrect") if sample.correct else ("incorrect", "correct")
    folder, other = (os.path.join(output_dir, verdict, folder_name(sample)) for verdict in verdicts)
    files = attention_files(sample)
    try:
        tf.io.gfile.makedirs(folder)
        for name, data in files.items():
            write_file(os.path.join(folder, name), data)
        _remove_files(other, files)
    except tf.errors.OpError as error:
        raise AocrError(f"{folder}: cannot write there: {first_line(error)}. Choose another --output-dir.") from None
    return folder


def _remove_files(folder: str, names: Iterable[str]) -> None:
    """Remove these files, and the folder if nothing else is in it."""
    if not tf.io.gfile.isdir(folder):
        return
    for name in set(tf.io.gfile.listdir(folder)) & set(names):
        tf.io.gfile.remove(os.path.join(folder, name))
    if not tf.io.gfile.listdir(folder):
        tf.io.gfile.rmtree(folder)
