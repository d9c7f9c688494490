"""The built-in mix of English texts. Its word list is from SCOWL: see words-copyright.txt."""

from __future__ import annotations

import functools
import lzma
import string
from collections.abc import Callable
from pathlib import Path
from random import Random

LENGTHS = (0, 1.2, 4.5, 14, 18, 15, 13, 11, 8, 6, 4, 2.6, 1.6, 1.0, 0.7, 0.5, 0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05)
"""Relative frequency of word lengths 0, 1, 2, ... in characters, similar to street photographs."""
SERIAL = string.ascii_uppercase + 2 * string.digits
UNITS = ("st", "nd", "rd", "th", "am", "pm", "kg", "g", "ml", "m", "km", "cm", "mm", "A", "B", "x", "+", "L", '"', "C")
CLASSES = {"top": 36, "common": 28, "mid": 14, "rare": 5, "names": 14, "abbreviations": 3}
"""Classes of the list and their percentage of the words drawn."""
SIGNS = Path(__file__).with_name("signs.txt").read_text("utf-8").split()
"""Words of shops and streets, more frequent in photographs than in books."""


@functools.cache
def words_by_length() -> dict[str, dict[int, list[str]]]:
    """Load the list: class -> length in characters -> words."""
    text = lzma.decompress(Path(__file__).with_name("words.txt.xz").read_bytes()).decode()
    classes: dict[str, dict[int, list[str]]] = {}
    for line in text.splitlines():
        name, *words = line.split(" ")
        lengths = classes.setdefault(name, {})
        for word in words:
            lengths.setdefault(len(word), []).append(word)
    return classes


def number(rng: Random) -> str:
    """Draw a count, year, price, percentage, time, date, telephone number or size."""
    kind = rng.random()
    digits = "".join(rng.choices(string.digits, k=rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10))))
    if kind < 0.42:
        return digits
    if kind < 0.50:
        return str(rng.randint(1800, 2030))
    if kind < 0.62:
        return "$" + digits[:4] + rng.choice(("", "", ".99", ".00", ".50", ".95", "/-"))
    if kind < 0.68:
        return digits[:2] + "%"
    if kind < 0.75:
        return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"
    if kind < 0.79:
        return f"{rng.randint(1, 31)}/{rng.randint(1, 12)}"
    if kind < 0.83:
        return f"{digits[:3]}-{rng.randint(0, 9999):04d}"
    if kind < 0.87:
        return f"#{digits[:3]}"
    if kind < 0.92:
        return digits[:3] + rng.choice(UNITS)
    if kind < 0.96:
        return f"{digits[:2]}.{rng.randint(0, 99)}"
    return f"{int(digits[:3])},{rng.randint(0, 999):03d}"


def code(rng: Random) -> str:
    """Draw capitals and digits, as in serial numbers."""
    text = "".join(rng.choices(SERIAL, k=rng.randint(2, 9)))
    if len(text) > 4 and rng.random() < 0.2:
        return text[:3] + rng.choice("-- .") + text[3:]
    return text


def letters(rng: Random) -> str:
    """Draw random letters, so that models do not rely on words alone and rare letters occur often."""
    return cased(rng, "".join(rng.choices(string.ascii_lowercase, k=rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 7)))))


def symbols(rng: Random) -> str:
    """Draw random printable ASCII."""
    return "".join(rng.choices(string.ascii_letters + string.digits + string.punctuation, k=rng.randint(1, 7)))


def word(rng: Random) -> str:
    """Draw an English word by length and frequency class."""
    if rng.random() < 0.10:
        return rng.choice(SIGNS)
    classes = words_by_length()
    while True:
        length = rng.choices(range(len(LENGTHS)), LENGTHS)[0]
        kind = rng.choices(tuple(CLASSES), tuple(CLASSES.values()))[0]
        if words := classes[kind].get(length):
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
    """Draw a word in capitals, with a first capital, or in lower case."""
    return cased(rng, word(rng))


def address(rng: Random) -> str:
    """Draw the address of a web page, a mailbox or an account."""
    name = "".join(char for char in word(rng).lower() if char.isalpha())
    ending = rng.choice(("com", "com", "co.uk", "net", "org", "de", "in", "sg"))
    forms = (f"www.{name}.com", f"{name}.{ending}", f"{name[:6]}@{name[:4]}.com", f"@{name}", f"#{name}")
    return rng.choice(forms)


def phrase(rng: Random) -> str:
    """Draw two or three words, mostly of the same case, or numbers among them."""
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
    """Draw two words joined by a sign."""
    return cased_word(rng) + rng.choice("-&/+-") + cased_word(rng)


def punctuated(rng: Random, text: str) -> str:
    """Put punctuation around `text`."""
    forms = ["{}.", "{},", "{}!", "{}:", "{}?", '"{}"', "({})", "'{}'", "-{}", "{}-", "{}...", "*{}", "{};", "[{}]"]
    if text.isalpha():
        forms += ["{}'S" if text.isupper() else "{}'s"] * 4
    return rng.choice(forms).format(text)


def sentence_part(rng: Random) -> str:
    """Draw one to four words of running text."""
    words = [word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 4)))]
    words = [part if part.isupper() or rng.random() < 0.1 else part.lower() for part in words]
    return " ".join(words) if rng.random() < 0.7 else " ".join(words).capitalize()


PLATES = ("AAA 000", "AAA-0000", "AAA0000", "AA00 AAA", "000 AAA", "0AAA000", "AA 000 AA", "A 00 AAA", "00 AAA 0")
"""Formats of number plates: A is a letter, 0 a digit."""


def plate(rng: Random) -> str:
    """Draw a number plate."""
    if rng.random() < 0.25:
        return "".join(rng.choices(SERIAL, k=rng.randint(2, 8)))
    sources = {"A": string.ascii_uppercase, "0": string.digits}
    text = "".join(rng.choice(sources.get(char, char)) for char in rng.choice(PLATES))
    return text.replace(" ", "") if rng.random() < 0.5 else text


def reading(rng: Random) -> str:
    """Draw the reading of a display: a count, an amount, a time, a temperature, rarely a word."""
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
    """Draw random letters and digits, as in captchas."""
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
    """The built-in mix of the images' style, in the symbols of `charset` and up to `max_length` characters."""

    def __init__(self, charset: str, max_length: int, style: str = "scene"):
        self._charset, self._max_length, self._style = frozenset(charset), max_length, style
        self._symbols = charset.replace(" ", "")

    def draw(self, rng: Random) -> str:
        """Draw a text of the mix, or of random symbols if none fits."""
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
