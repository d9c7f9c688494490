"""Make aocr/synth/texts/words.txt.xz from SCOWL, Kevin Atkinson's word lists, as packaged by Debian.

    apt-get download scowl && dpkg -x scowl_*.deb scowl
    python recipes/word_list.py scowl

SCOWL's size levels say how common a word is: level 10 holds the commonest. A line of the result is a class of words,
its name first. The copyright notice, which must accompany the words, is written beside them.
"""

import argparse
import lzma
import re
from pathlib import Path

HERE = Path(__file__).parent
MAX_LENGTH = 22
LEVELS = (("top", 20), ("common", 35), ("mid", 60), ("rare", 80))
"""Classes of plain words, and the highest level of each."""
NAMES_LEVEL = 70


def class_of(name: str) -> str | None:
    """Return the class of a SCOWL file, given its name; None if it is not used."""
    kind, level = name.rsplit(".", 1)
    if kind.startswith(("special", "variant_3")):
        return None
    if "abbreviations" in kind:
        return "abbreviations" if int(level) <= NAMES_LEVEL else None
    if "proper" in kind or "upper" in kind:
        return "names" if int(level) <= NAMES_LEVEL else None
    return next((found for found, highest in LEVELS if int(level) <= highest), None)


def collect(folder: Path) -> dict[str, list[str]]:
    """Collect the words by class; a word of several classes belongs to the commonest."""
    words: dict[str, list[str]] = {}
    seen: set[str] = set()
    for path in sorted(folder.iterdir(), key=lambda path: (int(path.suffix[1:]), path.name)):
        found = class_of(path.name)
        if not found:
            continue
        for word in path.read_text("latin-1").split():
            usable = re.fullmatch(r"[A-Za-z][A-Za-z'.&-]*", word) and len(word) <= MAX_LENGTH
            if usable and word not in seen and not word.endswith("'s"):
                seen.add(word)
                words.setdefault(found, []).append(word)
    return {name: sorted(found) for name, found in words.items()}


def main() -> None:
    """Read an unpacked package; write the list and its copyright notice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="folder that the Debian package was unpacked to")
    parser.add_argument("--output", type=Path, default=HERE.parent / "aocr/synth/texts/words.txt.xz")
    args = parser.parse_args()
    words = collect(args.package / "usr/share/dict/scowl")
    text = "".join(f"{name} {' '.join(found)}\n" for name, found in words.items())
    args.output.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    notice = (args.package / "usr/share/doc/scowl/copyright").read_text("latin-1")
    args.output.with_name("words-copyright.txt").write_text(notice, "utf-8")
    print({name: len(found) for name, found in words.items()}, args.output.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
