"""Learning curves as a picture: loss above, validation scores below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from aocr.report.pictures import encode_image

WIDTH, PANEL_HEIGHT, MARGIN, LEFT, RIGHT = 800, 210, 56, 64, 190
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
COLOURS = ((200, 60, 30), (30, 100, 190), (40, 140, 80))


@dataclass(frozen=True)
class Point:
    """The state of a training at one check; without validation, the scores are NaN."""

    step: int
    """Number of steps done."""
    loss: float
    """Mean training loss per symbol since the previous check."""
    perplexity: float = float("nan")
    """Perplexity of the validation labels."""
    word_accuracy: float = float("nan")
    """Word accuracy on the validation set, a fraction."""
    cer: float = float("nan")
    """Character error rate on the validation set, a fraction."""


def _ticks(low: float, high: float) -> list[float]:
    """Choose a few round values from low to high."""
    span = max(high - low, 1e-9)
    unit = 10 ** math.floor(math.log10(span / 3))
    step = next(unit * m for m in (1, 2, 5, 10) if span / (unit * m) <= 5)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _panel(draw: ImageDraw.ImageDraw, top: int, steps: list[int], lines: dict[str, list[float]], high: float, as_rate):
    """Draw one set of axes from 0 to `high`, with its curves and their names on the right."""
    font = ImageFont.load_default(13)
    bottom, right = top + PANEL_HEIGHT, WIDTH - RIGHT
    last = max(steps[-1], 1)

    def position(step: float, value: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * step / last, bottom - PANEL_HEIGHT * min(value / high, 1.0)

    for value in _ticks(0.0, high):
        y = position(0, value)[1]
        draw.line((LEFT, y, right, y), GRID)
        draw.text((LEFT - 8, y), f"{value:.0%}" if as_rate else f"{value:g}", INK, font, anchor="rm")
    for value in _ticks(0, last):
        x = position(value, 0)[0]
        draw.line((x, bottom, x, bottom + 4), INK)
        draw.text((x, bottom + 8), f"{value:,.0f}", INK, font, anchor="mt")
    draw.line((LEFT, bottom, right, bottom), INK)
    for i, ((name, values), colour) in enumerate(zip(lines.items(), COLOURS, strict=False)):
        points = [position(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
        radius = 4 if len(points) < 3 else 2
        if len(points) > 1:
            draw.line(points, colour, 2, joint="curve")
        for x, y in points if len(points) < 40 else points[-1:]:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)
        if points:
            value = [v for v in values if math.isfinite(v)][-1]
            text = f"{name} {value:.2%}" if as_rate else f"{name} {value:.3g}"
            draw.text((right + 10, top + 4 + 20 * i), text, colour, font, anchor="lt")


def draw_curves(points: Sequence[Point]) -> bytes:
    """Draw a PNG of training and validation loss, word accuracy and CER over the steps."""
    steps = [p.step for p in points]
    losses = {
        "training loss": [p.loss for p in points],
        "validation loss": [math.log(p.perplexity) if p.perplexity > 0 else math.nan for p in points],
    }
    rates = {"word accuracy": [p.word_accuracy for p in points], "CER": [p.cer for p in points]}
    has_validation = any(math.isfinite(p.word_accuracy) for p in points)
    panels = 2 if has_validation else 1
    picture = Image.new("RGB", (WIDTH, MARGIN + panels * (PANEL_HEIGHT + MARGIN)), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((LEFT, MARGIN - 28), "loss per symbol, by step", INK, ImageFont.load_default(14))
    finite = [v for values in losses.values() for v in values if math.isfinite(v)]
    _panel(draw, MARGIN, steps, losses, max([*finite, 0.1]) * 1.05, as_rate=False)
    if has_validation:
        draw.text((LEFT, 2 * MARGIN + PANEL_HEIGHT - 28), "validation, by step", INK, ImageFont.load_default(14))
        _panel(draw, 2 * MARGIN + PANEL_HEIGHT, steps, rates, 1.0, as_rate=True)
    return encode_image(picture, "PNG")
