"""The image transform and its variations."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from aocr.config import ModelConfig
from aocr.data.augment import WAVE, _compressed, _moved, _Uniform, _warps, _waves, augment
from aocr.data.images import canonical_image, image_to_bytes
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


def test_aspect_is_kept_where_an_image_is_shrunk():
    picture = Image.new("L", (512, 64), 255)
    ImageDraw.Draw(picture).ellipse((230, 6, 282, 58), fill=0)
    image = preprocess(tf.constant(encoded(picture)), config(max_width=64))[0].numpy()[..., 0]
    dark = image < 0
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    assert image.shape == (32, 64)
    assert abs(len(rows) - len(columns)) <= 2


def test_faint_and_bold_print_look_alike():
    values = np.asarray(word(mode="L"), np.float64)
    faint = Image.fromarray((values * 0.15 + 100).astype(np.uint8))
    bold, faint = (preprocess(tf.constant(encoded(i)), config())[0].numpy() for i in (word(mode="L"), faint))
    assert np.abs(bold - faint).mean() < 0.06


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_gives_the_same_picture(kind, channels):
    data = encoded(word(), kind)
    found = decode_image(tf.constant(data), channels).numpy().astype(int)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"))
    assert np.abs(found - expected.reshape(found.shape)).max() <= (6 if kind == "JPEG" else 1)


def modes():
    grey = word(mode="L")
    transparent = word().convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(transparent.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "plain": (encoded(word()), True, word()),
        "palette": (encoded(word().quantize(16)), True, word().quantize(16).convert("RGB")),
        "bits": (encoded(word(mode="1")), True, word(mode="1")),
        "16 bits": (encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)), False, grey),
        "opaque": (encoded(word().convert("RGBA")), False, word()),
        "turned": (encoded(word(), exif=exif), False, word().transpose(Image.Transpose.ROTATE_270)),
        "tiff": (encoded(word(), "TIFF"), False, word()),
        "moving": (encoded(grey, "GIF", save_all=True, append_images=[grey.rotate(90)]), False, grey),
        "transparent": (
            encoded(transparent),
            False,
            Image.alpha_composite(Image.new("RGBA", transparent.size, "white"), transparent).convert("RGB"),
        ),
    }


@pytest.mark.parametrize("name", modes())
def test_what_the_network_sees_is_what_a_person_sees(name):
    data, unchanged, expected = modes()[name]
    image = canonical_image(data, name)
    assert (image.data == data) is unchanged
    assert (image.width, image.height) == expected.size
    found = decode_image(tf.constant(image.data), 3).numpy().astype(int)
    assert np.abs(found - np.asarray(expected.convert("RGB")).astype(int)).max() <= 1


def test_arrays_and_pictures():
    values = np.asarray(word())
    for image in (word(), values, values / 255.0, encoded(word())):
        assert np.array_equal(decode_image(tf.constant(image_to_bytes(image).data), 3), values)
    grey = values[:, :, :1]
    assert np.array_equal(decode_image(tf.constant(image_to_bytes(grey).data), 1), grey)


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 3)), np.zeros((2, 2, 2), np.uint8), np.full((3, 3), 7.0), np.zeros(3, int)]
)
def test_arrays_that_are_no_images(bad):
    from aocr.errors import ImageError

    with pytest.raises(ImageError, match=r"array|float"):
        image_to_bytes(bad)


@pytest.mark.parametrize("channels", [1, 3])
def test_variation(channels):
    settings = config(channels=channels)
    image, width, _ = preprocess(tf.constant(encoded(word())), settings)
    images = tf.pad(tf.stack([image] * 4), [[0, 0], [0, 0], [0, 20], [0, 0]])
    widths = tf.fill((4,), width)
    one, again, other = (augment(images, widths, tf.constant(seed)).numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    assert one.shape == images.shape and np.abs(one).max() <= 1
    np.testing.assert_array_equal(one[:, :, int(width) :], 0)
    for varied in np.concatenate([one, other])[..., 0]:  # the word is still there, about where it was
        a, b = (np.abs(np.diff(p[:, : int(width)], axis=1)).sum(0) for p in (images[0, ..., 0].numpy(), varied))
        best = max(np.corrcoef(np.roll(a, shift), b)[0, 1] for shift in range(-10, 11))
        assert best > 0.3
    assert np.abs(one[0] - one[1]).max() > 0.1, "images of a batch vary alike"


@pytest.mark.parametrize("width", [24, 90, 400, 1200])
def test_variation_leaves_no_end_of_the_text_outside(width):
    """A dark spot at each end and at each edge is still there, whatever turn, slant, shift or scale was drawn."""
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
    assert len(set(colour.argmax(1))) == 3, "each of the three is the strongest in some image"


def test_some_images_are_made_negatives():
    plain = np.full((2000, 32, 40, 1), 0.9, np.float32)
    plain[:, 14:18, 18:22] = -0.9
    for strength, low, high in ((0.2, 0.02, 0.1), (1.0, 0.2, 0.3), (9.0, 0.4, 0.6)):
        varied = augment(tf.constant(plain), tf.fill((2000,), 40), tf.constant([1, 2]), strength).numpy()
        assert low < (np.median(varied, axis=(1, 2, 3)) < 0).mean() < high


def led(warp, x, y):
    """Where a projective map leads."""
    a, b, e, c, d, f, g, h = warp
    depth = g * x + h * y + 1
    return np.float64([(a * x + b * y + e) / depth, (c * x + d * y + f) / depth])


def test_an_image_is_turned_and_shifted_alike_at_every_height():
    low, high = (
        _warps(_Uniform(tf.constant([1, 2])), height, tf.constant([3 * height, 10 * height]), 1.0).numpy()
        for height in (32, 64)
    )
    for one, other in zip(low, high, strict=True):
        for x, y in ((0, 0), (10, 31), (90, 16)):
            np.testing.assert_allclose(led(other, 2 * x, 2 * y), 2 * led(one, x, y), atol=1e-3)


def test_places_are_sampled_as_by_hand():
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (3, 9, 14, 2)).astype(np.float32)
    warps = np.float32(
        [[1, 0, 0, 0, 1, 0, 0, 0], [1.2, 0.1, -2, -0.1, 0.8, 1, 0.004, 0], [0.9, -0.2, 4, 0, 1.1, -3, 0, 0]]
    )
    waves = rng.uniform(-3, 3, (3, 9, 14, 2)).astype(np.float32)
    moved = _moved(tf.constant(images), tf.constant(warps), tf.constant(waves)).numpy()
    padded = np.pad(images, [(0, 0), (20, 20), (20, 20), (0, 0)])  # empty all around
    for i, row, column in np.ndindex(3, 9, 14):
        x, y = led(warps[i], column, row) + waves[i, row, column]
        left, top = int(np.floor(x)), int(np.floor(y))
        near = padded[i, top + 20 : top + 22, left + 20 : left + 22]
        expected = np.einsum("y,x,yxc->c", [top + 1 - y, y - top], [left + 1 - x, x - left], near)
        np.testing.assert_allclose(moved[i, row, column], expected, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_waves_are_small_and_smooth(strength):
    waves = _waves(_Uniform(tf.constant([1, 2])), tf.constant(20), tf.constant(32), tf.constant(200), strength).numpy()
    assert waves.shape == (20, 32, 200, 2)
    assert np.abs(waves).max() <= 1.5 * WAVE * strength
    assert (np.abs(waves).max(axis=(1, 2)) >= 0.6 * WAVE * strength).all(), "each image is bent, across and up"
    for axis in (1, 2):  # letters are stretched and squeezed, not torn: no pixel goes beyond its neighbour
        assert np.abs(np.diff(waves, axis=axis)).max() <= 0.6 * strength


@pytest.mark.parametrize("channels", [1, 3])
def test_some_images_become_poor_jpegs(channels):
    plain = np.full((200, 32, 40, channels), 0.8, np.float32)
    plain[:, 10:20, 13:22] = -0.8
    for strength, low, high in ((0.0, 0, 0), (0.5, 0.05, 0.15), (1.0, 0.15, 0.25), (9.0, 0.4, 0.6)):
        stored = _compressed(tf.constant(plain), _Uniform(tf.constant([1, 2])), strength).numpy()
        changes = np.abs(stored - plain).max(axis=(1, 2, 3))
        assert low <= (changes > 0).mean() <= high
        # a block of 8 x 8 pixels without an edge in it stays even; beside an edge there are waves
        assert np.ptp(stored[:, :8, :8], axis=(1, 2)).max() < 0.02
        assert (np.ptp(stored[:, 8:10, 14:22], axis=(1, 2)).max(axis=-1)[changes > 0] > 0.02).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_no_strength_changes_nothing(channels):
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 60, channels)).astype(np.float32)
    same = augment(tf.constant(images), tf.constant([60, 40]), tf.constant([1, 2]), 0.0)
    np.testing.assert_allclose(same, images, atol=1e-5)


def test_little_ink_on_much_paper_keeps_its_shades():
    """A spread fitted to the paper would make all ink black."""
    picture = Image.new("L", (300, 32), 250)
    for i, shade in enumerate((0, 60, 120, 180)):
        ImageDraw.Draw(picture).rectangle((20 + 40 * i, 10, 29 + 40 * i, 19), fill=shade)
    image = preprocess(tf.constant(encoded(picture)), config(max_width=300))[0].numpy()
    seen = image[15, [25, 65, 105, 145], 0]
    assert np.diff(seen).min() > 0.15 and np.ptp(np.diff(seen)) < 0.01
