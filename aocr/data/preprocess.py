"""The image transform in TensorFlow: scale an encoded image to the network's height, keeping its aspect.

`aocr.data.pixels` does the same without TensorFlow; tests/test_onnx.py keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from aocr.config import TURNS, ModelConfig, width_at
from aocr.data.images import as_png
from aocr.data.pixels import GREY_WEIGHTS


def decodable(data: bytes, name: str = "image") -> bytes:
    """Return an image as it is if TensorFlow can decode it, otherwise (damaged or unusual) converted to png."""
    try:
        tf.io.decode_image(data, expand_animations=False)
        return data
    except tf.errors.InvalidArgumentError:
        return as_png(data, name)


def _on_ground(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Decode a png with transparent parts to (H, W, channels) uint8, like `aocr.report.pictures.flat_image`."""
    values = tf.cast(tf.io.decode_png(data, channels=4), tf.float32)
    colours, alpha = values[..., :3], values[..., 3:] / 255.0
    black = colours * alpha
    white = black + 255.0 * (1.0 - alpha)
    on_white, on_black = (tf.math.reduce_std(tf.reduce_mean(image, 2)) for image in (white, black))
    flat = tf.round(tf.where(on_white * 2.0 < on_black, black, white))
    if channels == 1:
        flat = tf.reduce_sum(flat * GREY_WEIGHTS, 2, keepdims=True) // 2**15
    return tf.cast(flat, tf.uint8)


def decode_image(data: tf.Tensor, channels: int) -> tf.Tensor:
    """Decode a png, jpeg, bmp or gif (first frame), a scalar string, to (H, W, channels) uint8; 1 channel is grey."""

    def by_colour():
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
        image.set_shape((None, None, 3))
        return image if channels == 3 else tf.image.rgb_to_grayscale(image)

    def jpeg():
        return tf.io.decode_jpeg(data, channels=channels, dct_method="INTEGER_ACCURATE")  # as Pillow does

    def png():
        has_alpha = tf.strings.regex_full_match(tf.strings.substr(data, 25, 1), "[\x04\x06]")  # the colour type
        has_clear_colour = tf.strings.regex_full_match(tf.strings.substr(data, 0, 4096), r"\C*tRNS\C*")
        is_flat = tf.logical_not(has_alpha | has_clear_colour)
        return tf.cond(is_flat, lambda: tf.io.decode_png(data, channels=channels), lambda: _on_ground(data, channels))

    start = tf.strings.substr(data, 0, 2)
    is_bmp_or_gif = tf.strings.regex_full_match(start, "BM|GI")  # they cannot be decoded to grey directly
    image = tf.cond(is_bmp_or_gif, by_colour, lambda: tf.cond(start == b"\xff\xd8", jpeg, png))
    image.set_shape((None, None, channels))
    return image


def _scaled_size(image: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Return whether an image at the network's height fits its width, and its (height, width), shrunk to fit."""
    height, width = tf.unstack(tf.shape(image)[:2])
    aspect = tf.cast(width_at(config.height, width, height), tf.int32)
    ratio = tf.cast(config.network_width, tf.float64) / tf.cast(aspect, tf.float64)
    shrunk = tf.maximum(1, tf.cast(tf.math.ceil(ratio * config.height), tf.int32))
    fits = aspect <= config.network_width
    return fits, tf.where(fits, [config.height, aspect], [shrunk, config.network_width])


def _bicubic(image: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Resize as aocr 0.7.6: with TF1's bicubic kernel, leaving small images unscaled."""
    size = tf.shape(image)[:2]
    fits, scaled_size = _scaled_size(image, config)
    new_size = tf.where(fits & (size[0] <= config.height), size, scaled_size)
    resized = tf.raw_ops.ResizeBicubic(images=image[None], size=new_size)[0]
    padded = tf.image.pad_to_bounding_box(resized, 0, 0, config.height, config.network_width)
    return padded, new_size[1]


def _normalised(image: tf.Tensor) -> tf.Tensor:
    """Normalise mean and contrast, so that faint print looks like bold print.

    The contrast is lower where little ink on much paper would otherwise be clipped.
    """
    mean, variance = tf.nn.moments(image, axes=(0, 1, 2))
    spread = tf.maximum(tf.sqrt(variance), 4.0)  # a blank image stays blank
    farthest = tf.maximum(tf.reduce_max(tf.abs(image - mean)), 4.0)
    return 128.0 + (image - mean) * tf.minimum(50.0 / spread, 128.0 / farthest)


def _antialiased(image: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Resize to the network's height with antialiasing; an image that is too wide is shrunk and centred."""
    height, width = tf.unstack(_scaled_size(image, config)[1])
    resized = _normalised(tf.image.resize(image, (height, width), antialias=True))
    above = (config.height - height) // 2
    below = config.height - height - above
    return tf.pad(resized, [[above, below], [0, 0], [0, 0]], constant_values=128.0), width


def scale_image(image: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Turn, scale and normalise one decoded image, (H, W, C) values 0 to 255; return the same as `preprocess`."""
    resize = _bicubic if config.traits.resizes_bicubic else _antialiased
    if config.turn != "none":
        image = tf.image.rot90(image, TURNS[config.turn] % 4)
    scaled, width = resize(image, config)
    scaled.set_shape((config.height, config.network_width if config.traits.fixed_width else None, config.channels))
    scale = tf.cast(tf.shape(image)[1], tf.float32) / tf.cast(width, tf.float32)
    return (scaled - 128.0) / 128.0, width, scale


def preprocess(data: tf.Tensor, config: ModelConfig) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decode, turn, scale and normalise one encoded image, a scalar string.

    Returns:
      image: (H, W, C) float32 in about [-1, 1]: (value - 128) / 128. W is the image's own width, or the network's
        if the architecture has a fixed width.
      width: scalar int32, valid pixels of W.
      scale: scalar float32, original pixels per pixel of `image`.
    """
    return scale_image(decode_image(data, config.channels), config)


def padded_width(width):
    """Compute the width of a batch whose widest image has `width` pixels: `width` rounded up to a multiple of 16."""
    return (width + 15) // 16 * 16


def batched(items: tf.Tensor, config: ModelConfig, transform: Callable = preprocess) -> tuple[tf.Tensor, ...]:
    """Transform images and pad them to one batch.

    Args:
      items: (N, ...) inputs of `transform`.
      transform: `preprocess` or `scale_image`.

    Returns:
      images: (N, H, W, C) float32, zero to the right of each image's width; W is the `padded_width` of the widest,
        or the network's if the architecture has a fixed width.
      widths: (N,) int32.
      scales: (N,) float32, as `preprocess`.
    """
    fixed = config.traits.fixed_width
    limit = config.network_width if fixed else padded_width(config.network_width)

    def pad_one(item):
        image, width, scale = transform(item, config)
        padded = tf.pad(image, [[0, 0], [0, limit - tf.shape(image)[1]], [0, 0]])
        return tf.ensure_shape(padded, (config.height, limit, config.channels)), width, scale

    images, widths, scales = tf.map_fn(pad_one, items, fn_output_signature=(tf.float32, tf.int32, tf.float32))
    images = tf.ensure_shape(images, (None, config.height, limit, config.channels))
    if not fixed:
        images = images[:, :, : padded_width(tf.reduce_max(widths))]
    return images, widths, scales
