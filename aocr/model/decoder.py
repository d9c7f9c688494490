"""The attention decoder: one symbol per step. Training, reading and exports share `advance`."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import layers, ops

from aocr.config import ModelConfig
from aocr.model.attention import AdditiveAttention, next_position
from aocr.model.layers import collect_steps, step_reader
from aocr.text.charset import GO


class Memory(NamedTuple):
    """The encoded images that the decoder attends to. B images, S columns."""

    values: Any
    """(B, S, M)."""
    keys: Any
    """(B, S, A), `values` projected for the attention."""
    mask: Any
    """(B, S) boolean, False on padding; None attends to every column."""
    states: tuple
    """The encoder's final states, forward (h, c) then backward (h, c), each (B, M / 2)."""
    counts: Any = None
    """(B, S), symbols begun up to each column; None without guidance."""


class Decoder(layers.Layer):
    """LSTM or GRU layers that attend to the memory after each step and take the context as input to the next.

    x = [embedding, context] W + b; cells; context, weights = attention(all states); logits = [output,
    context] W + b (Vinyals et al., 2015, "Grammar as a foreign language"). `attention_units` is A.
    """

    def __init__(self, config: ModelConfig, attention_units: int, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.units, self.num_layers, self.use_gru = config.attn_num_hidden, config.attn_num_layers, config.use_gru
        self.traits, self.state_size = config.traits, config.state_size
        size = config.charset.vocabulary_size
        self.embedding = layers.Embedding(size, config.target_embedding_size, name="embedding")
        self.input_projection = layers.Dense(self.units, name="input_projection")
        if self.traits.shared_cells:
            self.cells = [self._cell("cell0")] * self.num_layers
        else:
            self.cells = [self._cell(f"cell{i}") for i in range(self.num_layers)]
        self.attention = AdditiveAttention(attention_units, ctc_guided=self.traits.ctc, name="attention")
        self.output_projection = layers.Dense(size, name="output_projection")

    def _cell(self, name: str):
        if self.use_gru:
            return layers.GRUCell(self.units, reset_after=False, name=name)
        return layers.LSTMCell(self.units, unit_forget_bias=self.traits.forget_bias, name=name)

    def initial_state(self, memory: Memory) -> tuple:
        """Return the state before the first step: flat cell state (B, state_size), context (B, M), position (B,)."""
        context = ops.zeros_like(memory.values[:, 0, :])
        position = ops.zeros_like(context[:, 0])
        if not self.traits.starts_from_encoder:
            return ops.zeros((ops.shape(context)[0], self.state_size)), context, position
        forward_h, forward_c, *_ = memory.states
        return ops.concatenate([forward_c, forward_h], axis=1)[:, : self.state_size], context, position

    def _run_cells(self, x, flat, training):
        """Run the cells: x (B, U), flat state (B, state_size) -> output (B, U), flat state."""
        parts = ops.split(flat, self.state_size // self.units, axis=1)
        new = []
        for i, cell in enumerate(self.cells):
            if self.use_gru:
                x, (h,) = cell(x, [parts[i]], training=training)
                new.append(h)
            else:
                x, (h, c) = cell(x, [parts[2 * i + 1], parts[2 * i]], training=training)
                new += [c, h]
        return x, ops.concatenate(new, axis=1)

    def step(self, token, state: tuple, memory: Memory, training: bool = False):
        """Decode one step: token (B,) int, state, memory -> logits (B, V), attention (B, S), state."""
        hidden, weights, state = self.advance(self.embedding(token), state, memory, training)
        return self.output_projection(hidden), weights, state

    def advance(self, embedded, state: tuple, memory: Memory, training: bool = False):
        """Run a step without the output projection: embedded token (B, E) -> hidden (B, U + M), attention, state."""
        flat, context, position = state
        x = self.input_projection(ops.concatenate([embedded, context], axis=1))
        output, flat = self._run_cells(x, flat, training)
        ahead = None if memory.counts is None else memory.counts - position[:, None] - 1.0
        context, weights = self.attention(memory.values, memory.keys, flat, mask=memory.mask, ahead=ahead)
        if ahead is not None:
            position = next_position(position, ahead, weights)
        return ops.concatenate([output, context], axis=1), weights, (flat, context, position)

    def call(self, memory: Memory, tokens, training: bool = False):
        """Run teacher forcing: tokens (B, T), GO first -> logits (B, T, V), attention (B, T, S)."""
        by_step = ops.transpose(tokens)  # (B, T) -> (T, B)
        embedded_at = step_reader(self.embedding(by_step))  # (B, E) per step

        def step(i, state):
            hidden, weights, state = self.advance(embedded_at(i), state, memory, training=training)
            return (hidden, weights), state

        steps = ops.shape(by_step)[0]
        (hidden, weights), _ = collect_steps(step, self.initial_state(memory), steps)
        logits = self.output_projection(hidden)
        return ops.transpose(logits, (1, 0, 2)), ops.transpose(weights, (1, 0, 2))  # (T, B, .) -> (B, T, .)

    def overrun(self, state: tuple, memory: Memory):
        """Return the symbols read beyond the CTC head's count, (B,); 0 without a CTC head."""
        position = state[-1]
        return ops.zeros_like(position) if memory.counts is None else position - ops.max(memory.counts, axis=1)

    def go_tokens(self, memory: Memory):
        """Return the tokens for the first step: (B,) of GO."""
        return ops.full((ops.shape(memory.values)[0],), GO, dtype="int32")
