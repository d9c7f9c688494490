"""Draw images of texts. Image i of a `Painter` depends only on the painter's arguments and i."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from PIL import Image

from aocr.errors import ConfigError
from aocr.synth.fonts.choice import FontSet
from aocr.synth.fonts.survey import Face, is_simple, open_face
from aocr.synth.looks.camera import MIN_CHAR_WIDTH, contrast
from aocr.synth.looks.colours import colour, near
from aocr.synth.looks.work import Work, apply_groups, choose, dimmed, rounded
from aocr.synth.sheet import layout
from aocr.synth.sheet.displays import Segments, dot_matrix, has_segments
from aocr.synth.sheet.geometry import View, random_view
from aocr.synth.sheet.layout import Sheet
from aocr.synth.sheet.lettering import SIZE, Hand, Ink, ripple, write
from aocr.synth.styles import Style

MAX_TRIES = 300
"""Maximum number of attempts at drawing an image."""
BLANK_SHARE = 0.01
"""Share of images without text."""
MIN_CONTRAST = (13, 22)
"""Minimum contrast of the letters, 0 to 255: the first for a quarter of the images, the second for the rest."""


@dataclass(frozen=True)
class Drawn:
    """A finished image."""

    data: bytes
    """Encoded JPEG or PNG."""
    label: str
    """Its text; may be empty."""
    width: int
    height: int


class Painter:
    """Draws images in one style."""

    def __init__(self, draw_text: Callable[[Random], str], faces: list[Face], style: Style, seed: int):
        self._draw_text, self._fonts, self._style = draw_text, FontSet(faces), style
        self._seed = seed

    def draw(self, number: int) -> Drawn:
        """Draw the image with the index `number`.

        Raises:
          ConfigError: no image can be drawn with these texts and fonts.
        """
        rng = Random(f"{self._seed}/{number}")
        if rng.random() < BLANK_SHARE:
            work, label = self._blank(rng), ""
        else:
            work, label = self._readable(rng)
        file = io.BytesIO()
        work.picture.save(file, "JPEG", quality=rng.randint(45, 95))
        return Drawn(file.getvalue(), label, *work.size)

    def _readable(self, rng: Random) -> tuple[Work, str]:
        """Draw an image in which the text is visible; return it and its label."""
        for _ in range(MAX_TRIES):
            text = self._draw_text(rng)
            if (face := self._fonts.pick(rng, text)) and (result := self._attempt(rng, face, text)):
                return result
        reason = "no font has all its characters" if face is None else "it is not visible in any font tried"
        raise ConfigError("--fonts", text, f"this text cannot be drawn: {reason}. Name other fonts.")

    def _hand(self, rng: Random, face: Face, text: str) -> Hand:
        """Choose how a text is written in a font."""
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
            curve = rng.triangular(0.25, 2.2, 0.5) * min(1, len(text) / 8) * rng.choice((1, 1, 1, -1))
        bounce = tilt = 0.0
        if style.bounce and rng.random() < 0.8:
            bounce, tilt = rng.uniform(0, style.bounce), rng.uniform(0, style.tilt)
        return Hand(font, gap, stroke, curve, bounce, tilt)

    def _neighbour(self, rng: Random, face: Face, hand: Hand, text: str) -> Ink | None:
        """Write another text, usually in the word's font and case; None if it cannot be written."""
        other = self._draw_text(rng)
        if rng.random() < 0.7:
            other = other.upper() if text.isupper() else other.lower() if text.islower() else other
        same = rng.random() < self._style.same_hand and face.chars.issuperset(other)
        if same and is_simple(text) == is_simple(other):
            return write(other, Hand(hand.font, hand.gap, hand.stroke), rng)
        if other_face := self._fonts.pick(rng, other):
            font = open_face(other_face.path, other_face.index, SIZE, not is_simple(other))
            return write(other, Hand(font), rng)
        return None

    def _sheet(self, rng: Random, face: Face, text: str) -> Sheet | None:
        """Lay out the text and its surroundings; None if the text has no ink."""
        style, hand = self._style, self._hand(rng, face, text)
        segments = Segments(rng) if has_segments(text) and rng.random() < style.segments else None
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
        sheet = layout.new_sheet(ink)
        sheet.in_segments = segments is not None
        if not hand.curve and rng.random() < style.neighbours:
            neighbour = partial(self._neighbour, rng, face, hand, text)
            layout.add_neighbours(sheet, rng, ink.ascent, neighbour, style.sides, style.cut_in)
        if panel := choose(style.panels, rng):
            panel(sheet, rng)
        if segments and rng.random() < 0.5:
            layout.write_behind(sheet, segments.write(text, unlit=True), (layout.MARGIN, layout.MARGIN))
            sheet.faint = True
        elif rng.random() < style.written_on and (other := self._neighbour(rng, face, hand, text)):
            width, height = sheet.letters.size
            layout.write_behind(sheet, other, (rng.randint(-10, width // 2), rng.randint(-10, height // 2)))
        return sheet

    def _height(self, rng: Random) -> int:
        """Choose the image's height in pixels."""
        return rng.randint(40 if rng.random() < 0.85 else 32, 64)

    def _attempt(self, rng: Random, face: Face, text: str) -> tuple[Work, str] | None:
        """Draw an image; return it and its label, or None if the text is not visible."""
        sheet = self._sheet(rng, face, text)
        if not sheet:
            return None
        view = random_view(rng, self._style.geometry, sheet, self._height(rng), len(text))
        if view.size[0] < MIN_CHAR_WIDTH * len(text):
            return None
        ink, ground = self._style.colours(rng)
        letters = view.show(sheet.letters, sharp=True)
        work = Work(Image.new("RGB", view.size), letters, view.size, ink, ground, len(text))
        work.min_contrast = MIN_CONTRAST[rng.random() > 0.25]
        self._paint(rng, work, sheet, view)
        apply_groups(self._style.camera, work, rng)
        if contrast(work.picture, letters) < work.min_contrast:
            return None
        label = text if sheet.in_segments else "".join(face.shown_as.get(char, char) for char in text)
        return work, label

    def _paint(self, rng: Random, work: Work, sheet: Sheet, view: View) -> None:
        """Paint from back to front: ground, panel, writing behind the letters, letters, effects over them."""
        style = self._style
        apply_groups(style.ground, work, rng)
        if sheet.panel:
            shade = colour(rng) if rng.random() < 0.7 else work.ink
            work.picture.paste(rounded(shade), mask=view.show(sheet.panel))
        if sheet.behind:
            shade, opacity = work.ink, (0.03, 0.15)
            if not sheet.faint:
                shade = colour(rng) if rng.random() < 0.5 else near(rng, work.ground, 40)
                opacity = (0.15, 0.7)
            work.picture.paste(rounded(shade), mask=dimmed(view.show(sheet.behind), rng.uniform(*opacity)))
        apply_groups((*style.letters, *style.over), work, rng)

    def _blank(self, rng: Random) -> Work:
        """Draw an image without text."""
        height = self._height(rng)
        size = (int(height * rng.uniform(0.6, 6)), height)
        ink, ground = self._style.colours(rng)
        work = Work(Image.new("RGB", size), Image.new("L", size), size, ink, ground, 1)
        apply_groups((*self._style.ground, *self._style.over, *self._style.camera), work, rng)
        return work
