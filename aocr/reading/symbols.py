"""Drop from a reading the symbols that the user's texts never contain."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from aocr.config import ReadConfig
from aocr.results import Alternative, Prediction
from aocr.text.charset import Charset


@dataclass(frozen=True)
class SymbolFilter:
    """Which symbols of a reading are kept.

    The search still writes the others: a network that must not write what it sees writes something wrong instead.
    """

    symbols: frozenset[str] | None = None
    """Symbols to keep; a letter whose other case is here becomes that. None: all."""
    spaces: bool = True
    """Whether spaces are kept."""

    @classmethod
    def of(cls, read_config: ReadConfig, pattern_symbols: str | None = None) -> SymbolFilter:
        """Return the filter of a ReadConfig. `pattern_symbols` are those of its pattern, if it has one.

        Raises:
          ConfigError: the charset is neither a name nor a file.
        """
        sets = [set(pattern_symbols)] if pattern_symbols is not None else []
        if read_config.symbols is not None:
            sets.append(set(Charset.from_name_or_file(read_config.symbols).symbols))
        return cls(frozenset(set.intersection(*sets)) if sets else None, read_config.spaces)

    def kept(self, symbol: str) -> str:
        """Return what a symbol becomes; empty if it is dropped."""
        if not self.spaces and symbol.isspace():
            return ""
        if self.symbols is None or symbol in self.symbols:
            return symbol
        return symbol.swapcase() if symbol.swapcase() in self.symbols else ""

    def apply(self, prediction: Prediction) -> Prediction:
        """Return a reading without the dropped symbols; its confidence is that of the others."""
        if self == KEEP_ALL:
            return prediction
        characters, steps, confidence = [], [], prediction.confidence
        for step, character in enumerate(prediction.characters):
            if symbol := self.kept(character.char):
                characters.append(dataclasses.replace(character, char=symbol))
                steps.append(step)
            else:
                confidence = min(1.0, confidence / max(character.confidence, 1e-9))
        text = "".join(character.char for character in characters)
        others: dict[str, float] = {}
        for other in prediction.alternatives:  # several may become the same text
            reduced = "".join(map(self.kept, other.text))
            others[reduced] = others.get(reduced, 0.0) + other.confidence
        others.pop(text, None)
        attention = prediction.attention
        if attention is not None:
            steps += range(len(prediction.characters), len(attention))  # that of EOS
            attention = np.asarray(attention)[steps]
        return dataclasses.replace(
            prediction,
            text=text,
            confidence=confidence,
            characters=tuple(characters),
            attention=attention,
            alternatives=tuple(Alternative(*item) for item in others.items()),
        )


KEEP_ALL = SymbolFilter()
"""Keeps every symbol."""
