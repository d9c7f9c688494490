"""An index page of the attention pictures of `aocr test --visualize`."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from urllib.parse import quote

from aocr import files
from aocr.report.page import NOTHING
from aocr.results import Sample

INDEX = "index.html"
START = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>Attention</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
td, th { padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: middle; }
bdi { font: 1.1rem ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-height: 9rem; max-width: 22rem; }
tr.incorrect td:nth-child(3) { color: #c22; }
</style>
</head>
<body>
"""


def write_index(output_dir: str, folders: Mapping[str, Sample]) -> str:
    """Write a page that links the pictures in each folder, misread images first, the surest ones at the top.

    Args:
      output_dir: where to write it.
      folders: the samples by the folder, inside `output_dir`, that their pictures are in.

    Returns:
      Its path.

    Raises:
      AocrError: the file cannot be written, or is not such a page.
    """
    rows = []
    for folder, sample in sorted(folders.items(), key=lambda row: (row[1].correct, -row[1].prediction.confidence)):
        link = quote(os.path.relpath(folder, output_dir).replace(os.sep, "/"))
        kind = "correct" if sample.correct else "incorrect"
        texts = sample.name, sample.label or NOTHING, sample.prediction.text or NOTHING
        name, label, text = map(html.escape, texts)
        rows.append(
            f'<tr class="{kind}"><td><a href="{link}/attention.png"><img loading="lazy" alt="{name}" '
            f'src="{link}/attention.gif"></a></td><td><bdi>{label}</bdi></td><td><bdi>{text}</bdi></td>'
            f"<td>{sample.prediction.confidence:.0%}</td><td>{name}</td></tr>\n"
        )
    wrong = sum(not sample.correct for sample in folders.values())
    head = "<tr><th></th><th>label</th><th>read</th><th>sure</th><th>image</th></tr>\n"
    page = (
        f"{START}<h1>{wrong} of {len(folders)} misread</h1>\n<table>\n{head}{''.join(rows)}</table>\n</body>\n</html>\n"
    )
    path = os.path.join(output_dir, INDEX)
    files.check_same(path, START[:15].encode(), "page")
    with files.writing(path, advice="Choose another --output-dir."):
        files.write(path, page.encode(errors="backslashreplace"))
    return path
