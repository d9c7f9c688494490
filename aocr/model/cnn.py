"""The CNN of the default network: an image of fixed height becomes a feature column every 4 pixels."""

from __future__ import annotations

from keras import layers, ops

from aocr.config import COLUMN_PIXELS, band_size
from aocr.model.layers import BatchNorm


def convolution(filters: int, kernel, strides, name: str, dtype, padding: str = "same") -> layers.Conv2D:
    """Create a convolution without bias."""
    settings = {"padding": padding, "use_bias": False, "kernel_initializer": "he_normal"}
    return layers.Conv2D(filters, kernel, strides=strides, name=name, dtype=dtype, **settings)


def num_columns(width):
    """Return S, the number of memory columns for an image; `width` in pixels is an integer or an integer tensor."""
    return (width + COLUMN_PIXELS - 1) // COLUMN_PIXELS


def column_mask(widths, num: int, pixels: int):
    """Mark the columns, `pixels` wide, that overlap the image: (B,) widths -> (B, num) boolean."""
    return ops.arange(num, dtype="int32")[None, :] * pixels < ops.cast(widths, "int32")[:, None]


class ResidualBlock(layers.Layer):
    """Two 3x3 convolutions with a shortcut (He et al., 2016); padding columns stay zero.

    `strides` are those of the first convolution, (rows, columns).
    """

    def __init__(self, filters: int, strides=(1, 1), cnn_dtype="float32", **kwargs):
        super().__init__(dtype=cnn_dtype, **kwargs)
        self.filters, self.strides = filters, strides
        self.conv1 = convolution(filters, 3, strides, "conv1", cnn_dtype)
        self.norm1 = BatchNorm(momentum=0.9, name="norm1", dtype=cnn_dtype)
        self.conv2 = convolution(filters, 3, 1, "conv2", cnn_dtype)
        self.norm2 = BatchNorm(momentum=0.9, name="norm2", dtype=cnn_dtype)
        self.project = None

    def build(self, input_shape):
        if tuple(self.strides) != (1, 1) or input_shape[-1] != self.filters:
            self.project = convolution(self.filters, 1, self.strides, "project", self.dtype_policy)
            self.norm = BatchNorm(momentum=0.9, name="norm", dtype=self.dtype_policy)

    def call(self, x, mask, training=False):
        y = ops.relu(self.norm1(self.conv1(x), training=training)) * mask
        y = self.norm2(self.conv2(y), training=training)
        if self.project is not None:
            x = self.norm(self.project(x), training=training)
        return ops.relu(x + y) * mask


class ResidualCNN(layers.Layer):
    """Small residual CNN with a strided stem; its output for an image does not depend on the batch's width.

    (B, H, W, C) images in [-1, 1], (B,) valid widths -> (B * R, W / 4, 256) float32 features of R bands, those of an
    image in succession from the top. After every convolution the columns right of the image are set to zero, like
    the padding at an image's edge. W is a multiple of 4, so that the strides always fall on the same pixels.

    The rows of a band are reduced to one: a convolution over all rows, which depends on vertical position, plus a
    maximum over rows, which does not. So small text reads the same at any height in a tall image. A single band has
    all H / 8 rows. Several bands share their weights and overlap by half; each adds a learned vector.
    """

    features = 256

    def __init__(self, height: int, bands: int = 1, cnn_dtype="float32", **kwargs):
        super().__init__(**kwargs)
        self.stem = convolution(32, 3, 2, "stem", cnn_dtype)
        self.stem_norm = BatchNorm(momentum=0.9, name="stem_norm", dtype=cnn_dtype)
        self.block1 = ResidualBlock(48, cnn_dtype=cnn_dtype, name="block1")
        self.block2 = ResidualBlock(96, (2, 2), cnn_dtype=cnn_dtype, name="block2")
        self.block3 = ResidualBlock(192, (2, 1), cnn_dtype=cnn_dtype, name="block3")
        self.bands = bands
        self.rows, self.row_stride = (pixels // 8 for pixels in band_size(height, bands))
        self.collapse = convolution(self.features, (self.rows, 1), (self.row_stride, 1), "collapse", cnn_dtype, "valid")
        self.anywhere = convolution(self.features, 1, 1, "anywhere", cnn_dtype)
        self.collapse_norm = BatchNorm(momentum=0.9, name="collapse_norm", dtype=cnn_dtype)
        self.cnn_dtype = self.stem.compute_dtype

    def build(self, images_shape, widths_shape):
        if self.bands > 1:
            shape = (self.bands, self.features)
            self.band_vectors = self.add_weight(shape=shape, initializer="zeros", name="band_vectors")

    def _strongest(self, x):
        """Return the maximum over each band's rows: (B, H / 8, S, F) -> (B, R, S, F)."""
        tops = range(0, self.bands * self.row_stride, self.row_stride)
        return ops.concatenate([ops.max(x[:, y : y + self.rows], axis=1, keepdims=True) for y in tops], axis=1)

    def _mask(self, x, widths, pixels: int):
        mask = column_mask(widths, ops.shape(x)[2], pixels)
        return ops.cast(mask, self.cnn_dtype)[:, None, :, None]  # (B, W') -> (B, 1, W', 1)

    def call(self, images, widths, training=False):
        x = self.stem(images)  # (B, H / 2, W / 2, 32)
        mask = self._mask(x, widths, 2)
        x = ops.relu(self.stem_norm(x, training=training)) * mask
        x = self.block1(x, mask, training=training)
        mask = mask[:, :, ::2]
        x = self.block2(x, mask, training=training)  # (B, H / 4, W / 4, 96)
        x = self.block3(x, mask, training=training)  # (B, H / 8, W / 4, 192)
        x = self.collapse(x) + self._strongest(self.anywhere(x))
        x = ops.cast(ops.relu(self.collapse_norm(x, training=training)), "float32")
        if self.bands > 1:
            x = x + self.band_vectors[:, None, :]
        return ops.reshape(x, (-1, *ops.shape(x)[2:]))  # (B, R, S, 256) -> (B * R, S, 256)
