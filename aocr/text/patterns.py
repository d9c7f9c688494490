"""A regular expression -> the automaton that reads only what it matches.

The expression is parsed into a nondeterministic automaton (Thompson, 1968), which is then made deterministic.
"""

from __future__ import annotations

import functools
import operator
import re
import warnings

import numpy as np

from aocr.errors import ConfigError
from aocr.text.automaton import Automaton
from aocr.text.charset import NUM_SPECIALS, Charset, normalise

MAX_STATES = 20_000
"""States that a pattern may need; `(a|b)*a(a|b){20}` would need a million."""
MAX_PARTS = 200_000
"""States of the nondeterministic automaton: the pattern with its repetitions written out."""
MAX_WORK = 2_000_000
"""Nondeterministic states looked at while the automaton is made deterministic: about a second."""

_QUANTIFIER = re.compile(r"[*+?]|\{(?!\})([0-9]*)(,?)([0-9]*)\}")
_ESCAPE = re.compile(r"\\(x..|u.{4}|U.{8}|N\{[^}]*\}|0[0-7]{0,2}|[0-7]{3}|.)", re.DOTALL)
_GROUP = re.compile(r"\((\?:|\?P<\w+>|(?!\?))")
_OTHER_GROUP = re.compile(r"\(\?(P?[=!<>#]+|[a-zA-Z-]*)")


class _Parser:
    """Parses what Python's `re` takes, less what no automaton can do, into states of a nondeterministic automaton.

    Which symbols a single character, set or class stands for is asked of `re`.

    Attributes:
      arcs: for each state its one arc: the atom (a part of the pattern that stands for one symbol) and the state
        behind it; None where there is none.
      free: for each state those reached without a symbol.
      atoms: atom -> ids of the charset's symbols that it stands for.
    """

    def __init__(self, pattern: str, charset: Charset):
        self.pattern, self.symbols = pattern, charset.symbols
        self.at = 0
        self.arcs: list[tuple[str, int] | None] = []
        self.free: list[set[int]] = []
        self.atoms: dict[str, frozenset[int]] = {}

    def fail(self, what: str) -> ConfigError:
        return ConfigError("--pattern", self.pattern, f"{what} at position {self.at + 1} cannot be used.")

    def state(self) -> int:
        if len(self.arcs) >= MAX_PARTS:
            raise _too_large(self.pattern)
        self.arcs.append(None)
        self.free.append(set())
        return len(self.arcs) - 1

    def peek(self, text: str) -> bool:
        return self.pattern.startswith(text, self.at)

    def parse(self) -> tuple[int, int]:
        """The whole pattern: first and last state."""
        for start in ("^", r"\A"):
            if self.peek(start):
                self.at += len(start)
        first, last = self.alternatives()
        if self.at < len(self.pattern):
            raise self.fail("')'")
        return first, last

    def alternatives(self) -> tuple[int, int]:
        start, end = self.state(), self.state()
        while True:
            first, last = self.sequence()
            self.free[start].add(first)
            self.free[last].add(end)
            if not self.peek("|"):
                return start, end
            self.at += 1

    def sequence(self) -> tuple[int, int]:
        first = last = self.state()
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            if (rest := self.pattern[self.at :]) in ("$", r"\Z"):
                self.at += len(rest)
            else:
                last = self.repeated(last)
        return first, last

    def repeated(self, last: int) -> int:
        """An atom or group with its quantifier, after state `last`; returns the state behind them."""
        begin = self.at
        self.one()
        low, high = self.quantifier()
        end, out = self.at, self.state()
        for i in range(low if high is None else high):
            if i >= low:  # from here on it may stop
                self.free[last].add(out)
            self.at = begin
            first, behind = self.one()
            self.free[last].add(first)
            last = behind
        if high is None:
            self.at = begin
            first, behind = self.one()
            self.free[out].add(first)
            self.free[behind].add(out)
        self.free[last].add(out)
        self.at = end
        return out

    def quantifier(self) -> tuple[int, int | None]:
        """How often at least and at most; None: without end."""
        match = _QUANTIFIER.match(self.pattern, self.at)
        if not match:
            return 1, 1
        self.at = match.end()
        if self.peek("+"):
            raise self.fail("a possessive quantifier")
        if self.peek("?"):
            self.at += 1  # lazy: the same texts
        if match[0] in "*+?":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[match[0]]
        low = int(match[1] or 0)
        return low, (low if not match[2] else int(match[3]) if match[3] else None)

    def one(self) -> tuple[int, int]:
        """What a quantifier stands behind: a group or an atom; first and last state."""
        if self.peek("("):
            return self.group()
        begin = self.at
        self.skip_atom()
        atom = self.pattern[begin : self.at]
        if atom not in self.atoms:
            matches = re.compile(atom).fullmatch
            self.atoms[atom] = frozenset(i for i, char in enumerate(self.symbols, NUM_SPECIALS) if matches(char))
        first, last = self.state(), self.state()
        self.arcs[first] = atom, last
        return first, last

    def group(self) -> tuple[int, int]:
        match = _GROUP.match(self.pattern, self.at)
        if not match:
            raise self.fail(repr(_OTHER_GROUP.match(self.pattern, self.at)[0]))  # type: ignore[index]
        self.at = match.end()
        inner = self.alternatives()
        self.at += 1  # the bracket; re has found it
        return inner

    def skip_atom(self) -> None:
        char = self.pattern[self.at]
        if char in "^$":
            raise self.fail(f"{char!r} inside a pattern")
        if char == "[":
            close = self.at + (2 if self.peek("[^") else 1)
            close += self.pattern.startswith("]", close)
            while self.pattern[close] != "]":
                close += 2 if self.pattern[close] == "\\" else 1
            self.at = close + 1
        elif char == "\\":
            match = _ESCAPE.match(self.pattern, self.at)
            assert match, "re has compiled the pattern before"
            if match[1][0] in "bBAZz" or (match[1][0] in "123456789" and len(match[1]) < 3):
                raise self.fail(f"{match[0]!r}")
            self.at = match.end()
        else:
            self.at += 1


def _too_large(pattern: str) -> ConfigError:
    return ConfigError("--pattern", pattern, "is too large. Make it simpler.")


class _Subsets:
    """Makes a parsed pattern deterministic: each state stands for a set of the parser's (subset construction).

    A set is an integer with a bit for each state in it that has an arc or is the last one. Symbols that the same
    atoms stand for are followed together, as one group.

    Attributes:
      work: number of the parser's states looked at.
    """

    def __init__(self, parser: _Parser, end: int):
        self.parser, self.end = parser, end
        self.work = 0
        self.closures: dict[int, int] = {}
        groups: dict[tuple[str, ...], list[int]] = {}
        for symbol in sorted(frozenset().union(*parser.atoms.values())):
            kinds = tuple(atom for atom, ids in parser.atoms.items() if symbol in ids)
            groups.setdefault(kinds, []).append(symbol)
        self.groups = [(kinds, np.array(symbols)) for kinds, symbols in groups.items()]

    def count(self, states: int) -> None:
        self.work += states
        if self.work > MAX_WORK:
            raise _too_large(self.parser.pattern)

    def closure(self, state: int) -> int:
        """The set of a state and of all that are reached from it without a symbol."""
        if state not in self.closures:
            found, waiting = {state}, [state]
            while waiting:
                new = self.parser.free[waiting.pop()] - found
                found |= new
                waiting += new
                self.count(1)
            self.closures[state] = sum(1 << s for s in found if self.parser.arcs[s] or s == self.end)
        return self.closures[state]

    def after(self, states: int) -> dict[str, int]:
        """Atom -> the set behind it."""
        found: dict[str, int] = {}
        while states:
            state = states.bit_length() - 1
            states ^= 1 << state
            self.count(1)
            if arc := self.parser.arcs[state]:
                atom, target = arc
                found[atom] = found.get(atom, 0) | self.closure(target)
        return found

    def build(self, start: int) -> tuple[list[tuple[int, int, int]], np.ndarray]:
        """Arcs (state, number of the group of symbols, state), and which states accept."""
        order = [self.closure(start)]
        numbers, arcs = {order[0]: 0}, []
        for number, states in enumerate(order):
            after = self.after(states)
            for group, (kinds, _) in enumerate(self.groups):
                target = functools.reduce(operator.or_, (after.get(atom, 0) for atom in kinds))
                if target and target not in numbers:
                    numbers[target] = len(order)
                    order.append(target)
                    if len(order) > MAX_STATES:
                        reason = f"needs more than {MAX_STATES:,} states. Make it simpler."
                        raise ConfigError("--pattern", self.parser.pattern, reason)
                if target:
                    arcs.append((number, group, numbers[target]))
        return arcs, np.array([bool(states >> self.end & 1) for states in order])


def _live(arcs: list[tuple[int, int, int]], accepting: np.ndarray) -> np.ndarray:
    """Which states can still end."""
    sources: list[list[int]] = [[] for _ in accepting]
    for source, _, target in arcs:
        sources[target].append(source)
    live = accepting.copy()
    waiting = np.flatnonzero(accepting).tolist()
    while waiting:
        for source in sources[waiting.pop()]:
            if not live[source]:
                live[source] = True
                waiting.append(source)
    return live


def compile_pattern(pattern: str, charset: Charset) -> Automaton:
    """The automaton of a regular expression that the whole text must match.

    Python's syntax, without references, look-around, anchors inside, inline flags and possessive quantifiers.

    Args:
      pattern: the expression; brought to NFC, as labels are.
      charset: of the texts.

    Raises:
      ConfigError: the expression is wrong or needs what is left out, is too large, or fits no text of the charset.
    """
    pattern = normalise(pattern)
    parser = _Parser(pattern, charset)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of sets that may mean something else one day
            re.compile(pattern)
            start, end = parser.parse()
    except (re.error, OverflowError, ValueError) as error:  # ValueError: a number of 5,000 digits
        raise ConfigError("--pattern", pattern, f"is not a regular expression ({error}).") from None
    except RecursionError:
        raise ConfigError("--pattern", pattern, "is nested too deeply. Make it simpler.") from None
    subsets = _Subsets(parser, end)
    arcs, accepting = subsets.build(start)
    live = _live(arcs, accepting)
    if not live[0]:
        absent = ", ".join(repr(atom) for atom, ids in parser.atoms.items() if not ids)
        reason = f"no text of the charset fits: it has nothing for {absent}." if absent else "no text fits."
        raise ConfigError("--pattern", pattern, reason)
    numbers, size = np.cumsum(live) - 1, charset.vocabulary_size
    symbols = [numbers[source] * size + subsets.groups[group][1] for source, group, target in arcs if live[target]]
    targets = [np.full(len(subsets.groups[group][1]), numbers[target]) for _, group, target in arcs if live[target]]
    nothing = np.zeros(0, np.int64)
    return Automaton.of_arcs(
        np.concatenate([nothing, *symbols]), np.concatenate([nothing, *targets]), accepting[live], size
    )
