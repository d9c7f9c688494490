"""`--lexicon english`: the built-in English words and their frequencies."""

from __future__ import annotations

from itertools import chain

from aocr.synth.texts.english import DATA, words_by_length

WITH_ENDINGS = ("top", "names")
"""Classes of words that may also end in a full stop or 's."""
CLASSES = (*WITH_ENDINGS, "common", "mid")
"""Classes of words that count as English: the others are rare, or abbreviations that resemble codes."""
ENDINGS_SHARE = 0.1
"""Frequency of a word with an ending, relative to the word alone."""


def english_frequencies() -> dict[str, float]:
    """Return the relative frequencies of English words in small letters, with a capital, in capitals."""
    frequencies: dict[str, float] = {}
    for name in CLASSES:
        words = list(chain.from_iterable(words_by_length()[name].values()))
        frequency = DATA["classes"][name] / len(words)
        forms = {form for word in words for form in (word, word[:1].upper() + word[1:], word.upper())}
        endings = ("", ".", "'s") if name in WITH_ENDINGS else ("",)
        for ending in endings:
            value = frequency * ENDINGS_SHARE if ending else frequency
            for form in forms:
                text = form + (ending.upper() if form.isupper() else ending)
                frequencies[text] = max(value, frequencies.get(text, 0.0))
    return frequencies
