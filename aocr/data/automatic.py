"""Whether grey shows what is written, or only colour does."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from aocr.data.preprocess import decode_image

SAMPLE = 200
"""Images looked at, at most; they are spread over the whole set."""
LOST = 0.1
"""Share of an image's contrast that is lost in grey, from which on colour matters in it."""
COLOUR_FROM = 0.2
"""Share of such images in a set, from which on the default network reads colour."""


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
    records = tf.data.TFRecordDataset(list(paths)).shard(max(1, -(-num_records // SAMPLE)), 0)
    feature = {"image": tf.io.FixedLenFeature((), tf.string)}

    def look(serialized):
        return _lost_in_grey(tf.io.parse_single_example(serialized, feature)["image"])

    lost = list(records.map(look, num_parallel_calls=tf.data.AUTOTUNE).as_numpy_iterator())
    return sum(value > LOST for value in lost) / max(1, len(lost))


def channels_for(share: float) -> int:
    """What the default network reads of a set with this `share_with_colour`: 3 channels, or grey alone."""
    return 3 if share >= COLOUR_FROM else 1
