"""The small steps: each keeps the picture's kind, and does the same for the same seed."""

import inspect
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw
from synth_fonts import font_bytes

from aocr.synth.looks import camera, colours, surface, textures
from aocr.synth.looks.camera import contrast
from aocr.synth.looks.textures import Stock
from aocr.synth.looks.work import Work, take
from aocr.synth.sheet import displays, layout
from aocr.synth.sheet.geometry import Geometry, look_at
from aocr.synth.sheet.ink import Ink
from aocr.synth.sheet.lettering import SIZE, Hand, ripple, write

STOCK = Stock(1)
SIZE_OF_WORK = (120, 48)


def steps_of(module):
    return [step for _, step in inspect.getmembers(module, inspect.isfunction)
            if list(inspect.signature(step).parameters) == ["work", "rng", "stock"]]  # fmt: skip


STEPS = steps_of(surface) + steps_of(camera)


def new_work(shade=128):
    letters = Image.new("L", SIZE_OF_WORK)
    draw = ImageDraw.Draw(letters)
    for x in range(10, 110, 20):
        draw.rectangle((x, 10, x + 8, 38), fill=255)
    picture = Image.new("RGB", SIZE_OF_WORK, (shade, shade, shade))
    picture.paste((240, 240, 240), mask=letters)
    return Work(picture, letters, SIZE_OF_WORK, (230, 230, 240), (shade,) * 3, 5)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_step_keeps_the_picture_whole_and_follows_its_seed(step):
    changed = 0
    for seed in range(8):
        results = []
        for _ in range(2):
            work = new_work()
            if step is camera.enlarged:
                work.picture = work.picture.resize((60, 24))
            step(work, Random(seed), STOCK)
            results.append((work.picture.tobytes(), work.letters.tobytes()))
        assert results[0] == results[1]
        assert work.picture.mode == "RGB" and work.letters.mode == "L" and work.letters.size == SIZE_OF_WORK
        if step is not camera.low_resolution:
            assert work.picture.size == SIZE_OF_WORK
        before = new_work()
        changed += results[0] != (before.picture.tobytes(), before.letters.tobytes())
    assert changed > 0 or step is camera.grey  # a grey picture stays as it is


def test_there_are_many_steps():
    assert len(STEPS) > 25


def test_low_resolution_keeps_some_pixels_a_character():
    for seed in range(50):
        work = new_work()
        work.num_chars = 20
        camera.low_resolution(work, Random(seed), STOCK)
        assert work.picture.width >= 20 * camera.MIN_CHAR * 0.95
        camera.enlarged(work, Random(seed), STOCK)
        assert work.picture.size == SIZE_OF_WORK


@pytest.mark.parametrize("texture", textures.TEXTURES, ids=lambda texture: texture.__name__)
def test_textures(texture):
    first, again = (texture(np.random.default_rng(3), 50, 90) for _ in range(2))
    assert first.shape == (50, 90) and np.isfinite(first).all() and np.array_equal(first, again)
    assert np.ptp(first) > 0


def test_the_stock_is_the_same_for_the_same_seed():
    rngs = Random(5), Random(5)
    first, again = (Stock(9).photo(rng, (100, 40)) for rng in rngs)
    assert first.mode == "RGB" and first.size == (100, 40) and first.tobytes() == again.tobytes()
    assert STOCK.texture(Random(1), (900, 300)).size == (900, 300)
    assert STOCK.noise(Random(1), (48, 200, 3)).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("pair", [colours.pair, colours.on_paper, colours.on_plate, colours.on_display])
def test_colours_can_be_told_apart(pair):
    rng = Random(0)
    for _ in range(500):
        ink, ground = pair(rng)
        assert all(0 <= value <= 255 for value in (*ink, *ground))
        assert sum(abs(a - b) for a, b in zip(ink, ground, strict=True)) > 50


def test_contrast_sees_what_an_eye_sees():
    work = new_work(shade=60)
    assert contrast(work.picture, work.letters) > 100
    assert contrast(Image.new("RGB", SIZE_OF_WORK, (90, 90, 90)), work.letters) < 1
    assert contrast(work.picture, Image.new("L", SIZE_OF_WORK)) == 0
    coloured = Image.new("RGB", SIZE_OF_WORK, (200, 60, 60))
    coloured.paste((60, 131, 60), mask=work.letters)  # as bright, but green
    assert contrast(coloured, work.letters) > 40


def test_of_a_group_at_most_one_step_is_taken():
    taken = []
    group = tuple((0.4, lambda work, rng, stock, name=name: taken.append(name)) for name in "ab")
    for seed in range(1000):
        take((group,), None, Random(seed), STOCK)
    assert 330 < taken.count("a") < 470 and 330 < taken.count("b") < 470 and len(taken) <= 1000


# Sheets


def hand(**changes):
    import io

    from PIL import ImageFont

    font = ImageFont.truetype(io.BytesIO(font_bytes()), SIZE, layout_engine=ImageFont.Layout.BASIC)
    return Hand(font, **changes)


@pytest.mark.parametrize(
    "changes", [{}, {"gap": 9.0}, {"stroke": 2}, {"curve": 1.2}, {"curve": -0.8}, {"bounce": 5.0, "tilt": 0.3}]
)
def test_ink_is_cut_to_the_letters(changes):
    ink = write("Grape", hand(**changes), Random(0))
    mask = np.asarray(ink.mask)
    assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
    assert 0 < ink.ascent <= mask.shape[0] + SIZE
    assert mask.tobytes() == np.asarray(write("Grape", hand(**changes), Random(0)).mask).tobytes()


def test_a_lone_full_stop_stays_small():
    ink = write(".", hand(), Random(0))
    assert ink.mask.height > 0.6 * SIZE and np.asarray(ink.mask)[: SIZE // 3].max() == 0
    assert write(" ", hand(), Random(0)) is None


def test_segments_and_dots():
    make = displays.Segments.random(Random(0))
    eight, one = (np.asarray(make.write(text).mask).sum(dtype=float) for text in "81")
    assert eight > 2 * one and make.write("1", unlit=True).mask.tobytes() == make.write("8").mask.tobytes()
    assert displays.has_segments("-12:30.5") and not displays.has_segments("Kg") and not displays.has_segments("...")
    font = hand().font.font_variant(size=12)
    ink = displays.dot_matrix("Ab", font, Random(0))
    assert ink.mask.height > 20 and ripple(ink, Random(0)).mask.height == ink.mask.height + 12
    assert displays.dot_matrix(" ", font, Random(0)) is None


@pytest.mark.parametrize("add", [layout.sign, layout.rule, layout.frame, layout.plate])
def test_panels_leave_the_word_free(add):
    for seed in range(30):
        sheet = layout.lay(Ink(Image.new("L", (100, 40), 255), 40))
        add(sheet, Random(seed))
        left, top, right, bottom = (int(edge) for edge in sheet.box)
        assert sheet.panel.size == sheet.letters.size
        assert np.asarray(sheet.panel)[top + 2 : bottom - 2, left + 2 : right - 2].max() == 0


def test_neighbours_stand_beside_the_word_and_limit_the_view():
    ink = Ink(Image.new("L", (80, 40), 255), 40)
    for seed in range(30):
        sheet = layout.lay(ink)
        layout.add_neighbours(sheet, Random(seed), 40, lambda: Ink(Image.new("L", (50, 40), 255), 40), 1.0)
        left, top, right, bottom = (int(edge) for edge in sheet.box)
        letters = np.asarray(sheet.letters)
        assert letters[top:bottom, left - 4 : left].max() == 0 and letters[top:bottom, right : right + 4].max() == 0
        assert letters[:, : left - 4].any() and all(limit < layout.MARGIN * 1.1 for limit in sheet.limits)


def test_the_camera_keeps_the_word_in_view():
    sheet = layout.lay(Ink(Image.new("L", (200, 40), 255), 40))
    for seed in range(100):
        view = look_at(Random(seed), Geometry(cut=0), sheet.letters.size, sheet.box, sheet.limits, 40, 5)
        seen = view.show(sheet.letters)
        assert seen.size == view.size and view.size[1] == 40 and 12 <= view.size[0] <= 640
        pixels = np.asarray(seen)
        assert pixels.mean() > 25 and pixels[:, 0].min() < 255
