"""The symbols a model can read, and conversion between text and ids."""

from __future__ import annotations

import os
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
"""Maximum size of a charset; Unicode has about 150,000 characters."""
MAX_NORMALISED = 10_000
"""Maximum length of a text to normalise, which may take quadratic time. No label is longer."""

NAMES = {
    "digits": string.digits,
    "uppercase": string.ascii_uppercase,
    "lowercase": string.ascii_lowercase,
    "alphanumeric": string.digits + string.ascii_uppercase,
    "alphanumeric-lower": string.digits + string.ascii_lowercase,
    "alphanumeric-both": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "full-ascii": "".join(map(chr, range(32, 127))),
}
"""Charsets by name. ``alphanumeric`` and ``full-ascii`` are those of aocr 0.7.6, in its order."""


def normalise(text: str) -> str:
    """Convert a text to Unicode's composed form (NFC), used in labels and predictions; leave a very long one as is."""
    return unicodedata.normalize("NFC", text) if len(text) <= MAX_NORMALISED else text


@dataclass(frozen=True)
class Charset:
    """An ordered set of symbols, each one Unicode code point.

    Ids 0, 1 and 2 are PAD, GO and EOS; symbol i of the string has id i + 3.

    Raises:
      ConfigError: there are no symbols or too many, a symbol occurs twice or is half of a surrogate pair.
    """

    symbols: str
    _ids: ClassVar[dict[str, int]]  # set on the instance, because a field would be compared and stored

    def __post_init__(self):
        if len(self.symbols) > MAX_SYMBOLS:
            raise ConfigError("charset", f"{len(self.symbols):,} symbols", f"must be at most {MAX_SYMBOLS:,}.")
        halves = [char for char in self.symbols if "\ud800" <= char <= "\udfff"]
        if halves:
            raise ConfigError("charset", halves[0], "is half of a surrogate pair, not a character. Leave it out.")
        twice = [char for char, count in Counter(self.symbols).items() if count > 1]
        if twice:
            raise ConfigError("charset", self.symbols[:100], f"{twice[0]!r} occurs twice. List it once.")
        if not self.symbols:
            raise ConfigError("charset", "", "has no symbols. Give at least one label or symbol.")
        object.__setattr__(self, "_ids", {char: i + NUM_SPECIALS for i, char in enumerate(self.symbols)})

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, char: str) -> bool:
        return char in self._ids

    @property
    def vocabulary_size(self) -> int:
        """V: the number of symbols including PAD, GO and EOS."""
        return len(self.symbols) + NUM_SPECIALS

    @property
    def right_to_left(self) -> bool:
        """Whether most letters belong to a script that is written from right to left."""
        kinds = [unicodedata.bidirectional(symbol) for symbol in self.symbols]
        return sum(kind in ("R", "AL") for kind in kinds) > kinds.count("L")

    def describe(self, limit: int = 100) -> str:
        """Describe the symbols: their number, the first ones, and whether there is a space."""
        visible = self.symbols.replace(" ", "")
        more = "..." if len(visible) > limit else ""
        space = " and the space" if " " in self.symbols else ""
        return f"{len(self.symbols)} symbols: {visible[:limit]}{more}{space}"

    def missing(self, text: str) -> str:
        """Return the characters of `text` that the charset lacks, each once, in order of appearance."""
        return "".join(dict.fromkeys(char for char in text if char not in self._ids))

    def encode(self, text: str) -> list[int]:
        """Convert `text` to ids, without GO and EOS.

        Raises:
          CharsetError: `text` has a character outside the charset.
        """
        text = normalise(text)
        if missing := self.missing(text):
            raise CharsetError(missing, text)
        return [self._ids[char] for char in text]

    def decode(self, ids: Iterable[int]) -> str:
        """Convert ids to text up to the first EOS, ignoring PAD and GO."""
        chars = []
        for i in ids:
            if i == EOS:
                break
            if i >= NUM_SPECIALS:
                chars.append(self.symbols[i - NUM_SPECIALS])
        return "".join(chars)

    @classmethod
    def from_labels(cls, labels: Iterable[str]) -> Charset:
        """Make a charset of all characters of `labels`, sorted by code point."""
        return cls("".join(sorted({char for label in labels for char in normalise(label)})))

    @classmethod
    def from_name_or_file(cls, name: str) -> Charset:
        """Make a charset by its name, or from all characters of a UTF-8 text file except line breaks.

        Of a letter followed by a combining mark, the charset gets the letter, the mark and their composed form.

        Raises:
          ConfigError: there is no such name or file, or the file is not UTF-8.
        """
        if name in NAMES:
            return cls(NAMES[name])
        if not os.path.isfile(name):
            names = ", ".join(["auto", *NAMES])
            raise ConfigError("--charset", name, f"neither a file nor one of {names}. Check the spelling.")
        try:
            with open(name, encoding="utf-8-sig") as file:
                text = file.read()
        except UnicodeDecodeError:
            raise ConfigError("--charset", name, "the file is not UTF-8. Save it as UTF-8.") from None
        alone = "".join(char for char in text if char == normalise(char))
        chars = (unicodedata.normalize("NFC", text) + alone).replace("\n", "").replace("\r", "")
        return cls("".join(dict.fromkeys(chars)))
