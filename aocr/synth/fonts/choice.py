"""Find font files, and choose a font for a text."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random

from PIL import features

from aocr.errors import ConfigError
from aocr.synth.fonts.survey import NAMES, Face, is_simple, survey

EXTENSIONS = tuple(NAMES["extensions"])
EVERYDAY = frozenset(NAMES["everyday"].split())
MIN_FILES_FOR_POOL = 200
"""Minimum number of font files for inspecting them in several processes."""


class FontSet:
    """Fonts to choose from at random; everyday families are four times as likely as each of the others."""

    JOINED_CAPITALS = 0.15
    """Probability of accepting joined handwriting for a text in capitals."""

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


def _system_paths() -> list[str]:
    """Return the system's folders of fonts, and the files that fontconfig lists."""
    paths = [folder for folder in map(os.path.expanduser, NAMES["system_folders"]) if os.path.isdir(folder)]
    if shutil.which("fc-list"):
        done = subprocess.run(["fc-list", "--format", "%{file}\n"], capture_output=True, check=False)
        paths += os.fsdecode(done.stdout).split("\n")[:-1]  # file names may not be UTF-8
    return [path for path in paths if os.path.isdir(path) or path.lower().endswith(EXTENSIONS)]


def font_files(paths: Sequence[str] | None) -> list[str]:
    """List the font files in files and folders (None: the system's), sorted and without duplicates.

    Raises:
      ConfigError: a path does not exist, or there is no font.
    """
    fonts: list[str] = []
    for path in _system_paths() if paths is None else paths:
        if os.path.isdir(path):
            names = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
            fonts += sorted(n for n in names if n.lower().endswith(EXTENSIONS) and os.path.isfile(n))
        elif os.path.isfile(path):
            fonts.append(path)
        elif paths is not None:
            raise ConfigError("--fonts", path, "there is no such file or folder. Check the path.")
    if not fonts:
        source = "this system" if paths is None else " ".join(paths)
        raise ConfigError("--fonts", source, f"contains no fonts ({' '.join(EXTENSIONS)}). Name a folder of fonts.")
    real = {os.path.realpath(path): path for path in reversed(fonts)}
    stems = {path.rpartition(".")[0] for path in fonts if not path.lower().endswith(".woff2")}
    return sorted(path for path in real.values() if not (path.endswith(".woff2") and path[:-6] in stems))


def _map(function: Callable[[str], list[Face]], paths: list[str], workers: int) -> list[list[Face]]:
    """Map a function over files, in several processes if there are many."""
    if workers == 1 or len(paths) < MIN_FILES_FOR_POOL:
        return [function(path) for path in paths]
    ignore_interrupts = (signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    with multiprocessing.get_context("spawn").Pool(workers, signal.signal, ignore_interrupts) as pool:
        return list(pool.imap(function, paths, chunksize=32))


def faces_for(charset: str, paths: Sequence[str] | None, workers: int = 1, as_written: bool = True) -> list[Face]:
    """Find the faces in files and folders (None: the system's) that can draw symbols of a charset, sorted by path.

    `workers` processes inspect the files; `as_written` leaves out lower-case letters that a font draws as capitals.

    Raises:
      ConfigError: there is no font, none has enough of the charset, or all lack a symbol.
    """
    if not is_simple(charset) and not features.check("raqm"):
        reason = "Pillow needs Raqm to draw this script. Install libraqm, or a Pillow wheel."
        raise ConfigError("--fonts", charset[:20], reason)
    files = font_files(paths)
    shared: dict[frozenset[str], frozenset[str]] = {}  # equal sets are stored once
    faces = []
    for file_faces in _map(functools.partial(survey, charset=charset), files, workers):
        for face in file_faces:
            chars = face.chars.difference(face.shown_as) if as_written else face.chars
            if chars:
                faces.append(dataclasses.replace(face, chars=shared.setdefault(chars, chars)))
    source = "this system" if paths is None else " ".join(paths)
    if not faces:
        reason = f"none of {len(files)} font files supports the charset ({charset[:20]!r}). Name fonts for this script."
        raise ConfigError("--fonts", source, reason)
    covered = frozenset().union(*shared)
    if missing := "".join(char for char in charset if char not in covered):
        reason = f"none of {len(files)} font files contains {missing[:20]!r}. Name one that does, or set --charset."
        raise ConfigError("--fonts", source, reason)
    return faces
