"""Kinds of images that people have: which steps each takes, and how often."""

from __future__ import annotations

from dataclasses import dataclass

from aocr.synth import camera, looks
from aocr.synth.geometry import Geometry
from aocr.synth.work import Group


@dataclass(frozen=True)
class Style:
    """One kind of image. Every number not said otherwise is a share, 0 to 1.

    Attributes:
      ground, behind, letters, over, camera: groups of steps, in this order.
      geometry: where the camera stands.
      spaced, wide: words with other gaps between letters, and those far apart.
      bold: words made bolder.
      curved: words on an arc.
      neighbours: words with other words near.
      written_on: words over other writing.
      signs, rules, frames: words on a board that ends, with a line, with a frame.
      same_hand: neighbours in the word's font.
      heights: lowest and highest image, pixels.
    """

    ground: tuple[Group, ...]
    behind: tuple[Group, ...]
    letters: tuple[Group, ...]
    over: tuple[Group, ...]
    camera: tuple[Group, ...]
    geometry: Geometry
    spaced: float = 0.4
    wide: float = 0.15
    bold: float = 0.10
    curved: float = 0.13
    neighbours: float = 0.36
    written_on: float = 0.07
    signs: float = 0.13
    rules: float = 0.06
    frames: float = 0.03
    same_hand: float = 0.75
    heights: tuple[int, int] = (32, 64)


FAR = ((0.36, camera.low_resolution),)
SCENE = Style(
    ground=(
        (
            (0.28, looks.plain_ground),
            (0.42, looks.textured_ground),
            (0.12, looks.motley_ground),
            (0.18, looks.photo_ground),
        ),
    ),
    behind=(
        (
            (0.10, looks.shadow),
            (0.06, looks.extrusion),
            (0.09, looks.rim),
            (0.04, looks.emboss),
            (0.03, looks.halo),
        ),
    ),
    letters=(
        ((0.03, looks.hollow), (0.04, looks.worn)),
        ((0.10, looks.graded_ink), (0.14, looks.textured_ink), (0.76, looks.plain_ink)),
    ),
    over=(
        ((0.45, looks.lighting),),
        ((0.05, looks.highlight),),
        ((0.05, looks.scratches),),
        ((0.06, looks.stains),),
    ),
    camera=(
        ((0.16, camera.faded), (0.08, camera.dark)),
        ((0.30, camera.tinted),),
        FAR,
        ((0.33, camera.out_of_focus), (0.07, camera.moved), (0.08, camera.sharpened)),
        ((0.42, camera.noisy),),
        ((0.20, camera.stored),),
        ((1.00, camera.enlarged),),
        ((0.05, camera.grey),),
    ),
    geometry=Geometry(),
)

STYLES = {"scene": SCENE}
