"""Images of any type: kept, converted or refused."""

import io
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import REAL_DATA
from PIL import Image

from aocr.data import images, pixels
from aocr.data.images import as_png, canonical_image, image_to_bytes
from aocr.data.preprocess import decode_image
from aocr.errors import ImageError

RNG = np.random.default_rng(5)
COLOUR = Image.fromarray(RNG.integers(0, 256, (10, 20, 3)).astype(np.uint8)).resize((60, 40), Image.Resampling.BICUBIC)
GREY = COLOUR.convert("L")


def encoded(image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seen(image) -> np.ndarray:
    """Pixels as the network's transform decodes them, (H, W, 3)."""
    pixels = decode_image(tf.constant(image.data), 3).numpy().astype(int)
    assert pixels.shape == (image.height, image.width, 3)
    return pixels


def rgb(image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def bmp(bits: int, body: bytes, palette: bytes = b"", packing: int = 0) -> bytes:
    """A bmp of 4 x 2 pixels."""
    header = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, bits, packing, len(body), 0, 0, len(palette) // 4, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + body


KEPT = {
    "colour": encoded(COLOUR),
    "grey": encoded(GREY),
    "1 bit": encoded(GREY.convert("1")),
    "palette of 2": encoded(COLOUR.quantize(2), bits=1),
    "palette of 200": encoded(COLOUR.quantize(200)),
    "gamma": (lambda d: d[:33] + chunk(b"gAMA", struct.pack(">I", 100000)) + d[33:])(encoded(COLOUR)),
    "animated png": encoded(COLOUR, save_all=True, append_images=[COLOUR.rotate(90)]),
    "jpeg": encoded(COLOUR, "JPEG"),
    "progressive jpeg": encoded(COLOUR, "JPEG", progressive=True),
    "upright jpeg": encoded(COLOUR, "JPEG", exif=turned(1)),
    "jpeg with more behind it": encoded(COLOUR, "JPEG") + b"\n" * 9,
    "1x1": encoded(GREY.resize((1, 1))),
}


@pytest.mark.parametrize("name", KEPT)
def test_images_that_are_kept(name):
    data = KEPT[name]
    image = canonical_image(data, name)
    assert image.data is data
    assert np.abs(seen(image) - rgb(Image.open(io.BytesIO(data)))).max() <= (6 if "jpeg" in name else 0)


SMALL_FRAME = bytearray(encoded(COLOUR.quantize(64), "GIF"))
SMALL_FRAME[6:10] = struct.pack("<HH", 70, 50)
RED_GREEN = bytes((0, 0, 255, 0, 0, 255, 0, 0))
CHANGED = {
    "bmp": (encoded(COLOUR, "BMP"), COLOUR),
    "palette bmp": (encoded(COLOUR.quantize(50), "BMP"), COLOUR.quantize(50)),
    "packed bmp": (
        bmp(8, bytes((4, 1, 0, 0, 4, 0, 0, 1)), RED_GREEN, 1),
        Image.fromarray(np.repeat(np.uint8([[[255, 0, 0]], [[0, 255, 0]]]), 4, 1)),
    ),
    "16-bit bmp": (bmp(16, b"\xff\x7f" * 4 + b"\0\0" * 4), Image.fromarray(np.uint8([[0] * 4, [255] * 4]))),
    "gif": (encoded(COLOUR.quantize(64), "GIF"), COLOUR.quantize(64)),
    "moving gif": (encoded(GREY, "GIF", save_all=True, append_images=[GREY.rotate(90)]), GREY),
    "gif smaller than its canvas": (bytes(SMALL_FRAME), Image.open(io.BytesIO(bytes(SMALL_FRAME)))),
    "tiff": (encoded(COLOUR, "TIFF"), COLOUR),
    "webp": (encoded(COLOUR, "WEBP", lossless=True), COLOUR),
    "pgm": (encoded(GREY, "PPM"), GREY),
    "cmyk tiff": (encoded(COLOUR.convert("CMYK"), "TIFF"), COLOUR),
    "opaque": (encoded(COLOUR.convert("RGBA")), COLOUR),
    "grey and opaque": (encoded(GREY.convert("LA")), GREY),
    "16 bits": (encoded(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)), GREY),
    "32-bit tiff of 16 bits": (encoded(Image.fromarray(np.asarray(GREY).astype(np.int32) * 257), "TIFF"), GREY),
    "32-bit tiff of 8 bits": (encoded(Image.fromarray(np.asarray(GREY).astype(np.int32)), "TIFF"), GREY),
    "float tiff to 1": (encoded(Image.fromarray(np.asarray(GREY, np.float32) / 255), "TIFF"), GREY),
    "float tiff to 255": (encoded(Image.fromarray(np.asarray(GREY, np.float32)), "TIFF"), GREY),
}


@pytest.mark.parametrize("name", CHANGED)
def test_images_that_become_png(name):
    data, expected = CHANGED[name]
    image = canonical_image(data, name)
    assert image.data.startswith(b"\x89PNG") and image.data != data
    assert np.abs(seen(image) - rgb(expected)).max() <= 1


def test_cmyk_jpeg():
    data = encoded(COLOUR.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(seen(canonical_image(data)) - rgb(COLOUR)).mean() < 4


def test_wide_ranges_are_scaled_not_clipped():
    values = np.arange(800, dtype=np.int32).reshape(20, 40) * 1_000_000 - 5_000_000
    for array in (values, values.astype(np.float32)):
        grey = seen(canonical_image(encoded(Image.fromarray(array), "TIFF")))[..., 0].ravel()
        assert grey[0] == 0 and grey[-1] == 255
        assert (np.diff(grey) >= 0).all() and len(np.unique(grey)) == 256


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value):
    values = np.asarray(GREY, np.float32) / 255
    values[3, 4] = value
    pixels = seen(canonical_image(encoded(Image.fromarray(values), "TIFF")))
    pixels[3, 4] = rgb(GREY)[3, 4]
    assert np.abs(pixels - rgb(GREY)).max() <= 1


INKS = {"white": (255, 255, 255), "yellow": (255, 240, 60), "light grey": (200, 200, 200)}


def letters(ink, mode="RGBA") -> Image.Image:
    """A bar with soft edges on a transparent ground."""
    picture = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    picture.paste((*ink, 255), (8, 5, 30, 15))
    picture.paste((*ink, 100), (30, 5, 32, 15))
    return picture.convert(mode)


@pytest.mark.parametrize("ink", INKS.values(), ids=INKS)
def test_light_ink_is_laid_on_black(ink):
    pixels = seen(canonical_image(encoded(letters(ink))))
    assert pixels[0, 0].tolist() == [0, 0, 0] and pixels[10, 10].tolist() == list(ink)


@pytest.mark.parametrize("ink", [(0, 0, 0), (200, 30, 30), (128, 128, 128)])
def test_other_ink_is_laid_on_white(ink):
    pixels = seen(canonical_image(encoded(letters(ink))))
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[10, 10].tolist() == list(ink)


def test_a_light_panel_with_clear_corners_stays_on_white():
    panel = Image.new("RGBA", (60, 30), (250, 250, 250, 255))
    panel.paste((20, 20, 20, 255), (10, 8, 40, 20))
    panel.paste((0, 0, 0, 0), (0, 0, 3, 3))
    assert seen(canonical_image(encoded(panel)))[0, 0].tolist() == [255, 255, 255]


CLEAR = {
    "white": encoded(letters((255, 255, 255))),
    "black": encoded(letters((0, 0, 0))),
    "yellow": encoded(letters((255, 240, 60))),
    "grey": encoded(letters((255, 255, 255), "LA")),
    "palette": encoded(letters((250, 250, 250)).convert("RGB").quantize(4), transparency=0),
    "one colour": encoded(letters((250, 0, 0)).convert("RGB"), transparency=(0, 0, 0)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CLEAR)
def test_exports_lay_transparent_images_on_the_same_ground(name, channels):
    """The graph of an export decodes encoded images itself; both readers' decoders agree with it."""
    expected = pixels.decode_image(canonical_image(CLEAR[name]).data, channels).astype(int)
    graph = tf.function(lambda data: decode_image(data, channels), input_signature=[tf.TensorSpec((), tf.string)])
    for decode in (graph, lambda data: pixels.decode_image(data, channels)):
        assert np.abs(np.asarray(decode(CLEAR[name])).astype(int) - expected).max() <= 1
    assert np.ptp(expected) > 100


@pytest.mark.parametrize(
    ("image", "is_blank"),
    [
        (GREY, False),
        (COLOUR, False),
        (Image.new("RGB", (9, 9), (5, 6, 7)), True),
        (Image.new("L", (9, 9), 255), True),
        (Image.new("RGBA", (9, 9), (0, 0, 0, 0)), True),
        (Image.new("P", (9, 9), 3), True),
        (Image.new("1", (9, 9)), True),
        (letters((255, 255, 255)), False),
    ],
)
def test_images_that_show_nothing(image, is_blank):
    assert canonical_image(encoded(image)).is_blank is is_blank


def test_transparency_is_white():
    ink = Image.new("RGBA", (4, 1), (0, 0, 0, 255))
    ink.putpixel((1, 0), (0, 0, 0, 0))
    ink.putpixel((2, 0), (200, 0, 0, 127))
    pixels = seen(canonical_image(encoded(ink)))[0]
    assert pixels[0].tolist() == [0, 0, 0] and pixels[1].tolist() == [255, 255, 255]
    assert np.abs(pixels[2] - (228, 128, 128)).max() <= 1
    plain = Image.new("RGB", (3, 2), (7, 8, 9)).quantize(2)
    for data in (
        encoded(Image.new("L", (3, 2), 7), transparency=7),
        encoded(Image.new("RGB", (3, 2), (7, 8, 9)), transparency=(7, 8, 9)),
        encoded(plain, transparency=plain.getpixel((0, 0))),
        encoded(plain, "GIF", transparency=plain.getpixel((0, 0))),
    ):
        assert (seen(canonical_image(data)) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_rotated_images_are_made_upright(kind, orientation):
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose
    stored = COLOUR.transpose(Image.Transpose(back))
    image = canonical_image(encoded(stored, kind, exif=turned(orientation), **options))
    assert (image.width, image.height) == COLOUR.size
    assert np.abs(seen(image) - rgb(COLOUR)).mean() < (2 if kind == "JPEG" else 1)


@pytest.mark.parametrize("exif", [b"garbage garbage", b"MM\0*\0\0\0\x08\xff\xff\x01\x12\0\x03"])
def test_damaged_exif_is_ignored(exif):
    image = canonical_image(encoded(COLOUR, "JPEG", exif=b"Exif\0\0" + exif))
    assert (image.width, image.height) == COLOUR.size


def promised(width: int, height: int) -> bytes:
    """A png whose header claims this size."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + encoded(GREY)[33:]
    )


REFUSED = {
    "0 bytes": (b"", "empty"),
    "text": (b"this is a text file\n", "not an image"),
    "cut jpeg": (encoded(COLOUR, "JPEG")[:-100], "damaged"),
    "cut png": (encoded(COLOUR)[:-100], "damaged"),
    "cut bmp": (encoded(COLOUR, "BMP")[:-100], "damaged"),
    "cut tiff": (encoded(COLOUR, "TIFF")[:200], "not an image|damaged"),
    "no height": (promised(10, 0), "damaged|not an image|no pixels"),
    "a bomb": (promised(60_000, 60_000), "pixels"),
}


def test_small_files_that_take_hours_or_gigabytes(monkeypatch):
    progressive = encoded(COLOUR, "JPEG", progressive=True)
    monkeypatch.setattr(images, "MAX_WORK", 60 * 40 * 20)
    assert canonical_image(progressive).width == 60
    monkeypatch.setattr(images, "MAX_WORK", 60 * 40)
    with pytest.raises(ImageError, match="too many passes"):
        canonical_image(progressive)
    tiff = SimpleNamespace(width=10, height=10, info={}, format="TIFF", tag_v2={322: 32768, 323: 32768})
    with pytest.raises(ValueError, match="tiles larger than the picture"):
        images._check_work(tiff, b"")


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name):
    data, words = REFUSED[name]
    with pytest.raises(ImageError, match=words) as caught:
        canonical_image(data, "x/y.png")
    assert str(caught.value).startswith("x/y.png: ") and "\n" not in str(caught.value)


def test_random_damage():
    """A damaged file is refused, or TensorFlow decodes it or its conversion to png."""
    rng = np.random.default_rng(11)
    small = COLOUR.resize((30, 20))
    files = [encoded(small, kind) for kind in ("PNG", "BMP", "TIFF", "WEBP")] + [encoded(small.quantize(8), "GIF")]
    num_decoded = 0
    for number in range(1500):
        data = bytearray(files[number % len(files)])
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            data[position] = rng.integers(0, 256)
        if number % 3 == 0:
            del data[int(rng.integers(1, len(data))) :]
        try:
            image = canonical_image(bytes(data))
        except ImageError:
            continue
        if image.width * image.height < 100_000:
            try:
                tf.io.decode_image(image.data)
            except tf.errors.InvalidArgumentError:
                tf.io.decode_png(as_png(image.data))
            num_decoded += 1
    assert num_decoded > 100


@pytest.mark.parametrize("make", [str, lambda p: p, lambda p: bytearray(p.read_bytes())])
def test_paths_and_bytes(make, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(COLOUR))
    assert image_to_bytes(make(path)).data == path.read_bytes()


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "LA", "CMYK", "HSV", "I", "F"])
def test_pictures_of_every_mode(mode):
    picture = GREY.convert(mode) if mode in ("1", "I", "F") else COLOUR.convert("RGB").convert(mode)
    expected = rgb(GREY if mode in ("I", "F") else picture)
    assert np.abs(seen(image_to_bytes(picture)) - expected).max() <= 1


def test_arrays():
    values = np.asarray(COLOUR)
    for array in (values, values / 255, (values / 255).astype(np.float32), values[:, ::-1][:, ::-1]):
        assert np.array_equal(seen(image_to_bytes(array)), values)
    for array in (values[..., 0], values[..., :1], values[..., 0] / 255):
        assert np.array_equal(seen(image_to_bytes(array))[..., 1], values[..., 0])
    assert np.array_equal(seen(image_to_bytes(np.eye(3, dtype=bool)))[..., 0], np.eye(3) * 255)


@pytest.mark.parametrize(
    "image, words",
    [
        (None, "Was the file found"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.zeros((2, 2, 2), np.uint8), "shape"),
        (np.zeros(3, np.uint8), "shape"),
        (np.zeros((2, 2, 3), np.int32), "int32"),
        (np.full((2, 2), 255.0), "Divide by 255"),
        (np.full((2, 2), np.nan), "between 0 and 1"),
        (Image.new("L", (0, 5)), "no pixels"),
        (Image.open(io.BytesIO(encoded(COLOUR, "JPEG")[:-100])), "truncated"),
        ("nowhere.png", "no such file"),
        (".", "cannot be read"),
        ("a\0b", "cannot be read"),
    ],
)
def test_objects_that_are_not_images(image, words):
    with pytest.raises(ImageError, match=words):
        image_to_bytes(image)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no real images beside the repository")
def test_real_images():
    for folder in sorted(REAL_DATA.iterdir()):
        paths = sorted(path for path in folder.glob("images/**/*") if path.is_file())
        for path in paths[:: max(1, len(paths) // 8)]:
            data = path.read_bytes()
            picture = Image.open(io.BytesIO(data))
            if "A" not in picture.mode and "transparency" not in picture.info:
                assert np.abs(seen(canonical_image(data, str(path))) - rgb(picture)).mean() < 2, path
