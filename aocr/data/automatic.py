"""All that is taken from the data where no flag says it: limits, height, colour, batch size, split."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from aocr.config import HEIGHTS, IMAGE_HEIGHT, Arch, ModelConfig, width_at
from aocr.data.preprocess import decode_image
from aocr.data.records import without_autotune

WIDTH_CAP = 2560
"""Widest image in pixels at height 32 that the limits may ask for."""
PIXEL_CAP = 16_000
"""Pixels of an image, such as 48 x 333, up to which it is read at more than the least height."""

COLOUR_SAMPLE = 200
"""Images looked at for colour, at most; they are spread over the whole set."""
LOST_CONTRAST = 0.1
"""Share of an image's contrast that is lost in grey, from which on colour matters in it."""
COLOUR_SHARE = 0.2
"""Share of such images in a set, from which on the default network reads colour."""

SMALLEST_BATCH = 8
STEPS_PER_EPOCH = 24
"""Steps that an epoch of a small set should have."""
BATCH_WIDTH = 512
"""Median width in pixels from which on batches are made smaller."""

SMALL_SET = 200
"""Images up to which a set is small: more of them are held out, and are learnt from at the end."""
NUM_PARTS, KEYS_PER_PART = 20, 2**32
"""Equal parts into which a split puts the images of a set, and places in each part."""
SMALLEST_SPLIT = 25
"""Images from which on some are held out."""
MIN_HELD_OUT = 5
"""Images from which on those that are left tell something, where most have been learnt from before."""
HELD_SHARE_OF_SMALL = 0.2
"""Share of a small set that is held out for validation; of a larger one it is the first part."""


def widths_at(height: int, sizes: np.ndarray) -> np.ndarray:
    """Images brought to a height, their aspect kept: (N, 2) original (width, height) -> (N,) widths in pixels."""
    return width_at(height, sizes[:, 0], np.maximum(sizes[:, 1], 1)).astype(np.int64)


def network_widths(sizes: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Widths the network sees: (N, 2) original (width, height) -> (N,) pixels."""
    return np.minimum(widths_at(config.height, sizes), config.network_width)


def limits_for(labels: Sequence[str], sizes: np.ndarray, typed: Collection[str]) -> dict[str, int]:
    """The longest label, and the widest image unless it is far wider than the rest.

    Args:
      labels: N texts.
      sizes: (N, 2) original (width, height).
      typed: names of the limits that are given, which are left out here.
    """
    limits = {}
    if "max_prediction" not in typed:
        limits["max_prediction"] = max(1, max(map(len, labels)))
    if "max_width" not in typed and "max_height" not in typed:
        widths = widths_at(IMAGE_HEIGHT, sizes)
        widest = min(widths.max(), 2 * np.percentile(widths, 99))
        limits["max_width"] = int(min(max(widest, IMAGE_HEIGHT), WIDTH_CAP))
        limits["max_height"] = IMAGE_HEIGHT
    return limits


def height_for(sizes: np.ndarray) -> int:
    """Height the default network reads a set at: small letters keep their strokes, where that does not cost too much.

    Args:
      sizes: (N, 2) original (width, height).

    Returns:
      The largest of `HEIGHTS` that half the images have, and at which half of them have at most `PIXEL_CAP` pixels;
      at least 32.
    """
    for height in reversed(HEIGHTS):
        if np.median(sizes[:, 1]) >= height and np.median(widths_at(height, sizes)) * height <= PIXEL_CAP:
            return height
    return IMAGE_HEIGHT


def _lost_in_grey(data: tf.Tensor) -> tf.Tensor:
    """Scalar string, an encoded image -> share of its variance over three channels that is not that of its grey."""
    image = tf.image.resize(decode_image(data, 3), (32, 96), antialias=True)
    colours = image - tf.reduce_mean(image, axis=(0, 1))
    total = tf.reduce_sum(tf.square(colours))
    return tf.reduce_sum(tf.square(colours - tf.image.rgb_to_grayscale(colours))) / (total + 1.0)


def share_with_colour(paths: Sequence[str], num_records: int) -> float:
    """Share of the images in which grey loses much of the contrast, by a sample of them; all records are read for it.

    Args:
      paths: TFRecords.
      num_records: in all of them together.
    """
    records = tf.data.TFRecordDataset(list(paths)).shard(max(1, -(-num_records // COLOUR_SAMPLE)), 0)
    feature = {"image": tf.io.FixedLenFeature((), tf.string)}

    def look(serialized):
        return _lost_in_grey(tf.io.parse_single_example(serialized, feature)["image"])

    lost = list(without_autotune(records.map(look, num_parallel_calls=tf.data.AUTOTUNE)).as_numpy_iterator())
    return sum(value > LOST_CONTRAST for value in lost) / max(1, len(lost))


def channels_for(share: float) -> int:
    """What the default network reads of a set with this `share_with_colour`: 3 channels, or grey alone."""
    return 3 if share >= COLOUR_SHARE else 1


def batch_size_for(widths: np.ndarray, arch: Arch) -> int:
    """The architecture's batch size; smaller for small sets and for long lines.

    Args:
      widths: (N,) widths of the training images in pixels, as the network sees them.
      arch: of the network.
    """
    most = arch.batch_size
    by_count = len(widths) // STEPS_PER_EPOCH
    by_width = most * BATCH_WIDTH // max(1, int(np.median(widths)))
    return min(most, max(SMALLEST_BATCH, min(by_count, by_width)))


def is_small(num_records: int) -> bool:
    """Whether a set is too small for a twentieth of it to tell much."""
    return num_records < SMALL_SET


def is_split(held_out: np.ndarray) -> bool:
    """Whether a training set without another to validate on is split.

    Args:
      held_out: (N,) bool, the records that a split holds out.
    """
    return len(held_out) >= SMALLEST_SPLIT and 0 < held_out.sum() < len(held_out)


def validation_mask(places: np.ndarray) -> np.ndarray:
    """Which records a split holds out for validation: those that stand first.

    Args:
      places: (N,) of all records, by `split_key`.

    Returns:
      (N,) bool.
    """
    if not is_small(len(places)):
        return places < KEYS_PER_PART
    held = math.ceil(HELD_SHARE_OF_SMALL * len(places))  # a part is a fifth of many, of few it may be a tenth
    return places <= np.sort(places)[held - 1] if held else np.zeros(0, bool)


def split_key(image: tf.Tensor) -> tf.Tensor:
    """Where in a split, from 0 to below `NUM_PARTS * KEYS_PER_PART`, records with these encoded images stand.

    Equal images stand at the same place, and of a million others hardly one at the same. A part is where TensorFlow's
    hash has the same rest.
    """
    number = tf.strings.to_hash_bucket_fast(image, NUM_PARTS * KEYS_PER_PART)
    return number % NUM_PARTS * KEYS_PER_PART + number // NUM_PARTS
