"""Recombine images: exchange characters that are cut out of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image

from aocr.synth.like.originals import Look, Original
from aocr.synth.like.texts import clusters, kind_of

MIN_CELL = 3
"""Minimum width of a character, pixels."""
SIMILAR, MIN_SIMILAR = 0.1, 8
"""Share and minimum number of the most similar images, from which an image takes characters."""
MIN_INK = 0.3
"""Minimum ink of a piece, as a share of the median in its image."""
MAX_DISTANCE = 40
"""Maximum difference, 0 to 255, of the thumbnails of images that take characters from each other."""
STRETCH = (0.7, 1.45)
"""Limits of a character's horizontal stretch."""
REPLACED = 0.8
"""Share of the characters that are replaced."""
FEATHER = 0.12
"""Width of the fade on either side of a piece, as a share of its width."""


class Piece(NamedTuple):
    """A character, or one word of a line, and its position in the image."""

    look: Look
    text: str
    number: int
    """Index of the piece in its text."""
    left: int
    right: int
    """Edges in pixels."""

    @property
    def kind(self) -> tuple:
        """Key that is equal for pieces that may replace each other: any words, or characters of one kind."""
        return ("word",) if len(clusters(self.text)) > 1 else (kind_of(self.text),)


def units(label: str) -> list[str]:
    """Split a line into words and spaces, but a single word into characters."""
    if " " in label.strip():
        return [part for word in label.split(" ") for part in (word, " ")][:-1]
    return clusters(label)


def cut(look: Look) -> list[Piece]:
    """Cut an image into pieces, left to right; return [] if its characters' edges are unknown or unreliable."""
    known, label = look.original.edges, look.original.label
    parts = units(label)
    if not known or len(known) != len(label) or "" in parts:
        return []
    ends = accumulate(map(len, parts))
    spans = [(known[end - len(part)][0], known[end - 1][1]) for part, end in zip(parts, ends, strict=True)]
    if any(right[0] < left[1] - 1 for left, right in pairwise(spans)):
        return []
    between = [(left[1] + right[0]) / 2 for left, right in pairwise(spans)]
    columns = np.clip((spans[0][0], *between, spans[-1][1]), 0, look.pixels.shape[1]).round().astype(int).tolist()
    edges = list(pairwise(columns))
    if any(right - left < MIN_CELL for left, right in edges):
        return []
    pieces = [Piece(look, part, i, *edge) for i, (part, edge) in enumerate(zip(parts, edges, strict=True))]
    return pieces if _all_have_ink(look, [piece for piece in pieces if piece.text != " "]) else []


def _all_have_ink(look: Look, pieces: list[Piece]) -> bool:
    """Check for ink in every piece, since attention may miss characters that are read correctly."""
    upper, lower = look.rows
    ink = [float(look.inkiness[upper:lower, piece.left : piece.right].mean()) for piece in pieces]
    return min(ink) >= MIN_INK * float(np.median(ink))


class Recombiner:
    """Composes new texts from the pieces of the `num_cut` images that can be cut."""

    def __init__(self, originals: Sequence[Original]):
        self._cut = [pieces for original in originals if (pieces := cut(Look(original)))]
        self.num_cut = len(self._cut)
        thumbnails = [pieces[0].look.thumbnail for pieces in self._cut]
        self._stock = [self._similar_pieces(thumbnail, thumbnails) for thumbnail in thumbnails]

    def _similar_pieces(self, thumbnail: np.ndarray, others: list[np.ndarray]) -> dict[tuple, list[Piece]]:
        """Collect the pieces of the images most similar to a thumbnail, by kind."""
        distances = [float(((thumbnail - other) ** 2).mean()) for other in others]
        count = max(MIN_SIMILAR, round(SIMILAR * self.num_cut))
        stock: defaultdict[tuple, list[Piece]] = defaultdict(list)
        for number in np.argsort(distances, kind="stable")[:count]:
            if distances[number] > MAX_DISTANCE**2:
                break
            for piece in self._cut[number]:
                stock[piece.kind].append(piece)
        return stock

    def draw(self, rng: Random) -> tuple[Original, Image.Image, str]:
        """Compose an image; return the original that it is encoded like, the image and its text."""
        number = rng.randrange(self.num_cut)
        look = self._cut[number][0].look
        pixels, text = look.pixels.copy(), ""
        for piece in self._cut[number]:
            replacement = None
            if piece.text != " " and rng.random() < REPLACED:
                replacement = self._replacement(rng, piece, self._stock[number])
            text += (replacement or piece).text
            if replacement:
                _paste(pixels, piece, replacement)
        return look.original, Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8)), text

    def _replacement(self, rng: Random, piece: Piece, stock: dict[tuple, list[Piece]]) -> Piece | None:
        """Choose a piece of similar width, preferably from the same position in its text; None if there is none."""
        width, height = piece.right - piece.left, piece.look.pixels.shape[0]
        fitting = []
        for other in stock[piece.kind]:
            other_width = (other.right - other.left) * height / other.look.pixels.shape[0]
            if STRETCH[0] <= width / other_width <= STRETCH[1]:
                fitting.append(other)
        same_number = [other for other in fitting if other.number == piece.number]
        if same_number and rng.random() < 0.7:
            fitting = same_number
        return rng.choice(fitting) if fitting else None


def _paste(pixels: np.ndarray, piece: Piece, other: Piece) -> None:
    """Paste `other` over `piece`, with its ground's colour adapted and its sides faded."""
    source, height, width = other.look.pixels, len(pixels), pixels.shape[1]
    piece_width = piece.right - piece.left
    fade = max(1, round(FEATHER * piece_width))
    left, right = max(0, piece.left - fade), min(width, piece.right + fade)
    scale = (other.right - other.left) / piece_width
    source_left = max(0.0, other.left - (piece.left - left) * scale)
    source_right = min(float(source.shape[1]), other.right + (right - piece.right) * scale)
    box = (source_left, 0, source_right, len(source))
    picture = Image.fromarray(source.astype(np.uint8)).resize((right - left, height), Image.Resampling.BICUBIC, box)
    new = np.asarray(picture, np.float32) + (piece.look.ground - other.look.ground).astype(np.float32)
    x = np.arange(left, right) + 0.5
    weight = np.clip(np.minimum(x - (piece.left - fade), (piece.right + fade) - x) / (2 * fade), 0, 1)
    pixels[:, left:right] += weight.astype(np.float32)[None, :, None] * (new - pixels[:, left:right])
