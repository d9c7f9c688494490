"""Datasets of other programs: what most lines share is the format's, the rest is the label's to the byte."""

import csv
import io
import json
import logging
import os
import random
import sys
import unicodedata
from types import SimpleNamespace

import pytest
from conftest import assert_clean_failure, run_aocr
from PIL import Image

from aocr.cli.options import name_pattern
from aocr.cli.predict import _path
from aocr.config import OWN_IMAGES, WHOLE_NAME, SourceOptions
from aocr.data.annotations import parse_annotations
from aocr.data.builder import EMPTY, MISSING, NO_LABEL, NOT_UTF8, BuildOptions, build_records
from aocr.data.datasets import open_dataset
from aocr.data.formats import Source, format_of
from aocr.data.formats.folders import pair_texts, read_filenames
from aocr.data.records import read_examples
from aocr.errors import AnnotationError, AocrError, CharsetError
from aocr.training.request import TrainRequest

WORDS = ["Tel", "Lindsey nuns", "01234", "a,b", 'say "hi"', "Wiener"]
ROWS = [(f"img/{i}.jpg", word) for i, word in enumerate(WORDS)]


@pytest.fixture(autouse=True)
def messages(caplog):
    caplog.set_level(logging.INFO, "aocr")
    return caplog


def table(rows, **dialect) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **dialect).writerows(rows)
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    """Read a text or bytes as a file: (path, label) of each line, with the error in place of a missing label."""

    def call(text, **options):
        path = tmp_path / "a.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        source = Source(str(path), SourceOptions(**options))
        lines = format_of(source).read(source)
        assert list(lines) == list(lines)  # it can be read twice
        return [(line.path, line.label if line.label is not None else line.unusable or line.not_utf8) for line in lines]

    return call


HEADED = [("filename", "words"), *ROWS]
REGION = [("image_path", "plate_text", "plate_region"), *((*row, "Argentina") for row in ROWS)]
CASES = {
    "EasyOCR": table(HEADED),
    "EasyOCR, texts as they are": "".join(f"{path},{word}\n" for path, word in HEADED),
    "fast-plate-ocr": table(REGION),
    "German Excel": table(HEADED, delimiter=";"),
    "Excel, Unicode text": table(ROWS, delimiter="\t").encode("utf-16"),
    "UTF-16 without BOM": table(ROWS).encode("utf-16-be"),
    "pandas, everything quoted": table(HEADED, delimiter="\t", quoting=csv.QUOTE_ALL),
    "quoted, without header": table(ROWS, delimiter="\t", quoting=csv.QUOTE_ALL),
    "ICDAR": "".join(f'{path}, "{word}"\n' for path, word in ROWS),
    "quotes around each label": "".join(f'{path} "{word}"\n' for path, word in ROWS),
    "Excel, text with tabs": table(HEADED, delimiter="\t"),
    "a third column": table(REGION, delimiter="\t"),
    "a space at every end": "".join(f"{path}\t{word} \n" for path, word in ROWS),
    "a space at every start": "".join(f"{path}\t {word}\n" for path, word in ROWS),
    "text first": table([(word, path) for path, word in ROWS]),
    "Excel's separator": "sep=;\r\n" + table(HEADED, delimiter=";"),
    "unknown names": table([("bild", "wort"), *ROWS], delimiter=";"),
    "an index first": table([("", "file", "text"), *((str(i), *row) for i, row in enumerate(ROWS))]),
    "bars, not quoted": "".join(f"{path}|{word}\n" for path, word in ROWS),
    "a header of spaces": table([(" Image ", " Text "), *ROWS]),
}


@pytest.mark.parametrize("name", CASES)
def test_files_of_other_programs(read, name, messages):
    assert read(CASES[name]) == ROWS
    assert messages.text.count("a.txt: ") >= 1  # it says how the file was read


PLAIN = {
    "spaces": "".join(f"{path} {word}\n" for path, word in ROWS),
    "tabs": "".join(f"{path}\t{word}\n" for path, word in ROWS),
    "quotes in a few labels": "".join(f"i/{i}.png {'A' if i % 4 else chr(34) + 'A' + chr(34)}\n" for i in range(20)),
    "quotes in a few labels after a TAB": 'a.png\t"A"\nb.png\tB\nc.png\tsay ""\nd.png\t"\ne.png\t"E""\n',
    "commas": "a,b.png A,B\nc.png ,\nd.png D,d\ne.png 1,2,3\n",
    "semicolons": "a.png A;B\nb.png ;\nc.png c.png;x\n",
    "a few spaces and tabs": "a.png\t A \nb.png\tB\nc.png\tC\tD\nd.png D  d \n",
    "no endings": "0001 A\n0002 B, C\n0003 D\n",
    "no endings, TAB": "0001\tA\n0002\tB, C\n0003\tD;\n",
    "first without ending, TAB": "0001\tA\n0002.png\tB\n0003.png\tC\n",
    "one line": 'a.png\t"A" \n',
    "not UTF-8": b"a.png \xff\xfe\nb.png B\nc.png caf\xe9\nd.png \xc3\xa9\n",
    "no labels": "a.png\nb.png\n",
    "line ends": "a.png A\rb.png\u2028 B\x0b\r\n\nc.png C\x85d\n",
}


@pytest.mark.parametrize("name", PLAIN)
def test_lines_of_path_and_label_are_read_to_the_byte(tmp_path, name):
    text = PLAIN[name]
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "a.txt").write_bytes(data)
    source = Source(str(tmp_path / "a.txt"))
    assert list(format_of(source).read(source)) == list(parse_annotations(data, "a.txt"))


def test_plain_reads_every_file_to_the_byte(read):
    for name, text in CASES.items():
        if isinstance(text, str):
            expected = [(line.path, line.label) for line in parse_annotations(text.encode(), name)]
            got = read(text, columns="plain")
            assert [row for row, (_, label) in zip(got, expected, strict=True) if label is not None] == [
                row for row in expected if row[1] is not None
            ]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_csv_writes_is_read_back(read, delimiter, quoting, header):
    for seed in range(12):
        rng = random.Random(seed)
        breaks = "" if delimiter == "\t" and not header else "\n"
        tails = ["".join(rng.choices(f"xyz0 ,;|\t\"'{breaks}", k=rng.randint(0, 8))) for _ in range(30)]
        texts = ["".join(rng.choices("abcdefgé12", k=2)) + tail for tail in tails]
        rows = [(f"i m/{i},{seed}.png", text + "." if text[-1].isspace() else text) for i, text in enumerate(texts)]
        text = table([("path", "text")] * header + rows, delimiter=delimiter, quoting=quoting)
        assert read(text) == rows, seed


def test_columns_that_the_user_names(read, messages):
    rows = [(*row, "Argentina") for row in ROWS]
    for delimiter in ",\t":
        with pytest.raises(AnnotationError, match=r"3 columns \('img/0.jpg', 'Tel', 'Argentina'\).*--columns 1,N"):
            read(table(rows, delimiter=delimiter))
        assert read(table(rows, delimiter=delimiter), columns="1,2") == ROWS
        assert read(table([("a", "b", "c"), *rows], delimiter=delimiter), columns="A,b") == ROWS
        assert read(table([("a", "b", "c"), *rows], delimiter=delimiter), columns="1,2") == ROWS
    with pytest.raises(AnnotationError, match="--columns image,NAME"):
        read(table([("image", "label", "text"), *rows]))
    with pytest.raises(AnnotationError, match=r"no column 'x'.*'filename', 'words'"):
        read(CASES["EasyOCR"], columns="filename,x")
    for columns in ("1", "1,1", "a,b,c"):
        with pytest.raises(AnnotationError, match="PATH,TEXT"):
            read(CASES["EasyOCR"], columns=columns)
    with pytest.raises(AnnotationError, match="no columns"):
        read(PLAIN["spaces"], columns="2,1")
    quoted = 'a.png "A"\nb.png B\nc.png C\n'
    assert read(quoted)[0] == ("a.png", '"A"') and "1 of 3 labels are in quotes, which are kept" in messages.text
    assert read(quoted, columns="1,2")[0] == ("a.png", "A")
    tabs = "".join(
        f"{path}\t{word}\tx\n" * (i != 2) + f"{path}\t{word}\n" * (i == 2) for i, (path, word) in enumerate(ROWS)
    )
    with pytest.raises(AnnotationError, match="TAB in most texts"):
        read(tabs)


def test_lists_of_paddleocr(read):
    assert read('["a.png", "b.png"]\tA\nc.png\t"C"\n["d.png"\tD\n') == [
        ("a.png", "A"), ("b.png", "A"), ("c.png", '"C"'), ('["d.png"', "D"),
    ]  # fmt: skip


def test_a_text_of_several_cells_is_said(read, messages):
    read("file;text\na.png;A\nb.png;B\n")
    assert "text in column 'text' (else" in messages.text
    read("file;text\na.png;A\nb.png;B;b\n")
    assert "'text' and all that follows" in messages.text


def test_quotes_that_csv_leaves(read):
    rows = [("a.png", '"A"'), ("b.png", "B"), ("c.png", "C, c")]
    assert read(table(rows)) == read(table(rows), columns="1,2") == rows


def test_rows_of_other_lengths(read):
    text = table([("file", "text"), ("a.png", 'A "1"'), ("b.png", "B", "b"), ("c.png",), ("d.png", "D")])
    assert read(text) == [
        ("a.png", 'A "1"'),
        ("b.png", "has 3 columns in place of 2. Put quotes around a text with commas."),
        ("c.png", ""),
        ("d.png", "D"),
    ]


def test_what_most_labels_share_is_said(read, messages):
    for line, words in (
        ("{i}.png text{i},", "6 of 6 labels end with ,."),
        ("{i}.png {{text{i}}}", "6 of 6 labels begin with {."),
        ("{i}.png {i}.png", "names of images"),
        ("./3/{i}_Lube_4548{i}.jpg 4548{i}", "number at the end"),
    ):
        read("".join(line.format(i=i) + "\n" for i in range(6)))
        warnings = [record.getMessage() for record in messages.records if record.levelname == "WARNING"]
        assert any(words in warning for warning in warnings), line
        messages.clear()
    with pytest.raises(AnnotationError, match="has boxes in place of labels"):
        read("a.jpg 1,2,3,4,0 5,6,7,8,1\nb.jpg 1,2,3,4,0\nc.jpg 9,9,9,9,1\n")


def test_boxes_of_yolo_are_not_texts(build, read, tmp_path):
    with pytest.raises(AnnotationError, match=r"YOLO boxes, not texts\."):
        read("".join(f"{i}.jpg 0 0.5 0.5 0.8 0.{i}\n" for i in range(1, 5)))
    assert read("a.png 0 1 0 1 0\nb.png 3 0.5\n")[0] == ("a.png", "0 1 0 1 0")
    for i in range(4):
        picture(tmp_path / f"y/{i}.jpg", i)
        (tmp_path / f"y/{i}.txt").write_text("0 0.5 0.5 0.8 0.8\n" * i)  # none, one, two and three boxes
    for source in ("y", "y/?.txt"):
        with pytest.raises(AnnotationError, match="YOLO boxes, not texts, beside its images"):
            build(source)


def test_keys_of_json_that_the_user_names(read):
    text = json.dumps([{"image": f"{i}.png", "nummer": f"N{i}", "id": i} for i in range(3)])
    with pytest.raises(AnnotationError, match=r"'image', 'nummer', 'id'\. Say which: --columns image,KEY"):
        read(text)
    assert [label for _, label in read(text, columns="image,nummer")] == ["N0", "N1", "N2"]
    with pytest.raises(AnnotationError, match=r"no key 'x' \(--columns\)"):
        read(text, columns="image,x")
    with pytest.raises(AnnotationError, match="the texts are numbers"):
        read(json.dumps([{"image": "a.png", "text": 12}, {"image": "b.png", "text": 7.5}]))
    with pytest.raises(AnnotationError, match=r"without images.*--columns IMAGE,TEXT"):
        read(text.replace("image", "bild"))
    assert read(text.replace("image", "bild"), columns="bild,nummer")[0][1] == "N0"


def test_json_is_not_a_text(read):
    for sequence, parse in (("text_sequence", json.dumps), ("text_sequence", dict), ("menu", json.dumps)):
        records = [{"image": f"{i}.png", "ground_truth": parse({"gt_parse": {sequence: f"T{i}"}})} for i in range(3)]
        text = "".join(json.dumps(record) + "\n" for record in records)
        if sequence == "text_sequence":
            assert [label for _, label in read(text)] == ["T0", "T1", "T2"]
            continue
        for other in (text, table((record.values()) for record in records)):
            with pytest.raises(AnnotationError, match="has JSON in place of texts"):
                read(other)


def test_tables_with_boxes(tmp_path, read, messages):
    for header, numbers in (("xmin,ymin,xmax,ymax", "1,2,5,9"), ("x1,y1,x2,y2", "1,2,5,9"), ("x,y,w,h", "1,2,4,7"),
                            ("Left,Top,Right,Bottom", "1,2,5,9"), ("x,y,width,height", "1,2,4,7")):  # fmt: skip
        assert read(f"image,{header},text\na.png,{numbers},A\nb.png,1,2,x,4,B\n") == [
            ("a.png", "A"), ("b.png", f"has no numbers in the columns {header.lower().replace(',', ', ')}."),
        ]  # fmt: skip
        assert f"by the columns {header.lower().replace(',', ', ')}" in messages.text
        source = Source(str(tmp_path / "a.txt"))
        assert next(iter(format_of(source).read(source))).region == ((1, 2), (5, 2), (5, 9), (1, 9))


def test_regions_of_ppocrlabel(tmp_path, read):
    box = [[1, 2], [90, 2], [90, 40], [1, 40]]
    regions = [{"transcription": "one", "points": box}, {"transcription": "###", "points": box},
               {"transcription": "cafe\u0301", "points": box[1:] + box[:1], "difficult": False},
               {"transcription": "hard", "points": box, "difficult": True}]  # fmt: skip
    text = "".join(f"i/{i}.png\t{json.dumps(regions)}\n" for i in range(3))
    assert read(text) == [(f"i/{i}.png", word) for i in range(3) for word in ("one", "caf\u00e9")]
    source = Source(str(tmp_path / "a.txt"))
    first, second, *_ = format_of(source).read(source)
    assert first.region == ((1, 2), (90, 2), (90, 40), (1, 40)) and second.region[0] == (90, 2)
    for damaged in ('[{"transcription": "a", "points": [[1, 2]]}]', '[{"transcription": "a"}]', '[{"transcription"',
                    '[{"transcription": "a", "points": [[1, 1e999], [1, 2], [2, 2], [3, 3]]}]'):  # fmt: skip
        assert "is not a list of regions" in read(text + f"d.png\t{damaged}\n")[-1][1]


def test_code_pages(read, messages):
    text = table([("bild", "wort"), ("a.png", "Königsberg"), ("b.png", "Straße"), ("c.png", "„é“")], delimiter=";")
    rows = [("a.png", "Königsberg"), ("b.png", "Straße"), ("c.png", "„é“")]
    assert read(text.encode("cp1252")) == rows and "code page 1252" in messages.text
    assert read(text.replace("Königsberg", "K").replace("Straße", "S").encode("cp1252"))[2] == rows[2]
    assert read("".join(f"{path} {word}\n" for path, word in rows).encode("cp1252")) == rows
    messages.clear()
    for encoding, words in (
        ("cp1251", "Привет мир друзья"),
        ("shift-jis", "ソフト 日本 ひらがな"),
        ("gbk", "你好 再见 日本语"),
    ):
        text = "".join(f"{i}.png {word}\n" for i, word in enumerate(words.split()))
        assert all("Save the file as UTF-8" in label for _, label in read(text.encode(encoding)))
        assert "1252" not in messages.text
    with pytest.raises(AnnotationError, match="cut UTF-16"):
        read(table(ROWS).encode("utf-16")[:-1])


def picture(path, seed=0, width=40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (width, 20), 200)
    image.putpixel((seed % width, seed // width), 0)
    image.save(path)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build a source in `tmp_path`: labels by path, and the report."""
    monkeypatch.chdir(tmp_path)

    def call(source, **options):
        report = build_records(source, "o", BuildOptions(save_filename=True, **options))
        return {example.comment: example.label for example in read_examples("o")}, report

    return call


LINES = ["The first line", "a second one", "Königsberg"]


@pytest.fixture
def pairs(tmp_path):
    for i, line in enumerate(LINES):
        for kind in ("bin", "nrm"):
            picture(tmp_path / f"gt/sub/{i:04d}.{kind}.png", i)
        (tmp_path / f"gt/sub/{i:04d}.gt.txt").write_text(f"{line}\n", "utf-8-sig" if i else "utf-8")


def test_a_text_file_beside_each_image(build, pairs, messages):
    expected = {f"gt/sub/{i:04d}.nrm.png": line for i, line in enumerate(LINES)}
    for source in ("gt", "gt/sub", "gt/sub/*.gt.txt"):
        assert build(source)[0] == expected
    assert "gt: read as a text file beside each image" in messages.text
    assert set(build("gt", label_from_filename=WHOLE_NAME)[0].values()) > {"0001.bin"}
    assert "has text files (.gt.txt, .txt) beside its images" in messages.text
    assert build("gt/sub/0001.gt.txt")[0] == {"gt/sub/0001.nrm.png": LINES[1]}
    for patterns in (["gt"], ["gt/sub/*.gt.txt"], [f"gt/sub/{i:04d}.gt.txt" for i in range(3)]):
        with open_dataset(patterns) as dataset:
            assert sorted(dataset.summary.labels) == sorted(LINES) and len(dataset.paths) == 1


def test_faults_of_text_files_beside_images(build, tmp_path):
    for i in range(7):
        picture(tmp_path / f"gt/{i}.png", i)
    texts = {0: b"zero", 1: b"two\nlines\n", 2: b"caf\xe9", 3: b"\n", 5: b"five", 6: b"six", 8: b"eight"}
    for i, text in texts.items():
        (tmp_path / f"gt/{i}.gt.txt").write_bytes(text)
    (tmp_path / "gt/README.txt").write_text("no label")
    labels, report = build("gt")
    assert labels == {"gt/0.png": "zero", "gt/5.png": "five", "gt/6.png": "six"}
    assert report.num_dropped == {NO_LABEL: 2, NOT_UTF8: 1, EMPTY: 1, MISSING: 1}
    for i in (*texts, 4):
        (tmp_path / f"gt/{i}.gt.txt").unlink(missing_ok=True)
    for i in range(4):
        (tmp_path / f"gt/{i}.txt").write_text(str(i))
    assert build("gt")[0] == build("gt/?.txt")[0] == {f"gt/{i}.png": str(i) for i in range(4)}
    assert pair_texts(["gt/1.txt"]) == [] and pair_texts(["gt/1.txt", "gt/README.txt", "gt/2.txt"])


def test_names_are_labels_only_by_the_flag(build, tmp_path, messages):
    for i in range(4):
        picture(tmp_path / f"in/x/CODE{i}_170000000{i}.png", i)
    for advice in (r"--label-from-filename", r"X\.gt\.txt", r"'\(\[\^/\]\+\)/"):
        with pytest.raises(AnnotationError, match=advice):
            build("in")
    with pytest.raises(AnnotationError, match="--label-from-filename"), open_dataset(["in"]):
        pass
    labels, _ = build("in", label_from_filename=WHOLE_NAME)
    assert list(labels.values())[1] == "CODE1_1700000001"
    assert messages.text.count("end like") == 1
    assert "4 of 4 names end like 'CODE0_1700000000'" in messages.text
    assert "--label-from-filename '(.+)_[0-9]+'" in messages.text
    for pattern in ("(.+)_[0-9]+", r"^([^_]+)", r"(.+)_\d+\.png"):
        assert list(build("in", label_from_filename=pattern)[0].values()) == [f"CODE{i}" for i in range(4)]
    assert set(build("in", label_from_filename="([^/]+)/[^/]+$")[0].values()) == {"x"}
    _, report = build("in", label_from_filename="([A-Z]+0)_")
    assert report.num_dropped == {NO_LABEL: 3} and "does not match '([A-Z]+0)_'" in report.drops[0].detail
    (tmp_path / "in/labels.csv").touch()
    with pytest.raises(AnnotationError, match=r"is a folder.*in/labels\.csv"):
        build("in")


def test_the_flags_of_a_source_reach_train_and_test(tmp_path, monkeypatch):
    picture(tmp_path / "in/AB_1.png")
    for i in range(3):
        picture(tmp_path / f"in/C{i}_1.png", i + 1)
    done = run_aocr("train", tmp_path / "in", "--model-dir", tmp_path / "m")
    assert_clean_failure(done, "without labels", "--label-from-filename")
    request = TrainRequest([str(tmp_path / "in")], label_from_filename="(.+)_")
    with open_dataset(request.datasets, request) as dataset:
        assert dataset.summary.labels == ["AB", "C0", "C1", "C2"]
    done = run_aocr("dataset", "--label-from-filename", tmp_path / "in", tmp_path / "o")
    assert done.returncode == 2 and "has no label in parentheses" in done.stderr
    assert name_pattern("(a)(b)") == "(a)(b)"
    calls = []

    def record(*args):
        calls.append(args)
        raise AocrError("Done.")

    monkeypatch.setattr("aocr.reading.command.load_network", lambda *args, **kwargs: SimpleNamespace(source=""))
    monkeypatch.setattr("aocr.data.datasets.open_dataset", record)
    flags = ("--label-from-filename", "(.+)_", "--columns", "1,2", "--empty-labels", "--model-dir", "words")
    run_aocr("test", tmp_path / "in", *flags)
    options = SourceOptions(label_from_filename="(.+)_", columns="1,2", empty_labels=True)
    assert calls == [([str(tmp_path / "in")], options)]


def test_folders_by_class(build, tmp_path, messages):
    for name in ("A", "A\u0308", "7"):
        for i in range(2):
            picture(tmp_path / f"c/{name}/{i}.png", i)
    assert sorted(build("c")[0].values()) == ["7", "7", "A", "A", "\u00c4", "\u00c4"]
    assert "c: read as one folder for each text" in messages.text
    picture(tmp_path / "c/page12/0.png")
    with pytest.raises(AnnotationError, match="without labels"):
        build("c")


def test_a_half_labelled_sheet(build, tmp_path, messages):
    for i in range(40):
        picture(tmp_path / f"img/{i}.png", i)
    sheet = tmp_path / "sheet.tsv"
    sheet.write_text("".join(f"img/{i}.png\t{f'A{i}' if i < 20 else ''}\n" for i in range(40)))
    labels, report = build("sheet.tsv")
    assert "50% of the labels are empty" in messages.text
    assert len(labels) == 20 and report.num_dropped == {EMPTY: 20} and "--empty-labels" in report.drops[0].detail
    labels, report = build("sheet.tsv", empty_labels=True)
    assert len(labels) == 40 and "Empty labels: 20 of 40 images (50 %)" in report.summary()
    with pytest.raises(AnnotationError, match="empty label"):
        build("sheet.tsv", strict=True)
    sheet.write_text("".join(f"img/{i}.png\t{f'A{i}' if i < 37 else ''}\n" for i in range(40)))
    labels, report = build("sheet.tsv")
    assert len(labels) == 40 and "Empty labels: 3 of 40 images (8 %)" in report.summary()


def test_paths_as_other_programs_write_them(build, tmp_path):
    for name in ("i/a.png", "i/cafe\u0301.png", "i/my image 1.png", "quoted.png"):
        picture(tmp_path / name)
    (tmp_path / "list.txt").write_text('i\\a.png A\ni/caf\u00e9.png B\ni/my image 1.png C c\n"quoted.png" D\n', "utf-8")
    labels, report = build("list.txt")
    assert list(labels.values()) == ["A", "B", "C c", "D"] and not report.drops
    (tmp_path / "list.txt").write_text("i/a.png A\nC:\\x\\a.png A\nno file.png B\nno.png C\n")
    assert [drop.detail.partition("'. ")[2] for drop in build("list.txt")[1].drops] == [
        "Is it a path of Windows on another machine? Write paths relative to the annotation file.",
        "If the path contains spaces, separate it from the label with a TAB.",
        "Check the path, or give --data-base-dir.",
    ]


def test_paths_from_standard_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("i/a.png", "i/cafe\u0301.png"):
        picture(tmp_path / name)
    for line in ("\ufeffi/a.png\r", '"i/a.png"', "i\\a.png", "'i\\a.png'"):
        assert _path(line.encode()) == "i/a.png"
    assert unicodedata.normalize("NFC", _path("i/caf\u00e9.png".encode())) == "i/caf\u00e9.png"
    assert os.path.exists(_path("i/caf\u00e9.png".encode()))
    assert _path(b"no\\ne.png") == "no\\ne.png"


def test_warnings_of_the_report(build, tmp_path):
    for i in range(3):
        picture(tmp_path / f"{i}.png", i, 32)
    symbols = "".join(map(chr, range(0x4E00, 0x4E00 + 130)))
    (tmp_path / "l.txt").write_text(f"0.png {symbols[:60]}\n1.png {symbols[60:]}\n2.png {symbols[0]}\n", "utf-8")
    _, report = build("l.txt")
    narrow, rare = report.warnings()
    assert "2 images with fewer than 2 pixels of width a character" in narrow and "(line 1, 2)" in narrow
    assert "130 of 130 symbols occur fewer than 10 times" in rare
    assert max(map(len, report.summary())) < 200
    assert len(str(CharsetError(symbols, "a"))) < 300 and "and 110 more" in str(CharsetError(symbols, "a"))


def test_doubtful_labels_are_reported(build, tmp_path, messages):
    for i in range(5):
        picture(tmp_path / f"{i}.png", i)
    for labels, words in (
        (["“One”", "„Two“", "«Three»", "Four", "‘Five’"], "4 of 5 labels are in curly quotes"),
        (["One", "nan", "NaN", "#N/A", "Nan"], "3 of 5 labels are '#N/A', 'NaN', 'nan': missing values of a table?"),
        (["MÃ¼ller", "StraÃŸe", "é", "x", "y"], "1252, for example 'MÃ¼ller' for 'Müller'"),
    ):
        (tmp_path / "l.txt").write_text("".join(f"{i}.png {label}\n" for i, label in enumerate(labels)), "utf-8")
        (warning,) = build("l.txt")[1].warnings()
        assert words in warning
        with open_dataset(["l.txt"]):
            assert words in messages.text
    (tmp_path / "l.txt").write_text("0.png “One”\n1.png “Two”\n2.png Ã¼\n3.png it’s\n", "utf-8")
    assert build("l.txt")[1].warnings() == []


def test_anything_gives_lines_or_one_error(tmp_path):
    path, rng = tmp_path / "a.txt", random.Random(0)
    good = [text if isinstance(text, bytes) else text.encode() for text in (*CASES.values(), *PLAIN.values())]
    box = [{"transcription": "a", "points": [[1, 2], [3, 2], [3, 4], [1, 4]]}]
    good.append(b"".join(f"{i}.png\t{json.dumps(box)}\n".encode() for i in range(4)))
    for trial in range(250):
        data = rng.randbytes(rng.randint(0, 300)) if trial % 6 == 0 else bytearray(rng.choice(good))
        if trial % 6:
            for _ in range(rng.randint(0, 4)):
                at = rng.randrange(len(data))
                data[at : at + rng.randint(0, 3)] = rng.choice([b'"', b"\n", b"\0", b",", b"\t", b"\xff", b"[{", b'""'])
            del data[rng.randint(1, len(data)) if trial % 2 else len(data) :]
        path.write_bytes(data)
        columns = rng.choice([None, None, "1,2", "plain", "filename,words"])
        try:
            source = Source(str(path), SourceOptions(columns=columns))
            lines = list(format_of(source).read(source))
        except AnnotationError as error:
            assert "\n" not in str(error)
        else:
            assert all(isinstance(line.path, str) and line.lineno > 0 for line in lines)


def by_names(folder, pattern=WHOLE_NAME):
    return list(read_filenames(Source(str(folder), SourceOptions(label_from_filename=pattern))))


def test_labels_from_file_names(tmp_path):
    for name in ("b.JPG", "a b.png", "deep/cafe\u0301.png", "deep/1_2.tiff", "notes.txt", "png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    lines = list(by_names(tmp_path))
    assert [line.label for line in lines] == ["a b", "b", "1_2", "caf\u00e9"]
    assert [line.lineno for line in lines] == [1, 2, 3, 4]
    assert all(os.path.isfile(line.path) for line in lines)


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are Unicode here")
def test_a_file_name_that_is_not_utf_8(tmp_path):
    for name in (b"a.png", b"caf\xe9.png"):
        (tmp_path / os.fsdecode(name)).touch()
    assert [line.label for line in by_names(tmp_path)] == ["a", None]


def test_images_that_aocr_writes_are_ignored(tmp_path):
    (picture, beside), *_ = OWN_IMAGES.items()
    for name in ("a.png", f"checkpoints/{picture}", f"checkpoints/{beside}", f"real/{picture}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    labels = [line.label for line in by_names(tmp_path)]
    assert labels == ["a", os.path.splitext(picture)[0]]


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AnnotationError, match="no images"):
        list(by_names(tmp_path))
