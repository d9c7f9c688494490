"""Convert images of any type to bytes that TensorFlow decodes to the same upright picture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from aocr.errors import ImageError
from aocr.files import one_line, read_limited
from aocr.report.pictures import encode_image, flat_image, open_image

_PLAIN = {"PNG": ("1", "L", "RGB", "P"), "JPEG": ("L", "RGB")}
"""Formats and Pillow modes that TensorFlow decodes as Pillow does. Its bmp and gif decoders reject files that Pillow
accepts, ignore a bmp's palette, and return a gif's frame instead of the canvas."""
MAX_BYTES = 2**30
"""Maximum size of an image file; the largest image takes a third less at 64 bits per pixel."""
MAX_WORK = 2**33
"""Maximum pixels times scans of a progressive jpeg. It usually has ten scans; each may take only a few bytes."""
MAX_TILE = 2**24
"""Maximum pixels of a tile of a tiff, which may be larger than the picture."""
BLANK_SPREAD = 3
"""Largest difference between two pixels of an image that shows nothing, of 255."""
MAX_SIDE = 1_000_000
"""Maximum pixels of the longer side, as in TensorFlow's png decoder."""
_EXIF_ORIENTATION = 0x0112
_TILE_SIDES = 0x0142, 0x0143
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that makes the picture upright."""


@dataclass(frozen=True)
class CanonicalImage:
    """An image for the network's transform."""

    data: bytes
    """Encoded png or jpeg, 8 bits a channel, grey or RGB, upright."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    is_blank: bool = False
    """Whether it shows nothing: all pixels have about the same colour."""


def _is_blank(image: Image.Image) -> bool:
    """Whether no two pixels of an image differ by more than `BLANK_SPREAD` in a channel."""
    extrema: Any = image.getextrema()
    return all(high - low <= BLANK_SPREAD for low, high in (extrema if image.mode == "RGB" else [extrema]))


def _open(data: bytes, name: str) -> Image.Image:
    """Decode the whole first frame, or raise an ImageError."""
    if not data:
        raise ImageError(name, "is empty (0 bytes).")
    limit = Image.MAX_IMAGE_PIXELS
    try:
        image = open_image(data)
        if limit and image.width * image.height > limit:
            raise Image.DecompressionBombError
        if max(image.size) > MAX_SIDE:
            raise ImageError(name, f"is wider or higher than {MAX_SIDE:,} pixels. Crop it.")
        _check_work(image, data)
        image.load()
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(name, f"has more than {limit:,} pixels. Scale it down.") from None
    except UnidentifiedImageError:
        raise ImageError(name, "is not an image of a supported type (png, jpeg, bmp, gif, tiff, webp, ppm).") from None
    except Exception as error:  # Pillow raises many types of errors for damaged files
        raise ImageError(name, f"is damaged ({one_line(error)}).") from None
    return image


def _check_work(image: Image.Image, data: bytes) -> None:
    """Raise a ValueError for a small file that would take hours or gigabytes to decode."""
    num_pixels = image.width * image.height
    if image.info.get("progressive") and data.count(b"\xff\xda") * num_pixels > MAX_WORK:
        raise ValueError("a jpeg of too many passes")
    if image.format == "TIFF":
        width, height = (int(np.max(image.tag_v2.get(side, 0))) for side in _TILE_SIDES)  # type: ignore[attr-defined]
        if width * height > max(MAX_TILE, num_pixels):
            raise ValueError("tiles larger than the picture")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Find the transposition for the picture's EXIF orientation; None if it is upright or the EXIF data is damaged."""
    try:
        return _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # Pillow raises many types of errors
        return None


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Whether TensorFlow, if it can decode `data` at all, yields the same upright picture as `image`."""
    return (
        image.mode in _PLAIN.get(image.format or "", ())
        and "transparency" not in image.info
        and _turn(image) is None
        and not (image.format == "PNG" and data[24] == 16)  # Pillow reports 16-bit colour as 8 bits
    )


def _flat(image: Image.Image, name: str) -> Image.Image:
    """Convert `image` to 8-bit grey or RGB, upright."""
    if not image.width or not image.height:
        raise ImageError(name, "has no pixels.")
    try:
        turn = _turn(image)
        return flat_image(image if turn is None else image.transpose(turn))
    except Exception as error:  # a mode that Pillow cannot convert, or a file that it had not read to the end
        raise ImageError(name, f"cannot be converted ({one_line(error)}).") from None


def _converted(image: Image.Image, name: str) -> CanonicalImage:
    """Convert `image` to 8-bit png."""
    flat = _flat(image, name)
    return CanonicalImage(encode_image(flat, "PNG"), flat.width, flat.height, _is_blank(flat))


def picture(data: bytes, name: str = "image") -> Image.Image:
    """Decode an image to 8-bit grey or RGB, upright; raise an ImageError as `canonical_image` does."""
    return _flat(_open(data, name), name)


def canonical_image(data: bytes, name: str = "image") -> CanonicalImage:
    """Check an encoded image, and convert it only if TensorFlow would decode it to another picture.

    Converted to 8-bit png: 16 bits, CMYK, transparency (`flat_image`), EXIF rotation, formats other than png and jpeg
    (the first frame). A damaged file that Pillow can read and TensorFlow cannot is kept: see `as_png`.

    Raises:
      ImageError: it is empty, not an image, damaged or too large.
    """
    image = _open(data, name)
    if _is_plain(image, data):
        return CanonicalImage(data, image.width, image.height, _is_blank(image))
    return _converted(image, name)


def pixel_digest(data: bytes) -> bytes:
    """Compute a digest of the pixels of a `CanonicalImage`'s data, whatever its format."""
    picture = _open(data, "image").convert("RGB")
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()


def as_png(data: bytes, name: str = "image") -> bytes:
    """Convert an encoded image to 8-bit png, for the few damaged or unusual files that only Pillow can read."""
    return _converted(_open(data, name), name).data


def is_single(image: Any) -> bool:
    """Whether a Python object is one image: neither a sequence of images nor an array of four dimensions."""
    if image is None or isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)):
        return True
    num_dimensions = getattr(image, "ndim", None)  # numpy, torch, jax, ...
    if num_dimensions is None:
        return hasattr(image, "read") or not isinstance(image, Iterable)
    return num_dimensions in (0, 2, 3)


def _to_uint8(array: np.ndarray, name: str) -> np.ndarray:
    """Scale the values of an array to 0 to 255; raise an ImageError if their range is not certain."""
    if array.dtype == np.uint8:
        return array
    is_integer = np.issubdtype(array.dtype, np.integer)
    if array.dtype != bool and not is_integer and not np.issubdtype(array.dtype, np.floating):
        raise ImageError(name, f"an array of {array.dtype} is not an image. Give uint8, or float from 0 to 1.")
    low, high = array.min(), array.max()
    if is_integer:
        if low >= 0 and 1 < high <= 255:
            return array.astype(np.uint8)
        if array.dtype == np.uint16 and high >= 2**15:
            return np.round(array / 257.0).astype(np.uint8)
        reason = f"the values of this {array.dtype} array go from {low} to {high}"
        raise ImageError(name, f"{reason}, so white may be anything. Scale them to 0 to 255 and give uint8.")
    if not np.isfinite(array).all() or low < 0 or high > 1:
        raise ImageError(name, "float values must be between 0 and 1. Divide by 255, or give uint8.")
    return np.round(array * 255.0).astype(np.uint8)


def _from_array(array: np.ndarray, name: str, colour: str) -> Image.Image:
    """Convert an array that `image_to_bytes` accepts."""
    shape = array.shape
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (3, 4)):
        advice = "Give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); several as a list, or (N, H, W, C)."
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            advice = "Its channels seem to come first: give array.transpose(1, 2, 0)."
        raise ImageError(name, f"an array of shape {shape} is not an image. {advice}")
    if not array.size:
        raise ImageError(name, f"an array of shape {shape} has no pixels. Was it cut out beyond the image's edge?")
    if colour == "bgr" and array.ndim == 3:
        array = array[:, :, [2, 1, 0, 3][: array.shape[2]]]
    return Image.fromarray(np.ascontiguousarray(_to_uint8(array, name)))


def read_file(path: str | os.PathLike) -> bytes:
    """Read an image file; raise an ImageError if it is missing, a folder, or cannot be read."""
    try:
        return read_limited(path, MAX_BYTES)
    except FileNotFoundError:
        raise ImageError(str(path), "there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(str(path), f"cannot be read ({one_line(error)}).") from None


def _contents(file: Any, name: str) -> bytes:
    """Read a file object; raise an ImageError if it fails or gives text."""
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: closed, or text in another encoding
        raise ImageError(name, f"the file object cannot be read ({one_line(error)}).") from None
    if isinstance(data, str):
        raise ImageError(name, "the file object gives text. Open it in binary mode ('rb').")
    return data


def image_to_bytes(image: Any, name: str = "image", colour: str = "rgb") -> CanonicalImage:
    """Convert an image of any supported Python type to a `CanonicalImage`.

    Args:
      image: a path, encoded bytes, a file object, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4):
        uint8, bool, floats 0 to 1, uint16 that uses its range, or other integers from 0 to 255.
      name: name in messages if it is not a path.
      colour: order of an array's channels, `rgb` or `bgr` (OpenCV).

    Raises:
      ImageError: it cannot be read.
    """
    if image is None:
        raise ImageError(name, "there is no image (None). Was the file found? cv2.imread gives None for a missing one.")
    if hasattr(image, "read") and not isinstance(image, Image.Image):
        image = _contents(image, name)
    if isinstance(image, (str, os.PathLike)):
        return canonical_image(read_file(image), str(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return canonical_image(bytes(image), name)
    if not isinstance(image, Image.Image):
        try:
            array = np.asarray(image)
        except Exception as error:  # of the library that made it: a tensor on a GPU, rows of different lengths
            raise ImageError(name, f"is not an image, nor an array ({one_line(error)}).") from None
        image = _from_array(array, name, colour)
    return _converted(image, name)
