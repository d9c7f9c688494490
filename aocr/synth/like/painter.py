"""Draw images like a user's. Image i of a `LikePainter` depends only on the painter's arguments and i."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from aocr.errors import ConfigError
from aocr.synth.drawing import MAX_TRIES, Drawn
from aocr.synth.fonts.choice import FontSet
from aocr.synth.fonts.survey import Face, is_simple, open_face
from aocr.synth.like.originals import LUMA, Look, Original
from aocr.synth.like.pieces import Recombiner
from aocr.synth.like.texts import ShapeTexts
from aocr.synth.sheet.lettering import SIZE, Hand, write

RECOMBINED = 0.75
"""Share of images recombined from characters if at least half of the originals can be cut; the rest use fonts."""
MIN_CONTRAST = 12
"""Minimum contrast, 0 to 255, of an original whose text is replaced."""
STRETCH = (0.55, 1.7)
"""Limits of the horizontal stretch of letters that fill the space of a text."""
MAX_SLOPE = 0.03
"""Maximum slope of a written text, in vertical per horizontal pixels."""
MIN_INKINESS = 0.3
"""Minimum inkiness of pixels that are removed."""
BLUR = 0.35
"""Blur that leaves only broad shades: standard deviation as a share of the height."""


class LikePainter:
    """Draws images like the originals: in fonts, or by recombining characters cut from `num_cut` originals.

    Raises:
      ConfigError: there is no font, and characters cannot be cut from any original.
    """

    def __init__(self, originals: Sequence[Original], faces: Sequence[Face], seed: int):
        self._seed, self._texts = seed, ShapeTexts([original.label for original in originals])
        self._recombiner = Recombiner(originals)
        self._fonts = FontSet(faces) if faces else None
        self._originals = [original for original in originals if original.label]
        self.num_cut = self._recombiner.num_cut
        if not faces and not self.num_cut:
            reason = "no font has the labels' characters, and the model reads no image correctly. Name fonts."
            raise ConfigError("--fonts", "", reason)

    def draw(self, number: int) -> Drawn:
        """Draw the image with the index `number`.

        Raises:
          ConfigError: no text of this shape can be written in any font.
        """
        rng = Random(f"{self._seed}/like/{number}")
        share = RECOMBINED * min(1.0, 2 * self.num_cut / len(self._originals)) if self._fonts else 1.0
        original, picture, text = self._recombiner.draw(rng) if rng.random() < share else self._written(rng)
        return Drawn(original.encode(picture), text, *picture.size)

    def _written(self, rng: Random) -> tuple[Original, Image.Image, str]:
        """Replace the text of a random original with another text in a font."""
        for _ in range(MAX_TRIES):
            original, text = rng.choice(self._originals), self._texts.draw(rng)
            face = self._fonts.pick(rng, text)  # type: ignore[union-attr]
            if face and (picture := self._attempt(rng, Look(original), face, text)):
                return original, picture, text
        raise ConfigError("--fonts", text, "this text cannot be drawn in any font tried. Name other fonts.")

    def _attempt(self, rng: Random, look: Look, face: Face, text: str) -> Image.Image | None:
        """Write a text into an original; None if it does not fit or would not be visible."""
        upper, lower = look.rows
        left, right = look.columns
        stroke = rng.choice((0, 0, 1, 2))
        gap = 0.0 if face.joined or not is_simple(text) else rng.uniform(-2, 8)
        ink = write(text, Hand(open_face(face.path, face.index, SIZE, not is_simple(text)), gap, stroke), rng)
        contrast = abs(float((look.ink - look.ground) @ LUMA))
        if not ink or contrast < MIN_CONTRAST or lower - upper < 5 or right - left < 3 * len(text):
            return None
        height = max(5, round((lower - upper) * rng.uniform(0.9, 1.05)))
        natural_width = ink.mask.width * height / ink.mask.height
        min_width, max_width = STRETCH[0] * natural_width, STRETCH[1] * natural_width
        available = (right - left) * (len(text) / len(look.original.label))
        width = min(round(float(np.clip(available, min_width, max_width))), look.pixels.shape[1] - 2)
        if width < min_width:
            return None
        return self._paint(rng, look, ink.mask.resize((width, height), Image.Resampling.LANCZOS))

    def _paint(self, rng: Random, look: Look, letters: Image.Image) -> Image.Image:
        """Paint letters with the position, colour and softness of the original's."""
        height, width = look.pixels.shape[:2]
        upper, lower = look.rows
        left, right = look.columns
        x = min(max(1, (left + right - letters.width) // 2 + rng.randint(-2, 2)), width - letters.width - 1)
        y = (upper + lower - letters.height) // 2 + rng.randint(-1, 1)
        mask = Image.new("L", (width, height))
        mask.paste(letters, (max(0, x), y))
        slope, slant = rng.uniform(-MAX_SLOPE, MAX_SLOPE) * min(1, 4 * height / width), rng.uniform(-0.12, 0.12)
        matrix = (1, slant, -slant * height / 2, slope, 1, -slope * width / 2)
        mask = mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        if look.blur > 0.2:
            mask = mask.filter(ImageFilter.GaussianBlur(look.blur * rng.uniform(0.8, 1.3)))
        weight = np.asarray(mask, np.float32)[..., None] / 255 * np.float32(rng.uniform(0.85, 1))
        generator = np.random.default_rng(rng.getrandbits(32))
        ground = bare_ground(look, generator)
        ink = (look.ink + generator.normal(0, 4, 3)).astype(np.float32)
        grain = generator.normal(0, 1, (height, width, 1)).astype(np.float32) * np.float32(look.noise)
        pixels = ground + weight * (ink + grain - ground)
        return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))


def _shrunk(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve the size: return the mean of every four pixels, weighted by `known`, and their total weight, at most 1."""
    high, wide = known.shape
    pad = ((0, high % 2), (0, wide % 2))
    values, known = np.pad(values * known[..., None], (*pad, (0, 0))), np.pad(known, pad)
    total = sum(values[i::2, j::2] for i in (0, 1) for j in (0, 1))
    count = sum(known[i::2, j::2] for i in (0, 1) for j in (0, 1))
    return total / np.maximum(count, 1e-6)[..., None], np.minimum(count, 1.0)


def filled(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill unknown pixels of `values`, (H, W, 3), from a pyramid of means; `known` is (H, W) from 0 to 1."""
    if min(known.shape) == 1 or known.min() > 0.99:
        mean = (values * known[..., None]).sum((0, 1)) / max(float(known.sum()), 1e-6)
        return values * known[..., None] + mean * (1 - known[..., None])
    smaller = filled(*_shrunk(values, known))
    size = (known.shape[1], known.shape[0])
    planes = [Image.fromarray(smaller[..., c].astype(np.float32)) for c in range(3)]
    enlarged = [np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return values * known[..., None] + np.stack(enlarged, -1) * (1 - known[..., None])


def bare_ground(look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return the image, (H, W, 3), without its text but with its grain.

    If the text's location is unknown, only broad shades are kept, since remains of the text could be readable.
    """
    left, right = look.columns
    located = look.original.edges is not None
    inked = np.zeros(look.inkiness.shape, np.uint8)
    inked[:, left:right] = 255 * (look.inkiness[:, left:right] > MIN_INKINESS)
    size = 3 if len(inked) < 32 else 5
    inked = np.asarray(Image.fromarray(inked).filter(ImageFilter.MaxFilter(size)))
    ground = filled(look.pixels, 1 - inked.astype(np.float32) / 255)
    if not located:
        picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
        ground = np.asarray(picture.filter(ImageFilter.GaussianBlur(BLUR * len(inked))), np.float32)
    grain = rng.normal(0, 1, (*inked.shape, 1)).astype(np.float32) * np.float32(look.noise)
    return ground + grain * ((inked[..., None] > 0) | (not located))
