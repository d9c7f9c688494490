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
        if training and _has_replicas():
            return normalise_together([self], [inputs], training)[0]
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


def _has_replicas() -> bool:
    return _ON_TENSORFLOW and tf.distribute.get_strategy().num_replicas_in_sync > 1


def normalise_together(norms: Sequence[BatchNorm], inputs: Sequence, training=False) -> list:
    """What each of some `BatchNorm`s makes of its input; several replicas exchange all their statistics at once."""
    if not (training and _has_replicas()):
        return [norm(x, training=training) for norm, x in zip(norms, inputs, strict=True)]
    scales = [(norm.gamma.value, norm.beta.value) for norm in norms]
    outputs, means, variances = _normalise_over_replicas(list(inputs), scales, norms[0].epsilon)
    for norm, mean, variance in zip(norms, means, variances, strict=True):
        norm._move(mean, variance)
    return outputs


def _sum_over_replicas(tensors: Sequence) -> list:
    """The sum over all replicas of each of some float32 vectors, in one exchange."""
    joined = tf.concat(tensors, 0)
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, joined)
    return tf.split(total, [tensor.shape[0] for tensor in tensors])


def _frozen(x, gamma, beta, mean, variance, epsilon: float):
    return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=epsilon, is_training=False)[0]


def _sums(x, gamma, beta, epsilon: float) -> tuple:
    """Sum, sum of squares (C,) and number (1,) of this replica's values a channel; x: (B, H, W, C)."""
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    _, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=epsilon, is_training=True)
    square = variance * (count - 1.0) / count + mean * mean  # the kernel's variance is the unbiased one
    return mean * count, square * count, count[None]


def _normalise_over_replicas(inputs: list, scales: list[tuple], epsilon: float) -> tuple[list, list, list]:
    """Batch normalisations over all replicas from the fused kernels of one.

    The gradient is the frozen one (moments as constants, which its kernel gives) and what flows through the moments:
    dx = frozen - gamma / sigma * (mean(dy) + xhat * mean(dy * xhat)), means over all replicas.

    Args:
      inputs: N tensors (B, H, W, C), each with its own H, W and C.
      scales: N pairs (gamma, beta) of (C,) float32.
      epsilon: added to the variances.

    Returns:
      N outputs like `inputs`, N means and N biased variances (C,) of all replicas' inputs.
    """
    num = len(inputs)

    @tf.custom_gradient
    def normalise(*tensors):
        xs, gammas, betas = tensors[:num], tensors[num : 2 * num], tensors[2 * num :]
        local = [_sums(*each, epsilon) for each in zip(xs, gammas, betas, strict=True)]
        totals = _sum_over_replicas([value for sums in local for value in sums])
        counts = totals[2::3]
        means = [total / count for total, count in zip(totals[::3], counts, strict=True)]
        squares = [total / count for total, count in zip(totals[1::3], counts, strict=True)]
        variances = [tf.maximum(s - mean * mean, 0.0) for s, mean in zip(squares, means, strict=True)]

        def gradient(*upstream):
            parts = [
                tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=upstream[i], x=xs[i], scale=gammas[i], reserve_space_1=means[i],
                    reserve_space_2=variances[i], reserve_space_3=tf.zeros((0,)), epsilon=epsilon, is_training=False,
                )[:3]
                for i in range(num)
            ]  # fmt: skip
            totals = _sum_over_replicas([value for _, *sums in parts for value in sums])
            dxs = []
            for i, (dx, *_) in enumerate(parts):
                slope = gammas[i] * tf.math.rsqrt(variances[i] + epsilon) / counts[i]
                dgamma, dbeta = totals[2 * i : 2 * i + 2]
                dxs.append(dx - _frozen(xs[i], slope * dgamma, slope * dbeta, means[i], variances[i], epsilon))
            return (*dxs, *(dgamma for _, dgamma, _ in parts), *(dbeta for *_, dbeta in parts))

        outputs = [_frozen(*each, epsilon) for each in zip(xs, gammas, betas, means, variances, strict=True)]
        return (*outputs, *means, *variances), gradient

    found = normalise(*inputs, *(gamma for gamma, _ in scales), *(beta for _, beta in scales))
    return list(found[:num]), list(found[num : 2 * num]), list(found[2 * num :])


def taken_in_steps(values) -> Callable[[object], object]:
    """The function index -> `values[index]`, for a loop over the first axis.

    On TensorFlow the gradient of a slice is a whole tensor of zeros at each step; this one's are joined once.
    """
    if not _ON_TENSORFLOW:
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
