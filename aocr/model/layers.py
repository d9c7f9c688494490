"""A layer and a loop where a TensorFlow kernel pays; on other backends Keras does the same."""

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

    Variables and results are those of `keras.layers.BatchNormalization`, several times faster on a CPU. Where
    several replicas train together, the statistics are those of all their images. Keras's own code runs on
    other backends.
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
            variance *= (count - 1.0) / count  # the kernel's is the unbiased one, Keras keeps the biased
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving.value * self.momentum + batch * (1.0 - self.momentum))
        return outputs


_unrolls: ContextVar[bool] = ContextVar("_unrolls", default=False)


@contextmanager
def unrolled() -> Iterator[None]:
    """Inside the block loops are written out step by step, to their limits, for formats that have no loops."""
    token = _unrolls.set(True)
    try:
        yield
    finally:
        _unrolls.reset(token)


def taken_in_steps(values) -> Callable[[object], object]:
    """The function index -> `values[index]`, for a loop over the first axis.

    On TensorFlow the gradient of a slice is a whole tensor of zeros at each step; this one's are joined once.
    """
    if not _ON_TENSORFLOW or _unrolls.get():
        return lambda i: values[i]
    size, shape = tf.shape(values)[0], values.shape[1:]
    return tf.TensorArray(values.dtype, size, element_shape=shape, clear_after_read=False).unstack(values).read


def collect_steps(
    step: Callable[[object, tuple], tuple[tuple, tuple]],
    state: tuple,
    max_steps,
    go_on: Callable[[tuple], object] = lambda state: True,
) -> tuple[Sequence, tuple]:
    """Run `step` until `go_on` says no or `max_steps` are done, and stack what each step gives.

    Args:
      step: (index, state) -> (output tensors, state); its shapes do not depend on the index.
      state: tuple of tensors, the same shapes before and after a step.
      max_steps: limit, 1 or more; a scalar int32 tensor on TensorFlow, elsewhere a Python integer.
      go_on: state -> scalar boolean tensor, asked before each step but the first.

    Returns:
      The outputs, each stacked on a new first axis, and the last state. The axis counts the steps done;
      on backends that need static shapes it counts `max_steps`, zeros after the last step.
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
        return ops.logical_and(i < max_steps, go_on(state))

    i = ops.convert_to_tensor(1, dtype="int32")
    _, arrays, state = ops.while_loop(unfinished, body, (i, arrays, state))
    return tuple(stack(array) for array in arrays), state
