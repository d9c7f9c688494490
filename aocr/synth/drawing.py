"""One image of one text: `Painter.draw(i)` depends on the seed and on i, on nothing else."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from PIL import Image

from aocr.errors import ConfigError
from aocr.synth.fonts.choice import FontSet
from aocr.synth.fonts.survey import Face, is_simple, open_face
from aocr.synth.looks.camera import MIN_CHAR, contrast
from aocr.synth.looks.colours import colour, near
from aocr.synth.looks.stock import shared_stock
from aocr.synth.looks.work import Work, dimmed, fill, take
from aocr.synth.sheet import layout
from aocr.synth.sheet.displays import Segments, dot_matrix, has_segments
from aocr.synth.sheet.geometry import look_at
from aocr.synth.sheet.ink import Ink
from aocr.synth.sheet.layout import Sheet
from aocr.synth.sheet.lettering import SIZE, Hand, ripple, write
from aocr.synth.styles import Style

TRIES = 300
"""Attempts at one image before it is said that it cannot be drawn."""
MIN_CONTRAST = (13, 22)
"""Difference between letters and what is round them, 0 to 255: for a quarter of the images, and for the rest."""
STOCK_SEED = 20


class Texts(Protocol):
    """A source of texts."""

    def draw(self, rng: Random) -> str:
        """A text."""


@dataclass(frozen=True)
class Drawn:
    """An image drawn.

    Attributes:
      data: encoded jpeg or png.
      label: the text in it; empty: there is none.
      width, height: in pixels.
    """

    data: bytes
    label: str
    width: int
    height: int

    @property
    def ending(self) -> str:
        """Of the name of a file with this data."""
        return "png" if self.data.startswith(b"\x89PNG") else "jpg"


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
        self._stock = shared_stock(STOCK_SEED)

    def draw(self, number: int) -> Drawn:
        """Image `number`.

        Raises:
          ConfigError: no image can be made of these texts and fonts.
        """
        rng = Random(f"{self._seed}/{number}")
        if rng.random() < self._empty:
            work, label = self._blank(rng), ""
        else:
            work, label = self._seen(rng)
        file = io.BytesIO()
        work.picture.save(file, "JPEG", quality=rng.randint(45, 95))
        return Drawn(file.getvalue(), label, *work.size)

    def _seen(self, rng: Random) -> tuple[Work, str]:
        """An image in which the text can be seen, and its label."""
        for _ in range(TRIES):
            text = self._texts.draw(rng)
            if (face := self._fonts.pick(rng, text)) and (found := self._attempt(rng, face, text)):
                return found
        reason = "no font has all its characters" if face is None else "it cannot be seen in any font tried"
        raise ConfigError("--fonts", text, f"this text cannot be drawn: {reason}. Name other fonts.")

    # Sheets

    def _hand(self, rng: Random, face: Face, text: str) -> Hand:
        """How to write a text in a font."""
        style, simple = self._style, is_simple(text)
        font = open_face(face.path, face.index, SIZE, not simple)
        stroke = rng.choice((1, 1, 2)) if rng.random() < style.bold else 0
        if not simple:
            return Hand(font, stroke=stroke)
        gap = 0.0
        if not face.joined and rng.random() < style.spaced:
            gap = rng.uniform(2, 18) if rng.random() < style.wide / style.spaced else rng.uniform(-2, 3.5)
        curve = 0.0
        if len(text) >= 4 and rng.random() < style.curved:
            curve = rng.uniform(0.25, 1.5) * min(1, len(text) / 8) * rng.choice((1, 1, 1, -1))
        hand = Hand(font, gap, stroke, curve)
        if style.bounce and rng.random() < 0.8:
            hand = replace(hand, bounce=rng.uniform(0, style.bounce), tilt=rng.uniform(0, style.tilt))
        return hand

    def _other(self, rng: Random, face: Face, hand: Hand, text: str) -> Ink | None:
        """Another text for beside the word, mostly in the same hand and case."""
        other = self._texts.draw(rng)
        if rng.random() < 0.7:
            other = other.upper() if text.isupper() else other.lower() if text.islower() else other
        same = rng.random() < self._style.same_hand and face.chars.issuperset(other)
        if same and is_simple(text) == is_simple(other):
            return write(other, Hand(hand.font, hand.gap, hand.stroke), rng)
        if not (found := self._fonts.pick(rng, other)):
            return None
        return write(other, Hand(open_face(found.path, found.index, SIZE, not is_simple(other))), rng)

    def _sheet(self, rng: Random, face: Face, text: str) -> Sheet | None:
        """The text with all that stands round it."""
        style, hand = self._style, self._hand(rng, face, text)
        segments = Segments.random(rng) if has_segments(text) and rng.random() < style.segments else None
        ink: Ink | None
        if segments:
            ink = segments.write(text)
        elif is_simple(text) and rng.random() < style.dots:
            ink = dot_matrix(text, open_face(face.path, face.index, rng.randint(9, 14), False), rng)
        else:
            ink = write(text, hand, rng)
        if not ink:
            return None
        if rng.random() < style.rippled:
            ink = ripple(ink, rng)
        sheet = layout.lay(ink)
        sheet.in_segments = segments is not None
        if not hand.curve and rng.random() < style.neighbours:
            layout.add_neighbours(sheet, rng, ink.ascent, lambda: self._other(rng, face, hand, text), style.sides)
        kind = rng.random()
        for share, add in style.panels:
            if 0 <= kind < share:
                add(sheet, rng)
            kind -= share
        if segments and rng.random() < 0.5:
            layout.show_unlit(sheet, segments.write(text, unlit=True))
        elif rng.random() < style.written_on and (other := self._other(rng, face, hand, text)):
            layout.write_behind(sheet, rng, other)
        return sheet

    # Pictures

    def _height(self, rng: Random) -> int:
        low, high = self._style.heights
        return rng.randint((3 * low + high) // 4 if rng.random() < 0.85 else low, high)

    def _attempt(self, rng: Random, face: Face, text: str) -> tuple[Work, str] | None:
        """An image and its label; None: the text could not be seen in it."""
        sheet = self._sheet(rng, face, text)
        if not sheet:
            return None
        geometry, height = self._style.geometry, self._height(rng)
        view = look_at(rng, geometry, sheet.letters.size, sheet.box, sheet.limits, height, len(text))
        if view.size[0] < MIN_CHAR * len(text):
            return None
        ink, ground = self._style.colours(rng)
        letters = view.show(sheet.letters, sharp=True)
        work = Work(Image.new("RGB", view.size), letters, view.size, ink, ground, len(text))
        board, behind = (view.show(mask) if mask else None for mask in (sheet.panel, sheet.behind))
        self._paint(rng, work, board, behind, sheet.faint)
        take(self._style.camera, work, rng, self._stock)
        if contrast(work.picture, letters) < MIN_CONTRAST[rng.random() > 0.25]:
            return None
        label = text if sheet.in_segments else "".join(face.shown_as.get(char, char) for char in text)
        return work, label

    def _paint(
        self, rng: Random, work: Work, board: Image.Image | None, behind: Image.Image | None, faint: bool
    ) -> None:
        """Ground, boards, what is behind, letters, and what is over them."""
        style = self._style
        take(style.ground, work, rng, self._stock)
        if board:
            work.picture.paste(fill(colour(rng) if rng.random() < 0.7 else work.ink), mask=board)
        if behind and faint:
            work.picture.paste(fill(work.ink), mask=dimmed(behind, rng.uniform(0.03, 0.15)))
        elif behind:
            shade = colour(rng) if rng.random() < 0.5 else near(rng, work.ground, 40)
            work.picture.paste(fill(shade), mask=dimmed(behind, rng.uniform(0.15, 0.7)))
        for groups in (style.behind, style.letters, style.over):
            take(groups, work, rng, self._stock)

    def _blank(self, rng: Random) -> Work:
        """A picture without text: a ground as words have it."""
        height = self._height(rng)
        size = (int(height * rng.uniform(0.6, 6)), height)
        ink, ground = self._style.colours(rng)
        work = Work(Image.new("RGB", size), Image.new("L", size), size, ink, ground, 1)
        for groups in (self._style.ground, self._style.over, self._style.camera):
            take(groups, work, rng, self._stock)
        return work
