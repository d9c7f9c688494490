"""One compiled optimisation step on every device of a cluster."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aocr.config import TrainConfig
from aocr.data.batching import share_of
from aocr.data.pipeline import Batch
from aocr.model.cnn import num_columns
from aocr.model.losses import ctc_loss, sequence_loss
from aocr.model.recognizer import Recognizer
from aocr.training.cluster import Cluster
from aocr.training.learner import Learner

CTC_WEIGHT = 1.0
"""Weight of the encoder's CTC loss, added to the decoder's loss (joint training, Kim et al., 2017)."""
PACK_BYTES = 32 * 2**20
"""Maximum bytes of gradients in one exchange."""


class TrainStep:
    """One compiled optimisation step on every device of a cluster.

    Args:
      learner: the model, its optimizer and the average of its weights, which all change.
      config: seed and clipping.
      cluster: the devices.
    """

    def __init__(self, learner: Learner, config: TrainConfig, cluster: Cluster):
        self.model, self.optimizer, self.average = learner.model, learner.optimizer, learner.average
        self.config, self.cluster = config, cluster
        self._seeds = [v.value for v in self.model.variables if v.path.endswith("seed_generator_state")]
        self._run = tf.function(
            self._distributed,
            autograph=False,
            input_signature=(
                tf.TensorSpec((None, self.model.config.height, None, self.model.config.channels), tf.float32),
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((None, None), tf.int32),
                tf.TensorSpec((None, None), tf.int32),
                tf.TensorSpec((None, None), tf.float32),
                tf.TensorSpec((), tf.float32),
                tf.TensorSpec((), tf.int64),
            ),
        )

    def __call__(self, batch: Batch, rate: float, step: int) -> tf.Tensor:
        """Train on a batch; return the decoder's loss per symbol over all workers, a scalar tensor.

        Args:
          batch: this worker's part.
          rate: learning rate.
          step: index of the step.
        """
        tensors = (batch.images, batch.widths, batch.tokens, batch.targets, batch.weights)
        return self._run(*tensors, tf.constant(rate), tf.constant(step, tf.int64))

    def _distributed(self, images, widths, tokens, targets, weights, rate, step):
        self.optimizer.learning_rate.assign(rate)
        for i, seed in enumerate(self._seeds):  # dropout depends on the seed and the step only
            value = tf.stack([step * len(self._seeds) + i, tf.constant(self.config.seed, tf.int64)])
            seed.assign(tf.cast(value, seed.dtype))
        strategy = self.cluster.strategy
        per_replica = strategy.run(self._replica, (step, images, widths, tokens, targets, weights))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    def _replica(self, step, *values):
        tensors = list(values)
        replica, devices = tf.distribute.get_replica_context(), self.cluster.local_replicas
        if devices > 1:
            *tensors, factor = share_of(tensors, replica.replica_id_in_sync_group % devices, devices)
            tensors[-1] *= factor
        images, widths, tokens, targets, weights = tensors
        symbols = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        with tf.GradientTape() as tape:
            logits, _, ctc_logits = self.model(images, widths, tokens, training=True)
            loss = sequence_loss(logits, targets, weights) / symbols
            total = loss
            if ctc_logits is not None:
                lengths = tf.cast(tf.reduce_sum(weights, 1), tf.int32) - 1
                from_right = self.model.config.charset.right_to_left
                aligned = ctc_loss(ctc_logits, num_columns(widths), targets[:, :-1], lengths, from_right)
                total += CTC_WEIGHT * aligned / symbols
            scaled = self.optimizer.scale_loss(total)
        gradients = tape.gradient(scaled, self.model.trainable_variables)
        gradients = self._clipped(self._summed(self._finite(gradients), replica))
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        self.average.update(step)
        return loss

    def _finite(self, gradients):
        """Replace non-finite gradients of bfloat16 convolutions with zero.

        TensorFlow 2.21's CPU kernel for their weights sometimes multiplies uninitialised memory by zero, and if that
        holds NaN, so does the sum. A training that diverges is still detected by its loss.
        """
        if self.model.cnn_dtype != "mixed_bfloat16":
            return gradients
        return [
            tf.where(tf.math.is_finite(gradient), gradient, 0.0) if "/cnn/" in variable.path else gradient
            for gradient, variable in zip(gradients, self.model.trainable_variables, strict=True)
        ]

    def _summed(self, gradients, replica):
        """Sum gradients over the replicas, in few exchanges."""
        if self.cluster.num_replicas == 1:
            return gradients
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=PACK_BYTES)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients, options)

    def _clipped(self, gradients):
        """Clip gradients by their global norm."""
        if not self.config.clip_gradients:
            return gradients
        scale = getattr(self.optimizer, "dynamic_scale", 1.0)  # of a LossScaleOptimizer
        limit = self.config.max_gradient_norm * tf.cast(scale, tf.float32)
        return tf.clip_by_global_norm(gradients, limit)[0]


class _Summed:
    """An optimizer that leaves summing the gradients over the replicas to `TrainStep`."""

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


class _Fused(_Summed):
    """Adam's update in one TensorFlow kernel, where Keras makes a dozen passes over every variable."""

    def update_step(self: Any, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )


class Adam(_Fused, keras.optimizers.Adam):
    """Adam (Kingma and Ba, 2015)."""


class AdamW(_Fused, keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter, 2019)."""


class Adadelta(_Summed, keras.optimizers.Adadelta):
    """Adadelta (Zeiler, 2012), also updated in one kernel."""

    def update_step(self: Any, gradient, variable, learning_rate):
        """Update a variable. Called by Keras."""
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdadelta(
            var=variable.handle,
            accum=self._accumulated_grads[index].value.handle,
            accum_update=self._accumulated_delta_vars[index].value.handle,
            lr=tf.cast(learning_rate, tf.float32),
            rho=self.rho,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )


class SGD(_Summed, keras.optimizers.SGD):
    """SGD with Nesterov momentum (Sutskever et al., 2013)."""


_OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "adamw": (AdamW, {"weight_decay": 1e-2}),
    "adam": (Adam, {}),
    "adadelta": (Adadelta, {"rho": 0.95, "epsilon": 1e-8}),
    "sgd": (SGD, {"momentum": 0.9, "nesterov": True}),
}


def make_optimizer(config: TrainConfig, model: Recognizer) -> keras.optimizers.Optimizer:
    """Create the optimizer of a training, with its variables built."""
    make, settings = _OPTIMIZERS[config.optimizer]
    optimizer = make(config.learning_rate, **settings)
    if config.optimizer == "adamw":
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "embeddings"])
    if model.cnn_dtype == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    return optimizer
