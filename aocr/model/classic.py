"""The CNN of the classic network; `Arch` lists its other differences from the default one."""

from __future__ import annotations

from keras import layers, ops

from aocr.model.cnn import convolution
from aocr.model.layers import BatchNorm


class ClassicCNN(layers.Layer):
    """The seven convolutions of Attention-OCR, as in aocr 0.7.6.

    (B, H, W, C) images in about [-1, 1] -> (B, ceil(W / 4), 512) float32 features. It has no masks: padding on the
    right counts as image. H is 32.
    """

    features = 512

    def __init__(self, height: int, cnn_dtype="float32", **kwargs):
        super().__init__(**kwargs)
        plan = (  # filters, kernel size, batch normalisation, pooling
            (64, 3, False, (2, 2)), (128, 3, False, (2, 2)), (256, 3, True, None), (256, 3, False, (2, 1)),
            (512, 3, True, None), (512, 3, False, (2, 1)), (512, 2, True, (2, 1)),
        )  # fmt: skip
        self.convs, self.norms, self.pools = [], [], []
        for i, (filters, kernel, has_norm, pool) in enumerate(plan, 1):
            self.convs.append(convolution(filters, kernel, 1, f"conv{i}", cnn_dtype))
            norm = BatchNorm(momentum=0.99, epsilon=1e-3, name=f"norm{i}", dtype=cnn_dtype) if has_norm else None
            self.norms.append(norm)
            self.pools.append(layers.MaxPooling2D(pool, padding="same", dtype=cnn_dtype) if pool else None)
        self.dropout = layers.Dropout(0.5, dtype=cnn_dtype, seed=1)

    def call(self, images, widths=None, training=False):
        x = images
        for conv, norm, pool in zip(self.convs, self.norms, self.pools, strict=True):
            x = conv(x)
            if norm is not None:
                x = norm(x, training=training)
            x = ops.relu(x)
            if pool is not None:
                x = pool(x)
        x = self.dropout(x, training=training)
        return ops.cast(ops.squeeze(x, axis=1), "float32")  # (B, 1, S, 512) -> (B, S, 512)
