"""Automata over a charset: which symbols a text may go on with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NOWHERE = -1


@dataclass(frozen=True, eq=False)
class Automaton:
    """A deterministic automaton of N states over V symbols; it starts in state 0, and every state can still end.

    Attributes:
      keys: (E,) int64 ascending, state * V + symbol id of each arc.
      targets: (E,) int32, the state each arc leads to.
      accepting: (N,) bool, where a text may end.
      vocabulary_size: V.
    """

    keys: np.ndarray
    targets: np.ndarray
    accepting: np.ndarray
    vocabulary_size: int

    @classmethod
    def of_arcs(cls, keys: np.ndarray, targets: np.ndarray, accepting: np.ndarray, vocabulary_size: int) -> Automaton:
        """An automaton of arcs in any order."""
        order = np.argsort(keys, kind="stable")
        return cls(keys[order].astype(np.int64), targets[order].astype(np.int32), accepting, vocabulary_size)

    def step(self, state: int, symbol: int) -> int:
        """The state after a symbol; -1 where it may not follow."""
        key = state * self.vocabulary_size + symbol
        at = int(np.searchsorted(self.keys, key))
        return int(self.targets[at]) if at < len(self.keys) and self.keys[at] == key else NOWHERE

    def accepts(self, ids: Iterable[int]) -> bool:
        """Whether the text of these symbol ids is one of the automaton's."""
        state = 0
        for symbol in ids:
            state = self.step(state, symbol)
            if state == NOWHERE:
                return False
        return bool(self.accepting[state])

    @cached_property
    def distances(self) -> np.ndarray:
        """(N,) int32: symbols from each state to the nearest one where a text may end."""
        order = np.argsort(self.targets, kind="stable")
        sources = (self.keys // self.vocabulary_size)[order]
        bounds = np.searchsorted(self.targets[order], np.arange(len(self.accepting) + 1))  # of the arcs into each
        far = np.iinfo(np.int32).max
        found, distance = np.full(len(self.accepting), far, np.int32), 0
        reached = np.flatnonzero(self.accepting)
        while len(reached):
            found[reached] = distance
            starts, counts = bounds[reached], bounds[reached + 1] - bounds[reached]
            arcs = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
            before = np.unique(sources[arcs])
            reached, distance = before[found[before] == far], distance + 1
        return found
