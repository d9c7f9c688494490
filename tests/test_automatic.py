"""Defaults derived from the data."""

import numpy as np
import pytest
import tensorflow as tf

from aocr.config import ARCHS, HEIGHTS, width_at
from aocr.data import automatic


@pytest.mark.parametrize("height", HEIGHTS)
def test_widths_of_ints_arrays_and_tensors_are_equal(height):
    sizes = np.array([(w, h) for w in (1, 2, 31, 100, 333, 4096) for h in range(1, 130)])
    expected = [-(-w * height // h) for w, h in sizes.tolist()]
    ints = [int(width_at(height, w, h)) for w, h in sizes.tolist()]
    arrays = automatic.widths_at(height, sizes)
    graph = tf.function(lambda w, h: tf.cast(width_at(height, w, h), tf.int32))
    tensors = graph(tf.constant(sizes[:, 0], tf.int32), tf.constant(sizes[:, 1], tf.int32)).numpy()
    np.testing.assert_array_equal(arrays, ints)
    np.testing.assert_array_equal(tensors, ints)
    assert all(0 <= found - exact <= 1 for found, exact in zip(ints, expected, strict=True))
    assert height != 32 or ints == expected  # elsewhere 1 / 49 * 49 and the like are off in the last bit


def test_limits_for_labels_and_images():
    sizes = np.array([(100, 32)] * 99 + [(1000, 32)])
    labels = ["a"] * 99 + ["four"]
    assert automatic.limits_for(labels, sizes, ()) == {"max_prediction": 4, "max_width": 218, "max_height": 32}
    assert automatic.limits_for(labels, sizes, {"max_width"}) == {"max_prediction": 4}
    assert automatic.limits_for(labels, sizes, {"max_prediction", "max_height"}) == {}
    assert automatic.limits_for([""], np.array([(9000, 32)]), ())["max_width"] == automatic.WIDTH_CAP
    assert automatic.limits_for([""], np.array([(1, 32)]), ())["max_width"] == 32


@pytest.mark.parametrize(
    ("count", "width", "arch", "size"),
    [
        (10_000, 100, "default", 32),
        (10_000, 100, "classic", 65),
        (10, 100, "default", 8),
        (240, 100, "default", 10),
        (10_000, 1024, "default", 16),
        (10_000, 9000, "default", 8),
    ],
)
def test_batches_are_smaller_for_small_sets_and_long_lines(count, width, arch, size):
    assert automatic.batch_size_for(np.full(count, width), ARCHS[arch]) == size


def test_a_set_is_split_if_both_parts_get_images():
    held_out = np.arange(400) % 5 == 0
    assert automatic.is_split(held_out)
    assert automatic.is_split(held_out[: automatic.SMALLEST_SPLIT])
    assert not automatic.is_split(held_out[: automatic.SMALLEST_SPLIT - 1])
    assert not automatic.is_split(np.zeros(400, bool))
    assert not automatic.is_split(np.ones(400, bool))


def test_more_of_a_small_set_is_for_validation():
    keys = np.random.default_rng(0).integers(0, automatic.NUM_PARTS * automatic.KEYS_PER_PART, automatic.SMALL_SET)
    np.testing.assert_array_equal(automatic.validation_mask(keys), keys < automatic.KEYS_PER_PART)
    for count, held in ((automatic.SMALL_SET - 1, 40), (100, 20), (25, 5), (1, 1), (0, 0)):
        assert automatic.validation_mask(keys[:count]).sum() == held
    assert automatic.validation_mask(np.repeat(keys[:50], 2)).sum() == 20


def test_split_keys_do_not_change():
    """A training that resumes keeps its validation images."""
    images = tf.constant([str(i) for i in range(500)])
    parts = tf.strings.to_hash_bucket_fast(images, automatic.NUM_PARTS).numpy()
    keys = automatic.split_key(images).numpy()
    np.testing.assert_array_equal(keys // automatic.KEYS_PER_PART, parts)
    assert keys.dtype == np.int64 and keys[:3].tolist() == [68554645532, 40817436414, 81629005409]
