"""The HTML report of a scored dataset: scores, confusions, misses with their attention."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Iterable, Sequence

from aocr import files
from aocr.errors import ImageError
from aocr.report.attention import attention_map
from aocr.report.diagnostics import SKIPPED, Drift, attention_drift, cer_by_length, writing_direction
from aocr.report.lines import scores
from aocr.report.pictures import encode_image, fit_image, load_image
from aocr.results import EvalReport, Sample
from aocr.text.metrics import normalised_edit_distance

MAX_MISSES = 200
MAX_CONFUSIONS = 30
NUM_BINS = 20


def align(label: str, text: str) -> list[tuple[str, str, str]]:
    """Align a label with a text at minimum edit distance.

    Returns:
      (operation, label character, text character) in order. Operations: `equal`, `replace`, `delete` (the text
      character is empty), `insert` (the label character is empty).
    """
    rows = [list(range(len(text) + 1))]
    for i, a in enumerate(label, 1):
        row = [i]
        for j, b in enumerate(text, 1):
            row.append(min(rows[-1][j - 1] + (a != b), rows[-1][j] + 1, row[-1] + 1))
        rows.append(row)
    steps, i, j = [], len(label), len(text)
    while i or j:
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (label[i - 1] != text[j - 1]):
            i, j = i - 1, j - 1
            steps.append(("equal" if label[i] == text[j] else "replace", label[i], text[j]))
        elif i and rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
            steps.append(("delete", label[i], ""))
        else:
            j -= 1
            steps.append(("insert", "", text[j]))
    return steps[::-1]


def confusions(samples: Sequence[Sample]) -> Counter:
    """Count the (label character, read character) pairs of all errors; empty if one is missing."""
    counts: Counter = Counter()
    for sample in samples:
        if not sample.correct:
            counts.update((a, b) for kind, a, b in align(sample.label, sample.prediction.text) if kind != "equal")
    return counts


_STYLE = """
:root{color-scheme:light dark;--ink:#1c1e21;--faint:#62676d;--paper:#fff;--line:#dfe2e6;--good:#2a7d4f;--bad:#b3261e;
--tint:#fbe3e1}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--faint:#9aa0a6;--paper:#17191c;--line:#33373c;--good:#6fcf97;
--bad:#ff8a80;--tint:#4a2320}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:62rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2.2rem}
table{border-collapse:collapse}td,th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.miss{border-top:1px solid var(--line);padding:.8rem 0;overflow-x:auto}
.miss img{display:block;max-width:100%;height:auto}.miss img.map{margin:2px 0 6px;image-rendering:pixelated}
.word{font:1.15rem ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.side{color:var(--faint);display:inline-block;min-width:4rem;font-size:.85rem}
.where{color:var(--faint);font-size:.85rem;overflow-wrap:anywhere}
mark{background:var(--tint);color:var(--bad);border-bottom:2px solid var(--bad)}
mark.gap{border-bottom-style:dotted}
rect.good{fill:var(--good)}rect.bad{fill:var(--bad)}svg text{fill:var(--faint);font-size:11px}
.note{color:var(--faint)}
"""


def _image_tag(data: bytes, kind: str, css: str, alt: str) -> str:
    source = base64.b64encode(data).decode()
    return f'<img class="{css}" alt="{html.escape(alt)}" src="data:image/{kind};base64,{source}">'


def _pictures(sample: Sample) -> str:
    """Return the image with the attention below it, as HTML."""
    try:
        image = fit_image(load_image(sample.image, sample.name), 48, 96, 900)
    except ImageError:
        return '<p class="note">(the image is not available)</p>'
    parts = [_image_tag(encode_image(image, "PNG"), "png", "picture", f"image of {sample.name}")]
    strip = attention_map(sample.prediction, image.width)
    if strip:
        parts.append(_image_tag(strip, "png", "map", "attention: a row per character, dark where it is high"))
    return "".join(parts)


def _marked(steps: list[tuple[str, str, str]], side: int) -> str:
    """Return one side of an alignment with differences and gaps marked, as HTML; side 1: the label, 2: the text."""
    parts = []
    for step in steps:
        char = html.escape(step[side])
        if step[0] == "equal":
            parts.append(char)
        elif char:
            parts.append(f"<mark>{char}</mark>")
        else:
            parts.append('<mark class="gap" title="nothing here">\u2423</mark>')
    return "".join(parts)


def _miss(sample: Sample, direction: int) -> str:
    steps = align(sample.label, sample.prediction.text)
    drift = attention_drift(sample.prediction, direction)
    about = f"confidence {sample.prediction.confidence:.1%}; attention: {drift}"
    return (
        f'<div class="miss">{_pictures(sample)}'
        f'<div><span class="side">label</span><bdi class="word">{_marked(steps, 1)}</bdi></div>'
        f'<div><span class="side">read</span><bdi class="word">{_marked(steps, 2)}</bdi></div>'
        f'<div class="where">{html.escape(sample.name)}, {about}</div></div>'
    )


def worst_first(samples: Sequence[Sample]) -> list[Sample]:
    """Return the misses by their distance from the label, then by confidence, descending."""

    def badness(sample: Sample) -> tuple[float, float]:
        text = sample.prediction.text
        return -normalised_edit_distance(text, sample.label), -sample.prediction.confidence

    return sorted((s for s in samples if not s.correct), key=badness)


def _table(kinds: str, rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return an HTML table; `kinds` has a letter per column, t for text, n for numbers. Cells are HTML."""

    def line(tag: str, cells: Sequence[str]) -> str:
        parts = (f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(parts)}</tr>"

    return f"<table>{line('th', head) if head else ''}{''.join(line('td', row) for row in rows)}</table>"


def _confusion_table(samples: Sequence[Sample]) -> str:
    counts = confusions(samples)
    if not counts:
        return ""

    def cell(char: str) -> str:
        return f"<code>{html.escape(char)}</code> U+{ord(char):04X}" if char else "<em>nothing</em>"

    rows = ((cell(a), cell(b), f"{count:,}") for (a, b), count in counts.most_common(MAX_CONFUSIONS))
    more = len(counts) - MAX_CONFUSIONS
    note = f'<p class="note">and {more} rarer ones</p>' if more > 0 else ""
    return f"<h2>Confused characters</h2>{_table('ttn', rows, ('label', 'read', 'times'))}{note}"


def _histogram(samples: Sequence[Sample]) -> str:
    """Return a histogram of the confidence of correct and wrong readings, as SVG."""
    right, wrong = [0] * NUM_BINS, [0] * NUM_BINS
    for sample in samples:
        index = min(NUM_BINS - 1, int(sample.prediction.confidence * NUM_BINS))
        (right if sample.correct else wrong)[index] += 1
    top = max(1, *(a + b for a, b in zip(right, wrong, strict=True)))
    width, height, bars = 32, 160, []
    for i, (good, bad) in enumerate(zip(right, wrong, strict=True)):
        x, tall, red = 40 + i * width, height * good / top, height * bad / top
        about = f"<title>{i / NUM_BINS:.0%} to {(i + 1) / NUM_BINS:.0%}: {good} right, {bad} wrong</title>"
        bars.append(
            f'<g>{about}<rect class="good" x="{x}" y="{10 + height - tall:.1f}" width="28" height="{tall:.1f}"/>'
        )
        bars.append(f'<rect class="bad" x="{x}" y="{10 + height - tall - red:.1f}" width="28" height="{red:.1f}"/></g>')
    ticks = "".join(
        f'<text x="{40 + i * width * NUM_BINS / 4:.0f}" y="{height + 28}" text-anchor="middle">{i / 4:.0%}</text>'
        for i in range(5)
    )
    axis = (
        f'<text x="34" y="20" text-anchor="end">{top}</text><text x="34" y="{height + 10}" text-anchor="end">0</text>'
    )
    box = f"0 0 {60 + NUM_BINS * width} {height + 36}"
    about = 'width="100%" role="img" aria-label="histogram of confidence"'
    svg = f'<svg viewBox="{box}" {about}>{axis}{"".join(bars)}{ticks}</svg>'
    legend = "Number of images by confidence: correct ones (green), wrong ones on top (red)."
    return f"<h2>Confidence</h2><p>{legend}</p>{svg}"


def _length_table(samples: Sequence[Sample]) -> str:
    rows = cer_by_length(samples)
    if len(rows) < 2:
        return ""
    cells = ((f"{low} to {high}" if high > low else f"{low}", f"{n:,}", f"{cer:.2%}") for low, high, n, cer in rows)
    return f"<h2>Errors by length of the label</h2>{_table('nnn', cells, ('characters', 'images', 'CER'))}"


def _drift_table(samples: Sequence[Sample], direction: int) -> str:
    """Return a table of attention moves that were not forward, as HTML."""
    drifts = [attention_drift(s.prediction, direction) for s in samples]
    total = sum(drifts, Drift())
    if not total.moves:
        return ""
    kinds = (
        ("backward", "moved against the writing direction"),
        ("stayed", "did not move: something may have been read twice"),
        ("skipped", f"moved more than {SKIPPED:.0f} times as far as usual: something may not have been read"),
    )
    rows = []
    for name, about in kinds:
        count, images = getattr(total, name), sum(getattr(d, name) > 0 for d in drifts)
        rows.append((about, f"{count:,}", f"{count / total.moves:.2%}", f"{images:,}"))
    about = f"<p>Of {total.moves:,} moves from one character to the next:</p>"
    table = _table("tnnn", rows, ("attention", "moves", "of all", "images"))
    return f"<h2>Attention moves</h2>{about}{table}"


def _html_page(report: EvalReport, samples: Sequence[Sample], title: str) -> str:
    misses, direction = worst_first(samples), writing_direction(samples)
    table = _table("tn", ((html.escape(name), html.escape(value)) for name, value in scores(report)))
    listed = "".join(_miss(sample, direction) for sample in misses[:MAX_MISSES])
    more = len(misses) - MAX_MISSES
    note = f'<p class="note">{more} more misses are not shown.</p>' if more > 0 else ""
    legend = '<p class="note">Below each image: a row per read character, dark where attention is high.</p>'
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>"
        f"<body><h1>{html.escape(title)}</h1>{table}"
        f"{_histogram(samples)}{_length_table(samples)}{_drift_table(samples, direction)}{_confusion_table(samples)}"
        f"<h2>Misses, the worst first ({len(misses)})</h2>"
        f"{legend if misses else '<p>None: every image was read correctly.</p>'}{listed}{note}</body></html>\n"
    )


def write_html_report(path: str, report: EvalReport, samples: Sequence[Sample], title: str) -> None:
    """Write a self-contained page: scores, histogram of confidence, confusions, misses with their attention.

    Raises:
      AocrError: the file cannot be written.
    """
    page = _html_page(report, samples, title).encode(errors="backslashreplace")
    with files.writing(path):
        files.write(path, page)
