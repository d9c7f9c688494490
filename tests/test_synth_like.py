"""`aocr synth --like`: texts of the labels' shape, characters in each other's places, the whole command."""

import io
import tracemalloc
from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import assert_clean_failure, run_aocr
from PIL import Image
from synth_fonts import write_font

from aocr.data.images import canonical_image
from aocr.data.records import read_examples
from aocr.errors import ConfigError
from aocr.synth.like.ground import bare_ground, filled
from aocr.synth.like.originals import Look, Original
from aocr.synth.like.painter import LikePainter
from aocr.synth.like.pieces import Recombiner, cut, units
from aocr.synth.like.texts import ShapeTexts, clusters, kind_of

GROUND = np.array((200, 190, 170), np.float32)


def shape_of(text):
    return "".join(map(kind_of, clusters(text)))


# Texts


def test_texts_have_the_shape_and_the_symbols_of_labels():
    labels = ["AB-123", "CD-456", "x 7"]
    texts, rng = ShapeTexts(labels), Random(0)
    drawn = [texts.draw(rng) for _ in range(300)]
    assert {shape_of(text) for text in drawn} == {shape_of(label) for label in labels}
    assert set("".join(drawn)) <= set("".join(labels))
    assert len(set(drawn)) > 100


def test_a_beginning_that_many_labels_have_stays():
    labels = [f"NR{i:04d}" for i in range(0, 10_000, 397)]
    texts, rng = ShapeTexts(labels), Random(0)
    assert all(texts.draw(rng).startswith("NR") for _ in range(100))


def test_signs_stay_with_their_character():
    assert clusters("ಕ್ಷಿe\u0301x") == ["ಕ್ಷಿ", "e\u0301", "x"]
    drawn = ShapeTexts(["ಕ್ಷಿತಿ", "ಬೆಳ"]).draw(Random(1))
    assert set(clusters(drawn)) <= {"ಕ್ಷಿ", "ತಿ", "ಬೆ", "ಳ"}


def test_long_labels_take_no_memory_by_the_square():
    """Fifty megabytes for each label of 10,000 characters, and half a second for each text."""
    tracemalloc.start()
    ShapeTexts(["0123456789" * 500]).draw(Random(0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5e6


def test_one_label_is_enough():
    assert shape_of(ShapeTexts(["7A"]).draw(Random(0))) == "9A"


# Characters cut out: every symbol is a block of its own colour


def shade(char):
    return np.array((10 + 12 * int(char), 20, 40), np.float32)


def block_image(label, located=True, cell=24):
    pixels = np.tile(GROUND, (40, cell * (len(label) + 1), 1))
    for i, char in enumerate(label):
        at = cell // 2 + i * cell
        pixels[8:32, at + 4 : at + cell - 4] = shade(char)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    centres = tuple(cell * (i + 1.0) for i in range(len(label)))
    return Original(file.getvalue(), label, centres if located else None)


LABELS = [f"{i % 10}{(3 * i + 1) % 10}{(7 * i + 2) % 10}" for i in range(12)]


def test_pieces_are_parted_where_there_is_no_ink():
    pieces = cut(Look(block_image("407")))
    assert [piece.text for piece in pieces] == ["4", "0", "7"]
    for i, piece in enumerate(pieces):
        assert 8 + 24 * i <= piece.left <= 16 + 24 * i and 32 + 24 * i <= piece.right <= 40 + 24 * i


def test_lines_are_cut_into_words():
    assert units("to be, or") == ["to", " ", "be,", " ", "or"]
    assert units("to") == ["t", "o"]


def test_recombined_images_show_their_label():
    recombiner = Recombiner([block_image(label) for label in LABELS])
    assert recombiner.num_cut == len(LABELS)
    rng, seen = Random(0), set()
    for _ in range(60):
        _, picture, text = recombiner.draw(rng)
        pixels = np.asarray(picture, np.float32)
        for i, char in enumerate(text):
            assert abs(pixels[20, 24 * (i + 1)] - shade(char)).max() < 6, (text, i)
        assert abs(pixels[2] - GROUND).max() < 6
        seen.add(text)
    assert len(seen - set(LABELS)) > 20


@pytest.mark.parametrize(
    "centres", [None, (24.0, 48.0), (24.0, 24.5, 72.0), (72.0, 48.0, 24.0), (24.0, 48.0, 300.0), (-50.0, -20.0, 10.0)]
)
def test_what_a_reader_places_wrongly_is_not_cut(centres):
    right = block_image("407")
    assert cut(Look(Original(right.data, right.label, centres))) == []


def test_unlike_images_take_nothing_from_each_other():
    night = block_image("999")
    dark = Image.fromarray(255 - np.asarray(night.picture()))
    file = io.BytesIO()
    dark.save(file, "PNG")
    recombiner = Recombiner([block_image("000"), Original(file.getvalue(), "999", night.centres)])
    rng = Random(0)
    assert {recombiner.draw(rng)[2] for _ in range(30)} == {"000", "999"}


# Grounds, looks


def test_the_ground_is_the_image_without_its_text():
    ground = bare_ground(Look(block_image("407")), np.random.default_rng(0))
    assert abs(ground - GROUND).max() < 3


def test_nothing_can_be_read_where_the_text_is_not_located():
    original = block_image("407", located=False)
    ground = bare_ground(Look(original), np.random.default_rng(0))
    assert ground.std(axis=(0, 1)).max() < 0.1 * np.asarray(original.picture(), float).std(axis=(0, 1)).max()


def test_filling_keeps_what_is_known():
    values = np.random.default_rng(0).uniform(0, 255, (9, 13, 3)).astype(np.float32)
    known = np.ones((9, 13), np.float32)
    known[3:6, 4:9] = 0
    done = filled(values, known)
    assert np.array_equal(done[known > 0], values[known > 0])
    assert done.min() >= 0 and done.max() <= 255
    assert np.isfinite(filled(values, 0 * known)).all()


def test_text_and_ground_are_told_apart_by_area():
    look = Look(block_image("11"))
    assert abs(look.ground - GROUND).max() < 2 and abs(look.ink - shade("1")).max() < 2
    assert look.rows == (8, 32)


def test_images_are_stored_as_the_original_is():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 64), np.uint8)
    for kind, mode, quality in (("JPEG", "L", {"quality": 30}), ("JPEG", "RGB", {"quality": 90}), ("PNG", "L", {})):
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, kind, **quality)
        data = Original(file.getvalue(), "1").encode(Image.fromarray(pixels).convert("RGB"))
        stored, mine = Image.open(io.BytesIO(data)), Image.open(file)
        assert (stored.format, stored.mode) == (kind, mode)
        assert getattr(stored, "quantization", None) == getattr(mine, "quantization", None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_images_are_shrunk(kind):
    """Two hundred photographs of 12 million pixels took 43 GB."""
    file = io.BytesIO()
    Image.new("L", (2000, 1000), 90).save(file, kind)
    large = Original(file.getvalue(), "ab", (500.0, 1500.0))
    small = large.shrunk()
    stored = Image.open(io.BytesIO(small.data))
    assert (stored.size, stored.format, stored.mode) == ((512, 256), kind, "L")
    assert (small.label, small.centres) == ("ab", (128.0, 384.0))
    assert small.shrunk() is small


def test_a_jpeg_may_number_its_tables_as_it_likes():
    """Pillow stores none whose tables do not count from 0: such an image ended a training."""
    file = io.BytesIO()
    Image.new("L", (64, 32), 90).save(file, "JPEG", quality=30)
    data = bytearray(file.getvalue())
    data[data.index(b"\xff\xdb") + 4] = data[data.index(b"\xff\xc0") + 12] = 1
    original = Original(canonical_image(bytes(data)).data, "1")
    stored = Image.open(io.BytesIO(original.encode(original.picture())))
    assert [*stored.quantization.values()] == [*Image.open(file).quantization.values()]


def test_without_fonts_and_without_characters_nothing_can_be_drawn():
    with pytest.raises(ConfigError, match="no font draws these labels"):
        LikePainter([block_image("12", located=False)], [], 0)


# The command


@pytest.fixture(scope="module")
def like(numbers, trained, tmp_path_factory):
    fonts = write_font(tmp_path_factory.mktemp("fonts"))

    def call(output, *args, like=numbers, workers=1):
        return run_aocr("synth", output, "--like", like, "--model-dir", trained, "--fonts", fonts,
                        "--workers", workers, "--seed", "3", *args)  # fmt: skip

    return call


def test_the_same_images_whatever_the_number_of_workers(like, tmp_path, numbers, monkeypatch):
    monkeypatch.setattr("aocr.synth.pipeline.BLOCK", 10)
    for workers in (1, 2):
        done = like(tmp_path / f"{workers}.tfrecords", "--count", 24, workers=workers)
        assert done.returncode == 0, done.stderr
        assert "Characters are taken from" in done.stderr
    one, two = ((tmp_path / f"{workers}.tfrecords").read_bytes() for workers in (1, 2))
    assert one == two
    labels = {line.split(" ", 1)[1] for line in Path(numbers).read_text("utf-8").splitlines()}
    examples = list(read_examples(str(tmp_path / "1.tfrecords")))
    assert len(examples) == 24
    for example in examples:
        image = canonical_image(example.image)
        assert image.data == example.image and (image.width, image.height) == (example.width, example.height)
        assert len(example.label) in set(map(len, labels)) and example.label.isdigit()


def test_one_image_is_enough(like, tmp_path, numbers):
    one = tmp_path / "one.txt"
    one.write_text(f"{numbers.parent}/3.png {numbers.read_text('utf-8').splitlines()[3].split(' ', 1)[1]}\n")
    done = like(tmp_path / "drawn", "--count", 5, like=one)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "drawn/annotations.txt").read_text("utf-8").splitlines()) == 5
    assert {path.suffix for path in (tmp_path / "drawn/images/0000").iterdir()} == {".png"}


def test_images_that_cannot_be_read_are_named(like, tmp_path, numbers):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    mixed = tmp_path / "mixed.txt"
    mixed.write_text(f"broken.png 12\n{numbers.parent}/0.png 1\n")
    done = like(tmp_path / "drawn", "--count", 3, like=mixed)
    assert done.returncode == 0 and "1 left out (not an image)" in done.stderr and "broken.png" in done.stderr
    mixed.write_text("broken.png 12\ngone.png 3\n")
    assert_clean_failure(like(tmp_path / "none", like=mixed), "mixed.txt", "no usable line")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("flag", "value"), [("--style", "plate"), ("--charset", "digits"), ("--max-length", "4")])
def test_what_is_taken_from_the_images_cannot_be_typed(like, tmp_path, flag, value):
    assert_clean_failure(like(tmp_path / "drawn", flag, value), flag, "--like")


def test_a_model_is_for_like_alone(tmp_path):
    done = run_aocr("synth", tmp_path / "drawn", "--count", 3, "--model-dir", "words")
    assert_clean_failure(done, "--model-dir", "--like")
