"""A person's own images, and what is measured in them: colours, where the text stands, sharpness, noise."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

MEASURED_PIXELS = 20_000
"""Pixels, at the most, that the two colours are found in."""
MAX_PIXELS = 2**17
"""Of an image: what is measured in one takes 18 bytes a pixel, of all at once, and no network sees so many."""
SHARP = 1.3
"""Pixels that the edge of a letter just drawn takes."""
INK_ROWS = 0.25
"""A row belongs to the text from this share of the ink of the fullest rows on."""
MIN_ROWS = 0.25
"""A lower run of rows, as a share of the height, is a part of a text or a line near it; then `MIDDLE` is taken."""
MIDDLE = (0.15, 0.85)
"""Rows, as shares of the height, where a text mostly stands."""
THUMBNAIL = (24, 8)
EVEN = 0.1
"""Shares of the picture this close to a half do not tell text from ground; the edges then do."""


@dataclass(frozen=True)
class Original:
    """A labelled image.

    Attributes:
      data: encoded png or jpeg.
      label: the text in it.
      centres: middle of each character of the label, pixels from the left; None: not known.
    """

    data: bytes
    label: str
    centres: tuple[float, ...] | None = None

    def _open(self) -> Image.Image:
        return Image.open(io.BytesIO(self.data), formats=("PNG", "JPEG"))  # of other formats, Pillow starts programs

    def picture(self) -> Image.Image:
        """The image, RGB."""
        return self._open().convert("RGB")

    def shrunk(self) -> Original:
        """The image with `MAX_PIXELS` at the most."""
        width, height = self._open().size
        if (share := MAX_PIXELS / (width * height)) >= 1:
            return self
        size = [max(1, int(side * share**0.5)) for side in (width, height)]
        picture = self.picture().resize(size, Image.Resampling.LANCZOS)
        centres = self.centres and tuple(at * picture.width / width for at in self.centres)
        return Original(self.encode(picture), self.label, centres)

    def encode(self, picture: Image.Image) -> bytes:
        """Another image, RGB, stored as this one is: grey or in colour, jpeg as strongly compressed, or png."""
        mine, file = self._open(), io.BytesIO()
        grey = mine.mode in ("1", "L", "LA")
        picture = picture.convert("L") if grey else picture
        if mine.format == "JPEG":  # its tables are numbered as it likes
            tables = [table for _, table in sorted(mine.quantization.items())]  # type: ignore[attr-defined]
            picture.save(file, "JPEG", qtables=tables[:4])
        else:
            picture.save(file, "PNG")
        return file.getvalue()


def two_colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two main colours of some pixels, by 2-means: (N, 3) -> (3,), (3,), the darker first."""
    grey = pixels @ (0.3, 0.59, 0.11)
    low, high = np.percentile(grey, (5, 95))
    dark, light = (pixels[abs(grey - at) <= abs(grey - at).min() + 4].mean(0) for at in (low, high))
    for _ in range(12):
        nearer = ((pixels - dark) ** 2).sum(1) <= ((pixels - light) ** 2).sum(1)
        if nearer.all() or not nearer.any():
            break
        dark, light = pixels[nearer].mean(0), pixels[~nearer].mean(0)
    return dark, light


class Look:
    """What is measured in an image.

    Args:
      original: to measure.

    Attributes:
      pixels: (H, W, 3) float32, 0 to 255.
      ink, ground: (3,) the two main colours: of the text, and of what is behind it.
      thumbnail: (8, 24, 3), by which images are compared.
    """

    def __init__(self, original: Original):
        picture = original.picture()
        self.original, self.pixels = original, np.asarray(picture, np.float32)
        height, (left, right) = len(self.pixels), self.columns
        middle = self.pixels[int(MIDDLE[0] * height) : int(MIDDLE[1] * height) + 1, left:right]
        few = middle.reshape(-1, 3)[:: -(-middle.size // (3 * MEASURED_PIXELS))]
        first, second = two_colours(few)
        share = float((((few - first) ** 2).sum(1) < ((few - second) ** 2).sum(1)).mean())
        if abs(share - 0.5) < EVEN:  # both are as common: the ground is what reaches the edges
            edges = np.concatenate([middle[0], middle[-1], middle[:, 0], middle[:, -1]])
            share = float((((edges - first) ** 2).sum(1) < ((edges - second) ** 2).sum(1)).mean())
        self.ink, self.ground = (first, second) if share < 0.5 else (second, first)
        self.thumbnail = np.asarray(picture.resize(THUMBNAIL, Image.Resampling.BOX), np.float32)

    @cached_property
    def inkiness(self) -> np.ndarray:
        """(H, W) 0 to 1: where a pixel lies between the ground's colour and the text's."""
        line = self.ink - self.ground
        return np.clip((self.pixels - self.ground) @ line / max(float(line @ line), 1.0), 0, 1)

    @property
    def contrast(self) -> float:
        """Difference of the two colours' brightness, 0 to 255."""
        return abs(float((self.ink - self.ground) @ (0.3, 0.59, 0.11)))

    @cached_property
    def columns(self) -> tuple[int, int]:
        """Left and right edge of the text in pixels, where its characters are known; else of the image."""
        width = self.pixels.shape[1]
        centres = self.original.centres
        if centres and len(centres) > 1:
            first, last = (float(np.clip(at, 0, width)) for at in (min(centres), max(centres)))
            half = max(1.0, 0.6 * (last - first) / (len(centres) - 1))
            return max(0, int(first - half)), min(width, int(last + half) + 1)
        return 0, width

    @cached_property
    def rows(self) -> tuple[int, int]:
        """Upper and lower edge of the text in pixels: the run of rows that holds most of the ink."""
        left, right = self.columns
        ink = self.inkiness[:, left:right].mean(1)
        full = ink >= INK_ROWS * np.percentile(ink, 90)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], full.astype(int), [0]])))
        starts, stops = edges[::2], edges[1::2]
        best = max(range(len(starts)), key=lambda i: ink[starts[i] : stops[i]].sum(), default=None)
        if best is None or stops[best] - starts[best] < MIN_ROWS * len(ink):
            return int(MIDDLE[0] * len(ink)), max(int(MIDDLE[1] * len(ink)), 1)
        return int(starts[best]), int(stops[best])

    @cached_property
    def blur(self) -> float:
        """Standard deviation in pixels of the blur that makes drawn letters as soft as these."""
        steps = [abs(np.diff(self.inkiness, axis=axis)) for axis in (0, 1)]
        steepest = max(float(np.percentile(step, 99)) for step in steps if step.size) if self.inkiness.size > 4 else 1
        edge = 1 / max(steepest, 0.05)
        return float(np.sqrt(max(0.0, edge**2 - SHARP**2))) / 2.5

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the grain (Immerkaer, 1996), by the median so that letters do not count."""
        grey = self.pixels @ np.array((0.3, 0.59, 0.11), np.float32)
        if min(grey.shape) < 3:
            return 0.0
        second = grey[:-2] - 2 * grey[1:-1] + grey[2:]
        residual = second[:, :-2] - 2 * second[:, 1:-1] + second[:, 2:]
        return float(np.median(abs(residual))) / 0.6745 / 6
