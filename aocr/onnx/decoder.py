"""The decoder as ONNX: one step, and reading greedily by a loop over it. It follows `aocr.model`."""

from __future__ import annotations

import numpy as np

from aocr.config import ModelConfig
from aocr.onnx.graph import BOOL, FLOAT, INT64, Graph
from aocr.onnx.network import Memory, Weights
from aocr.text.charset import EOS, GO, PAD
from aocr.text.search import MAX_OVERRUN

MAX_OFFSET = 4
"""As in `aocr.model.attention`, which needs Keras."""
_NEVER = -1e9


class Decoder:
    """Writes nodes of the decoder.

    Args:
      weights: by name.
      config: of the model.
    """

    def __init__(self, weights: Weights, config: ModelConfig):
        self.weights, self.config, self.traits = weights, config, config.traits
        self.units = config.attn_num_hidden
        self.num_parts = config.state_size // self.units

    def _weight(self, g: Graph, name: str) -> str:
        return g.constant(name, self.weights[name])

    def _dense(self, g: Graph, x: str, name: str) -> str:
        return g.Add(g.MatMul(x, self._weight(g, f"{name}/kernel")), self._weight(g, f"{name}/bias"))

    def initial_state(self, g: Graph, memory: Memory) -> tuple[str, str, str]:
        """The flat cell state (B, state size), context (B, M) and place (B,) before the first step."""
        context = g.Mul(g.Gather(memory.values, 0, axis=1), 0.0)
        place = g.ReduceSum(context, [1], keepdims=0)
        if memory.state:
            return memory.state, context, place
        empty = np.zeros((1, self.config.state_size), np.float32)
        return g.Add(g.Unsqueeze(place, [1]), empty), context, place

    def _lstm(self, g: Graph, x: str, h: str, c: str, name: str) -> tuple[str, str]:
        gates = g.Add(self._dense(g, x, name), g.MatMul(h, self._weight(g, f"{name}/recurrent_kernel")))
        into, keep, new, out = g.Split(gates, [self.units] * 4, outputs=4, axis=1)
        c = g.Add(g.Mul(g.Sigmoid(keep), c), g.Mul(g.Sigmoid(into), g.Tanh(new)))
        return g.Mul(g.Sigmoid(out), g.Tanh(c)), c

    def _gru(self, g: Graph, x: str, h: str, name: str) -> str:
        sizes = [2 * self.units, self.units]
        gates, new = g.Split(self._dense(g, x, name), sizes, outputs=2, axis=1)
        of_gates, of_new = g.Split(self._weight(g, f"{name}/recurrent_kernel"), sizes, outputs=2, axis=1)
        gates = g.Sigmoid(g.Add(gates, g.MatMul(h, of_gates)))
        update, reset = g.Split(gates, [self.units] * 2, outputs=2, axis=1)
        new = g.Tanh(g.Add(new, g.MatMul(g.Mul(reset, h), of_new)))
        return g.Add(g.Mul(update, h), g.Mul(g.Sub(1.0, update), new))

    def _cells(self, g: Graph, x: str, flat: str) -> tuple[str, str]:
        """x (B, U), flat state -> output (B, U), flat state."""
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
        """(B, S) symbols ahead of the expected place -> (B, S), what that adds to the scores."""
        ahead = g.Unsqueeze(ahead, [2])
        away = g.Sub(ahead, np.arange(-MAX_OFFSET, MAX_OFFSET + 1, dtype=np.float32))
        near = g.Exp(g.Mul(g.Mul(away, away), -2.0))
        far = g.Clip(g.Div(ahead, 2.0 * MAX_OFFSET), -1.0, 1.0)
        bias = g.Unsqueeze(self._weight(g, "decoder/attention/lead"), [1])
        return g.Squeeze(g.MatMul(g.Concat(near, far, axis=2), bias), [2])

    def _attend(self, g: Graph, memory: Memory, query: str, place: str) -> tuple[str, str, str]:
        """Context (B, M), weights (B, S), place (B,) after the step."""
        found = g.Unsqueeze(self._dense(g, query, "decoder/attention/query"), [1])
        hidden = g.Tanh(g.Add(memory.keys, found))
        scores = g.Squeeze(g.MatMul(hidden, self._weight(g, "decoder/attention/v")), [2])
        if memory.counts:
            ahead = g.Sub(g.Sub(memory.counts, g.Unsqueeze(place, [1])), 1.0)
            scores = g.Add(scores, self._bias_at(g, ahead))
        if memory.mask:
            scores = g.Where(memory.mask, scores, _NEVER)
        weights = g.Softmax(scores, axis=-1)
        context = g.Squeeze(g.MatMul(g.Unsqueeze(weights, [1]), memory.values), [1])
        if memory.counts:
            near = g.Mul(weights, g.Exp(g.Mul(g.Mul(ahead, ahead), -0.5)))
            moved = g.Div(
                g.ReduceSum(g.Mul(near, ahead), [1], keepdims=0), g.Add(g.ReduceSum(near, [1], keepdims=0), 0.1)
            )
            place = g.Add(g.Add(place, 1.0), moved)
        return context, weights, place

    def step(self, g: Graph, token: str, state: tuple[str, str, str], memory: Memory) -> tuple[str, str, tuple]:
        """Token (B,), state, memory -> logits (B, V), attention (B, S), state."""
        flat, context, place = state
        embedded = g.Gather(self._weight(g, "decoder/embedding/embeddings"), token, axis=0)
        x = self._dense(g, g.Concat(embedded, context, axis=1), "decoder/input_projection")
        output, flat = self._cells(g, x, flat)
        context, weights, place = self._attend(g, memory, flat, place)
        logits = self._dense(g, g.Concat(output, context, axis=1), "decoder/output_projection")
        return logits, weights, (flat, context, place)

    def _choose(self, g: Graph, logits: str, is_last: str, ended: str, place: str, most: str | None) -> str:
        """The symbol (B,) that greedy reading takes."""
        if self.traits.free_symbols:
            return g.ArgMax(logits, axis=1, keepdims=0)
        barred = np.zeros(self.config.charset.vocabulary_size, np.float32)
        barred[[PAD, GO]] = _NEVER
        token = g.ArgMax(g.Add(logits, barred), axis=1, keepdims=0)
        if most:
            is_last = g.Or(is_last, g.Greater(g.Sub(place, most), MAX_OVERRUN))
        return g.Where(ended, PAD, g.Where(is_last, EOS, token))

    def read(self, g: Graph, memory: Memory, temperatures: tuple[float, float]) -> tuple[str, str, str, str]:
        """Greedy reading until every text has ended.

        Returns:
          Symbols (T, B), their probabilities (T, B) at the last temperature, attention (T, B, S), and ln of the
          probability of the text (B, 2) at each temperature.
        """
        limit = self.config.max_steps
        most = g.ReduceMax(memory.counts, axes=[1], keepdims=0) if memory.counts else None
        state = self.initial_state(g, memory)
        zeros = state[2]
        start = g.Cast(g.Add(zeros, float(GO)), to=INT64)
        carried = (start, g.Cast(zeros, to=BOOL), g.Add(g.Unsqueeze(zeros, [1]), np.zeros((1, 2), np.float32)), *state)
        size, width = self.config.state_size, self.weights["key/kernel"].shape[0]
        kinds = (
            *(("token", INT64, ("B",)), ("ended", BOOL, ("B",)), ("log_probs", FLOAT, ("B", 2))),
            *(("flat", FLOAT, ("B", size)), ("context", FLOAT, ("B", width)), ("place", FLOAT, ("B",))),
        )
        body = Graph(g)
        i = body.input("i", INT64, ())
        body.input("go_on", BOOL, ())
        token, ended, log_probs, flat, context, place = (body.input(*kind) for kind in kinds)
        logits, weights, after = self.step(body, token, (flat, context, place), memory)
        token = self._choose(body, logits, body.Equal(i, limit - 1), ended, after[2], most)
        scales = np.array(temperatures, np.float32)
        scaled = body.LogSoftmax(body.Div(body.Unsqueeze(logits, [1]), scales[:, None]), axis=2)  # (B, 2, V)
        at = body.Unsqueeze(token, [1, 2])
        gained = body.Squeeze(body.GatherElements(scaled, body.Concat(at, at, axis=1), axis=2), [2])
        log_probs = body.Add(log_probs, body.Where(body.Unsqueeze(ended, [1]), 0.0, gained))
        ended = body.Or(ended, body.Equal(token, EOS))
        unfinished = body.ReduceMin(body.Cast(ended, to=INT64), axes=[0], keepdims=0)
        body.output(body.Equal(unfinished, 0), "go_on", BOOL, ())
        for tensor, kind in zip((token, ended, log_probs, *after), kinds, strict=True):
            body.output(tensor, *kind)
        probability = body.Exp(body.Gather(gained, 1, axis=1))
        body.output(token, "ids", INT64, ("B",))
        body.output(probability, "probabilities", FLOAT, ("B",))
        body.output(weights, "attention", FLOAT, ("B", "S"))
        results = g.Loop(limit, True, *carried, outputs=len(carried) + 3, body=body)
        ids, probabilities, attention = results[-3:]
        return ids, probabilities, attention, results[2]
