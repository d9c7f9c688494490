"""The CTC loss on TensorFlow: both passes in one loop, several times faster than Keras's."""

from __future__ import annotations

import tensorflow as tf

IMPOSSIBLE = -1e30
"""Log probability of what cannot happen; finite, so that differences are."""


def ctc_losses(logits: tf.Tensor, columns: tf.Tensor, targets: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Compute each label's -log probability, summed over all alignments (Graves et al., 2006), (B,); blank is 0.

    The states of a label are its symbols with blanks around them, U = 2 T + 1. The backward pass is the forward pass
    over the reversed image and label, so both run side by side.

    Args:
      logits: (B, S, V) float32.
      columns: (B,) int32, valid columns of each image.
      targets: (B, T) int32, 0 after the label.
      lengths: (B,) int32, number of symbols; they must fit into the columns.
    """
    blanks_and_symbols = tf.stack([tf.zeros_like(targets), targets], axis=2)  # (B, T, 2)
    states = tf.pad(tf.reshape(blanks_and_symbols, (tf.shape(targets)[0], -1)), [[0, 0], [0, 1]])  # (B, U)
    two_before = tf.pad(states, [[0, 0], [2, 0]])[:, :-2]
    leaps = tf.where((states != 0) & (states != two_before), 0.0, IMPOSSIBLE)  # over the blank before a state
    return _losses(logits, columns, states, leaps, 2 * lengths + 1)


def _forward(emitted: tf.Tensor, leaps: tf.Tensor) -> tf.Tensor:
    """Sum the alignments that reach each state: log probabilities (S, N, B, U), leaps (N, B, U) -> (S, N, B, U)."""
    num_columns, shape = tf.shape(emitted)[0], emitted.shape[1:]
    emitted_at = tf.TensorArray(tf.float32, num_columns, element_shape=shape).unstack(emitted)
    first = tf.where(tf.range(tf.shape(emitted)[-1]) < 2, emitted[0], IMPOSSIBLE)
    reached = tf.TensorArray(tf.float32, num_columns, element_shape=shape).write(0, first)

    def step(i, stay, reached):
        padded = tf.pad(stay, [[0, 0], [0, 0], [2, 0]], constant_values=IMPOSSIBLE)
        move, leap = padded[..., 1:-1], padded[..., :-2] + leaps
        largest = tf.maximum(tf.maximum(stay, move), leap)
        total = tf.exp(stay - largest) + tf.exp(move - largest) + tf.exp(leap - largest)
        stay = largest + tf.math.log(total) + emitted_at.read(i)
        return i + 1, stay, reached.write(i, stay)

    return tf.while_loop(lambda i, *_: i < num_columns, step, (1, first, reached))[-1].stack()


@tf.custom_gradient
def _losses(logits, columns, states, leaps, num_states):
    log_probs = tf.nn.log_softmax(logits)
    is_symbol = tf.one_hot(states, logits.shape[-1])  # (B, U, V)
    size = tf.shape(states)[1]
    exists = tf.sequence_mask(num_states, size)[:, None]
    emitted = tf.where(exists, tf.matmul(log_probs, is_symbol, transpose_b=True), IMPOSSIBLE)  # (B, S, U)

    def reverse(values):
        values = tf.reverse_sequence(values, columns, seq_axis=1, batch_axis=0)
        return tf.reverse_sequence(values, num_states, seq_axis=2, batch_axis=0)

    leaps_back = tf.pad(leaps[:, 2:], [[0, 0], [0, tf.minimum(size, 2)]], constant_values=IMPOSSIBLE)
    leaps_back = tf.reverse_sequence(leaps_back, num_states, seq_axis=1, batch_axis=0)
    both = tf.transpose(tf.stack([emitted, reverse(emitted)]), (2, 0, 1, 3))  # (S, 2, B, U)
    forward, backward = tf.unstack(tf.transpose(_forward(both, tf.stack([leaps, leaps_back])), (1, 2, 0, 3)))
    through = forward + reverse(backward) - emitted  # log probability of all alignments through a state at a column
    total = tf.reduce_logsumexp(through[:, 0], axis=1)

    def gradient(upstream):
        share = tf.exp(tf.minimum(through - total[:, None, None], 0.0)) * tf.cast(exists, tf.float32)
        factor = tf.sequence_mask(columns, tf.shape(logits)[1], tf.float32) * upstream[:, None]
        return (tf.exp(log_probs) - tf.matmul(share, is_symbol)) * factor[..., None], None, None, None, None

    return -total, gradient
