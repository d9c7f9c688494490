"""The flat sheet in front of the camera: the word, neighbouring words, panels, and writing behind the word."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from PIL import Image, ImageDraw

from aocr.synth.sheet.lettering import SIZE, Ink

MARGIN = SIZE
SIDES = ("left", "above", "right", "below")


@dataclass
class Sheet:
    """What is in front of the camera; all masks have the same size."""

    letters: Image.Image
    """Ink of the word and its neighbours."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom of the word."""
    max_margins: list[float] = field(default_factory=lambda: [MARGIN * 0.9] * 4)
    """Maximum number of pixels visible to the left, above, to the right and below the word."""
    min_margins: list[float] = field(default_factory=lambda: [-math.inf] * 4)
    """Minimum number of pixels visible on the same sides."""
    panel: Image.Image | None = None
    """A sign, frame or rule with its own colour."""
    behind: Image.Image | None = None
    """Writing behind the word."""
    faint: bool = False
    """`behind` is barely visible, like unlit segments."""
    in_segments: bool = False
    """The word is written in display segments instead of a font."""


def new_sheet(ink: Ink) -> Sheet:
    """Create a sheet with the word in the middle."""
    width, height = ink.mask.size
    letters = Image.new("L", (width + 2 * MARGIN, height + 2 * MARGIN))
    letters.paste(ink.mask, (MARGIN, MARGIN))
    return Sheet(letters, (MARGIN, MARGIN, MARGIN + width, MARGIN + height))


def add_neighbours(
    sheet: Sheet, rng: Random, ascent: int, write: Callable[[], Ink | None], sides: float, cut_in: float
) -> None:
    """Write other words around the word, and limit the margins so that little of them is visible.

    `ascent` is the word's, in pixels; `write` returns another word's ink; `sides` is the share of sides that get one;
    `cut_in` is the share of words at whose neighbours' letters the crop cuts.
    """
    left, top, right, bottom = (int(edge) for edge in sheet.box)
    space, lead = SIZE * rng.uniform(0.25, 0.55), max(SIZE * rng.uniform(0.05, 0.6), 4)
    is_cut = rng.random() < cut_in
    for number, side in enumerate(SIDES):
        if rng.random() > sides or not (ink := write()):
            continue
        width, height = ink.mask.size
        if side in ("left", "right"):
            x = left - space - width if side == "left" else right + space
            corner = (int(x), top + ascent - ink.ascent)
            gap, visible = space, min(0.4 * SIZE, 0.5 * width)
        else:
            x = left + rng.randint(-width // 2, max(right - left - width // 2, 1 - width // 2))
            corner = (x, int(top - lead - height if side == "above" else bottom + lead))
            gap, visible = lead, 0.4 * height
        sheet.max_margins[number] = gap + visible
        if is_cut:
            sheet.min_margins[number] = gap + rng.uniform(0.15, 0.6) * visible
        sheet.letters.paste(255, corner, ink.mask)


def sign(sheet: Sheet, rng: Random) -> None:
    """Put the word on a board that ends near it on three or four sides; another colour lies beyond."""
    left, top, right, bottom = sheet.box
    far, near = 3 * MARGIN, rng.uniform(0.08, 0.5) * (bottom - top)
    margins = [near] * 4
    if open_side := rng.choice((0, 1, 2, 3)):
        margins[open_side] = far
        margins[0] = far if open_side == 2 else near
    edges = (left - margins[0], top - margins[1], right + margins[2], bottom + margins[3])
    radius = rng.uniform(0, 0.5) * (bottom - top) if rng.random() < 0.4 else 0
    sheet.panel = Image.new("L", sheet.letters.size, 255)
    ImageDraw.Draw(sheet.panel).rounded_rectangle(edges, int(radius), fill=0)


def rule(sheet: Sheet, rng: Random) -> None:
    """Draw a line under or over the word."""
    left, top, right, bottom = sheet.box
    thickness = rng.uniform(1, 6)
    y = bottom + rng.uniform(0.04, 0.2) * (bottom - top)
    if rng.random() < 0.4:
        y = top - rng.uniform(0.06, 0.2) * (bottom - top) - thickness
    x0, x1 = (left if rng.random() < 0.5 else 0), (right if rng.random() < 0.5 else sheet.letters.width)
    sheet.panel = Image.new("L", sheet.letters.size)
    ImageDraw.Draw(sheet.panel).rectangle((x0, y, x1, y + thickness), fill=255)


def frame(sheet: Sheet, rng: Random) -> None:
    """Draw a frame around the word."""
    left, top, right, bottom = sheet.box
    near = rng.uniform(0.1, 0.35) * (bottom - top)
    sheet.panel = Image.new("L", sheet.letters.size)
    edges = (left - near, top - near, right + near, bottom + near)
    radius = int(near) if rng.random() < 0.4 else 0
    ImageDraw.Draw(sheet.panel).rounded_rectangle(edges, radius, outline=255, width=rng.randint(1, 4))


def plate(sheet: Sheet, rng: Random) -> None:
    """Draw the edge and the screws of a number plate."""
    left, top, right, bottom = sheet.box
    tall = bottom - top
    near, wide = rng.uniform(0.12, 0.4) * tall, rng.uniform(0.12, 0.5) * tall
    edges = (left - wide, top - near, right + wide, bottom + near)
    width = rng.randint(1, 4)
    sheet.panel = Image.new("L", sheet.letters.size)
    draw = ImageDraw.Draw(sheet.panel)
    if rng.random() < 0.4:  # paint what is behind the plate
        draw.rectangle((0, 0, *sheet.panel.size), fill=255)
        draw.rounded_rectangle(edges, int(0.15 * tall), fill=0)
    else:
        draw.rounded_rectangle(edges, int(0.15 * tall), outline=255, width=width)
    if rng.random() < 0.4:
        radius = rng.uniform(0.03, 0.06) * tall
        for x in (left + 0.2 * (right - left), right - 0.2 * (right - left)):
            y = top - near / 2 if rng.random() < 0.7 else bottom + near / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def write_behind(sheet: Sheet, ink: Ink, corner: tuple[int, int]) -> None:
    """Put other writing behind the word."""
    sheet.behind = Image.new("L", sheet.letters.size)
    sheet.behind.paste(255, corner, ink.mask)
