"""Reading: choosing a text step by step with the decoder's `step`."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from aocr.charset import EOS
from aocr.model.decoder import Decoder, Memory
from aocr.model.layers import collect_steps


class Reading(NamedTuple):
    """What greedy reading found. T steps were done: until every text had ended, or the limit.

    Attributes:
      ids: (B, T) int32; after a text's EOS the values mean nothing.
      probabilities: (B, T) float32, of each chosen symbol given the ones before it.
      attention: (B, T, S) float32.
      confidence: (B,) float32, product of the probabilities up to and with EOS.
    """

    ids: object
    probabilities: object
    attention: object
    confidence: object


def greedy(decoder: Decoder, memory: Memory, max_steps, stop_early: bool = True) -> Reading:
    """Take the likeliest symbol at each step.

    Args:
      decoder: its `step` is run.
      memory: of B images.
      max_steps: limit on T, EOS counted.
      stop_early: stop when every text has ended, not at `max_steps`.
    """

    def step(_, state):
        token, ended, inner = state
        logits, weights, inner = decoder.step(token, inner, memory)
        probabilities = ops.softmax(logits)
        token = ops.cast(ops.argmax(logits, axis=-1), "int32")
        outputs = (token, ops.max(probabilities, axis=-1), weights, ended)
        return outputs, (token, ops.logical_or(ended, ops.equal(token, EOS)), inner)

    def go_on(state):
        return ops.logical_not(ops.all(state[1])) if stop_early else ops.convert_to_tensor(True)

    token = decoder.go_tokens(memory)
    state = (token, ops.zeros_like(token, dtype="bool"), decoder.initial_state(memory))
    (ids, probabilities, attention, ended), _ = collect_steps(step, state, max_steps, go_on)
    confidence = ops.prod(ops.where(ended, 1.0, probabilities), axis=0)
    attention = ops.transpose(attention, (1, 0, 2))  # (T, B, S) -> (B, T, S)
    return Reading(ops.transpose(ids), ops.transpose(probabilities), attention, confidence)
