"""Draw text of any script in this system's fonts; characters without a font appear as code points."""

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
STYLES = re.compile("Bold|Italic|Oblique|Light|Thin|Black|Condensed|Mono|Serif|Display|Medium|Heavy|UI")

INK, FAINT = (20, 20, 20), (105, 105, 105)
GLYPH_SIZE, NOTE_SIZE, CODE_SIZE = 24, 14, 11


def _font_rank(path: str) -> tuple:
    name = os.path.basename(path)
    return bool(STYLES.search(name)), not name.startswith("DejaVuSans"), "Noto" not in name, name, path


@functools.cache
def _font_files() -> tuple[str, ...]:
    """Return the font files of this system, plain upright ones first, then "" for Pillow's built-in font."""
    walks = (entry for folder in FONT_FOLDERS for entry in os.walk(os.path.expanduser(folder)))
    paths = (os.path.join(root, name) for root, _, names in walks for name in names)
    return (*sorted((path for path in paths if path.lower().endswith((".ttf", ".otf", ".ttc"))), key=_font_rank), "")


@functools.lru_cache(maxsize=32)
def _font(path: str, size: int, **options) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, **options) if path else ImageFont.load_default(size)  # type: ignore


@functools.cache
def _covers(path: str, chars: str) -> bool:
    """Whether the font has a glyph other than .notdef for each of `chars`, ignoring spaces."""
    try:
        font = _font(path, 20, **({"layout_engine": ImageFont.Layout.BASIC} if path else {}))
        missing, *masks = (font.getmask(char) for char in ("\uffff", *chars) if char != " ")
    except (OSError, ValueError, Image.DecompressionBombError):  # not a font, or giant letters
        return False
    return all(mask.size[0] and (mask.size, bytes(mask)) != (missing.size, bytes(missing)) for mask in masks)


@functools.cache
def _font_file(chars: str) -> str | None:
    """Return the first font that has all of `chars`, or None if there is none."""
    return next((path for path in _font_files() if chars.isprintable() and _covers(path, chars)), None)


def _latin_font(size: int) -> ImageFont.FreeTypeFont:
    return _font(_font_file("U") or "", size)


def glyph(char: str) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return what to draw for a character: itself, a mark on a dotted circle, ␣ for a space, or its code point."""
    char = "\u2423" if char == " " else char
    path = _font_file(char)
    if path is None:
        return ("space" if char == "\u2423" else f"U+{ord(char):04X}"), _latin_font(CODE_SIZE)
    is_mark = unicodedata.category(char).startswith("M") and _covers(path, "\u25cc")
    return ("\u25cc" + char if is_mark else char), _font(path, GLYPH_SIZE)


def _runs(text: str) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """Split `text` into pieces of one font each; a single piece if one font has all characters."""
    path = _font_file("".join(sorted(set(text))))
    if path is not None:
        return [(text, _font(path, GLYPH_SIZE))]
    glyphs = [glyph(char) for char in text]
    return glyphs[::-1] if is_rtl(text) else glyphs


def is_rtl(text: str) -> bool:
    """Whether the first character of `text` that has a writing direction is right-to-left."""
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((direction for direction in directions if direction in ("L", "R", "AL")), "L") != "L"


def draw_note(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, anchor: str = "ls") -> None:
    """Draw a small note."""
    draw.text(xy, text, FAINT, _latin_font(NOTE_SIZE), anchor=anchor)


def draw_text(draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, max_width: float) -> None:
    """Draw `text` at its natural size; if it does not fit, cut it off with three dots."""
    runs = _runs(text)
    if sum(font.getlength(piece) for piece, font in runs) > max_width:
        widths = np.cumsum([font.getlength(piece) for piece, font in map(glyph, text)])
        num_fitting = int((widths <= max_width - 20).sum())
        runs = [*_runs(text[:num_fitting]), ("...", _latin_font(NOTE_SIZE))]
    for piece, font in runs:
        draw.text((x, baseline), piece, INK, font, anchor="ls")
        x += font.getlength(piece) + (2 if len(runs) > 1 else 0)
