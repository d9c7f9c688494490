"""The built-in English mix.

A source of texts has `draw(rng) -> str`. All that is random comes from the `random.Random` handed in.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from random import Random

from aocr.synth.texts.words import CLASSES, SIGNS, words_by_length

LENGTHS = (0, 1.2, 4.5, 14, 18, 15, 13, 11, 8, 6, 4, 2.6, 1.6, 1.0, 0.7, 0.5, 0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05)
"""Weight of each length of a word in characters, from 0; set to resemble words on photographs of streets."""
PUNCTUATION = string.punctuation
SERIAL = string.ascii_uppercase + 2 * string.digits
UNITS = ("st", "nd", "rd", "th", "am", "pm", "kg", "g", "ml", "m", "km", "cm", "mm", "A", "B", "x", "+", "L", '"', "C")


def _digits(rng: Random, length: int) -> str:
    return "".join(rng.choices(string.digits, k=length))


def number(rng: Random) -> str:
    """A count, year, price, share, time, date, telephone number, size."""
    kind = rng.random()
    digits = _digits(rng, rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10)))
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
    """Capitals and digits as in serial numbers and on plates."""
    text = "".join(rng.choices(SERIAL, k=rng.randint(2, 9)))
    if len(text) > 4 and rng.random() < 0.2:
        return text[:3] + rng.choice("-- .") + text[3:]
    return text


def letters(rng: Random) -> str:
    """Letters in no order: the reader must not lean on words alone, and every letter comes often enough."""
    return cased(rng, "".join(rng.choices(string.ascii_lowercase, k=rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 7)))))


def symbols(rng: Random) -> str:
    """Any printable ASCII in no order."""
    return "".join(rng.choices(string.ascii_letters + string.digits + PUNCTUATION, k=rng.randint(1, 7)))


def word(rng: Random) -> str:
    """An English word by length and frequency class, as the list spells it."""
    if rng.random() < 0.10:
        return rng.choice(SIGNS)
    classes = words_by_length()
    while True:
        length = rng.choices(range(len(LENGTHS)), LENGTHS)[0]
        kind = rng.choices(tuple(CLASSES), tuple(CLASSES.values()))[0]
        if found := classes[kind].get(length):
            return rng.choice(found)


def cased(rng: Random, text: str) -> str:
    """`text` in capitals, with a first capital, as it stands, or (seldom) in any case."""
    kind = rng.random()
    if kind < 0.44:
        return text.upper()
    if kind < 0.72:
        return text[:1].upper() + text[1:]
    if kind < 0.99:
        return text.lower() if text[:1].isupper() and rng.random() < 0.5 else text
    return "".join(char.upper() if rng.random() < 0.5 else char.lower() for char in text)


def address(rng: Random) -> str:
    """Of a web page, a mailbox or an account."""
    name = "".join(char for char in word(rng).lower() if char.isalpha())
    ending = rng.choice(("com", "com", "co.uk", "net", "org", "de", "in", "sg"))
    forms = (f"www.{name}.com", f"{name}.{ending}", f"{name[:6]}@{name[:4]}.com", f"@{name}", f"#{name}")
    return rng.choice(forms)


def phrase(rng: Random) -> str:
    """Two or three words, of the same case mostly, or a word and a number."""
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
    """Two words with a sign between."""
    return cased(rng, word(rng)) + rng.choice("-&/+-") + cased(rng, word(rng))


def punctuated(rng: Random, text: str) -> str:
    """`text` with the signs that sentences and labels put around it."""
    forms = ["{}.", "{},", "{}!", "{}:", "{}?", '"{}"', "({})", "'{}'", "-{}", "{}-", "{}...", "*{}", "{};", "[{}]"]
    if text.isalpha():
        forms += ["{}'S" if text.isupper() else "{}'s"] * 4
    return rng.choice(forms).format(text)


def sentence_part(rng: Random) -> str:
    """A few words of a running text."""
    words = [word(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 4)))]
    words = [part if part.isupper() or rng.random() < 0.1 else part.lower() for part in words]
    return " ".join(words) if rng.random() < 0.7 else " ".join(words).capitalize()


PLATES = ("AAA 000", "AAA-0000", "AAA0000", "AA00 AAA", "000 AAA", "0AAA000", "AA 000 AA", "A 00 AAA", "00 AAA 0")
"""Forms of number plates: A for a letter, 0 for a digit."""


def plate(rng: Random) -> str:
    """The text of a number plate."""
    if rng.random() < 0.25:
        return "".join(rng.choices(SERIAL, k=rng.randint(2, 8)))
    sources = {"A": string.ascii_uppercase, "0": string.digits}
    text = "".join(rng.choice(sources.get(char, char)) for char in rng.choice(PLATES))
    return text.replace(" ", "") if rng.random() < 0.5 else text


def reading(rng: Random) -> str:
    """What a display shows: a count, an amount, a time, a temperature, seldom a word."""
    kind = rng.random()
    if kind < 0.55:
        digits = _digits(rng, rng.choice((1, 2, 3, 3, 4, 4, 5, 6, 8)))
        return digits if rng.random() < 0.55 else f"{digits[:-2] or 0}.{digits[-2:]}"
    if kind < 0.7:
        return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    if kind < 0.8:
        return f"-{rng.randint(0, 99)}.{rng.randint(0, 9)}"
    return number(rng) if kind < 0.9 else cased(rng, word(rng))


def scramble(rng: Random) -> str:
    """Letters and digits without sense, as captchas ask for."""
    symbols = rng.choice((string.ascii_uppercase + string.digits, string.ascii_letters + string.digits, string.digits))
    return "".join(rng.choices(symbols, k=rng.randint(4, 7)))


Kinds = tuple[tuple[float, Callable[[Random], str]], ...]
SCENE: Kinds = (
    (0.725, lambda rng: cased(rng, word(rng))),
    (0.07, number),
    (0.045, code),
    (0.05, letters),
    (0.07, phrase),
    (0.015, address),
    (0.01, joined),
    (0.015, symbols),
)
"""Share of each kind of text on streets and things. The sum is 1, here as below."""
PRINT: Kinds = ((0.62, sentence_part), (0.14, lambda rng: cased(rng, word(rng))), (0.14, number), (0.04, code),
                (0.03, letters), (0.015, address), (0.015, symbols))  # fmt: skip
MIXES: dict[str, Kinds] = {
    "scene": SCENE,
    "print": PRINT,
    "plate": ((1.0, plate),),
    "display": ((1.0, reading),),
    "captcha": ((1.0, scramble),),
}
"""Kinds of text by the style of the images."""
PUNCTUATED = {"scene": 0.06, "print": 0.15}
"""Share of texts that get punctuation around them."""


class EnglishTexts:
    """The built-in mix: words, names, numbers, prices, codes, random letters, punctuation, two or three words.

    Args:
      charset: the symbols that texts keep within.
      max_length: of a text, in characters.
      style: of the images: each has a mix of its own.
    """

    def __init__(self, charset: str, max_length: int, style: str = "scene"):
        self._charset, self._max_length, self._style = frozenset(charset), max_length, style
        self._symbols = charset.replace(" ", "")

    def _any(self, rng: Random) -> str:
        shares, kinds = zip(*MIXES[self._style], strict=True)
        kind = rng.choices(kinds, shares)[0]
        text = kind(rng)
        if kind is not phrase and rng.random() < PUNCTUATED.get(self._style, 0):
            text = punctuated(rng, text)
        return text

    def draw(self, rng: Random) -> str:
        """A text of 1 to `max_length` symbols of the charset; random ones where no text of the mix fits."""
        for _ in range(20):
            drawn = self._any(rng)
            for text in (drawn, drawn.upper(), drawn.lower()):
                if len(text) <= self._max_length and self._charset.issuperset(text):
                    return text
        return "".join(rng.choices(self._symbols, k=rng.randint(1, min(8, self._max_length))))
