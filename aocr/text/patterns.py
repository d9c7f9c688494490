"""Compile a regular expression to the automaton that accepts only what it matches.

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
"""Maximum number of states of the automaton; `(a|b)*a(a|b){20}` would need a million."""
MAX_PARTS = 200_000
"""Maximum number of states of the nondeterministic automaton: the pattern with its repetitions written out."""
MAX_WORK = 2_000_000
"""Maximum number of states visited while the automaton is made deterministic; takes about a second."""

_QUANTIFIER = re.compile(r"[*+?]|\{(?!\})([0-9]*)(,?)([0-9]*)\}")
_UNCLOSED = re.compile(r"\{[0-9]+(,[0-9]*)?(?![0-9,}])")
_ESCAPE = re.compile(r"\\(x..|u.{4}|U.{8}|N\{[^}]*\}|0[0-7]{0,2}|[0-7]{3}|.)", re.DOTALL)
_GROUP = re.compile(r"\((\?:|\?P<\w+>|(?!\?))")
_OTHER_GROUP = re.compile(r"\(\?(P?[=!<>#]+|[a-zA-Z-]*)")


class _Parser:
    """Parses a pattern in Python's syntax into states of a nondeterministic automaton.

    `re` decides which symbols an atom (a single character, set or class) matches.
    """

    def __init__(self, pattern: str, charset: Charset):
        self.pattern, self.symbols = pattern, charset.symbols
        self.position = 0
        self.arcs: list[tuple[str, int] | None] = []
        """The only arc of each state: an atom and the next state."""
        self.free: list[set[int]] = []
        """The states that each state reaches without a symbol."""
        self.atoms: dict[str, frozenset[int]] = {}
        """Atom -> ids of the symbols that it matches."""

    def fail(self, what: str) -> ConfigError:
        return ConfigError("--pattern", self.pattern, f"{what} at position {self.position + 1} cannot be used.")

    def new_state(self) -> int:
        if len(self.arcs) >= MAX_PARTS:
            raise _too_large(self.pattern)
        self.arcs.append(None)
        self.free.append(set())
        return len(self.arcs) - 1

    def peek(self, text: str) -> bool:
        return self.pattern.startswith(text, self.position)

    def parse(self) -> tuple[int, int]:
        """Parse the whole pattern; return its first and last state."""
        for start in ("^", r"\A"):
            if self.peek(start):
                self.position += len(start)
        first, last = self.alternatives()
        if self.position < len(self.pattern):
            raise self.fail("')'")
        return first, last

    def alternatives(self) -> tuple[int, int]:
        start, end = self.new_state(), self.new_state()
        while True:
            first, last = self.sequence()
            self.free[start].add(first)
            self.free[last].add(end)
            if not self.peek("|"):
                return start, end
            self.position += 1

    def sequence(self) -> tuple[int, int]:
        first = last = self.new_state()
        while self.position < len(self.pattern) and self.pattern[self.position] not in "|)":
            if (rest := self.pattern[self.position :]) in ("$", r"\Z"):
                self.position += len(rest)
            else:
                last = self.repeated(last)
        return first, last

    def repeated(self, last: int) -> int:
        """Parse an atom or group with its quantifier after state `last`; return the state behind it."""
        begin = self.position
        self.item()
        low, high = self.quantifier()
        end, out = self.position, self.new_state()
        for i in range(low if high is None else high):
            if i >= low:  # the remaining repetitions are optional
                self.free[last].add(out)
            self.position = begin
            first, behind = self.item()
            self.free[last].add(first)
            last = behind
        if high is None:
            self.position = begin
            first, behind = self.item()
            self.free[out].add(first)
            self.free[behind].add(out)
        self.free[last].add(out)
        self.position = end
        return out

    def quantifier(self) -> tuple[int, int | None]:
        """Parse the minimum and maximum number of repetitions; None is unlimited."""
        match = _QUANTIFIER.match(self.pattern, self.position)
        if not match:
            if unclosed := _UNCLOSED.match(self.pattern, self.position):  # `re` takes it for plain characters
                reason = f"{unclosed[0]!r} at position {self.position + 1} is not closed. Write {unclosed[0]}}}."
                raise ConfigError("--pattern", self.pattern, reason)
            return 1, 1
        self.position = match.end()
        if self.peek("+"):
            raise self.fail("a possessive quantifier")
        if self.peek("?"):
            self.position += 1  # lazy: matches the same texts
        if match[0] in "*+?":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[match[0]]
        low = int(match[1] or 0)
        return low, (low if not match[2] else int(match[3]) if match[3] else None)

    def item(self) -> tuple[int, int]:
        """Parse a group or an atom; return its first and last state."""
        if self.peek("("):
            return self.group()
        begin = self.position
        self.skip_atom()
        atom = self.pattern[begin : self.position]
        if atom not in self.atoms:
            matches = re.compile(atom).fullmatch
            self.atoms[atom] = frozenset(i for i, char in enumerate(self.symbols, NUM_SPECIALS) if matches(char))
        first, last = self.new_state(), self.new_state()
        self.arcs[first] = atom, last
        return first, last

    def group(self) -> tuple[int, int]:
        match = _GROUP.match(self.pattern, self.position)
        if not match:
            raise self.fail(repr(_OTHER_GROUP.match(self.pattern, self.position)[0]))  # type: ignore[index]
        self.position = match.end()
        inner = self.alternatives()
        self.position += 1  # the closing bracket, which re.compile has checked
        return inner

    def skip_atom(self) -> None:
        char = self.pattern[self.position]
        if char in "^$":
            raise self.fail(f"{char!r} inside a pattern")
        if char == "[":
            close = self.position + (2 if self.peek("[^") else 1)
            close += self.pattern.startswith("]", close)
            while self.pattern[close] != "]":
                close += 2 if self.pattern[close] == "\\" else 1
            self.position = close + 1
        elif char == "\\":
            match = _ESCAPE.match(self.pattern, self.position)
            assert match, "re.compile has checked the pattern"
            if match[1][0] in "bBAZz" or (match[1][0] in "123456789" and len(match[1]) < 3):
                raise self.fail(f"{match[0]!r}")
            self.position = match.end()
        else:
            self.position += 1


def _too_large(pattern: str) -> ConfigError:
    return ConfigError("--pattern", pattern, "is too large. Make it simpler.")


class _Subsets:
    """Makes a parsed pattern deterministic: each new state is a set of the parser's states (subset construction).

    A set is an integer with one bit for each state that has an arc or is the last one. Symbols that the same atoms
    match form a group and are followed together.
    """

    def __init__(self, parser: _Parser, end: int):
        self.parser, self.end = parser, end
        self.work = 0
        self.closures: dict[int, int] = {}
        groups: dict[tuple[str, ...], list[int]] = {}
        for symbol in sorted(frozenset().union(*parser.atoms.values())):
            atoms = tuple(atom for atom, ids in parser.atoms.items() if symbol in ids)
            groups.setdefault(atoms, []).append(symbol)
        self.groups = [(atoms, np.array(symbols)) for atoms, symbols in groups.items()]

    def count(self, states: int) -> None:
        self.work += states
        if self.work > MAX_WORK:
            raise _too_large(self.parser.pattern)

    def closure(self, state: int) -> int:
        """Return the set of a state and all states reached from it without a symbol."""
        if state not in self.closures:
            reached, waiting = {state}, [state]
            while waiting:
                new = self.parser.free[waiting.pop()] - reached
                reached |= new
                waiting += new
                self.count(1)
            self.closures[state] = sum(1 << s for s in reached if self.parser.arcs[s] or s == self.end)
        return self.closures[state]

    def after(self, states: int) -> dict[str, int]:
        """Return the set that each atom reaches from the set `states`, by atom."""
        targets: dict[str, int] = {}
        while states:
            state = states.bit_length() - 1
            states ^= 1 << state
            self.count(1)
            if arc := self.parser.arcs[state]:
                atom, target = arc
                targets[atom] = targets.get(atom, 0) | self.closure(target)
        return targets

    def build(self, start: int, vocabulary_size: int) -> Automaton:
        """Build the automaton, without the states that cannot reach an accepting one."""
        order = [self.closure(start)]
        numbers = {order[0]: 0}
        keys, targets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, states in enumerate(order):
            reached = self.after(states)
            for atoms, symbols in self.groups:
                target = functools.reduce(operator.or_, (reached.get(atom, 0) for atom in atoms))
                if target and target not in numbers:
                    numbers[target] = len(order)
                    order.append(target)
                    if len(order) > MAX_STATES:
                        raise _too_large(self.parser.pattern)
                if target:
                    keys.append(number * vocabulary_size + symbols)
                    targets.append(np.full(len(symbols), numbers[target]))
        accepting = np.array([bool(states >> self.end & 1) for states in order])
        automaton = Automaton.of_arcs(np.concatenate(keys), np.concatenate(targets), accepting, vocabulary_size)
        return automaton.trimmed()


def compile_pattern(pattern: str, charset: Charset) -> Automaton:
    """Build the automaton of a regular expression that the whole text must match.

    The syntax is Python's without backreferences, look-around, inner anchors, inline flags and possessive
    quantifiers. The pattern is converted to NFC, as labels are.

    Raises:
      ConfigError: the expression is invalid, not supported, too large, or matches no text of the charset.
    """
    pattern = normalise(pattern)
    parser = _Parser(pattern, charset)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # sets such as [[a] may change their meaning
            re.compile(pattern)
            start, end = parser.parse()
    except (re.error, OverflowError, ValueError) as error:  # ValueError: a number of 5,000 digits
        raise ConfigError("--pattern", pattern, f"is not a regular expression ({error}).") from None
    except RecursionError:
        raise ConfigError("--pattern", pattern, "is nested too deeply. Make it simpler.") from None
    automaton = _Subsets(parser, end).build(start, charset.vocabulary_size)
    if not len(automaton.accepting):
        absent = ", ".join(repr(atom) for atom, ids in parser.atoms.items() if not ids)
        reason = f": it has no symbol for {absent}." if absent else "."
        raise ConfigError("--pattern", pattern, f"matches no text of the charset{reason}")
    return automaton
