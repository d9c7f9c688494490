"""Which font to take for a text."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random

from aocr.errors import ConfigError
from aocr.synth.fonts.files import font_files
from aocr.synth.fonts.survey import Face, survey

_EVERYDAY = """
roboto robotocondensed opensans lato montserrat oswald raleway poppins merriweather ptsans ptserif ubuntu worksans
sourcesans3 sourcesanspro librefranklin librebaskerville playfairdisplay anton bebasneue leaguegothic archivo
archivonarrow archivoblack fjallaone barlowcondensed inter titilliumweb dosis tinos arimo ebgaramond
cormorantgaramond arvo rokkitt robotoslab alfaslabone firasans firasanscondensed josefinsans quicksand nunito
varelaround lobster pacifico cooperhewitt sairaextracondensed encodesanscondensed bodonimoda gelasio jost
liberationsans liberationserif liberationsansnarrow nimbussans nimbusroman nimbussansnarrow urwgothic urwbookman
c059 p052 texgyreheros texgyretermes texgyreadventor texgyrebonum texgyreschola texgyrepagella texgyreheroscn
dejavusans dejavuserif dejavusanscondensed freesans freeserif gillius gilliusno2 overpass arial arialblack
helvetica helveticaneue timesnewroman georgia verdana tahoma trebuchetms impact calibri cambria segoeui futura
gillsans franklingothic garamond rockwell din1451 interstate highwaygothic
"""
EVERYDAY = frozenset(_EVERYDAY.split())
"""Families seen on signs and labels every day, in small letters without spaces."""


class FontSet:
    """Faces to take at random: a family as often as another, everyday ones four times, whatever its number of files.

    Args:
      faces: to choose from.
    """

    JOINED_CAPITALS = 0.15
    """Share of capitals-only texts that a joined face is kept for."""

    def __init__(self, faces: Sequence[Face]):
        self.faces = list(faces)
        total: dict[str, float] = defaultdict(float)
        largest: dict[str, float] = {}
        for face in self.faces:
            total[face.family] += face.weight
            largest[face.family] = max(largest.get(face.family, 0), face.weight)
        everyday = {family: 4 if _plain_name(family) in EVERYDAY else 1 for family in total}
        self._weights = [
            everyday[face.family] * largest[face.family] * face.weight / total[face.family] for face in self.faces
        ]
        self._cumulated = list(accumulate(self._weights))

    def missing(self, chars: Iterable[str]) -> str:
        """Those of `chars` that no face has."""
        covered = frozenset().union(*(face.chars for face in self.faces))
        return "".join(char for char in dict.fromkeys(chars) if char not in covered)

    def pick(self, rng: Random, text: str) -> Face | None:
        """A face that has every character of `text`; None: there is none."""
        chars = frozenset(text)
        capitals = len(text) > 1 and text.isupper()
        for _ in range(20):
            face = rng.choices(self.faces, cum_weights=self._cumulated)[0]
            suits = not (capitals and face.joined) or rng.random() < self.JOINED_CAPITALS
            if suits and chars <= face.chars:
                return face
        fitting = [number for number, face in enumerate(self.faces) if chars <= face.chars]
        weights = [self._weights[number] for number in fitting]
        return self.faces[rng.choices(fitting, weights)[0]] if fitting else None


def _plain_name(family: str) -> str:
    return re.sub(r"[^a-z0-9]", "", family.lower())


def find_faces(places: Sequence[str] | None, charset: str, as_written: bool = False, each=map) -> list[Face]:
    """All faces of use for a charset, in the order of their paths.

    Args:
      places: as for `font_files`.
      charset: the symbols to draw.
      as_written: small letters must be drawn as such, not as capitals.
      each: maps `survey` over the files; by default in this process.

    Raises:
      ConfigError: there is no font, none has enough of the charset, or a symbol is in none.
    """
    files = font_files(places)
    shared: dict[frozenset[str], frozenset[str]] = {}
    faces = []
    for face in (face for found in each(functools.partial(survey, charset=charset), files) for face in found):
        chars = face.chars.difference(face.shown_as) if as_written else face.chars
        if chars:
            faces.append(dataclasses.replace(face, chars=shared.setdefault(chars, chars)))
    where = "of this system" if places is None else " ".join(places)
    if not faces:
        reason = f"none of {len(files)} font files draws the charset ({charset[:20]!r}). Name fonts for this script."
        raise ConfigError("--fonts", where, reason)
    if missing := FontSet(faces).missing(charset):
        reason = f"none of {len(files)} font files has {missing[:20]!r}. Name one that does, or give --charset."
        raise ConfigError("--fonts", where, reason)
    return faces
