"""Pages and pictures of a scored dataset, written to any file system."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from aocr import files
from aocr.report.attention import attention_files, folder_name
from aocr.report.page import html_page
from aocr.results import EvalReport, Sample


def write_html_report(path: str, report: EvalReport, samples: Sequence[Sample], title: str) -> None:
    """Write the page of `html_page`; it appears only when it is whole.

    Raises:
      AocrError: the file cannot be written.
    """
    page = html_page(report, samples, title).encode(errors="backslashreplace")
    with files.writing(path):
        files.write(path, page)


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
    pictures = attention_files(sample)
    with files.writing(folder, advice="Choose another --output-dir."):
        files.make_folder(folder)
        for name, data in pictures.items():
            files.write(os.path.join(folder, name), data)
        _remove_files(other, pictures)
    return folder


def _remove_files(folder: str, names: Iterable[str]) -> None:
    """Remove these files, and the folder if nothing else is in it."""
    if not files.is_folder(folder):
        return
    for name in set(files.names_in(folder)) & set(names):
        files.remove(os.path.join(folder, name))
    if not files.names_in(folder):
        files.remove(folder)
