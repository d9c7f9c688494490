"""Characters cut out of real images and put in each other's places."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image

from aocr.synth.like.originals import Look, Original
from aocr.synth.like.texts import clusters, kind_of

MIN_CELL = 3
"""Pixels that a character takes at the least; nearer ones are not told apart."""
SEARCH = 0.3
"""Share of the way between two characters, either side of its middle, in which they may be parted."""
ALIKE = 0.1
"""Share of the images, the most alike first, that an image takes characters from, but `MIN_ALIKE` at the least."""
MIN_ALIKE = 8
MIN_INK = 0.3
"""Ink that a piece has at the least, as a share of what is usual in its image."""
UNLIKE = 40
"""Mean difference of two thumbnails, 0 to 255, from which on images take nothing from each other."""
NARROWER, WIDER = 0.7, 1.45
"""How far a character may be stretched."""
REPLACED = 0.8
"""Share of the characters that are replaced by others."""
FEATHER = 0.12
"""Share of its width in which a piece fades into its new surroundings, either side."""


class Piece(NamedTuple):
    """A part of a text in its image: a character, or a word of a line.

    Attributes:
      look: of the image.
      text: of the piece.
      place: its number in the text.
      left, right: edges in pixels.
    """

    look: Look
    text: str
    place: int
    left: int
    right: int

    @property
    def kind(self) -> tuple:
        """What it may be replaced by: characters by those of their kind, words by words."""
        return ("word",) if len(clusters(self.text)) > 1 else (kind_of(self.text),)


def units(label: str) -> list[str]:
    """What a text is cut into: a line into its words and spaces, a word into its characters."""
    if " " in label.strip():
        return [part for word in label.split(" ") for part in (word, " ")][:-1]
    return clusters(label)


def cut(look: Look) -> list[Piece]:
    """The pieces of an image, left to right; none where it is not known where its characters stand."""
    original = look.original
    centres, label = original.centres, original.label
    if not centres or len(centres) != len(label):
        return []
    parts, spans, at = units(label), [], 0
    for part in parts:
        spans.append((centres[at], centres[at + len(part) - 1]) if part else (0.0, 0.0))
        at += len(part)
    if at != len(label) or any(b[0] - a[1] < MIN_CELL for a, b in pairwise(spans)) or "" in parts:
        return []
    edges = [_parting(look, a[1], b[0]) for a, b in pairwise(spans)]
    char = (centres[-1] - centres[0]) / max(1, len(centres) - 1) if len(centres) > 1 else look.pixels.shape[0] / 2
    first, last = _parting(look, spans[0][0] - char, spans[0][0]), _parting(look, spans[-1][1], spans[-1][1] + char)
    edges = [first, *edges, last]
    if any(right - left < MIN_CELL for left, right in pairwise(edges)):
        return []
    pieces = [Piece(look, part, i, *edge) for i, (part, edge) in enumerate(zip(parts, pairwise(edges), strict=True))]
    return pieces if _inked(look, [piece for piece in pieces if piece.text != " "]) else []


def _inked(look: Look, pieces: list[Piece]) -> bool:
    """Whether there is ink in every piece: the reader looks beside some characters that it reads rightly."""
    upper, lower = look.rows
    ink = [float(look.inkiness[upper:lower, piece.left : piece.right].mean()) for piece in pieces]
    return min(ink) >= MIN_INK * float(np.median(ink))


def _parting(look: Look, left: float, right: float) -> int:
    """The column between two places that has least ink."""
    width = look.pixels.shape[1]
    middle, reach = (left + right) / 2, SEARCH * (right - left)
    start, stop = int(np.clip(middle - reach, 0, width)), int(np.clip(middle + reach + 1, 0, width))
    if stop - start < 2:
        return int(np.clip(middle, 0, width))
    upper, lower = look.rows
    ink = look.inkiness[upper:lower, start:stop].mean(0)
    away = abs(np.arange(start, stop) - middle) / max(reach, 1)
    return start + int(np.argmin(ink + 0.05 * away))


class Recombiner:
    """Gives images new texts out of each other's characters.

    Args:
      originals: to take from; those whose characters are not known are left out.

    Attributes:
      num_cut: images that are cut.
    """

    def __init__(self, originals: Sequence[Original]):
        self._cut = [pieces for original in originals if (pieces := cut(Look(original)))]
        self.num_cut = len(self._cut)
        thumbnails = [pieces[0].look.thumbnail for pieces in self._cut]
        count = max(MIN_ALIKE, round(ALIKE * self.num_cut))
        self._stock = [self._alike(thumbnail, thumbnails, count) for thumbnail in thumbnails]

    def _alike(self, thumbnail: np.ndarray, others: list[np.ndarray], count: int) -> dict[tuple, list[Piece]]:
        """Pieces of the images most like one, by kind."""
        distances = [float(((thumbnail - other) ** 2).mean()) for other in others]
        stock: defaultdict[tuple, list[Piece]] = defaultdict(list)
        for number in np.argsort(distances, kind="stable")[:count]:
            if distances[number] > UNLIKE**2:
                break
            for piece in self._cut[number]:
                stock[piece.kind].append(piece)
        return stock

    def draw(self, rng: Random) -> tuple[Original, Image.Image, str]:
        """An image to store as another one is, and the text in it."""
        number = rng.randrange(self.num_cut)
        pieces, stock = self._cut[number], self._stock[number]
        look = pieces[0].look
        pixels, text = look.pixels.copy(), ""
        for piece in pieces:
            other = self._other(rng, piece, stock) if piece.text != " " and rng.random() < REPLACED else None
            text += (other or piece).text
            if other:
                _put(pixels, piece, other)
        return look.original, Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8)), text

    def _other(self, rng: Random, piece: Piece, stock: dict[tuple, list[Piece]]) -> Piece | None:
        """A piece to put in another's place; rather one from the same place of its text."""
        wide, high = piece.right - piece.left, piece.look.pixels.shape[0]
        fitting = [
            other
            for other in stock[piece.kind]
            if NARROWER <= wide / ((other.right - other.left) * high / other.look.pixels.shape[0]) <= WIDER
        ]
        same = [other for other in fitting if other.place == piece.place]
        if same and rng.random() < 0.7:
            fitting = same
        return rng.choice(fitting) if fitting else None


def _put(pixels: np.ndarray, piece: Piece, other: Piece) -> None:
    """Paint one piece over another: its grounds brought to the colour of the new place, its sides faded in."""
    theirs, high, width = other.look.pixels, len(pixels), pixels.shape[1]
    wide = piece.right - piece.left
    fade = max(1, round(FEATHER * wide))
    left, right = max(0, piece.left - fade), min(width, piece.right + fade)
    scale = (other.right - other.left) / wide
    box = (other.left - (piece.left - left) * scale, 0, other.right + (right - piece.right) * scale, len(theirs))
    box = (max(0.0, box[0]), 0, min(float(theirs.shape[1]), box[2]), len(theirs))
    picture = Image.fromarray(theirs.astype(np.uint8)).resize((right - left, high), Image.Resampling.BICUBIC, box)
    new = np.asarray(picture, np.float32) + (piece.look.ground - other.look.ground).astype(np.float32)
    at = np.arange(left, right) + 0.5
    weight = np.clip(np.minimum(at - (piece.left - fade), (piece.right + fade) - at) / (2 * fade), 0, 1)
    pixels[:, left:right] += weight.astype(np.float32)[None, :, None] * (new - pixels[:, left:right])
