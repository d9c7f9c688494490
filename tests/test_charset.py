"""Symbols and ids: there and back, for any script, and the ways to get a charset."""

from __future__ import annotations

import random
import string
import unicodedata

import pytest

from aocr.errors import CharsetError, ConfigError
from aocr.text.charset import EOS, GO, NAMES, NUM_SPECIALS, PAD, Charset, normalise

LABELS = ["HELLO", "wörld", "ಹುಟ್ಟು,", "שלום", "日本語", "a b", "😀", "ſchützen"]


def test_ids_are_those_of_the_original():
    assert (PAD, GO, EOS, NUM_SPECIALS) == (0, 1, 2, 3)
    original = Charset(NAMES["alphanumeric"])
    assert original.symbols == string.digits + string.ascii_uppercase
    assert original.encode("09AZ") == [3, 12, 13, 38]
    assert original.vocabulary_size == 39
    printable = Charset(NAMES["full-ascii"])
    assert printable.encode(" ~") == [3, 97] and printable.vocabulary_size == 98


@pytest.mark.parametrize("label", LABELS)
def test_there_and_back(label):
    charset = Charset.from_labels(LABELS)
    assert charset.decode(charset.encode(label)) == label


def test_there_and_back_for_random_texts():
    rng = random.Random(0)
    charset = Charset("".join(rng.sample([chr(i) for i in range(0x4E00, 0x9000)], 500)))
    for _ in range(50):
        text = "".join(rng.choices(charset.symbols, k=rng.randrange(20)))
        assert charset.decode(charset.encode(text)) == text


def test_membership_and_size():
    charset = Charset("ab😀")
    assert len(charset) == 3 and charset.vocabulary_size == 6
    assert "a" in charset and "😀" in charset and "c" not in charset and "" not in charset


def test_decoding_stops_at_the_end_and_prints_no_special():
    charset = Charset("abc")
    assert charset.decode([GO, 3, PAD, 4, EOS, 5, 5]) == "ab"
    assert charset.decode([EOS, 3]) == charset.decode([]) == ""


def test_one_form_of_a_letter():
    charset = Charset.from_labels(["cafe\u0301"])
    assert charset.symbols == "acfé"
    assert charset.encode("cafe\u0301") == charset.encode("café")
    assert normalise("e\u0301") == "é"


def test_a_million_marks_in_a_row_hold_nothing(monkeypatch):
    """Python alone would put them in order for a quarter of an hour, and hold all threads of a server meanwhile."""
    marks = 500_000
    assert normalise("e" + "\u0301\u0323" * marks) == "ẹ" + "\u0323" * (marks - 1) + "\u0301" * marks
    rng = random.Random(0)
    chars = [chr(i) for i in range(0x3100) if unicodedata.normalize("NFD", chr(i)) != chr(i)]
    chars += [chr(i) for i in range(0x3100) if unicodedata.combining(chr(i))] + list("aeo]^-\\ ")
    texts = ["".join(rng.choices(chars, k=rng.randrange(20))) for _ in range(1000)]
    monkeypatch.setattr("aocr.text.charset.LONG", 0)
    assert [normalise(text) for text in texts] == [unicodedata.normalize("NFC", text) for text in texts]


def test_missing_characters_are_named_once_in_order():
    charset = Charset("abc")
    assert charset.missing("a?b!?") == "?!" and charset.missing("cab") == "" == charset.missing("")
    with pytest.raises(CharsetError) as caught:
        charset.encode("a?b!?")
    assert caught.value.chars == "?!" and caught.value.text == "a?b!?"


def test_an_empty_text_has_no_ids():
    assert Charset("a").encode("") == []


def test_equal_symbols_make_equal_charsets():
    assert Charset("ab") == Charset("ab") != Charset("ba")
    assert hash(Charset("ab")) == hash(Charset("ab"))


# Where it comes from


def test_from_labels_is_sorted_and_independent_of_the_order():
    assert Charset.from_labels(["ba", "Ab"]).symbols == "Aab"
    assert Charset.from_labels(LABELS) == Charset.from_labels(reversed(LABELS))


@pytest.mark.parametrize(("symbols", "words"), [("", "no symbol"), ("abca", "twice")])
def test_impossible_symbols(symbols, words):
    with pytest.raises(ConfigError, match=words):
        Charset(symbols)


@pytest.mark.parametrize("labels", [[], ["", ""]])
def test_labels_without_a_character(labels):
    with pytest.raises(ConfigError, match="no symbol"):
        Charset.from_labels(labels)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_charset(name):
    assert Charset.from_name_or_file(name).symbols == NAMES[name]


def test_from_a_file(tmp_path):
    path = tmp_path / "symbols.txt"
    path.write_bytes("\ufeffba\r\nc b\ne\u0301\n".encode())
    assert Charset.from_name_or_file(str(path)).symbols == "bac ée\u0301"


def test_every_charset_survives_a_file(tmp_path):
    for symbols in ("fſ\u0307", "\u0cc6\u0cd5", "\u0301\u0323", "".join(map(chr, range(32, 0x3100)))):
        charset = Charset.from_labels(symbols)
        path = tmp_path / "symbols.txt"
        path.write_text(charset.symbols, encoding="utf-8")
        found = Charset.from_name_or_file(str(path))
        assert set(charset.symbols) <= set(found.symbols)


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xff\xfe", "UTF-8"), (b"", "no symbol"), (b"\n\n", "no symbol")], ids=repr
)
def test_unusable_files(tmp_path, content, words):
    path = tmp_path / "symbols.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        Charset.from_name_or_file(str(path))


@pytest.mark.parametrize("name", ["alphanumerc", "", "no/such/file", "a\0b"])
def test_neither_a_name_nor_a_file(name):
    with pytest.raises(ConfigError, match="alphanumeric") as caught:
        Charset.from_name_or_file(name)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_no_charset(tmp_path):
    with pytest.raises(ConfigError, match="neither"):
        Charset.from_name_or_file(str(tmp_path))
