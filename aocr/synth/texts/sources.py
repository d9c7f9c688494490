"""Texts of the user's own: lines of a file, and texts that match a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from aocr.errors import ConfigError, DatasetError
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise
from aocr.text.patterns import compile_pattern


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 file that are not blank, white space at their ends left out, each once.

    Raises:
      DatasetError: the file is missing, cannot be read, is not UTF-8, or has no line.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = dict.fromkeys(normalise(" ".join(line.split())) for line in file)
    except UnicodeDecodeError:
        raise DatasetError(path, "is not UTF-8. Save the file as UTF-8.") from None
    except OSError as error:
        raise DatasetError(path, f"cannot be read ({error.strerror}). Check the path.") from None
    lines.pop("", None)
    if not lines:
        raise DatasetError(path, "is empty. Write one text a line.")
    return list(lines)


class LineTexts:
    """Lines drawn at random; of a longer one as many words in a row as fit, from a word drawn at random.

    Args:
      lines: to draw from.
      charset: symbols to keep within.
      max_length: of a text in characters.
      path: of the file, for messages.

    Raises:
      DatasetError: no line keeps within the charset, or each has a first word that is too long.
    """

    def __init__(self, lines: Sequence[str], charset: Charset, max_length: int, path: str):
        within = [line for line in lines if not charset.missing(line)]
        if not within:
            missing = charset.missing("".join(lines))[:20]
            raise DatasetError(path, f"no line can be written in the charset, which lacks {missing!r}. Give --charset.")
        self._lines = [line for line in within if any(len(word) <= max_length for word in line.split())]
        if not self._lines:
            shortest = min(len(word) for line in within for word in line.split())
            reason = f"every text is longer than {max_length} characters. Give --max-length {shortest} or more."
            raise DatasetError(path, reason)
        self._max_length = max_length

    def draw(self, rng: Random) -> str:
        """A line, or a part of it."""
        line = rng.choice(self._lines)
        if len(line) <= self._max_length:
            return line
        words = line.split()
        start = rng.choice([i for i, word in enumerate(words) if len(word) <= self._max_length])
        text = words[start]
        for word in words[start + 1 :]:
            if len(text) + 1 + len(word) > self._max_length:
                break
            text += " " + word
        return text


class PatternTexts:
    """Random texts that match a pattern: a length that some have, then one symbol after the other.

    Args:
      pattern: regular expression that the whole text must match.
      charset: symbols to keep within.
      max_length: of a text in characters.

    Raises:
      ConfigError: the pattern is wrong, matches nothing, nothing but blanks, or only longer texts.
    """

    TRIES = 100

    def __init__(self, pattern: str, charset: Charset, max_length: int):
        self._pattern, self._charset = pattern, charset
        automaton = compile_pattern(pattern, charset)
        self._ends = _reachable(automaton, max_length)
        self._lengths = [length for length in range(1, max_length + 1) if self._ends[length, 0]]
        if not self._lengths:
            shortest = int(automaton.distances[0])
            reason = f"matches only texts of {shortest} characters or more. Give --max-length {shortest} or more."
            raise ConfigError("--pattern", pattern, reason if shortest else "matches only the empty text.")
        self._sources = automaton.keys // automaton.vocabulary_size
        self._ids, self._targets = automaton.keys % automaton.vocabulary_size, automaton.targets
        self.draw(Random(0))

    @property
    def charset(self) -> str:
        """The symbols that the pattern can give."""
        return "".join(self._charset.symbols[i - NUM_SPECIALS] for i in np.unique(self._ids))

    def draw(self, rng: Random) -> str:
        """A text that matches, without white space at its ends.

        Raises:
          ConfigError: there is none of the latter kind.
        """
        for _ in range(self.TRIES):
            state, symbols = 0, []
            for left in range(rng.choice(self._lengths) - 1, -1, -1):
                first, last = np.searchsorted(self._sources, (state, state + 1))
                arcs = first + np.flatnonzero(self._ends[left, self._targets[first:last]])
                arc = int(arcs[rng.randrange(len(arcs))])
                symbols.append(self._charset.symbols[self._ids[arc] - NUM_SPECIALS])
                state = int(self._targets[arc])
            text = "".join(symbols)
            if text == " ".join(text.split()):
                return text
        raise ConfigError("--pattern", self._pattern, "matches only texts that begin or end with white space.")


def _reachable(automaton: Automaton, max_length: int) -> np.ndarray:
    """(max_length + 1, N) bool: whether a text may end exactly k symbols after state n."""
    ends = np.zeros((max_length + 1, len(automaton.accepting)), bool)
    ends[0] = automaton.accepting
    sources = automaton.keys // automaton.vocabulary_size
    for k in range(1, max_length + 1):
        np.logical_or.at(ends[k], sources, ends[k - 1, automaton.targets])
    return ends
