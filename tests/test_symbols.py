"""What the user's texts consist of: symbols dropped from readings, and those that a pattern passes over."""

import numpy as np
import pytest
from conftest import REAL_DATA, ROOT, assert_clean_failure, run_aocr

from aocr.config import ReadConfig
from aocr.reading.constraints import make_constraints
from aocr.reading.predictor import load, load_network
from aocr.reading.symbols import SymbolFilter
from aocr.results import Alternative, Character, Prediction
from aocr.text.charset import Charset
from aocr.text.patterns import compile_pattern

CAPITALS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def reading(text, confidences, alternatives=()):
    pairs = enumerate(zip(text, confidences, strict=True))
    characters = tuple(Character(char, c, 9.0 * i, 9.0 * i + 9) for i, (char, c) in pairs)
    return Prediction(text, float(np.prod(confidences)), characters, np.eye(len(text) + 1), alternatives=alternatives)


def test_a_reading_keeps_what_texts_consist_of():
    others = (Alternative("a1", 0.02), Alternative("B 1", 0.03), Alternative("b1", 0.01))
    kept = SymbolFilter(CAPITALS, spaces=False).apply(reading("a -1", (0.9, 0.5, 0.2, 0.8), others))
    assert (kept.text, [c.char for c in kept.characters]) == ("A1", ["A", "1"])
    assert kept.confidence == pytest.approx(0.9 * 0.8)
    assert kept.characters[1].x0 == 27 and kept.attention.argmax(1).tolist() == [0, 3, 4]
    assert [(other.text, round(other.confidence, 3)) for other in kept.alternatives] == [("B1", 0.04)]
    empty = SymbolFilter(frozenset("1")).apply(reading("-", (0.5,)))
    assert (empty.text, empty.attention.shape) == ("", (1, 2))
    plain = reading("a b", (1, 1, 1))
    assert SymbolFilter().apply(plain) is plain
    assert SymbolFilter(spaces=False).apply(plain).text == "ab"
    assert SymbolFilter(frozenset("abc")).apply(reading("A-\u00df", (1, 1, 1))).text == "a"


def test_a_pattern_passes_over_spaces_and_punctuation_it_does_not_contain():
    charset = Charset("ab 1-\u093f.")
    (constraint,), symbol_filter = make_constraints(ReadConfig(pattern=r"[ab]{2}\.1"), charset, 9)
    passing = compile_pattern(r"[ab]{2}\.1", charset).passing(np.array(charset.encode(" -")))
    assert np.array_equal(constraint.keys, passing.keys)
    assert all(passing.accepts(charset.encode(text)) for text in ("ab.1", "a-b .1 ", " ab.1"))
    assert not any(passing.accepts(charset.encode(text)) for text in ("ab1", "ab..1", "a\u093fb.1", "- "))
    assert symbol_filter.symbols == frozenset("ab1.")
    both = make_constraints(ReadConfig(pattern="[ab1]+", symbols="digits"), charset, 9)[1]
    assert both.symbols == frozenset("1")


def test_both_readers_drop_the_same_symbols(tmp_path):
    """From the toy images, whose texts consist of capitals."""
    (tmp_path / "some.txt").write_text("abcdefgh\n")
    read_config = ReadConfig(symbols=str(tmp_path / "some.txt"), alternatives=1)
    paths = [str(ROOT / f"datasets/images/testing_{i:03}.jpg") for i in range(3)]
    plain = load("words").predict(paths)
    for loaded in (load("words", read_config=read_config), load_network("words", read_config=read_config)):
        for result, before in zip(loaded.predict(paths), plain, strict=True):
            expected = "".join(char for char in before.text.lower() if char in "abcdefgh")
            assert result.text == expected == "".join(c.char for c in result.characters)
            assert len(result.attention) == len(expected) + 1


def test_the_command_line(tmp_path):
    image = str(ROOT / "datasets/images/testing_000.jpg")
    done = run_aocr("predict", image, "--model-dir", "words", "--charset", "lowercase", "--no-spaces")
    assert done.returncode == 0 and done.stdout.split("\t")[1].islower()
    done = run_aocr("predict", image, "--model-dir", "words", "--charset", "alphanumerc")
    assert_clean_failure(done, "--charset", "alphanumeric")
    done = run_aocr("label", image, "--model-dir", "words", "--charset", "nothing", "--output", tmp_path / "x.txt")
    assert_clean_failure(done, "--charset", "nothing")


@pytest.mark.slow
@pytest.mark.skipif(not (REAL_DATA / "plates").exists(), reason="no real data")
def test_plates_at_first_sight():
    """Of 200 plates, 37 are read by `words`; 121 once it is known that they have capitals and digits only."""
    lines = (REAL_DATA / "plates/train.txt").read_text("utf-8").splitlines()[:200]
    paths, labels = zip(*(line.split(" ", 1) for line in lines), strict=True)
    paths = [str(REAL_DATA / "plates" / path) for path in paths]
    counts = []
    for read_config in (ReadConfig(symbols="alphanumeric", spaces=False), ReadConfig(pattern="[A-Z0-9]+")):
        results = load("words", read_config=read_config).predict(paths)
        counts.append(sum(result.text == label for result, label in zip(results, labels, strict=True)))
    assert counts[0] >= 118 and counts[1] >= 100, counts
