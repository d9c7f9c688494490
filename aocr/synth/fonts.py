"""Fonts: where they are, which characters each really draws, and which one to take for a text."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import string
import subprocess
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aocr.errors import ConfigError

ENDINGS = (".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2")
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
    "~/AppData/Local/Microsoft/Windows/Fonts",
)
"""Where systems keep fonts."""
SURVEY_SIZE = 32
"""Pixels per em at which glyphs are compared."""
ABSENT = "\U0010fffe"
"""A code point that no font has: it is drawn as .notdef."""
ENOUGH = 10
"""Symbols of the charset that a font must have to be of use, or all of them."""

EVERYDAY = frozenset(
    """roboto robotocondensed opensans lato montserrat oswald raleway poppins merriweather ptsans ptserif ubuntu worksans
    sourcesans3 sourcesanspro librefranklin librebaskerville playfairdisplay anton bebasneue leaguegothic archivo
    archivonarrow archivoblack fjallaone barlowcondensed inter titilliumweb dosis tinos arimo ebgaramond
    cormorantgaramond arvo rokkitt robotoslab alfaslabone firasans firasanscondensed josefinsans quicksand nunito
    varelaround lobster pacifico cooperhewitt sairaextracondensed encodesanscondensed bodonimoda gelasio jost
    liberationsans liberationserif liberationsansnarrow nimbussans nimbusroman nimbussansnarrow urwgothic urwbookman
    c059 p052 texgyreheros texgyretermes texgyreadventor texgyrebonum texgyreschola texgyrepagella texgyreheroscn
    dejavusans dejavuserif dejavusanscondensed freesans freeserif gillius gilliusno2 overpass arial arialblack
    helvetica helveticaneue timesnewroman georgia verdana tahoma trebuchetms impact calibri cambria segoeui futura
    gillsans franklingothic garamond rockwell din1451 interstate highwaygothic""".split()
)
"""Families seen on signs and labels every day, in small letters without spaces."""
WEIGHTS = (
    (re.compile(r"aenigma"), 0.12),  # hundreds of odd display faces
    (re.compile(r"dseg|7segment|14segment"), 0.3),  # digits of displays
    (re.compile(r"[-_ /](100|200|thin|hairline|extralight|ultralight)\b", re.I), 0.3),
    (re.compile(r"italic|oblique", re.I), 0.5),
)
"""What is in a path -> how much less often the face is taken."""
WEIGHT_NAMES = re.compile(
    r"[ -](thin|hairline|extra ?light|ultra ?light|light|book|regular|medium|semi ?bold|demi|bold|extra ?bold|black|heavy)$",
    re.I,
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


# Where fonts are


def _default_places() -> list[str]:
    """Files that fontconfig knows, and the folders of FOLDERS that are there."""
    places = [folder for folder in map(os.path.expanduser, FOLDERS) if os.path.isdir(folder)]
    if shutil.which("fc-list"):
        done = subprocess.run(["fc-list", "--format", "%{file}\n"], capture_output=True, text=True, check=False)
        places += done.stdout.split("\n")[:-1]
    return places


def font_files(places: Sequence[str] | None) -> list[str]:
    """Font files in folders and the folders in them, sorted, each once.

    Args:
      places: folders and files; None: what the system has.

    Raises:
      ConfigError: a place does not exist, or there is no font in any.
    """
    found: dict[str, None] = {}
    for place in _default_places() if places is None else places:
        if os.path.isdir(place):
            names = (os.path.join(base, name) for base, _, names in os.walk(place) for name in names)
            found.update(dict.fromkeys(sorted(name for name in names if name.lower().endswith(ENDINGS))))
        elif os.path.isfile(place):
            if places is not None or place.lower().endswith(ENDINGS):
                found[place] = None
        elif places is not None:
            raise ConfigError("--fonts", place, "there is no such file or folder. Check the path.")
    if not found:
        where = "this system" if places is None else " ".join(places)
        raise ConfigError("--fonts", where, f"holds no font ({' '.join(ENDINGS)}). Name a folder that has some.")
    real = {os.path.realpath(path): path for path in reversed(found)}
    stems = {path.rpartition(".")[0] for path in found if not path.lower().endswith(".woff2")}
    return sorted(path for path in real.values() if not (path.endswith(".woff2") and path[:-6] in stems))


# What a font draws


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
        if char == " ":
            if font.getlength(" ") > 0:
                found.add(char)
        elif unicodedata.combining(char):
            if _glyph(font, "\u25cc" + char) != _glyph(font, "\u25cc"):
                found.add(char)
        else:
            glyph = _glyph(font, char)
            if glyph != absent and any(glyph[1]):
                found.add(char)
    return frozenset(found)


def _shape(font: ImageFont.FreeTypeFont, char: str) -> np.ndarray:
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
    if not all(box for group in boxes for box in group):
        return False
    height_low, height_high = (np.median([-box[1] for box in group]) for group in boxes[:2])
    depth = np.median([box[3] for box in boxes[2]])
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
        return shown
    same = [char for char in small if _glyph(font, char) == _glyph(font, char.upper())]
    return {char: char.upper() for char in same} if len(same) > 13 else {}


def _is_joined(font: ImageFont.FreeTypeFont, chars: frozenset[str]) -> bool:
    """Whether small letters run into the next one, as in handwriting."""
    letters = [char for char in "acdehimnu" if char in chars]
    boxes = {char: _ink_box(font, char) for char in letters}
    touching = sum(
        bool(box) and box[2] >= font.getlength(char) - 0.5 and box[0] <= 1.5 for char, box in boxes.items()
    )
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


def survey(path: str, charset: str) -> list[Face]:
    """The faces of a file that are of use for a charset; none where it is no font."""
    faces: list[Face] = []
    try:
        for index in range(64 if path.lower().endswith(("ttc", "otc")) else 1):
            font = ImageFont.truetype(path, SURVEY_SIZE, index, layout_engine=ImageFont.Layout.BASIC)
            if len(charset) > ENOUGH and not _drawn_chars(font, charset[:: max(1, len(charset) // 12)]):
                continue
            chars = _drawn_chars(font, charset)
            if len(chars - {" "}) < min(ENOUGH, len(set(charset) - {" "})) or not _is_latin(font, chars):
                continue
            family, style = (part or "" for part in font.getname())
            if SYMBOLS.search(family):
                continue
            family = WEIGHT_NAMES.sub("", family or os.path.basename(path))
            weight = 1.0
            for found, factor in WEIGHTS:
                weight *= factor if found.search(f"{path} {style}".lower()) else 1
            shown_as = _shown_as(font, chars)
            joined = bool(BLACKLETTER.search(family)) or (not shown_as and _is_joined(font, chars))
            faces.append(Face(path, index, family, chars, shown_as, joined, weight))
    except (OSError, ValueError, UnicodeError):
        pass  # no font, a damaged one, or the end of a collection
    return faces


# Which one to take


class FontSet:
    """Faces to take at random: a family as often as another, everyday ones four times, whatever its number of files.

    Args:
      faces: to choose from.
    """

    JOINED_CAPITALS = 0.15
    """Share of capitals-only texts that a joined face is kept for."""

    def __init__(self, faces: Sequence[Face]):
        self.faces = list(faces)
        total: Counter[str] = Counter()
        largest: dict[str, float] = {}
        for face in self.faces:
            total[face.family] += face.weight
            largest[face.family] = max(largest.get(face.family, 0), face.weight)
        everyday = {family: 4 if _plain_name(family) in EVERYDAY else 1 for family in total}
        self._weights = [
            everyday[face.family] * largest[face.family] * face.weight / total[face.family] for face in self.faces
        ]
        self._cumulated = list(accumulate(self._weights))

    def missing(self, chars: Iterable[str]) -> str:
        """Those of `chars` that no face has."""
        covered = frozenset().union(*(face.chars for face in self.faces))
        return "".join(char for char in dict.fromkeys(chars) if char not in covered)

    def pick(self, rng: Random, text: str) -> Face | None:
        """A face that has every character of `text`; None: there is none."""
        chars = frozenset(text)
        capitals = len(text) > 1 and text.isupper()
        for _ in range(20):
            face = rng.choices(self.faces, cum_weights=self._cumulated)[0]
            suits = not (capitals and face.joined) or rng.random() < self.JOINED_CAPITALS
            if suits and chars <= face.chars:
                return face
        fitting = [(face, weight) for face, weight in zip(self.faces, self._weights, strict=True) if chars <= face.chars]
        return rng.choices(*map(list, zip(*fitting, strict=True)))[0] if fitting else None


def _plain_name(family: str) -> str:
    return re.sub(r"[^a-z0-9]", "", family.lower())


def find_faces(places: Sequence[str] | None, charset: str, each=map) -> list[Face]:
    """All faces of use for a charset, in the order of their paths.

    Args:
      places: as for `font_files`.
      charset: the symbols to draw.
      each: maps `survey` over the files; by default in this process.

    Raises:
      ConfigError: there is no font, or none has enough of the charset.
    """
    files = font_files(places)
    faces = [face for found in each(functools.partial(survey, charset=charset), files) for face in found]
    if not faces:
        raise ConfigError(
            "--fonts",
            "this system's" if places is None else " ".join(places),
            f"none of {len(files)} font files draws the charset ({charset[:20]}...). Name fonts for this script.",
        )
    missing = FontSet(faces).missing(charset)
    if missing:
        raise ConfigError("--fonts", missing[:40], "no font has these characters. Add one, or narrow --charset.")
    shared: dict[frozenset[str], frozenset[str]] = {}
    return [dataclasses.replace(face, chars=shared.setdefault(face.chars, face.chars)) for face in faces]


def is_simple(text: str) -> bool:
    """Whether characters can be drawn one by one: scripts that neither join, stack nor run to the left."""
    return all(ord(char) < 0x250 or 0x370 <= ord(char) < 0x530 or 0x1E00 <= ord(char) < 0x2000 for char in text) and (
        text.isascii() or not any(map(unicodedata.combining, text))
    )


