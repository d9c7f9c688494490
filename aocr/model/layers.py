"""A layer and a loop where a TensorFlow kernel pays; on other backends Keras does the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

    def call(self, inputs, training=False):
        if not _ON_TENSORFLOW:
            return super().call(inputs, training=training)
        if training and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            return self._over_replicas(inputs)
        weights = [self.gamma.value, self.beta.value]
        if not training:
            weights += [self.moving_mean.value, self.moving_variance.value]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, *weights, epsilon=self.epsilon, is_training=bool(training)
        )
        if training:
            count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
            variance *= (count - 1.0) / count  # the kernel's is the unbiased one, Keras keeps the biased
            self._move(mean, variance)
        return outputs

    def _move(self, mean, variance) -> None:
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving.value * self.momentum + batch * (1.0 - self.momentum))

    def _over_replicas(self, inputs):
        """Normalise with the moments of all replicas' images, which one sum over the replicas gives."""
        outputs, mean, variance = _normalise_over_replicas(inputs, self.gamma.value, self.beta.value, self.epsilon)
        self._move(mean, variance)
        return outputs


def _sum_over_replicas(tensors: Sequence) -> list:
    """The sum over all replicas of each of some float32 vectors, in one exchange."""
    joined = tf.concat(tensors, 0)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, joined)
    return tf.split(total, [tensor.shape[0] for tensor in tensors])


def _normalise_over_replicas(inputs, gamma, beta, epsilon: float):
    """Batch normalisation over all replicas from the fused kernels of one.

    The gradient is the frozen one (moments as constants, which its kernel gives) and what flows through the moments:
    dx = frozen - gamma / sigma * (mean(dy) + xhat * mean(dy * xhat)), means over all replicas.

    Args:
      inputs: (B, H, W, C).
      gamma, beta: (C,) float32.
      epsilon: added to the variance.

    Returns:
      Outputs like `inputs`, mean and biased variance (C,) of all replicas' inputs.
    """

    def frozen(x, scale, offset, mean, variance):
        return tf.compat.v1.nn.fused_batch_norm(x, scale, offset, mean, variance, epsilon=epsilon, is_training=False)[0]

    @tf.custom_gradient
    def normalise(x, gamma, beta):
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        _, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon, is_training=True)
        square = variance * (count - 1.0) / count + mean * mean
        means, squares, counts = _sum_over_replicas([mean * count, square * count, count[None]])
        mean = means / counts
        variance = tf.maximum(squares / counts - mean * mean, 0.0)

        def gradient(upstream, *_):
            dx, dgamma, dbeta, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=upstream, x=x, scale=gamma, reserve_space_1=mean, reserve_space_2=variance,
                reserve_space_3=tf.zeros((0,)), epsilon=epsilon, is_training=False,
            )  # fmt: skip
            gamma_sums, beta_sums = _sum_over_replicas([dgamma, dbeta])
            slope = gamma * tf.math.rsqrt(variance + epsilon) / counts
            dx -= frozen(x, slope * gamma_sums, slope * beta_sums, mean, variance)
            return dx, dgamma, dbeta

        return (frozen(x, gamma, beta, mean, variance), mean, variance), gradient

    return normalise(inputs, gamma, beta)


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
