"""Defaults derived from the data: limits, height, colour, batch size, split."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import tensorflow as tf

from aocr.config import HEIGHTS, IMAGE_HEIGHT, LINE_HEIGHTS, Arch, ModelConfig, width_at
from aocr.data.preprocess import decode_image
from aocr.data.records import without_autograph, without_autotune

WIDTH_CAP = 2560
"""Maximum width at height 32, in pixels, if it is derived from the data."""
PIXEL_CAP = 16_000
"""Maximum pixels of a scaled image, such as 48 x 333, at any height above the lowest."""

COLOUR_SAMPLE = 200
"""Maximum number of images checked for colour, spread over the whole set."""
LOST_CONTRAST = 0.1
"""Share of contrast lost in grey above which the colour of an image matters."""
COLOUR_SHARE = 0.2
"""Minimum share of such images for the default network to read colour."""

MIN_LINE_LENGTH, MIN_LINE_ASPECT = 3, 1.0
"""Minimum characters of a label and width / height of an image by which the number of lines is estimated; shorter or
narrower ones, unless they are the most, may be upright text or have wide margins."""
USUAL_WIDTH, NARROW_SET = 0.5, 0.26
"""Width of a usual character in image heights in a single line, and median width below which a whole set has several
lines: in real sets of one line it is 0.33 or more."""
NARROW, NARROW_LIMITS = 0.36, (0.15, 0.25)
"""Share of the set's median width, and its limits, below which an image seems to have several lines."""
SEVERAL_LINES_SHARE, MIN_SEVERAL_LINES = 0.013, 3
"""Minimum share and number of such images for a network with several bands; of photographed single words they are
0.8 %, and of a drawn set of plates of which 5 % have several lines 2.1 %."""
LINES_MESSAGE = "In %d of %d images the characters are far narrower than the image is high: up to %d lines of text"
LINE_FILL = 1.3
"""How much longer the longest of several lines is than their mean."""

UPRIGHT_ASPECT, COLUMN_ASPECT = 1.2, 0.4
"""Median height / width of images above which their text may run upwards or downwards, and that of one character from
which there is one per row."""

SMALLEST_BATCH = 8
STEPS_PER_EPOCH = 24
"""Minimum steps per epoch of a small set, reached by smaller batches."""
BATCH_WIDTH = 512
"""Median width in pixels above which batches are smaller."""

SMALL_SET = 200
"""Images below which a set is small: more of them are used for validation, and are trained on at the end."""
NUM_PARTS, KEYS_PER_PART = 20, 2**32
"""Equal parts of all split keys, and keys in each part."""
SMALLEST_SPLIT = 25
"""Minimum number of images of a set that is split."""
MIN_HELD_OUT = 5
"""Minimum number of validation images if others were trained on earlier."""
HELD_SHARE_OF_SMALL = 0.2
"""Share of a small set that is used for validation; of a larger set it is one of `NUM_PARTS`."""


def widths_at(height: int, sizes: np.ndarray) -> np.ndarray:
    """Compute the widths of images scaled to a height: (N, 2) original (width, height) -> (N,) pixels."""
    return width_at(height, sizes[:, 0], np.maximum(sizes[:, 1], 1)).astype(np.int64)


def network_widths(sizes: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Compute the widths at the network's input: (N, 2) original (width, height) -> (N,) pixels."""
    return np.minimum(widths_at(config.height, turned_sizes(sizes, config.turn)), config.network_width)


def turned_sizes(sizes: np.ndarray, turn: str) -> np.ndarray:
    """Return (N, 2) sizes (width, height) after a turn, a key of `TURNS`."""
    return sizes if turn == "none" else sizes[:, ::-1]


def is_upright(lengths: np.ndarray, sizes: np.ndarray) -> bool:
    """Return whether most texts of more than two characters may run upwards or downwards, or in several lines.

    Their images are higher than wide, and long enough for one line if turned. `lengths` are (N,) characters of each
    label, `sizes` (N, 2) original (width, height).
    """
    aspects, character = _upright_aspects(lengths, sizes)
    return aspects > UPRIGHT_ASPECT and character >= NARROW_SET


def is_column(lengths: np.ndarray, sizes: np.ndarray) -> bool:
    """Return whether upright images have room for only one character beside another; arguments as above."""
    return _upright_aspects(lengths, sizes)[1] >= COLUMN_ASPECT


def _upright_aspects(lengths: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Return the median height of an image, and of one character, in widths of the image; 0 without longer texts."""
    is_text = lengths >= MIN_LINE_LENGTH
    if not is_text.any():
        return 0.0, 0.0
    aspects = sizes[is_text, 1] / np.maximum(sizes[is_text, 0], 1)
    return float(np.median(aspects)), float(np.median(aspects / lengths[is_text]))


def lines_for(lengths: np.ndarray, sizes: np.ndarray) -> tuple[int, np.ndarray]:
    """Estimate how many lines of text the images have, from the width of a character in image heights.

    In an image of n lines it is about n * n times smaller than in an image of one.

    Args:
      lengths: (N,) characters of each label.
      sizes: (N, 2) original (width, height).

    Returns:
      The number of lines, 1 to 4, and a mask, (N,) bool, of the images that seem to have several; none if it is 1.
    """
    aspects = sizes[:, 0] / np.maximum(sizes[:, 1], 1)
    none = np.zeros(len(lengths), bool)
    is_text = lengths >= MIN_LINE_LENGTH
    if not is_text.any():
        return 1, none
    is_line = is_text & (aspects >= min(MIN_LINE_ASPECT, float(np.median(aspects[is_text]))))
    widths = aspects / np.maximum(lengths, 1)
    usual = float(np.median(widths[is_line]))
    limit = np.clip(NARROW * usual, *NARROW_LIMITS)
    if usual < NARROW_SET:
        usual, limit = USUAL_WIDTH, NARROW_SET
    if (is_line & (widths < limit)).sum() < max(MIN_SEVERAL_LINES, SEVERAL_LINES_SHARE * len(lengths)):
        return 1, none
    narrow = is_text & (widths < limit)
    lines = np.sqrt(LINE_FILL * usual / np.percentile(widths[narrow], 5))
    return int(np.clip(round(float(lines)), 2, max(LINE_HEIGHTS))), narrow


def width_of_several_lines(height: int, sizes: np.ndarray, narrow: np.ndarray) -> int:
    """Choose the network's width, in pixels, for images of several lines at `height`.

    Nearly all `narrow` images, (N,) bool, fit into it. Single lines are wider; they are shrunk, but not below the
    height of one band. `sizes` are (N, 2) original (width, height).
    """
    several = np.percentile(widths_at(height, sizes[narrow]), 90) if narrow.any() else 0
    single = np.percentile(widths_at(IMAGE_HEIGHT, sizes), 99)
    return int(min(max(several, single, IMAGE_HEIGHT), WIDTH_CAP))


def limits_for(
    labels: Sequence[str], sizes: np.ndarray, typed: Collection[str], bands_height: int | None = None
) -> dict[str, int]:
    """Choose the maximum text length and image width; images far wider than the others are ignored.

    Args:
      labels: N texts.
      sizes: (N, 2) original (width, height).
      typed: limits that the user typed, which are left out.
      bands_height: height in pixels of a network with several bands; None: it has one.
    """
    limits = {}
    if "max_prediction" not in typed:
        limits["max_prediction"] = max(1, max(map(len, labels)))
    if "max_width" in typed or "max_height" in typed:
        return limits
    if bands_height:
        _, narrow = lines_for(np.array([*map(len, labels)]), sizes)
        limits["max_width"] = width_of_several_lines(bands_height, sizes, narrow)
        limits["max_height"] = bands_height
    else:
        widths = widths_at(IMAGE_HEIGHT, sizes)
        widest = min(widths.max(), 2 * np.percentile(widths, 99))
        limits["max_width"] = int(min(max(widest, IMAGE_HEIGHT), WIDTH_CAP))
        limits["max_height"] = IMAGE_HEIGHT
    return limits


def height_for(sizes: np.ndarray) -> int:
    """Choose the height of the default network for (N, 2) original sizes (width, height).

    It is the largest of `HEIGHTS` that half the images have, and at which half of them have at most `PIXEL_CAP`
    pixels: small letters stay readable at a limited cost.
    """
    for height in reversed(HEIGHTS):
        if np.median(sizes[:, 1]) >= height and np.median(widths_at(height, sizes)) * height <= PIXEL_CAP:
            return height
    return IMAGE_HEIGHT


def _contrast_lost_in_grey(data: tf.Tensor) -> tf.Tensor:
    """Compute the share of an encoded image's variance that its grey version lacks: scalar string -> scalar."""
    image = tf.image.resize(decode_image(data, 3), (32, 96), antialias=True)
    colours = image - tf.reduce_mean(image, axis=(0, 1))
    total = tf.reduce_sum(tf.square(colours))
    return tf.reduce_sum(tf.square(colours - tf.image.rgb_to_grayscale(colours))) / (total + 1.0)


@without_autograph
def share_with_colour(paths: Sequence[str], num_records: int) -> float:
    """Estimate the share of images that lose much contrast in grey, from a sample of `num_records`."""
    records = tf.data.TFRecordDataset(list(paths)).shard(max(1, -(-num_records // COLOUR_SAMPLE)), 0)
    feature = {"image": tf.io.FixedLenFeature((), tf.string)}

    def measure(serialized):
        return _contrast_lost_in_grey(tf.io.parse_single_example(serialized, feature)["image"])

    lost = list(without_autotune(records.map(measure, num_parallel_calls=tf.data.AUTOTUNE)).as_numpy_iterator())
    return sum(value > LOST_CONTRAST for value in lost) / max(1, len(lost))


def channels_for(share: float) -> int:
    """Choose the default network's channels, 3 or 1 (grey), by `share_with_colour`."""
    return 3 if share >= COLOUR_SHARE else 1


def batch_size_for(widths: np.ndarray, arch: Arch) -> int:
    """Choose the batch size for (N,) network widths: the architecture's, or less for small sets and long lines."""
    by_count = len(widths) // STEPS_PER_EPOCH
    by_width = arch.batch_size * BATCH_WIDTH // max(1, int(np.median(widths)))
    return min(arch.batch_size, max(SMALLEST_BATCH, min(by_count, by_width)))


def is_small(num_records: int) -> bool:
    """Whether a twentieth of a set is too small for validation."""
    return num_records < SMALL_SET


def is_split(held_out: np.ndarray) -> bool:
    """Whether a training set is large enough to be split, and `held_out`, (N,) bool, splits it."""
    return len(held_out) >= SMALLEST_SPLIT and 0 < held_out.sum() < len(held_out)


def validation_mask(split_keys: np.ndarray) -> np.ndarray:
    """Choose the records for validation, those with the lowest split keys: (N,) int64 -> (N,) bool."""
    if not is_small(len(split_keys)):
        return split_keys < KEYS_PER_PART
    count = math.ceil(HELD_SHARE_OF_SMALL * len(split_keys))
    return split_keys <= np.sort(split_keys)[count - 1] if count else np.zeros(0, bool)


def split_key(image: tf.Tensor) -> tf.Tensor:
    """Hash encoded images to int64 keys, by which they are assigned to training or validation.

    Keys range from 0 to `NUM_PARTS * KEYS_PER_PART`. Equal images have equal keys; different ones rarely do.
    """
    number = tf.strings.to_hash_bucket_fast(image, NUM_PARTS * KEYS_PER_PART)
    return number % NUM_PARTS * KEYS_PER_PART + number // NUM_PARTS
