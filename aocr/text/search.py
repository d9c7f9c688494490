"""Greedy and beam search: choose a text step by step with a decoder's `step`. Greedy search is a beam of one.

Written once for Keras's tensors and for numpy's arrays: `ops` is a module with functions named as in `keras.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aocr.results import NEVER, Reading
from aocr.text.charset import EOS, GO, PAD
from aocr.text.ctc import best_path, text_log_probs

LAST_RESORT = -1e4
"""Added to the log-probability of symbols that are allowed only if nothing else is."""
MAX_OVERRUN = 4.0
"""A text is ended this many symbols after the last one in the image, because lost attention goes in circles."""
LENGTH_POWER = 0.6
"""Exponent of the length penalty (Wu et al., 2016, equation 14)."""
TINY = 1e-30
"""Instead of a sum of probabilities that are too small for a float32."""
OUTSIDE = -1
"""State of a text that has left a constraint."""


class Constraint(NamedTuple):
    """A deterministic automaton that texts follow: N states, V symbols, start state 0."""

    keys: Any
    """(E,) int64 ascending, state * V + symbol of each arc."""
    targets: Any
    """(E,) int32, the state each arc leads to."""
    ends: Any
    """(N,) bool, where a text may end."""
    distances: Any
    """(N,) int32, number of symbols to the nearest state where a text may end."""
    costs: Any
    """(2, N) float32, in nats: least cost of a text through each state, and of the text that ends there."""
    penalty: float
    """Cost in nats of leaving the automaton; -NEVER forbids it."""


class _Beams(NamedTuple):
    """R = B * K unfinished texts."""

    token: Any
    """(R,) int32, the last symbol."""
    ended: Any
    """(R,) bool."""
    total: Any
    """(R,) log-probability and penalties."""
    length: Any
    """(R,) float32 symbols, including EOS."""
    log_probs: Any
    """(R, G) log-probability at each temperature."""
    states: tuple
    """(R,) int32, the state in each constraint."""
    inner: tuple
    """The decoder's state."""


def constraint_penalties(ops: Any, constraint: Constraint, state, left, size: int):
    """Compute a constraint's penalty for each of V = `size` next symbols, if `left` steps remain after it.

    `state`: (R,) int32, each a state or OUTSIDE. Returns (R, V) penalties, 0 or below, and (R, V) next states.
    """
    symbols = ops.arange(size, dtype=constraint.keys.dtype)
    keys = ops.cast(state, constraint.keys.dtype)[:, None] * size + symbols  # (R, V)
    arc = ops.searchsorted(constraint.keys, ops.reshape(keys, (-1,)))
    arc = ops.reshape(ops.minimum(arc, ops.shape(constraint.keys)[0] - 1), ops.shape(keys))
    is_arc = ops.equal(ops.take(constraint.keys, arc), keys)
    target = ops.where(is_arc, ops.take(constraint.targets, arc), 0)
    in_reach = ops.logical_and(is_arc, ops.take(constraint.distances, target) < left)
    may_end = ops.take(constraint.ends, ops.maximum(state, 0))[:, None]
    inside = ops.where(ops.equal(symbols, EOS), may_end, in_reach)
    outside = ops.equal(state, OUTSIDE)[:, None]
    through, at_end = constraint.costs[0], constraint.costs[1]
    here = ops.maximum(state, 0)
    cost = ops.where(ops.equal(symbols, EOS), ops.take(at_end, here)[:, None], ops.take(through, target))
    change = ops.where(inside, cost, constraint.penalty) - ops.take(through, here)[:, None]
    penalty = ops.where(outside, 0.0, -change)
    return penalty, ops.where(ops.logical_and(inside, ops.logical_not(outside)), target, OUTSIDE)


def gather_rows(ops: Any, values, index):
    """Select rows `index` of each array of a nested tuple."""
    if isinstance(values, tuple):
        rows = (gather_rows(ops, value, index) for value in values)
        return type(values)(*rows) if hasattr(values, "_fields") else tuple(rows)
    return None if values is None else ops.take(values, index, axis=0)


def next_log_probs(ops: Any, logits, i, max_steps, late, free_symbols: bool):
    """Compute the (R, V) log-probabilities of the next symbol at step i; `late`, (R,) bool: prefer EOS."""
    log_probs = ops.log_softmax(ops.cast(logits, "float32"))
    if free_symbols:
        return log_probs
    symbols = ops.arange(logits.shape[-1], dtype="int32")
    is_last = ops.equal(i, max_steps - 1)
    forbidden = (symbols == PAD) | (symbols == GO) | ((symbols != EOS) & is_last)
    log_probs = ops.where(late[:, None] & (symbols != EOS)[None], log_probs + LAST_RESORT, log_probs)
    return ops.where(forbidden[None], NEVER, log_probs)


def backtrace(ops: Any, collect_steps: Callable, parents, beam: int):
    """Trace texts back from the end: parents (T, B, K) -> beam index of each text after each step (T, B, K)."""
    last = ops.shape(parents)[0] - 1

    def step(i, state):
        current = state[0]
        return (current,), (ops.take_along_axis(parents[last - i], current, axis=1),)

    start = ops.tile(ops.arange(beam, dtype="int32")[None], (ops.shape(parents)[1], 1))
    (beams,), _ = collect_steps(step, (start,), last + 1)
    return ops.flip(beams, axis=0)


def _posterior(ops: Any, log_probs, costs, outside_cost: float):
    """Compute the best text's probability among all texts, each weighted by exp(-cost): (B, K) -> (B,).

    Texts outside the beam have the probability that remains, and cost `outside_cost`.
    """
    probabilities, least = ops.exp(log_probs), ops.min(costs, axis=1, keepdims=True)
    weighted = probabilities * ops.exp(least - costs)  # all by a common factor, so that not all become 0
    rest = ops.maximum(1.0 - ops.sum(probabilities, axis=1), 0.0) * ops.exp(least[:, 0] - outside_cost)
    return weighted[:, 0] / ops.maximum(ops.sum(weighted, axis=1) + rest, TINY)


def _reading(
    ops: Any, collect_steps: Callable, outputs: Sequence, end: _Beams, beam: int, constraints: Sequence[Constraint]
) -> Reading:
    """Assemble the texts from the outputs of all steps: tokens, probabilities, attention, parents, each (T, R, ...)."""
    log_probs = ops.where(end.total[:, None] > NEVER / 2, end.log_probs, NEVER)
    log_probs = ops.reshape(log_probs, (-1, beam, log_probs.shape[-1]))  # (R, G) -> (B, K, G)
    confidence = ops.exp(log_probs[:, 0, -1])
    if constraints and all(constraint.penalty < -NEVER for constraint in constraints):
        outside_cost = sum(constraint.penalty for constraint in constraints)
        costs = log_probs[:, :, 0] - ops.reshape(end.total, (-1, beam))
        confidence = _posterior(ops, log_probs[:, :, -1], ops.clip(costs, 0.0, outside_cost), outside_cost)
    ids, probabilities, attention, parents = outputs
    if beam == 1:
        ids, beam_ids = ops.transpose(ids), ops.transpose(ids)[:, None]
    else:
        ids, probabilities, parents = (
            ops.reshape(part, (-1, ops.shape(log_probs)[0], beam)) for part in (ids, probabilities, parents)
        )  # (T, R) -> (T, B, K)
        beams = backtrace(ops, collect_steps, parents, beam)
        beam_ids = ops.transpose(ops.take_along_axis(ids, beams, axis=2), (1, 2, 0))  # -> (B, K, T)
        ids, best = beam_ids[:, 0], beams[:, :, :1]
        probabilities = ops.take_along_axis(probabilities, best, axis=2)[:, :, 0]
        rows = best[:, :, 0] + ops.arange(ops.shape(best)[1], dtype="int32") * beam
        attention = ops.take_along_axis(attention, rows[:, :, None], axis=1)  # (T, R, S) -> (T, B, S)
    return Reading(
        ids=ids,
        probabilities=ops.transpose(probabilities),
        attention=ops.transpose(attention, (1, 0, 2)),
        confidence=confidence,
        log_probs=log_probs,
        beam_ids=beam_ids,
    )


class _Search:
    """The constants of a search and its step.

    Arguments as in `search`; `text`, (B, T) int32, is followed instead of the likeliest symbols, with a beam of one.
    """

    def __init__(self, ops, decoder, memory, max_steps, temperatures, beam, constraints, free_symbols, text=None):
        self.ops, self.decoder, self.max_steps, self.beam, self.text = ops, decoder, max_steps, beam, text
        self.max_overrun = MAX_OVERRUN if text is None else math.inf
        self.constraints, self.free_symbols = constraints, free_symbols
        self.num_temperatures = len(temperatures)
        self.temperatures = ops.convert_to_tensor(temperatures, dtype="float32")
        num_images = ops.shape(memory.values)[0]
        self.number = ops.tile(ops.arange(beam, dtype="int32"), (num_images,))  # (R,) index of the beam
        images = ops.arange(num_images, dtype="int32")
        self.first_row = ops.repeat(images * beam, beam)  # (R,) first row of the image's beams
        self.memory = gather_rows(ops, memory, ops.repeat(images, beam)) if beam > 1 else memory

    def start(self) -> _Beams:
        """Return the beams before the first step."""
        ops = self.ops
        zeros = ops.zeros_like(self.first_row, dtype="float32")
        return _Beams(
            token=self.decoder.go_tokens(self.memory),
            ended=ops.zeros_like(self.first_row, dtype="bool"),
            total=ops.where(ops.equal(self.number, 0), 0.0, NEVER),  # an image's beams start equal: follow only one
            length=zeros,
            log_probs=ops.tile(zeros[:, None], (1, self.num_temperatures)),
            states=tuple(ops.zeros_like(self.first_row) for _ in self.constraints),
            inner=self.decoder.initial_state(self.memory),
        )

    def score_symbols(self, logits, i, beams: _Beams, late) -> tuple:
        """Compute (R, V) scores of the next symbol, and for each constraint (R, V) states after it."""
        ops = self.ops
        size = logits.shape[-1]
        scores, states = next_log_probs(ops, logits, i, self.max_steps, late, self.free_symbols), []
        for constraint, state in zip(self.constraints, beams.states, strict=True):
            penalties, next_state = constraint_penalties(ops, constraint, state, self.max_steps - i - 1, size)
            scores += penalties
            states.append(next_state)
        if not self.free_symbols or self.beam > 1:
            only_padding = ops.where(ops.equal(ops.arange(size), PAD), 0.0, NEVER)[None]
            scores = ops.where(beams.ended[:, None], only_padding, scores)
        return scores, tuple(states)

    def choose(self, i, totals, length) -> tuple:
        """Choose the likeliest continuations of each image: (R,) rows of their texts, and (R,) next symbols."""
        ops = self.ops
        if self.text is not None:
            return self.first_row, ops.take(self.text, i, axis=1)
        if self.beam == 1:
            return self.first_row, ops.cast(ops.top_k(totals, 1)[1][:, 0], "int32")  # LiteRT has no `ops.argmax`
        size = totals.shape[-1]
        ranks = totals / ((5.0 + length[:, None]) / 6.0) ** LENGTH_POWER
        ranks = ops.reshape(ranks, (-1, self.beam * size))  # (B, K * V)
        best = ops.cast(ops.reshape(ops.top_k(ranks, self.beam)[1], (-1,)), "int32")
        return self.first_row + best // size, best % size

    def step(self, i, beams) -> tuple[tuple, tuple]:
        """Run step i; return its outputs, (R, ...) tokens, probabilities, attention and parents, and the new beams."""
        ops = self.ops
        logits, weights, inner = self.decoder.step(beams.token, beams.inner, self.memory)
        late = self.decoder.overrun(inner, self.memory) > self.max_overrun
        scores, states = self.score_symbols(logits, i, beams, late)
        totals = beams.total[:, None] + scores  # (R, V)
        length = beams.length + ops.cast(ops.logical_not(beams.ended), "float32")
        parent, token = self.choose(i, totals, length)
        if self.beam > 1:
            rows = (beams, inner, logits, weights, length, totals, states)
            beams, inner, logits, weights, length, totals, states = gather_rows(ops, rows, parent)
        scaled = ops.log_softmax(ops.cast(logits, "float32")[:, None, :] / self.temperatures[:, None])  # (R, G, V)
        log_prob = ops.take_along_axis(scaled, token[:, None, None], axis=2)[:, :, 0]  # (R, G)
        total, *states = (ops.take_along_axis(table, token[:, None], axis=1)[:, 0] for table in (totals, *states))
        next_beams = _Beams(
            token=token,
            ended=ops.logical_or(beams.ended, ops.equal(token, EOS)),
            total=total,
            length=length,
            log_probs=beams.log_probs + ops.where(beams.ended[:, None], 0.0, log_prob),
            states=tuple(states),
            inner=inner,
        )
        return (token, ops.exp(log_prob[:, -1]), weights, parent - self.first_row), next_beams


def _run(search: _Search, collect_steps: Callable, stop_early: bool) -> tuple:
    """Run a search; return its reading, and the log-probability and penalties of its best texts, (B,)."""
    ops = search.ops

    def is_unfinished(beams):
        return ops.logical_not(ops.all(beams.ended)) if stop_early else ops.convert_to_tensor(True)

    outputs, end = collect_steps(search.step, search.start(), search.max_steps, is_unfinished)
    end = _Beams(*end)
    reading = _reading(ops, collect_steps, outputs, end, search.beam, search.constraints)
    return reading, ops.reshape(end.total, (-1, search.beam))[:, 0]


def _lengthened(ops: Any, reading: Reading, steps) -> Reading:
    """Append zeros after the last step of a reading, up to T = `steps`."""
    ids, beam_ids = reading.ids, reading.beam_ids
    missing = (0, steps - ops.shape(ids)[1])
    return reading._replace(
        ids=ops.pad(ids, ((0, 0), missing)),
        probabilities=ops.pad(reading.probabilities, ((0, 0), missing)),
        attention=ops.pad(reading.attention, ((0, 0), missing, (0, 0))),
        beam_ids=ops.pad(beam_ids, ((0, 0), (0, 0), missing)),
    )


def _better(ops: Any, first: Reading, second: Reading, is_second) -> Reading:
    """Take each image's reading from one of two, (B,) bool; the second, of one beam, goes before the first's beams."""
    beam = first.beam_ids.shape[1]
    second = second._replace(
        log_probs=ops.concatenate([second.log_probs, first.log_probs], axis=1)[:, :beam],
        beam_ids=ops.concatenate([second.beam_ids, first.beam_ids], axis=1)[:, :beam],
    )

    def pick(one, other):
        return ops.where(ops.reshape(is_second, (-1, *[1] * (len(one.shape) - 1))), other, one)

    return Reading(*map(pick, first, second))


def search(
    ops: Any,
    collect_steps: Callable,
    decoder: Any,
    memory: NamedTuple,
    max_steps,
    *,
    temperatures: Sequence = (1.0,),
    beam: int = 1,
    constraints: Sequence[Constraint] = (),
    free_symbols: bool = False,
    stop_early: bool = True,
    ctc_log_probs: Any = None,
    ctc_weight: float = 0.0,
) -> Reading:
    """Find the likeliest texts by beam search (Graves, 2012; length penalty of Wu et al., 2016).

    With `ctc_log_probs`, the CTC head's text is taken instead if both heads together find it likelier (the scores of
    hybrid CTC/attention decoding, Watanabe et al., 2017): the decoder may lose its place in a long text, the CTC head
    cannot. The texts do not depend on the temperatures, which only change the reported probabilities.

    Args:
      ops: array functions, as in `keras.ops`.
      collect_steps: as in `aocr.model.layers`.
      decoder: has `step`, `initial_state`, `overrun` and `go_tokens`, as in `aocr.model.decoder`.
      memory: of B images; `values` (B, S, M) and whatever else the decoder reads.
      max_steps: maximum of T, including EOS.
      temperatures: G divisors of the logits, the first 1; `confidence` is computed at the last.
      beam: K, the beam width; 1 takes the likeliest symbol at each step.
      constraints: automata that texts follow or are penalised for leaving.
      free_symbols: allow PAD, GO and texts without EOS; greedy search continues after EOS.
      stop_early: stop when every text has ended, not at `max_steps`.
      ctc_log_probs: (B, S, V), of `aocr.text.ctc.column_log_probs`.
      ctc_weight: factor of its log-probabilities, where that of the decoder's is 1.
    """
    settings = (ops, decoder, memory, max_steps, temperatures)
    reading, total = _run(_Search(*settings, beam, constraints, free_symbols), collect_steps, stop_early)
    if ctc_log_probs is None:
        return reading
    text = best_path(ops, ctc_log_probs, max_steps)
    other, other_total = _run(_Search(*settings, 1, constraints, free_symbols, text), collect_steps, stop_early)
    steps = ops.maximum(ops.shape(reading.ids)[1], ops.shape(other.ids)[1])
    reading, other = (_lengthened(ops, one, steps) for one in (reading, other))
    scores = text_log_probs(ops, collect_steps, ctc_log_probs, ops.stack([reading.ids, other.ids], axis=1))
    return _better(ops, reading, other, other_total + ctc_weight * scores[:, 1] > total + ctc_weight * scores[:, 0])
