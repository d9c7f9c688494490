"""Fonts: finding, inspecting and choosing them."""

import string
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from PIL import ImageFont
from synth_fonts import ASCII, Altered, font_bytes, write_font

from aocr.errors import ConfigError
from aocr.synth.fonts.choice import FontSet, faces_for, font_files
from aocr.synth.fonts.survey import NAMES, Face, _drawn_chars, _is_joined, _is_latin, _shown_as, is_simple, survey


def make_face(name, chars=ASCII, **changes):
    return replace(Face(name, 0, name, frozenset(chars), {}, False, 1.0), **changes)


def count_families(fonts, texts):
    rng = Random(1)
    return Counter(fonts.pick(rng, text).family for text in texts)


def test_files_of_folders_without_duplicates_and_sorted(tmp_path):
    for name in ("b.TTF", "sub/a.otf", "c.woff", "c.woff2", "d.woff2", "readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link.ttf").symlink_to(tmp_path / "b.TTF")
    names = [path.removeprefix(f"{tmp_path}/") for path in font_files([str(tmp_path), str(tmp_path / "c.woff")])]
    assert names == ["b.TTF", "c.woff", "d.woff2", "sub/a.otf"]


def test_missing_fonts(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError) as caught:
            font_files([str(path)])
        assert caught.value.field == "--fonts" and caught.value.value == str(path)


def test_characters_that_a_font_draws(tmp_path):
    (face,) = survey(str(write_font(tmp_path) / "plain.ttf"), ASCII + "\u4e00\u0416")
    assert face.chars == frozenset(ASCII) and not face.shown_as and not face.joined
    font = ImageFont.truetype(str(tmp_path / "plain.ttf"), 32)
    assert _drawn_chars(font, "a\u4e00\ue123 ") == {"a", " "}
    blank_and_notdef = Altered({ord("Q"): " ", ord("R"): "\U0010fffe"})
    assert set(ASCII) - _drawn_chars(blank_and_notdef, ASCII) == {"Q", "R"}


def test_lower_case_drawn_as_capitals():
    capitals = {char: char.upper() for char in string.ascii_lowercase}
    assert _shown_as(Altered(str.maketrans(capitals)), frozenset(ASCII)) == capitals
    assert _shown_as(Altered({}), frozenset(ASCII)) == {}


def test_latin_letters_must_look_like_themselves():
    shifted = {ord(char): ASCII[(i + 11) % 90 + 3] for i, char in enumerate(ASCII)}
    assert _is_latin(Altered({}), frozenset(ASCII))
    assert not _is_latin(Altered(shifted), frozenset(ASCII))
    assert not _is_latin(Altered(dict.fromkeys(map(ord, ASCII), "*")), frozenset(ASCII))
    assert not _is_joined(Altered({}), frozenset(ASCII))


def test_unusable_fonts_are_ignored(tmp_path):
    write_font(tmp_path)
    (tmp_path / "torn.ttf").write_bytes(font_bytes()[:900])
    (tmp_path / "text.otf").write_text("not a font")
    assert [face.path for face in faces_for(ASCII, [str(tmp_path)])] == [str(tmp_path / "plain.ttf")]
    (tmp_path / "plain.ttf").unlink()
    with pytest.raises(ConfigError, match="none of 2 font files"):
        faces_for(ASCII, [str(tmp_path)])
    with pytest.raises(ConfigError, match="'Ж'"):
        faces_for(ASCII + "Ж", [str(write_font(tmp_path))])


def test_font_without_a_character_is_not_chosen():
    fonts = FontSet([make_face("all"), make_face("few", set(ASCII) - set("Q$"), weight=50.0)])
    assert count_families(fonts, ["EQ", "$5", "Q"] * 200) == {"all": 600}
    assert fonts.pick(Random(1), "Ж") is None


def test_families_are_equally_frequent_everyday_ones_more():
    faces = [make_face(f"rare{i}", family="Rare") for i in range(9)]
    faces += [make_face("plain", family="Plain"), make_face("r", family="Roboto")]
    counts = count_families(FontSet(faces), ["Word"] * 6000)
    assert counts["Rare"] == pytest.approx(1000, rel=0.15)
    assert counts["Plain"] == pytest.approx(1000, rel=0.15)
    assert counts["Roboto"] == pytest.approx(4000, rel=0.15)


def test_joined_handwriting_is_rare_for_capitals():
    fonts = FontSet([make_face("plain"), make_face("hand", joined=True)])
    assert 50 < count_families(fonts, ["WORD"] * 1000)["hand"] < 220
    assert count_families(fonts, ["Word"] * 1000)["hand"] > 400


def test_script_families_are_known_by_name(tmp_path, monkeypatch):
    path = str(write_font(tmp_path) / "plain.ttf")
    monkeypatch.setattr("aocr.synth.fonts.survey._is_latin", lambda font, chars: False)
    assert survey(path, ASCII) == []
    monkeypatch.setitem(NAMES, "script", "aileron")
    (face,) = survey(path, ASCII)
    assert face.joined and face.weight == 2


def test_scripts_that_need_shaping():
    assert all(map(is_simple, ["Word", "Straße", "Жук", "漢字"]))
    assert not any(map(is_simple, ["שלום", "سلام", "ಕನ್ನಡ", "e\u0323x"]))
