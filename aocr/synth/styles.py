"""Styles of images: the steps of each and their probabilities, read from styles.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from aocr.synth.looks import camera, colours, surface
from aocr.synth.looks.colours import Colour
from aocr.synth.looks.work import Group
from aocr.synth.sheet import layout
from aocr.synth.sheet.geometry import Geometry
from aocr.synth.sheet.layout import Sheet

Groups = tuple[Group, ...]
STEPS = vars(surface) | vars(camera)


@dataclass(frozen=True)
class Style:
    """A style of images. A number is a share of the words, 0 to 1, unless stated otherwise."""

    ground: Groups
    letters: Groups
    over: Groups
    camera: Groups
    """Groups of steps, applied in this order."""
    geometry: Geometry
    colours: Callable[[Random], tuple[Colour, Colour]]
    """Chooses the colours of letters and ground."""
    panels: dict[Callable[[Sheet, Random], None], float]
    """Functions that draw a board, rule or frame, with their shares; a word has at most one."""
    spaced: float = 0.4
    """With changed letter spacing."""
    wide: float = 0.15
    """With wide letter spacing."""
    bold: float = 0.10
    """In bold."""
    curved: float = 0.0
    """On an arc."""
    neighbours: float = 0.0
    """With other words nearby."""
    sides: float = 0.4
    """Share of the four sides that have a neighbour, if the word has any."""
    cut_in: float = 0.0
    """Share of the words with neighbours whose crop cuts into these."""
    written_on: float = 0.0
    """With other writing behind."""
    same_hand: float = 0.75
    """Share of the neighbours that are in the word's font."""
    bounce: float = 0.0
    """Maximum standard deviation of a letter's vertical position, in pixels at 56 per em."""
    tilt: float = 0.0
    """Maximum standard deviation of a letter's angle, in radians."""
    rippled: float = 0.0
    """Along a wave."""
    segments: float = 0.0
    """In seven segments, if these can show the word."""
    dots: float = 0.0
    """In a dot matrix."""


def _style(table: dict[str, Any]) -> Style:
    """Create a style from its table, in which functions are given by their names."""
    fields = dict(table)
    for name in ("ground", "letters", "over", "camera"):
        fields[name] = tuple({STEPS[step]: share for step, share in group.items()} for group in table[name])
    fields["geometry"] = Geometry(**table.get("geometry", {}))
    fields["colours"] = getattr(colours, table["colours"])
    fields["panels"] = {getattr(layout, name): share for name, share in table["panels"].items()}
    return Style(**fields)


TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
STYLES = {name: _style(table) for name, table in TABLES.items()}
