"""Colours of letters and backgrounds: RGB, 0 to 255."""

from __future__ import annotations

import colorsys
from random import Random

Colour = tuple[float, float, float]
HUES = (0, 0, 0.02, 0.06, 0.10, 0.14, 0.16, 0.3, 0.36, 0.42, 0.55, 0.58, 0.6, 0.63, 0.68, 0.8, 0.92)
"""Hues of paint and light, mostly red, yellow and blue."""


def _limited(values) -> Colour:
    return tuple(min(255.0, max(0.0, value)) for value in values)


def colour(rng: Random) -> Colour:
    """Choose white, black, grey or a hue, as on signs."""
    kind, spread = rng.random(), 10
    if kind < 0.28:
        level = rng.uniform(200, 255)
    elif kind < 0.52:
        level = rng.uniform(0, 60)
    elif kind < 0.64:
        level, spread = rng.uniform(50, 210), 12
    else:
        hue = (rng.choice(HUES) + rng.gauss(0, 0.015)) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, rng.uniform(0.35, 1), rng.uniform(0.25, 1))
        return 255 * red, 255 * green, 255 * blue
    return _limited(level + rng.uniform(-spread, spread) for _ in range(3))


def near(rng: Random, colour: Colour, spread: float) -> Colour:
    """Choose a colour about `spread` away from another."""
    return _limited(value + rng.gauss(0, spread) for value in colour)


def darker(rng: Random, colour: Colour) -> Colour:
    """Choose a darker shade of a colour."""
    factor = rng.uniform(0.2, 0.6)
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def apart(first: Colour, second: Colour, difference: float) -> bool:
    """Check that the luminance of two colours differs by at least `difference`."""
    first_level, second_level = (0.30 * red + 0.59 * green + 0.11 * blue for red, green, blue in (first, second))
    return abs(first_level - second_level) >= difference


def pair(rng: Random) -> tuple[Colour, Colour]:
    """Choose contrasting colours of letters and ground; a few differ only in hue."""
    difference = rng.choice((25, 40, 60, 60, 90, 90))
    for _ in range(12):
        letters, ground = colour(rng), colour(rng)
        by_hue = rng.random() < 0.08 and sum(abs(a - b) for a, b in zip(letters, ground, strict=True)) > 200
        if by_hue or apart(letters, ground, difference):
            return letters, ground
    return (250.0, 250.0, 250.0), (20.0, 20.0, 20.0)


def on_paper(rng: Random) -> tuple[Colour, Colour]:
    """Choose the colours of dark ink on light paper, rarely the reverse."""
    paper = near(rng, (rng.uniform(205, 255),) * 3, 6)
    paper = (paper[0], paper[1], paper[2] * rng.uniform(0.8, 1)) if rng.random() < 0.3 else paper
    ink = near(rng, (rng.uniform(0, 90),) * 3, 5) if rng.random() < 0.9 else darker(rng, colour(rng))
    if not apart(ink, paper, 60):
        ink = (20.0, 20.0, 20.0)
    return (paper, ink) if rng.random() < 0.04 else (ink, paper)


def on_plate(rng: Random) -> tuple[Colour, Colour]:
    """Choose the colours of a number plate: dark on white or yellow, or light on a colour."""
    if rng.random() < 0.7:
        ground = rng.choice(((245, 245, 240), (225, 225, 225), (250, 205, 40), (240, 200, 90), (170, 205, 235)))
        ink = rng.choice(((15, 15, 20), (20, 30, 110), (20, 80, 50), (150, 20, 30), (40, 40, 45)))
    else:
        ground = rng.choice(((15, 15, 20), (20, 40, 130), (20, 90, 60), (160, 25, 30), (70, 70, 75)))
        ink = rng.choice(((250, 250, 250), (235, 235, 215), (250, 220, 80)))
    return near(rng, ink, 10), near(rng, ground, 12)


def on_display(rng: Random) -> tuple[Colour, Colour]:
    """Choose the colours of a display: dark segments on a grey-green panel, or lit ones on black."""
    if rng.random() < 0.5:
        ground = rng.choice(((150, 165, 140), (175, 180, 165), (120, 150, 110), (190, 200, 210), (90, 130, 190)))
        return near(rng, (35, 38, 35), 12), near(rng, ground, 14)
    lit = rng.choice(((255, 40, 30), (255, 60, 50), (60, 255, 90), (255, 170, 30), (80, 180, 255), (245, 245, 255)))
    return near(rng, lit, 15), near(rng, (rng.uniform(0, 45),) * 3, 8)
