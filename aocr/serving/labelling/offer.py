"""What no label contains: the page offers to leave it out of the readings."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category

from aocr.reading.symbols import SymbolFilter

MIN_LABELS = 10
"""Labels from which on something is offered."""
SPACES, PUNCTUATION, SMALL, CAPITAL = "spaces", "punctuation", "small letters", "capital letters"


def _kind(symbol: str) -> str:
    if symbol.isspace():
        return SPACES
    if category(symbol)[0] in "PS":
        return PUNCTUATION
    return SMALL if symbol.islower() else CAPITAL if symbol.isupper() else ""


def absent_kinds(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of symbols that no label has; small letters only if there are capital ones, and vice versa."""
    present = {_kind(symbol) for symbol in set("".join(labels))}
    kinds = [kind for kind in (SPACES, PUNCTUATION) if kind not in present]
    if len(cases := {SMALL, CAPITAL} - present) == 1:
        kinds += cases
    return tuple(kinds)


def filter_without(kinds: Iterable[str], readings: Iterable[str]) -> SymbolFilter:
    """Return the filter that drops these kinds of symbols from the readings; letters change their case instead."""
    read = set("".join(readings))
    symbols = {symbol for symbol in read | {char.swapcase() for char in read} if _kind(symbol) not in kinds}
    return SymbolFilter(frozenset(symbols)) if kinds else SymbolFilter()
