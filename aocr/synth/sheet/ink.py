"""Ink: a written text as a mask."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Ink:
    """A written text, cut to what is visible.

    Attributes:
      mask: grey image, 255 where there is ink.
      ascent: pixels from the top of the mask down to the baseline.
    """

    mask: Image.Image
    ascent: int
