"""Pages and pictures of a scored dataset, written to any file system."""

from __future__ import annotations

import os
from collections.abc import Sequence

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
    overwrites the sample's own files only.

    Returns:
      The folder.

    Raises:
      ImageError: Pillow cannot decode the image.
      AocrError: the files cannot be written.
    """
    folder = os.path.join(output_dir, "correct" if sample.correct else "incorrect", folder_name(sample))
    files = attention_files(sample)
    try:
        tf.io.gfile.makedirs(folder)
        for name, data in files.items():
            write_file(os.path.join(folder, name), data)
    except tf.errors.OpError as error:
        raise AocrError(f"{folder}: cannot write there: {first_line(error)}. Choose another --output-dir.") from None
    return folder
