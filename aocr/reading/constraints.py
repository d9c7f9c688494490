"""Patterns and lexicons as constraints of the search."""

from __future__ import annotations

import logging

import numpy as np

from aocr.config import ReadConfig
from aocr.errors import ConfigError
from aocr.results import NEVER
from aocr.text.automaton import Automaton
from aocr.text.charset import Charset, normalise
from aocr.text.lexicon import compile_lexicon, read_words
from aocr.text.patterns import compile_pattern
from aocr.text.search import Constraint

log = logging.getLogger("aocr")

NO_ARC = np.iinfo(np.int64).max
"""A key that no arc has."""


def make_constraints(how: ReadConfig, charset: Charset, max_steps: int) -> list[Constraint]:
    """The automata that texts must follow, as numpy arrays.

    Raises:
      ConfigError: a pattern or lexicon cannot be used, or all its texts are longer than the model's limit.
    """
    constraints, pattern = [], None
    if how.pattern is not None:
        pattern = compile_pattern(how.pattern, charset)
        constraints.append(_constraint(pattern, -NEVER, max_steps, "--pattern", how.pattern))
    if how.lexicon is not None:
        name = how.lexicon if isinstance(how.lexicon, str) else "the list"
        automaton = _lexicon(how, name, charset, max_steps, pattern)
        penalty = -NEVER if how.lexicon_weight is None else how.lexicon_weight
        constraints.append(_constraint(automaton, penalty, max_steps, "--lexicon", name))
    return constraints


def _lexicon(how: ReadConfig, name: str, charset: Charset, max_steps: int, pattern: Automaton | None) -> Automaton:
    """The automaton of those words of a list, in messages `name`, that the model can write."""
    given = read_words(how.lexicon) if isinstance(how.lexicon, str) else how.lexicon or ()
    words = [normalise(word) for word in given]
    if pattern and how.lexicon_weight is None:  # of two that bind, the common texts
        words = [w for w in words if not charset.missing(w) and pattern.accepts(charset.encode(w))]
        if not words:
            raise ConfigError("--lexicon", name, f"no entry fits --pattern {how.pattern!r}.")
    short = [word for word in words if len(word) < max_steps]
    if words and not short:
        raise _too_long("--lexicon", name, min(map(len, words)), max_steps)
    if too_long := len(words) - len(short):
        log.warning("%s: %d entries are longer than the %d characters of the model", name, too_long, max_steps - 1)
    automaton, left_out = compile_lexicon(short, charset)
    if left_out:
        shown = ", ".join(map(repr, left_out[:3]))
        log.warning("%s: %d entries have symbols outside the charset: %s", name, len(left_out), shown)
    return automaton


def _constraint(automaton: Automaton, penalty: float, max_steps: int, field: str, value: str) -> Constraint:
    shortest = int(automaton.distances[0])
    if shortest >= max_steps and penalty == -NEVER:
        raise _too_long(field, value, shortest, max_steps)
    has_arcs = len(automaton.keys) > 0  # else only the empty text fits; nothing can be taken from empty arrays
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
