"""Text as a mask of ink: on a line, on an arc, or with letters that bounce."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 56
"""Pixels per em. Text is always drawn at this size and later scaled with the whole image."""
PAD = 16
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
MIN_HEIGHT = 0.4
"""Height in ems below which ink keeps some of the line above it, so that a lone full stop does not fill the image."""
LINE_HEIGHT = 0.72


@dataclass(frozen=True)
class Ink:
    """A written text, cropped to its ink."""

    mask: Image.Image
    """Grey, 255 is ink."""
    ascent: int
    """Pixels from the top of the mask to the baseline."""
    boxes: tuple[Box, ...] = ()
    """The ink of each character in the mask, if it was measured; a space has no width."""


@dataclass(frozen=True)
class Hand:
    """How a text is written."""

    font: ImageFont.FreeTypeFont
    """At SIZE pixels per em."""
    gap: float = 0
    """Extra pixels between letters."""
    stroke: int = 0
    """Pixels by which letters are emboldened."""
    curve: float = 0
    """Angle of the text's arc, radians; if positive, the ends are lower than the middle."""
    bounce: float = 0
    """Standard deviation of a letter's height above the line, pixels."""
    tilt: float = 0
    """Standard deviation of a letter's angle, radians."""
    measured: bool = False
    """Measure the box of each character."""


def _glyph_box(char: str, hand: Hand, x: float, baseline: float) -> Box:
    """Return the box of a character written at `x`."""
    mask, (left, top) = hand.font.getmask2(char, "L", anchor="ls", stroke_width=hand.stroke)
    x0, y0, x1, y1 = mask.getbbox() or (0, 0, 0, 0)
    return x + left + x0, baseline + top + y0, x + left + x1, baseline + top + y1


def _on_line(text: str, hand: Hand) -> tuple[Image.Image, int, list[Box]]:
    """Write text on a straight line; return the image, the y of its baseline, and the boxes if `hand` measures."""
    width = int(hand.font.getlength(text) + abs(hand.gap) * len(text)) + 2 * PAD + 30
    baseline = PAD + int(SIZE * 1.25)
    image = Image.new("L", (width, int(SIZE * 1.9) + 2 * PAD))
    draw = ImageDraw.Draw(image)
    x, boxes = PAD + 8.0, []
    for part in text if hand.gap else [text]:
        draw.text((x, baseline), part, 255, hand.font, "ls", stroke_width=hand.stroke)
        if hand.measured:
            ends = [x + hand.font.getlength(part[: i + 1]) for i in range(len(part))]
            starts = [end - hand.font.getlength(char) for char, end in zip(part, ends, strict=True)]
            boxes += [_glyph_box(char, hand, start, baseline) for char, start in zip(part, starts, strict=True)]
        x += hand.font.getlength(part) + hand.gap
    return image, baseline, boxes


def _letter_by_letter(text: str, hand: Hand, rng: Random) -> tuple[Image.Image, int, list[Box]]:
    """Write letters along an arc, each moved and rotated a little; return the same as `_on_line`."""
    advances = [max(hand.font.getlength(char) + hand.gap, 2) for char in text]
    total = sum(advances)
    radius = total / hand.curve if abs(hand.curve) > 1e-3 else 1e6
    sag = abs(radius) * (1 - math.cos(min(abs(hand.curve), 2.8) / 2))
    margin = PAD + int(4 * hand.bounce)
    image = Image.new("L", (int(total) + 2 * PAD + 2 * SIZE, int(SIZE * 1.9 + sag) + 2 * margin))
    baseline = int(margin + SIZE * 1.25 + (0 if hand.curve > 0 else sag))
    start = -total / 2
    boxes: list[Box] = []
    for char, advance in zip(text, advances, strict=True):
        angle = (start + advance / 2) / radius
        start += advance
        x = image.width / 2 + radius * math.sin(angle)
        y = baseline + radius * (1 - math.cos(angle)) + (rng.gauss(0, hand.bounce) if hand.bounce else 0)
        angle += rng.gauss(0, hand.tilt) if hand.tilt else 0
        middle = max(SIZE, int(0.8 * advance) + 8)
        glyph = Image.new("L", (2 * middle, 2 * SIZE))
        ImageDraw.Draw(glyph).text((middle, SIZE * 1.3), char, 255, hand.font, "ms", stroke_width=hand.stroke)
        if abs(angle) > 0.03:
            glyph = glyph.rotate(-math.degrees(angle), Image.Resampling.BILINEAR, center=(middle, SIZE * 1.3))
        left, top = int(x) - middle, int(y - SIZE * 1.3)
        image.paste(255, (left, top), glyph)
        if hand.measured:
            x0, y0, x1, y1 = glyph.getbbox() or (middle, SIZE, middle, SIZE)
            boxes.append((left + x0, top + y0, left + x1, top + y1))
    return image, baseline, boxes


def write(text: str, hand: Hand, rng: Random) -> Ink | None:
    """Write a text, each of its lines below the other; None if one has almost no ink."""
    lines = [_write_line(line, hand, rng) for line in text.split("\n")]
    inks = [ink for ink in lines if ink]
    if len(inks) < len(lines):
        return None
    return inks[0] if len(inks) == 1 else _stack(inks, rng)


def moved(boxes: Iterable[Box], dx: float, dy: float) -> tuple[Box, ...]:
    """Return boxes moved to the right and down."""
    return tuple((x0 + dx, y0 + dy, x1 + dx, y1 + dy) for x0, y0, x1, y1 in boxes)


def _stack(lines: list[Ink], rng: Random) -> Ink:
    """Write lines below each other, aligned at the left or in the middle; each may have its own size."""
    gap, centred = rng.uniform(0.08, 0.35) * SIZE, rng.random() < 0.7
    sizes = [rng.uniform(0.7, 1.3) if rng.random() < 0.4 else 1.0 for _ in lines]
    lines = [_scaled(line, size) for line, size in zip(lines, sizes, strict=True)]
    width = max(line.mask.width for line in lines)
    image = Image.new("L", (width, sum(line.mask.height for line in lines) + round(gap) * (len(lines) - 1)))
    y = 0
    boxes: list[Box] = []
    for line in lines:
        x = (width - line.mask.width) // 2 if centred else 0
        image.paste(line.mask, (x, y))
        boxes += moved(line.boxes, x, y)
        y += line.mask.height + round(gap)
    return Ink(image, lines[0].ascent, tuple(boxes))


def _scaled(ink: Ink, factor: float) -> Ink:
    if factor == 1:
        return ink
    size = (max(1, round(ink.mask.width * factor)), max(1, round(ink.mask.height * factor)))
    boxes = tuple((x0 * factor, y0 * factor, x1 * factor, y1 * factor) for x0, y0, x1, y1 in ink.boxes)
    return Ink(ink.mask.resize(size, Image.Resampling.BILINEAR), round(ink.ascent * factor), boxes)


def _write_line(text: str, hand: Hand, rng: Random) -> Ink | None:
    separate = hand.curve or hand.bounce or hand.tilt
    image, baseline, boxes = _letter_by_letter(text, hand, rng) if separate else _on_line(text, hand)
    box = image.getbbox()
    if not box or box[2] - box[0] < 3 or box[3] - box[1] < 3:
        return None
    left, top, right, bottom = box
    if bottom - top < MIN_HEIGHT * SIZE:
        top, bottom = min(top, baseline - int(LINE_HEIGHT * SIZE)), max(bottom, baseline)
    return Ink(image.crop((left, top, right, bottom)), baseline - top, moved(boxes, -left, -top))


def ripple(ink: Ink, rng: Random) -> Ink:
    """Shift columns up and down along a wave, as in captchas."""
    amplitude, period, phase = rng.uniform(1, 5), rng.uniform(40, 160), rng.uniform(0, 2 * math.pi)
    mask = np.pad(np.asarray(ink.mask), ((6, 6), (0, 0)))
    shifts = np.round(amplitude * np.sin(np.arange(mask.shape[1]) * 2 * np.pi / period + phase)).astype(int)
    rows = (np.arange(mask.shape[0])[:, None] + shifts) % mask.shape[0]
    return Ink(Image.fromarray(np.take_along_axis(mask, rows, 0)), ink.ascent + 6, moved(ink.boxes, 0, 6))
