"""Zip and tar files of images with labels in any other format."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import IO
from weakref import WeakKeyDictionary, finalize

from aocr import files
from aocr.data.annotations import IMAGE_ENDINGS, AnnotationLine
from aocr.data.formats.folders import GT, TXT, has_pairs
from aocr.data.formats.page_xml import PAGE_XML, is_page
from aocr.data.formats.source import Format, Source
from aocr.data.images import MAX_BYTES
from aocr.data.regions import split_region
from aocr.errors import AnnotationError, AocrError, DatasetError
from aocr.tfrecord import HEAD_BYTES, is_head

MAX_UNPACKED = 2**35
"""Maximum bytes that an archive may unpack to; less if half of the free disk space is less."""
MIN_FILE = 4096
"""Bytes that a file counts for at least, as on a disk."""
_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0")
_NOT_LABELS = (".", "readme", "license", "licence", "copying", "notice", "classes", "charset", "lock.mdb")
"""Starts of the names of files that are not annotations."""


def _is_archive(source: Source) -> bool:
    return source.head.startswith(_STARTS) or source.head[257:262] == b"ustar"


def _members(path: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and contents of each file; folders, links and devices are left out."""
    if files.read(path, 2) == b"PK":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as file:
                        yield info.filename, file
        return
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isreg() and (extracted := tar.extractfile(member)):
                yield member.name, extracted


def _unpack(path: str, folder: str) -> None:
    """Write the files of an archive into a folder; raise an AnnotationError if one would lie outside."""
    limit = remaining = min(MAX_UNPACKED, shutil.disk_usage(folder).free // 2)
    for name, file in _members(path):
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or os.path.isabs(name) or not parts[0] or ":" in parts[0]:
            raise AnnotationError(path, None, f"has a file that would be written outside its folder, {name!r}.")
        if "__MACOSX" in parts or parts[-1].startswith("._"):
            continue
        target = os.path.join(folder, *parts)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        remaining -= MIN_FILE
        with open(target, "wb") as output:
            while (block := file.read(1 << 20)) and remaining >= 0:
                remaining -= len(block)
                output.write(block)
        if remaining < 0:
            advice = "Unpack it yourself, and name its folder or its annotation file."
            raise AnnotationError(path, None, f"unpacks to more than {limit >> 20:,} MiB. {advice}")


class _Folder:
    """A temporary folder that is removed with the last reference to this object, or when Python ends."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="aocr-")
        finalize(self, shutil.rmtree, self.name, ignore_errors=True)


_unpacked: WeakKeyDictionary[Source, _Folder] = WeakKeyDictionary()
"""The folders of archives that are in use, by their sources; lines refer to them too."""


def _folder(source: Source) -> _Folder:
    """Unpack an archive once."""
    if source in _unpacked:
        return _unpacked[source]
    if files.is_remote(source.path):
        raise AnnotationError(source.path, None, "is a remote archive. Copy it to this machine first.")
    folder = _Folder()
    try:
        _unpack(source.path, folder.name)
    except AocrError:
        raise
    except Exception as error:  # the many types of damaged or encrypted archives
        reason = f"cannot be unpacked ({files.one_line(error)}). Pack it again as zip or tar, without a password."
        raise AnnotationError(source.path, None, reason) from None
    _unpacked[source] = folder
    return folder


def _is_annotations(base: str, name: str) -> bool:
    """Whether a file may hold annotations: not an image, the text of one image, or about the data."""
    stem = os.path.join(base, name.partition(".")[0])
    is_pair = name.endswith(TXT) and any(os.path.exists(stem + ending) for ending in IMAGE_ENDINGS)
    is_pair |= name.endswith(GT)
    return not (is_pair or name.lower().endswith(IMAGE_ENDINGS) or name.lower().startswith(_NOT_LABELS))


def _contents(source: Source, folder: str) -> tuple[Format, list[Source]]:
    """Find the labels in an unpacked archive: its pages, its one annotation file, or its images as a folder.

    Texts beside images come before other text files."""
    from aocr.data.formats import FORMATS, format_of

    if os.path.exists(os.path.join(folder, "xl", "workbook.xml")):
        raise AnnotationError(source.path, None, "is an Excel workbook. Save its table as CSV (UTF-8).")
    found: list[tuple[Format, Source]] = []
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(name for name in names if _is_annotations(base, name)):
            inner = Source(os.path.join(base, name), source.options)
            form = next(form for form in (_RECORDS, *FORMATS) if form.matches(inner))
            if form.name or b"\0" not in inner.head:  # not a file of any kind that only plain text would match
                found.append((form, inner))
    pages = [inner for form, inner in found if form is PAGE_XML and is_page(inner)]
    if pages:
        return PAGE_XML, pages
    inside = folder
    while len(names := os.listdir(inside)) == 1 and os.path.isdir(os.path.join(inside, names[0])):
        inside = os.path.join(inside, names[0])
    whole = Source(inside, source.options)
    if has_pairs(whole):
        return format_of(whole), [whole]
    if len(found) > 1:
        first = ", ".join(os.path.relpath(inner.path, folder) for _, inner in found[:4])
        reason = f"has {len(found)} annotation files ({first}). Unpack it, and name those to read."
        raise AnnotationError(source.path, None, reason)
    if found:
        return found[0][0], [found[0][1]]
    return format_of(whole), [whole]


def _read_records(source: Source) -> Iterator[AnnotationLine]:
    """Yield the records of a TFRecord file as lines."""
    from aocr.data.records import read_examples

    for number, example in enumerate(read_examples(source.path), 1):
        yield AnnotationLine(f"record {number}", example.label, number, image=partial(bytes, example.image))


_RECORDS = Format("TFRecords", lambda source: is_head(source.head[:HEAD_BYTES]), _read_records)


def _read_file(folder: _Folder, path: str) -> bytes:
    """Read an image of an archive, whose folder exists as long as something refers to it."""
    return files.read_limited(path, MAX_BYTES)


def _read_missing() -> bytes:
    raise FileNotFoundError(None, "it is not in the archive")


def _inside(line: AnnotationLine, annotations: str, folder: _Folder) -> AnnotationLine:
    """Return a line that reads its image from the unpacked archive, and from nowhere else.

    A path may be relative to the folder of the annotations, or to one above it.
    """
    if line.image:
        return line
    name, region = split_region(line.path.replace("\\", "/"))
    base = os.path.dirname(annotations)
    while base.startswith(folder.name):
        path = os.path.normpath(os.path.join(base, name))
        if path.startswith(folder.name + os.sep) and os.path.isfile(path):
            load = partial(_read_file, folder, path)
            return replace(line, path=os.path.relpath(path, folder.name), image=load, region=line.region or region)
        base = os.path.dirname(base)
    return replace(line, image=_read_missing)


def read(source: Source) -> Iterator[AnnotationLine]:
    """Yield the lines of the annotations in an archive; images are read when they are used.

    Raises:
      AnnotationError: it is damaged, unsafe or too large, or has not one set of labels.
    """
    folder = _folder(source)
    try:
        form, inner = _contents(source, folder.name)
        source.note(f"unpacked; {os.path.relpath(inner[0].path, folder.name)} read as {form.name or 'path label'}")
        lines = ((line, part.path) for part in inner for line in form.read(part))
        for number, (line, annotations) in enumerate(lines, 1):
            yield replace(_inside(line, annotations, folder), lineno=number)
    except (AnnotationError, DatasetError) as error:
        reason = str(error).replace(folder.name + os.sep, "").removeprefix(f"{folder.name}: ")
        raise AnnotationError(source.path, None, reason) from None


ARCHIVE = Format("zip or tar", _is_archive, read)
