"""Pictures of a network's attention: overlay frames, an animated GIF, a sheet of all steps.

T reading steps (characters, then the end of the text), S memory columns, H x W pixels of a picture.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

import numpy as np
from PIL import Image, ImageDraw

from aocr import files
from aocr.config import BAND_STRIDE, COLUMN_PIXELS, TURNS
from aocr.report.diagnostics import columns_of
from aocr.report.fonts import FAINT, INK, draw_note, draw_text, glyph, is_rtl
from aocr.report.pictures import encode_image, fit_image, levelled_size, load_image, positions
from aocr.results import Prediction, Sample
from aocr.text.charset import normalise

FRAME_MILLISECONDS = 500
MIN_PADDING_SHARE = 0.01
"""Share of a step's attention on padding above which the sheet mentions it."""
UPRIGHT_HEIGHT = 288
"""Maximum height in pixels of an image of upright text on sheets and in reports."""

HEAT = (235, 64, 20)
PAPER, TRACK, MARK = (255, 255, 255), (234, 234, 234), (255, 214, 74)
CAPTION_HEIGHT, CURVE_HEIGHT, MAP_ROW_HEIGHT, GUTTER, MIN_CANVAS = 44, 24, 6, 116, 320


def _resampled(values: np.ndarray, centres: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interpolate the last axis: (..., S) at `centres` (S,) -> (..., N) at `positions` (N,)."""
    rows = [np.interp(positions, centres, row) for row in values.reshape(-1, values.shape[-1])]
    return np.array(rows, np.float32).reshape(*values.shape[:-1], len(positions))


def _size_as_read(prediction: Prediction) -> tuple[int, int]:
    """Return the (width, height) of the image when it was read, turned or levelled."""
    size = prediction.image_width, prediction.image_height
    if prediction.slope:
        return levelled_size(*size, prediction.slope)
    return size if prediction.turn == "none" else size[::-1]


def pixel_weights(prediction: Prediction, width: int, height: int) -> np.ndarray:
    """Resample the attention to an image of `width` x `height` pixels: float32 (T, height, width).

    It is 1 at the maximum of each step; a step whose maximum is on padding stays below 1 on the whole image.
    """
    turns, bands, (length, across) = TURNS[prediction.turn], prediction.bands, _size_as_read(prediction)
    wide, tall = (height, width) if turns else (width, height)
    weights = prediction.attention.reshape(len(prediction.attention), bands, -1)  # (T, R, S)
    weights = weights / np.maximum(weights.max((1, 2), keepdims=True), 1e-9)
    columns = (np.arange(weights.shape[2]) + 0.5) * prediction.column_width
    if prediction.slope:
        size = prediction.image_width, prediction.image_height
        y, x = (np.mgrid[:tall, :wide] + 0.5) * np.array([size[1] / tall, size[0] / wide])[:, None, None]
        x, _ = positions(x, y, size, (length, across), prediction.slope)
        return _resampled(weights.max(axis=1), columns, x.ravel()).reshape(-1, tall, wide)
    weights = _resampled(weights, columns, (np.arange(wide) + 0.5) * length / wide)  # (T, R, W)
    stride = BAND_STRIDE / COLUMN_PIXELS * prediction.column_width / max(1, across)  # a shrunk image is lower than all
    middles = 0.5 + (np.arange(bands) - (bands - 1) / 2) * stride
    weights = _resampled(weights.swapaxes(1, 2), middles, (np.arange(tall) + 0.5) / tall).swapaxes(1, 2)
    return np.rot90(weights, -turns, axes=(1, 2))


def padding_share(prediction: Prediction) -> np.ndarray:
    """Return the share of each step's attention that is on padding: float32 (T,), 0 to 1."""
    weights = columns_of(prediction)
    inside = _size_as_read(prediction)[0] / prediction.column_width - np.arange(weights.shape[1])
    total = np.maximum(weights.sum(axis=1), 1e-9)
    return ((weights * (1.0 - inside.clip(0.0, 1.0))).sum(axis=1) / total).astype(np.float32)


def _draw_cells(draw: ImageDraw.ImageDraw, text: str, current: int, room: float) -> None:
    """Draw a cell per character from the left edge, with cell `current` marked; scroll a long text."""
    glyphs = [glyph(char) for char in text]
    widths = np.array([max(12.0, font.getlength(piece)) + 8 for piece, font in glyphs])
    right = np.cumsum(widths)
    left = right - widths
    start = int((left + room - 24 < right[current]).sum())
    stop = int((right <= left[start] + room - 24).sum())
    order, more_left, more_right = range(start, stop), start > 0, stop < len(text)
    if is_rtl(text):
        order, more_left, more_right = order[::-1], more_right, more_left
    x = 6.0
    if more_left:
        draw_note(draw, (x, 30), "...")
        x += 14
    for i in order:
        if i == current:
            draw.rounded_rectangle((x, 3, x + widths[i] - 2, CAPTION_HEIGHT - 5), 4, MARK, INK)
        piece, font = glyphs[i]
        ink = INK if i == current else FAINT
        draw.text((x + widths[i] / 2 - 1, 30), piece, ink, font, anchor="ms")
        x += widths[i]
    if more_right:
        draw_note(draw, (x, 30), "...")


def _heated(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """Colour the image by the attention (H, W) of a step: faded where it is low, warm where it is high."""
    pixels = np.asarray(image, np.float32)  # (H, W, 3)
    heat = weights[:, :, None]
    faded = pixels + (255.0 - pixels) * 0.45 * (1.0 - heat)
    warm = faded * (1.0 - 0.5 * heat) + np.array(HEAT, np.float32) * 0.5 * heat
    return Image.fromarray(warm.round().astype(np.uint8))


def _curve(weights: np.ndarray, edges: tuple[float, float] | None) -> Image.Image:
    """Draw the attention (W,) as a filled curve, with a bar above it from the character's left to right edge."""
    levels = (np.arange(CURVE_HEIGHT)[::-1, None] + 0.5) / (CURVE_HEIGHT - 5)  # (h, 1)
    strip = np.where((levels <= weights)[:, :, None], np.array(HEAT, np.uint8), np.array(TRACK, np.uint8))
    image = Image.fromarray(strip)
    if edges and edges[1] > edges[0]:
        ImageDraw.Draw(image).rectangle((edges[0], 0, max(edges[0], edges[1] - 1), 2), INK)
    return image


def _step_picture(image: Image.Image, prediction: Prediction, step: int, weights: np.ndarray) -> Image.Image:
    """Draw the image with the attention of one step over it, and as a curve below; of upright text, at its right."""
    is_turned, edges = prediction.turn != "none", None
    if step < len(prediction.characters):
        character, scale = prediction.characters[step], image.width / prediction.image_width
        start, stop = (character.y0, character.y1) if is_turned else (character.x0, character.x1)
        edges = (start * scale, min(stop * scale, image.size[is_turned]))
    curve = _curve(weights[step].max(axis=int(is_turned)), edges)
    if is_turned:
        curve = curve.transpose(Image.Transpose.TRANSPOSE)
    corner = (image.width, 0) if is_turned else (0, image.height)
    picture = Image.new("RGB", (corner[0] + curve.width, corner[1] + curve.height), PAPER)
    picture.paste(_heated(image, weights[step]))
    picture.paste(curve, corner)
    return picture


def _frame(image: Image.Image, prediction: Prediction, step: int, weights: np.ndarray) -> Image.Image:
    picture = _step_picture(image, prediction, step, weights)
    width = max(picture.width, MIN_CANVAS)
    canvas = Image.new("RGB", (width, CAPTION_HEIGHT + picture.height), PAPER)
    draw = ImageDraw.Draw(canvas)
    note = "nothing read"
    if prediction.characters:
        _draw_cells(draw, "".join(character.char for character in prediction.characters), step, width - 56)
        note = f"{prediction.characters[step].confidence:.0%}"
    draw_note(draw, (width - 6, 30), note, "rs")
    canvas.paste(picture, ((width - picture.width) // 2, CAPTION_HEIGHT))
    return canvas


def overlay_frames(sample: Sample) -> list[Image.Image]:
    """Draw one RGB picture per read character: the image, the attention of the step, the text.

    An empty text has one frame, that of EOS.

    Raises:
      ImageError: Pillow cannot decode the image.
    """
    prediction = sample.prediction
    image = fit_image(load_image(sample.image, sample.name), 96, 360, 1280)
    weights = pixel_weights(prediction, image.width, image.height)
    num_frames = max(1, len(prediction.characters))
    return [_frame(image, prediction, step, weights) for step in range(num_frames)]


def attention_sheet(sample: Sample) -> Image.Image:
    """Draw all steps in one picture: a row per character, and one for EOS if it was reached.

    Raises:
      ImageError: Pillow cannot decode the image.
    """
    prediction = sample.prediction
    max_height = 96 if prediction.turn == "none" else UPRIGHT_HEIGHT
    image = fit_image(load_image(sample.image, sample.name), 48, max_height, 1280)
    weights = pixel_weights(prediction, image.width, image.height)
    padding = padding_share(prediction)
    pictures = [_step_picture(image, prediction, step, weights) for step in range(len(weights))]
    header, row_height = 100, pictures[0].height + 8
    width = max(MIN_CANVAS, GUTTER + pictures[0].width + 8)
    canvas = Image.new("RGB", (width, header + len(weights) * row_height), PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, sample, width)
    for step in range(len(weights)):
        top = header + step * row_height
        canvas.paste(pictures[step], (GUTTER, top))
        _draw_gutter(draw, prediction, step, top, padding[step])
    return canvas


def _draw_header(draw: ImageDraw.ImageDraw, sample: Sample, width: int) -> None:
    for baseline, name, text in ((30, "label", sample.label), (66, "read", sample.prediction.text)):
        draw_note(draw, (8, baseline), name)
        draw_text(draw, 52, baseline, text, width - 52 - 116)
    verdict = "correct" if sample.correct else "wrong"
    draw_note(draw, (width - 8, 30), f"{verdict}, {sample.prediction.confidence:.0%}", "rs")
    draw_note(draw, (8, 90), "black bar: the character's position")


def _draw_gutter(draw: ImageDraw.ImageDraw, prediction: Prediction, step: int, top: int, padding: float) -> None:
    if step < len(prediction.characters):
        character = prediction.characters[step]
        piece, font = glyph(character.char)
        draw.text((34, top + 34), piece, INK, font, anchor="ms")
        draw_note(draw, (GUTTER - 8, top + 34), f"{character.confidence:.0%}", "rs")
    else:
        draw_note(draw, (8, top + 34), "end of text")
    if padding > MIN_PADDING_SHARE:
        draw_note(draw, (8, top + 56), f"off image: {padding:.0%}")


def attention_map(prediction: Prediction, width: int, height: int) -> bytes:
    """Draw all steps as a PNG, transparent where attention is low, beside an image of `width` x `height` pixels.

    It has a row per step, to go below the image; for upright text a column per step, to go at its right.
    """
    is_turned = prediction.turn != "none"
    weights = pixel_weights(prediction, width, height).max(axis=1 + is_turned)  # (T, W) or (T, H)
    pixels = np.empty((*weights.shape, 4), np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = (weights * 255).round()
    image = Image.fromarray(pixels.repeat(MAP_ROW_HEIGHT, axis=0))
    return encode_image(image.transpose(Image.Transpose.TRANSPOSE) if is_turned else image, "PNG")


def _safe_part(text: str, max_bytes: int = 60) -> str:
    """Replace all but letters, digits and marks of `text` with `_`; keep at most `max_bytes` of UTF-8."""
    chars = [c if c.isalnum() or unicodedata.category(c).startswith("M") else "_" for c in normalise(text)]
    squeezed = re.sub("_+", "_", "".join(chars)).strip("_")
    return squeezed.encode()[:max_bytes].decode(errors="ignore")


def folder_name(sample: Sample) -> str:
    """Return a unique folder name for a sample, valid on any file system: file name, label and digest.

    The digest covers name, label and image, so the same sample always gets the same folder.
    """
    stem = re.split(r"[\\/]", sample.name)[-1]
    stem = stem.rsplit(".", 1)[0] or stem
    digest = hashlib.sha256()
    for text in (sample.name, sample.label):
        part = text.encode(errors="backslashreplace")
        digest.update(len(part).to_bytes(8, "big") + part)
    digest.update(sample.image)
    parts = (_safe_part(stem), _safe_part(sample.label), digest.hexdigest()[:10])
    return "-".join(part for part in parts if part)


def write_visualization(sample: Sample, output_dir: str | os.PathLike) -> str:
    """Write `attention.gif`, `attention.png` and `word.txt` of one sample.

    They go to `correct/<name>/` or `incorrect/<name>/` under `output_dir`. Files of the same sample from an earlier
    run are replaced, even if the verdict changed.

    Returns:
      The folder.

    Raises:
      ImageError: Pillow cannot decode the image.
      AocrError: the files cannot be written.
    """
    verdicts = ("correct", "incorrect") if sample.correct else ("incorrect", "correct")
    folder, other = (os.path.join(output_dir, verdict, folder_name(sample)) for verdict in verdicts)
    first, *others = overlay_frames(sample)
    animated = {"save_all": True, "append_images": others, "duration": FRAME_MILLISECONDS, "loop": 0}
    words = f"{sample.label}\n{sample.prediction.text}\n"
    contents = {
        "attention.gif": encode_image(first, "GIF", **animated),
        "attention.png": encode_image(attention_sheet(sample), "PNG"),
        "word.txt": words.encode(errors="backslashreplace"),
    }
    with files.writing(folder, advice="Choose another --output-dir."):
        files.make_folder(folder)
        for name, data in contents.items():
            files.write(os.path.join(folder, name), data)
        if files.is_folder(other):
            for name in contents.keys() & files.names_in(other):
                files.remove(os.path.join(other, name))
            if not files.names_in(other):
                files.remove(other)
    return folder
