"""Kinds of images that people have: which steps each takes, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from aocr.synth.looks import camera, colours, surface
from aocr.synth.looks.colours import Colour
from aocr.synth.looks.work import Group
from aocr.synth.sheet import layout
from aocr.synth.sheet.geometry import Geometry
from aocr.synth.sheet.layout import Sheet


@dataclass(frozen=True)
class Style:
    """One kind of image. Every number not said otherwise is a share, 0 to 1.

    Attributes:
      ground, behind, letters, over, camera: groups of steps, in this order.
      geometry: where the camera stands.
      colours: gives the colours of letters and ground.
      panels: boards, rules, frames, of which a word has one at most.
      spaced, wide: words with other gaps between letters, and those far apart.
      bold: words made bolder.
      curved: words on an arc.
      neighbours, sides: words with other words near, and how many of the four sides these are at.
      written_on: words over other writing.
      same_hand: neighbours in the word's font.
      bounce: most pixels that a letter stands above or below the line, of 56 an em.
      tilt: largest deviation of a letter's angle, radians.
      rippled: words along a wave.
      segments, dots: words in seven segments, where these can show them, and in a matrix of dots.
      heights: lowest and highest image, pixels.
    """

    ground: tuple[Group, ...]
    behind: tuple[Group, ...]
    letters: tuple[Group, ...]
    over: tuple[Group, ...]
    camera: tuple[Group, ...]
    geometry: Geometry
    colours: Callable[[Random], tuple[Colour, Colour]] = colours.pair
    panels: tuple[tuple[float, Callable[[Sheet, Random], None]], ...] = ()
    spaced: float = 0.4
    wide: float = 0.15
    bold: float = 0.10
    curved: float = 0.0
    neighbours: float = 0.0
    sides: float = 0.4
    written_on: float = 0.0
    same_hand: float = 0.75
    bounce: float = 0.0
    tilt: float = 0.0
    rippled: float = 0.0
    segments: float = 0.0
    dots: float = 0.0
    heights: tuple[int, int] = (32, 64)


SCENE = Style(
    ground=(
        (
            (0.28, surface.plain_ground),
            (0.42, surface.textured_ground),
            (0.12, surface.motley_ground),
            (0.18, surface.photo_ground),
        ),
    ),
    behind=(
        (
            (0.10, surface.shadow),
            (0.06, surface.extrusion),
            (0.09, surface.rim),
            (0.04, surface.emboss),
            (0.03, surface.halo),
        ),
    ),
    letters=(
        ((0.03, surface.hollow), (0.04, surface.worn)),
        ((0.10, surface.graded_ink), (0.14, surface.textured_ink), (0.76, surface.plain_ink)),
    ),
    over=(
        ((0.45, surface.lighting),),
        ((0.05, surface.highlight),),
        ((0.05, surface.scratches),),
        ((0.06, surface.stains),),
    ),
    camera=(
        ((0.16, camera.faded), (0.08, camera.dark)),
        ((0.30, camera.tinted),),
        ((0.36, camera.low_resolution),),
        ((0.33, camera.out_of_focus), (0.07, camera.moved), (0.08, camera.sharpened)),
        ((0.42, camera.noisy),),
        ((0.20, camera.stored),),
        ((1.00, camera.enlarged),),
        ((0.05, camera.grey),),
    ),
    geometry=Geometry(),
    panels=((0.13, layout.sign), (0.06, layout.rule), (0.03, layout.frame)),
    curved=0.13,
    neighbours=0.36,
    written_on=0.07,
)

PRINT = Style(
    ground=(((0.55, surface.plain_ground), (0.45, surface.textured_ground)),),
    behind=(),
    letters=(((0.05, surface.worn),), ((0.08, surface.textured_ink), (0.92, surface.plain_ink))),
    over=(((0.35, surface.lighting),), ((0.04, surface.stains),), ((0.02, surface.scratches),)),
    camera=(
        ((0.15, camera.faded),),
        ((0.15, camera.tinted),),
        ((0.30, camera.low_resolution),),
        ((0.20, camera.spread_ink),),
        ((0.30, camera.out_of_focus), (0.10, camera.sharpened)),
        ((0.35, camera.noisy), (0.05, camera.speckled)),
        ((0.20, camera.stored),),
        ((1.00, camera.enlarged),),
        ((0.10, camera.two_levels), (0.45, camera.grey)),
    ),
    geometry=Geometry(
        angle=0.6, steep=0.01, shear=0.02, stretch=0.06, perspective=0.03, narrow=0.02, tight=0.55, loose=0.1, cut=0.03
    ),
    colours=colours.on_paper,
    panels=((0.05, layout.rule), (0.02, layout.frame)),
    spaced=0.12,
    wide=0.03,
    bold=0.03,
    neighbours=0.6,
    written_on=0.03,
    same_hand=0.97,
)

PLATE = Style(
    ground=(
        (
            (0.40, surface.plain_ground),
            (0.40, surface.textured_ground),
            (0.10, surface.motley_ground),
            (0.10, surface.photo_ground),
        ),
    ),
    behind=(((0.35, surface.emboss), (0.10, surface.shadow), (0.06, surface.rim)),),
    letters=(((0.08, surface.worn),), ((0.10, surface.graded_ink), (0.90, surface.plain_ink))),
    over=(
        ((0.50, surface.lighting),),
        ((0.12, surface.highlight),),
        ((0.06, surface.scratches),),
        ((0.10, surface.stains),),
    ),
    camera=(
        ((0.15, camera.faded), (0.15, camera.dark)),
        ((0.30, camera.tinted),),
        ((0.45, camera.low_resolution),),
        ((0.30, camera.out_of_focus), (0.12, camera.moved), (0.08, camera.sharpened)),
        ((0.45, camera.noisy),),
        ((0.25, camera.stored),),
        ((1.00, camera.enlarged),),
        ((0.15, camera.grey),),
    ),
    geometry=Geometry(
        angle=2.5, steep=0.05, shear=0.05, stretch=0.12, perspective=0.12, narrow=0.3, tight=0.3, loose=0.3
    ),
    colours=colours.on_plate,
    panels=((0.60, layout.plate),),
    spaced=0.5,
    wide=0.2,
    bold=0.25,
    neighbours=0.35,
    sides=0.25,
    same_hand=0.1,
)

DISPLAY = Style(
    ground=(((0.60, surface.plain_ground), (0.40, surface.textured_ground)),),
    behind=(((0.35, surface.halo), (0.15, surface.shadow)),),
    letters=(((0.12, surface.graded_ink), (0.88, surface.plain_ink)),),
    over=(((0.50, surface.lighting),), ((0.20, surface.highlight),), ((0.08, surface.stains),)),
    camera=(
        ((0.20, camera.faded), (0.12, camera.dark)),
        ((0.30, camera.tinted),),
        ((0.30, camera.low_resolution),),
        ((0.35, camera.out_of_focus), (0.10, camera.moved), (0.06, camera.sharpened)),
        ((0.45, camera.noisy),),
        ((0.25, camera.stored),),
        ((1.00, camera.enlarged),),
        ((0.06, camera.grey),),
    ),
    geometry=Geometry(angle=2.5, steep=0.05, shear=0.10, stretch=0.15, perspective=0.12, tight=0.35, loose=0.35),
    colours=colours.on_display,
    panels=((0.15, layout.sign), (0.05, layout.frame)),
    neighbours=0.15,
    sides=0.3,
    segments=0.75,
    dots=0.5,
)

CAPTCHA = replace(
    SCENE,
    ground=(((0.45, surface.plain_ground), (0.35, surface.textured_ground), (0.20, surface.motley_ground)),),
    behind=(((0.08, surface.shadow), (0.04, surface.rim)),),
    letters=(
        ((0.06, surface.hollow), (0.05, surface.worn)),
        ((0.12, surface.graded_ink), (0.14, surface.textured_ink), (0.74, surface.plain_ink)),
    ),
    over=(((0.60, surface.strikes),), ((0.35, surface.dots),), ((0.10, surface.lighting),)),
    camera=(
        ((0.15, camera.low_resolution),),
        ((0.20, camera.out_of_focus),),
        ((0.20, camera.noisy), (0.12, camera.speckled)),
        ((0.10, camera.stored),),
        ((1.00, camera.enlarged),),
        ((0.10, camera.grey),),
    ),
    geometry=Geometry(
        angle=3, steep=0.03, shear=0.10, stretch=0.15, perspective=0.05, narrow=0.05, tight=0.15, loose=0.6, cut=0.01
    ),
    panels=((0.08, layout.frame),),
    curved=0.06,
    neighbours=0.0,
    written_on=0.04,
    bounce=6,
    tilt=0.35,
    rippled=0.35,
)

STYLES = {"scene": SCENE, "print": PRINT, "plate": PLATE, "display": DISPLAY, "captcha": CAPTCHA}
