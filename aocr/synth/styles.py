"""Kinds of images: the steps of each, and how often they are applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from aocr.synth.looks import camera, colours, surface
from aocr.synth.looks.colours import Colour
from aocr.synth.looks.work import Group
from aocr.synth.sheet import layout
from aocr.synth.sheet.geometry import Geometry
from aocr.synth.sheet.layout import Sheet

Groups = tuple[Group, ...]


@dataclass(frozen=True)
class Style:
    """A kind of image. Numbers are shares of the words, 0 to 1, unless stated otherwise."""

    ground: Groups
    behind: Groups
    letters: Groups
    over: Groups
    camera: Groups
    """Groups of steps, applied in this order."""
    geometry: Geometry
    colours: Callable[[Random], tuple[Colour, Colour]] = colours.pair
    """Draws the colours of letters and ground."""
    panels: dict[Callable[[Sheet, Random], None], float] = field(default_factory=dict)
    """Boards, rules and frames, of which a word has at most one."""
    spaced: float = 0.4
    """With changed letter spacing."""
    wide: float = 0.15
    """With wide letter spacing."""
    bold: float = 0.10
    """Emboldened."""
    curved: float = 0.0
    """On an arc."""
    neighbours: float = 0.0
    """With other words nearby."""
    sides: float = 0.4
    """Of the four sides, if there are neighbours."""
    written_on: float = 0.0
    """With other writing behind."""
    same_hand: float = 0.75
    """Of the neighbours, in the word's font."""
    bounce: float = 0.0
    """Largest standard deviation of a letter's height, pixels at 56 per em."""
    tilt: float = 0.0
    """Largest standard deviation of a letter's angle, radians."""
    rippled: float = 0.0
    """Along a wave."""
    segments: float = 0.0
    """In seven segments, if these can show the word."""
    dots: float = 0.0
    """In a dot matrix."""
    heights: tuple[int, int] = (32, 64)
    """Minimum and maximum image height, pixels."""


# fmt: off
SCENE = Style(
    ground=({surface.plain_ground: 0.28, surface.textured_ground: 0.42,
             surface.motley_ground: 0.12, surface.photo_ground: 0.18},),
    behind=({surface.shadow: 0.10, surface.extrusion: 0.06, surface.rim: 0.09,
             surface.emboss: 0.04, surface.halo: 0.03},),
    letters=({surface.hollow: 0.03, surface.worn: 0.04},
             {surface.graded_ink: 0.10, surface.textured_ink: 0.14, surface.plain_ink: 0.76}),
    over=({surface.lighting: 0.45}, {surface.highlight: 0.05}, {surface.scratches: 0.05}, {surface.stains: 0.06}),
    camera=(
        {camera.faded: 0.16, camera.dark: 0.08}, {camera.tinted: 0.30}, {camera.low_resolution: 0.36},
        {camera.out_of_focus: 0.33, camera.moved: 0.07, camera.sharpened: 0.08},
        {camera.noisy: 0.42}, {camera.stored: 0.20}, {camera.enlarged: 1.00}, {camera.grey: 0.05},
    ),
    geometry=Geometry(),
    panels={layout.sign: 0.13, layout.rule: 0.06, layout.frame: 0.03},
    curved=0.13, neighbours=0.36, written_on=0.07,
)

PRINT = Style(
    ground=({surface.plain_ground: 0.55, surface.textured_ground: 0.45},),
    behind=(),
    letters=({surface.worn: 0.05}, {surface.textured_ink: 0.08, surface.plain_ink: 0.92}),
    over=({surface.lighting: 0.35}, {surface.stains: 0.04}, {surface.scratches: 0.02}),
    camera=(
        {camera.faded: 0.15}, {camera.tinted: 0.15}, {camera.low_resolution: 0.30}, {camera.spread_ink: 0.20},
        {camera.out_of_focus: 0.30, camera.sharpened: 0.10}, {camera.noisy: 0.35, camera.speckled: 0.05},
        {camera.stored: 0.20}, {camera.enlarged: 1.00}, {camera.two_levels: 0.10, camera.grey: 0.45},
    ),
    geometry=Geometry(angle=0.6, steep=0.01, shear=0.02, stretch=0.06, perspective=0.03, narrow=0.02,
                      tight=0.55, loose=0.1, cut=0.03),
    colours=colours.on_paper,
    panels={layout.rule: 0.05, layout.frame: 0.02},
    spaced=0.12, wide=0.03, bold=0.03, neighbours=0.6, written_on=0.03, same_hand=0.97,
)

PLATE = Style(
    ground=({surface.plain_ground: 0.40, surface.textured_ground: 0.40,
             surface.motley_ground: 0.10, surface.photo_ground: 0.10},),
    behind=({surface.emboss: 0.35, surface.shadow: 0.10, surface.rim: 0.06},),
    letters=({surface.worn: 0.08}, {surface.graded_ink: 0.10, surface.plain_ink: 0.90}),
    over=({surface.lighting: 0.50}, {surface.highlight: 0.12}, {surface.scratches: 0.06}, {surface.stains: 0.10}),
    camera=(
        {camera.faded: 0.15, camera.dark: 0.15}, {camera.tinted: 0.30}, {camera.low_resolution: 0.45},
        {camera.out_of_focus: 0.30, camera.moved: 0.12, camera.sharpened: 0.08},
        {camera.noisy: 0.45}, {camera.stored: 0.25}, {camera.enlarged: 1.00}, {camera.grey: 0.15},
    ),
    geometry=Geometry(angle=2.5, steep=0.05, shear=0.05, stretch=0.12, perspective=0.12, narrow=0.3,
                      tight=0.3, loose=0.3),
    colours=colours.on_plate,
    panels={layout.plate: 0.60},
    spaced=0.5, wide=0.2, bold=0.25, neighbours=0.35, sides=0.25, same_hand=0.1,
)

DISPLAY = Style(
    ground=({surface.plain_ground: 0.60, surface.textured_ground: 0.40},),
    behind=({surface.halo: 0.35, surface.shadow: 0.15},),
    letters=({surface.graded_ink: 0.12, surface.plain_ink: 0.88},),
    over=({surface.lighting: 0.50}, {surface.highlight: 0.20}, {surface.stains: 0.08}),
    camera=(
        {camera.faded: 0.20, camera.dark: 0.12}, {camera.tinted: 0.30}, {camera.low_resolution: 0.30},
        {camera.out_of_focus: 0.35, camera.moved: 0.10, camera.sharpened: 0.06},
        {camera.noisy: 0.45}, {camera.stored: 0.25}, {camera.enlarged: 1.00}, {camera.grey: 0.06},
    ),
    geometry=Geometry(angle=2.5, steep=0.05, shear=0.10, stretch=0.15, perspective=0.12, tight=0.35, loose=0.35),
    colours=colours.on_display,
    panels={layout.sign: 0.15, layout.frame: 0.05},
    neighbours=0.15, sides=0.3, segments=0.75, dots=0.5,
)

CAPTCHA = replace(
    SCENE,
    ground=({surface.plain_ground: 0.45, surface.textured_ground: 0.35, surface.motley_ground: 0.20},),
    behind=({surface.shadow: 0.08, surface.rim: 0.04},),
    letters=({surface.hollow: 0.06, surface.worn: 0.05},
             {surface.graded_ink: 0.12, surface.textured_ink: 0.14, surface.plain_ink: 0.74}),
    over=({surface.strikes: 0.60}, {surface.dots: 0.35}, {surface.lighting: 0.10}),
    camera=(
        {camera.low_resolution: 0.15}, {camera.out_of_focus: 0.20}, {camera.noisy: 0.20, camera.speckled: 0.12},
        {camera.stored: 0.10}, {camera.enlarged: 1.00}, {camera.grey: 0.10},
    ),
    geometry=Geometry(angle=3, steep=0.03, shear=0.10, stretch=0.15, perspective=0.05, narrow=0.05,
                      tight=0.15, loose=0.6, cut=0.01),
    panels={layout.frame: 0.08},
    curved=0.06, neighbours=0.0, written_on=0.04, bounce=6, tilt=0.35, rippled=0.35,
)
# fmt: on

STYLES = {"scene": SCENE, "print": PRINT, "plate": PLATE, "display": DISPLAY, "captcha": CAPTCHA}
