"""Find out what a font file really draws, by rendering its glyphs instead of reading its tables."""

from __future__ import annotations

import functools
import math
import os
import re
import string
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SURVEY_SIZE = 32
"""Pixels per em at which glyphs are compared."""
ABSENT = "\U0010fffe"
"""A code point that no font has, drawn as .notdef."""
MAX_FACES = 64
"""Maximum number of faces to inspect in a collection."""
MIN_SYMBOLS = 10
"""Minimum number of the charset's symbols that a font must have, unless the charset is smaller."""

NAMES = tomllib.loads(Path(__file__).with_name("names.toml").read_text("utf-8"))
"""Patterns that classify fonts by the names of their families and files."""


@dataclass(frozen=True)
class Face:
    """A font file, or one face of a collection."""

    path: str
    index: int
    """Index of the face in the file."""
    family: str
    """Family name without the weight."""
    chars: frozenset[str]
    """Characters of the charset that it draws."""
    shown_as: dict[str, str]
    """Maps lower-case letters that it draws as capitals to these capitals."""
    joined: bool
    """Joined handwriting or blackletter, unsuitable for texts in capitals."""
    weight: float
    """Relative frequency within its family."""


@functools.lru_cache(maxsize=1500)
def open_face(path: str, index: int, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    """Open a font at a size in pixels per em; if `shaped`, Raqm lays out its text, as some scripts need."""
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size, index, layout_engine=engine)


def _glyph(font: ImageFont.FreeTypeFont, char: str) -> tuple[tuple[int, int], bytes]:
    """Return the size and pixels of a rendered character."""
    mask = font.getmask(char)
    return mask.size, bytes(mask)


def _drawn_chars(font: ImageFont.FreeTypeFont, charset: str) -> frozenset[str]:
    """Return the characters of `charset` that the font can draw."""
    absent = _glyph(font, ABSENT)

    def is_drawn(char: str) -> bool:
        category = unicodedata.category(char)
        if category == "Cf":  # joiners are invisible
            return True
        if category == "Zs":
            return font.getlength(char) > 0
        if category in ("Mn", "Mc", "Me"):
            return _glyph(font, "o" + char) not in (_glyph(font, "o"), _glyph(font, "o" + ABSENT))
        glyph = _glyph(font, char)
        return glyph != absent and any(glyph[1])

    return frozenset(filter(is_drawn, charset))


def _shape(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, char: str) -> np.ndarray:
    """Render a character and stretch it to a square, (24, 24) float32 from 0 to 1."""
    mask = font.getmask(char)
    if not mask.size[0] or not mask.size[1]:
        return np.zeros((24, 24), np.float32)
    picture = Image.frombytes("L", mask.size, bytes(mask))
    return np.asarray(picture.resize((24, 24), Image.Resampling.BOX, picture.getbbox()), np.float32) / 255


def _ink_box(font: ImageFont.FreeTypeFont, char: str) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom of a character's ink relative to the start of its baseline; None without ink."""
    size = 3 * SURVEY_SIZE
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).text((SURVEY_SIZE, 2 * SURVEY_SIZE), char, 255, font, "ls")
    box = image.point([0] * 96 + [255] * 160).getbbox()
    return box and (box[0] - SURVEY_SIZE, box[1] - 2 * SURVEY_SIZE, box[2] - SURVEY_SIZE, box[3] - 2 * SURVEY_SIZE)


def _are_capitals(font: ImageFont.FreeTypeFont, low: str, high: str, deep: str) -> bool:
    """Check that letters extend from the baseline to the same height, like capitals.

    `low`, `high`, `deep`: letters whose lower-case forms have neither ascender nor descender, an ascender, a descender.
    """
    tops, bottoms = [], []
    for group in (low, high, deep):
        boxes = [box for char in group if (box := _ink_box(font, char))]
        if len(boxes) < len(group):
            return False
        tops.append(np.median([-box[1] for box in boxes]))
        bottoms.append(np.median([box[3] for box in boxes]))
    return bool(tops[0] >= 0.93 * tops[1] and bottoms[2] <= 0.12 * tops[1])


def _similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two shapes."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1]) if first.std() and second.std() else 0.0


def _shown_as(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> dict[str, str]:
    """Find lower-case letters drawn as capitals, by their height or identical glyphs, and map them to the capitals."""
    small = {char for char in chars if char in string.ascii_lowercase and char.upper() in chars}
    if not small >= set("aenrmbdhlpqgy"):
        return {}
    if _are_capitals(font, "aenrm", "bdhl", "pqgy"):
        capitals = {}
        for char in small:
            shape, capital = _shape(font, char), _shape(font, char.upper())
            plain_small, plain_capital = _latin_shapes(char + char.upper())
            own_form = _similarity(shape, plain_small) > max(_similarity(shape, plain_capital) + 0.15, 0.6)
            if _similarity(shape, capital) > 0.7 or not own_form:
                capitals[char] = char.upper()
        accented = (char for char in chars - small if char.islower() and char.upper() in chars and not char.isascii())
        return capitals | {char: char.upper() for char in accented} if len(capitals) > 20 else capitals
    same = [char for char in small if _glyph(font, char) == _glyph(font, char.upper())]
    return {char: char.upper() for char in same} if len(same) > 13 else {}


def _is_joined(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> bool:
    """Check that lower-case letters touch the next one, as in handwriting."""
    letters = [char for char in "acdehimnu" if char in chars]
    boxes = {char: _ink_box(font, char) for char in letters}
    inked = [(char, box) for char, box in boxes.items() if box]
    touching = sum(box[2] >= font.getlength(char) - 0.5 and box[0] <= 1.5 for char, box in inked)
    return len(letters) > 5 and touching >= 0.7 * len(letters)


LATIN = (string.ascii_uppercase, string.ascii_letters, string.digits)
"""Groups of characters that are compared with each other."""
MIN_RECOGNISED = 0.13
"""Minimum share of characters that most resemble themselves in a plain font: 0.04 by chance, 0.15 in a wild hand."""


@functools.cache
def _latin_shapes(group: str) -> np.ndarray:
    """Return the shapes of characters in Pillow's own font: (N, 24, 24) float32."""
    font = ImageFont.load_default(SURVEY_SIZE)
    return np.stack([_shape(font, char) for char in group])


def _is_latin(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> bool:
    """Check that Latin characters look like letters, unlike those of symbol fonts."""
    shares = []
    for group in LATIN:
        own = [char for char in group[-26:] if char in chars]
        if len(own) < 5:
            continue
        shapes = np.stack([_shape(font, char) for char in own])
        distances = np.abs(shapes[:, None] - _latin_shapes(group)).mean((2, 3))
        nearest = [group[index] for index in distances.argmin(1)]
        shares.append(sum(a.lower() == b.lower() for a, b in zip(nearest, own, strict=True)) / len(own))
    return not shares or sum(shares) / len(shares) >= MIN_RECOGNISED


def _has(name: str, pattern: str) -> bool:
    return re.search(pattern, name, re.IGNORECASE) is not None


def _face(path: str, index: int, font: ImageFont.FreeTypeFont, charset: str) -> Face | None:
    """Inspect one face; None if it cannot be used."""
    letters = string.ascii_letters if any(char in string.ascii_letters for char in charset) else ""
    drawn = _drawn_chars(font, "".join(dict.fromkeys(charset + letters)))
    family, style = (part or "" for part in font.getname())
    shown_as = _shown_as(font, drawn)
    chars = frozenset(char for char in charset if char in drawn and shown_as.get(char, char) in charset)
    min_symbols = min(MIN_SYMBOLS, len(set(charset) - {" "}))
    is_script = _has(family, NAMES["script"])
    if len(chars - {" "}) < min_symbols or _has(family, NAMES["symbols"]) or not (is_script or _is_latin(font, drawn)):
        return None
    factors = (factor for pattern, factor in NAMES["frequency"].items() if _has(f"{path} {style}", pattern))
    joined = is_script or _has(family, NAMES["blackletter"]) or (not shown_as and _is_joined(font, drawn))
    shown_as = {char: capital for char, capital in shown_as.items() if char in chars}
    family = re.sub(NAMES["weight"], "", family or os.path.basename(path), flags=re.IGNORECASE)
    return Face(path, index, family, chars, shown_as, joined, math.prod(factors, start=2.0 if is_script else 1.0))


def survey(path: str, charset: str) -> list[Face]:
    """Return the faces of a file that can draw a charset; empty if it is not a font."""
    faces: list[Face] = []
    try:
        for index in range(MAX_FACES if path.lower().endswith(("ttc", "otc")) else 1):
            font = ImageFont.truetype(path, SURVEY_SIZE, index, layout_engine=ImageFont.Layout.BASIC)
            # try a few characters first, since many files are for another script
            if len(charset) > MIN_SYMBOLS and not _drawn_chars(font, charset[:: max(1, len(charset) // 12)]):
                continue
            if face := _face(path, index, font, charset):
                faces.append(face)
    except (OSError, ValueError, UnicodeError, Image.DecompressionBombError):
        pass  # not a font, a damaged one, huge letters, or the end of a collection
    return faces


def is_simple(text: str) -> bool:
    """Check that characters can be drawn one by one: no joining, stacking or right-to-left script."""
    return text.isascii() or not any(
        unicodedata.category(char) in ("Mn", "Mc", "Me", "Cf")
        or unicodedata.bidirectional(char) in ("R", "AL", "AN")
        or 0x0900 <= ord(char) < 0x10A0  # the scripts of India and South-East Asia
        or 0x1780 <= ord(char) < 0x18B0
        for char in text
    )
