"""Font files of folders and of the system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from aocr import files
from aocr.errors import ConfigError

ENDINGS = (".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2")
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
    "~/AppData/Local/Microsoft/Windows/Fonts",
)
"""Where systems keep fonts."""


def _default_places() -> list[str]:
    """Files that fontconfig knows, and the folders of FOLDERS that are there."""
    places = [folder for folder in map(os.path.expanduser, FOLDERS) if os.path.isdir(folder)]
    if shutil.which("fc-list"):
        done = subprocess.run(["fc-list", "--format", "%{file}\n"], capture_output=True, check=False)
        places += os.fsdecode(done.stdout).split("\n")[:-1]  # a name need not be UTF-8
    return places


def font_files(places: Sequence[str] | None) -> list[str]:
    """Font files in folders and the folders in them, sorted, each once.

    Args:
      places: folders and files; None: what the system has.

    Raises:
      ConfigError: a place does not exist, or there is no font in any.
    """
    found: dict[str, None] = {}
    for place in _default_places() if places is None else places:
        if os.path.isdir(place):
            names = (os.path.join(base, name) for base, _, names in os.walk(place) for name in names)
            fonts = (name for name in names if name.lower().endswith(ENDINGS) and not files.is_endless(name))
            found.update(dict.fromkeys(sorted(fonts)))
        elif os.path.isfile(place):
            if places is not None or place.lower().endswith(ENDINGS):
                found[place] = None
        elif places is not None:
            raise ConfigError("--fonts", place, "there is no such file or folder. Check the path.")
    if not found:
        where = "this system" if places is None else " ".join(places)
        raise ConfigError("--fonts", where, f"holds no font ({' '.join(ENDINGS)}). Name a folder that has some.")
    real = {os.path.realpath(path): path for path in reversed(found)}
    stems = {path.rpartition(".")[0] for path in found if not path.lower().endswith(".woff2")}
    return sorted(path for path in real.values() if not (path.endswith(".woff2") and path[:-6] in stems))
