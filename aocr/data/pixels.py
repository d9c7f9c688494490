"""The image transform with numpy and Pillow, for reading without TensorFlow.

Equal to `aocr.data.preprocess` except for resizing, which agrees to 1e-5; tests/test_onnx.py keeps the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from aocr.config import TURNS, ModelConfig, width_at
from aocr.report.pictures import flat_image, has_transparency, open_image

GREY_WEIGHTS = 9797, 19234, 3737
"""libpng's weights of red, green and blue in grey, in units of 2**-15; blue gets the remainder."""
_CUBIC, _TABLE = -0.75, 1024
"""Parameter of TensorFlow 1's bicubic kernel, and entries per pixel of its lookup table."""


def decode_image(data: bytes, channels: int) -> np.ndarray:
    """Decode the data of a `CanonicalImage` to (H, W, channels) uint8."""
    image: Image.Image = open_image(data)
    if image.format == "PNG" and has_transparency(image):
        image = flat_image(image)
    mode = "L" if channels == 1 else "RGB"
    if image.format == "JPEG":
        image.draft(mode, image.size)  # decode the stored luminance instead of converting from RGB
    if channels == 1 and image.mode not in ("1", "L"):
        values = np.asarray(image.convert("RGB"), np.int64)
        return (values @ GREY_WEIGHTS >> 15).astype(np.uint8)[..., None]
    return np.asarray(image.convert(mode)).reshape(image.height, image.width, channels)


def _scaled_size(image: np.ndarray, config: ModelConfig) -> tuple[bool, tuple[int, int]]:
    """See `aocr.data.preprocess._scaled_size`."""
    aspect = int(width_at(config.height, image.shape[1], image.shape[0]))
    if aspect <= config.network_width:
        return True, (config.height, aspect)
    return False, (max(1, math.ceil(config.network_width / aspect * config.height)), config.network_width)


@lru_cache(64)
def _cubic_weights(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the 4 source pixels of each pixel of a resized line, and their weights; both are (new_size, 4)."""
    indices, weights = np.zeros((new_size, 4), int), np.zeros((new_size, 4), np.float32)
    scale = np.float32(size / new_size)
    for i in range(new_size):
        position = np.float32(i) * scale
        left = math.floor(position)
        offset = round(float(position - np.float32(left)) * _TABLE)
        for step in range(-1, 3):
            distance = abs(step - offset / _TABLE)
            a = _CUBIC
            if distance <= 1:
                weight = ((a + 2) * distance - (a + 3)) * distance * distance + 1
            else:
                weight = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
            indices[i, step + 1], weights[i, step + 1] = min(max(left + step, 0), size - 1), weight
    return indices, weights


def _bicubic(image: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, int]:
    height, width = image.shape[:2]
    fits, (new_height, new_width) = _scaled_size(image, config)
    if fits and height <= config.height:
        new_height, new_width = height, width
    rows, row_weights = _cubic_weights(height, new_height)
    columns, column_weights = _cubic_weights(width, new_width)
    resized = np.einsum("ak,akcd->acd", row_weights, image[rows].astype(np.float32))
    resized = np.einsum("ek,aekd->aed", column_weights, resized[:, columns])
    padding = ((0, config.height - new_height), (0, config.network_width - new_width), (0, 0))
    return np.pad(resized, padding), new_width


def _normalised(image: np.ndarray) -> np.ndarray:
    mean, spread = image.mean(dtype=np.float64), max(float(image.std(dtype=np.float64)), 4.0)
    farthest = max(float(np.abs(image - mean).max()), 4.0)
    return (128.0 + (image - mean) * min(50.0 / spread, 128.0 / farthest)).astype(np.float32)


def _antialiased(image: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, int]:
    _, (height, width) = _scaled_size(image, config)
    channels = [Image.fromarray(np.ascontiguousarray(c), "F") for c in np.moveaxis(image.astype(np.float32), 2, 0)]
    scaled = [np.asarray(channel.resize((width, height), Image.Resampling.BILINEAR)) for channel in channels]
    resized = _normalised(np.stack(scaled, axis=2))
    above = (config.height - height) // 2
    below = config.height - height - above
    return np.pad(resized, ((above, below), (0, 0), (0, 0)), constant_values=128.0), width


def scale_image(image: np.ndarray, config: ModelConfig) -> tuple[np.ndarray, int, float]:
    """See `aocr.data.preprocess.scale_image`."""
    resize = _bicubic if config.traits.resizes_bicubic else _antialiased
    image = np.rot90(image, TURNS[config.turn])
    scaled, width = resize(image, config)
    return (scaled - np.float32(128.0)) / np.float32(128.0), width, image.shape[1] / width


def preprocess(data: bytes, config: ModelConfig) -> tuple[np.ndarray, int, float]:
    """See `aocr.data.preprocess.preprocess`."""
    return scale_image(decode_image(data, config.channels), config)


def batched(
    items: Sequence, config: ModelConfig, transform: Callable = preprocess
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `aocr.data.preprocess.batched`."""
    images, widths, scales = zip(*(transform(item, config) for item in items), strict=True)
    width = config.network_width if config.traits.fixed_width else -(-max(widths) // 16) * 16
    batch = np.zeros((len(items), config.height, width, config.channels), np.float32)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1]] = image
    return batch, np.array(widths, np.int32), np.array(scales, np.float32)
