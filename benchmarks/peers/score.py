"""Score read texts, the same way for every program."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from distance import levenshtein


class Score(NamedTuple):
    """Shares of all test images, and the character error rate: edits per character of the labels."""

    words: float
    cer: float
    loose: float


def normalise(text: str) -> str:
    """Return the text in NFC, with single spaces between its words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def loose(text: str) -> str:
    """Return the letters and digits of a text: marks kept, case ignored, O as 0."""
    text = normalise(text).upper().replace("O", "0")
    return "".join(c for c in text if unicodedata.category(c)[0] in "LNM")


def score(labels: Mapping[str, str], texts: Mapping[str, str]) -> Score:
    """Score texts by image path. An image without a text counts as an empty one.

    Raises:
      ValueError: there are no labels, or a text is for an image that has none.
    """
    if not labels or texts.keys() - labels.keys():
        raise ValueError(f"{len(labels)} labels; texts without a label: {sorted(texts.keys() - labels.keys())[:3]}")
    pairs = [(normalise(label), normalise(texts.get(path, ""))) for path, label in labels.items()]
    edits = sum(levenshtein(label, text) for label, text in pairs)
    return Score(
        words=sum(label == text for label, text in pairs) / len(pairs),
        cer=edits / sum(len(label) for label, _ in pairs),
        loose=sum(loose(label) == loose(text) for label, text in pairs) / len(pairs),
    )
