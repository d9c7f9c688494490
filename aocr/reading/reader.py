"""From the network's tensors to predictions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from aocr.config import COLUMN_PIXELS, ModelConfig, ReadConfig
from aocr.errors import ConfigError
from aocr.model.decoding import NEVER, Constraint, Reading
from aocr.model.recognizer import Recognizer
from aocr.results import Alternative, Character, Prediction
from aocr.text.automaton import Automaton
from aocr.text.charset import EOS, NUM_SPECIALS, Charset, normalise
from aocr.text.lexicon import compile_lexicon, read_words
from aocr.text.patterns import compile_pattern
from aocr.training.progress import log

MASS = 0.8
"""Share of a character's attention that its box holds."""


class Reader:
    """The compiled reading functions of a model: one trace each, whatever the batch's shape.

    Args:
      model: to read with.
      config: of the model.
      how: beam and constraints.
      temperature: of the confidence.

    Raises:
      ConfigError: a pattern or lexicon cannot be used with this model.
    """

    def __init__(self, model: Recognizer, config: ModelConfig, how: ReadConfig | None = None, temperature: float = 1.0):
        how = how or ReadConfig()
        images = tf.TensorSpec((None, config.height, None, config.channels), tf.float32)
        widths = tf.TensorSpec((None,), tf.int32)
        ids = tf.TensorSpec((None, None), tf.int32)
        weights = tf.TensorSpec((None, None), tf.float32)
        constraints = make_constraints(how, config.charset, model.max_steps)

        def read(images, widths):
            temperatures = (1.0, temperature)
            return model.read(images, widths, temperatures=temperatures, beam=how.width, constraints=constraints)

        def log_likelihood(images, widths, tokens, targets, weights):
            logits, *_ = model(images, widths, tokens)
            picked = tf.gather(tf.nn.log_softmax(logits), targets, axis=2, batch_dims=2)  # (B, T, V) -> (B, T)
            return tf.reduce_sum(picked * weights, 1)

        self.num_alternatives = how.alternatives
        self.read = tf.function(read, input_signature=(images, widths))
        self.log_likelihood = tf.function(log_likelihood, input_signature=(images, widths, ids, ids, weights))


def make_constraints(how: ReadConfig, charset: Charset, max_steps: int) -> list[Constraint]:
    """The automata that texts must follow.

    Raises:
      ConfigError: a pattern or lexicon cannot be used, or all its texts are longer than the model's limit.
    """
    constraints = []
    if how.pattern is not None:
        automaton = compile_pattern(how.pattern, charset)
        constraints.append(_constraint(automaton, -NEVER, max_steps, "--pattern", how.pattern))
    if how.lexicon is not None:
        words = read_words(how.lexicon)
        if how.pattern is not None and how.lexicon_weight is None:  # of two that bind, the common texts
            words = [word for word in words if re.fullmatch(normalise(how.pattern), normalise(word))]
            if not words:
                raise ConfigError("--lexicon", how.lexicon, f"no entry fits --pattern {how.pattern!r}.")
        automaton, left_out = compile_lexicon(words, charset)
        if left_out:
            shown = ", ".join(map(repr, left_out[:3]))
            log.warning("%s: %d entries have symbols outside the charset: %s", how.lexicon, len(left_out), shown)
        penalty = -NEVER if how.lexicon_weight is None else how.lexicon_weight
        constraints.append(_constraint(automaton, penalty, max_steps, "--lexicon", how.lexicon))
    return constraints


def _constraint(automaton: Automaton, penalty: float, max_steps: int, field: str, value: str) -> Constraint:
    shortest = int(automaton.distances[0])
    if shortest >= max_steps and penalty == -NEVER:
        reason = f"its shortest text has {shortest} characters, the model writes up to {max_steps - 1}."
        raise ConfigError(field, value, f"{reason} Train with a larger --max-prediction.")
    return Constraint(
        keys=tf.constant(automaton.keys, tf.int64),
        targets=tf.constant(automaton.targets, tf.int32),
        ends=tf.constant(automaton.accepting, tf.bool),
        distances=tf.constant(automaton.distances, tf.int32),
        penalty=penalty,
    )


def _box(weights: np.ndarray, column_width: float, image_width: int) -> tuple[float, float]:
    """Edges of the narrowest middle that holds `MASS` of a row of attention, in original pixels."""
    total = np.concatenate([[0.0], np.cumsum(weights)])
    total /= max(total[-1], 1e-9)
    edges = np.interp([(1 - MASS) / 2, (1 + MASS) / 2], total, np.arange(len(total)))
    x0, x1 = np.clip(edges * column_width, 0, image_width)
    return round(float(x0), 1), round(float(x1), 1)


def to_predictions(
    reading: Reading, scales: Sequence[float], image_widths: Sequence[int], charset: Charset, num_alternatives: int = 0
) -> list[Prediction]:
    """The Predictions of a batch.

    Args:
      reading: of the batch, tensors or arrays.
      scales: original pixels that a pixel of each network's image spans.
      image_widths: original widths in pixels.
      charset: of the model.
      num_alternatives: other readings to tell, at the most.
    """
    arrays = Reading(*map(np.asarray, reading))
    images = zip(scales, image_widths, strict=True)
    return [_prediction(arrays, b, *image, charset, num_alternatives) for b, image in enumerate(images)]


def _prediction(
    reading: Reading, b: int, scale: float, image_width: int, charset: Charset, num_alternatives: int
) -> Prediction:
    ids, attention = reading.ids[b], reading.attention[b]
    ends = np.flatnonzero(ids == EOS)
    steps = int(ends[0]) + 1 if len(ends) else len(ids)
    column_width = COLUMN_PIXELS * float(scale)
    characters = tuple(
        Character(
            charset.decode([ids[t]]), float(reading.probabilities[b, t]), *_box(attention[t], column_width, image_width)
        )
        for t in range(steps)
        if ids[t] >= NUM_SPECIALS
    )
    others = [
        Alternative(charset.decode(beam), float(np.exp(log_probs[-1])))
        for beam, log_probs in zip(reading.beam_ids[b, 1:], reading.log_probs[b, 1:], strict=True)
        if log_probs[-1] > NEVER / 2
    ]
    return Prediction(
        text=charset.decode(ids),
        confidence=float(reading.confidence[b]),
        characters=characters,
        attention=attention[:steps],
        image_width=image_width,
        column_width=column_width,
        alternatives=tuple(others[:num_alternatives]),
        uncalibrated=float(np.exp(reading.log_probs[b, 0, 0])),
    )
