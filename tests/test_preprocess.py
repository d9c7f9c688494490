"""The image transform and augmentation."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from aocr.config import ModelConfig
from aocr.data import augment as augment_module
from aocr.data.augment import WAVE, _compressed, _moved, _Uniform, _warps, _waves, augment
from aocr.data.preprocess import decode_image, preprocess
from aocr.text.charset import Charset


def config(**settings):
    return ModelConfig(Charset("a"), **{"max_width": 128, "max_height": 32, **settings})


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def word(width=120, height=40, mode="RGB"):
    image = Image.new("RGB", (width, height), (220, 230, 210))
    ImageDraw.Draw(image).text((10, height // 6), "WORD", (40, 20, 60), ImageFont.load_default(height * 0.6))
    return image.convert(mode)


@pytest.mark.parametrize("height", [32, 48, 64])
@pytest.mark.parametrize("size", [(120, 40), (64, 64), (30, 16), (500, 40), (1, 1), (1, 3000), (3000, 1)])
def test_height_width_and_scale(size, height):
    image, width, scale = preprocess(tf.constant(encoded(Image.new("L", size, 90))), config(height=height))
    expected = min(4 * height, int(np.ceil(size[0] / size[1] * height)))
    assert image.shape == (height, expected, 1)
    assert int(width) == expected
    assert float(scale) * expected == pytest.approx(size[0], rel=1e-5)
    assert np.isfinite(image).all() and np.abs(image).max() <= 1


def test_shrinking_keeps_the_aspect():
    picture = Image.new("L", (512, 64), 255)
    ImageDraw.Draw(picture).ellipse((230, 6, 282, 58), fill=0)
    image = preprocess(tf.constant(encoded(picture)), config(max_width=64))[0].numpy()[..., 0]
    dark = image < 0
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    assert image.shape == (32, 64)
    assert abs(len(rows) - len(columns)) <= 2


def test_contrast_is_normalised():
    values = np.asarray(word(mode="L"), np.float64)
    faint = Image.fromarray((values * 0.15 + 100).astype(np.uint8))
    bold, faint = (preprocess(tf.constant(encoded(i)), config())[0].numpy() for i in (word(mode="L"), faint))
    assert np.abs(bold - faint).mean() < 0.06


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_decodes_alike(kind, channels):
    data = encoded(word(), kind)
    found = decode_image(tf.constant(data), channels).numpy().astype(int)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"))
    assert np.abs(found - expected.reshape(found.shape)).max() <= (6 if kind == "JPEG" else 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation(channels):
    settings = config(channels=channels)
    image, width, _ = preprocess(tf.constant(encoded(word())), settings)
    images = tf.pad(tf.stack([image] * 4), [[0, 0], [0, 0], [0, 20], [0, 0]])
    widths = tf.fill((4,), width)
    first, again, other = (augment(images, widths, tf.constant(seed)).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == images.shape and np.abs(first).max() <= 1
    np.testing.assert_array_equal(first[:, :, int(width) :], 0)
    for varied in np.concatenate([first, other])[..., 0]:  # the word stays about where it was
        a, b = (np.abs(np.diff(p[:, : int(width)], axis=1)).sum(0) for p in (images[0, ..., 0].numpy(), varied))
        best = max(np.corrcoef(np.roll(a, shift), b)[0, 1] for shift in range(-10, 11))
        assert best > 0.3
    assert np.abs(first[0] - first[1]).max() > 0.1, "all images of a batch are augmented alike"


@pytest.mark.parametrize("width", [24, 90, 400, 1200])
def test_no_end_of_the_text_leaves_the_frame(width):
    """A dark spot at each end and edge stays visible under every rotation, shear, shift and scale."""
    plain = np.full((64, 32, width, 1), 0.9, np.float32)
    for y, x in ((14, 2), (14, width - 6), (2, width // 2 - 2), (26, width // 2 - 2)):
        plain[:, y : y + 4, x : x + 4] = -0.9
    varied = augment(tf.constant(plain), tf.fill((64,), width), tf.constant([3, 4])).numpy()[..., 0]
    paper = np.median(varied, axis=(1, 2))[:, None, None]
    ink = np.maximum(0, np.abs(varied - paper) - 0.35)
    for part in (ink[:, :, : width // 3], ink[:, :, -(width // 3) :], ink[:, :12], ink[:, -12:]):
        assert (part.sum((1, 2)) > 0.8).all()


def test_colours_vary_and_grey_stays_grey():
    plain = np.full((40, 32, 120, 3), 0.4, np.float32)
    plain[:, :, 60:] = (0.6, -0.3, 0.0)
    varied = augment(tf.constant(plain), tf.fill((40,), 120), tf.constant([1, 2])).numpy()
    grey, colour = (varied[:, 8:24, part].mean((1, 2)) for part in (slice(8, 36), slice(84, 112)))
    assert np.ptp(grey, axis=1).max() < 0.02 < np.ptp(colour, axis=1).min()
    assert len(set(colour.argmax(1))) == 3, "each channel is the strongest in some image"


def test_some_images_are_inverted():
    plain = np.full((2000, 32, 40, 1), 0.9, np.float32)
    plain[:, 14:18, 18:22] = -0.9
    for strength, low, high in ((0.2, 0.02, 0.1), (1.0, 0.2, 0.3), (9.0, 0.4, 0.6)):
        varied = augment(tf.constant(plain), tf.fill((2000,), 40), tf.constant([1, 2]), strength).numpy()
        assert low < (np.median(varied, axis=(1, 2, 3)) < 0).mean() < high


def project(warp, x, y):
    """Apply a projective map to one pixel."""
    a, b, e, c, d, f, g, h = warp
    depth = g * x + h * y + 1
    return np.float64([(a * x + b * y + e) / depth, (c * x + d * y + f) / depth])


def test_warps_scale_with_the_height():
    low, high = (
        _warps(_Uniform(tf.constant([1, 2])), height, tf.constant([3 * height, 10 * height]), 1.0).numpy()
        for height in (32, 64)
    )
    for warp, other in zip(low, high, strict=True):
        for x, y in ((0, 0), (10, 31), (90, 16)):
            np.testing.assert_allclose(project(other, 2 * x, 2 * y), 2 * project(warp, x, y), atol=1e-3)


def test_bilinear_sampling_by_hand():
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 9, 14, 2)).astype(np.float32)
    warps = np.float32(
        [[1, 0, 0, 0, 1, 0, 0, 0], [1.2, 0.1, -2, -0.1, 0.8, 1, 0.004, 0], [0.9, -0.2, 4, 0, 1.1, -3, 0, 0]]
    )
    waves = rng.uniform(-3, 3, (3, 9, 14, 2)).astype(np.float32)
    moved = _moved(tf.constant(images), tf.constant(warps), tf.constant(waves)).numpy()
    padded = np.pad(images, [(0, 0), (20, 20), (20, 20), (0, 0)])
    for i, row, column in np.ndindex(3, 9, 14):
        x, y = project(warps[i], column, row) + waves[i, row, column]
        left, top = int(np.floor(x)), int(np.floor(y))
        near = padded[i, top + 20 : top + 22, left + 20 : left + 22]
        expected = np.einsum("y,x,yxc->c", [top + 1 - y, y - top], [left + 1 - x, x - left], near)
        np.testing.assert_allclose(moved[i, row, column], expected, atol=1e-4)


def reference_moved(images, warps, waves):
    """`_moved` with the four corners of every pixel side by side, gathered at once."""
    num, height, width = images.shape[:3]
    a, b, e, c, d, f, g, h = [warp[:, None, None] for warp in tf.unstack(warps, axis=1)]
    x, y = tf.range(float(width))[None, None], tf.range(float(height))[None, :, None]
    depth = 1.0 / (g * x + h * y + 1.0)
    x, y = (a * x + b * y + e) * depth + waves[..., 0], (c * x + d * y + f) * depth + waves[..., 1]
    x, y = tf.clip_by_value(x + 1.0, 0.0, width + 1.0), tf.clip_by_value(y + 1.0, 0.0, height + 1.0)
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


@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_equals_the_reference_to_the_bit(channels, monkeypatch):
    """Four gathers and flat masks are only faster: trainings with a seed give the same weights."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 60, channels)).astype(np.float32)
    arguments = tf.constant(images), tf.constant([60, 40, 23, 5]), tf.constant([1, 2])
    augmented = augment(*arguments).numpy()
    inside = np.arange(60)[None, None, :, None] < np.array([60, 40, 23, 5])[:, None, None, None]
    paper = augment_module._paper(tf.constant(images), tf.constant(inside))
    inputs = []

    def moved(ink, warps, waves):
        inputs.append((ink.numpy(), np.where(inside, images - paper, 0.0)))
        return reference_moved(ink, warps, waves)

    monkeypatch.setattr(augment_module, "_moved", moved)
    np.testing.assert_array_equal(augmented, augment(*arguments).numpy())
    np.testing.assert_array_equal(*inputs[0])
    padding = np.broadcast_to(~inside, images.shape)
    np.testing.assert_array_equal(augmented[padding], images[padding])


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_waves_are_small_and_smooth(strength):
    waves = _waves(_Uniform(tf.constant([1, 2])), tf.constant(20), tf.constant(32), tf.constant(200), strength).numpy()
    assert waves.shape == (20, 32, 200, 2)
    assert np.abs(waves).max() <= 1.5 * WAVE * strength
    assert (np.abs(waves).max(axis=(1, 2)) >= 0.6 * WAVE * strength).all(), "each image is distorted in both directions"
    for axis in (1, 2):  # no pixel passes its neighbour
        assert np.abs(np.diff(waves, axis=axis)).max() <= 0.6 * strength


@pytest.mark.parametrize("channels", [1, 3])
def test_some_images_are_compressed(channels):
    plain = np.full((200, 32, 40, channels), 0.8, np.float32)
    plain[:, 10:20, 13:22] = -0.8
    for strength, low, high in ((0.0, 0, 0), (0.5, 0.05, 0.15), (1.0, 0.15, 0.25), (9.0, 0.4, 0.6)):
        stored = _compressed(tf.constant(plain), _Uniform(tf.constant([1, 2])), strength).numpy()
        changes = np.abs(stored - plain).max(axis=(1, 2, 3))
        assert low <= (changes > 0).mean() <= high
        # a jpeg block of 8 x 8 pixels without an edge stays even; beside an edge there are artefacts
        assert np.ptp(stored[:, :8, :8], axis=(1, 2)).max() < 0.02
        assert (np.ptp(stored[:, 8:10, 14:22], axis=(1, 2)).max(axis=-1)[changes > 0] > 0.02).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_changes_nothing(channels):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 60, channels)).astype(np.float32)
    same = augment(tf.constant(images), tf.constant([60, 40]), tf.constant([1, 2]), 0.0)
    np.testing.assert_allclose(same, images, atol=1e-5)


def test_little_ink_on_much_paper_keeps_its_shades():
    """Contrast normalised by the paper alone would clip all ink to black."""
    picture = Image.new("L", (300, 32), 250)
    for i, shade in enumerate((0, 60, 120, 180)):
        ImageDraw.Draw(picture).rectangle((20 + 40 * i, 10, 29 + 40 * i, 19), fill=shade)
    image = preprocess(tf.constant(encoded(picture)), config(max_width=300))[0].numpy()
    seen = image[15, [25, 65, 105, 145], 0]
    assert np.diff(seen).min() > 0.15 and np.ptp(np.diff(seen)) < 0.01
