"""What a font file really draws: found by looking at its glyphs, not by its tables."""

from __future__ import annotations

import functools
import os
import re
import string
import unicodedata
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SURVEY_SIZE = 32
"""Pixels per em at which glyphs are compared."""
ABSENT = "\U0010fffe"
"""A code point that no font has: it is drawn as .notdef."""
MAX_FACES = 64
"""Faces looked at in a collection."""
ENOUGH = 10
"""Symbols of the charset that a font must have to be of use, or all of them."""

WEIGHTS = (
    (re.compile(r"aenigma"), 0.12),  # hundreds of odd display faces
    (re.compile(r"dseg|7segment|14segment"), 0.3),  # digits of displays
    (re.compile(r"[-_ /](100|200|thin|hairline|extralight|ultralight)\b", re.I), 0.3),
    (re.compile(r"italic|oblique", re.I), 0.5),
)
"""What is in a path -> how much less often the face is taken."""
WEIGHT_NAMES = re.compile(
    r"[ -](thin|hairline|(extra|ultra)? ?light|book|regular|medium|(semi|extra)? ?bold|demi|black|heavy)$", re.I
)
SYMBOLS = re.compile(r"symbol|dings?\b|dingbat|d050000l|emoji|icons?\b|ornaments|musical", re.I)
"""Families whose letters are pictures or those of another script."""
BLACKLETTER = re.compile(r"fraktur|blackletter|old ?english|unifraktur|cloister|pirata ?one|grenze ?gotisch", re.I)


@dataclass(frozen=True)
class Face:
    """A font file, or one face of a collection.

    Attributes:
      path: of the file.
      index: of the face in the file.
      family: its name without the weight's.
      chars: characters of the charset that it draws.
      shown_as: small letters that it draws as capitals -> their capitals.
      joined: whether it is handwriting of joined letters, or blackletter: not meant for capitals alone.
      weight: how often it is taken within its family.
    """

    path: str
    index: int
    family: str
    chars: frozenset[str]
    shown_as: dict[str, str]
    joined: bool
    weight: float


@functools.lru_cache(maxsize=1500)
def open_face(path: str, index: int, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels per em.

    Args:
      path: of the file.
      index: of the face in it.
      size: pixels per em.
      shaped: whether text is laid out by Raqm, as scripts with joined or combining characters need.

    Raises:
      OSError: it is no font.
    """
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size, index, layout_engine=engine)


def _glyph(font: ImageFont.FreeTypeFont, char: str) -> tuple[tuple[int, int], bytes]:
    """Size and pixels of a character's picture."""
    mask = font.getmask(char)
    return mask.size, bytes(mask)


def _drawn_chars(font: ImageFont.FreeTypeFont, charset: str) -> frozenset[str]:
    """Characters that the font draws: neither as .notdef nor as nothing."""
    absent = _glyph(font, ABSENT)
    found = set()
    for char in charset:
        category = unicodedata.category(char)
        if category == "Cf":  # joiners and the like show nothing of their own
            drawn = True
        elif category == "Zs":
            drawn = font.getlength(char) > 0
        elif category in ("Mn", "Mc", "Me"):
            marked = _glyph(font, "o" + char)
            drawn = marked not in (_glyph(font, "o"), _glyph(font, "o" + ABSENT))
        else:
            glyph = _glyph(font, char)
            drawn = glyph != absent and any(glyph[1])
        if drawn:
            found.add(char)
    return frozenset(found)


def _shape(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, char: str) -> np.ndarray:
    """(24, 24) float32: a character's picture stretched to a square, 0 to 1."""
    mask = font.getmask(char)
    if not mask.size[0] or not mask.size[1]:
        return np.zeros((24, 24), np.float32)
    picture = Image.frombytes("L", mask.size, bytes(mask))
    return np.asarray(picture.resize((24, 24), Image.Resampling.BOX, picture.getbbox()), np.float32) / 255


def _ink_box(font: ImageFont.FreeTypeFont, char: str) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of a character's ink, the baseline's start at (0, 0); None: there is no ink."""
    size = 3 * SURVEY_SIZE
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).text((SURVEY_SIZE, 2 * SURVEY_SIZE), char, 255, font, "ls")
    box = image.point([0] * 96 + [255] * 160).getbbox()
    return box and (box[0] - SURVEY_SIZE, box[1] - 2 * SURVEY_SIZE, box[2] - SURVEY_SIZE, box[3] - 2 * SURVEY_SIZE)


def _on_two_lines(font: ImageFont.FreeTypeFont, low: str, high: str, deep: str) -> bool:
    """Whether letters all reach from the baseline to the same height, as capitals do and small letters do not.

    Args:
      font: of the letters.
      low, high, deep: letters that as small ones have neither ascender nor descender, an ascender, a descender.
    """
    boxes = [[_ink_box(font, char) for char in group] for group in (low, high, deep)]
    seen = [[box for box in group if box] for group in boxes]
    if seen != boxes:
        return False
    height_low, height_high = (np.median([-box[1] for box in group]) for group in seen[:2])
    depth = np.median([box[3] for box in seen[2]])
    return bool(height_low >= 0.93 * height_high and depth <= 0.12 * height_high)


def _alike(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two shapes."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) if first.std() and second.std() else 0.0


def _shown_as(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> dict[str, str]:
    """Small letters drawn as capitals, each with its capital: all of a height, or one picture for both."""
    small = {char for char in chars if char in string.ascii_lowercase and char.upper() in chars}
    if not small >= set("aenrmbdhlpqgy"):
        return {}
    if _on_two_lines(font, "aenrm", "bdhl", "pqgy"):
        shown = {}
        for char in small:
            shape, capital = _shape(font, char), _shape(font, char.upper())
            plain_small, plain_capital = _latin_shapes(char + char.upper())
            own_form = _alike(shape, plain_small) > max(_alike(shape, plain_capital) + 0.15, 0.6)
            if _alike(shape, capital) > 0.7 or not own_form:
                shown[char] = char.upper()
        accented = (char for char in chars - small if char.islower() and char.upper() in chars and not char.isascii())
        return shown | {char: char.upper() for char in accented} if len(shown) > 20 else shown
    same = [char for char in small if _glyph(font, char) == _glyph(font, char.upper())]
    return {char: char.upper() for char in same} if len(same) > 13 else {}


def _is_joined(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> bool:
    """Whether small letters run into the next one, as in handwriting."""
    letters = [char for char in "acdehimnu" if char in chars]
    boxes = {char: _ink_box(font, char) for char in letters}
    inked = [(char, box) for char, box in boxes.items() if box]
    touching = sum(box[2] >= font.getlength(char) - 0.5 and box[0] <= 1.5 for char, box in inked)
    return len(letters) > 5 and touching >= 0.7 * len(letters)


LATIN = (string.ascii_uppercase, string.ascii_letters, string.digits)
"""Characters that are compared with one another."""
LIKENESS = 0.13
"""Share of Latin characters nearest to their own shape in a plain font, from which on a font counts as Latin; 0.04 by
chance, 0.15 in wild handwriting."""


@functools.cache
def _latin_shapes(group: str) -> np.ndarray:
    """(N, 24, 24) float32: shapes of these characters in Pillow's own font."""
    font = ImageFont.load_default(SURVEY_SIZE)
    return np.stack([_shape(font, char) for char in group])


def _is_latin(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> bool:
    """Whether Latin characters look like themselves: not so in fonts of symbols, or of one picture for all."""
    shares = []
    for group in LATIN:
        own = [char for char in group[-26:] if char in chars]
        if len(own) < 5:
            continue
        shapes = np.stack([_shape(font, char) for char in own])
        distances = np.abs(shapes[:, None] - _latin_shapes(group)).mean((2, 3))
        nearest = [group[place] for place in distances.argmin(1)]
        shares.append(sum(a.lower() == b.lower() for a, b in zip(nearest, own, strict=True)) / len(own))
    return not shares or sum(shares) / len(shares) >= LIKENESS


def _face(path: str, index: int, font: ImageFont.FreeTypeFont, charset: str) -> Face | None:
    """What one face is good for; None: nothing."""
    letters = string.ascii_letters if any(char in string.ascii_letters for char in charset) else ""
    drawn = _drawn_chars(font, "".join(dict.fromkeys(charset + letters)))
    family, style = (part or "" for part in font.getname())
    shown_as = _shown_as(font, drawn)
    chars = frozenset(char for char in charset if char in drawn and shown_as.get(char, char) in charset)
    enough = min(ENOUGH, len(set(charset) - {" "}))
    if len(chars - {" "}) < enough or SYMBOLS.search(family) or not _is_latin(font, drawn):
        return None
    weight = 1.0
    for found, factor in WEIGHTS:
        weight *= factor if found.search(f"{path} {style}".lower()) else 1
    joined = bool(BLACKLETTER.search(family)) or (not shown_as and _is_joined(font, drawn))
    shown_as = {char: shown for char, shown in shown_as.items() if char in chars}
    return Face(path, index, WEIGHT_NAMES.sub("", family or os.path.basename(path)), chars, shown_as, joined, weight)


def survey(path: str, charset: str) -> list[Face]:
    """The faces of a file that are of use for a charset; none where it is no font."""
    faces: list[Face] = []
    try:
        for index in range(MAX_FACES if path.lower().endswith(("ttc", "otc")) else 1):
            font = ImageFont.truetype(path, SURVEY_SIZE, index, layout_engine=ImageFont.Layout.BASIC)
            # a few characters first: many files hold another script
            if len(charset) > ENOUGH and not _drawn_chars(font, charset[:: max(1, len(charset) // 12)]):
                continue
            if face := _face(path, index, font, charset):
                faces.append(face)
    except (OSError, ValueError, UnicodeError, Image.DecompressionBombError):
        pass  # no font, a damaged one, letters of any size, or the end of a collection
    return faces


def is_simple(text: str) -> bool:
    """Whether characters can be drawn one by one: scripts that neither join, stack nor run to the left."""
    return text.isascii() or not any(
        unicodedata.category(char) in ("Mn", "Mc", "Me", "Cf")
        or unicodedata.bidirectional(char) in ("R", "AL", "AN")
        or 0x0900 <= ord(char) < 0x10A0  # the scripts of India and South-East Asia
        or 0x1780 <= ord(char) < 0x18B0
        for char in text
    )
