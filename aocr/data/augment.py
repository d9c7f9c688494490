"""Random augmentation of a batch of training images, in TensorFlow."""

from __future__ import annotations

import math

import tensorflow as tf

from aocr.config import IMAGE_HEIGHT

HEIGHT = float(IMAGE_HEIGHT)
"""Image height to which the lengths below refer, in pixels."""
# Ranges at strength 1; pixel values are those of the network, -1 to 1
ROTATION = math.radians(4)
"""Largest angle in radians, in either direction."""
SHEAR = 0.25
"""Largest slant in either direction: pixels to the side for each pixel up."""
SCALE = 0.12
"""Largest relative change of size."""
SHIFT = 8.0
"""Largest shift, in pixels."""
OUTSIDE = 1.5
"""Pixels at an edge that may be moved out of the frame."""
RISE = 0.12
"""Largest rise of the ends of a long line, as a share of the height."""
PERSPECTIVE = 6e-4
"""Largest tilt: relative change of size for each pixel to the side."""
WAVE, WAVE_LENGTH = 1.5, 12
"""Elastic distortion: largest displacement, and distance between the knots, in pixels."""
CONTRAST = 0.35
"""Largest relative change of the difference from mid-grey."""
BRIGHTNESS = 0.25
"""Largest value added or subtracted."""
NOISE = 0.08
"""Approximate largest standard deviation of the noise."""
BLUR = 0.7
"""Largest share of the blurred image that is mixed in, or subtracted to sharpen."""
PALER, STRONGER = 0.5, 0.3
"""Largest relative decrease and increase of saturation."""
NEGATIVES = 0.25
"""Share of images that are inverted."""
JPEGS, JPEG_QUALITY = 0.2, (20.0, 80.0)
"""Share of images that are compressed as low-quality jpegs, and the range of quality."""


def _float(value: tf.Tensor) -> tf.Tensor:
    return tf.cast(value, tf.float32)


class _Uniform:
    """Uniform random numbers that depend only on the seed and the number of earlier calls."""

    def __init__(self, seed: tf.Tensor):
        self.seed, self.count = seed, 0

    def __call__(self, shape, low, high) -> tf.Tensor:
        self.count += 1
        seed = tf.stack([self.seed[0], self.seed[1] * 64 + self.count])
        return tf.random.stateless_uniform(shape, seed, low, high)


def _zoom(draw: _Uniform, num: tf.Tensor, size: tf.Tensor, reach: tf.Tensor, strength) -> tuple:
    """Choose scales that keep an image of length `size` inside its frame, and shifts within the remaining space.

    Text is often cropped close, and characters that leave the frame would still be in the label. Rotation and shear
    take `reach` pixels; `OUTSIDE` pixels may be lost. Lengths are in pixels at `HEIGHT`.
    """
    change = tf.minimum(0.5, SCALE * strength)
    max_zoom = 1.0 + (OUTSIDE - reach) * 2.0 / size
    low, high = tf.minimum(1.0 - change, max_zoom), tf.minimum(1.0 + change, max_zoom)
    zoom = tf.maximum(low + draw((num,), 0.0, 1.0) * (high - low), 0.25)
    slack = tf.clip_by_value(OUTSIDE - reach + (1.0 - zoom) * size / 2.0, 0.0, SHIFT * strength)
    return 1.0 / zoom, draw((num,), -1.0, 1.0) * slack


def _warps(draw: _Uniform, height: tf.Tensor, widths: tf.Tensor, strength) -> tf.Tensor:
    """Choose projective maps from output to input pixels about each image's centre: (N,) widths -> (N, 8)."""
    num, pixel = tf.shape(widths)[0], _float(height) / HEIGHT
    height, widths = HEIGHT, _float(widths) / pixel
    angle = draw((num,), -ROTATION, ROTATION) * strength
    # a long line rotated by the same angle would leave the image: its ends rise or fall by at most a few pixels
    angle *= tf.minimum(1.0, RISE * height / (0.5 * widths * math.sin(ROTATION) + 1e-6))
    shear = draw((num,), -SHEAR, SHEAR) * strength
    tilt = strength * draw((num,), -PERSPECTIVE, PERSPECTIVE) * tf.square(tf.minimum(1.0, 128.0 / widths))
    reach = tf.abs(shear) * height / 2.0 + tf.abs(tilt) * tf.square(widths / 2.0)
    sx, dx = _zoom(draw, num, widths, reach, strength)
    sy, dy = _zoom(draw, num, tf.fill((num,), height), tf.abs(tf.sin(angle)) * widths / 2.0, strength)
    a, b = sx * tf.cos(angle), sx * (-tf.sin(angle) + shear)
    c, d = sy * tf.sin(angle), sy * tf.cos(angle)
    cx, cy = widths / 2.0, tf.fill((num,), height / 2.0)
    # x' = (a x + b y + e) / (tilt (x - cx) + 1), likewise y', at `HEIGHT`; then in pixels
    e = cx + dx - a * cx - b * cy
    f = cy + dy - c * cx - d * cy
    scale = 1.0 - tilt * cx
    return tf.stack([a, b, e * pixel, c, d, f * pixel, tilt / pixel, tf.zeros_like(a)], 1) / scale[:, None]


def _waves(draw: _Uniform, num: tf.Tensor, height: tf.Tensor, width: tf.Tensor, strength) -> tf.Tensor:
    """Choose elastic displacements (x, y) in pixels, (num, height, width, 2), from knots `WAVE_LENGTH` apart."""
    pixel = _float(height) / HEIGHT
    rows, columns = (tf.cast(_float(size) / pixel / WAVE_LENGTH, tf.int32) + 2 for size in (height, width))
    knots = draw((num, rows, columns, 2), -WAVE, WAVE) * strength * pixel
    return tf.image.resize(knots, (height, width), method="bicubic")


def _moved(images: tf.Tensor, warps: tf.Tensor, waves: tf.Tensor) -> tf.Tensor:
    """Sample images (B, H, W, C) bilinearly, 0 outside, at pixels given by projective maps (B, 8) plus waves."""
    num, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    a, b, e, c, d, f, g, h = [warp[:, None, None] for warp in tf.unstack(warps, axis=1)]
    x, y = _float(tf.range(width))[None, None], _float(tf.range(height))[None, :, None]
    depth = 1.0 / (g * x + h * y + 1.0)
    x, y = (a * x + b * y + e) * depth + waves[..., 0], (c * x + d * y + f) * depth + waves[..., 1]
    # interpolate between the four pixels around each position; beyond the edges there are zeros
    x = tf.clip_by_value(x + 1.0, 0.0, _float(width) + 1.0)
    y = tf.clip_by_value(y + 1.0, 0.0, _float(height) + 1.0)
    left, top = tf.floor(x), tf.floor(y)
    stride = width + 3
    pixels = tf.reshape(tf.pad(images, [[0, 0], [1, 2], [1, 2], [0, 0]]), (-1, images.shape[3]))
    rows = tf.range(num)[:, None, None] * (height + 3) + tf.cast(top, tf.int32)
    index = rows * stride + tf.cast(left, tf.int32)
    upper_left, upper_right = tf.gather(pixels, index), tf.gather(pixels, index + 1)
    lower_left, lower_right = tf.gather(pixels, index + stride), tf.gather(pixels, index + stride + 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = upper_left + (upper_right - upper_left) * across
    lower = lower_left + (lower_right - lower_left) * across
    return upper + (lower - upper) * down


def _flat(images: tf.Tensor) -> tf.Tensor:
    """Reshape (B, H, W, C) -> (B, H, W * C): TensorFlow is slow at broadcasting a mask over a short last axis."""
    shape = tf.shape(images)
    return tf.reshape(images, (shape[0], shape[1], shape[2] * images.shape[3]))


def _unflat(flat: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Reshape (B, H, W * C) to the shape of `like`, (B, H, W, C)."""
    return tf.ensure_shape(tf.reshape(flat, tf.shape(like)), like.shape)


def _paper(images: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """Compute the mean colour of the upper and lower edge, (B, 1, 1, C), which fills uncovered areas."""
    edges = tf.stack([images[:, 0], images[:, -1]], 1) * tf.cast(inside, tf.float32)  # (B, 2, W, C)
    count = 2.0 * tf.reduce_sum(tf.cast(inside, tf.float32), axis=(1, 2), keepdims=True)
    return tf.reduce_sum(edges, axis=(1, 2), keepdims=True) / tf.maximum(count, 1.0)


def _blurred(images: tf.Tensor) -> tf.Tensor:
    row = tf.constant([0.25, 0.5, 0.25])
    kernel = tf.tile((row[:, None] * row[None])[:, :, None, None], (1, 1, images.shape[-1], 1))
    return tf.nn.depthwise_conv2d(images, kernel, (1, 1, 1, 1), "SAME")


def _recoloured(images: tf.Tensor, draw: _Uniform, strength) -> tf.Tensor:
    """Rotate the hue and scale the saturation of each image, (B, H, W, 3); grey does not change."""
    num = tf.shape(images)[0]
    angle = draw((num, 1, 1), -math.pi, math.pi) * strength
    saturation = 1.0 + draw((num, 1, 1), -PALER, STRONGER) * strength
    # Rodrigues' rotation about the grey axis
    grey = tf.fill((3, 3), 1.0 / 3.0)
    across = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    turn = tf.cos(angle) * (tf.eye(3) - grey) + tf.sin(angle) * across
    return tf.einsum("bhwc,bdc->bhwd", images, grey + saturation * turn)


def _compressed(images: tf.Tensor, draw: _Uniform, strength) -> tf.Tensor:
    """Compress some images as low-quality jpegs."""
    num = tf.shape(images)[0]
    is_chosen = draw((num,), 0.0, 1.0) < tf.minimum(0.5, JPEGS * strength)
    quality = tf.cast(draw((num,), *JPEG_QUALITY), tf.int32)

    def compress(element):
        image, is_chosen, quality = element
        jpeg = tf.image.adjust_jpeg_quality
        return tf.cond(is_chosen, lambda: jpeg(image * 0.5 + 0.5, quality) * 2.0 - 1.0, lambda: image)

    result = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(compress, (images, is_chosen, quality), fn_output_signature=result)


def augment(images: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor, strength=1.0) -> tf.Tensor:
    """Augment a batch of images.

    It varies rotation, shear, scale, shift, perspective, elastic distortion, hue, saturation, inversion, blur,
    contrast, brightness, noise and jpeg compression.

    Args:
      images: (B, H, W, C) float32 in about [-1, 1].
      widths: (B,) int32 valid pixels; padding to the right of them does not change.
      seed: (2,) int32; the same seed gives the same result.
      strength: factor of every change, a number or a scalar tensor; 1 is usual, 0 changes nothing.

    Returns:
      (B, H, W, C) float32 in [-1, 1].
    """
    draw = _Uniform(seed)
    num, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    inside = tf.range(width)[None, None, :, None] < widths[:, None, None, None]  # (B, 1, W, 1)
    mask = _flat(tf.repeat(_float(inside), images.shape[-1], axis=3))  # (B, 1, W * C)
    paper = _paper(images, inside)
    flat_paper = _flat(tf.tile(paper, (1, 1, width, 1)))
    warps = _warps(draw, height, widths, strength)
    waves = _waves(draw, num, height, width, strength)
    ink = _unflat((_flat(images) - flat_paper) * mask, images)
    varied = _unflat(flat_paper + _flat(_moved(ink, warps, waves)), images)
    per_image = (num, 1, 1, 1)
    if images.shape[-1] == 3:
        varied = _recoloured(varied, draw, strength)
    varied *= tf.where(draw(per_image, 0.0, 1.0) < tf.minimum(0.5, NEGATIVES * strength), -1.0, 1.0)
    varied += strength * draw(per_image, -BLUR, BLUR) * (_blurred(varied) - varied)
    varied *= 1.0 + strength * draw(per_image, -CONTRAST, CONTRAST)
    varied += strength * draw(per_image, -BRIGHTNESS, BRIGHTNESS)
    varied += strength * draw(per_image, 0.0, NOISE) * draw(tf.shape(images), -1.7, 1.7)
    varied = _compressed(tf.clip_by_value(varied, -1.0, 1.0), draw, strength)
    return _unflat(_flat(varied) * mask + _flat(images) * (1.0 - mask), images)
