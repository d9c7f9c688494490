"""Patterns against Python's re, and lexicons against a set, on every short text over a tiny charset."""

import itertools
import random
import re

import numpy as np
import pytest

from aocr.config import ReadConfig
from aocr.errors import ConfigError
from aocr.reading.constraints import make_constraints
from aocr.text import patterns
from aocr.text.automaton import Automaton
from aocr.text.charset import Charset
from aocr.text.lexicon import compile_lexicon, read_words
from aocr.text.patterns import compile_pattern

CHARSET = Charset("ab1-")
TEXTS = ["".join(t) for n in range(5) for t in itertools.product(CHARSET.symbols, repeat=n)]


def accepted(automaton: Automaton, charset: Charset = CHARSET, texts=TEXTS) -> list[str]:
    return [text for text in texts if automaton.accepts(charset.encode(text))]


def check_form(automaton: Automaton) -> None:
    """Sorted arcs, every state reached from the start and able to end, distances that are true."""
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
    *("", "a", "ab", "a|b", "a|", "|a", "(a|b)1", "(?:a|b)*", "(?P<x>a)b?", "a*b+", "a??b", "a*?", "(a*)*", "(a|b)*?1"),
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
    *("^ab$", r"\Aab\Z", "^a|b$", "((a))", "(?:)", "()", "a()b", "((a|b)|1)*-", "(a{2}){1,2}", "((ab?)+1?){1,2}"),
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_takes_what_pythons_re_takes(pattern):
    if pattern == "^a|b$":  # as in re, the anchors bind to one branch only; fullmatch makes them idle
        assert accepted(compile_pattern(pattern, CHARSET)) == ["a", "b"]
        return
    expected = [text for text in TEXTS if re.fullmatch(pattern, text)]
    if not expected and not re.fullmatch(pattern, ""):
        with pytest.raises(ConfigError, match="no text of the charset fits"):
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


@pytest.mark.parametrize("seed", range(60))
def test_random_patterns(seed):
    rng = random.Random(seed)
    for _ in range(5):
        pattern = random_pattern(rng)
        automaton = compile_pattern(pattern, CHARSET)
        matches = re.compile(pattern).fullmatch
        assert accepted(automaton) == [text for text in TEXTS if matches(text)], pattern
        check_form(automaton)


@pytest.mark.parametrize(
    "pattern, named",
    [
        (r"(a)\1", r"'\\\\1' at position 4"),
        (r"(?P<x>a)(?P=x)", r"'\(\?P=' at position 9"),
        ("a(?=b)", r"'\(\?=' at position 2"),
        ("a(?!b)b", r"'\(\?!' at position 2"),
        ("(?<=a)b", r"'\(\?<=' at position 1"),
        (r"a\b", r"'\\\\b' at position 2"),
        ("a^b", r"'\^' inside a pattern at position 2"),
        ("a$b", r"'\$' inside a pattern at position 2"),
        ("(?i)a", r"'\(\?i' at position 1"),
        ("(?i:a)", r"'\(\?i' at position 1"),
        ("(?#a)b", r"'\(\?#' at position 1"),
    ],
)
def test_what_no_automaton_can_do_is_named_with_its_place(pattern, named):
    with pytest.raises(ConfigError, match=named + " cannot be used"):
        compile_pattern(pattern, CHARSET)


@pytest.mark.parametrize(
    "pattern", ["(a", "a)", "[a", "*a", "a**", "a{3,1}", "\\", pytest.param("a{" + "9" * 5000 + "}", id="digits")]
)
def test_a_wrong_pattern_is_told(pattern):
    with pytest.raises(ConfigError, match="is not a regular expression"):
        compile_pattern(pattern, CHARSET)


def test_a_pattern_that_fits_no_text_of_the_charset_names_what_is_missing():
    with pytest.raises(ConfigError, match=r"nothing for '\[x-z\]'"):
        compile_pattern("a[x-z]+", CHARSET)
    assert accepted(compile_pattern("a|[x-z]+", CHARSET)) == ["a"]


@pytest.mark.parametrize("pattern", ["a{500000000}", "(a{1000}){1000}"])
def test_a_pattern_that_is_too_large_is_refused_at_once(pattern):
    with pytest.raises(ConfigError, match="is too large"):
        compile_pattern(pattern, CHARSET)


def test_a_set_that_python_warns_of_is_taken_without_a_word():
    assert accepted(compile_pattern("[[a]", CHARSET)) == ["a"]


def test_digits_of_other_scripts_are_no_quantifier():
    assert accepted(compile_pattern("a{\u0663}|b", CHARSET)) == ["b"]
    with pytest.raises(ConfigError, match="is nested too deeply"):
        compile_pattern("(" * 5000 + "a" + ")" * 5000, CHARSET)


def test_many_that_may_be_left_out():
    automaton = compile_pattern("(?:[ab]1?){500,1000}-?", CHARSET)
    assert automaton.distances[0] == 500
    assert automaton.accepts(CHARSET.encode("a1" * 700)) and not automaton.accepts(CHARSET.encode("a" * 499))


def test_a_very_long_word_among_many_short_ones():
    words = [text for text in TEXTS if text] * 20
    automaton, _ = compile_lexicon([*words, "a" * 20_000], CHARSET)
    assert automaton.accepts(CHARSET.encode("a" * 20_000)) and automaton.accepts(CHARSET.encode("b1"))


def test_words_that_the_model_cannot_write_cost_nothing(caplog):
    """One word of a million characters among many short ones took all memory and minutes, of a server too."""
    how = ReadConfig(lexicon=("ab", "a" * 1_000_000, "b1", "a" * 10))
    (constraint,) = make_constraints(how, CHARSET, 10)
    assert len(constraint.keys) == 4 and constraint.distances[0] == 2
    assert "2 entries are longer than the 9 characters of the model" in caplog.text
    for weight in (None, 2.0):
        with pytest.raises(ConfigError, match="its shortest text has 10 characters, the model writes up to 9"):
            make_constraints(ReadConfig(lexicon=("a" * 10,), lexicon_weight=weight), CHARSET, 10)


def test_an_empty_list_is_told():
    for words in ((), ("",)):
        with pytest.raises(ConfigError, match="no entry can be written"):
            make_constraints(ReadConfig(lexicon=words), CHARSET, 10)


def test_each_arc_of_a_deep_automaton_is_looked_at_once(monkeypatch):
    """All of them were looked at once for each character of the longest text."""
    automaton, looked_at, unique = compile_pattern(".{9000}", CHARSET), [], np.unique
    monkeypatch.setattr(np, "unique", lambda found: looked_at.append(len(found)) or unique(found))
    assert automaton.distances[0] == 9_000
    assert sum(looked_at) == len(automaton.keys) == 4 * 9_000


def test_a_pattern_that_grows_without_measure_is_refused():
    with pytest.raises(ConfigError, match="Make it simpler"):
        compile_pattern("(a|b)*a(a|b){20}", CHARSET)
    assert len(compile_pattern("[ab1-]{2000}", CHARSET).accepting) == 2001


def test_states_are_counted_while_the_automaton_is_built(monkeypatch):
    seen = []
    count = patterns._Subsets.count
    monkeypatch.setattr(patterns._Subsets, "count", lambda self, n: (seen.append(n), count(self, n)))
    with pytest.raises(ConfigError, match="is too large"):
        compile_pattern("(a?){2000}a{2000}", CHARSET)
    assert sum(seen) == patterns.MAX_WORK + 1 and set(seen) == {1}


def test_a_class_of_a_large_charset_is_no_more_work_than_a_letter(monkeypatch):
    monkeypatch.setattr(patterns, "MAX_WORK", 5_000)
    charset = Charset("".join(map(chr, range(0x4E00, 0x4E00 + 5_000))))
    automaton = compile_pattern(".{1,200}", charset)
    assert len(automaton.accepting) == 201 and len(automaton.keys) == 200 * 5_000


def test_a_pattern_is_brought_to_nfc():
    charset = Charset("\u00e9e")
    automaton = compile_pattern("e\u0301+", charset)
    assert accepted(automaton, charset, ["\u00e9", "\u00e9\u00e9", "e"]) == ["\u00e9", "\u00e9\u00e9"]


@pytest.mark.parametrize("seed", range(20))
def test_a_lexicon_takes_its_words_and_no_other(seed):
    rng = random.Random(seed)
    words = [text for text in TEXTS if text and rng.random() < 0.1] or ["a"]
    rng.shuffle(words)
    automaton, left_out = compile_lexicon([*words, "", words[0]], CHARSET)
    assert left_out == [] and accepted(automaton) == sorted(words, key=TEXTS.index)
    check_form(automaton)


def test_words_outside_the_charset_are_given_back():
    automaton, left_out = compile_lexicon(["ab", "xy", "aX", "1"], CHARSET)
    assert sorted(left_out) == ["aX", "xy"] and accepted(automaton) == ["1", "ab"]
    with pytest.raises(ConfigError, match="no entry can be written"):
        compile_lexicon(["xy"], CHARSET)


def test_words_are_brought_to_nfc_each_by_itself():
    charset = Charset("e\u00e9\u0301")
    automaton, _ = compile_lexicon(["e\u0301", "e", "\u0301e"], charset)
    assert accepted(automaton, charset, ["\u00e9", "e", "\u0301e", "\u00e9e"]) == ["\u00e9", "e", "\u0301e"]


def test_a_hundred_thousand_words():
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(letters[rng.integers(0, 26, n)]) for n in rng.integers(3, 12, 100_000)]
    automaton, _ = compile_lexicon(words, Charset("".join(letters)))
    encode = Charset("".join(letters)).encode
    assert all(automaton.accepts(encode(word)) for word in words[:500])
    assert not automaton.accepts(encode("zzzzzzzzzzzzz"))
    assert automaton.accepting.sum() == len(set(words))
    assert automaton.distances[0] == 3


def test_a_file_of_words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"\xef\xbb\xbfNew York\r\n\r\n caf\xc3\xa9\n")
    assert read_words(str(path)) == ["New York", " caf\u00e9"]


@pytest.mark.parametrize(
    "content, reason", [(b"", "has no line"), (b"\n\n", "has no line"), (b"a\nb\xff\n", "line 2 is not UTF-8")]
)
def test_a_file_of_words_that_cannot_be_used(tmp_path, content, reason):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        read_words(str(path))


def test_a_missing_file_of_words_and_a_folder(tmp_path):
    for path in (tmp_path / "nosuch.txt", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_words(str(path))
