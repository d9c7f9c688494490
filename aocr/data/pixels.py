"""`aocr.data.preprocess` with numpy and Pillow alone, for reading where TensorFlow is missing. To the bit but for the
resizing, which agrees to 1e-5."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from aocr.config import ModelConfig, width_at
from aocr.report.pictures import open_image

_RED, _GREEN, _BLUE = 9797, 19234, 3737
"""What libpng makes grey of: 0.299 and 0.587 of 2**15, and the rest."""
_CUBIC, _TABLE = -0.75, 1024
"""TensorFlow 1's bicubic filter, and the steps of its table."""


def decode_image(data: bytes, channels: int) -> np.ndarray:
    """An encoded png or jpeg, as `aocr.data.images` gives it, -> (H, W, channels) uint8."""
    image = open_image(data)
    mode = "L" if channels == 1 else "RGB"
    if image.format == "JPEG":
        image.draft(mode, image.size)  # grey is the brightness that the file holds
    if channels == 1 and image.mode not in ("1", "L"):
        values = np.asarray(image.convert("RGB"), np.int64)
        return (values @ (_RED, _GREEN, _BLUE) >> 15).astype(np.uint8)[..., None]
    return np.asarray(image.convert(mode)).reshape(image.height, image.width, channels)


def _shrunk_height(config: ModelConfig, width: int) -> int:
    return max(1, math.ceil(config.network_width / width * config.height))


@lru_cache(64)
def _cubic_weights(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """(after, 4) pixels of a line of `before` that each pixel after is made of, and (after, 4) their weights."""
    places, weights = np.zeros((after, 4), int), np.zeros((after, 4), np.float32)
    scale = np.float32(before / after)
    for i in range(after):
        place = np.float32(i) * scale
        left = math.floor(place)
        offset = round(float(place - np.float32(left)) * _TABLE)
        for step in range(-1, 3):
            away = abs(step - offset / _TABLE)
            a = _CUBIC
            if away <= 1:
                weight = ((a + 2) * away - (a + 3)) * away * away + 1
            else:
                weight = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
            places[i, step + 1], weights[i, step + 1] = min(max(left + step, 0), before - 1), weight
    return places, weights


def _bicubic(image: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, int]:
    height, width = image.shape[:2]
    aspect = int(width_at(config.height, width, height))
    target = (height, width) if height <= config.height else (config.height, aspect)
    if aspect > config.network_width:
        target = (_shrunk_height(config, aspect), config.network_width)
    (places, weights), (places_across, weights_across) = (
        _cubic_weights(before, after) for before, after in zip((height, width), target, strict=True)
    )
    rows = np.einsum("ak,akcd->acd", weights, image[places].astype(np.float32))
    resized = np.einsum("ek,aekd->aed", weights_across, rows[:, places_across])
    spare = ((0, config.height - target[0]), (0, config.network_width - target[1]), (0, 0))
    return np.pad(resized, spare), target[1]


def _stretched(image: np.ndarray) -> np.ndarray:
    mean, spread = image.mean(dtype=np.float64), max(float(image.std(dtype=np.float64)), 4.0)
    farthest = max(float(np.abs(image - mean).max()), 4.0)
    return (128.0 + (image - mean) * min(50.0 / spread, 128.0 / farthest)).astype(np.float32)


def _resized(channel: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(channel, "F").resize((width, height), Image.Resampling.BILINEAR))


def _antialiased(image: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, int]:
    height, width = image.shape[:2]
    aspect = int(width_at(config.height, width, height))
    target = (config.height, aspect)
    if aspect > config.network_width:
        target = (_shrunk_height(config, aspect), config.network_width)
    channels = np.moveaxis(image.astype(np.float32), 2, 0)
    resized = _stretched(np.stack([_resized(np.ascontiguousarray(channel), *target) for channel in channels], axis=2))
    above = (config.height - target[0]) // 2
    rest = config.height - target[0] - above
    return np.pad(resized, ((above, rest), (0, 0), (0, 0)), constant_values=128.0), target[1]


def scale_image(image: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, int, float]:
    """As `aocr.data.preprocess.scale_image`."""
    resize = _bicubic if config.traits.resizes_bicubic else _antialiased
    scaled, width = resize(image, config)
    return (scaled - np.float32(128.0)) / np.float32(128.0), width, image.shape[1] / width


def preprocess(data: bytes, config: ModelConfig) -> tuple[np.ndarray, int, float]:
    """As `aocr.data.preprocess.preprocess`."""
    return scale_image(decode_image(data, config.channels), config)


def batched(
    items: Sequence, config: ModelConfig, transform: Callable = preprocess
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `aocr.data.preprocess.batched`."""
    images, widths, scales = zip(*(transform(item, config) for item in items), strict=True)
    width = config.network_width if config.traits.fixed_width else -(-max(widths) // 16) * 16
    batch = np.zeros((len(items), config.height, width, config.channels), np.float32)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1]] = image
    return batch, np.array(widths, np.int32), np.array(scales, np.float32)
