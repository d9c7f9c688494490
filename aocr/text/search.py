"""Reading: choosing a text step by step with a decoder's `step`. Greedy reading is a beam of one.

Written once for Keras's tensors and for numpy's arrays: `ops` is a module of functions named as those of `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aocr.results import NEVER, Reading
from aocr.text.charset import EOS, GO, PAD

LAST_RESORT = -1e4
"""Added to the log-probability of what may only be done if nothing else may."""
MAX_OVERRUN = 4.0
"""Symbols past the last one in the image after which a text ends: attention that has lost its place goes in circles."""
LENGTH_POWER = 0.6
"""How far beams of unlike length are brought to one scale (Wu et al., 2016, equation 14)."""
OUTSIDE = -1
"""Place of a text that has left a constraint."""


class Constraint(NamedTuple):
    """A deterministic automaton over V symbols that texts follow; N places, place 0 is the start.

    Attributes:
      keys: (E,) int64 ascending, place * V + symbol of each arc.
      targets: (E,) int32, the place each arc leads to.
      ends: (N,) bool, where a text may end.
      distances: (N,) int32, symbols to the nearest place where it may.
      penalty: what leaving the automaton costs in nats; -NEVER: it may not be left.
    """

    keys: Any
    targets: Any
    ends: Any
    distances: Any
    penalty: float


class _Beams(NamedTuple):
    """R = B * K texts under way.

    Attributes:
      token: (R,) int32, the last symbol.
      ended: (R,) bool.
      total: (R,) log-probability and penalties.
      length: (R,) float32 symbols, EOS counted.
      log_probs: (R, G).
      places: (R,) int32, one for each constraint.
      inner: the decoder's state.
    """

    token: Any
    ended: Any
    total: Any
    length: Any
    log_probs: Any
    places: tuple
    inner: tuple


def _follow(ops: Any, constraint: Constraint, place, left, size: int):
    """What a constraint says of the next symbol.

    Args:
      ops: functions of arrays.
      constraint: to follow.
      place: (R,) int32 or OUTSIDE.
      left: steps that remain after this one.
      size: V.

    Returns:
      (R, V) penalties, 0 or below, and (R, V) places after each symbol.
    """
    symbols = ops.arange(size, dtype=constraint.keys.dtype)
    arcs = ops.cast(place, constraint.keys.dtype)[:, None] * size + symbols  # (R, V)
    at = ops.searchsorted(constraint.keys, ops.reshape(arcs, (-1,)))
    at = ops.reshape(ops.minimum(at, ops.shape(constraint.keys)[0] - 1), ops.shape(arcs))
    is_arc = ops.equal(ops.take(constraint.keys, at), arcs)
    target = ops.where(is_arc, ops.take(constraint.targets, at), 0)
    in_reach = ops.logical_and(is_arc, ops.take(constraint.distances, target) < left)
    may_end = ops.take(constraint.ends, ops.maximum(place, 0))[:, None]
    inside = ops.where(ops.equal(symbols, EOS), may_end, in_reach)
    outside = ops.equal(place, OUTSIDE)[:, None]
    penalty = ops.where(ops.logical_or(inside, outside), 0.0, -constraint.penalty)
    return penalty, ops.where(ops.logical_and(inside, ops.logical_not(outside)), target, OUTSIDE)


def _rows(ops: Any, values, index):
    """Rows `index` of each array of a nested tuple."""
    if isinstance(values, tuple):
        rows = (_rows(ops, value, index) for value in values)
        return type(values)(*rows) if hasattr(values, "_fields") else tuple(rows)
    return None if values is None else ops.take(values, index, axis=0)


def _rank(total, length):
    return total / ((5.0 + length) / 6.0) ** LENGTH_POWER


def _gains(ops: Any, logits, i, max_steps, late, free_symbols: bool):
    """(R, V) log-probabilities of what may come next at step i; late: (R,) bool, whether it should be the end."""
    gains = ops.log_softmax(ops.cast(logits, "float32"))
    if free_symbols:
        return gains
    symbols = ops.arange(logits.shape[-1], dtype="int32")
    is_last = ops.equal(i, max_steps - 1)
    barred = (symbols == PAD) | (symbols == GO) | ((symbols != EOS) & is_last)
    gains = ops.where(late[:, None] & (symbols != EOS)[None], gains + LAST_RESORT, gains)
    return ops.where(barred[None], NEVER, gains)


def _trace(ops: Any, collect_steps: Callable, parents, beam: int):
    """Follow the texts back from the end: parents (T, B, K) -> (T, B, K) the beam each text was in after each step."""
    last = ops.shape(parents)[0] - 1

    def step(i, state):
        here = state[0]
        return (here,), (ops.take_along_axis(parents[last - i], here, axis=1),)

    start = ops.tile(ops.arange(beam, dtype="int32")[None], (ops.shape(parents)[1], 1))
    (found,), _ = collect_steps(step, (start,), last + 1)
    return ops.flip(found, axis=0)


def _gather(ops: Any, collect_steps: Callable, outputs: Sequence, beams: _Beams, beam: int) -> Reading:
    """The texts from what each step gave: tokens, probabilities, attention and parents, each (T, R, ...)."""
    log_probs = ops.where(beams.total[:, None] > NEVER / 2, beams.log_probs, NEVER)
    log_probs = ops.reshape(log_probs, (-1, beam, log_probs.shape[-1]))  # (R, G) -> (B, K, G)
    ids, probabilities, attention, parents = outputs
    if beam == 1:
        ids, beam_ids = ops.transpose(ids), ops.transpose(ids)[:, None]
    else:
        ids, probabilities, parents = (
            ops.reshape(part, (-1, ops.shape(log_probs)[0], beam)) for part in (ids, probabilities, parents)
        )  # (T, R) -> (T, B, K)
        found = _trace(ops, collect_steps, parents, beam)
        beam_ids = ops.transpose(ops.take_along_axis(ids, found, axis=2), (1, 2, 0))  # -> (B, K, T)
        ids, best = beam_ids[:, 0], found[:, :, :1]
        probabilities = ops.take_along_axis(probabilities, best, axis=2)[:, :, 0]
        rows = best[:, :, 0] + ops.arange(ops.shape(best)[1], dtype="int32") * beam
        attention = ops.take_along_axis(attention, rows[:, :, None], axis=1)  # (T, R, S) -> (T, B, S)
    return Reading(
        ids=ids,
        probabilities=ops.transpose(probabilities),
        attention=ops.transpose(attention, (1, 0, 2)),
        confidence=ops.exp(log_probs[:, 0, -1]),
        log_probs=log_probs,
        beam_ids=beam_ids,
    )


class _Search:
    """A search under way: all that stays the same from step to step. Arguments as of `search`."""

    def __init__(self, ops, decoder, memory, max_steps, temperatures, beam, constraints, free_symbols):
        self.ops, self.decoder, self.max_steps, self.beam = ops, decoder, max_steps, beam
        self.constraints, self.free_symbols = constraints, free_symbols
        self.num_temperatures = len(temperatures)
        self.scale = ops.convert_to_tensor(temperatures, dtype="float32")
        num_images = ops.shape(memory.values)[0]
        self.number = ops.tile(ops.arange(beam, dtype="int32"), (num_images,))  # (R,) number of the beam
        images = ops.arange(num_images, dtype="int32")
        self.first_row = ops.repeat(images * beam, beam)  # (R,) where the image's beams begin
        self.memory = _rows(ops, memory, ops.repeat(images, beam)) if beam > 1 else memory

    def start(self) -> _Beams:
        """Before the first step."""
        ops = self.ops
        zeros = ops.zeros_like(self.first_row, dtype="float32")
        return _Beams(
            token=self.decoder.go_tokens(self.memory),
            ended=ops.zeros_like(self.first_row, dtype="bool"),
            total=ops.where(ops.equal(self.number, 0), 0.0, NEVER),  # all beams of an image begin alike: follow one
            length=zeros,
            log_probs=ops.tile(zeros[:, None], (1, self.num_temperatures)),
            places=tuple(ops.zeros_like(self.first_row) for _ in self.constraints),
            inner=self.decoder.initial_state(self.memory),
        )

    def allowed(self, logits, i, beams: _Beams, late) -> tuple:
        """(R, V) log-probabilities of what may come next, and for each constraint (R, V) places after it."""
        ops = self.ops
        size = logits.shape[-1]
        gains, places = _gains(ops, logits, i, self.max_steps, late, self.free_symbols), []
        for constraint, place in zip(self.constraints, beams.places, strict=True):
            penalties, after = _follow(ops, constraint, place, self.max_steps - i - 1, size)
            gains += penalties
            places.append(after)
        if not self.free_symbols or self.beam > 1:
            over = ops.where(ops.equal(ops.arange(size), PAD), 0.0, NEVER)[None]
            gains = ops.where(beams.ended[:, None], over, gains)
        return gains, tuple(places)

    def choose(self, totals, length) -> tuple:
        """(R,) rows of the texts to go on with, the likeliest of each image, and their next symbols."""
        ops = self.ops
        if self.beam == 1:
            return self.first_row, ops.cast(ops.top_k(totals, 1)[1][:, 0], "int32")  # LiteRT has no `ops.argmax`
        size = totals.shape[-1]
        ranks = ops.reshape(_rank(totals, length[:, None]), (-1, self.beam * size))  # (B, K * V)
        best = ops.cast(ops.reshape(ops.top_k(ranks, self.beam)[1], (-1,)), "int32")
        return self.first_row + best // size, best % size

    def step(self, i, beams) -> tuple[tuple, tuple]:
        """What step i gives, (R, ...) each: tokens, probabilities, attention and parents; and the beams after it."""
        ops = self.ops
        logits, weights, inner = self.decoder.step(beams.token, beams.inner, self.memory)
        gains, places = self.allowed(logits, i, beams, self.decoder.overrun(inner, self.memory) > MAX_OVERRUN)
        totals = beams.total[:, None] + gains  # (R, V)
        length = beams.length + ops.cast(ops.logical_not(beams.ended), "float32")
        parent, token = self.choose(totals, length)
        if self.beam > 1:
            rows = (beams, inner, logits, weights, length, totals, places)
            beams, inner, logits, weights, length, totals, places = _rows(ops, rows, parent)
        scaled = ops.log_softmax(ops.cast(logits, "float32")[:, None, :] / self.scale[:, None])  # (R, G, V)
        gained = ops.take_along_axis(scaled, token[:, None, None], axis=2)[:, :, 0]  # (R, G)
        total, *places = (ops.take_along_axis(table, token[:, None], axis=1)[:, 0] for table in (totals, *places))
        after = _Beams(
            token=token,
            ended=ops.logical_or(beams.ended, ops.equal(token, EOS)),
            total=total,
            length=length,
            log_probs=beams.log_probs + ops.where(beams.ended[:, None], 0.0, gained),
            places=tuple(places),
            inner=inner,
        )
        return (token, ops.exp(gained[:, -1]), weights, parent - self.first_row), after


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
) -> Reading:
    """The likeliest texts, by a beam search (Graves, 2012; lengths as in Wu et al., 2016).

    Which text is found does not depend on the temperatures: they only change the probabilities told.

    Args:
      ops: functions of arrays, as `keras.ops` has them.
      collect_steps: as of `aocr.model.layers`.
      decoder: its `step` is run; `initial_state`, `overrun` and `go_tokens` beside it, as of `aocr.model.decoder`.
      memory: of B images; `values` (B, S, M) and what else the decoder reads from.
      max_steps: limit on T, EOS counted.
      temperatures: G of them; logits are divided by each. `confidence` is told at the last.
      beam: K, texts followed at a time; 1 takes the likeliest symbol at each step.
      constraints: what texts must follow, or pay for leaving.
      free_symbols: PAD and GO may be chosen, a text may lack its end, and (greedy) goes on after it.
      stop_early: stop when every text has ended, not at `max_steps`.
    """
    run = _Search(ops, decoder, memory, max_steps, temperatures, beam, constraints, free_symbols)

    def go_on(beams):
        return ops.logical_not(ops.all(beams.ended)) if stop_early else ops.convert_to_tensor(True)

    outputs, end = collect_steps(run.step, run.start(), max_steps, go_on)
    return _gather(ops, collect_steps, outputs, _Beams(*end), beam)
