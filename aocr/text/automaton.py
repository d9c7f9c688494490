"""Automata over a charset: which symbol may come next in a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NOWHERE = -1
_UNREACHED = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic automaton of N states over V symbols. State 0 is the start; all lead to an accepting one."""

    keys: np.ndarray
    """(E,) int64 ascending, state * V + symbol id of each arc."""
    targets: np.ndarray
    """(E,) int32, the state each arc leads to."""
    accepting: np.ndarray
    """(N,) bool, where a text may end."""
    vocabulary_size: int
    """V."""
    costs: np.ndarray | None = None
    """(2, N) float32, in nats: least cost of a text through each state, and of the text that ends there; None: 0."""

    @classmethod
    def of_arcs(cls, keys: np.ndarray, targets: np.ndarray, accepting: np.ndarray, vocabulary_size: int) -> Automaton:
        """Make an automaton from arcs in any order."""
        order = np.argsort(keys, kind="stable")
        return cls(keys[order].astype(np.int64), targets[order].astype(np.int32), accepting, vocabulary_size)

    def trimmed(self) -> Automaton:
        """Return the automaton without the states that cannot reach an accepting one."""
        live = self.distances < _UNREACHED
        numbers = np.cumsum(live) - 1
        arcs = live[self.targets]
        sources, symbols = np.divmod(self.keys[arcs], self.vocabulary_size)
        keys = numbers[sources] * self.vocabulary_size + symbols
        return Automaton.of_arcs(keys, numbers[self.targets[arcs]], self.accepting[live], self.vocabulary_size)

    def step(self, state: int, symbol: int) -> int:
        """Return the state after a symbol; -1 if the symbol may not follow."""
        key = state * self.vocabulary_size + symbol
        arc = int(np.searchsorted(self.keys, key))
        return int(self.targets[arc]) if arc < len(self.keys) and self.keys[arc] == key else NOWHERE

    def accepts(self, ids: Iterable[int]) -> bool:
        """Whether the automaton accepts the text of these symbol ids."""
        state = 0
        for symbol in ids:
            state = self.step(state, symbol)
            if state == NOWHERE:
                return False
        return bool(self.accepting[state])

    @cached_property
    def distances(self) -> np.ndarray:
        """(N,) int32: number of symbols from each state to the nearest accepting one."""
        order = np.argsort(self.targets, kind="stable")
        sources = (self.keys // self.vocabulary_size)[order]
        bounds = np.searchsorted(self.targets[order], np.arange(len(self.accepting) + 1))  # arcs into each state
        distances, distance = np.full(len(self.accepting), _UNREACHED, np.int32), 0
        reached = np.flatnonzero(self.accepting)
        while len(reached):
            distances[reached] = distance
            starts, counts = bounds[reached], bounds[reached + 1] - bounds[reached]
            arcs = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
            previous = np.unique(sources[arcs])
            reached, distance = previous[distances[previous] == _UNREACHED], distance + 1
        return distances
