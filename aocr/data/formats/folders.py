"""Folders of images: named after their text, with a text file beside each, or sorted by text into subfolders."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from aocr import files
from aocr.config import WHOLE_NAME
from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine, images_in, is_yolo
from aocr.data.formats.source import Source
from aocr.errors import AnnotationError
from aocr.text.charset import normalise

GT, TXT = ".gt.txt", ".txt"
"""Endings of a text file beside an image."""
MAX_TEXT_BYTES = 1 << 20
_BOXES = "has YOLO boxes, not a text, beside it."
_NO_IMAGES = f"contains no images ({', '.join(IMAGE_ENDINGS)})."
_LISTS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".zip")


def read_filenames(source: Source) -> list[AnnotationLine]:
    """List the images in a folder and its subfolders, sorted, labelled by the group of `label_from_filename`.

    The expression is searched in the name without extension; if it contains `/`, in the path within the folder.

    Raises:
      AnnotationError: there are no images.
    """
    expression = source.options.label_from_filename or WHOLE_NAME
    pattern, paths = re.compile(expression), images_in(source.path)
    if not paths:
        raise AnnotationError(source.path, None, _NO_IMAGES)
    if has_pairs(source):
        source.note(
            f"has text files ({GT}, {TXT}) beside its images, which --label-from-filename ignores.", logging.WARNING
        )
    elif expression == WHOLE_NAME:
        _warn_of_ends(source, paths)
    return [_named_line(source.path, path, number, pattern) for number, path in enumerate(paths, 1)]


def _named_line(folder: str, path: str, number: int, pattern: re.Pattern) -> AnnotationLine:
    """Take the label of an image from its name."""
    try:
        path.encode()
    except UnicodeEncodeError:  # a name with other bytes is decoded to lone surrogates
        return AnnotationLine(path, None, number, f"the name {path!r} is not UTF-8. Rename the file.")
    name = os.path.relpath(path, folder).replace(os.sep, "/") if "/" in pattern.pattern else os.path.basename(path)
    match = pattern.search(os.path.splitext(name)[0]) or pattern.search(name)
    reason = f"does not match {pattern.pattern!r} (--label-from-filename)."
    return AnnotationLine(path, normalise(match[1] or "") if match else None, number, unusable=reason)


def _warn_of_ends(source: Source, paths: Sequence[str]) -> None:
    """Warn if most names end alike, in a number or a word that is hardly part of the text."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    tails = (re.search(r"[-_. ][^-_. ]+$", stem) for stem in stems)
    ends = Counter(re.sub("[0-9]+", "0", tail[0]) for tail in tails if tail)
    end, count = ends.most_common(1)[0] if ends else ("", 0)
    if len(stems) > 2 and count * 2 > len(stems):
        example = next(stem for stem in stems if re.sub("[0-9]+", "0", stem).endswith(end))
        expression = f"(.+){re.escape(end).replace('0', '[0-9]+')}"
        source.note(
            f"{count} of {len(stems)} names end like {example!r}, and the ends become part of the labels. "
            f"If they do not belong to the text: --label-from-filename '{expression}'.",
            logging.WARNING,
        )


def _pair(names: Iterable[str]) -> list[tuple[str, str | None]]:
    """Pair the images among the names in a folder with their text files: (image, text file or None), sorted.

    `X.gt.txt` belongs to `X.png`, else to one of `X.nrm.png`, `X.bin.png` and the like; `X.txt` belongs to `X.png`.
    """
    names = sorted(names)
    texts = {name for name in names if name.endswith(TXT)}
    images: dict[str, list[str]] = defaultdict(list)
    pairs: list[tuple[str, str | None]] = []
    for name in names:
        if name.lower().endswith(IMAGE_ENDINGS):
            stem = os.path.splitext(name)[0]
            parts = stem.split(".")
            candidates = [".".join(parts[:count]) + GT for count in range(len(parts), 0, -1)]
            text = next((text for text in (*candidates, stem + TXT) if text in texts), None)
            if text:
                images[text].append(name)
            else:
                pairs.append((name, None))

    def rank(name: str) -> tuple[int, bool, str]:
        return name.count("."), ".bin." in name, name

    pairs += [(min(group, key=rank), text) for text, group in images.items()]
    pairs += [(text.removesuffix(GT) + ".png", text) for text in texts - images.keys() if text.endswith(GT)]
    return sorted(pairs)


def has_pairs(source: Source) -> bool:
    """Whether a folder has a `.gt.txt` file beside an image, or a `.txt` file beside most of them."""
    counts = Counter[str]()
    for _, _, names in files.walk(source.path) if source.is_folder else ():
        for _, text in _pair(names):
            counts["gt" if (text or "").endswith(GT) else "txt" if text else "none"] += 1
    return counts["gt"] > 0 or counts["txt"] > counts["none"]


def read_pairs(source: Source) -> list[AnnotationLine]:
    """Read the images of a folder and its subfolders with the text files beside them.

    Raises:
      AnnotationError: most of these are boxes, not texts.
    """
    pairs = ((base, *pair) for base, _, names in sorted(files.walk(source.path)) for pair in _pair(names))
    return _read_pairs(source.path, pairs)


def _read_pairs(folder: str, pairs: Iterable[tuple[str, str, str | None]]) -> list[AnnotationLine]:
    lines = [_read_pair(*pair, number) for number, pair in enumerate(pairs, 1)]
    boxes = sum(line.unusable == _BOXES or is_yolo(line.label or "") for line in lines)
    if boxes > sum(bool(line.label) for line in lines if not is_yolo(line.label or "")):
        reason = "has YOLO boxes, not texts, beside its images. Read them with aocr predict --boxes."
        raise AnnotationError(folder, None, reason)
    return lines


def pair_texts(paths: Sequence[str]) -> list[str]:
    """Return the files among several that are the text of the image beside them."""

    def has_image(path: str) -> bool:
        return any(files.exists(path.removesuffix(TXT) + ending) for ending in IMAGE_ENDINGS)

    texts = [path for path in paths if path.endswith(GT) or (path.endswith(TXT) and len(paths) > 1 and has_image(path))]
    return texts if len(texts) > 1 or texts[:1] == [path for path in texts if path.endswith(GT)] else []


def read_given_pairs(texts: Sequence[str]) -> list[AnnotationLine]:
    """Read text files with the images beside them."""
    wanted, folders = set(texts), sorted(set(map(os.path.dirname, texts)))
    pairs = ((base, *pair) for base in folders for pair in _pair(files.names_in(base or ".")))
    given = [pair for pair in pairs if pair[2] and os.path.join(pair[0], pair[2]) in wanted]
    return _read_pairs(folders[0] or ".", given)


def _read_pair(base: str, image: str, text: str | None, number: int) -> AnnotationLine:
    """Read one line of text for an image."""
    path = os.path.join(base, image)
    if text is None:
        return AnnotationLine(path, None, number, unusable="has no text file beside it.")
    try:
        lines = files.read_limited(os.path.join(base, text), MAX_TEXT_BYTES).decode("utf-8-sig").strip().splitlines()
    except UnicodeDecodeError:
        return AnnotationLine(path, None, number, f"{text} is not UTF-8. Save the file as UTF-8.")
    except OSError as error:
        return AnnotationLine(path, None, number, unusable=f"has a text file that cannot be read ({error.strerror}).")
    if len(lines) > 1 and is_yolo("\n".join(lines)):
        return AnnotationLine(path, None, number, unusable=_BOXES)
    if len(lines) > 1:
        return AnnotationLine(path, None, number, unusable=f"has {len(lines)} lines of text. Cut it into lines first.")
    return AnnotationLine(path, normalise("".join(lines)), number)


def has_classes(source: Source) -> bool:
    """Whether a folder has only subfolders with images, each named by one character."""
    if not source.is_folder:
        return False
    names = _image_folders(source)
    return len(names) > 1 and all(len(normalise(name)) == 1 and name != "." for name in names)


def _image_folders(source: Source) -> set[str]:
    """Return the relative paths of the subfolders with images; `.` is the folder itself."""
    return {
        os.path.relpath(base, source.path)
        for base, _, names in files.walk(source.path)
        if any(name.lower().endswith(IMAGE_ENDINGS) for name in names)
    }


def read_classes(source: Source) -> Iterator[AnnotationLine]:
    """Read the images of subfolders that are named after their text."""
    for number, path in enumerate(images_in(source.path), 1):
        yield AnnotationLine(path, normalise(os.path.basename(os.path.dirname(path))), number)


def advice(source: Source) -> str:
    """Say what a folder without known labels lacks."""
    lists = [name for name in files.names_in(source.path) if name.lower().endswith(_LISTS)]
    if lists:
        listed = os.path.join(source.path, lists[0])
        return f"is a folder. Give its list of images and texts, such as {listed}, or add --label-from-filename."
    subfolders = _image_folders(source)
    if not subfolders:
        return _NO_IMAGES
    beside = "Add --label-from-filename if the images are named after their text, or put X.gt.txt beside each X.png."
    if subfolders == {"."}:
        return f"is a folder of images without labels. {beside}"
    return f"is a folder of images without labels. {beside} If subfolders are: --label-from-filename '([^/]+)/[^/]+$'."
