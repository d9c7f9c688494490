"""Font files in folders and of the system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from aocr.errors import ConfigError

EXTENSIONS = (".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2")
SYSTEM_FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/Library/Fonts", "/System/Library/Fonts", "~/Library/Fonts",
    "C:/Windows/Fonts", "~/AppData/Local/Microsoft/Windows/Fonts",
)  # fmt: skip


def _system_paths() -> list[str]:
    """Return the system's folders of fonts, and the files that fontconfig lists."""
    paths = [folder for folder in map(os.path.expanduser, SYSTEM_FOLDERS) if os.path.isdir(folder)]
    if shutil.which("fc-list"):
        done = subprocess.run(["fc-list", "--format", "%{file}\n"], capture_output=True, check=False)
        paths += os.fsdecode(done.stdout).split("\n")[:-1]  # a name need not be UTF-8
    return [path for path in paths if os.path.isdir(path) or path.lower().endswith(EXTENSIONS)]


def font_files(paths: Sequence[str] | None) -> list[str]:
    """List the font files in folders, recursively, sorted and without duplicates.

    Args:
      paths: folders and files; by default the system's.

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
