"""An HTML page about a model on a dataset: scores, confusions, misses with their attention."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template

from aocr import files
from aocr.errors import ImageError
from aocr.report.attention import UPRIGHT_HEIGHT, attention_map
from aocr.report.diagnostics import SKIPPED, Drift, attention_drift, cer_by_length, writing_direction
from aocr.report.lines import scores
from aocr.report.pictures import encode_image, fit_image, load_image
from aocr.results import EvalReport, Sample
from aocr.text.metrics import accuracy_interval, normalised_edit_distance

MAX_MISSES = 200
MAX_CONFUSIONS = 30
NUM_BINS = 20
SPACE, NOTHING = "\u2423", "\u2205"
"""Marks of a space and of a missing character, here and on the pages."""
CHECKED = 0.1
"""Share of the images that is supposed to be checked by hand, for a number at the top."""
MISS_HEIGHT = 96
"""Height in pixels at which misread images are drawn, if they are not too wide."""
BARS_HEIGHT = 160
"""Height of the histogram on the page, in pixels."""


def align(label: str, text: str) -> list[tuple[str, str]]:
    """Align a label with a text at minimum edit distance.

    Returns:
      Pairs (label character, text character) in order; one is empty where the other string has an extra character.
    """
    rows = [list(range(len(text) + 1))]
    for i, a in enumerate(label, 1):
        row = [i]
        for j, b in enumerate(text, 1):
            row.append(min(rows[-1][j - 1] + (a != b), rows[-1][j] + 1, row[-1] + 1))
        rows.append(row)
    pairs, i, j = [], len(label), len(text)
    while i or j:
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (label[i - 1] != text[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((label[i], text[j]))
        elif i and rows[i][j] == rows[i - 1][j] + 1:
            i -= 1
            pairs.append((label[i], ""))
        else:
            j -= 1
            pairs.append(("", text[j]))
    return pairs[::-1]


def confusions(samples: Sequence[Sample]) -> Counter:
    """Count the (label character, read character) pairs of all errors; a missing character is empty."""
    pairs = (pair for s in samples if not s.correct for pair in align(s.label, s.prediction.text))
    return Counter((a, b) for a, b in pairs if a != b)


def surest_first(samples: Sequence[Sample]) -> list[Sample]:
    """Return the misses in descending order of confidence, then of distance from the label."""
    misses = [s for s in samples if not s.correct]
    misses.sort(key=lambda s: (-s.prediction.confidence, -normalised_edit_distance(s.prediction.text, s.label)))
    return misses


def right_after_check(samples: Sequence[Sample], share: float = CHECKED) -> float:
    """Return the share of right texts if the least confident `share` of all is checked and corrected by hand."""
    order = sorted(samples, key=lambda s: s.prediction.confidence)
    num_checked = round(share * len(order))
    return (num_checked + sum(s.correct for s in order[num_checked:])) / max(1, len(order))


def _headline(report: EvalReport, samples: Sequence[Sample]) -> str:
    """Return the three numbers at the top, as HTML."""
    correct = sum(s.correct for s in samples)
    low, high = accuracy_interval(correct, len(samples)) if samples else (0.0, 1.0)
    words = f"words right: {correct:,} of {len(samples):,}; of new images likely {low:.0%} to {high:.0%}"
    after = f"right if the least sure {CHECKED:.0%} are checked by hand"
    numbers = (report.word_accuracy, words), (report.cer, "characters wrong"), (right_after_check(samples), after)
    return "".join(f"<div><strong>{number:.1%}</strong>{about}</div>" for number, about in numbers)


def _image_tag(data: bytes, css: str, alt: str) -> str:
    source = base64.b64encode(data).decode()
    return f'<img class="{css}" alt="{html.escape(alt)}" src="data:image/png;base64,{source}">'


def _pictures(sample: Sample) -> str:
    """Return the image with the attention below it, or at the right of upright text, as HTML."""
    is_turned = sample.prediction.turn != "none"
    try:
        max_height = UPRIGHT_HEIGHT if is_turned else MISS_HEIGHT
        image = fit_image(load_image(sample.image, sample.name), MISS_HEIGHT, max_height, 900)
    except ImageError:
        return '<p class="note">(the image is not available)</p>'
    attention = attention_map(sample.prediction, image.width, image.height)
    about = f"attention: a {'column' if is_turned else 'row'} per character, dark where it is high"
    picture = _image_tag(encode_image(image, "PNG"), "picture", f"image of {sample.name}")
    pictures = picture + _image_tag(attention, "map", about)
    return f'<div class="upright">{pictures}</div>' if is_turned else pictures


def _marked(pairs: list[tuple[str, str]], side: int) -> str:
    """Return one side of an alignment as HTML, differences and gaps marked; side 0 is the label, 1 the text."""
    parts = []
    for pair in pairs:
        char = html.escape(pair[side])
        if pair[0] == pair[1]:
            parts.append(char)
        elif char:
            parts.append(f"<mark>{SPACE if char.isspace() else char}</mark>")
        else:
            parts.append(f'<mark class="gap" title="nothing here">{NOTHING}</mark>')
    return "".join(parts)


def _miss(sample: Sample, direction: int) -> str:
    pairs = align(sample.label, sample.prediction.text)
    drift = attention_drift(sample.prediction, direction)
    about = f"confidence {sample.prediction.confidence:.1%}; attention: {drift}"
    return (
        f'<div class="miss">{_pictures(sample)}'
        f'<div><span class="side">label</span><bdi class="word">{_marked(pairs, 0)}</bdi></div>'
        f'<div><span class="side">read</span><bdi class="word">{_marked(pairs, 1)}</bdi></div>'
        f'<div class="where">{html.escape(sample.name)}, {about}</div></div>'
    )


def _misses(samples: Sequence[Sample], direction: int) -> str:
    """Return the misses, surest first, as HTML."""
    if not samples:
        return "<p>None: every image was read correctly.</p>"
    legend = "Below each image: a row per read character (upright text: a column), dark where attention is high."
    legend = f'<p class="note">{legend} {SPACE} is a space, {NOTHING} nothing.</p>'
    num_more = len(samples) - MAX_MISSES
    note = f'<p class="note">{num_more} more misses are not shown.</p>' if num_more > 0 else ""
    return legend + "".join(_miss(sample, direction) for sample in samples[:MAX_MISSES]) + note


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
        mark = SPACE if char.isspace() else html.escape(char)
        return f"<code>{mark}</code> U+{ord(char):04X}" if char else f"<em>{NOTHING} nothing</em>"

    rows = ((cell(a), cell(b), f"{count:,}") for (a, b), count in counts.most_common(MAX_CONFUSIONS))
    num_more = len(counts) - MAX_CONFUSIONS
    note = f'<p class="note">and {num_more} rarer ones</p>' if num_more > 0 else ""
    return f"<h2>Confused characters</h2>{_table('ttn', rows, ('label', 'read', 'times'))}{note}"


def _bars(samples: Sequence[Sample]) -> tuple[str, int]:
    """Return SVG bars of correct and wrong readings by confidence, and the height of the highest bar.

    The unit of x is the distance between bars, the unit of y is one image.
    """
    counts = Counter((min(NUM_BINS - 1, int(s.prediction.confidence * NUM_BINS)), s.correct) for s in samples)
    most_images = 1
    bars = []
    for i in range(NUM_BINS):
        right, wrong = counts[i, True], counts[i, False]
        most_images = max(most_images, right + wrong)
        about = f"<title>{i / NUM_BINS:.0%} to {(i + 1) / NUM_BINS:.0%}: {right} right, {wrong} wrong</title>"
        bars.append(
            f'<g>{about}<rect class="good" x="{i}" width=".875" height="{right}"/>'
            f'<rect class="bad" x="{i}" y="{right}" width=".875" height="{wrong}"/></g>'
        )
    return "".join(bars), most_images


def _length_table(samples: Sequence[Sample]) -> str:
    rows = cer_by_length(samples)
    if len(rows) < 2:
        return ""
    cells = ((f"{low} to {high}" if high > low else f"{low}", f"{n:,}", f"{cer:.2%}") for low, high, n, cer in rows)
    return f"<h2>Errors by length of the label</h2>{_table('nnn', cells, ('characters', 'images', 'CER'))}"


def _moves_table(samples: Sequence[Sample], direction: int) -> str:
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


def write_html_report(path: str, report: EvalReport, samples: Sequence[Sample], title: str) -> None:
    """Write a self-contained page: scores, histogram of confidence, confusions, misses with their attention.

    Raises:
      AocrError: the file cannot be written.
    """
    misses, direction = surest_first(samples), writing_direction(samples)
    bars, most_images = _bars(samples)
    template = Template(resources.files("aocr.report").joinpath("page.html").read_text("utf-8"))
    page = template.substitute(
        title=html.escape(title),
        headline=_headline(report, samples),
        scores=_table("tn", ((html.escape(name), html.escape(value)) for name, value in scores(report))),
        bars=bars,
        most_images=most_images,
        image_height=BARS_HEIGHT / most_images,
        lengths=_length_table(samples),
        moves=_moves_table(samples, direction),
        confusions=_confusion_table(samples),
        num_misses=len(misses),
        misses=_misses(misses, direction),
    )
    with files.writing(path):
        files.write(path, page.encode(errors="backslashreplace"))
