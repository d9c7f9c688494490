"""The CTC head's text and its score as ONNX. They compute what `aocr.text.ctc` does."""

from __future__ import annotations

import numpy as np

from aocr.onnx.graph import BOOL, FLOAT, INT64, Graph
from aocr.text.charset import EOS, GO, PAD

_NEVER = -1e9


def count(g: Graph, condition: str, axis: int) -> str:
    """Count what is true along an axis, which is kept: int64. OpenVINO sums integers made from booleans wrongly."""
    return g.Cast(g.ReduceSum(g.Where(condition, 1.0, 0.0), [axis], keepdims=1), to=INT64)


def column_log_probs(g: Graph, logits: str, mask: str, num_symbols: int, from_right: bool) -> str:
    """Add `aocr.text.ctc.column_log_probs`: logits (B, S, V = num_symbols), mask (B, S) -> (B, S, V)."""
    symbols = np.arange(num_symbols)
    log_probs = g.Add(g.LogSoftmax(logits, axis=-1), np.where(np.isin(symbols, (GO, EOS)), _NEVER, 0.0))
    log_probs = g.Where(g.Unsqueeze(mask, [2]), log_probs, np.where(symbols == PAD, 0.0, _NEVER))
    return g.Slice(log_probs, [-1], [-np.iinfo(np.int64).max], [1], [-1]) if from_right else log_probs


def best_path(g: Graph, log_probs: str, max_steps: int) -> str:
    """Add `aocr.text.ctc.best_path`: (B, S, V) -> (B, T) int64."""
    symbols = g.ArgMax(log_probs, axis=2, keepdims=0)
    before = g.Pad(g.Slice(symbols, [0], [-1], [1]), [0, 1, 0, 0])
    is_new = g.And(g.Not(g.Equal(symbols, PAD)), g.Not(g.Equal(symbols, before)))
    columns = g.Range(0, g.Gather(g.Shape(symbols), 1, axis=0), 1)
    order = g.Where(is_new, g.Neg(g.Cast(columns, to=FLOAT)), _NEVER)
    beyond = [0, 0, 0, max_steps]
    _, places = g.TopK(g.Pad(order, beyond, _NEVER), [max_steps], axis=1, outputs=2)
    text = g.GatherElements(g.Pad(symbols, beyond), places, axis=1)
    length = count(g, is_new, 1)
    steps, end = np.arange(max_steps)[None], g.Min(length, max_steps - 1)
    return g.Where(g.Less(steps, end), text, g.Where(g.Equal(steps, end), EOS, PAD))


def text_log_probs(g: Graph, log_probs: str, ids: str) -> str:
    """Add `aocr.text.ctc.text_log_probs`: log_probs (B, S, V), ids (B, N, T) -> (B, N)."""
    is_symbol = g.Equal(g.CumSum(g.Cast(g.Equal(ids, EOS), to=INT64), 2), 0)
    symbols = g.Unsqueeze(g.Where(is_symbol, ids, PAD), [3])
    pairs = g.Reshape(g.Concat(g.Mul(symbols, 0), symbols, axis=3), np.array([0, 0, -1]))
    states = g.Pad(pairs, [0, 0, 0, 0, 0, 1])  # (B, N, U)
    two_before = g.Pad(g.Slice(states, [0], [-2], [2]), [0, 0, 2, 0, 0, 0])
    leaps = g.Where(g.And(g.Not(g.Equal(states, PAD)), g.Not(g.Equal(states, two_before))), 0.0, _NEVER)
    flat = g.Reshape(states, np.array([0, 1, -1]))
    columns = g.Slice(g.Shape(log_probs), [1], [2], [0])
    index = g.Expand(flat, g.Concat(np.array([1]), columns, np.array([1]), axis=0))
    emitted = g.Transpose(g.GatherElements(log_probs, index, axis=2), perm=[1, 0, 2])  # (S, B, N U)
    emitted = g.Reshape(emitted, g.Concat(columns, g.Shape(states), axis=0))

    body = Graph(g)
    i = body.input("i", INT64, ())
    body.input("go_on", BOOL, ())
    shape = ("B", "N", "U")
    stay = body.input("stay", FLOAT, shape)
    padded = body.Pad(stay, [0, 0, 2, 0, 0, 0], _NEVER)
    move, leap = body.Slice(padded, [1], [-1], [2]), body.Add(body.Slice(padded, [0], [-2], [2]), leaps)
    largest = body.Max(stay, move, leap)
    shares = [body.Exp(body.Sub(way, largest)) for way in (stay, move, leap)]
    reached = body.Add(body.Add(largest, body.Log(body.Sum(*shares))), body.Gather(emitted, i, axis=0))
    body.output(body.Equal(0, 0), "go_on", BOOL, ())
    body.output(reached, "stay", FLOAT, shape)

    places = g.Range(0, g.Gather(g.Shape(states), 2, axis=0), 1)
    start = g.Add(g.Mul(leaps, 0.0), g.Where(g.Equal(places, 0), 0.0, _NEVER))
    reached = g.Loop(g.Squeeze(columns, [0]), True, start, body=body)
    last = g.Mul(count(g, is_symbol, 2), 2)
    is_end = g.Or(g.Equal(places, last), g.Equal(places, g.Sub(last, 1)))
    ends = g.Where(is_end, reached, -np.inf)
    largest = g.ReduceMax(ends, axes=[2], keepdims=1)
    total = g.ReduceSum(g.Exp(g.Sub(ends, largest)), [2], keepdims=0)
    return g.Add(g.Squeeze(largest, [2]), g.Log(total))
