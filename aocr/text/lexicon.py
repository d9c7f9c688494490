"""A list of words -> the automaton that reads nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aocr import files
from aocr.errors import ConfigError
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise


def compile_lexicon(words: Sequence[str], charset: Charset) -> tuple[Automaton, list[str]]:
    """The prefix tree of a list of texts.

    Args:
      words: the texts; brought to NFC, as labels are. Empty ones are left out.
      charset: of the texts.

    Returns:
      The automaton, and the texts left out because the charset lacks a symbol of theirs.

    Raises:
      ConfigError: no text is left.
    """
    words = sorted({normalise(word) for word in words} - {""})
    absent = set(charset.missing("".join(words)))
    left_out = [word for word in words if not absent.isdisjoint(word)]
    kept = [word for word in words if absent.isdisjoint(word)]
    if not kept:
        raise ConfigError("--lexicon", left_out[:3], "no entry can be written with the model's charset.")
    size, lengths = charset.vocabulary_size, np.array([len(word) for word in kept])
    ids, starts = _ids("".join(kept), charset), np.cumsum(lengths) - lengths
    states, num_states = np.zeros(len(kept), np.int64), 1  # the state that each word has reached so far
    keys, going = [], np.arange(len(kept))
    for column in range(lengths.max()):
        going = going[lengths[going] > column]
        arcs = states[going] * size + ids[starts[going] + column]
        level, place = np.unique(arcs, return_inverse=True)
        keys.append(level)
        states[going] = num_states + place
        num_states += len(level)
    accepting = np.zeros(num_states, bool)
    accepting[states] = True
    return Automaton.of_arcs(np.concatenate(keys), np.arange(1, num_states), accepting, size), left_out


def _ids(text: str, charset: Charset) -> np.ndarray:
    """Symbol ids of a long text, all of whose characters the charset has."""
    symbols = np.array([ord(symbol) for symbol in charset.symbols])
    order = np.argsort(symbols)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return NUM_SPECIALS + order[np.searchsorted(symbols[order], codes)]


def read_words(path: str) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
      ConfigError: it is missing, cannot be read, is not UTF-8, or has no line.
    """
    try:
        lines = list(files.text_lines(files.read(path)))
    except (OSError, ValueError) as error:
        raise ConfigError("--lexicon", path, f"cannot be read ({files.one_line(error)}). Check the path.") from None
    if None in lines:
        number = lines.index(None) + 1
        raise ConfigError("--lexicon", path, f"line {number} is not UTF-8. Save the file as UTF-8.")
    if not any(lines):
        raise ConfigError("--lexicon", path, "has no line. Write one text a line.")
    return [line for line in lines if line]
