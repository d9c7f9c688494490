"""The symbols a model can read, and how text becomes ids and back."""

from __future__ import annotations

import os
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from aocr.errors import CharsetError, ConfigError

PAD, GO, EOS = 0, 1, 2
"""Ids of the special symbols: padding, start of text, end of text. As in aocr 0.7.6."""
NUM_SPECIALS = 3

MAX_SYMBOLS = 100_000
"""Symbols of a charset at the most; Unicode has about 150,000 characters."""

NAMES = {
    "digits": string.digits,
    "uppercase": string.ascii_uppercase,
    "lowercase": string.ascii_lowercase,
    "alphanumeric": string.digits + string.ascii_uppercase,
    "alphanumeric-lower": string.digits + string.ascii_lowercase,
    "alphanumeric-both": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "full-ascii": "".join(map(chr, range(32, 127))),
}
"""Charsets known by name. ``alphanumeric`` and ``full-ascii`` are the two of aocr 0.7.6, in its order."""


LONG = 1000
"""Characters of a text from which on its marks are put in order before Python does it."""


def normalise(text: str) -> str:
    """Return `text` in Unicode's composed form (NFC), as all labels and predictions are held."""
    return unicodedata.normalize("NFC", _ordered(text) if len(text) > LONG else text)


def _ordered(text: str) -> str:
    """An equivalent text whose marks stand in Unicode's order.

    Python moves each mark past all before it that belong behind it: of a million in a row that would take hours.
    """
    parts = {char: unicodedata.normalize("NFD", char) for char in set(text)}
    marks = "".join(char for char, part in parts.items() if unicodedata.combining(part[0]))
    if not marks:
        return text

    def order(run: re.Match) -> str:
        return "".join(sorted("".join(parts[char] for char in run[0]), key=unicodedata.combining))

    return re.sub(f"[{re.escape(marks)}]{{2,}}", order, text)


@dataclass(frozen=True)
class Charset:
    """An ordered set of symbols, each one Unicode code point.

    Ids 0, 1 and 2 are PAD, GO and EOS; symbol i of the string has id i + 3.

    Args:
      symbols: the symbols in the order of their ids, each once.

    Raises:
      ConfigError: there is no symbol, one stands twice, is half of a surrogate pair, or there are too many.
    """

    symbols: str
    _ids: ClassVar[dict[str, int]]  # of the instance; a field would be compared and stored

    def __post_init__(self):
        if len(self.symbols) > MAX_SYMBOLS:
            reason = f"must be at most {MAX_SYMBOLS:,} (a limit of aocr)."
            raise ConfigError("charset", f"{len(self.symbols):,} symbols", reason)
        halves = [char for char in self.symbols if "\ud800" <= char <= "\udfff"]
        if halves:
            raise ConfigError("charset", halves[0], "is half of a surrogate pair, not a character. Leave it out.")
        twice = [char for char, count in Counter(self.symbols).items() if count > 1]
        if twice:
            raise ConfigError("charset", self.symbols[:100], f"{twice[0]!r} stands in it twice. List it once.")
        if not self.symbols:
            raise ConfigError("charset", "", "it has no symbol. Give at least one label or symbol.")
        object.__setattr__(self, "_ids", {char: i + NUM_SPECIALS for i, char in enumerate(self.symbols)})

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, char: str) -> bool:
        return char in self._ids

    @property
    def vocabulary_size(self) -> int:
        """V: the number of symbols with PAD, GO and EOS."""
        return len(self.symbols) + NUM_SPECIALS

    @property
    def right_to_left(self) -> bool:
        """Whether most of the letters are of a script that runs to the left."""
        kinds = [unicodedata.bidirectional(symbol) for symbol in self.symbols]
        return sum(kind in ("R", "AL") for kind in kinds) > kinds.count("L")

    def describe(self, limit: int = 100) -> str:
        """The symbols for people: their number, the first of them, and a space by its name."""
        visible = self.symbols.replace(" ", "")
        more = "..." if len(visible) > limit else ""
        space = " and the space" if " " in self.symbols else ""
        return f"{len(self.symbols)} symbols: {visible[:limit]}{more}{space}"

    def missing(self, text: str) -> str:
        """The characters of `text` that the charset lacks, each once, in the order met."""
        return "".join(dict.fromkeys(char for char in text if char not in self._ids))

    def encode(self, text: str) -> list[int]:
        """Ids of the characters of `text`, without GO and EOS.

        Raises:
          CharsetError: `text` has a character outside the charset.
        """
        text = normalise(text)
        if missing := self.missing(text):
            raise CharsetError(missing, text)
        return [self._ids[char] for char in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids` up to the first EOS; PAD and GO print nothing."""
        chars = []
        for i in ids:
            if i == EOS:
                break
            if i >= NUM_SPECIALS:
                chars.append(self.symbols[i - NUM_SPECIALS])
        return "".join(chars)

    @classmethod
    def from_labels(cls, labels: Iterable[str]) -> Charset:
        """The charset of all characters of `labels`, in the order of their code points."""
        chars: set[str] = set()
        for label in labels:
            chars.update(normalise(label))
        return cls("".join(sorted(chars)))

    @classmethod
    def from_name_or_file(cls, name: str) -> Charset:
        """A charset known by name, or all characters of a UTF-8 text file except line breaks.

        In a list of symbols a letter may stand before a mark that it would compose with: all three are taken.

        Raises:
          ConfigError: there is no such name or file, or the file is not UTF-8.
        """
        if name in NAMES:
            return cls(NAMES[name])
        if not os.path.isfile(name):
            raise ConfigError(
                "--charset", name, f"neither a file nor one of {', '.join(['auto', *NAMES])}. Check the spelling."
            )
        try:
            with open(name, encoding="utf-8-sig") as file:
                text = file.read()
        except UnicodeDecodeError:
            raise ConfigError("--charset", name, "the file is not UTF-8. Save it as UTF-8.") from None
        alone = "".join(char for char in text if char == normalise(char))
        chars = (normalise(text) + alone).replace("\n", "").replace("\r", "")
        return cls("".join(dict.fromkeys(chars)))
