"""Colours of letters and of what is behind them: RGB, 0 to 255."""

from __future__ import annotations

import colorsys
from random import Random

Colour = tuple[float, float, float]
HUES = (0, 0, 0.02, 0.06, 0.10, 0.14, 0.16, 0.3, 0.36, 0.42, 0.55, 0.58, 0.6, 0.63, 0.68, 0.8, 0.92)
"""Hues of paint and light: red, yellow and blue more often than the rest."""


def luminance(colour: Colour) -> float:
    """How bright a colour looks, 0 to 255."""
    return 0.30 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _limited(values) -> Colour:
    return tuple(min(255.0, max(0.0, value)) for value in values)


def colour(rng: Random) -> Colour:
    """White, black, grey or a hue, as paint and signs have them."""
    kind = rng.random()
    if kind < 0.28:
        level, spread = rng.uniform(200, 255), 10
    elif kind < 0.52:
        level, spread = rng.uniform(0, 60), 10
    elif kind < 0.64:
        level, spread = rng.uniform(50, 210), 12
    else:
        hue = (rng.choice(HUES) + rng.gauss(0, 0.015)) % 1
        return tuple(255 * part for part in colorsys.hsv_to_rgb(hue, rng.uniform(0.35, 1), rng.uniform(0.25, 1)))
    return _limited(level + rng.uniform(-spread, spread) for _ in range(3))


def near(rng: Random, colour: Colour, spread: float) -> Colour:
    """A colour about `spread` away from another."""
    return _limited(value + rng.gauss(0, spread) for value in colour)


def darker(rng: Random, colour: Colour) -> Colour:
    """The shaded side of something in a colour."""
    factor = rng.uniform(0.2, 0.6)
    return tuple(value * factor for value in colour)


def apart(first: Colour, second: Colour, difference: float) -> bool:
    """Whether two colours are that far from each other in luminance."""
    return abs(luminance(first) - luminance(second)) >= difference


def pair(rng: Random) -> tuple[Colour, Colour]:
    """Colours of the letters and of the ground, far enough from each other; seldom by their hue alone."""
    difference = rng.choice((25, 40, 60, 60, 90, 90))
    for _ in range(12):
        letters, ground = colour(rng), colour(rng)
        by_hue = rng.random() < 0.08 and sum(abs(a - b) for a, b in zip(letters, ground, strict=True)) > 200
        if by_hue or apart(letters, ground, difference):
            return letters, ground
    return (250.0, 250.0, 250.0), (20.0, 20.0, 20.0)
