"""Decode, scale, rotate and encode pictures for people."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from aocr.errors import ImageError
from aocr.files import one_line

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow's names of the image formats to read. Its forty others are disabled; EPS would start Ghostscript."""

LINE_SHARE, MIN_SHARE = 0.6, 0.45
"""An image is higher than its sloping line by this share of the line's rise; a levelled image keeps this height."""
SAMPLE_PIXELS = 2**20
"""Number of pixels by which the ground of a transparent image is chosen."""


def open_image(data: bytes) -> Image.Image:
    """Open an untrusted image like `Image.open`, but only if it has one of the `FORMATS`."""
    return Image.open(io.BytesIO(data), formats=FORMATS)


def load_image(data: bytes, name: str) -> Image.Image:
    """Decode an image to RGB, transparent parts as in `flat_image`.

    Raises:
      ImageError: Pillow cannot decode it.
    """
    try:
        with open_image(data) as image:
            image.load()
            return flat_image(image).convert("RGB")
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        reason = one_line(error) if data else "it is empty"
        raise ImageError(name, f"cannot decode the image: {reason}. Save it again as PNG or JPEG.") from error


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16- and 32-bit modes to 8-bit grey: by the mode's range if known, otherwise from darkest to lightest."""
    values = np.asarray(image, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        values = values / 257.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        values = values * 255.0
    elif low < 0 or high > 255:
        values = (values - low) * (255.0 / ((high - low) or 1.0))
    return Image.fromarray(np.round(values).astype(np.uint8))


def has_transparency(image: Image.Image) -> bool:
    """Whether an image has an alpha channel or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _on_ground(image: Image.Image) -> Image.Image:
    """Lay an image with transparent parts on white, or on black if that at least doubles the contrast.

    White letters on white would be invisible. `aocr.data.preprocess` does the same in TensorFlow.
    """
    image = image.convert("RGBA")
    step = math.isqrt(image.width * image.height // SAMPLE_PIXELS) + 1
    size = max(1, image.width // step), max(1, image.height // step)
    sample = np.asarray(image.resize(size, Image.Resampling.NEAREST), np.float32)
    alpha = sample[..., 3:] / 255.0
    white, black = ((sample[..., :3] * alpha + ground * (1.0 - alpha)).mean(axis=2).std() for ground in (255.0, 0.0))
    ground = Image.new("RGBA", image.size, "black" if white * 2 < black else "white")
    flat = Image.alpha_composite(ground, image)
    red, green, blue, _ = flat.split()
    is_grey = red.tobytes() == green.tobytes() == blue.tobytes()
    return red if is_grey else flat.convert("RGB")


def flat_image(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit grey or RGB, transparent parts on white or, if the rest is light, on black."""
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(image)
    if has_transparency(image):
        return _on_ground(image)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def fit_image(image: Image.Image, min_height: int, max_height: int, max_width: int) -> Image.Image:
    """Enlarge a small image to `min_height` by an integer factor; shrink a large one to the maxima (pixels)."""
    width, height = image.size
    factor = min(math.ceil(min_height / height), max(1, max_width // width))
    if factor > 1:
        return image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    shrink = min(1.0, max_width / width, max_height / height)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return image.resize(size, Image.Resampling.LANCZOS) if shrink < 1.0 else image


def encode_image(image: Image.Image, kind: str, **options) -> bytes:
    """Encode an image in a format of Pillow (`PNG`, `GIF`, ...)."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def levelled_size(width: int, height: int, angle: int) -> tuple[int, int]:
    """Return the (width, height) of a levelled image."""
    cos, sin = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
    line = max(height * cos - LINE_SHARE * width * sin, MIN_SHARE * height)
    return round(width * cos + height * sin), int(line) + 1


def positions(x: np.ndarray, y: np.ndarray, source: tuple[int, int], target: tuple[int, int], angle: int) -> tuple:
    """Rotate positions from an image of size `source` to one of size `target` around their middles."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x, y = x - source[0] / 2, y - source[1] / 2
    return x * cos + y * sin + target[0] / 2, y * cos - x * sin + target[1] / 2
