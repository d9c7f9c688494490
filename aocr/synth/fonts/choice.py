"""Choosing a font for a text."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
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
"""Families that are common on signs and labels, in lower case without spaces."""
MIN_FILES_FOR_POOL = 200
"""Font files from which several processes inspect them."""


class FontSet:
    """Fonts to choose from at random: every family equally often, everyday ones four times as often.

    Args:
      faces: to choose from.
    """

    JOINED_CAPITALS = 0.15
    """How often joined handwriting is accepted for a text in capitals."""

    def __init__(self, faces: Sequence[Face]):
        self.faces = list(faces)
        total: dict[str, float] = defaultdict(float)
        largest: dict[str, float] = defaultdict(float)
        for face in self.faces:
            total[face.family] += face.weight
            largest[face.family] = max(largest[face.family], face.weight)
        everyday = {family: 4 if re.sub(r"[^a-z0-9]", "", family.lower()) in EVERYDAY else 1 for family in total}
        self._weights = [
            everyday[face.family] * largest[face.family] * face.weight / total[face.family] for face in self.faces
        ]
        self._cumulative = list(accumulate(self._weights))

    def missing(self, chars: Iterable[str]) -> str:
        """Return the characters that no face has."""
        covered = frozenset().union(*(face.chars for face in self.faces))
        return "".join(char for char in dict.fromkeys(chars) if char not in covered)

    def pick(self, rng: Random, text: str) -> Face | None:
        """Choose a face that has every character of `text`; None if there is none."""
        chars = frozenset(text)
        capitals = len(text) > 1 and text.isupper()
        for _ in range(20):
            face = rng.choices(self.faces, cum_weights=self._cumulative)[0]
            suits = not (capitals and face.joined) or rng.random() < self.JOINED_CAPITALS
            if suits and chars <= face.chars:
                return face
        fitting = [number for number, face in enumerate(self.faces) if chars <= face.chars]
        weights = [self._weights[number] for number in fitting]
        return self.faces[rng.choices(fitting, weights)[0]] if fitting else None


def _map(function: Callable[[str], list[Face]], paths: list[str], workers: int) -> list[list[Face]]:
    """Map a function over files, in several processes if they are many."""
    if workers == 1 or len(paths) < MIN_FILES_FOR_POOL:
        return [function(path) for path in paths]
    ignore_interrupts = (signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    with multiprocessing.get_context("spawn").Pool(workers, signal.signal, ignore_interrupts) as pool:
        return list(pool.imap(function, paths, chunksize=32))


def find_faces(paths: Sequence[str] | None, charset: str, as_written: bool = False, workers: int = 1) -> list[Face]:
    """Find the faces that can draw symbols of a charset, sorted by path.

    Args:
      paths: folders and files; by default the system's fonts.
      charset: the symbols to draw.
      as_written: leave out lower-case letters that a font draws as capitals.
      workers: processes that inspect the files.

    Raises:
      ConfigError: there is no font, none has enough of the charset, or a symbol is in none.
    """
    files = font_files(paths)
    shared: dict[frozenset[str], frozenset[str]] = {}  # equal sets are stored once
    faces = []
    for file_faces in _map(functools.partial(survey, charset=charset), files, workers):
        for face in file_faces:
            chars = face.chars.difference(face.shown_as) if as_written else face.chars
            if chars:
                faces.append(dataclasses.replace(face, chars=shared.setdefault(chars, chars)))
    source = "of this system" if paths is None else " ".join(paths)
    if not faces:
        reason = f"none of {len(files)} font files supports the charset ({charset[:20]!r}). Name fonts for this script."
        raise ConfigError("--fonts", source, reason)
    if missing := FontSet(faces).missing(charset):
        reason = f"none of {len(files)} font files contains {missing[:20]!r}. Name one that does, or set --charset."
        raise ConfigError("--fonts", source, reason)
    return faces
