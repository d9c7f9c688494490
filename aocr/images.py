"""Images of any kind -> bytes that TensorFlow decodes to the same upright picture."""

from __future__ import annotations

import io
import os
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from aocr.errors import ImageError

_PLAIN = {"PNG": ("1", "L", "RGB", "P"), "JPEG": ("L", "RGB"), "BMP": ("L", "RGB", "P"), "GIF": ("L", "RGB", "P")}
"""Formats and Pillow modes whose bytes TensorFlow decodes as Pillow does."""
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class CanonicalImage:
    """An image that the network's transform reads.

    Attributes:
      data: encoded png, jpeg, bmp or gif, 8 bits a channel, grey or RGB, upright.
      width, height: in pixels.
    """

    data: bytes
    width: int
    height: int


def _open(data: bytes, name: str) -> Image.Image:
    """Decode the first frame wholly, or say why not."""
    if not data:
        raise ImageError(name, "is empty (0 bytes).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ImageError(name, f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels. Scale it down.") from None
        except UnidentifiedImageError:
            raise ImageError(name, "is not an image that can be read (png, jpeg, bmp, gif, tiff, webp).") from None
        except (OSError, SyntaxError, ValueError, struct.error, EOFError) as error:
            raise ImageError(name, f"is damaged ({' '.join(str(error).split())}).") from None
    if not image.width or not image.height:
        raise ImageError(name, "has no pixels.")
    return image


def _is_plain(image: Image.Image) -> bool:
    return (
        image.mode in _PLAIN.get(image.format, ())
        and "transparency" not in image.info
        and not (image.format == "PNG" and image.mode == "P" and image.info.get("transparency") is not None)
        and not (image.format == "GIF" and getattr(image, "n_frames", 1) > 1)
        and image.getexif().get(_EXIF_ORIENTATION, 1) == 1
    )


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16- and 32-bit modes scaled to grey of 8 bits."""
    values = np.asarray(image, np.float64)
    if image.mode == "F":
        low, high = values.min(), values.max()
        values = (values - low) * (255.0 / (high - low)) if high > 1 or low < 0 else values * 255.0
    elif values.max() > 255 or image.mode.startswith("I;16"):
        values = values / 257.0
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


def _flat(image: Image.Image) -> Image.Image:
    """Upright, grey or RGB, what is transparent on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
        bands = image.split()
        grey = all(np.array_equal(bands[0], band) for band in bands[1:3])
        return bands[0] if grey else image.convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def canonical_image(data: bytes, name: str = "image") -> CanonicalImage:
    """Check an encoded image, and change its bytes only where TensorFlow would see another picture.

    Changed to 8-bit png: 16 bits, CMYK, transparency (on white), EXIF rotation, several frames (the first),
    and formats other than png, jpeg, bmp and gif.

    Args:
      data: the encoded image.
      name: for messages.

    Raises:
      ImageError: it is empty, not an image, damaged or too large.
    """
    image = _open(data, name)
    if _is_plain(image) and not _is_16_bit_png(data):
        return CanonicalImage(data, image.width, image.height)
    try:
        flat = _flat(image)
    except (OSError, ValueError) as error:
        raise ImageError(name, f"cannot be converted ({' '.join(str(error).split())}).") from None
    return CanonicalImage(_encode(flat), flat.width, flat.height)


def _is_16_bit_png(data: bytes) -> bool:
    """Pillow shows 16-bit colour as 8 bits; the header tells."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10"


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or not array.size:
        raise ImageError(name, f"an array of shape {array.shape} is no image: give (H, W), (H, W, 1) or (H, W, 3).")
    if array.dtype == bool or np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError(name, "float values must lie between 0 and 1. Divide by 255, or give uint8.")
        array = np.round(array * 255.0).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(name, f"an array of {array.dtype} is no image: give uint8, or float from 0 to 1.")
    return Image.fromarray(np.ascontiguousarray(array))


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of a file.

    Raises:
      ImageError: it is missing, a folder, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ImageError(path, "there is no such file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(path, f"cannot be read ({reason}).") from None


def image_to_bytes(image: Any, name: str = "image") -> CanonicalImage:
    """Anything that is an image, ready for the network's transform.

    Args:
      image: a path, encoded bytes, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) of uint8 or of floats
        from 0 to 1.
      name: for messages where it is no path.

    Raises:
      ImageError: it cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        return canonical_image(read_file(image), str(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return canonical_image(bytes(image), name)
    if not isinstance(image, Image.Image):
        image = _from_array(np.asarray(image), name)
    flat = _flat(image)
    if not flat.width or not flat.height:
        raise ImageError(name, "has no pixels.")
    return CanonicalImage(_encode(flat), flat.width, flat.height)
