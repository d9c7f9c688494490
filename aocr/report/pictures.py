"""Pictures for people: decoded to RGB, scaled for a page, encoded."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from aocr.errors import ImageError
from aocr.files import one_line


def load_image(data: bytes, name: str) -> Image.Image:
    """Decode an image of any kind Pillow knows to RGB, transparent parts on white.

    Raises:
      ImageError: Pillow cannot decode it.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _to_rgb(image)
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        reason = one_line(error) if data else "it has no bytes"
        raise ImageError(name, f"cannot decode the image: {reason}. Save it again as PNG or JPEG.") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion would clip it to white
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def fit_image(image: Image.Image, min_height: int, max_height: int, max_width: int) -> Image.Image:
    """Scale a low image up by a whole factor to `min_height`, a large one down into the maxima (pixels)."""
    width, height = image.size
    factor = min(math.ceil(min_height / height), max(1, max_width // width))
    if factor > 1:
        return image.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    shrink = min(1.0, max_width / width, max_height / height)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return image.resize(size, Image.Resampling.LANCZOS) if shrink < 1.0 else image


def encode_image(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of `image` as a file of that kind (`PNG`, `GIF`, ...)."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
