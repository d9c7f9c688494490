"""The user's texts: lines of a file, and texts that match a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from aocr.errors import ConfigError, DatasetError
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise
from aocr.text.patterns import compile_pattern


def read_lines(path: str) -> list[str]:
    """Read the distinct non-blank lines of a UTF-8 file; each run of whitespace becomes one space, `\\n` a line break.

    Raises:
      DatasetError: the file cannot be read, is not UTF-8, or has only blank lines.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = dict.fromkeys(normalise(" ".join(line.split())).replace("\\n", "\n") for line in file)
    except UnicodeDecodeError:
        raise DatasetError(path, "is not UTF-8. Save the file as UTF-8.") from None
    except OSError as error:
        raise DatasetError(path, f"cannot be read ({error.strerror}). Check the path.") from None
    lines.pop("", None)
    if not lines:
        raise DatasetError(path, "is empty. Write one text per line.")
    return list(lines)


class LineTexts:
    """Chooses lines at random; from a line longer than `max_length`, some consecutive words.

    Raises:
      DatasetError: no line can be written in the charset, or all words are too long.
    """

    def __init__(self, lines: Sequence[str], charset: Charset, max_length: int, path: str):
        writable = [line for line in lines if not charset.missing(line.replace("\n", ""))]
        if not writable:
            missing = charset.missing("".join(lines))[:20]
            raise DatasetError(path, f"no line can be written in the charset, which lacks {missing!r}. Set --charset.")
        self._lines = [line for line in writable if any(len(word) <= max_length for word in line.split())]
        if not self._lines:
            shortest = min(len(word) for line in writable for word in line.split())
            raise DatasetError(path, f"every text is too long. Set --max-length {shortest} or more.")
        self._max_length = max_length

    def draw(self, rng: Random) -> str:
        """Return a random line, or a part of it."""
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
    """Makes random texts that match a regular expression: chooses a length, then one symbol after another.

    `symbols` are the symbols that can occur.

    Raises:
      ConfigError: the pattern is invalid, or matches only blank or longer texts.
    """

    MAX_TRIES = 100

    def __init__(self, pattern: str, charset: Charset, max_length: int):
        self._pattern = pattern
        automaton = compile_pattern(pattern, charset)
        self._ends = _reachable(automaton, max_length)
        self._lengths = [length for length in range(1, max_length + 1) if self._ends[length, 0]]
        if not self._lengths:
            shortest = int(automaton.distances[0])
            reason = f"matches only texts of {shortest} characters or more. Set --max-length {shortest} or more."
            raise ConfigError("--pattern", pattern, reason if shortest else "matches only the empty text.")
        self._sources, self._targets = automaton.keys // automaton.vocabulary_size, automaton.targets
        self._symbols = [charset.symbols[i - NUM_SPECIALS] for i in automaton.keys % automaton.vocabulary_size]
        used = set(self._symbols) - {"\n"}
        self.symbols = "".join(symbol for symbol in charset.symbols if symbol in used)
        self.draw(Random(0))

    def draw(self, rng: Random) -> str:
        """Return a random matching text without white space at its ends."""
        for _ in range(self.MAX_TRIES):
            state, symbols = 0, []
            for remaining in range(rng.choice(self._lengths) - 1, -1, -1):
                first, last = np.searchsorted(self._sources, (state, state + 1))
                arcs = first + np.flatnonzero(self._ends[remaining, self._targets[first:last]])
                arc = int(arcs[rng.randrange(len(arcs))])
                symbols.append(self._symbols[arc])
                state = int(self._targets[arc])
            text = "".join(symbols)
            if all(line and line == " ".join(line.split()) for line in text.split("\n")):
                return text
        raise ConfigError("--pattern", self._pattern, "matches only texts that begin or end with white space.")


def _reachable(automaton: Automaton, max_length: int) -> np.ndarray:
    """Return (max_length + 1, N) bool: whether a text may end exactly k symbols after state n."""
    ends = np.zeros((max_length + 1, len(automaton.accepting)), bool)
    ends[0] = automaton.accepting
    sources = automaton.keys // automaton.vocabulary_size
    for k in range(1, max_length + 1):
        np.logical_or.at(ends[k], sources, ends[k - 1, automaton.targets])
    return ends
