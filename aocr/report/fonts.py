"""Text of any script in the fonts of this system; characters without a font are drawn as code points."""

from __future__ import annotations

import functools
import os
import re
import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT_FOLDERS = (
    *("~/.fonts", "~/.local/share/fonts", "/usr/share/fonts", "/usr/local/share/fonts"),
    *("~/Library/Fonts", "/System/Library/Fonts", "/Library/Fonts"),
    *("C:/Windows/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts"),
)

INK, FAINT = (20, 20, 20), (105, 105, 105)
GLYPH_SIZE, NOTE_SIZE, CODE_SIZE = 24, 14, 11


def _font_rank(path: str) -> tuple:
    name = os.path.basename(path)
    styles = r"Bold|Italic|Oblique|Light|Thin|Black|Condensed|Mono|Serif|Display|Medium|Heavy|UI"
    return bool(re.search(styles, name)), not name.startswith("DejaVuSans"), "Noto" not in name, name, path


@functools.cache
def _font_files() -> tuple[str, ...]:
    """Return the font files of this system, plain upright ones first; "" is Pillow's built-in font."""
    paths = []
    for folder in FONT_FOLDERS:
        for root, _, names in os.walk(os.path.expanduser(folder)):
            paths += [os.path.join(root, n) for n in names if n.lower().endswith((".ttf", ".otf", ".ttc"))]
    return (*sorted(paths, key=_font_rank), "")


def _open_font(path: str, size: int, **options) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, **options) if path else ImageFont.load_default(size)  # type: ignore


_font = functools.lru_cache(maxsize=32)(_open_font)


@functools.cache
def _covers(path: str, chars: str) -> bool:
    """Whether the font has a glyph other than .notdef for each of `chars`, ignoring spaces."""
    try:
        font = _open_font(path, 20, **({"layout_engine": ImageFont.Layout.BASIC} if path else {}))
        drawn = {char: font.getmask(char) for char in {"\uffff", *chars} if char != " "}
        missing = drawn.pop("\uffff")
    except (OSError, ValueError, Image.DecompressionBombError):  # not a font, or giant letters
        return False
    return all(mask.size[0] and (mask.size, bytes(mask)) != (missing.size, bytes(missing)) for mask in drawn.values())


_fonts_used: dict[str, None] = {}


@functools.cache
def _font_file(char: str) -> str | None:
    """Return the first font that has `char`, preferring fonts already in use; None: no font has it."""
    if not char.isprintable():
        return None
    for path in dict.fromkeys((*_fonts_used, *_font_files())):
        if _covers(path, char):
            _fonts_used[path] = None
            return path
    return None


def _latin_font(size: int) -> ImageFont.FreeTypeFont:
    return _font(_font_file("U") or "", size)


def glyph(char: str) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return what to draw for a character: itself, a mark on a dotted circle, ␣ for a space, or its code point."""
    char = "\u2423" if char == " " else char
    path = _font_file(char)
    if path is None:
        return ("space" if char == "\u2423" else f"U+{ord(char):04X}"), _latin_font(CODE_SIZE)
    mark = unicodedata.category(char).startswith("M") and _covers(path, "\u25cc")
    return ("\u25cc" + char if mark else char), _font(path, GLYPH_SIZE)


def _runs(text: str) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """Split `text` into pieces of one font each; a single piece if one font has all characters."""
    for path in dict.fromkeys(map(_font_file, text)):
        if path is not None and _covers(path, "".join(sorted(set(text)))):
            return [(text, _font(path, GLYPH_SIZE))]
    glyphs = [glyph(char) for char in text]
    return glyphs[::-1] if is_rtl(text) else glyphs


def is_rtl(text: str) -> bool:
    """Whether the first character of `text` with a direction is written from right to left."""
    strong = (unicodedata.bidirectional(char) for char in text)
    return next((kind for kind in strong if kind in ("L", "R", "AL")), "L") != "L"


def draw_note(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, anchor: str = "ls") -> None:
    """Draw a small note."""
    draw.text(xy, text, FAINT, _latin_font(NOTE_SIZE), anchor=anchor)


def draw_text(draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, max_width: float) -> None:
    """Draw `text` at its natural size; if it does not fit, cut it off with three dots."""
    runs = _runs(text)
    if sum(font.getlength(piece) for piece, font in runs) > max_width:
        runs = [glyph(char) for char in text]
        room = max_width - 20
        widths = np.cumsum([font.getlength(piece) for piece, font in runs])
        runs = [*_runs(text[: int((widths <= room).sum())]), ("...", _latin_font(NOTE_SIZE))]
    for piece, font in runs:
        draw.text((x, baseline), piece, INK, font, anchor="ls")
        x += font.getlength(piece) + (2 if len(runs) > 1 else 0)
