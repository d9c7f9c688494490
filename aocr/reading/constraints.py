"""Patterns and lexicons as constraints of the search."""

from __future__ import annotations

import logging
from unicodedata import category

import numpy as np

from aocr.config import ReadConfig
from aocr.errors import ConfigError
from aocr.reading.symbols import SymbolFilter
from aocr.results import NEVER
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise
from aocr.text.lexicon import compile_lexicon, read_words
from aocr.text.patterns import compile_pattern
from aocr.text.search import Constraint

log = logging.getLogger("aocr")

NO_ARC = np.iinfo(np.int64).max
"""A key that no arc has."""
PASSED = "ZPS"
"""Unicode categories of the symbols that may stand between those of a pattern: spaces, punctuation, signs."""


def make_constraints(
    read_config: ReadConfig, charset: Charset, max_steps: int
) -> tuple[list[Constraint], SymbolFilter]:
    """Compile the pattern and the lexicon of a ReadConfig to automata, as numpy arrays.

    Spaces and punctuation that the pattern does not contain may be written anywhere; the returned filter drops them.

    Raises:
      ConfigError: a pattern or lexicon cannot be used, or all its texts are longer than the model's limit.
    """
    constraints, pattern, pattern_symbols = [], None, None
    if read_config.pattern is not None:
        pattern = compile_pattern(read_config.pattern, charset)
        pattern_symbols = "".join(charset.decode(pattern.symbols))
        passed = [id for id, symbol in enumerate(charset.symbols, NUM_SPECIALS) if category(symbol)[0] in PASSED]
        constraint = pattern.passing(np.setdiff1d(passed, pattern.symbols))
        constraints.append(_constraint(constraint, -NEVER, max_steps, "--pattern", read_config.pattern))
    if read_config.lexicon is not None:
        name = read_config.lexicon if isinstance(read_config.lexicon, str) else "the list"
        automaton = _lexicon(read_config, name, charset, max_steps, pattern)
        penalty = -NEVER if read_config.lexicon_weight is None else read_config.lexicon_weight
        constraints.append(_constraint(automaton, penalty, max_steps, "--lexicon", name))
    return constraints, SymbolFilter.of(read_config, pattern_symbols)


def _lexicon(
    read_config: ReadConfig, name: str, charset: Charset, max_steps: int, pattern: Automaton | None
) -> Automaton:
    """Compile the words of the lexicon that the model can write; messages call it `name`."""
    lexicon = read_config.lexicon
    words = [normalise(word) for word in (read_words(lexicon) if isinstance(lexicon, str) else lexicon or ())]
    if pattern and read_config.lexicon_weight is None:  # two hard constraints: keep the words that match both
        words = [w for w in words if not charset.missing(w) and pattern.accepts(charset.encode(w))]
        if not words:
            raise ConfigError("--lexicon", name, f"no entry matches --pattern {read_config.pattern!r}.")
    short = [word for word in words if len(word) < max_steps]
    if words and not short:
        raise _too_long("--lexicon", name, min(map(len, words)), max_steps)
    if num_long := len(words) - len(short):
        log.warning("%s: %d entries are longer than the model's %d characters", name, num_long, max_steps - 1)
    automaton, left_out = compile_lexicon(short, charset)
    if left_out:
        examples = ", ".join(map(repr, left_out[:3]))
        log.warning("%s: %d entries have symbols outside the charset: %s", name, len(left_out), examples)
    return automaton


def _constraint(automaton: Automaton, penalty: float, max_steps: int, field: str, value: str) -> Constraint:
    shortest = int(automaton.distances[0])
    if shortest >= max_steps and penalty == -NEVER:
        raise _too_long(field, value, shortest, max_steps)
    has_arcs = len(automaton.keys) > 0  # without arcs only the empty text matches; the search needs non-empty arrays
    return Constraint(
        keys=automaton.keys if has_arcs else np.array([NO_ARC]),
        targets=automaton.targets if has_arcs else np.zeros(1, np.int32),
        ends=automaton.accepting,
        distances=automaton.distances,
        penalty=penalty,
    )


def _too_long(field: str, value: str, shortest: int, max_steps: int) -> ConfigError:
    reason = f"its shortest text has {shortest} characters, the model writes up to {max_steps - 1}."
    return ConfigError(field, value, f"{reason} Train with a larger --max-prediction.")
