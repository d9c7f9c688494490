"""Fonts for tests of the drawing: Pillow's own, so that they run anywhere."""

import io
from pathlib import Path

from PIL import ImageFont

ASCII = "".join(map(chr, range(32, 127)))


def font_bytes() -> bytes:
    """The font that Pillow carries: Latin letters, digits and punctuation."""
    return ImageFont.load_default(24).font_bytes


def write_font(folder: Path, name: str = "plain.ttf") -> Path:
    """A folder with that font in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(font_bytes())
    return folder


class Altered(ImageFont.FreeTypeFont):
    """The font, drawing other characters than it is asked for.

    Args:
      table: as for `str.translate`.
      size: pixels per em.
    """

    def __init__(self, table: dict[int, str], size: int = 32):
        super().__init__(io.BytesIO(font_bytes()), size, layout_engine=ImageFont.Layout.BASIC)
        self._table = table

    def getmask2(self, text, *args, **kwargs):
        return super().getmask2(text.translate(self._table), *args, **kwargs)

    def getlength(self, text, *args, **kwargs):
        return super().getlength(text.translate(self._table), *args, **kwargs)
