"""Symbols and ids, and the ways to get a charset."""

from __future__ import annotations

import random
import string
import time

import pytest

from aocr.errors import CharsetError, ConfigError
from aocr.text.charset import EOS, GO, MAX_NORMALISED, NAMES, NUM_SPECIALS, PAD, Charset, normalise

LABELS = ["HELLO", "wörld", "ಹುಟ್ಟು,", "שלום", "日本語", "a b", "😀", "ſchützen", ""]


def test_ids_are_those_of_aocr_0_7_6():
    assert (PAD, GO, EOS, NUM_SPECIALS) == (0, 1, 2, 3)
    original = Charset(NAMES["alphanumeric"])
    assert original.symbols == string.digits + string.ascii_uppercase
    assert original.encode("09AZ") == [3, 12, 13, 38]
    assert original.vocabulary_size == 39
    printable = Charset(NAMES["full-ascii"])
    assert printable.encode(" ~") == [3, 97] and printable.vocabulary_size == 98


def test_round_trip():
    charset = Charset.from_labels(LABELS)
    rng = random.Random(0)
    texts = ["".join(rng.choices(charset.symbols, k=rng.randrange(20))) for _ in range(50)]
    for text in [*LABELS, *map(normalise, texts)]:
        assert charset.decode(charset.encode(text)) == text


def test_membership_and_size():
    charset = Charset("ab😀")
    assert len(charset) == 3 and charset.vocabulary_size == 6
    assert "a" in charset and "😀" in charset and "c" not in charset and "" not in charset
    assert charset == Charset("ab😀") != Charset("ba😀") and hash(charset) == hash(Charset("ab😀"))


def test_decoding_stops_at_eos_and_ignores_specials():
    charset = Charset("abc")
    assert charset.decode([GO, 3, PAD, 4, EOS, 5, 5]) == "ab"
    assert charset.decode([EOS, 3]) == charset.decode([]) == ""


def test_texts_are_normalised():
    charset = Charset.from_labels(["cafe\u0301"])
    assert charset.symbols == "acfé"
    assert charset.encode("cafe\u0301") == charset.encode("café")


def test_normalising_many_marks_takes_no_time():
    """Python would sort a million marks for a quarter of an hour."""
    marks, start = "e" + "\u0301\u0323" * 500_000, time.process_time()
    assert normalise(marks) == marks
    assert normalise(marks[:MAX_NORMALISED]).startswith("ẹ\u0323")
    assert time.process_time() - start < 5


def test_missing_characters_are_named_once_in_order():
    charset = Charset("abc")
    assert charset.missing("a?b!?") == "?!" and charset.missing("cab") == "" == charset.missing("")
    with pytest.raises(CharsetError) as caught:
        charset.encode("a?b!?")
    assert caught.value.chars == "?!" and caught.value.text == "a?b!?"


def test_from_labels_is_sorted():
    assert Charset.from_labels(["ba", "Ab"]).symbols == "Aab"
    with pytest.raises(ConfigError, match="no symbols"):
        Charset.from_labels([""])
    with pytest.raises(ConfigError, match="twice"):
        Charset("abca")


def test_from_a_name():
    for name, symbols in NAMES.items():
        assert Charset.from_name_or_file(name).symbols == symbols


def test_from_a_file(tmp_path):
    path = tmp_path / "symbols.txt"
    path.write_bytes("\ufeffba\r\nc b\ne\u0301\n".encode())
    assert Charset.from_name_or_file(str(path)).symbols == "bac ée\u0301"


def test_every_charset_survives_a_file(tmp_path):
    path = tmp_path / "symbols.txt"
    for symbols in ("fſ\u0307", "\u0cc6\u0cd5", "\u0301\u0323", "".join(map(chr, range(32, 0x3100)))):
        charset = Charset.from_labels(symbols)
        path.write_text(charset.symbols, encoding="utf-8")
        assert set(charset.symbols) <= set(Charset.from_name_or_file(str(path)).symbols)


@pytest.mark.parametrize(("content", "words"), [(b"\xff\xfe", "UTF-8"), (b"\n\n", "no symbols")], ids=repr)
def test_unusable_files(tmp_path, content, words):
    path = tmp_path / "symbols.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        Charset.from_name_or_file(str(path))


@pytest.mark.parametrize("name", ["alphanumerc", "", ".", "a\0b"])
def test_neither_a_name_nor_a_file(name):
    with pytest.raises(ConfigError, match="alphanumeric"):
        Charset.from_name_or_file(name)
