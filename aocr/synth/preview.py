"""Preview sheets of drawn images and of fonts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial

from PIL import Image, ImageDraw, ImageFont

from aocr import files
from aocr.errors import DatasetError
from aocr.synth.drawing import Drawn
from aocr.synth.fonts.survey import Face, is_simple, open_face

COLUMNS, ROWS = 6, 14
CELL = (212, 92)
"""Width and height of an image's cell, pixels."""
NUM_PREVIEW = COLUMNS * ROWS
PAPER, INK, FAMILY_NAME = (248, 248, 248), (30, 30, 30), (150, 150, 150)
FONT_SIZE = 28
SAMPLE = "Hamburg STREET 0123456789"


def save_png(image: Image.Image, path: str) -> None:
    """Write a sheet as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    with files.writing(path, partial(DatasetError, path)):
        files.write_picture(path, buffer.getvalue())


def images_sheet(images: Sequence[Drawn], faces: Sequence[Face]) -> Image.Image:
    """Arrange images on an RGB sheet, each above its label; `faces` are fonts for non-ASCII labels."""
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL[0], rows * CELL[1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, drawn in enumerate(images):
        x, y = i % COLUMNS * CELL[0], i // COLUMNS * CELL[1]
        picture = Image.open(io.BytesIO(drawn.data)).convert("RGB")
        picture.thumbnail((CELL[0] - 8, CELL[1] - 26))
        sheet.paste(picture, (x + 4, y + 4))
        draw.text((x + 4, y + CELL[1] - 20), drawn.label or "(empty)", INK, _label_font(drawn.label, faces))
    return sheet


def _label_font(label: str, faces: Sequence[Face]) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the first font with all characters of a non-ASCII label, else Pillow's own font."""
    face = None if label.isascii() else next((face for face in faces if face.chars.issuperset(label)), None)
    return open_face(face.path, face.index, 14, not is_simple(label)) if face else ImageFont.load_default(14)


def fonts_sheet(faces: Sequence[Face]) -> Image.Image:
    """Draw a sample line for each family, in its first font, on an RGB sheet."""
    first = {face.family: face for face in reversed(faces)}
    line_height = int(1.7 * FONT_SIZE)
    sheet = Image.new("RGB", (900, line_height * len(first)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (family, face) in enumerate(sorted(first.items())):
        sample = "".join(char for char in SAMPLE if char in face.chars).strip()
        if sum(char.isalnum() for char in sample) < 5:
            sample = "".join(sorted(face.chars)[:24])
        draw.text((8, row * line_height + 14), family[:34], FAMILY_NAME, ImageFont.load_default(14))
        font = open_face(face.path, face.index, FONT_SIZE, not is_simple(sample))
        draw.text((270, row * line_height + int(1.2 * FONT_SIZE)), sample, INK, font, "ls")
    return sheet
