"""Random texts of the same shape as given labels: letters for letters, digits for digits."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from random import Random

VIRAMA_CLASS = 9
"""Canonical combining class of signs that join the next consonant to the previous one."""
PREFIX_SHARE, PREFIX_LABELS = 0.2, 4
"""Minimum share and number of the labels that begin with a prefix for it to be kept."""
MAX_PREFIX = 100
"""Maximum characters of a kept prefix: the search takes quadratic time and memory."""
WHOLE_RUNS, WHOLE_WORDS = 0.5, 0.9
"""Shares of the runs of letters or digits that are copied whole from a label: in single words, and in lines."""
SAME_INDEX = 0.5
"""Share of the single characters that are copied from the same index of a label."""


def clusters(text: str) -> list[str]:
    """Split a text into characters together with their combining signs."""
    pieces: list[str] = []
    for char in text:
        joined = pieces and unicodedata.combining(pieces[-1][-1]) == VIRAMA_CLASS
        if pieces and (joined or unicodedata.category(char)[0] == "M" or char in "\u200c\u200d"):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def kind_of(piece: str) -> str:
    """Return `9` for a digit, `A` for a capital, `a` for another letter, and anything else unchanged."""
    if piece[0].isdigit():
        return "9"
    if piece[0].isalpha():
        return "A" if piece[0].isupper() else "a"
    return piece


class ShapeTexts:
    """Makes random texts with the shapes and symbols of labels, at least one of which must not be empty."""

    def __init__(self, labels: Sequence[str]):
        self._labels = [clusters(label) for label in labels if label]
        self._at_index: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        self._runs: defaultdict[str, list[list[str]]] = defaultdict(list)
        pieces: defaultdict[str, set[str]] = defaultdict(set)
        for label in self._labels:
            for index, piece in enumerate(label):
                pieces[kind_of(piece)].add(piece)
                self._at_index[kind_of(piece), index].append(piece)
            for run in _runs(label):
                self._runs["".join(map(kind_of, run))].append(run)
        self._pieces = {kind: sorted(group) for kind, group in pieces.items()}
        prefixes: Counter[str] = Counter()
        for label in self._labels:
            prefixes.update("".join(label[:end]) for end in range(1, min(len(label), MAX_PREFIX + 1)))
        min_count = max(PREFIX_LABELS, PREFIX_SHARE * len(self._labels))
        self._prefixes = {prefix for prefix, count in prefixes.items() if count >= min_count}

    def _prefix_length(self, label: list[str]) -> int:
        """Return the length of the longest common prefix; a prefix of one character may be chance and is ignored."""
        for end in range(min(len(label) - 1, MAX_PREFIX), 1, -1):
            if "".join(label[:end]) in self._prefixes:
                return end
        return 0

    def _piece(self, rng: Random, kind: str, index: int) -> str:
        if rng.random() < SAME_INDEX and (pieces := self._at_index[kind, index]):
            return rng.choice(pieces)
        return rng.choice(self._pieces[kind])

    def draw(self, rng: Random) -> str:
        """Return a random text."""
        label = rng.choice(self._labels)
        index = self._prefix_length(label)
        text, whole = label[:index], WHOLE_WORDS if " " in label else WHOLE_RUNS
        for run in _runs(label[index:]):
            kinds = "".join(map(kind_of, run))
            if rng.random() < whole and (others := self._runs[kinds]):
                text += rng.choice(others)
            else:
                text += [self._piece(rng, kind_of(piece), index + i) for i, piece in enumerate(run)]
            index += len(run)
        return "".join(text)


def _runs(label: Sequence[str]) -> list[list[str]]:
    """Split a label into runs of letters, digits, and other symbols."""
    classes = {"A": "letter", "a": "letter", "9": "digit"}
    return [list(run) for _, run in groupby(label, lambda piece: classes.get(kind_of(piece), "other"))]
