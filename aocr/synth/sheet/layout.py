"""The flat sheet before the camera: the word, its neighbours, the panel it stands on, what is behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from PIL import Image, ImageDraw

from aocr.synth.sheet.geometry import Box
from aocr.synth.sheet.ink import Ink
from aocr.synth.sheet.lettering import SIZE

MARGIN = SIZE
SIDES = ("left", "above", "right", "below")


@dataclass
class Sheet:
    """What lies before the camera; all masks have one size.

    Attributes:
      letters: ink of the word and of its neighbours.
      box: left, top, right, bottom of the word.
      limits: the most that may be seen beyond these sides of the word, in pixels.
      panel: a sign, frame or rule in a colour of its own; None: there is none.
      behind: writing behind the word.
      faint: whether what is behind hardly shows, as segments that are not lit.
      in_segments: whether the word is in segments of a display and in no font.
    """

    letters: Image.Image
    box: Box
    limits: list[float] = field(default_factory=lambda: [MARGIN * 0.9] * 4)
    panel: Image.Image | None = None
    behind: Image.Image | None = None
    faint: bool = False
    in_segments: bool = False


def lay(ink: Ink) -> Sheet:
    """A sheet with the word in its middle."""
    width, height = ink.mask.size
    letters = Image.new("L", (width + 2 * MARGIN, height + 2 * MARGIN))
    letters.paste(ink.mask, (MARGIN, MARGIN))
    return Sheet(letters, (MARGIN, MARGIN, MARGIN + width, MARGIN + height))


def add_neighbours(sheet: Sheet, rng: Random, ascent: int, write: Callable[[], Ink | None], sides: float) -> None:
    """Write other words near the word, and limit how much of them may be seen.

    Args:
      sheet: to write on.
      rng: randomness.
      ascent: of the word, in pixels.
      write: gives another word's ink.
      sides: share of sides that have a neighbour.
    """
    left, top, right, bottom = (int(edge) for edge in sheet.box)
    space, lead = SIZE * rng.uniform(0.25, 0.55), max(SIZE * rng.uniform(0.05, 0.6), 4)
    for number, side in enumerate(SIDES):
        if rng.random() > sides or not (ink := write()):
            continue
        width, height = ink.mask.size
        if side in ("left", "right"):
            x = left - space - width if side == "left" else right + space
            place = (int(x), top + ascent - ink.ascent)
            sheet.limits[number] = space + min(0.4 * SIZE, 0.5 * width)
        else:
            x = left + rng.randint(-width // 2, max(right - left - width // 2, 1 - width // 2))
            place = (x, int(top - lead - height if side == "above" else bottom + lead))
            sheet.limits[number] = lead + 0.4 * height
        sheet.letters.paste(255, place, ink.mask)


# Panels


def sign(sheet: Sheet, rng: Random) -> None:
    """The word's own board ends near it, at all sides or but one: another colour begins."""
    left, top, right, bottom = sheet.box
    far, near = 3 * MARGIN, rng.uniform(0.08, 0.5) * (bottom - top)
    reach = [near] * 4
    if open_side := rng.choice((0, 1, 2, 3)):
        reach[open_side] = far
        reach[0] = far if open_side == 2 else near
    edges = (left - reach[0], top - reach[1], right + reach[2], bottom + reach[3])
    radius = rng.uniform(0, 0.5) * (bottom - top) if rng.random() < 0.4 else 0
    sheet.panel = Image.new("L", sheet.letters.size, 255)
    ImageDraw.Draw(sheet.panel).rounded_rectangle(edges, int(radius), fill=0)


def rule(sheet: Sheet, rng: Random) -> None:
    """A line under or over the word."""
    left, top, right, bottom = sheet.box
    tall = bottom - top
    thickness = rng.uniform(1, 6)
    y = bottom + rng.uniform(0.04, 0.2) * tall
    if rng.random() < 0.4:
        y = top - rng.uniform(0.06, 0.2) * tall - thickness
    x0, x1 = (left if rng.random() < 0.5 else 0), (right if rng.random() < 0.5 else sheet.letters.width)
    sheet.panel = Image.new("L", sheet.letters.size)
    ImageDraw.Draw(sheet.panel).rectangle((x0, y, x1, y + thickness), fill=255)


def frame(sheet: Sheet, rng: Random) -> None:
    """A line all round the word."""
    left, top, right, bottom = sheet.box
    near = rng.uniform(0.1, 0.35) * (bottom - top)
    sheet.panel = Image.new("L", sheet.letters.size)
    ImageDraw.Draw(sheet.panel).rounded_rectangle(
        (left - near, top - near, right + near, bottom + near),
        int(near) if rng.random() < 0.4 else 0, outline=255, width=rng.randint(1, 4),
    )  # fmt: skip


def plate(sheet: Sheet, rng: Random) -> None:
    """The edge of a number plate, and the screws that hold it."""
    left, top, right, bottom = sheet.box
    tall = bottom - top
    near, wide = rng.uniform(0.12, 0.4) * tall, rng.uniform(0.12, 0.5) * tall
    edges = (left - wide, top - near, right + wide, bottom + near)
    width = rng.randint(1, 4)
    sheet.panel = Image.new("L", sheet.letters.size)
    draw = ImageDraw.Draw(sheet.panel)
    if rng.random() < 0.4:  # what is behind the plate
        draw.rectangle((0, 0, *sheet.panel.size), fill=255)
        draw.rounded_rectangle(edges, int(0.15 * tall), fill=0)
    else:
        draw.rounded_rectangle(edges, int(0.15 * tall), outline=255, width=width)
    if rng.random() < 0.4:
        radius = rng.uniform(0.03, 0.06) * tall
        for x in (left + 0.2 * (right - left), right - 0.2 * (right - left)):
            y = top - near / 2 if rng.random() < 0.7 else bottom + near / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def show_unlit(sheet: Sheet, ink: Ink) -> None:
    """Segments that are not lit, in the word's place."""
    sheet.behind, sheet.faint = Image.new("L", sheet.letters.size), True
    sheet.behind.paste(ink.mask, (MARGIN, MARGIN))


def write_behind(sheet: Sheet, rng: Random, ink: Ink) -> None:
    """Other writing behind the word."""
    sheet.behind = Image.new("L", sheet.letters.size)
    place = (rng.randint(-10, sheet.letters.width // 2), rng.randint(-10, sheet.letters.height // 2))
    sheet.behind.paste(255, place, ink.mask)
