"""Automata over a charset: which symbols a text may go on with. From a regular expression, or a list of words."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aocr.errors import ConfigError
from aocr.text.charset import NUM_SPECIALS, Charset, normalise

MAX_STATES = 20_000
"""States that a pattern may need; `(a|b)*a(a|b){20}` would need a million."""
MAX_PARTS = 200_000
"""Places of a pattern with its repetitions written out."""
MAX_WORK = 20_000_000
"""Places looked at while the automaton is made deterministic."""
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
        far = np.iinfo(np.int32).max
        found = np.where(self.accepting, 0, far).astype(np.int64)
        sources = self.keys // self.vocabulary_size
        while True:
            before = found.copy()
            np.minimum.at(found, sources, found[self.targets] + 1)
            if np.array_equal(before, found):
                return np.minimum(found, far).astype(np.int32)


# Patterns: parsed into fragments of a nondeterministic automaton (Thompson, 1968), then made deterministic


class _Parser:
    """Parses what Python's `re` takes, less what no automaton can do; one character at a time is asked of `re`."""

    def __init__(self, pattern: str, charset: Charset):
        self.pattern, self.symbols = pattern, charset.symbols
        self.at = 0
        self.arcs: list[dict[int, set[int]]] = []
        self.free: list[set[int]] = []
        self.absent: dict[str, None] = {}
        self.work = 0

    def fail(self, what: str, at: int | None = None) -> ConfigError:
        at = self.at if at is None else at
        return ConfigError("--pattern", self.pattern, f"{what} at position {at + 1} cannot be used.")

    def state(self) -> int:
        self.arcs.append({})
        self.free.append(set())
        return len(self.arcs) - 1

    def peek(self, text: str) -> bool:
        return self.pattern.startswith(text, self.at)

    def parse(self) -> tuple[int, int]:
        """The whole pattern: first and last state."""
        for start in ("^", r"\A"):
            if self.peek(start):
                self.at += len(start)
        start, end = self.alternatives()
        if self.at < len(self.pattern):
            raise self.fail("')'")
        return start, end

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
            if self.at_end():
                break
            last = self.repeated(last)
        return first, last

    def repeated(self, last: int) -> int:
        """An atom and its quantifier, after state `last`; returns the state behind them."""
        begin = self.at
        self.atom()
        atom_end = self.at
        low, high = self.quantifier()
        end, out = self.at, self.state()
        for i in range(low if high is None else high):
            if i >= low:  # from here on it may stop
                self.free[last].add(out)
            self.at = begin
            a, b = self.atom()
            self.free[last].add(a)
            last = b
            if len(self.arcs) > MAX_PARTS:
                raise ConfigError("--pattern", self.pattern, "is too large. Make it simpler.")
        if high is None:
            self.at = begin
            a, b = self.atom()
            self.free[last].add(out)
            self.free[out].add(a)
            self.free[b].add(out)
        self.free[last].add(out)
        self.at = max(atom_end, end)
        return out

    def at_end(self) -> bool:
        """Skip `$` or `\\Z` at the very end."""
        for end in ("$", r"\Z"):
            if self.pattern[self.at :] == end:
                self.at += len(end)
                return True
        return False

    def quantifier(self) -> tuple[int, int | None]:
        match = re.compile(r"\*|\+|\?|\{([0-9]*)(,?)([0-9]*)\}").match(self.pattern, self.at)
        if not match or match[0] == "{}":
            return 1, 1
        word = match[0]
        self.at = match.end()
        if self.peek("+"):
            raise self.fail("a possessive quantifier")
        if self.peek("?"):
            self.at += 1  # lazy: the same texts
        if word in "*+?":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[word]
        low = int(match[1] or 0)
        return low, (low if not match[2] else int(match[3]) if match[3] else None)

    def atom(self) -> tuple[int, int]:
        if self.peek("("):
            return self.group()
        begin = self.at
        char = self.pattern[begin]
        if char in "^$":
            raise self.fail(f"{char!r} inside a pattern")
        if char == "[":
            close = begin + (2 if self.pattern.startswith("[^", begin) else 1)
            close += self.pattern.startswith("]", close)
            while self.pattern[close] != "]":
                close += 2 if self.pattern[close] == "\\" else 1
            self.at = close + 1
        elif char == "\\":
            match = re.compile(r"\\(x..|u.{4}|U.{8}|N\{[^}]*\}|0[0-7]{0,2}|[0-7]{3}|.)", re.DOTALL).match(
                self.pattern, begin
            )
            kind = match[1][0]
            if kind in "bBAZz" or (kind in "123456789" and len(match[1]) < 3):
                raise self.fail(f"{match[0]!r}")
            self.at = match.end()
        else:
            self.at += 1
        return self.characters(self.pattern[begin : self.at])

    def group(self) -> tuple[int, int]:
        begin = self.at
        match = re.compile(r"\((\?:|\?P<\w+>|(?!\?))").match(self.pattern, begin)
        if not match:
            end = re.compile(r"\(\?(P?[=!<>#]+|[a-zA-Z-]*)").match(self.pattern, begin).end()
            raise self.fail(f"{self.pattern[begin:end]!r}")
        self.at = match.end()
        inner = self.alternatives()
        self.at += 1  # the bracket; re has found it
        return inner

    def characters(self, atom: str) -> tuple[int, int]:
        """Arcs for every symbol of the charset that the atom stands for."""
        first, last = self.state(), self.state()
        matches = re.compile(atom).fullmatch
        ids = [i for i, symbol in enumerate(self.symbols, NUM_SPECIALS) if matches(symbol)]
        if not ids:
            self.absent[atom] = None
        for i in ids:
            self.arcs[first].setdefault(i, set()).add(last)
        return first, last

    def closure(self, states: Iterable[int]) -> frozenset[int]:
        found, waiting = set(states), list(states)
        while waiting:
            new = self.free[waiting.pop()] - found
            found |= new
            waiting += new
        self.work += len(found)
        if self.work > MAX_WORK:
            raise ConfigError("--pattern", self.pattern, "is too large. Make it simpler.")
        return frozenset(found)


def _determinise(parser: _Parser, start: int, end: int) -> tuple[list[dict[int, int]], list[bool]]:
    """Subset construction: arcs of each state, and which accept."""
    first = parser.closure([start])
    numbers, order = {first: 0}, [first]
    arcs: list[dict[int, int]] = []
    for states in order:
        after: dict[int, set[int]] = {}
        for state in states:
            for symbol, targets in parser.arcs[state].items():
                after.setdefault(symbol, set()).update(targets)
        row = {}
        for symbol, targets in after.items():
            target = parser.closure(targets)
            if target not in numbers:
                numbers[target] = len(order)
                order.append(target)
            row[symbol] = numbers[target]
        arcs.append(row)
        if len(order) > MAX_STATES:
            raise ConfigError("--pattern", parser.pattern, f"needs more than {MAX_STATES:,} states. Make it simpler.")
    return arcs, [end in states for states in order]


def _live(arcs: list[dict[int, int]], accepting: list[bool]) -> list[bool]:
    """Which states can still end."""
    sources: list[list[int]] = [[] for _ in arcs]
    for state, row in enumerate(arcs):
        for target in row.values():
            sources[target].append(state)
    live, waiting = list(accepting), [state for state, ends in enumerate(accepting) if ends]
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
            arcs, accepting = _determinise(parser, *parser.parse())
    except (re.error, OverflowError) as error:
        raise ConfigError("--pattern", pattern, f"is no regular expression ({error}).") from None
    except RecursionError:
        raise ConfigError("--pattern", pattern, "is nested too deeply. Make it simpler.") from None
    live = _live(arcs, accepting)
    if not live[0]:
        absent = ", ".join(map(repr, parser.absent))
        reason = f"no text of the model's charset fits: it has nothing for {absent}." if absent else "no text fits."
        raise ConfigError("--pattern", pattern, reason)
    arcs = [{s: t for s, t in row.items() if live[t]} if live[i] else {} for i, row in enumerate(arcs)]
    return _from_rows(arcs, accepting, charset)


def _from_rows(arcs: list[dict[int, int]], accepting: list[bool], charset: Charset) -> Automaton:
    """The states that are reached, numbered from the start on."""
    chosen, order = {0: 0}, [0]
    for state in order:
        for target in arcs[state].values():
            if target not in chosen:
                chosen[target] = len(order)
                order.append(target)
    size = charset.vocabulary_size
    flat = sorted(
        (number * size + symbol, chosen[target])
        for number, state in enumerate(order)
        for symbol, target in arcs[state].items()
    )
    keys, targets = (np.array(part) for part in zip(*flat, strict=True)) if flat else (np.zeros(0), np.zeros(0))
    ends = np.array([accepting[state] for state in order])
    return Automaton(keys.astype(np.int64), targets.astype(np.int32), ends, size)


# Lexicons


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
    left_out = [word for word in words if absent & set(word)] if absent else []
    kept = [word for word in words if not absent & set(word)] if absent else words
    if not kept:
        raise ConfigError("--lexicon", left_out[:3], "no entry can be written with the model's charset.")
    size, lengths = charset.vocabulary_size, np.array([len(word) for word in kept])
    ids, starts = _ids("".join(kept), charset), np.cumsum(lengths) - lengths
    states, num_states = np.zeros(len(kept), np.int64), 1
    keys = []
    for column in range(lengths.max()):
        going = np.flatnonzero(lengths > column)
        arcs = states[going] * size + ids[starts[going] + column]
        level, place = np.unique(arcs, return_inverse=True)
        keys.append(level)
        states[going] = num_states + place
        num_states += len(level)
    keys = np.concatenate(keys)
    accepting = np.zeros(num_states, bool)
    accepting[states] = True
    order = np.argsort(keys, kind="stable")
    return Automaton(keys[order], (order + 1).astype(np.int32), accepting, size), left_out


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
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError("--lexicon", path, f"cannot be read ({reason}). Check the path.") from None
    words = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            words.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise ConfigError("--lexicon", path, f"line {number} is not UTF-8. Save the file as UTF-8.") from None
    if not any(words):
        raise ConfigError("--lexicon", path, "has no line. Write one text a line.")
    return [word for word in words if word]
