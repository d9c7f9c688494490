"""Reference implementation in numpy, written from the papers: LSTM, GRU, CTC, attention decoder.

LSTM: Hochreiter and Schmidhuber, 1997, with forget gate (Gers et al., 2000). GRU: Cho et al., 2014. Attention:
Bahdanau et al., 2015. CTC: Graves et al., 2006. Weights have the names of a checkpoint.
"""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def lstm_step(w, x, h, c):
    """Gates in the order input, forget, candidate, output."""
    i, f, g, o = np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(w, x, h):
    """Gates in the order update, reset, candidate; reset before the product."""
    units = h.shape[-1]
    wx, wh, b = w["kernel"], w["recurrent_kernel"], w["bias"]
    z = sigmoid(x @ wx[:, :units] + h @ wh[:, :units] + b[:units])
    r = sigmoid(x @ wx[:, units : 2 * units] + h @ wh[:, units : 2 * units] + b[units : 2 * units])
    g = np.tanh(x @ wx[:, 2 * units :] + (r * h) @ wh[:, 2 * units :] + b[2 * units :])
    return z * h + (1 - z) * g


def run_lstm(w, xs, length):
    """Run over the first `length` rows of xs (S, F) -> outputs (length, U), last h, last c."""
    h = c = np.zeros(w["recurrent_kernel"].shape[0])
    outputs = []
    for x in xs[:length]:
        h, c = lstm_step(w, x, h, c)
        outputs.append(h)
    return np.array(outputs), h, c


def part(weights, prefix):
    """Return the weights under `prefix`, without it in their names."""
    return {k[len(prefix) + 1 :]: v for k, v in weights.items() if k.startswith(prefix + "/")}


def encode(weights, features, length):
    """Encode an image's features (S, F) -> memory (length, M), forward h and c."""
    forward, h, c = run_lstm(part(weights, "encoder/lstm/forward_lstm/lstm_cell"), features, length)
    backward, *_ = run_lstm(part(weights, "encoder/lstm/backward_lstm/lstm_cell"), features[:length][::-1], length)
    return np.concatenate([forward, backward[::-1]], axis=1), h, c


def symbol_counts(weights, features):
    """Count the symbols begun up to each of (length, F) columns, from left to right: (length,)."""
    probabilities = softmax(features @ weights["ctc/kernel"] + weights["ctc/bias"])[:, 1:]
    count, counts = 0.0, []
    previous = np.zeros_like(probabilities[0])
    for current in probabilities:
        count += sum(current * (1 - previous))
        counts.append(count)
        previous = current
    return np.array(counts)


def ctc_loss(logits, label):
    """Compute -log of the probability of a label from (S, V) logits, by the forward recursion of Graves et al."""
    states = [0, *(state for symbol in label for state in (symbol, 0))]
    sums = [1.0] + [0.0] * len(label) * 2  # before the first column, which a blank or the first symbol may fill
    for row in softmax(logits):
        reached = []
        for u, symbol in enumerate(states):
            total = sums[u] + (sums[u - 1] if u else 0.0)
            if u > 1 and symbol != 0 and symbol != states[u - 2]:
                total += sums[u - 2]
            reached.append(total * row[symbol])
        sums = reached
    return -np.log(sum(sums[-2:]))


class Decoder:
    """The attention decoder for one image; `step` returns logits and attention."""

    def __init__(self, weights, features, memory, h, c, *, layers, classic, gru):
        self.counts = None if classic else symbol_counts(weights, features[: len(memory)])
        self.position = 0.0
        self.w, self.memory, self.classic, self.gru = weights, memory, classic, gru
        units = weights["decoder/input_projection/bias"].shape[0]
        size = units * layers * (1 if gru else 2)
        flat = np.concatenate([c, h])[:size] if classic else np.zeros(size)
        self.parts = np.split(flat, size // units)
        self.context = np.zeros(memory.shape[1])
        self.keys = memory @ weights["key/kernel"]

    def _cells(self, x):
        step = 1 if self.gru else 2
        for layer in range(len(self.parts) // step):
            w = part(self.w, f"decoder/cell{0 if self.classic else layer}")
            if self.gru:
                x = self.parts[layer] = gru_step(w, x, self.parts[layer])
            else:
                x, self.parts[2 * layer] = lstm_step(w, x, self.parts[2 * layer + 1], self.parts[2 * layer])
                self.parts[2 * layer + 1] = x
        return x

    def step(self, token):
        w = self.w
        x = np.concatenate([w["decoder/embedding/embeddings"][token], self.context])
        output = self._cells(x @ w["decoder/input_projection/kernel"] + w["decoder/input_projection/bias"])
        query = np.concatenate(self.parts)
        q = query @ w["decoder/attention/query/kernel"] + w["decoder/attention/query/bias"]
        scores = np.tanh(self.keys + q) @ w["decoder/attention/v"][:, 0]
        if self.counts is not None:
            ahead = self.counts - (self.position + 1)
            lead = w["decoder/attention/lead"]
            for offset, weight in zip(range(-4, 5), lead, strict=False):
                scores = scores + weight * np.exp(-2 * (ahead - offset) ** 2)
            scores = scores + lead[-1] * np.clip(ahead / 8, -1, 1)
        attention = softmax(scores)
        if self.counts is not None:
            near = attention * np.exp(-(ahead**2) / 2)
            self.position += 1 + (near @ ahead) / (near.sum() + 0.1)
        self.context = attention @ self.memory
        both = np.concatenate([output, self.context])
        return both @ w["decoder/output_projection/kernel"] + w["decoder/output_projection/bias"], attention
