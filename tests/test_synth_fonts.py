"""Fonts: found, looked at, chosen."""

import os
import string
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from PIL import ImageFont
from synth_fonts import ASCII, Altered, font_bytes, write_font

from aocr.errors import ConfigError
from aocr.synth.fonts.choice import FontSet, find_faces
from aocr.synth.fonts.choice import font_files
from aocr.synth.fonts.survey import Face, _drawn_chars, _is_joined, _is_latin, _shown_as, is_simple, survey

CAPITALS = {ord(char): char.upper() for char in string.ascii_lowercase}


def face(name, chars=ASCII, **changes):
    return replace(Face(name, 0, name, frozenset(chars), {}, False, 1.0), **changes)


def test_files_of_folders_once_and_sorted(tmp_path):
    for name in ("b.TTF", "sub/a.otf", "c.woff", "c.woff2", "d.woff2", "readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.ttf").symlink_to(tmp_path / "b.TTF")
    names = [path.removeprefix(f"{tmp_path}/") for path in font_files([str(tmp_path), str(tmp_path / "c.woff")])]
    assert names == ["b.TTF", "c.woff", "d.woff2", "sub/a.otf"]


def test_a_system_font_may_have_a_name_that_is_not_utf_8(tmp_path, monkeypatch):
    """`fc-list` tells names as they stand on the disk."""
    path = os.fsencode(tmp_path) + b"/sch\xf6n.ttf"
    with open(path, "wb"):
        pass
    (tmp_path / "fc-list").write_bytes(b"#!/bin/sh\necho '" + path + b"'\n")
    (tmp_path / "fc-list").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert os.fsdecode(path) in font_files(None)


def test_no_font(tmp_path):
    with pytest.raises(ConfigError, match="holds no font"):
        font_files([str(tmp_path)])
    with pytest.raises(ConfigError, match="no such file"):
        font_files([str(tmp_path / "none")])


def test_a_font_of_giant_letters_is_none(tmp_path, monkeypatch):
    """Pillow refuses to draw them, by an error of its own kind."""
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 50)
    assert survey(str(write_font(tmp_path) / "plain.ttf"), ASCII) == []


def test_a_font_is_asked_what_it_draws(tmp_path):
    (found,) = survey(str(write_font(tmp_path) / "plain.ttf"), ASCII + "\u4e00\u0416")
    assert found.chars == frozenset(ASCII) and not found.shown_as and not found.joined
    font = ImageFont.truetype(str(tmp_path / "plain.ttf"), 32)
    assert _drawn_chars(font, "a\u4e00\ue123 ") == {"a", " "}


def test_a_blank_glyph_and_notdef_count_as_absent():
    font = Altered({ord("Q"): " ", ord("R"): "\U0010fffe"})
    assert set(ASCII) - _drawn_chars(font, ASCII) == {"Q", "R"}


def test_small_letters_drawn_as_capitals_are_noticed():
    assert _shown_as(Altered(CAPITALS), frozenset(ASCII)) == {char: char.upper() for char in string.ascii_lowercase}
    assert _shown_as(Altered({}), frozenset(ASCII)) == {}


def test_latin_letters_must_look_like_themselves():
    shifted = {ord(char): ASCII[(i + 11) % 90 + 3] for i, char in enumerate(ASCII)}
    assert _is_latin(Altered({}), frozenset(ASCII))
    assert not _is_latin(Altered(shifted), frozenset(ASCII))
    assert not _is_latin(Altered(dict.fromkeys(map(ord, ASCII), "*")), frozenset(ASCII))
    assert not _is_joined(Altered({}), frozenset(ASCII))


def test_files_that_are_no_fonts_are_passed_over(tmp_path):
    write_font(tmp_path)
    (tmp_path / "torn.ttf").write_bytes(font_bytes()[:900])
    (tmp_path / "text.otf").write_text("no font")
    assert [found.path for found in find_faces([str(tmp_path)], ASCII)] == [str(tmp_path / "plain.ttf")]
    (tmp_path / "plain.ttf").unlink()
    with pytest.raises(ConfigError, match="none of 2 font files draws"):
        find_faces([str(tmp_path)], ASCII)


def test_every_symbol_must_be_in_some_font(tmp_path):
    with pytest.raises(ConfigError, match="has 'Ж'"):
        find_faces([str(write_font(tmp_path))], ASCII + "Ж")


def test_a_font_without_a_character_is_never_taken():
    fonts, rng = FontSet([face("all"), face("few", set(ASCII) - set("Q$"), weight=50.0)]), Random(1)
    taken = Counter(fonts.pick(rng, text).family for text in ["EQ", "$5", "Q"] * 200)
    assert taken == {"all": 600}
    assert fonts.pick(rng, "Ж") is None and fonts.missing("aЖQ") == "Ж"


def test_families_are_taken_alike_everyday_ones_more():
    faces = [face(f"odd{i}", family="Odd") for i in range(9)] + [
        face("plain", family="Plain"),
        face("r", family="Roboto"),
    ]
    rng, fonts = Random(2), FontSet(faces)
    taken = Counter(fonts.pick(rng, "Word").family for _ in range(6000))
    assert taken["Odd"] == pytest.approx(1000, rel=0.15)
    assert taken["Plain"] == pytest.approx(1000, rel=0.15)
    assert taken["Roboto"] == pytest.approx(4000, rel=0.15)


def test_joined_hands_seldom_write_capitals():
    rng, fonts = Random(3), FontSet([face("plain"), face("hand", joined=True)])
    taken = Counter(fonts.pick(rng, "WORD").family for _ in range(1000))
    assert 50 < taken["hand"] < 220
    assert Counter(fonts.pick(rng, "Word").family for _ in range(1000))["hand"] > 400


@pytest.mark.parametrize("text", ["Word", "Straße", "Жук", "漢字"])
def test_scripts_drawn_letter_by_letter(text):
    assert is_simple(text)


@pytest.mark.parametrize("text", ["שלום", "سلام", "ಕನ್ನಡ", "e\u0323x"])
def test_scripts_that_need_shaping(text):
    assert not is_simple(text)
