"""Texts of `aocr synth`: the English mix, lines of a file, texts of a pattern."""

import re
import string
from random import Random

import pytest
from synth_fonts import ASCII

from aocr.errors import ConfigError, DatasetError
from aocr.synth.texts.english import DATA, MIXES, EnglishTexts, words_by_length
from aocr.synth.texts.sources import LineTexts, PatternTexts, read_lines
from aocr.text.charset import Charset


def draw(texts, count=2000, seed=0):
    rng = Random(seed)
    return [texts.draw(rng) for _ in range(count)]


def test_word_list():
    classes = words_by_length()
    assert set(classes) == set(DATA["classes"])
    assert sum(len(words) for lengths in classes.values() for words in lengths.values()) > 250_000
    assert "street" in classes["top"][6] and not any(" " in word for word in classes["rare"][9])


@pytest.mark.parametrize("style", MIXES)
def test_english_is_printable_and_within_the_limit(style):
    texts = draw(EnglishTexts(ASCII, 20, style))
    assert all(1 <= len(text) <= 20 and text == text.strip() and set(text) <= set(ASCII) for text in texts)
    assert len(set(texts)) > 800
    assert texts == draw(EnglishTexts(ASCII, 20, style))
    assert texts != draw(EnglishTexts(ASCII, 20, style), seed=1)
    assert sum(MIXES[style].values()) == pytest.approx(1)


def test_mix_has_every_kind_and_character():
    texts = draw(EnglishTexts(ASCII, 25), 20_000)
    for is_kind, share in ((str.isupper, 0.3), (str.istitle, 0.15), (str.islower, 0.12), (str.isdigit, 0.02)):
        assert sum(map(is_kind, texts)) >= share * len(texts), is_kind
    assert sum(" " in text for text in texts) >= 0.05 * len(texts)
    assert sum(not {*text}.isdisjoint(string.punctuation) for text in texts) >= 0.07 * len(texts)
    assert set("".join(texts)) == set(ASCII)


@pytest.mark.parametrize("charset", [string.digits, "abc", "xyz-"])
def test_english_within_a_charset(charset):
    assert all(text and set(text) <= set(charset) for text in draw(EnglishTexts(charset, 12), 300))


@pytest.mark.parametrize("pattern", ["[A-Z]{3}-[0-9]{4}", "(EXIT|OPEN|[a-z]{2,30})", "a?b*c", "[A-Z]{1,3} [0-9]{2}"])
def test_texts_match_their_pattern(pattern):
    texts = draw(PatternTexts(pattern, Charset(ASCII), 10), 300)
    assert all(re.fullmatch(pattern, text) and 1 <= len(text) <= 10 for text in texts)
    assert len(set(texts)) > 3
    assert texts == draw(PatternTexts(pattern, Charset(ASCII), 10), 300)


def test_pattern_gives_every_length_and_symbol():
    texts = draw(PatternTexts("[0-9]{1,6}", Charset(ASCII), 25), 600)
    assert {len(text) for text in texts} == set(range(1, 7))
    assert set("".join(texts)) == set(string.digits)


@pytest.mark.parametrize("pattern", ["[A-Z]{30}", "", " +", "[é]+", "("])
def test_unusable_patterns(pattern):
    with pytest.raises(ConfigError) as caught:
        PatternTexts(pattern, Charset(ASCII), 25)
    assert caught.value.field == "--pattern" and caught.value.value == pattern


def test_lines_whole_and_in_parts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\ufeffShort line\r\n\n  a   longer line of many words \nShort line\n", encoding="utf-8")
    lines = read_lines(str(path))
    assert lines == ["Short line", "a longer line of many words"]
    texts = set(draw(LineTexts(lines, Charset(ASCII), 12, "f"), 400))
    assert "Short line" in texts and len(texts) > 4
    assert all(len(text) <= 12 and any(text in line for line in lines) for text in texts)


def test_lines_outside_the_charset():
    assert set(draw(LineTexts(["abc", "12"], Charset("abc"), 9, "f"), 20)) == {"abc"}
    with pytest.raises(DatasetError, match="--charset"):
        LineTexts(["12"], Charset("abc"), 9, "f")
    with pytest.raises(DatasetError, match="--max-length 5"):
        LineTexts(["abcabc abcab"], Charset("abc "), 4, "f")
