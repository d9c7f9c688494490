"""The decoder as ONNX: one step, and greedy reading as a loop over it. It computes what `aocr.model` does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aocr.config import ModelConfig
from aocr.onnx.ctc import best_path, column_log_probs, text_log_probs
from aocr.onnx.graph import BOOL, FLOAT, INT64, Graph
from aocr.onnx.network import Memory, Weights
from aocr.text.charset import EOS, GO, PAD
from aocr.text.search import MAX_OVERRUN

MAX_OFFSET = 4
"""Same as in `aocr.model.attention`, which cannot be imported without Keras."""
_NEVER = -1e9


class State(NamedTuple):
    """Names of the tensors that a step passes on to the next."""

    flat: str
    """(B, state size), the states of all cells."""
    context: str
    """(B, M), the attended memory."""
    position: str
    """(B,), number of symbols read."""


class Reading(NamedTuple):
    """Names of the tensors that reading a batch gives."""

    ids: str
    """(T, B) symbols."""
    probabilities: str
    """(T, B), of each symbol at the last temperature."""
    attention: str
    """(T, B, S)."""
    log_probs: str
    """(B, 2), of the text at each temperature."""


def _lengthened(g: Graph, reading: Reading, steps: str) -> Reading:
    """Append zeros after the last step of a reading, up to T = `steps`, (1,)."""
    missing = g.Sub(steps, g.Slice(g.Shape(reading.ids), [0], [1], [0]))

    def pad(x: str, rank: int) -> str:
        return g.Pad(x, g.Concat(np.zeros(rank, np.int64), missing, np.zeros(rank - 1, np.int64), axis=0))

    ids, probabilities, attention = pad(reading.ids, 2), pad(reading.probabilities, 2), pad(reading.attention, 3)
    return reading._replace(ids=ids, probabilities=probabilities, attention=attention)


class Decoder:
    """Adds the decoder's nodes to a graph; `weights` are the network's, by name."""

    def __init__(self, weights: Weights, config: ModelConfig):
        self.weights, self.config, self.traits = weights, config, config.traits
        self.units = config.attn_num_hidden
        self.num_parts = config.state_size // self.units

    def _weight(self, g: Graph, name: str) -> str:
        return g.constant(name, self.weights[name])

    def _dense(self, g: Graph, x: str, name: str) -> str:
        return g.Add(g.MatMul(x, self._weight(g, f"{name}/kernel")), self._weight(g, f"{name}/bias"))

    def initial_state(self, g: Graph, memory: Memory) -> State:
        """Add the state before the first step."""
        context = g.Mul(g.Gather(memory.values, 0, axis=1), 0.0)
        position = g.ReduceSum(context, [1], keepdims=0)
        if memory.state:
            return State(memory.state, context, position)
        empty = np.zeros((1, self.config.state_size), np.float32)
        return State(g.Add(g.Unsqueeze(position, [1]), empty), context, position)

    def _lstm(self, g: Graph, x: str, h: str, c: str, name: str) -> tuple[str, str]:
        gates = g.Add(self._dense(g, x, name), g.MatMul(h, self._weight(g, f"{name}/recurrent_kernel")))
        i, f, candidate, o = g.Split(gates, [self.units] * 4, outputs=4, axis=1)
        c = g.Add(g.Mul(g.Sigmoid(f), c), g.Mul(g.Sigmoid(i), g.Tanh(candidate)))
        return g.Mul(g.Sigmoid(o), g.Tanh(c)), c

    def _gru(self, g: Graph, x: str, h: str, name: str) -> str:
        sizes = [2 * self.units, self.units]
        gates, candidate = g.Split(self._dense(g, x, name), sizes, outputs=2, axis=1)
        gate_kernel, candidate_kernel = g.Split(self._weight(g, f"{name}/recurrent_kernel"), sizes, outputs=2, axis=1)
        gates = g.Sigmoid(g.Add(gates, g.MatMul(h, gate_kernel)))
        update, reset = g.Split(gates, [self.units] * 2, outputs=2, axis=1)
        candidate = g.Tanh(g.Add(candidate, g.MatMul(g.Mul(reset, h), candidate_kernel)))
        return g.Add(g.Mul(update, h), g.Mul(g.Sub(1.0, update), candidate))

    def _cells(self, g: Graph, x: str, flat: str) -> tuple[str, str]:
        """Add the nodes of all cells: x (B, U), flat state -> output (B, U), flat state."""
        parts = [flat]
        if self.num_parts > 1:
            parts = g.Split(flat, [self.units] * self.num_parts, outputs=self.num_parts, axis=1)
        new = []
        for i in range(self.config.attn_num_layers):
            name = f"decoder/cell{0 if self.traits.shared_cells else i}"
            if self.config.use_gru:
                x = self._gru(g, x, parts[i], name)
                new.append(x)
            else:
                x, c = self._lstm(g, x, parts[2 * i + 1], parts[2 * i], name)
                new += [c, x]
        return x, g.Concat(*new, axis=1)

    def _bias_at(self, g: Graph, ahead: str) -> str:
        """Add a score for each column by how many symbols it is ahead of the position: (B, S) -> (B, S)."""
        ahead = g.Unsqueeze(ahead, [2])
        distance = g.Sub(ahead, np.arange(-MAX_OFFSET, MAX_OFFSET + 1, dtype=np.float32))
        near = g.Exp(g.Mul(g.Mul(distance, distance), -2.0))
        far = g.Clip(g.Div(ahead, 2.0 * MAX_OFFSET), -1.0, 1.0)
        bias = g.Unsqueeze(self._weight(g, "decoder/attention/lead"), [1])
        return g.Squeeze(g.MatMul(g.Concat(near, far, axis=2), bias), [2])

    def _attend(self, g: Graph, memory: Memory, query: str, position: str) -> tuple[str, str, str]:
        """Add the attention: query (B, state size), position (B,) -> context (B, M), weights (B, S), position."""
        projected = g.Unsqueeze(self._dense(g, query, "decoder/attention/query"), [1])
        hidden = g.Tanh(g.Add(memory.keys, projected))
        scores = g.Squeeze(g.MatMul(hidden, self._weight(g, "decoder/attention/v")), [2])
        if memory.counts:
            ahead = g.Sub(g.Sub(memory.counts, g.Unsqueeze(position, [1])), 1.0)
            scores = g.Add(scores, self._bias_at(g, ahead))
        if memory.mask:
            scores = g.Where(memory.mask, scores, _NEVER)
        weights = g.Softmax(scores, axis=-1)
        context = g.Squeeze(g.MatMul(g.Unsqueeze(weights, [1]), memory.values), [1])
        if memory.counts:
            near = g.Mul(weights, g.Exp(g.Mul(g.Mul(ahead, ahead), -0.5)))
            total_ahead = g.ReduceSum(g.Mul(near, ahead), [1], keepdims=0)
            total = g.Add(g.ReduceSum(near, [1], keepdims=0), 0.1)
            position = g.Add(g.Add(position, 1.0), g.Div(total_ahead, total))
        return context, weights, position

    def step(self, g: Graph, token: str, state: State, memory: Memory) -> tuple[str, str, State]:
        """Add the nodes of one step: token (B,), state, memory -> logits (B, V), attention (B, S), state."""
        embedded = g.Gather(self._weight(g, "decoder/embedding/embeddings"), token, axis=0)
        x = self._dense(g, g.Concat(embedded, state.context, axis=1), "decoder/input_projection")
        output, flat = self._cells(g, x, state.flat)
        context, weights, position = self._attend(g, memory, flat, state.position)
        logits = self._dense(g, g.Concat(output, context, axis=1), "decoder/output_projection")
        return logits, weights, State(flat, context, position)

    def _choose(self, g: Graph, logits: str, is_last: str, ended: str, position: str, num_symbols: str | None) -> str:
        """Add greedy reading's choice of the next symbol (B,); `num_symbols`, (B,), is the CTC head's count."""
        if self.traits.free_symbols:
            return g.ArgMax(logits, axis=1, keepdims=0)
        penalties = np.zeros(self.config.charset.vocabulary_size, np.float32)
        penalties[[PAD, GO]] = _NEVER
        token = g.ArgMax(g.Add(logits, penalties), axis=1, keepdims=0)
        if num_symbols:
            is_last = g.Or(is_last, g.Greater(g.Sub(position, num_symbols), MAX_OVERRUN))
        return g.Where(ended, PAD, g.Where(is_last, EOS, token))

    def read(self, g: Graph, memory: Memory, temperatures: tuple[float, float]) -> Reading:
        """Add greedy reading, and the choice between its text and the CTC head's if that takes part."""
        reading = self._run(g, memory, temperatures)
        if not self.config.ctc_weight:
            return reading
        charset = self.config.charset
        log_probs = column_log_probs(g, memory.ctc, memory.mask, charset.vocabulary_size, charset.right_to_left)
        text = best_path(g, log_probs, self.config.max_steps)
        other = self._run(g, memory, temperatures, text)
        steps = g.Max(*(g.Slice(g.Shape(one.ids), [0], [1], [0]) for one in (reading, other)))
        reading, other = (_lengthened(g, one, steps) for one in (reading, other))
        both = g.Concat(*(g.Unsqueeze(g.Transpose(one.ids, perm=[1, 0]), [1]) for one in (reading, other)), axis=1)
        scores = g.Mul(text_log_probs(g, log_probs, both), float(self.config.ctc_weight))  # (B, 2)
        totals = g.Concat(*(g.Slice(one.log_probs, [0], [1], [1]) for one in (reading, other)), axis=1)
        totals = g.Add(totals, scores)
        is_other = g.Greater(g.Gather(totals, 1, axis=1), g.Gather(totals, 0, axis=1))
        shapes = ([0], [0], [0, 2], [1])
        masks = (g.Unsqueeze(is_other, axes) for axes in shapes)
        return Reading(*(g.Where(mask, b, a) for mask, a, b in zip(masks, reading, other, strict=True)))

    def _run(self, g: Graph, memory: Memory, temperatures: tuple[float, float], text: str | None = None) -> Reading:
        """Add the loop of greedy reading, or of following `text`, (B, T), which runs until every text has ended."""
        num_symbols = g.ReduceMax(memory.counts, axes=[1], keepdims=0) if memory.counts else None
        state = self.initial_state(g, memory)
        zeros = state.position
        carried = {
            "token": (g.Cast(g.Add(zeros, float(GO)), to=INT64), INT64, ("B",)),
            "ended": (g.Cast(zeros, to=BOOL), BOOL, ("B",)),
            "log_probs": (g.Add(g.Unsqueeze(zeros, [1]), np.zeros((1, 2), np.float32)), FLOAT, ("B", 2)),
            "flat": (state.flat, FLOAT, ("B", self.config.state_size)),
            "context": (state.context, FLOAT, ("B", self.weights["key/kernel"].shape[0])),
            "position": (state.position, FLOAT, ("B",)),
        }
        body = self._loop_body(g, memory, num_symbols, temperatures, carried, text)
        start = [tensor for tensor, *_ in carried.values()]
        results = g.Loop(self.config.max_steps, True, *start, outputs=len(carried) + 3, body=body)
        log_probs = results[list(carried).index("log_probs")]
        ids, probabilities, attention = results[len(carried) :]
        return Reading(ids, probabilities, attention, log_probs)

    def _loop_body(
        self, g: Graph, memory: Memory, num_symbols: str | None, temperatures: tuple[float, float], carried: dict,
        text: str | None,
    ) -> Graph:  # fmt: skip
        """Build the loop's body; `carried`: name -> (start, type, shape) of what an iteration passes to the next."""
        body = Graph(g)
        i = body.input("i", INT64, ())
        body.input("go_on", BOOL, ())
        before = {name: body.input(name, kind, shape) for name, (_, kind, shape) in carried.items()}
        token, ended, log_probs = before["token"], before["ended"], before["log_probs"]
        state = State(before["flat"], before["context"], before["position"])
        logits, weights, state = self.step(body, token, state, memory)
        is_last = body.Equal(i, self.config.max_steps - 1)
        if text is None:
            token = self._choose(body, logits, is_last, ended, state.position, num_symbols)
        else:
            token = body.Gather(text, i, axis=1)
        scales = np.array(temperatures, np.float32)
        scaled = body.LogSoftmax(body.Div(body.Unsqueeze(logits, [1]), scales[:, None]), axis=2)  # (B, 2, V)
        index = body.Unsqueeze(token, [1, 2])
        step_log_probs = body.Squeeze(
            body.GatherElements(scaled, body.Concat(index, index, axis=1), axis=2), [2]
        )  # (B, 2)
        log_probs = body.Add(log_probs, body.Where(body.Unsqueeze(ended, [1]), 0.0, step_log_probs))
        ended = body.Or(ended, body.Equal(token, EOS))
        all_ended = body.ReduceMin(body.Cast(ended, to=INT64), axes=[0], keepdims=0)
        body.output(body.Equal(all_ended, 0), "go_on", BOOL, ())
        for tensor, (name, (_, kind, shape)) in zip((token, ended, log_probs, *state), carried.items(), strict=True):
            body.output(tensor, name, kind, shape)
        body.output(token, "ids", INT64, ("B",))
        body.output(body.Exp(body.Gather(step_log_probs, 1, axis=1)), "probabilities", FLOAT, ("B",))
        body.output(weights, "attention", FLOAT, ("B", "S"))
        return body
