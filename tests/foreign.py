"""Small data sets as other programs have them, drawn from the toy words: what docs/coming-from.md speaks of."""

import csv
import json
from pathlib import Path

from conftest import ROOT
from PIL import Image


def toy_words(count: int) -> list[tuple[Path, str]]:
    lines = (ROOT / "datasets/annotations-training.txt").read_text("utf-8").splitlines()[:count]
    return [(ROOT / "datasets" / path, text) for path, text in map(str.split, lines)]


def write_lmdb(folder: Path, words) -> None:
    """As create_lmdb_dataset.py of deep-text-recognition-benchmark."""
    import lmdb

    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for number, (path, text) in enumerate(words, 1):
            transaction.put(b"image-%09d" % number, path.read_bytes())
            transaction.put(b"label-%09d" % number, text.encode())
        transaction.put(b"num-samples", b"%d" % len(words))


def copy_images(folder: Path, words, stem: str = "") -> list[tuple[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    for path, _ in words:
        (folder / f"{stem}{path.name}").write_bytes(path.read_bytes())
    return [(f"{stem}{path.name}", text) for path, text in words]


def write_kraken(folder: Path, words) -> None:
    """A page of lines with their text in PAGE XML, beside its image."""
    folder.mkdir(parents=True)
    sheet, lines = Image.new("L", (400, 30 + 90 * len(words)), 255), ""
    for number, (path, text) in enumerate(words):
        with Image.open(path) as image:
            x, y, (w, h) = 20, 20 + 90 * number, image.size
            sheet.paste(image, (x, y))
        points = f"{x},{y} {x + w},{y} {x + w},{y + h} {x},{y + h}"
        text = f"<TextEquiv><Unicode>{text}</Unicode></TextEquiv>"
        lines += f'<TextLine id="l{number}"><Coords points="{points}"/>{text}</TextLine>'
    sheet.save(folder / "page.png")
    page = f'<Page imageFilename="page.png" imageWidth="{sheet.width}" imageHeight="{sheet.height}">'
    space = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
    xml = f'<PcGts xmlns="{space}">{page}<TextRegion id="r">{lines}</TextRegion></Page></PcGts>'
    (folder / "page.xml").write_text(xml, "utf-8")


def write_all(folder: Path) -> None:
    """Write a training and a validation set of each program to subfolders."""
    words = toy_words(16)
    for name, part in (("training", words[:12]), ("validation", words[12:])):
        write_lmdb(folder / "lmdb" / name, part)
    for name, part in (("train", words[:12]), ("val", words[12:])):
        pairs = copy_images(folder / "paddle" / name, part)
        lines = (f"{name}/{image}\t{text}\n" for image, text in pairs)
        (folder / f"paddle/rec_gt_{name}.txt").write_text("".join(lines), "utf-8")
        pairs = copy_images(folder / "plates" / name, part)
        with open(folder / f"plates/{name}.csv", "w", encoding="utf-8", newline="") as file:
            rows = ((f"{name}/{image}", text, "Argentina") for image, text in pairs)
            csv.writer(file).writerows([("image_path", "plate_text", "plate_region"), *rows])
        pairs = copy_images(folder / "doctr" / name / "images", part)
        (folder / f"doctr/{name}/labels.json").write_text(json.dumps(dict(pairs)), "utf-8")
    for image, text in copy_images(folder / "ground-truth", words):
        (folder / "ground-truth" / image).with_suffix(".gt.txt").write_text(f"{text}\n", "utf-8")
    write_kraken(folder / "kraken", words[:6])
