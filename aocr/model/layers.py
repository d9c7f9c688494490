"""A layer and a loop that use TensorFlow's kernels for speed; other backends use Keras's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import keras
from keras import ops

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation (Ioffe and Szegedy, 2015) with TensorFlow's fused kernel.

    It has the variables and results of `keras.layers.BatchNormalization` and is several times faster on a CPU. In
    distributed training the statistics are taken over all replicas.
    """

    def __init__(self, **kwargs):
        self._has_replicas = _ON_TENSORFLOW and tf.distribute.get_strategy().num_replicas_in_sync > 1
        super().__init__(synchronized=self._has_replicas, **kwargs)

    def call(self, inputs, training=False):
        if not _ON_TENSORFLOW or (training and self._has_replicas):
            return super().call(inputs, training=training)
        weights = [self.gamma.value, self.beta.value]
        if not training:
            weights += [self.moving_mean.value, self.moving_variance.value]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, *weights, epsilon=self.epsilon, is_training=bool(training)
        )
        if training:
            count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
            variance *= (count - 1.0) / count  # the kernel returns the unbiased variance, Keras stores the biased one
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving.value * self.momentum + batch * (1.0 - self.momentum))
        return outputs


_unrolls: ContextVar[bool] = ContextVar("_unrolls", default=False)


@contextmanager
def unrolled() -> Iterator[None]:
    """Unroll loops inside the block, for export formats without loops."""
    token = _unrolls.set(True)
    try:
        yield
    finally:
        _unrolls.reset(token)


def step_reader(values) -> Callable[[object], object]:
    """Return the function index -> `values[index]`, for a loop over the first axis.

    In TensorFlow the gradient of a slice is a full-size tensor at each step; a TensorArray collects slices instead.
    """
    if not _ON_TENSORFLOW or _unrolls.get():
        return lambda i: values[i]
    size, shape = tf.shape(values)[0], values.shape[1:]
    return tf.TensorArray(values.dtype, size, element_shape=shape, clear_after_read=False).unstack(values).read


def collect_steps(
    step: Callable[[object, tuple], tuple[tuple, tuple]],
    state: tuple,
    max_steps,
    should_continue: Callable[[tuple], object] = lambda state: True,
) -> tuple[Sequence, tuple]:
    """Run `step` up to `max_steps` times, while `should_continue` is true, and stack the outputs.

    Args:
      step: (index, state) -> (output tensors, state); its shapes do not depend on the index.
      state: tuple of tensors whose shapes do not change.
      max_steps: 1 or more; a scalar int32 tensor on TensorFlow, elsewhere a Python integer.
      should_continue: state -> scalar boolean tensor, evaluated before each step but the first.

    Returns:
      The outputs, each stacked on a new first axis, and the last state. On backends that need static shapes the
      axis has `max_steps` entries, zeros after the last step.
    """
    if _unrolls.get():
        steps = []
        for i in range(max_steps):
            outputs, state = step(i, state)
            steps.append(outputs)
        return tuple(ops.stack(parts) for parts in zip(*steps, strict=True)), state
    first, state = step(0, state)
    if _ON_TENSORFLOW:
        arrays = tuple(
            tf.TensorArray(out.dtype, size=1, dynamic_size=True, element_shape=out.shape).write(0, out) for out in first
        )
        write = lambda array, i, out: array.write(i, out)  # noqa: E731
        stack = lambda array: array.stack()  # noqa: E731
    else:
        arrays = tuple(
            ops.concatenate([out[None], ops.zeros((max_steps - 1, *out.shape), dtype=out.dtype)]) for out in first
        )
        write = lambda array, i, out: ops.slice_update(array, (i, *[0] * len(out.shape)), out[None])  # noqa: E731
        stack = lambda array: array  # noqa: E731

    def body(i, arrays, state):
        outputs, state = step(i, state)
        arrays = tuple(write(array, i, out) for array, out in zip(arrays, outputs, strict=True))
        return i + 1, arrays, state

    def unfinished(i, arrays, state):
        return ops.logical_and(i < max_steps, should_continue(state))

    _, arrays, state = ops.while_loop(unfinished, body, (ops.convert_to_tensor(1, dtype="int32"), arrays, state))
    return tuple(stack(array) for array in arrays), state
