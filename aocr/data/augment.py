"""Random variation of training images, in graph, a whole batch at a time."""

from __future__ import annotations

import math

import tensorflow as tf

from aocr.config import IMAGE_HEIGHT

HEIGHT = float(IMAGE_HEIGHT)
"""Height in pixels that lengths below are meant at."""
# How far a change goes at strength 1; pixel values are those of the network, -1 to 1
ROTATION = math.radians(4)
"""Largest angle, either way."""
SHEAR = 0.25
"""Largest slant either way: pixels to the side for each pixel up."""
SCALE = 0.12
"""Largest share by which an image becomes smaller or larger."""
SHIFT = 8.0
"""Longest shift, in pixels."""
OUTSIDE = 1.5
"""Pixels at an edge that may leave the frame."""
RISE = 0.12
"""Share of the height by which the ends of a long line may rise or fall."""
PERSPECTIVE = 6e-4
"""Largest tilt: relative change of size for each pixel to the side."""
WAVE, WAVE_LENGTH = 1.5, 12
"""Elastic bending: longest displacement, and distance between two that are drawn, in pixels."""
CONTRAST = 0.35
"""Largest share by which differences from mid-grey grow or shrink."""
BRIGHTNESS = 0.25
"""Largest value added or taken away."""
NOISE = 0.08
"""Largest standard deviation of the grain, nearly."""
BLUR = 0.7
"""Largest share of the blurred image that is mixed in, or taken away to sharpen."""
PALER, STRONGER = 0.5, 0.3
"""Largest shares by which colours become paler and stronger."""
NEGATIVES = 0.25
"""Share of the images that become negatives."""
JPEGS, JPEG_QUALITY = 0.2, (20.0, 80.0)
"""Share of the images that are stored as poor jpegs, and the range of their quality."""


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


def _zoom(draw: _Uniform, num: tf.Tensor, size: tf.Tensor, reach: tf.Tensor, strength) -> tuple:
    """Scales that keep an image `size` long inside its frame, and shifts within what is left, at `HEIGHT`.

    Text is often cut close: what leaves the frame would be in the label and not in the image. `reach` pixels are
    taken by turning and slanting; `OUTSIDE` pixels may be lost.
    """
    most = tf.minimum(0.5, SCALE * strength)
    highest = 1.0 + (OUTSIDE - reach) * 2.0 / size
    low, high = tf.minimum(1.0 - most, highest), tf.minimum(1.0 + most, highest)
    zoom = tf.maximum(low + draw((num,), 0.0, 1.0) * (high - low), 0.25)
    slack = tf.clip_by_value(OUTSIDE - reach + (1.0 - zoom) * size / 2.0, 0.0, SHIFT * strength)
    return 1.0 / zoom, draw((num,), -1.0, 1.0) * slack


def _warps(draw: _Uniform, height: tf.Tensor, widths: tf.Tensor, strength) -> tf.Tensor:
    """Projective maps from output to input pixels about each image's centre, N of them: (N, 8)."""
    num, pixel = tf.shape(widths)[0], _float(height) / HEIGHT
    height, widths = HEIGHT, _float(widths) / pixel
    angle = draw((num,), -ROTATION, ROTATION) * strength
    # a long line turned by the same angle would leave the picture: its ends rise or fall by a few pixels at the most
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
    """Elastic displacements in pixels: (num, height, width, 2), x and y, drawn every `WAVE_LENGTH`."""
    pixel = _float(height) / HEIGHT
    rows, columns = (tf.cast(_float(size) / pixel / WAVE_LENGTH, tf.int32) + 2 for size in (height, width))
    knots = draw((num, rows, columns, 2), -WAVE, WAVE) * strength * pixel
    return tf.image.resize(knots, (height, width), method="bicubic")


def _moved(images: tf.Tensor, warps: tf.Tensor, waves: tf.Tensor) -> tf.Tensor:
    """Bilinear samples of (B, H, W, C), 0 outside, where the projective maps (B, 8) and then the waves lead."""
    num, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    a, b, e, c, d, f, g, h = [warp[:, None, None] for warp in tf.unstack(warps, axis=1)]
    x, y = _float(tf.range(width))[None, None], _float(tf.range(height))[None, :, None]
    depth = 1.0 / (g * x + h * y + 1.0)
    x, y = (a * x + b * y + e) * depth + waves[..., 0], (c * x + d * y + f) * depth + waves[..., 1]
    # between the four pixels around each place; outside there are empty ones
    x, y = (tf.clip_by_value(at + 1.0, 0.0, _float(size) + 1.0) for at, size in ((x, width), (y, height)))
    left, top = tf.floor(x), tf.floor(y)
    padded = tf.pad(images, [[0, 0], [1, 2], [1, 2], [0, 0]])
    corners = tf.concat([padded[:, i : i + height + 2, j : j + width + 2] for i in (0, 1) for j in (0, 1)], 3)
    rows = tf.range(num)[:, None, None] * (height + 2) + tf.cast(top, tf.int32)
    corners = tf.gather(tf.reshape(corners, (-1, corners.shape[3])), rows * (width + 2) + tf.cast(left, tf.int32))
    upper_left, upper_right, lower_left, lower_right = tf.split(corners, 4, axis=3)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = upper_left + (upper_right - upper_left) * across
    lower = lower_left + (lower_right - lower_left) * across
    return upper + (lower - upper) * down


def _paper(images: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """(B, 1, 1, C) mean of the upper and lower edge: what comes in where an image is moved away."""
    edges = tf.stack([images[:, 0], images[:, -1]], 1) * tf.cast(inside, tf.float32)  # (B, 2, W, C)
    count = 2.0 * tf.reduce_sum(tf.cast(inside, tf.float32), axis=(1, 2), keepdims=True)
    return tf.reduce_sum(edges, axis=(1, 2), keepdims=True) / tf.maximum(count, 1.0)


def _blurred(images: tf.Tensor) -> tf.Tensor:
    row = tf.constant([0.25, 0.5, 0.25])
    kernel = tf.tile((row[:, None] * row[None])[:, :, None, None], (1, 1, images.shape[-1], 1))
    return tf.nn.depthwise_conv2d(images, kernel, (1, 1, 1, 1), "SAME")


def _recoloured(images: tf.Tensor, draw: _Uniform, strength) -> tf.Tensor:
    """Turn each image's circle of colours and make them paler or stronger; grey stays. (B, H, W, 3) to the same."""
    num = tf.shape(images)[0]
    angle = draw((num, 1, 1), -math.pi, math.pi) * strength
    saturation = 1.0 + draw((num, 1, 1), -PALER, STRONGER) * strength
    # Rodrigues' rotation about the axis of greys
    grey = tf.fill((3, 3), 1.0 / 3.0)
    across = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    turn = tf.cos(angle) * (tf.eye(3) - grey) + tf.sin(angle) * across
    return tf.einsum("bhwc,bdc->bhwd", images, grey + saturation * turn)


def _compressed(images: tf.Tensor, draw: _Uniform, strength) -> tf.Tensor:
    """Store some images as poor jpegs and read them again."""
    num = tf.shape(images)[0]
    poor = draw((num,), 0.0, 1.0) < tf.minimum(0.5, JPEGS * strength)
    quality = tf.cast(draw((num,), *JPEG_QUALITY), tf.int32)

    def stored(each):
        image, poor, quality = each
        jpeg = tf.image.adjust_jpeg_quality
        return tf.cond(poor, lambda: jpeg(image * 0.5 + 0.5, quality) * 2.0 - 1.0, lambda: image)

    result = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(stored, (images, poor, quality), fn_output_signature=result)


def augment(images: tf.Tensor, widths: tf.Tensor, seed: tf.Tensor, strength=1.0) -> tf.Tensor:
    """Turn, slant, scale, shift, tilt and bend; change colours, blur, contrast, brightness and grain; make negatives
    and poor jpegs.

    Args:
      images: (B, H, W, C) float32 in about [-1, 1].
      widths: (B,) int32 valid pixels; what lies right of them is left as it is.
      seed: (2,) int32; the same seed gives the same result.
      strength: how far every change may go, a number or a scalar tensor: 1 is usual, 0 changes nothing.

    Returns:
      (B, H, W, C) float32 in [-1, 1].
    """
    draw = _Uniform(seed)
    num, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    inside = tf.range(width)[None, None, :, None] < widths[:, None, None, None]
    paper = _paper(images, inside)
    warps = _warps(draw, height, widths, strength)
    waves = _waves(draw, num, height, width, strength)
    varied = paper + _moved(tf.where(inside, images - paper, 0.0), warps, waves)
    per_image = (num, 1, 1, 1)
    if images.shape[-1] == 3:
        varied = _recoloured(varied, draw, strength)
    varied = tf.where(draw(per_image, 0.0, 1.0) < tf.minimum(0.5, NEGATIVES * strength), -varied, varied)
    varied += strength * draw(per_image, -BLUR, BLUR) * (_blurred(varied) - varied)
    varied *= 1.0 + strength * draw(per_image, -CONTRAST, CONTRAST)
    varied += strength * draw(per_image, -BRIGHTNESS, BRIGHTNESS)
    varied += strength * draw(per_image, 0.0, NOISE) * draw(tf.shape(images), -1.7, 1.7)
    varied = _compressed(tf.clip_by_value(varied, -1.0, 1.0), draw, strength)
    return tf.where(inside, varied, images)
