"""The steps of drawing: each keeps the image's mode and size and follows its seed."""

import inspect
import io
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from synth_fonts import font_bytes

from aocr.synth.looks import camera, colours, surface, textures
from aocr.synth.looks.camera import contrast
from aocr.synth.looks.work import Work, choose
from aocr.synth.sheet import displays, layout
from aocr.synth.sheet.geometry import Geometry, random_view
from aocr.synth.sheet.lettering import SIZE, Hand, Ink, ripple, write

WORK_SIZE = (120, 48)


def steps_of(module):
    return [step for _, step in inspect.getmembers(module, inspect.isfunction)
            if list(inspect.signature(step).parameters) == ["work", "rng"]]  # fmt: skip


STEPS = steps_of(surface) + steps_of(camera)


def new_work(shade=128):
    letters = Image.new("L", WORK_SIZE)
    draw = ImageDraw.Draw(letters)
    for x in range(10, 110, 20):
        draw.rectangle((x, 10, x + 8, 38), fill=255)
    picture = Image.new("RGB", WORK_SIZE, (shade, shade, shade))
    picture.paste((240, 240, 240), mask=letters)
    return Work(picture, letters, WORK_SIZE, (230, 230, 240), (shade,) * 3, 5)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_step_keeps_the_size_and_follows_its_seed(step):
    results = set()
    for seed in (*range(8), *range(8)):
        work = new_work()
        if step is camera.enlarged:
            work.picture = work.picture.resize((60, 24))
        step(work, Random(seed))
        results.add((seed, work.picture.tobytes(), work.letters.tobytes()))
        assert work.picture.mode == "RGB" and work.letters.mode == "L" and work.letters.size == WORK_SIZE
        assert work.picture.size == WORK_SIZE or step is camera.low_resolution
    assert len(results) == 8
    unchanged = new_work()
    is_changed = any(result[1:] != (unchanged.picture.tobytes(), unchanged.letters.tobytes()) for result in results)
    assert is_changed or step is camera.grey  # the image is grey already


def test_low_resolution_keeps_pixels_per_character():
    for seed in range(50):
        work = new_work()
        work.num_chars = 20
        camera.low_resolution(work, Random(seed))
        assert work.picture.width >= 20 * camera.MIN_CHAR_WIDTH * 0.95


def test_textures_follow_their_seed():
    for texture in textures.TEXTURES:
        first, again = (texture(np.random.default_rng(3), 50, 90) for _ in range(2))
        assert first.shape == (50, 90) and np.isfinite(first).all() and np.array_equal(first, again)
        assert np.ptp(first) > 0
    first, again = (textures.photo_piece(Random(5), (100, 40)) for _ in range(2))
    assert first.mode == "RGB" and first.size == (100, 40) and first.tobytes() == again.tobytes()
    assert textures.texture_piece(Random(1), (900, 300)).size == (900, 300)  # larger than a surface


@pytest.mark.parametrize("pair", [colours.pair, colours.on_paper, colours.on_plate, colours.on_display])
def test_colours_differ(pair):
    colour_pairs = np.array([pair(Random(seed)) for seed in range(500)])
    assert colour_pairs.min() >= 0 and colour_pairs.max() <= 255
    assert abs(colour_pairs[:, 0] - colour_pairs[:, 1]).sum(axis=1).min() > 50


def test_contrast():
    work = new_work(shade=60)
    assert contrast(work.picture, work.letters) > 100
    assert contrast(Image.new("RGB", WORK_SIZE, (90, 90, 90)), work.letters) < 1
    assert contrast(work.picture, Image.new("L", WORK_SIZE)) == 0
    coloured = Image.new("RGB", WORK_SIZE, (200, 60, 60))
    coloured.paste((60, 131, 60), mask=work.letters)  # equally bright, but green
    assert contrast(coloured, work.letters) > 40


def test_at_most_one_choice():
    choices = [choose({"a": 0.4, "b": 0.4}, Random(seed)) for seed in range(1000)]
    assert 330 < choices.count("a") < 470 and 330 < choices.count("b") < 470 and None in choices


def hand(**changes):
    font = ImageFont.truetype(io.BytesIO(font_bytes()), SIZE, layout_engine=ImageFont.Layout.BASIC)
    return Hand(font, **changes)


@pytest.mark.parametrize(
    "changes", [{}, {"gap": 9.0}, {"stroke": 2}, {"curve": 1.2}, {"curve": -0.8}, {"bounce": 5.0, "tilt": 0.3}]
)
def test_ink_is_cropped_to_the_letters(changes):
    ink = write("Grape", hand(**changes), Random(0))
    mask = np.asarray(ink.mask)
    assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
    assert 0 < ink.ascent <= mask.shape[0] + SIZE
    assert mask.tobytes() == np.asarray(write("Grape", hand(**changes), Random(0)).mask).tobytes()


def test_full_stop_stays_small():
    ink = write(".", hand(), Random(0))
    assert ink.mask.height > 0.6 * SIZE and np.asarray(ink.mask)[: SIZE // 3].max() == 0
    assert write(" ", hand(), Random(0)) is None


def test_segments_and_dot_matrix():
    segments = displays.Segments(Random(0))
    eight, one = (np.asarray(segments.write(text).mask).sum(dtype=float) for text in "81")
    assert eight > 2 * one and segments.write("1", unlit=True).mask.tobytes() == segments.write("8").mask.tobytes()
    assert displays.has_segments("-12:30.5") and not displays.has_segments("Kg") and not displays.has_segments("...")
    font = hand().font.font_variant(size=12)
    ink = displays.dot_matrix("Ab", font, Random(0))
    assert ink.mask.height > 20 and ripple(ink, Random(0)).mask.height == ink.mask.height + 12
    assert displays.dot_matrix(" ", font, Random(0)) is None


def black_ink(width):
    return Ink(Image.new("L", (width, 40), 255), 40)


@pytest.mark.parametrize("add", [layout.sign, layout.rule, layout.frame, layout.plate])
def test_panels_do_not_cover_the_word(add):
    for seed in range(30):
        sheet = layout.new_sheet(black_ink(100))
        add(sheet, Random(seed))
        left, top, right, bottom = sheet.box
        assert np.asarray(sheet.panel)[top + 2 : bottom - 2, left + 2 : right - 2].max() == 0


def test_neighbours_are_beside_the_word_and_limit_the_margins():
    for seed in range(30):
        sheet = layout.new_sheet(black_ink(80))
        layout.add_neighbours(sheet, Random(seed), 40, lambda: black_ink(50), 1.0, cut_in=0)
        left, top, right, bottom = sheet.box
        letters = np.asarray(sheet.letters)
        assert letters[top:bottom, left - 4 : left].max() == 0 and letters[top:bottom, right : right + 4].max() == 0
        assert letters[:, : left - 4].any() and all(limit < layout.MARGIN * 1.1 for limit in sheet.max_margins)


def test_crop_cuts_into_neighbours():
    for seed in range(30):
        sheet = layout.new_sheet(black_ink(80))
        layout.add_neighbours(sheet, Random(seed), 40, lambda: black_ink(50), 1.0, cut_in=1)
        view = random_view(Random(seed), Geometry(0, 0, 0, 0, 0, 0, cut=0), sheet, 48, 5)
        letters = np.asarray(view.show(sheet.letters)) > 100
        assert all(edge.any() for edge in (letters[:, 0], letters[0], letters[:, -1], letters[-1]))


def test_steep_words():
    sheet = layout.new_sheet(black_ink(120))
    sloped = [random_view(Random(seed), Geometry(steep=1, cut=0), sheet, 40, 5).size[0] for seed in range(100)]
    level = [random_view(Random(seed), Geometry(0, 0, 0, cut=0), sheet, 40, 5).size[0] for seed in range(100)]
    assert np.mean(sloped) < 0.75 * np.mean(level)  # the upright crop of a sloping word is less wide


def test_few_letters_fill_the_crop():
    sheet = layout.new_sheet(black_ink(60))
    for num_chars, is_filled in ((2, True), (4, False)):
        views = [
            random_view(Random(seed), Geometry(0, 0, 0, cut=0, filled=1), sheet, 40, num_chars) for seed in range(50)
        ]
        means = [np.asarray(view.show(sheet.letters)).mean() for view in views]
        assert (np.mean(means) > 240) == is_filled


def test_faint_letters_keep_a_minimum_contrast():
    for seed in range(50):
        work = new_work()
        camera.faint(work, Random(seed))
        assert work.min_contrast <= contrast(work.picture, work.letters) <= 25


def test_raised_letters_have_the_colour_of_their_ground():
    work = new_work()
    work.picture.paste((128, 128, 128), (0, 0, *WORK_SIZE))
    surface.raised(work, Random(1))
    pixels, letters = np.asarray(work.picture, int).mean(-1), np.asarray(work.letters) > 0
    assert abs(pixels[letters].mean() - 128) < 25 and pixels[~letters].min() < 90


def test_covered_letters():
    for seed in range(30):
        work = new_work()
        before = np.asarray(work.picture, int)
        surface.covered(work, Random(seed))
        changed = (np.asarray(work.picture) != before).any(-1)
        assert 0 < changed.sum() < 0.2 * changed.size


def test_view_contains_the_word():
    sheet = layout.new_sheet(black_ink(200))
    for seed in range(100):
        view = random_view(Random(seed), Geometry(cut=0), sheet, 40, 5)
        image = view.show(sheet.letters)
        assert image.size == view.size and view.size[1] == 40 and 12 <= view.size[0] <= 640
        pixels = np.asarray(image)
        assert pixels.mean() > 25 and pixels[:, 0].min() < 255
