"""One compiled optimisation step on every device of a cluster."""

from __future__ import annotations

import tensorflow as tf

from aocr.config import TrainConfig
from aocr.data.batching import share_of
from aocr.data.pipeline import Batch
from aocr.model.cnn import num_columns
from aocr.model.losses import ctc_loss, sequence_loss
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
                aligned = ctc_loss(ctc_logits, num_columns(widths), targets, lengths, from_right)
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
