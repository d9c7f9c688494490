"""Random variation of training images, in graph, a whole batch at a time."""

from __future__ import annotations

import math

import tensorflow as tf

ROTATION = math.radians(4)
SHEAR = 0.25
SCALE = 0.12
SHIFT = 2.0
PERSPECTIVE = 6e-4
CONTRAST = 0.35
BRIGHTNESS = 0.25
NOISE = 0.08
BLUR = 0.7


def _float(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.float32)


class _Uniform:
    """Uniform draws that depend on the seed and on how many came before, on nothing else."""

    def __init__(self, seed: tf.Tensor):
        self.seed, self.count = seed, 0

    def __call__(self, shape, low, high) -> tf.Tensor:
        self.count += 1
        seed = tf.stack([self.seed[0], self.seed[1] * 64 + self.count])
        return tf.random.stateless_uniform(shape, seed, low, high)


def _warps(draw: _Uniform, num: tf.Tensor, height: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    """Projective maps from output to input pixels about each image's centre: (num, 8)."""
    angle = draw((num,), -ROTATION, ROTATION)
    # a long line turned by the same angle would leave the picture: keep its ends within a few pixels
    angle *= tf.minimum(1.0, 0.35 * height / (0.5 * widths * math.sin(ROTATION) + 1e-6))
    shear = draw((num,), -SHEAR, SHEAR)
    # a line made longer loses its ends: they may go out by two pixels
    longest = tf.minimum(SCALE, 4.0 / widths)
    sx = 1.0 / (1.0 - SCALE + draw((num,), 0.0, 1.0) * (SCALE + longest))
    sy = 1.0 / draw((num,), 1.0 - SCALE, 1.0 + SCALE)
    a, b = sx * tf.cos(angle), sx * (-tf.sin(angle) + shear)
    c, d = sy * tf.sin(angle), sy * tf.cos(angle)
    cx, cy = widths / 2.0, tf.fill((num,), height / 2.0)
    dx, dy = draw((num,), -SHIFT, SHIFT), draw((num,), -SHIFT, SHIFT)
    tilt = draw((num,), -PERSPECTIVE, PERSPECTIVE) * tf.minimum(1.0, 128.0 / widths)
    # x' = (a x + b y + e) / (tilt (x - cx) + 1), likewise y'
    e = cx + dx - a * cx - b * cy
    f = cy + dy - c * cx - d * cy
    scale = 1.0 - tilt * cx
    zeros = tf.zeros_like(a)
    return tf.stack([a, b, e, c, d, f, tilt, zeros], 1) / tf.stack([scale] * 8, 1)


def _blurred(images: tf.Tensor) -> tf.Tensor:
    row = tf.constant([0.25, 0.5, 0.25])
    kernel = tf.tile((row[:, None] * row[None])[:, :, None, None], (1, 1, images.shape[-1], 1))
    return tf.nn.depthwise_conv2d(images, kernel, (1, 1, 1, 1), "SAME")


def augment(images: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Turn, slant, scale, shift and tilt; blur or sharpen; change contrast, brightness and grain.

    Args:
      images: (B, H, W, C) float32 in about [-1, 1].
      widths: (B,) int32 valid pixels; what lies right of them is left as it is.
      seed: (2,) int32; the same seed gives the same result.

    Returns:
      (B, H, W, C) float32 in [-1, 1].
    """
    draw = _Uniform(seed)
    num, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    varied = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_warps(draw, num, _float(height), _float(widths)),
        output_shape=tf.stack([height, width]),
        interpolation="BILINEAR",
        fill_mode="NEAREST",
        fill_value=0.0,
    )
    per_image = (num, 1, 1, 1)
    varied += draw(per_image, -BLUR, BLUR) * (_blurred(varied) - varied)
    varied = varied * draw(per_image, 1.0 - CONTRAST, 1.0 + CONTRAST) + draw(per_image, -BRIGHTNESS, BRIGHTNESS)
    varied += draw(per_image, 0.0, NOISE) * draw(tf.shape(images), -1.7, 1.7)
    inside = tf.range(width)[None, None, :, None] < widths[:, None, None, None]
    return tf.where(inside, tf.clip_by_value(varied, -1.0, 1.0), images)
