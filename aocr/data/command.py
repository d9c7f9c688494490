"""`aocr.dataset`: what `aocr dataset` does, as a function."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from aocr import files, machine
from aocr.config import fields_in
from aocr.errors import ConfigError
from aocr.text.charset import Charset

RECORDS = "dataset.tfrecords"
"""Default output."""

if TYPE_CHECKING:
    from aocr.data.build_report import BuildReport


def dataset(
    annotations: files.Path, output: files.Path | None = RECORDS, *, export: str | None = None,
    data_base_dir: str | None = None, columns: str | None = None, label_from_filename: str | None = None,
    empty_labels: bool = False,
    charset: str | None = None, max_prediction: int | None = None, report: str | None = None,
    preview: str | None = None, strict: bool = False, shards: int = 1, force_uppercase: bool = False,
    save_filename: bool = False, progress: Callable[[int], None] | None = None,
) -> BuildReport:  # fmt: skip
    """Build TFRecords, or with `export` a folder for other programs, from images and labels, and check them.

    Arguments are those of `aocr dataset`, except:

    Args:
      output: the TFRecord file; None: check the images and labels, and write no records.
      progress: called after each line with the number of lines read.

    Returns:
      Counts, and every line left out, with its reason.

    Raises:
      AnnotationError: the source is missing, empty, or has no usable line; or, when `strict`, a line is not usable.
      DatasetError: a TFRecord is damaged or another program's, or the output cannot be written.
    """
    settings = locals()
    if export and (preview or shards > 1):
        raise ConfigError("--export", export, "takes no --preview and no --shards: they need records.")
    if export and output == RECORDS:
        output = f"dataset-{export}"
    charset_or_none = Charset.from_name_or_file(charset) if charset else None
    machine.start_tensorflow()
    from aocr.data.builder import BuildOptions, build_records
    from aocr.data.preview import write_preview

    outputs = (path for path in (output, report, preview) if path and not files.is_remote(path))
    settings |= {"charset": charset_or_none, "written": frozenset(map(os.path.realpath, outputs))}
    options, path = BuildOptions(**fields_in(BuildOptions, settings)), None if output is None else os.fspath(output)
    result = build_records(os.fspath(annotations), path, options, progress)
    if report:
        result.write(report)
    if preview:
        write_preview(preview, result.paths)
    return result
