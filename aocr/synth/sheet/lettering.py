"""Text as a mask of ink: on a line, along an arc, or with letters that dance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aocr.synth.sheet.ink import Ink

SIZE = 56
"""Pixels per em. Glyphs are drawn at this size; every other one comes from the one warp of the whole image."""
PAD = 16


@dataclass(frozen=True)
class Hand:
    """How a text is written.

    Attributes:
      font: at SIZE pixels per em.
      gap: pixels between letters more than the font asks for.
      stroke: pixels by which letters are made bolder.
      curve: angle of the arc that the text stands on, radians; above 0: ends lower than the middle.
      bounce: deviation of a letter's height above the line, pixels.
      tilt: deviation of a letter's angle, radians.
    """

    font: ImageFont.FreeTypeFont
    gap: float = 0
    stroke: int = 0
    curve: float = 0
    bounce: float = 0
    tilt: float = 0


def _on_line(text: str, hand: Hand) -> tuple[Image.Image, int]:
    """The text on a straight line, and the height of the line in the image."""
    width = int(hand.font.getlength(text) + abs(hand.gap) * len(text)) + 2 * PAD + 30
    base = PAD + int(SIZE * 1.25)
    image = Image.new("L", (width, int(SIZE * 1.9) + 2 * PAD))
    draw = ImageDraw.Draw(image)
    x = PAD + 8.0
    if not hand.gap:
        draw.text((x, base), text, 255, hand.font, "ls", stroke_width=hand.stroke)
        return image, base
    for char in text:
        draw.text((x, base), char, 255, hand.font, "ls", stroke_width=hand.stroke)
        x += hand.font.getlength(char) + hand.gap
    return image, base


def _one_by_one(text: str, hand: Hand, rng: Random) -> tuple[Image.Image, int]:
    """Letters one by one along an arc, each moved and turned a little."""
    advances = [max(hand.font.getlength(char) + hand.gap, 2) for char in text]
    total = sum(advances)
    radius = total / hand.curve if abs(hand.curve) > 1e-3 else 1e6
    sag = abs(radius) * (1 - math.cos(min(abs(hand.curve), 2.8) / 2))
    spare = int(4 * hand.bounce)
    image = Image.new("L", (int(total) + 2 * PAD + 2 * SIZE, int(SIZE * 1.9 + sag) + 2 * (PAD + spare)))
    base = int(PAD + spare + SIZE * 1.25 + (0 if hand.curve > 0 else sag))
    along = -total / 2
    for char, advance in zip(text, advances, strict=True):
        angle = (along + advance / 2) / radius
        along += advance
        x = image.width / 2 + radius * math.sin(angle)
        y = base + radius * (1 - math.cos(angle)) + (rng.gauss(0, hand.bounce) if hand.bounce else 0)
        angle += rng.gauss(0, hand.tilt) if hand.tilt else 0
        middle = max(SIZE, int(0.8 * advance) + 8)
        glyph = Image.new("L", (2 * middle, 2 * SIZE))
        ImageDraw.Draw(glyph).text((middle, SIZE * 1.3), char, 255, hand.font, "ms", stroke_width=hand.stroke)
        if abs(angle) > 0.03:
            glyph = glyph.rotate(-math.degrees(angle), Image.Resampling.BILINEAR, center=(middle, SIZE * 1.3))
        image.paste(255, (int(x) - middle, int(y - SIZE * 1.3)), glyph)
    return image, base


MIN_HEIGHT = 0.4
"""Ink lower than this, in ems, is shown with the line it stands on: a lone full stop fills no picture."""
LINE_HEIGHT = 0.72


def write(text: str, hand: Hand, rng: Random) -> Ink | None:
    """The ink of a text; None: there is hardly any."""
    single = hand.curve or hand.bounce or hand.tilt
    image, base = _one_by_one(text, hand, rng) if single else _on_line(text, hand)
    box = image.getbbox()
    if not box or box[2] - box[0] < 3 or box[3] - box[1] < 3:
        return None
    left, top, right, bottom = box
    if bottom - top < MIN_HEIGHT * SIZE:
        top, bottom = min(top, base - int(LINE_HEIGHT * SIZE)), max(bottom, base)
    return Ink(image.crop((left, top, right, bottom)), base - top)


def ripple(ink: Ink, rng: Random) -> Ink:
    """The ink with its columns moved up and down along a wave, as captchas have it."""
    swing, period, phase = rng.uniform(1, 5), rng.uniform(40, 160), rng.uniform(0, 2 * math.pi)
    mask = np.pad(np.asarray(ink.mask), ((6, 6), (0, 0)))
    moves = np.round(swing * np.sin(np.arange(mask.shape[1]) * 2 * np.pi / period + phase)).astype(int)
    rows = (np.arange(mask.shape[0])[:, None] + moves) % mask.shape[0]
    return Ink(Image.fromarray(np.take_along_axis(mask, rows, 0)), ink.ascent + 6)
