"""A sheet of images as the network sees them, plain and augmented."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from aocr import files
from aocr.config import ModelConfig
from aocr.data.augment import augment
from aocr.data.automatic import channels_for, height_for, share_with_colour
from aocr.data.preprocess import preprocess
from aocr.data.records import Example, read_examples
from aocr.errors import DatasetError
from aocr.report.fonts import draw_text
from aocr.report.pictures import encode_image
from aocr.text.charset import Charset

NUM_IMAGES, NUM_VARIANTS = 12, 3
SHEET_WIDTH, GAP, LINE = 1000, 8, 34


def _network_images(example: Example, channels: int, height: int, seed: int) -> list[Image.Image]:
    """Transform an image for the network, and augment it."""
    max_width, max_height = example.width, example.height
    config = ModelConfig(Charset("x"), channels=channels, height=height, max_width=max_width, max_height=max_height)
    pixels, width, _ = preprocess(example.image, config)
    plain = tf.repeat(pixels[None], NUM_VARIANTS, axis=0)
    augmented = augment(plain, tf.repeat(width[None], NUM_VARIANTS), tf.constant([seed, 0]))
    values = np.concatenate([pixels[None], augmented])
    values = np.clip(values * 128.0 + 128.0, 0, 255).astype(np.uint8)
    return [Image.fromarray(value[:, :, 0] if channels == 1 else value).convert("RGB") for value in values]


def _corners(pictures: Sequence[Image.Image]) -> tuple[list[tuple[int, int]], int]:
    """Arrange pictures in rows; return their upper left corners and the total height."""
    corners, x, y = [], GAP, 0
    for picture in pictures:
        if x > GAP and x + picture.width + GAP > SHEET_WIDTH:
            x, y = GAP, y + picture.height + GAP
        corners.append((x, y))
        x += picture.width + GAP
    return corners, y + pictures[-1].height + GAP


def write_preview(path: str, paths: Sequence[str]) -> None:
    """Write a PNG of a few images spread over TFRecord files: each as the default network sees it, then augmented."""
    sizes = np.array([(example.width, example.height) for name in paths for example in read_examples(name)])
    count, network_height = len(sizes), height_for(sizes)
    channels = channels_for(share_with_colour(paths, count))
    chosen = set(np.linspace(0, count - 1, min(NUM_IMAGES, count)).round().astype(int).tolist())
    examples = (example for name in paths for example in read_examples(name))
    rows, height = [], GAP
    for i, example in enumerate(examples):
        if i not in chosen:
            continue
        pictures = _network_images(example, channels, network_height, i)
        scale = min(2.0, (SHEET_WIDTH - 2 * GAP) / pictures[0].width)  # the same for all but the widest
        size = (max(1, round(pictures[0].width * scale)), max(1, round(network_height * scale)))
        pictures = [picture.resize(size, Image.Resampling.BILINEAR) for picture in pictures]
        corners, row_height = _corners(pictures)
        rows.append((height, example.label, pictures, corners))
        height += LINE + row_height + GAP
    sheet = Image.new("RGB", (SHEET_WIDTH, height), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for top, label, pictures, corners in rows:
        draw_text(draw, GAP, top + 24, label or "(empty)", SHEET_WIDTH - 2 * GAP)
        for picture, (x, y) in zip(pictures, corners, strict=True):
            sheet.paste(picture, (x, top + LINE + y))
    with files.writing(path, partial(DatasetError, path)):
        files.write_picture(path, encode_image(sheet, "PNG"))
