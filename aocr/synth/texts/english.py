"""The built-in mix of English texts. Its word list is from SCOWL: see words-copyright.txt."""

from __future__ import annotations

import functools
import lzma
import string
import tomllib
from collections.abc import Callable
from pathlib import Path
from random import Random

DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SIGNS = DATA["signs"].split()
SLOTS = {name: range(first, last + 1) for name, (first, last) in DATA["ranges"].items()} | DATA["values"]
SERIAL = string.ascii_uppercase + 2 * string.digits


@functools.cache
def words_by_length() -> dict[str, dict[int, list[str]]]:
    """Load the word list as {class: {length in characters: words}}."""
    text = lzma.decompress(Path(__file__).with_name("words.txt.xz").read_bytes()).decode()
    classes: dict[str, dict[int, list[str]]] = {}
    for line in text.splitlines():
        name, *words = line.split(" ")
        lengths = classes.setdefault(name, {})
        for word in words:
            lengths.setdefault(len(word), []).append(word)
    return classes


def weighted(rng: Random, choices: dict[str, float]) -> str:
    """Choose a key at random; the values are relative frequencies."""
    return rng.choices(tuple(choices), tuple(choices.values()))[0]


def number(rng: Random) -> str:
    """Return a random count, year, price, percentage, time, date, telephone number or size."""
    form = weighted(rng, DATA["numbers"])
    digits = "".join(rng.choices(string.digits, k=rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10))))
    names = [str(name) for _, name, _, _ in string.Formatter().parse(form)]
    values = {name: rng.choice(SLOTS[name]) for name in names if name in SLOTS}
    return form.format(digits=digits, thousands=int(digits[:3]), **values)


def code(rng: Random) -> str:
    """Return random capitals and digits, as in serial numbers."""
    text = "".join(rng.choices(SERIAL, k=rng.randint(2, 9)))
    if len(text) > 4 and rng.random() < 0.2:
        return text[:3] + rng.choice("-- .") + text[3:]
    return text


def letters(rng: Random) -> str:
    """Return random letters, so that models do not rely on words alone and rare letters occur often."""
    return cased(rng, "".join(rng.choices(string.ascii_lowercase, k=rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 7)))))


def symbols(rng: Random) -> str:
    """Return random printable ASCII characters."""
    return "".join(rng.choices(string.ascii_letters + string.digits + string.punctuation, k=rng.randint(1, 7)))


def word(rng: Random) -> str:
    """Return a random English word, chosen by length and frequency class."""
    if rng.random() < 0.10:
        return rng.choice(SIGNS)
    classes = words_by_length()
    while True:
        length = rng.choices(range(len(DATA["lengths"])), DATA["lengths"])[0]
        if words := classes[weighted(rng, DATA["classes"])].get(length):
            return rng.choice(words)


def cased(rng: Random, text: str) -> str:
    """Write `text` in capitals, with a first capital, unchanged, or (rarely) in random case."""
    kind = rng.random()
    if kind < 0.44:
        return text.upper()
    if kind < 0.72:
        return text[:1].upper() + text[1:]
    if kind < 0.99:
        return text.lower() if text[:1].isupper() and rng.random() < 0.5 else text
    return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)


def cased_word(rng: Random) -> str:
    """Return a random word in capitals, with a first capital, or in lower case."""
    return cased(rng, word(rng))


def address(rng: Random) -> str:
    """Return a random address of a web page, a mailbox or an account."""
    name = "".join(char for char in word(rng).lower() if char.isalpha())
    ending = rng.choice(("com", "com", "co.uk", "net", "org", "de", "in", "sg"))
    forms = (f"www.{name}.com", f"{name}.{ending}", f"{name[:6]}@{name[:4]}.com", f"@{name}", f"#{name}")
    return rng.choice(forms)


def phrase(rng: Random) -> str:
    """Return two or three random words or numbers, mostly in the same case."""
    words = [word(rng) if rng.random() < 0.88 else number(rng) for _ in range(2 if rng.random() < 0.75 else 3)]
    kind = rng.random()
    if kind < 0.4:
        return " ".join(words).upper()
    if kind < 0.7:
        return " ".join(part[:1].upper() + part[1:] for part in words)
    if kind < 0.85:
        return " ".join(words)
    return words[0][:1].upper() + words[0][1:] + " " + " ".join(words[1:]).lower()


def joined(rng: Random) -> str:
    """Return two random words joined by a sign."""
    return cased_word(rng) + rng.choice("-&/+-") + cased_word(rng)


def punctuated(rng: Random, text: str) -> str:
    """Put punctuation around `text`."""
    possessive = ["{}'S" if text.isupper() else "{}'s"] * 4 if text.isalpha() else []
    return rng.choice(DATA["punctuation"] + possessive).format(text)


def sentence_part(rng: Random) -> str:
    """Return one to four random words, written as in running text."""
    words = [word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 4)))]
    words = [part if part.isupper() or rng.random() < 0.1 else part.lower() for part in words]
    return " ".join(words) if rng.random() < 0.7 else " ".join(words).capitalize()


def plate(rng: Random) -> str:
    """Return the text of a random number plate."""
    if rng.random() < 0.25:
        return "".join(rng.choices(SERIAL, k=rng.randint(2, 8)))
    sources = {"A": string.ascii_uppercase, "0": string.digits}
    text = "".join(rng.choice(sources.get(char, char)) for char in rng.choice(DATA["plates"]))
    return text.replace(" ", "") if rng.random() < 0.5 else text


def reading(rng: Random) -> str:
    """Return a random reading of a display: a count, an amount, a time, a temperature, rarely a word."""
    kind = rng.random()
    if kind < 0.55:
        digits = "".join(rng.choices(string.digits, k=rng.choice((1, 2, 3, 3, 4, 4, 5, 6, 8))))
        return digits if rng.random() < 0.55 else f"{digits[:-2] or 0}.{digits[-2:]}"
    if kind < 0.7:
        return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    if kind < 0.8:
        return f"-{rng.randint(0, 99)}.{rng.randint(0, 9)}"
    return number(rng) if kind < 0.9 else cased_word(rng)


def scramble(rng: Random) -> str:
    """Return random letters and digits, as in captchas."""
    symbols = rng.choice((string.ascii_uppercase + string.digits, string.ascii_letters + string.digits, string.digits))
    return "".join(rng.choices(symbols, k=rng.randint(4, 7)))


MIXES: dict[str, dict[Callable[[Random], str], float]] = {
    "scene": {cased_word: 0.725, number: 0.07, code: 0.045, letters: 0.05, phrase: 0.07, address: 0.015, joined: 0.01,
              symbols: 0.015},
    "print": {sentence_part: 0.62, cased_word: 0.14, number: 0.14, code: 0.04, letters: 0.03, address: 0.015,
              symbols: 0.015},
    "plate": {plate: 1.0},
    "display": {reading: 1.0},
    "captcha": {scramble: 1.0},
}  # fmt: skip
"""Kinds of text and their shares, by the style of the images."""
PUNCTUATED = {"scene": 0.06, "print": 0.15}
"""Share of texts with punctuation around them."""


class EnglishTexts:
    """Makes random English texts for a style, of up to `max_length` characters, all in `charset`."""

    def __init__(self, charset: str, max_length: int, style: str = "scene"):
        self._charset, self._max_length, self._style = frozenset(charset), max_length, style
        self._symbols = charset.replace(" ", "")

    def draw(self, rng: Random) -> str:
        """Return a random text of the style's mix, or random symbols if none fits."""
        mix = MIXES[self._style]
        for _ in range(20):
            kind = rng.choices(list(mix), list(mix.values()))[0]
            drawn = kind(rng)
            if kind is not phrase and rng.random() < PUNCTUATED.get(self._style, 0):
                drawn = punctuated(rng, drawn)
            for text in (drawn, drawn.upper(), drawn.lower()):
                if len(text) <= self._max_length and self._charset.issuperset(text):
                    return text
        return "".join(rng.choices(self._symbols, k=rng.randint(1, min(8, self._max_length))))
