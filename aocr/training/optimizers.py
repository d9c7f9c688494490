"""The optimizers of `--optimizer`, with updates in TensorFlow's fused kernels."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from aocr.config import TrainConfig
from aocr.model.recognizer import Recognizer


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
