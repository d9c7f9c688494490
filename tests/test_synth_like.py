"""`aocr synth --like`: texts of the labels' shape, recombined characters, the whole command."""

import io
from random import Random

import numpy as np
import pytest
from conftest import assert_clean_failure, run_aocr
from PIL import Image
from synth_fonts import write_font

from aocr.data.images import canonical_image
from aocr.data.records import read_examples
from aocr.errors import ConfigError
from aocr.synth.like.originals import Look, Original
from aocr.synth.like.painter import LikePainter, bare_ground
from aocr.synth.like.pieces import Recombiner, cut, units
from aocr.synth.like.texts import MAX_PREFIX, ShapeTexts, clusters, kind_of

GROUND = np.array((200, 190, 170), np.float32)
LABELS = [f"{i % 10}{(3 * i + 1) % 10}{(7 * i + 2) % 10}" for i in range(12)]


def encode(image, *args, **options):
    file = io.BytesIO()
    image.save(file, *args, **options)
    return file.getvalue()


def shape_of(text):
    return "".join(map(kind_of, clusters(text)))


def test_texts_have_the_shape_and_symbols_of_labels():
    labels = ["AB-123", "CD-456", "x 7"]
    texts, rng = ShapeTexts(labels), Random(0)
    drawn = [texts.draw(rng) for _ in range(300)]
    assert {shape_of(text) for text in drawn} == {shape_of(label) for label in labels}
    assert set("".join(drawn)) <= set("".join(labels))
    assert len(set(drawn)) > 100
    assert shape_of(ShapeTexts(["7A"]).draw(rng)) == "9A"


def test_common_prefix_is_kept():
    labels = [f"NR{i:04d}" for i in range(0, 10_000, 397)]
    texts, rng = ShapeTexts(labels), Random(0)
    assert all(texts.draw(rng).startswith("NR") for _ in range(100))
    long_label = "0123456789" * 500  # prefixes of any length would take quadratic memory
    assert max(map(len, ShapeTexts([long_label] * 5)._prefixes)) == MAX_PREFIX


def test_combining_signs_stay_with_their_character():
    assert clusters("ಕ್ಷಿe\u0301x") == ["ಕ್ಷಿ", "e\u0301", "x"]
    drawn = ShapeTexts(["ಕ್ಷಿತಿ", "ಬೆಳ"]).draw(Random(1))
    assert set(clusters(drawn)) <= {"ಕ್ಷಿ", "ತಿ", "ಬೆ", "ಳ"}


# Recombination: every symbol is a block of its own colour


def block_colour(char):
    return np.array((10 + 12 * int(char), 20, 40), np.float32)


def block_image(label, located=True, cell=24):
    pixels = np.tile(GROUND, (40, cell * (len(label) + 1), 1))
    for i, char in enumerate(label):
        x = cell // 2 + i * cell
        pixels[8:32, x + 4 : x + cell - 4] = block_colour(char)
    edges = tuple((cell * (i + 0.5) + 4, cell * (i + 1.5) - 4) for i in range(len(label)))
    return Original(encode(Image.fromarray(pixels.astype(np.uint8)), "PNG"), label, edges if located else None)


def test_cuts_are_between_the_characters():
    pieces = cut(Look(block_image("407")))
    assert [piece.text for piece in pieces] == ["4", "0", "7"]
    for i, piece in enumerate(pieces):
        assert 8 + 24 * i <= piece.left <= 16 + 24 * i and 32 + 24 * i <= piece.right <= 40 + 24 * i
    assert units("to be, or") == ["to", " ", "be,", " ", "or"]


def test_recombined_images_show_their_label():
    recombiner = Recombiner([block_image(label) for label in LABELS])
    assert recombiner.num_cut == len(LABELS)
    rng, texts = Random(0), set()
    for _ in range(60):
        _, picture, text = recombiner.draw(rng)
        pixels = np.asarray(picture, np.float32)
        for i, char in enumerate(text):
            assert abs(pixels[20, 24 * (i + 1)] - block_colour(char)).max() < 6, (text, i)
        assert abs(pixels[2] - GROUND).max() < 6
        texts.add(text)
    assert len(texts - set(LABELS)) > 20


def test_images_with_wrong_edges_are_not_cut():
    image = block_image("407")
    for middles in (None, (24, 48), (24, 24.5, 72), (72, 48, 24), (-50, -20, 10)):
        edges = middles and tuple((x - 8, x + 8) for x in middles)
        assert cut(Look(Original(image.data, image.label, edges))) == []


def test_dissimilar_images_do_not_exchange_characters():
    light = block_image("999")
    dark = Image.fromarray(255 - np.asarray(light.picture()))
    recombiner = Recombiner([block_image("000"), Original(encode(dark, "PNG"), "999", light.edges)])
    rng = Random(0)
    assert {recombiner.draw(rng)[2] for _ in range(30)} == {"000", "999"}


def test_ground_is_the_image_without_its_text():
    look = Look(block_image("11"))
    assert look.rows == (8, 32)
    assert abs(look.ground - GROUND).max() < 2 and abs(look.ink - block_colour("1")).max() < 2
    ground = bare_ground(Look(block_image("407")), np.random.default_rng(0))
    assert abs(ground - GROUND).max() < 3
    original = block_image("407", located=False)  # then only broad shades are left
    ground = bare_ground(Look(original), np.random.default_rng(0))
    assert ground.std(axis=(0, 1)).max() < 0.1 * np.asarray(original.picture(), float).std(axis=(0, 1)).max()


def test_images_are_encoded_like_the_original():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 64), np.uint8)
    for kind, mode, quality in (("JPEG", "L", {"quality": 30}), ("JPEG", "RGB", {"quality": 90}), ("PNG", "L", {})):
        original = encode(Image.fromarray(pixels).convert(mode), kind, **quality)
        data = Original(original, "1").encode(Image.fromarray(pixels).convert("RGB"))
        expected, stored = (Image.open(io.BytesIO(image)) for image in (original, data))
        assert (stored.format, stored.mode) == (kind, mode)
        assert getattr(stored, "quantization", None) == getattr(expected, "quantization", None)


def test_large_images_are_shrunk():
    small = Original(encode(Image.new("L", (2000, 1000), 90), "PNG"), "ab", ((400.0, 600.0), (1400.0, 1600.0))).shrunk()
    stored = Image.open(io.BytesIO(small.data))
    assert (stored.size, stored.format, stored.mode) == ((512, 256), "PNG", "L")
    assert small.label == "ab"
    np.testing.assert_allclose(small.edges, ((102.4, 153.6), (358.4, 409.6)))
    assert small.shrunk() is small


def test_jpeg_tables_may_have_any_numbers():
    plain = encode(Image.new("L", (64, 32), 90), "JPEG", quality=30)
    data = bytearray(plain)
    data[data.index(b"\xff\xdb") + 4] = data[data.index(b"\xff\xc0") + 12] = 1
    original = Original(canonical_image(bytes(data)).data, "1")
    stored = Image.open(io.BytesIO(original.encode(original.picture())))
    assert [*stored.quantization.values()] == [*Image.open(io.BytesIO(plain)).quantization.values()]


def test_neither_fonts_nor_characters():
    with pytest.raises(ConfigError) as caught:
        LikePainter([block_image("12", located=False)], [], 0)
    assert caught.value.field == "--fonts"


@pytest.fixture(scope="module")
def synth_like(numbers, trained, tmp_path_factory):
    fonts = write_font(tmp_path_factory.mktemp("fonts"))

    def run(output, *args, like=numbers, workers=1):
        return run_aocr("synth", output, "--like", like, "--model-dir", trained, "--fonts", fonts,
                        "--workers", workers, "--seed", "3", *args)  # fmt: skip

    return run


def test_images_do_not_depend_on_workers(synth_like, tmp_path, numbers, monkeypatch):
    monkeypatch.setattr("aocr.synth.pipeline.BLOCK", 10)
    alone, parallel = tmp_path / "1.tfrecords", tmp_path / "2.tfrecords"
    for path, workers in ((alone, 1), (parallel, 2)):
        done = synth_like(path, "--count", 24, workers=workers)
        assert done.returncode == 0, done.stderr
    assert alone.read_bytes() == parallel.read_bytes()
    examples = list(read_examples(str(alone)))
    assert len(examples) == 24
    for example in examples:
        image = canonical_image(example.image)
        assert image.data == example.image and (image.width, image.height) == (example.width, example.height)
        assert 1 <= len(example.label) <= 3 and example.label.isdigit()


def test_one_usable_image_is_enough(synth_like, tmp_path, numbers):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG truncated")
    annotations = tmp_path / "annotations.txt"
    annotations.write_text(f"broken.png 12\n{numbers.parent}/0.png 1\n")
    done = synth_like(tmp_path / "drawn", "--count", 3, like=annotations)
    assert done.returncode == 0 and "broken.png" in done.stderr
    assert [path.suffix for path in (tmp_path / "drawn/images/0000").iterdir()] == [".png"] * 3
    annotations.write_text("broken.png 12\nmissing.png 3\n")
    assert_clean_failure(synth_like(tmp_path / "none", like=annotations), "annotations.txt")
    assert not (tmp_path / "none").exists()


def test_contradicting_flags(synth_like, tmp_path):
    for flag, value in (("--style", "plate"), ("--charset", "digits"), ("--max-length", "4")):
        assert_clean_failure(synth_like(tmp_path / "drawn", flag, value), flag, "--like")
    done = run_aocr("synth", tmp_path / "drawn", "--model-dir", "words")
    assert_clean_failure(done, "--model-dir", "--like")
