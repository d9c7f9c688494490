"""Drawing what looks like images of a person: `LikePainter.draw(i)` depends on the seed and on i, on nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from aocr.errors import ConfigError
from aocr.synth.drawing import TRIES, Drawn
from aocr.synth.fonts.choice import FontSet
from aocr.synth.fonts.survey import Face, is_simple, open_face
from aocr.synth.like.ground import bare_ground
from aocr.synth.like.originals import Look, Original
from aocr.synth.like.pieces import Recombiner
from aocr.synth.like.texts import ShapeTexts
from aocr.synth.sheet.lettering import SIZE, Hand, write

RECOMBINED = 0.75
"""Share of the images that are recombined, where all originals can be cut; the rest are written in fonts."""
MIN_CONTRAST = 12
"""Difference of text and ground, 0 to 255, below which an original is not written on."""
STRETCH = (0.55, 1.7)
"""How far letters of a font may be stretched to fill the place of a text."""
TURN = 0.03
"""Largest slope of a written text, pixels up a pixel to the side."""


@dataclass(frozen=True)
class LikeOptions:
    """What to draw.

    Attributes:
      count: images.
      seed: of all chance.
    """

    count: int
    seed: int = 0


@dataclass(frozen=True)
class LikeJob:
    """What a process needs to draw any of the images; it stands in for a `Job`."""

    options: LikeOptions
    originals: list[Original]
    faces: list[Face]

    @property
    def digest(self) -> str:
        """Tells these images from others."""
        faces = [(face.path, face.index) for face in self.faces]
        originals = [(original.label, original.centres) for original in self.originals]
        whole = hashlib.sha256(repr((self.options, faces, originals)).encode())
        for original in self.originals:
            whole.update(original.data)
        return whole.hexdigest()[:20]

    def painter(self) -> LikePainter:
        """A painter of the images."""
        return LikePainter(self.originals, self.faces, self.options.seed)


class LikePainter:
    """Draws images that look like others.

    Args:
      originals: to be like.
      faces: fonts; none: all images are recombined.
      seed: of all chance.

    Attributes:
      num_cut: originals whose characters are used.

    Raises:
      ConfigError: no original can be cut, and there is no font either.
    """

    def __init__(self, originals: Sequence[Original], faces: Sequence[Face], seed: int):
        self._seed, self._texts = seed, ShapeTexts([original.label for original in originals])
        self._recombiner = Recombiner(originals)
        self._fonts = FontSet(faces) if faces else None
        self._originals = [original for original in originals if original.label]
        self.num_cut = self._recombiner.num_cut
        if not faces and not self.num_cut:
            reason = "no font draws these labels, and no image is read rightly, so that none can be cut. Name fonts."
            raise ConfigError("--fonts", "", reason)

    def draw(self, number: int) -> Drawn:
        """Image `number`.

        Raises:
          ConfigError: no text of this shape can be written in any font.
        """
        rng = Random(f"{self._seed}/like/{number}")
        share = RECOMBINED * min(1.0, 2 * self.num_cut / len(self._originals)) if self._fonts else 1.0
        original, picture, text = self._recombiner.draw(rng) if rng.random() < share else self._written(rng)
        return Drawn(original.encode(picture), text, *picture.size)

    def _written(self, rng: Random) -> tuple[Original, Image.Image, str]:
        """An original with its text taken out and another one written there."""
        for _ in range(TRIES):
            original, text = rng.choice(self._originals), self._texts.draw(rng)
            face = self._fonts.pick(rng, text)  # type: ignore[union-attr]
            if face and (picture := self._attempt(rng, Look(original), face, text)):
                return original, picture, text
        raise ConfigError("--fonts", text, "this text cannot be drawn in any font tried. Name other fonts.")

    def _attempt(self, rng: Random, look: Look, face: Face, text: str) -> Image.Image | None:
        upper, lower = look.rows
        left, right = look.columns
        stroke = rng.choice((0, 0, 1, 2))
        gap = 0.0 if face.joined or not is_simple(text) else rng.uniform(-2, 8)
        ink = write(text, Hand(open_face(face.path, face.index, SIZE, not is_simple(text)), gap, stroke), rng)
        if not ink or look.contrast < MIN_CONTRAST or lower - upper < 5 or right - left < 3 * len(text):
            return None
        high = max(5, round((lower - upper) * rng.uniform(0.9, 1.05)))
        natural = ink.mask.width * high / ink.mask.height
        share = len(text) / len(look.original.label)
        wide = round(float(np.clip((right - left) * share, STRETCH[0] * natural, STRETCH[1] * natural)))
        wide = min(wide, look.pixels.shape[1] - 2)
        if wide < STRETCH[0] * natural:
            return None
        return self._paint(rng, look, ink.mask.resize((wide, high), Image.Resampling.LANCZOS))

    def _paint(self, rng: Random, look: Look, letters: Image.Image) -> Image.Image:
        """The letters in the place and the colour of the original's, as soft as these."""
        high, wide = look.pixels.shape[:2]
        upper, lower = look.rows
        left, right = look.columns
        x = min(max(1, (left + right - letters.width) // 2 + rng.randint(-2, 2)), wide - letters.width - 1)
        y = (upper + lower - letters.height) // 2 + rng.randint(-1, 1)
        mask = Image.new("L", (wide, high))
        mask.paste(letters, (max(0, x), y))
        slope, slant = rng.uniform(-TURN, TURN) * min(1, 4 * high / wide), rng.uniform(-0.12, 0.12)
        warp = (1, slant, -slant * high / 2, slope, 1, -slope * wide / 2)
        mask = mask.transform(mask.size, Image.Transform.AFFINE, warp, Image.Resampling.BICUBIC)
        mask = mask.filter(ImageFilter.GaussianBlur(look.blur * rng.uniform(0.8, 1.3))) if look.blur > 0.2 else mask
        weight = np.asarray(mask, np.float32)[..., None] / 255 * np.float32(rng.uniform(0.85, 1))
        chance = np.random.default_rng(rng.getrandbits(32))
        ground = bare_ground(look, chance)
        ink = (look.ink + chance.normal(0, 4, 3)).astype(np.float32)
        grain = chance.normal(0, 1, (high, wide, 1)).astype(np.float32) * np.float32(look.noise)
        pixels = ground + weight * (ink + grain - ground)
        return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
