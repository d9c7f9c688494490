"""Patterns and lexicons as constraints of the search."""

from __future__ import annotations

import logging

import numpy as np

from aocr.config import ENGLISH, ReadConfig
from aocr.errors import ConfigError
from aocr.reading.english import english_frequencies
from aocr.results import NEVER
from aocr.text.automaton import Automaton
from aocr.text.charset import Charset
from aocr.text.lexicon import compile_lexicon, frequency_costs, read_frequencies, read_words
from aocr.text.patterns import compile_pattern
from aocr.text.search import Constraint

log = logging.getLogger("aocr")

NO_ARC = np.iinfo(np.int64).max
"""A key that no arc has."""


def make_constraints(read_config: ReadConfig, charset: Charset, max_steps: int) -> list[Constraint]:
    """Compile the pattern and the lexicon of a ReadConfig to automata, as numpy arrays.

    Raises:
      ConfigError: a pattern or lexicon cannot be used, or all its texts are longer than the model's limit.
    """
    constraints, pattern = [], None
    if read_config.pattern is not None:
        pattern = compile_pattern(read_config.pattern, charset)
        constraints.append(_constraint(pattern, -NEVER, max_steps, "--pattern", read_config.pattern))
    if read_config.lexicon is not None:
        name = read_config.lexicon if isinstance(read_config.lexicon, str) else "the list"
        automaton = _lexicon(read_config, name, charset, max_steps, pattern)
        penalty = -NEVER if read_config.outside_cost is None else read_config.outside_cost
        constraints.append(_constraint(automaton, penalty, max_steps, "--lexicon", name))
    return constraints


def _lexicon(
    read_config: ReadConfig, name: str, charset: Charset, max_steps: int, pattern: Automaton | None
) -> Automaton:
    """Compile the words of the lexicon that the model can write; messages call it `name`."""
    lexicon, outside_cost = read_config.lexicon, read_config.outside_cost
    if lexicon == ENGLISH:
        costs = frequency_costs(english_frequencies())
    else:
        lines = read_words(lexicon) if isinstance(lexicon, str) else lexicon or ()
        costs = frequency_costs(read_frequencies(lines, name))
    if outside_cost is not None:
        costs = {word: min(cost, outside_cost) for word, cost in costs.items()}
    elif pattern:  # two hard constraints: keep the words that match both
        costs = {w: c for w, c in costs.items() if not charset.missing(w) and pattern.accepts(charset.encode(w))}
        if not costs:
            raise ConfigError("--lexicon", name, f"no entry matches --pattern {read_config.pattern!r}.")
    short = {word: cost for word, cost in costs.items() if len(word) < max_steps}
    if costs and not short:
        raise _too_long("--lexicon", name, min(map(len, costs)), max_steps)
    if lexicon != ENGLISH and (num_long := len(costs) - len(short)):
        log.warning("%s: %d entries are longer than the model's %d characters", name, num_long, max_steps - 1)
    automaton, left_out = compile_lexicon(short, charset)
    if left_out and lexicon != ENGLISH:
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
        costs=np.zeros((2, len(automaton.accepting)), np.float32) if automaton.costs is None else automaton.costs,
        penalty=penalty,
    )


def _too_long(field: str, value: str, shortest: int, max_steps: int) -> ConfigError:
    reason = f"its shortest text has {shortest} characters, the model writes up to {max_steps - 1}."
    return ConfigError(field, value, f"{reason} Train with a larger --max-prediction.")
