"""Compile a list of words to the automaton that accepts only them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aocr import files
from aocr.errors import ConfigError
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise


def compile_lexicon(words: Sequence[str], charset: Charset) -> tuple[Automaton, list[str]]:
    """Build the prefix tree of a list of texts, converted to NFC.

    Returns:
      The automaton, and the texts left out because the charset lacks one of their symbols.

    Raises:
      ConfigError: no text remains.
    """
    distinct = sorted({normalise(word) for word in words} - {""})
    absent = set(charset.missing("".join(distinct)))
    left_out = [word for word in distinct if not absent.isdisjoint(word)]
    words = [word for word in distinct if absent.isdisjoint(word)]
    if not words:
        raise ConfigError("--lexicon", left_out[:3], "no entry can be written with the model's charset.")
    size, lengths = charset.vocabulary_size, np.array([len(word) for word in words])
    ids, starts = _ids("".join(words), charset), np.cumsum(lengths) - lengths
    states, num_states = np.zeros(len(words), np.int64), 1  # the state that each word has reached so far
    keys, unfinished = [], np.arange(len(words))
    for column in range(lengths.max()):
        unfinished = unfinished[lengths[unfinished] > column]
        arcs = states[unfinished] * size + ids[starts[unfinished] + column]
        distinct_arcs, arc_of_word = np.unique(arcs, return_inverse=True)
        keys.append(distinct_arcs)
        states[unfinished] = num_states + arc_of_word
        num_states += len(distinct_arcs)
    accepting = np.zeros(num_states, bool)
    accepting[states] = True
    return Automaton.of_arcs(np.concatenate(keys), np.arange(1, num_states), accepting, size), left_out


def _ids(text: str, charset: Charset) -> np.ndarray:
    """Convert a long text, whose characters are all in the charset, to symbol ids."""
    symbols = np.array([ord(symbol) for symbol in charset.symbols])
    order = np.argsort(symbols)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return NUM_SPECIALS + order[np.searchsorted(symbols[order], codes)]


def read_words(path: str) -> list[str]:
    """Read the non-empty lines of a file; raise a ConfigError if there are none or it is not UTF-8."""
    try:
        lines = list(files.text_lines(files.read(path)))
    except (OSError, ValueError) as error:
        raise ConfigError("--lexicon", path, f"cannot be read ({files.one_line(error)}). Check the path.") from None
    if None in lines:
        number = lines.index(None) + 1
        raise ConfigError("--lexicon", path, f"line {number} is not UTF-8. Save the file as UTF-8.")
    if not any(lines):
        raise ConfigError("--lexicon", path, "has no lines. Write one text per line.")
    return [line for line in lines if line]
