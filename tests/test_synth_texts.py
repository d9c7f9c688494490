"""What `aocr synth` draws: the English mix, lines of a file, texts of a pattern."""

import re
import string
from collections import Counter
from random import Random

import pytest
from synth_fonts import ASCII

from aocr.errors import ConfigError, DatasetError
from aocr.synth.texts.english import MIXES, EnglishTexts
from aocr.synth.texts.sources import LineTexts, PatternTexts, read_lines
from aocr.synth.texts.words import CLASSES, words_by_length
from aocr.text.charset import Charset


def drawn(texts, count=2000, seed=0):
    rng = Random(seed)
    return [texts.draw(rng) for _ in range(count)]


def test_the_word_list_is_whole():
    words = words_by_length()
    assert set(words) == set(CLASSES)
    assert sum(len(found) for lengths in words.values() for found in lengths.values()) > 250_000
    assert all(len(word) == length for lengths in words.values() for length, found in lengths.items() for word in found)
    assert "street" in words["top"][6] and not any(" " in word for word in words["rare"][9])


@pytest.mark.parametrize("style", MIXES)
def test_english_is_printable_and_no_longer_than_allowed(style):
    texts = drawn(EnglishTexts(ASCII, 20, style))
    assert all(1 <= len(text) <= 20 and text == text.strip() and set(text) <= set(ASCII) for text in texts)
    assert len(set(texts)) > 800
    assert texts == drawn(EnglishTexts(ASCII, 20, style))
    assert texts != drawn(EnglishTexts(ASCII, 20, style), seed=1)
    assert sum(share for share, _ in MIXES[style]) == pytest.approx(1)


def test_the_mix_has_every_kind_and_every_character():
    texts = drawn(EnglishTexts(ASCII, 25), 20_000)
    kinds = Counter()
    for text in texts:
        kinds["capitals"] += text.isupper()
        kinds["first capital"] += text.istitle()
        kinds["small"] += text.islower()
        kinds["digits"] += text.isdigit()
        kinds["spaces"] += " " in text
        kinds["punctuation"] += any(char in string.punctuation for char in text)
    least = {"capitals": 0.3, "first capital": 0.15, "small": 0.12, "digits": 0.02, "spaces": 0.05, "punctuation": 0.07}
    assert all(kinds[kind] >= share * len(texts) for kind, share in least.items()), kinds
    assert set("".join(texts)) == set(ASCII)


@pytest.mark.parametrize("charset", [string.digits, string.ascii_uppercase, "abc", "xyz-"])
def test_english_keeps_within_the_charset(charset):
    assert all(text and set(text) <= set(charset) for text in drawn(EnglishTexts(charset, 12), 300))


@pytest.mark.parametrize(
    "pattern", ["[A-Z]{3}-[0-9]{4}", "[0-9]+", "(EXIT|OPEN|[a-z]{2,30})", "a?b*c", "[A-Z]{1,3} [0-9]{2}"]
)
def test_patterns_are_matched(pattern):
    texts = drawn(PatternTexts(pattern, Charset(ASCII), 10), 300)
    assert all(re.fullmatch(pattern, text) and 1 <= len(text) <= 10 for text in texts)
    assert len(set(texts)) > 3
    assert texts == drawn(PatternTexts(pattern, Charset(ASCII), 10), 300)


def test_a_pattern_gives_every_length_and_symbol():
    texts = drawn(PatternTexts("[0-9]{1,6}", Charset(ASCII), 25), 600)
    assert {len(text) for text in texts} == set(range(1, 7))
    assert set("".join(texts)) == set(string.digits)


@pytest.mark.parametrize(
    ("pattern", "charset", "words"),
    [
        ("[A-Z]{30}", ASCII, "30 characters or more"),
        ("", ASCII, "empty text"),
        (" +", ASCII, "white space"),
        ("[a-z]+", string.digits, "charset"),
        ("(", ASCII, "not a regular expression"),
    ],
)
def test_useless_patterns(pattern, charset, words):
    with pytest.raises(ConfigError, match=words):
        PatternTexts(pattern, Charset(charset), 25)


def test_lines_whole_and_in_parts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\ufeffShort line\r\n\n  a   longer line of many words \nShort line\n", encoding="utf-8")
    lines = read_lines(str(path))
    assert lines == ["Short line", "a longer line of many words"]
    texts = set(drawn(LineTexts(lines, Charset(ASCII), 12, "f"), 400))
    assert "Short line" in texts and len(texts) > 4
    assert all(len(text) <= 12 and any(text in line for line in lines) for text in texts)


def test_lines_outside_the_charset_are_left_out():
    assert set(drawn(LineTexts(["abc", "12"], Charset("abc"), 9, "f"), 20)) == {"abc"}
    with pytest.raises(DatasetError, match="no line can be written in the charset"):
        LineTexts(["12"], Charset("abc"), 9, "f")
    with pytest.raises(DatasetError, match="--max-length 5"):
        LineTexts(["abcabc abcab"], Charset("abc "), 4, "f")


@pytest.mark.parametrize(("data", "words"), [(b"", "is empty"), (b"\n \n", "is empty"), (b"\xff\xfe\xff", "UTF-8")])
def test_useless_files(tmp_path, data, words):
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(DatasetError, match=words):
        read_lines(str(tmp_path / "t.txt"))
    with pytest.raises(DatasetError, match="No such file"):
        read_lines(str(tmp_path / "none.txt"))
