"""Patterns against Python's re, and lexicons against a set, on every short text over a tiny charset."""

import itertools
import random
import re

import numpy as np
import pytest

from aocr.config import ENGLISH, ENGLISH_BEAM, ENGLISH_WEIGHT, ReadConfig
from aocr.errors import ConfigError
from aocr.reading.constraints import make_constraints
from aocr.reading.english import english_frequencies
from aocr.text.automaton import Automaton
from aocr.text.charset import Charset
from aocr.text.lexicon import FREQUENCY_POWER, compile_lexicon, frequency_costs, read_frequencies, read_words
from aocr.text.patterns import compile_pattern

CHARSET = Charset("ab1-")
TEXTS = ["".join(t) for n in range(5) for t in itertools.product(CHARSET.symbols, repeat=n)]


def accepted(automaton: Automaton, charset: Charset = CHARSET, texts=TEXTS) -> list[str]:
    return [text for text in texts if automaton.accepts(charset.encode(text))]


def check_form(automaton: Automaton) -> None:
    """Check that arcs are sorted, every state is reached and can accept, and distances are right."""
    size, count = automaton.vocabulary_size, len(automaton.accepting)
    assert np.all(np.diff(automaton.keys) > 0) and len(automaton.keys) == len(automaton.targets)
    arcs = [(int(k) // size, int(t)) for k, t in zip(automaton.keys, automaton.targets, strict=True)]
    reached = {0}
    for _ in range(count):
        reached |= {t for s, t in arcs if s in reached}
    assert reached == set(range(count))
    for state in range(count):
        near = 0 if automaton.accepting[state] else 1 + min(automaton.distances[t] for s, t in arcs if s == state)
        assert automaton.distances[state] == near


PATTERNS = [
    *("", "a", "a|", "|a", "(a|b)1", "(?:a|b)*", "(?P<x>a)b?", "a*b+", "a??b", "(a*)*", "(a|b)*?1", "[[a]"),
    *(
        "a{0}",
        "a{2}",
        "a{1,}",
        "a{,2}",
        "a{,}",
        "a{}",
        "a{1,2}b{2}",
        "(ab){1,2}",
        "(a|1){2,3}-?",
        "a{x",
        "a{,",
        "{",
        "}",
    ),
    *("[ab]", "[^a]", "[a-b]{2}", "[]a]", "[^]a]*", r"[a\-1]", r"[\]a]", r"[\d-]+", "[1-]", "[-1]"),
    *(r"\d", r"\w+", r"\s|a", r"\D{2}", r"\W", r"\x61b", r"\u0061", r"\0|a", r"\141", r"\-", r"\.|a", "."),
    *("^ab$", r"\Aab\Z", "((a))", "(?:)", "a()b", "((a|b)|1)*-", "(a{2}){1,2}", "((ab?)+1?){1,2}", "a{\u0663}|b"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_pattern_accepts_what_re_accepts(pattern):
    expected = [text for text in TEXTS if re.fullmatch(pattern, text)]
    if not expected:
        with pytest.raises(ConfigError, match="matches no text of the charset"):
            compile_pattern(pattern, CHARSET)
        return
    automaton = compile_pattern(pattern, CHARSET)
    assert accepted(automaton) == expected
    check_form(automaton)


def random_pattern(rng: random.Random, depth: int = 3) -> str:
    def atom() -> str:
        if depth and rng.random() < 0.35:
            return rng.choice(["({})", "(?:{})"]).format(random_pattern(rng, depth - 1))
        return rng.choice(["a", "b", "1", "-", ".", "[ab]", "[^1]", r"\d", r"\w", "[a-b1]", r"\-"])

    def branch() -> str:
        quantifiers = ["", "", "", "", "*", "+", "?", "{2}", "{1,2}", "{,1}", "{1,}", "*?", "+?", "??"]
        return "".join(atom() + rng.choice(quantifiers) for _ in range(rng.randint(0, 3)))

    return "|".join(branch() for _ in range(rng.choice([1, 1, 1, 2, 3])))


def test_random_patterns():
    rng = random.Random(0)
    for _ in range(300):
        pattern = random_pattern(rng)
        automaton = compile_pattern(pattern, CHARSET)
        matches = re.compile(pattern).fullmatch
        assert accepted(automaton) == [text for text in TEXTS if matches(text)], pattern
        check_form(automaton)


@pytest.mark.parametrize(
    "pattern, reason",
    [
        (r"(a)\1", r"'\\\\1' at position 4"),
        ("a(?=b)", r"'\(\?=' at position 2"),
        ("(?<=a)b", r"'\(\?<=' at position 1"),
        (r"a\b", r"'\\\\b' at position 2"),
        ("a^b", r"'\^' inside a pattern at position 2"),
        ("a$b", r"'\$' inside a pattern at position 2"),
        ("(?i)a", r"'\(\?i' at position 1"),
    ],
)
def test_unsupported_syntax_is_named_with_its_position(pattern, reason):
    with pytest.raises(ConfigError, match=reason + " cannot be used"):
        compile_pattern(pattern, CHARSET)


@pytest.mark.parametrize(
    "pattern", ["(a", "[a", "*a", "a{3,1}", "\\", pytest.param("a{" + "9" * 5000 + "}", id="digits")]
)
def test_an_invalid_pattern(pattern):
    with pytest.raises(ConfigError, match="is not a regular expression"):
        compile_pattern(pattern, CHARSET)


def test_a_pattern_that_matches_no_text_names_what_is_missing():
    with pytest.raises(ConfigError, match=r"no symbol for '\[x-z\]'"):
        compile_pattern("a[x-z]+", CHARSET)
    assert accepted(compile_pattern("a|[x-z]+", CHARSET)) == ["a"]


@pytest.mark.parametrize("pattern", ["a{500000000}", "(a{1000}){1000}", "(a|b)*a(a|b){20}", "(a?){2000}a{2000}"])
def test_a_pattern_that_is_too_large(pattern):
    with pytest.raises(ConfigError, match="is too large"):
        compile_pattern(pattern, CHARSET)


def test_a_pattern_that_is_nested_too_deeply():
    with pytest.raises(ConfigError, match="is nested too deeply"):
        compile_pattern("(" * 5000 + "a" + ")" * 5000, CHARSET)


def test_long_patterns():
    automaton = compile_pattern("(?:[ab]1?){500,1000}-?", CHARSET)
    assert automaton.distances[0] == 500
    assert automaton.accepts(CHARSET.encode("a1" * 700)) and not automaton.accepts(CHARSET.encode("a" * 499))
    assert compile_pattern(".{9000}", CHARSET).distances[0] == 9_000


def test_words_longer_than_the_model_reads(caplog):
    """Even a word of a million characters costs nothing."""
    read_config = ReadConfig(lexicon=("ab", "a" * 1_000_000, "b1", "a" * 10))
    (constraint,) = make_constraints(read_config, CHARSET, 10)
    assert len(constraint.keys) == 4 and constraint.distances[0] == 2
    assert "2 entries are longer than the model's 9 characters" in caplog.text
    for weight in (None, 2.0):
        with pytest.raises(ConfigError, match="its shortest text has 10 characters, the model writes up to 9"):
            make_constraints(ReadConfig(lexicon=("a" * 10,), lexicon_weight=weight), CHARSET, 10)


def test_a_pattern_is_normalised():
    charset = Charset("\u00e9e")
    automaton = compile_pattern("e\u0301+", charset)
    assert accepted(automaton, charset, ["\u00e9", "\u00e9\u00e9", "e"]) == ["\u00e9", "\u00e9\u00e9"]


@pytest.mark.parametrize("seed", range(8))
def test_a_lexicon_accepts_only_its_words(seed):
    rng = random.Random(seed)
    words = [text for text in TEXTS if text and rng.random() < 0.1] or ["a"]
    rng.shuffle(words)
    automaton, left_out = compile_lexicon([*words, "", words[0]], CHARSET)
    assert left_out == [] and accepted(automaton) == sorted(words, key=TEXTS.index)
    check_form(automaton)


def test_words_outside_the_charset_are_returned():
    automaton, left_out = compile_lexicon(["ab", "xy", "aX", "1"], CHARSET)
    assert sorted(left_out) == ["aX", "xy"] and accepted(automaton) == ["1", "ab"]
    with pytest.raises(ConfigError, match="no entry can be written"):
        compile_lexicon(["xy"], CHARSET)


def test_words_are_normalised_separately():
    charset = Charset("e\u00e9\u0301")
    automaton, _ = compile_lexicon(["e\u0301", "e", "\u0301e"], charset)
    assert accepted(automaton, charset, ["\u00e9", "e", "\u0301e", "\u00e9e"]) == ["\u00e9", "e", "\u0301e"]


def test_a_file_of_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"\xef\xbb\xbfNew York\r\n\r\n caf\xc3\xa9\n")
    assert read_words(str(path)) == ["New York", " caf\u00e9"]


@pytest.mark.parametrize("content, reason", [(b"\n\n", "has no lines"), (b"a\nb\xff\n", "line 2 is not UTF-8")])
def test_unusable_files_of_words(tmp_path, content, reason):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        read_words(str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_words(str(tmp_path))


def test_frequencies_after_a_tab():
    frequencies = read_frequencies(["New York\t4", "caf\u00e9\t1", "cafe\u0301\t2", "Oslo"], "the list")
    costs = frequency_costs(frequencies)
    assert costs == {
        "New York": 0.0, "caf\u00e9": pytest.approx(FREQUENCY_POWER * np.log(2)),
        "Oslo": pytest.approx(FREQUENCY_POWER * np.log(4)),
    }  # fmt: skip


@pytest.mark.parametrize("number", ["", "many", "0", "-1", "nan", "inf", "1\t2"])
def test_frequencies_that_are_no_numbers(number):
    with pytest.raises(ConfigError, match=r"--lexicon = 'towns.txt': 'Oslo.*is not a number above 0"):
        read_frequencies(["Rome\t3", f"Oslo\t{number}"], "towns.txt")


def test_rare_texts_cost_no_more_than_texts_outside():
    read_config = ReadConfig(lexicon=("a\t1000", "b\t1"), lexicon_weight=2.0)
    (constraint,) = make_constraints(read_config, CHARSET, 10)
    assert constraint.costs.min() == 0 and constraint.costs.max() == 2


def test_english_words():
    costs = frequency_costs(english_frequencies())
    for text in ("street", "Street", "STREET", "Street's", "STREET'S", "street.", "London", "LONDON"):
        assert costs[text] < ENGLISH_WEIGHT, text
    assert not {"zzz", "london", "xqzv", "streets.x"} & costs.keys()
    assert costs["and"] < costs["zoology"] < costs["zucchini"] + 2 and costs["street"] < costs["street."]
    read_config = ReadConfig(lexicon=ENGLISH)
    assert (read_config.width, read_config.outside_cost) == (ENGLISH_BEAM, ENGLISH_WEIGHT)
    assert ReadConfig(lexicon=ENGLISH, lexicon_weight=1.0, beam=9).outside_cost == 1.0


def test_english_and_another_script():
    with pytest.raises(ConfigError, match="no entry can be written"):
        make_constraints(ReadConfig(lexicon=ENGLISH), Charset("\u0431\u0432"), 10)
