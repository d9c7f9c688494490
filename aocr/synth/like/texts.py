"""Texts of the shape that some labels have: letters where these have letters, digits where these have digits."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from random import Random

VIRAMA_CLASS = 9
"""Canonical combining class of the signs that join the next consonant to the one before."""
PREFIX_SHARE, PREFIX_LABELS = 0.2, 4
"""A beginning that this share of the labels have, and so many of them, stays as it is."""
LONGEST_PREFIX = 100
"""Characters of such a beginning at the most: to look for one, time and memory go with the square of its length."""
KEPT_RUNS, KEPT_WORDS = 0.5, 0.9
"""Shares of the runs of letters or digits that are taken whole from another label, in a word and in a line of words."""
SAME_PLACE = 0.5
"""Share of the single characters that stood in the same place of another label."""


def clusters(text: str) -> list[str]:
    """A text in pieces that a reader sees as one: a character with the signs that combine with it."""
    pieces: list[str] = []
    for char in text:
        joined = pieces and unicodedata.combining(pieces[-1][-1]) == VIRAMA_CLASS
        if pieces and (joined or unicodedata.category(char)[0] == "M" or char in "\u200c\u200d"):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def kind_of(piece: str) -> str:
    """`9` a digit, `A` a capital, `a` another letter; anything else is a kind of its own."""
    if piece[0].isdigit():
        return "9"
    if piece[0].isalpha():
        return "A" if piece[0].isupper() else "a"
    return piece


class ShapeTexts:
    """Random texts of the shapes of some labels; every symbol of them is in a label.

    Args:
      labels: what they should be like; at least one is not empty.
    """

    def __init__(self, labels: Sequence[str]):
        self._labels = [clusters(label) for label in labels if label]
        self._pieces: defaultdict[str, list[str]] = defaultdict(list)
        self._at_place: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        self._runs: defaultdict[str, list[list[str]]] = defaultdict(list)
        for label in self._labels:
            for place, piece in enumerate(label):
                self._pieces[kind_of(piece)].append(piece)
                self._at_place[kind_of(piece), place].append(piece)
            for run in _runs(label):
                self._runs["".join(map(kind_of, run))].append(run)
        self._known = {kind: sorted(set(pieces)) for kind, pieces in self._pieces.items()}
        beginnings = Counter("".join(label[:end]) for label in self._labels for end in _ends(label))
        least = max(PREFIX_LABELS, PREFIX_SHARE * len(self._labels))
        self._prefixes = {beginning for beginning, count in beginnings.items() if count >= least}

    def _num_kept(self, label: list[str]) -> int:
        """Pieces at a label's start that many labels have; a single letter or digit that many begin with is chance."""
        ends = (end for end in reversed(_ends(label)) if end > 1 and "".join(label[:end]) in self._prefixes)
        return next(ends, 0)

    def _piece(self, rng: Random, kind: str, place: int) -> str:
        if rng.random() < SAME_PLACE and (there := self._at_place[kind, place]):
            return rng.choice(there)
        return rng.choice(self._known[kind])

    def draw(self, rng: Random) -> str:
        """A text."""
        label = rng.choice(self._labels)
        place = self._num_kept(label)
        text, kept = label[:place], KEPT_WORDS if " " in label else KEPT_RUNS
        for run in _runs(label[place:]):
            kinds = "".join(map(kind_of, run))
            if rng.random() < kept and (others := self._runs[kinds]):
                text += rng.choice(others)
            else:
                text += [self._piece(rng, kind_of(piece), place + i) for i, piece in enumerate(run)]
            place += len(run)
        return "".join(text)


def _ends(label: Sequence[str]) -> range:
    """Where a beginning of a label may end."""
    return range(1, min(len(label), LONGEST_PREFIX + 1))


def _runs(label: Sequence[str]) -> list[list[str]]:
    """A label in runs of letters, of digits, and of what is neither."""
    rough = {"A": "letter", "a": "letter", "9": "digit"}
    return [list(run) for _, run in groupby(label, lambda piece: rough.get(kind_of(piece), "other"))]
