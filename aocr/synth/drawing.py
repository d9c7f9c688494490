"""One image of one text: `Painter.draw(i)` depends on the seed and on i, on nothing else."""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random
from typing import Protocol

from PIL import Image

from aocr.errors import ConfigError
from aocr.synth import sheets
from aocr.synth.camera import LEAST_CHAR, contrast
from aocr.synth.colours import colour, near, pair
from aocr.synth.fonts import Face, FontSet, is_simple, open_face
from aocr.synth.geometry import look_at
from aocr.synth.lettering import SIZE, Hand, Ink, write
from aocr.synth.looks import panel
from aocr.synth.sheets import Sheet
from aocr.synth.stock import Stock
from aocr.synth.styles import Style
from aocr.synth.work import Work, dimmed, fill, take

TRIES = 300
"""Attempts at one image before it is said that it cannot be drawn."""
LEAST_CONTRAST = (13, 22)
"""Difference between letters and what is round them, 0 to 255: for a quarter of the images, and for the rest."""
MOST_INK = 0.85
STOCK_SEED = 20


class Texts(Protocol):
    """A source of texts."""

    def draw(self, rng: Random) -> str:
        """A text."""


@dataclass(frozen=True)
class Drawn:
    """An image drawn.

    Attributes:
      data: encoded jpeg.
      label: the text in it; empty: there is none.
      width, height: in pixels.
    """

    data: bytes
    label: str
    width: int
    height: int


class Painter:
    """Draws images.

    Args:
      texts: source of the texts.
      faces: fonts to draw them in.
      style: the kind of images.
      seed: of all chance.
      empty: share of images without text.
    """

    def __init__(self, texts: Texts, faces: list[Face], style: Style, seed: int, empty: float):
        self._texts, self._fonts, self._style = texts, FontSet(faces), style
        self._seed, self._empty = seed, empty
        self._stock = Stock(STOCK_SEED)

    def draw(self, number: int) -> Drawn:
        """Image `number`.

        Raises:
          ConfigError: no image can be made of these texts and fonts.
        """
        rng = Random(f"{self._seed}/{number}")
        label = None
        if rng.random() < self._empty:
            work, label = self._blank(rng), ""
        else:
            for _ in range(TRIES):
                work, label = self._attempt(rng)
                if work:
                    break
            else:
                raise ConfigError("--fonts", label, "this text comes out invisible in every font tried. Name others.")
        file = io.BytesIO()
        work.picture.save(file, "JPEG", quality=rng.randint(45, 95))
        return Drawn(file.getvalue(), label, *work.size)

    # Sheets

    def _hand(self, rng: Random, face: Face, text: str) -> Hand:
        """How to write a text in a font."""
        style, simple = self._style, is_simple(text)
        font = open_face(face.path, face.index, SIZE, not simple)
        if not simple:
            return Hand(font, stroke=rng.choice((1, 1, 2)) if rng.random() < style.bold else 0)
        gap = 0.0
        if not face.joined and rng.random() < style.spaced:
            gap = rng.uniform(2, 18) if rng.random() < style.wide / style.spaced else rng.uniform(-2, 3.5)
        curve = 0.0
        if len(text) >= 4 and rng.random() < style.curved:
            curve = rng.uniform(0.25, 1.5) * min(1, len(text) / 8) * rng.choice((1, 1, 1, -1))
        stroke = rng.choice((1, 1, 2)) if rng.random() < style.bold else 0
        return Hand(font, gap, stroke, curve)

    def _other(self, rng: Random, face: Face, hand: Hand, text: str) -> Ink | None:
        """Another text for beside the word, mostly in the same hand and case."""
        other = self._texts.draw(rng)
        if rng.random() < 0.7:
            other = other.upper() if text.isupper() else other.lower() if text.islower() else other
        if rng.random() < self._style.same_hand and face.chars.issuperset(other) and is_simple(other):
            return write(other, Hand(hand.font, hand.gap, hand.stroke), rng)
        found = self._fonts.pick(rng, other)
        return write(other, Hand(open_face(found.path, found.index, SIZE, not is_simple(other))), rng) if found else None

    def _sheet(self, rng: Random, face: Face, text: str) -> Sheet | None:
        """The text with all that stands round it."""
        style, hand = self._style, self._hand(rng, face, text)
        ink = write(text, hand, rng)
        if not ink:
            return None
        sheet = sheets.lay(ink)
        if not hand.curve and rng.random() < style.neighbours:
            sheets.add_neighbours(sheet, rng, ink.ascent, lambda: self._other(rng, face, hand, text), 0.4)
        kind = rng.random()
        for share, add in ((style.signs, sheets.sign), (style.rules, sheets.rule), (style.frames, sheets.frame)):
            if 0 <= kind < share:
                add(sheet, rng)
            kind -= share
        if rng.random() < style.written_on and (other := self._other(rng, face, hand, text)):
            sheets.write_behind(sheet, rng, other)
        return sheet

    # Pictures

    def _height(self, rng: Random) -> int:
        low, high = self._style.heights
        return rng.randint((3 * low + high) // 4 if rng.random() < 0.85 else low, high)

    def _attempt(self, rng: Random) -> tuple[Work | None, str]:
        """An image and its label; no image where it could not be seen."""
        text = self._texts.draw(rng)
        face = self._fonts.pick(rng, text)
        sheet = self._sheet(rng, face, text) if face else None
        if not sheet:
            return None, text
        view = look_at(rng, self._style.geometry, sheet.letters.size, sheet.box, sheet.limits, self._height(rng))
        if view.size[0] < LEAST_CHAR * len(text):
            return None, text
        ink, ground = pair(rng)
        work = Work(Image.new("RGB", view.size), view.show(sheet.letters), view.size, ink, ground, len(text))
        self._paint(rng, work, *(view.show(mask) if mask else None for mask in (sheet.panel, sheet.behind)))
        letters = work.letters
        take(self._style.camera, work, rng, self._stock)
        needed = LEAST_CONTRAST[rng.random() > 0.25]
        visible = contrast(Work(work.picture, letters, work.size, ink, ground, len(text))) >= needed
        label = "".join(face.shown_as.get(char, char) for char in text)
        return (work if visible else None), label

    def _paint(self, rng: Random, work: Work, board: Image.Image | None, behind: Image.Image | None) -> None:
        """Ground, boards, what is behind, letters, and what is over them."""
        style = self._style
        take(style.ground, work, rng, self._stock)
        if board:
            panel(work, board, colour(rng) if rng.random() < 0.7 else work.ink)
        if behind:
            shade = colour(rng) if rng.random() < 0.5 else near(rng, work.ground, 40)
            work.picture.paste(fill(shade), mask=dimmed(behind, rng.uniform(0.15, 0.7)))
        for groups in (style.behind, style.letters, style.over):
            take(groups, work, rng, self._stock)

    def _blank(self, rng: Random) -> Work:
        """A picture without text: a ground, or a piece of a street."""
        height = self._height(rng)
        size = (int(height * rng.uniform(0.6, 6)), height)
        ink, ground = pair(rng)
        work = Work(Image.new("RGB", size), Image.new("L", size), size, ink, ground, 1)
        take(self._style.ground, work, rng, self._stock)
        take(self._style.over, work, rng, self._stock)
        take(self._style.camera, work, rng, self._stock)
        return work
