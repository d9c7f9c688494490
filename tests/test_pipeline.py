"""Batches: order, splits, buckets, exact resume."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_numbers
from PIL import Image

from aocr.config import ModelConfig
from aocr.data import pipeline
from aocr.data.automatic import height_for, network_widths
from aocr.data.batching import plan_batches
from aocr.data.builder import BuildOptions, build_records
from aocr.data.datasets import summarise
from aocr.data.pipeline import WARM_UP_STEPS, Batches
from aocr.data.records import Example, RecordWriter
from aocr.text.charset import EOS, GO, PAD, Charset

NUM = 60


def picture(width, seed):
    buffer = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 256, (32, width)).astype(np.uint8)
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, labels, widths):
    with RecordWriter(str(path)) as writer:
        for i, (label, width) in enumerate(zip(labels, widths, strict=True)):
            writer.write(Example(picture(width, i), label, f"c{i}", width, 32))
    return str(path)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = ["".join(rng.choice(list("abc"), rng.integers(0, 5))) for _ in range(NUM)]
    widths = rng.integers(20, 200, NUM).tolist()
    return write(tmp_path_factory.mktemp("records") / "r", labels, widths), labels, widths


def config(**settings):
    return ModelConfig(Charset("abc"), **{"max_width": 200, "max_height": 32, "max_prediction": 4, **settings})


def batches(path, *args, size=8, **kwargs):
    summary = summarise([path])
    settings = kwargs.pop("config", config())
    plan = plan_batches(network_widths(summary.sizes, settings), size, settings)
    return Batches([path], settings, plan, summary, *args, **kwargs)


def take(stream, count):
    return [(int(e), int(i), batch) for e, i, batch in itertools.islice(stream, count)]


def per_epoch(data):
    widths = network_widths(summarise([data]).sizes, config())
    return plan_batches(widths, 8, config()).num_batches(widths)


def test_every_epoch_has_its_own_order(records):
    data, n = batches(records[0]), per_epoch(records[0])
    found = take(data.training_batches(0, 0, seed=5, strength=0.0), 2 * n)
    assert [e for e, _, _ in found] == [0] * n + [1] * n
    orders = []
    for epoch in (0, 1):
        order = [int(i) for e, _, batch in found if e == epoch for i in batch.index]
        assert sorted(order) == list(range(NUM))
        orders.append(order)
    assert orders[0] != orders[1]
    again = take(batches(records[0]).training_batches(0, 0, seed=5, strength=0.0), n)
    assert [int(i) for *_, batch in again for i in batch.index] == orders[0]
    other = take(batches(records[0]).training_batches(0, 0, seed=6, strength=0.0), n)
    assert [int(i) for *_, batch in other for i in batch.index] != orders[0]


@pytest.mark.parametrize("cached", [True, False])
def test_resuming_in_an_epoch_gives_the_same_pixels(records, cached, monkeypatch):
    if not cached:
        monkeypatch.setattr(pipeline, "CACHE_BYTES", 0)
    n = per_epoch(records[0])
    straight = take(batches(records[0]).training_batches(0, 0, seed=1, strength=1.0), 2 * n)
    resumed = take(batches(records[0]).training_batches(0, 3, seed=1, strength=1.0), 2 * n - 3)
    later = take(batches(records[0]).training_batches(1, 2, seed=1, strength=1.0), n - 2)
    for expected, found in ((straight[3:], resumed), (straight[n + 2 :], later)):
        for (e, i, a), (f, j, b) in zip(expected, found, strict=True):
            assert (e, i) == (f, j)
            np.testing.assert_array_equal(a.index, b.index)
            np.testing.assert_array_equal(a.images, b.images)


@pytest.mark.parametrize(
    ("sizes", "height"),
    [
        ([(200, 47)] * 3, 32),
        ([(200, 50)] * 3, 48),
        ([(333, 48)] * 3, 48),
        ([(334, 48)] * 3, 32),
        ([(100, 400)] * 3, 64),
        ([(300, 64)] * 3, 48),  # at 64 each would cost more
        ([(128, 64)] * 2 + [(90, 30)], 64),
        ([(128, 64)] + [(90, 30)] * 2, 32),
    ],
)
def test_height_for_short_images(sizes, height):
    assert height_for(np.array(sizes)) == height


def test_no_augmentation_at_strength_zero(records):
    plain, varied = (
        take(batches(records[0]).training_batches(WARM_UP_STEPS, 0, seed=1, strength=strength), 1)[0][2]
        for strength in (0.0, 1.0)
    )
    np.testing.assert_array_equal(plain.index, varied.index)
    assert np.abs(plain.images - varied.images).max() > 0.1
    ordered = {
        int(i): image for b in batches(records[0]).sorted_batches() for i, image in zip(b.index, b.images, strict=True)
    }
    for index, image in zip(plain.index.numpy(), plain.images, strict=True):
        wide = min(image.shape[1], ordered[index].shape[1])
        np.testing.assert_array_equal(image[:, :wide], ordered[index][:, :wide])


def test_augmentation_warms_up(records, monkeypatch):
    monkeypatch.setattr(pipeline, "WARM_UP_STEPS", 6)
    plain, varied = (
        take(batches(records[0]).training_batches(0, 0, seed=1, strength=strength), 8) for strength in (0.0, 1.0)
    )
    far = [np.abs(a.images - b.images).mean() for (*_, a), (*_, b) in zip(plain, varied, strict=True)]
    np.testing.assert_allclose(plain[0][2].images, varied[0][2].images, atol=1e-5)
    assert far[0] < far[1] < max(far[5:]) and max(far[:3]) < max(far[5:])


def test_buckets_need_little_padding(records):
    data = batches(records[0])
    valid = total = 0
    for batch in data.sorted_batches():
        assert batch.images.shape[2] in data.plan.edges
        assert int(tf.reduce_max(batch.widths)) <= batch.images.shape[2]
        assert batch.images.shape[2] % 4 == 0
        for image, width in zip(batch.images.numpy(), batch.widths.numpy(), strict=True):
            np.testing.assert_array_equal(image[:, width:], 0)
        valid, total = valid + int(tf.reduce_sum(batch.widths)), total + batch.images.shape[0] * batch.images.shape[2]
    assert valid / total > 0.75
    assert len(list(data.sorted_batches())) == per_epoch(records[0])


def test_the_split_by_hash(records, tmp_path):
    parts = {
        part: {int(i) for batch in batches(records[0], part).sorted_batches() for i in batch.index}
        for part in ("training", "validation")
    }
    assert parts["training"] | parts["validation"] == set(range(NUM))
    assert not parts["training"] & parts["validation"]
    assert parts["validation"] == set(np.flatnonzero(summarise([records[0]]).held_out).tolist())
    with RecordWriter(str(tmp_path / "e")) as writer:
        for i in range(40):
            writer.write(Example(picture(50, i // 2), "a", "", 50, 32))
    held_out = summarise([str(tmp_path / "e")]).held_out
    np.testing.assert_array_equal(held_out[::2], held_out[1::2])  # equal images are in the same part


def test_a_set_without_validation_images(records):
    summary = summarise([records[0]])
    summary = summary._replace(held_out=np.zeros(NUM, bool))
    plan = plan_batches(network_widths(summary.sizes, config()), 8, config())
    stream = Batches([records[0]], config(), plan, summary).sorted_batches()
    assert sum(len(batch.index) for batch in stream) == NUM


def test_tokens_targets_and_weights(tmp_path):
    settings = ModelConfig(Charset(" a\u0323b"), max_width=200, max_height=32, max_prediction=4)
    path = write(tmp_path / "r", ["a b", "", "a\u0323", "abab"], [40] * 4)
    (batch,) = batches(path, config=settings).sorted_batches()
    order = np.argsort(batch.index.numpy())
    space, a, dot, b = 3, 4, 5, 6
    targets = [[a, space, b, EOS, PAD], [EOS, *[PAD] * 4], [a, dot, EOS, PAD, PAD], [a, b, a, b, EOS]]
    np.testing.assert_array_equal(batch.targets.numpy()[order], targets)
    np.testing.assert_array_equal(batch.tokens.numpy()[order], [[GO, *row[:-1]] for row in targets])
    np.testing.assert_array_equal(batch.weights.numpy().sum(1)[order] - 1, [3, 0, 2, 4])
    weights = [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(batch.weights.numpy()[order], weights)


def test_labels_that_cannot_be_encoded_are_left_out(tmp_path):
    path = write(tmp_path / "r", ["a", "x", "abcab", "c"], [40] * 4)
    for drop_unknown, expected in ((True, [0, 3]), (False, [0, 1, 2, 3])):
        data = batches(path, drop_unknown=drop_unknown)
        assert sorted(int(i) for batch in data.sorted_batches() for i in batch.index) == expected


def test_batches_contain_the_source_only_on_request(records):
    light = next(iter(batches(records[0]).sorted_batches()))
    assert set(light.record.numpy()) == {b""} and light.label.numpy()[0].decode() in records[1]
    whole = next(iter(batches(records[0], keep_source=True).sorted_batches()))
    for index, record, comment in zip(*(t.numpy() for t in (whole.index, whole.record, whole.comment)), strict=True):
        assert record == picture(records[2][index], index)
        assert comment == f"c{index}".encode()


def test_images_narrower_than_the_longest_label(tmp_path):
    """Labels are not padded to the width of the bucket."""
    report = build_records(str(draw_numbers(tmp_path / "n", 20)), str(tmp_path / "r"), BuildOptions())
    settings = ModelConfig(Charset("0123456789"), max_width=120, max_height=32, max_prediction=200)
    summary = summarise(report.paths)
    plan = plan_batches(network_widths(summary.sizes, settings), 4, settings)
    assert plan.edges[0] < 200
    seen = [int(i) for batch in Batches(report.paths, settings, plan, summary).sorted_batches() for i in batch.index]
    assert sorted(seen) == list(range(20))


def test_no_dataset_is_tuned(records):
    """The end of a dataset waits for the thread that tunes it, which sleeps up to a minute."""
    data = batches(records[0])
    for stream in (data.sorted_batches(), data.window_batches(0, 9), data.training_batches(0, 0, 1, 1.0, data)):
        assert stream.options().autotune.enabled is False
