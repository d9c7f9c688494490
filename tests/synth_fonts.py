"""Fonts for the synth tests: Pillow's own, available everywhere."""

import io
from pathlib import Path

from PIL import ImageFont

ASCII = "".join(map(chr, range(32, 127)))


def font_bytes() -> bytes:
    """Return Pillow's own font: Latin letters, digits and punctuation."""
    return ImageFont.load_default(24).font_bytes


def write_font(folder: Path, name: str = "plain.ttf") -> Path:
    """Write that font into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(font_bytes())
    return folder


class Altered(ImageFont.FreeTypeFont):
    """That font, drawing characters as translated by a table for `str.translate`."""

    def __init__(self, table: dict[int, str], size: int = 32):
        super().__init__(io.BytesIO(font_bytes()), size, layout_engine=ImageFont.Layout.BASIC)
        self._table = table

    def getmask2(self, text, *args, **kwargs):
        return super().getmask2(text.translate(self._table), *args, **kwargs)

    def getlength(self, text, *args, **kwargs):
        return super().getlength(text.translate(self._table), *args, **kwargs)
