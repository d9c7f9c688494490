"""Format readings and scores: lines for people, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from aocr.errors import HIDDEN, AocrError, escape_control
from aocr.results import EvalReport, Prediction, Sample
from aocr.text.metrics import mcnemar, upstream_score

NUM_NAMED = 5
"""Maximum number of left-out items to name in warnings."""
SIGNIFICANT = 0.05
"""Probability of a difference by chance below which the difference between two models is called more than chance."""


def pluralise(number: int, noun: str) -> str:
    """Format a number with its noun: `1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def warn_of(log: logging.Logger, reasons: Sequence[str], what: str) -> None:
    """Warn of left-out items: log the first few `reasons`, then the total with the noun `what`."""
    for reason in reasons[:NUM_NAMED]:
        log.warning("%s", reason)
    if len(reasons) > NUM_NAMED:
        log.warning("%d %s in total", len(reasons), what)


def _field(text: str) -> str:
    """Escape what would break a line of fields, reversibly: a backslash is doubled."""
    return escape_control(text.replace("\\", "\\\\"))


def prediction_line(path: str, prediction: Prediction, min_confidence: float = 0.0) -> str:
    """Format fields separated by TAB: path, text, confidence, then text and confidence of each alternative.

    If the confidence is below `min_confidence` or the text was cut, a field `unsure` precedes the alternatives.
    """
    fields = [_field(path), _field(prediction.text), f"{prediction.confidence:.4f}"]
    if prediction.confidence < min_confidence or prediction.cut:
        fields.append("unsure")
    for other in prediction.alternatives:
        fields += [_field(other.text), f"{other.confidence:.4f}"]
    return "\t".join(fields)


def csv_line(fields: Sequence[object]) -> str:
    """Format fields as one record of RFC 4180: quoted where needed, with escaped control characters."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([escape_control(str(field)) for field in fields])
    return line.getvalue()


def csv_header(num_alternatives: int = 0) -> str:
    """Format the names of the columns of `prediction_csv`."""
    others = [name for i in range(1, num_alternatives + 1) for name in (f"text_{i}", f"confidence_{i}")]
    return csv_line(["path", "text", "confidence", "sure", *others])


def prediction_csv(path: str, prediction: Prediction, min_confidence: float = 0.0) -> str:
    """Format path, text, confidence, whether it reaches `min_confidence`, and the alternatives."""
    sure = str(prediction.confidence >= min_confidence and not prediction.cut).lower()
    others = [value for other in prediction.alternatives for value in (other.text, f"{other.confidence:.4f}")]
    return csv_line([path, prediction.text, f"{prediction.confidence:.4f}", sure, *others])


def prediction_json(
    path: str,
    prediction: Prediction,
    attention: bool = False,
    min_confidence: float | None = None,
    region: Sequence[Sequence[float]] = (),
) -> str:
    """Format one JSON object on one line: path, text, confidence, characters with boxes, alternatives, and `cut`.

    `region` adds the corners of the part of the image that was read; edges of characters count from its left edge.
    `attention` adds the weights, for each step a list of the columns of all bands, and the width of a column in pixels.
    `min_confidence` adds the field `sure`: whether the confidence reaches it.
    """
    value: dict[str, Any] = {
        "path": path,
        "text": prediction.text,
        "confidence": round(prediction.confidence, 6),
        "characters": [{**asdict(c), "confidence": round(c.confidence, 6)} for c in prediction.characters],
        "alternatives": [asdict(a) for a in prediction.alternatives],
        "cut": prediction.cut,
    }
    if region:
        value["region"] = [[round(number, 2) for number in corner] for corner in region]
    if min_confidence is not None:
        value["sure"] = prediction.confidence >= min_confidence and not prediction.cut
    if attention:
        value |= {"column_width": round(prediction.column_width, 3), "bands": prediction.bands}
        value |= {"turn": prediction.turn, "slope": prediction.slope}
        value["attention"] = [[round(float(w), 4) for w in row] for row in prediction.attention]
    return _json_line(value)


def refusal_json(path: str, error: AocrError) -> str:
    """Format one JSON object on one line: path and error of an image that could not be read."""
    return _json_line({"path": path, "error": str(error)})


def _json_line(value: dict) -> str:
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def result_line(sample: Sample, use_distance: bool = True) -> str:
    """Format a scored image: its score of aocr 0.7.6, its label and, if it was misread, the text read and its name."""
    score = upstream_score(sample.prediction.text, sample.label, use_distance)
    if sample.correct:
        return escape_control(f"{score:>4.0%} ({sample.label})")
    return escape_control(f"{score:>4.0%} ({sample.label} read as {sample.prediction.text}) {sample.name}")


def sample_lines(samples: Sequence[Sample]) -> list[str]:
    """Format labels, texts and confidences in columns, with quotes around texts."""
    rows = [(repr(s.label), repr(s.prediction.text), f"{s.prediction.confidence:.2f}") for s in samples]
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    return [escape_control(f"{label:<{first}}  {text:<{second}}  {confidence}") for label, text, confidence in rows]


def scores(report: EvalReport) -> list[tuple[str, str]]:
    """Return the names and formatted values of all scores."""

    def rate(value: float, interval: tuple[float, float] | None = None) -> str:
        return f"{value:.2%}" + (f"  (95 %: {interval[0]:.2%} to {interval[1]:.2%})" if interval else "")

    rejection = [(f"accuracy without the least sure {share:.0%}", rate(value)) for share, value in report.rejection]
    return [
        ("images", f"{report.num_images:,}"),
        ("word accuracy", rate(report.word_accuracy, report.word_accuracy_interval)),
        ("word accuracy, letters and digits, any case", rate(report.word_accuracy_alnum)),
        ("character error rate (CER)", rate(report.cer, report.cer_interval)),
        ("1-NED", rate(report.one_minus_ned)),
        ("score of aocr 0.7.6", rate(report.upstream_accuracy)),
        ("mean confidence", rate(report.mean_confidence)),
        ("calibration error of the confidence (ECE)", rate(report.ece)),
        ("the same before calibration", rate(report.ece_uncalibrated)),
        *(rejection if 0 < report.word_accuracy < 1 else []),
        ("perplexity", f"{report.perplexity:.4g}" if math.isfinite(report.perplexity) else "-"),
        ("images per second", f"{report.images_per_second:.0f}" if report.images_per_second > 0 else "-"),
        *((f"left out: {reason}", f"{count:,}") for reason, count in report.skipped.items()),
    ]


def score_text(report: EvalReport) -> str:
    """Format the scores for people, one per line."""
    rows = scores(report)
    width = max(len(name) for name, _ in rows)
    parts = [(name, *value.partition("  ")) for name, value in rows]
    return "\n".join(f"{name:<{width}}  {value:>9}{gap}{interval}" for name, value, gap, interval in parts)


def score_json(report: EvalReport) -> str:
    """Format the scores as one JSON object; rates are fractions, NaN and infinity become null."""
    return json.dumps(_finite(report))


def _finite(report: EvalReport) -> dict[str, Any]:
    values = asdict(report)
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


@dataclass(frozen=True)
class Comparison:
    """Which of two models read which images right."""

    models: tuple[str, str]
    """Their names."""
    only_first: int
    """Images that only the first model reads right."""
    only_second: int
    """Images that only the second model reads right."""
    p_value: float
    """Of McNemar's exact test."""


def compare(results: Mapping[str, Sequence[Sample]]) -> list[Comparison]:
    """Compare every pair of models; `results` has the samples of each, of the same images in the same order."""
    correct = {name: [sample.correct for sample in samples] for name, samples in results.items()}
    return [Comparison((a, b), *mcnemar(correct[a], correct[b])) for a, b in combinations(results, 2)]


def difference_lines(results: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """Yield the name, the label and each model's text of images that some but not all models read right."""
    for samples in zip(*results.values(), strict=True):
        if len({sample.correct for sample in samples}) > 1:
            yield "\t".join(map(_field, [samples[0].name, samples[0].label, *(s.prediction.text for s in samples)]))


def comparison_text(reports: Mapping[str, EvalReport], comparisons: Sequence[Comparison]) -> str:
    """Format the scores of several models as a table, and the tests between them."""
    columns = {name: dict(scores(report)) for name, report in reports.items()}
    names = list(dict.fromkeys(row for column in columns.values() for row in column))
    table = [["", *columns], *([row, *(column.get(row, "-") for column in columns.values())] for row in names)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    for it in comparisons:
        verdict = "more than chance" if it.p_value < SIGNIFICANT else "may be chance"
        numbers = f"{pluralise(it.only_first, 'image')} only by {it.models[0]}, {it.only_second} only by {it.models[1]}"
        lines.append(f"Read right: {numbers}; McNemar's exact test: p = {it.p_value:.2g} ({verdict})")
    return "\n".join(map(escape_control, lines))


def comparison_json(reports: Mapping[str, EvalReport], comparisons: Sequence[Comparison]) -> str:
    """Format the scores of several models and the tests between them as one JSON object."""
    models = [{"model_dir": name, **_finite(report)} for name, report in reports.items()]
    return json.dumps({"models": models, "comparisons": [asdict(comparison) for comparison in comparisons]})
