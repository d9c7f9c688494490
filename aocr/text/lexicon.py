"""Compile a list of words to the automaton that accepts only them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from aocr import files
from aocr.config import ENGLISH
from aocr.errors import ConfigError
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise

FREQUENCY_POWER = 0.75
"""Exponent of frequencies: the network, too, prefers texts that were frequent in training."""


def frequency_costs(frequencies: Mapping[str, float]) -> dict[str, float]:
    """Convert the frequencies of texts, converted to NFC, to costs in nats; the most frequent cost nothing."""
    largest, costs = max(frequencies.values(), default=1.0), dict[str, float]()
    logs = {value: FREQUENCY_POWER * math.log(largest / value) for value in set(frequencies.values())}
    for text, frequency in frequencies.items():
        normal = normalise(text)
        costs[normal] = min(logs[frequency], costs.get(normal, math.inf))
    return costs


def read_frequencies(lines: Iterable[str], name: str) -> dict[str, float]:
    """Split lines into texts and the frequencies after a tab, by default 1.

    Raises:
      ConfigError: what follows a tab is not a number above 0; the message calls the list `name`.
    """
    frequencies = {}
    for line in lines:
        text, tab, number = line.partition("\t")
        try:
            frequencies[text] = float(number) if tab else 1.0
        except ValueError:
            frequencies[text] = 0.0
        if not 0 < frequencies[text] < math.inf:
            raise ConfigError("--lexicon", name, f"{line[:60]!r}: the frequency after the tab is not a number above 0.")
    return frequencies


def compile_lexicon(words: Iterable[str] | Mapping[str, float], charset: Charset) -> tuple[Automaton, list[str]]:
    """Build the prefix tree of texts, converted to NFC; a mapping gives their costs in nats.

    Returns:
      The automaton, and the texts left out because the charset lacks one of their symbols.

    Raises:
      ConfigError: no text remains.
    """
    costs = words if isinstance(words, Mapping) else {normalise(word): 0.0 for word in words}
    distinct = sorted(costs.keys() - {""})
    absent = set(charset.missing("".join(distinct)))
    left_out = [word for word in distinct if not absent.isdisjoint(word)]
    words = [word for word in distinct if absent.isdisjoint(word)]
    if not words:
        raise ConfigError("--lexicon", left_out[:3], "no entry can be written with the model's charset.")
    size, lengths = charset.vocabulary_size, np.array([len(word) for word in words])
    ids, starts = _ids("".join(words), charset), np.cumsum(lengths) - lengths
    states, num_states = np.zeros(len(words), np.int64), 1  # the state that each word has reached so far
    keys, unfinished = [], np.arange(len(words))
    ending = np.array([costs[word] for word in words], np.float32)
    least = [ending.min(keepdims=True)]  # cost of the texts through each state
    for column in range(lengths.max()):
        unfinished = unfinished[lengths[unfinished] > column]
        arcs = states[unfinished] * size + ids[starts[unfinished] + column]
        distinct_arcs, arc_of_word = np.unique(arcs, return_inverse=True)
        keys.append(distinct_arcs)
        least.append(np.full(len(distinct_arcs), np.inf, np.float32))
        np.minimum.at(least[-1], arc_of_word, ending[unfinished])
        states[unfinished] = num_states + arc_of_word
        num_states += len(distinct_arcs)
    accepting = np.zeros(num_states, bool)
    accepting[states] = True
    through = np.concatenate(least)
    at_end = through.copy()
    at_end[states] = ending
    automaton = Automaton.of_arcs(np.concatenate(keys), np.arange(1, num_states), accepting, size)
    return replace(automaton, costs=np.stack([through, at_end])), left_out


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
        is_typo = difflib.get_close_matches(path, [ENGLISH], 1)
        advice = f"Did you mean {ENGLISH}?" if is_typo else "Check the path."
        raise ConfigError("--lexicon", path, f"cannot be read ({files.one_line(error)}). {advice}") from None
    if None in lines:
        number = lines.index(None) + 1
        raise ConfigError("--lexicon", path, f"line {number} is not UTF-8. Save the file as UTF-8.")
    if not any(lines):
        raise ConfigError("--lexicon", path, "has no lines. Write one text per line.")
    return [line for line in lines if line]
