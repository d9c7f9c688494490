"""A user's images, and measurements of them: colours, position of the text, sharpness, noise."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

MEASURED_PIXELS = 20_000
"""Maximum number of pixels used to find the two colours."""
MAX_PIXELS = 2**17
"""Maximum number of pixels of an image: the measurements of all images stay in memory, at 18 bytes per pixel."""
SHARP_EDGE = 1.3
"""Width in pixels of the edge of an unblurred letter."""
INK_ROWS = 0.25
"""Minimum ink of a row of text, as a share of the fullest rows' ink."""
MIN_ROWS = 0.25
"""Minimum height of a text, as a share of the image's; with fewer rows, `MIDDLE` is used."""
MIDDLE = (0.15, 0.85)
"""Rows of a typical text, as shares of the height."""
MARGIN = 0.3
"""Ground on the left and right that counts as part of the text, in widths of a character."""
THUMBNAIL = (24, 8)
LUMA = (0.3, 0.59, 0.11)
MIN_IMBALANCE = 0.1
"""If the two colours' shares are closer to a half than this, the edges decide which one is the ground."""


@dataclass(frozen=True)
class Original:
    """A labelled image."""

    data: bytes
    """Encoded PNG or JPEG."""
    label: str
    edges: tuple[tuple[float, float], ...] | None = None
    """Left and right edge of each character of the label in pixels; None if unknown."""

    def _open(self) -> Image.Image:
        return Image.open(io.BytesIO(self.data), formats=("PNG", "JPEG"))  # for some others, Pillow starts programs

    def picture(self) -> Image.Image:
        """Decode the image as RGB."""
        return self._open().convert("RGB")

    def shrunk(self) -> Original:
        """Return the image, shrunk to at most `MAX_PIXELS`."""
        width, height = self._open().size
        scale = (MAX_PIXELS / (width * height)) ** 0.5
        if scale >= 1:
            return self
        size = [max(1, int(side * scale)) for side in (width, height)]
        picture = self.picture().resize(size, Image.Resampling.LANCZOS)
        ratio = picture.width / width
        edges = self.edges and tuple((left * ratio, right * ratio) for left, right in self.edges)
        return Original(self.encode(picture), self.label, edges)

    def encode(self, picture: Image.Image) -> bytes:
        """Encode an RGB image like this one: grey or colour, PNG or JPEG of the same quality."""
        original, file = self._open(), io.BytesIO()
        if original.mode in ("1", "L", "LA"):
            picture = picture.convert("L")
        if original.format == "JPEG":  # the ids of its tables may not start at 0
            tables = [table for _, table in sorted(original.quantization.items())]  # type: ignore[attr-defined]
            picture.save(file, "JPEG", qtables=tables[:4])
        else:
            picture.save(file, "PNG")
        return file.getvalue()


def two_colours(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the two main colours of `pixels`, (N, 3), by 2-means; return the darker first, each (3,)."""
    grey = pixels @ LUMA
    low, high = np.percentile(grey, (5, 95))
    dark, light = (pixels[abs(grey - level) <= abs(grey - level).min() + 4].mean(0) for level in (low, high))
    for _ in range(12):
        nearer = ((pixels - dark) ** 2).sum(1) <= ((pixels - light) ** 2).sum(1)
        if nearer.all() or not nearer.any():
            break
        dark, light = pixels[nearer].mean(0), pixels[~nearer].mean(0)
    return dark, light


def _share_nearer(pixels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of pixels nearer to the first colour than to the second."""
    return float((((pixels - first) ** 2).sum(1) < ((pixels - second) ** 2).sum(1)).mean())


class Look:
    """Measurements of an image.

    `pixels`: (H, W, 3) float32, 0 to 255. `ink`, `ground`: (3,), the main colours of the text and its background.
    `thumbnail`: (8, 24, 3), for comparing images.
    """

    def __init__(self, original: Original):
        picture = original.picture()
        self.original, self.pixels = original, np.asarray(picture, np.float32)
        height, (left, right) = len(self.pixels), self.columns
        middle = self.pixels[int(MIDDLE[0] * height) : int(MIDDLE[1] * height) + 1, left:right]
        sample = middle.reshape(-1, 3)[:: -(-middle.size // (3 * MEASURED_PIXELS))]
        first, second = two_colours(sample)
        share = _share_nearer(sample, first, second)
        if abs(share - 0.5) < MIN_IMBALANCE:  # too similar: the ground is what reaches the edges
            edges = np.concatenate([middle[0], middle[-1], middle[:, 0], middle[:, -1]])
            share = _share_nearer(edges, first, second)
        self.ink, self.ground = (first, second) if share < 0.5 else (second, first)
        self.thumbnail = np.asarray(picture.resize(THUMBNAIL, Image.Resampling.BOX), np.float32)

    @cached_property
    def inkiness(self) -> np.ndarray:
        """Position of each pixel's colour between the ground's (0) and the ink's (1), shape (H, W)."""
        line = self.ink - self.ground
        return np.clip((self.pixels - self.ground) @ line / max(float(line @ line), 1.0), 0, 1)

    @cached_property
    def columns(self) -> tuple[int, int]:
        """Left and right edge of the text in pixels; those of the image if the characters' are unknown."""
        width = self.pixels.shape[1]
        if not self.original.edges:
            return 0, width
        lefts, rights = zip(*self.original.edges, strict=True)
        margin = max(1.0, MARGIN * (max(rights) - min(lefts)) / len(lefts))
        return max(0, int(min(lefts) - margin)), min(width, int(max(rights) + margin) + 1)

    @cached_property
    def rows(self) -> tuple[int, int]:
        """Upper and lower edge of the text in pixels: the run of rows with the most ink."""
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
        """Standard deviation in pixels of the blur that makes drawn letters as soft as the image's."""
        steps = [abs(np.diff(self.inkiness, axis=axis)) for axis in (0, 1)]
        steepest = max(float(np.percentile(step, 99)) for step in steps if step.size) if self.inkiness.size > 4 else 1
        edge = 1 / max(steepest, 0.05)
        return float(np.sqrt(max(0.0, edge**2 - SHARP_EDGE**2))) / 2.5

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the grain (Immerkaer, 1996), from medians so that letters have no influence."""
        grey = self.pixels @ np.array(LUMA, np.float32)
        if min(grey.shape) < 3:
            return 0.0
        second = grey[:-2] - 2 * grey[1:-1] + grey[2:]
        residual = second[:, :-2] - 2 * second[:, 1:-1] + second[:, 2:]
        return float(np.median(abs(residual))) / 0.6745 / 6
