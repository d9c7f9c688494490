"""`aocr synth`: the whole command, in process."""

import errno
import io
import json
import os
import struct
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from PIL import Image, features
from synth_fonts import ASCII, write_font

from aocr.checksum import is_head
from aocr.cli.main import main
from aocr.data.records import read_examples
from aocr.errors import DatasetError
from aocr.synth import pipeline
from aocr.synth.drawing import Painter
from aocr.synth.looks.camera import contrast
from aocr.synth.pipeline import SynthOptions, make_job
from aocr.synth.styles import STYLES
from aocr.synth.writer import open_writer
from aocr.text.charset import NAMES


@pytest.fixture(scope="module")
def fonts(tmp_path_factory):
    return write_font(tmp_path_factory.mktemp("fonts"))


@pytest.fixture
def synth(fonts, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*args, code=0, workers=1):
        given = [] if "--fonts" in args else ["--fonts", fonts]
        found = main(["synth", *map(str, args), *map(str, given), "--workers", str(workers)])
        captured = capsys.readouterr()
        assert found == code, captured.err
        if code:
            (line,) = [line for line in captured.err.splitlines() if line.startswith("aocr: ")]
            assert "Traceback" not in captured.err
            return line
        assert "Going on" not in captured.err or "Going on after 16" in captured.err
        return captured.out

    return call


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pipeline, "BLOCK", 8)


def opened(path):
    with Image.open(path) as image:
        image.load()
        return image


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


# What is written


def test_a_folder_with_annotations(synth):
    out = synth("words", "--count", 30)
    assert "30 images drawn in words" in out
    lines = Path("words/annotations.txt").read_text("utf-8").splitlines()
    assert len(lines) == 30
    for line in lines:
        path, label = line.split(" ", 1)
        image = opened(Path("words", path))
        assert image.format == "JPEG" and image.mode == "RGB" and 32 <= image.height <= 64
        assert set(label) <= set(ASCII)
    assert sorted(os.listdir("words")) == ["annotations.txt", "images"]


def test_records_are_those_that_aocr_reads(synth):
    synth("words.tfrecords", "--count", 25)
    synth("shards.tfrecords", "--count", 25, "--shards", 3)
    synth("words", "--count", 25)
    examples = list(read_examples("words.tfrecords"))
    shards = [list(read_examples(f"shards.tfrecords-0000{i}-of-00003")) for i in range(3)]
    assert [shards[i % 3][i // 3] for i in range(25)] == examples
    lines = Path("words/annotations.txt").read_text("utf-8").splitlines()
    assert [example.label for example in examples] == [line.split(" ", 1)[1] for line in lines]
    for example, line in zip(examples, lines, strict=True):
        assert example.image == Path("words", line.split(" ")[0]).read_bytes()
        assert (example.width, example.height) == opened(io.BytesIO(example.image)).size


@pytest.mark.parametrize("length", [0, 9, 2**40])
def test_what_a_record_does_not_begin_with(length):
    assert not is_head(struct.pack("<QI", length, 0)) and not is_head(b"")


def test_the_same_for_any_number_of_workers(synth, small_blocks):
    synth("one", "--count", 20, "--seed", 3)
    synth("two", "--count", 20, "--seed", 3, workers=2)
    synth("other", "--count", 20, "--seed", 4)
    assert files_below("one") == files_below("two")
    assert files_below("one") != files_below("other")


def test_more_images_begin_with_the_same(synth):
    synth("few", "--count", 5)
    synth("many", "--count", 12)
    few, many = files_below("few"), files_below("many")
    assert all(many[name] == data for name, data in few.items() if name.endswith("jpg"))


@pytest.mark.parametrize("output", ["words", "words.tfrecords"])
def test_a_stopped_run_goes_on_to_the_same_bytes(synth, small_blocks, monkeypatch, output):
    options = ["--count", 40, *(["--shards", 2] if output.endswith("s.tfrecords") else [])]
    Path("whole").mkdir()
    synth(f"whole/{output}", *options)
    draw, drawn = Painter.draw, []

    def stop_at_20(painter, number):
        if number == 20:
            raise KeyboardInterrupt
        drawn.append(number)
        return draw(painter, number)

    Path("stopped").mkdir()
    monkeypatch.setattr(Painter, "draw", stop_at_20)
    assert "interrupted" in synth(f"stopped/{output}", *options, code=130)
    left = files_below("stopped")
    assert any(name.endswith(".tmp") for name in left)
    for name in left:  # a kill leaves part of a block behind
        if name.endswith(".0.tmp"):
            with open(Path("stopped", name), "ab") as file:
                file.write(b"torn")
    line = synth(f"stopped/{output}", *options, "--seed", 1, code=1)
    assert "16 images of a stopped run with other settings" in line
    drawn.clear()
    monkeypatch.setattr(Painter, "draw", lambda painter, number: (drawn.append(number), draw(painter, number))[1])
    synth(f"stopped/{output}", *options)
    assert drawn == list(range(16, 40))
    assert files_below("stopped") == files_below("whole")


@pytest.mark.parametrize("output, shards", [("words", 1), ("words.tfrecords", 1), ("words.tfrecords", 3)])
def test_two_runs_do_not_draw_to_one_place(tmp_path, monkeypatch, output, shards):
    monkeypatch.chdir(tmp_path)
    with open_writer(output, shards, "settings") as first:
        names = files_below(".")
        with pytest.raises(DatasetError, match=r"another aocr synth is at work|is not empty"):
            open_writer(output, shards, "settings").__enter__()
        assert files_below(".") == names
        first.write([])
        with pytest.raises(DatasetError, match="another aocr synth is at work"):
            open_writer(output, shards, "settings").__enter__()
        first.finish()


def _link_to_file(folder):
    folder.mkdir()
    for name in ("0000000.jpg", "0000000.png"):
        (folder / name).symlink_to(Path("precious/0000000.jpg").absolute())


def _link_to_folder(folder):
    folder.symlink_to(Path("precious").absolute())


def _pipe(folder):
    os.mkfifo(folder)


@pytest.mark.parametrize("put", [_link_to_file, _link_to_folder, _pipe])
def test_nothing_is_written_through_links_in_a_folder_of_a_stranger(synth, put):
    """A made-up state of a stopped run lets the folder be gone on with; its images led anywhere."""
    for name in ("precious", "words/images"):
        Path(name).mkdir(parents=True)
    Path("precious/0000000.jpg").write_text("x")
    Path("words/annotations.txt.synth.json").write_text("{}")
    put(Path("words/images/0000"))
    assert "neither file nor folder" in synth("words", "--count", 1, code=1)
    assert files_below("precious") == {"0000000.jpg": b"x"}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"num_done": "7", "settings": "", "sizes": [0]}', ""])
def test_a_state_that_is_none_is_begun_anew(synth, text):
    Path("words.tfrecords.0.tmp").touch()
    Path("words.tfrecords.synth.json").write_text(text)
    synth("words.tfrecords", "--count", 2)


def test_a_state_that_is_a_pipe_is_not_waited_for(synth):
    os.mkfifo("words.tfrecords.synth.json")
    synth("words.tfrecords", "--count", 2)


def test_a_temporary_file_that_is_a_link_is_not_written_through(synth, tmp_path):
    Path("precious.txt").write_text("x")
    Path("words.tfrecords.0.tmp").symlink_to("precious.txt")
    assert "cannot be written" in synth("words.tfrecords", "--count", 2, code=1)
    assert Path("precious.txt").read_text() == "x"


def test_older_records_are_replaced_but_nothing_else(synth):
    synth("w.tfrecords", "--count", 5)
    before = Path("w.tfrecords").read_bytes()
    synth("w.tfrecords", "--count", 6)
    assert Path("w.tfrecords").read_bytes().startswith(before)
    Path("letter.tfrecords").write_text("Dear Ann, ...")
    assert "holds no records" in synth("letter.tfrecords", "--count", 5, code=1)
    assert Path("letter.tfrecords").read_text() == "Dear Ann, ..."


# What is drawn


def test_some_images_hold_no_text(fonts):
    job = make_job(SynthOptions(120, empty=0.1), [str(fonts)], 1)
    labels = [job.painter().draw(number).label for number in range(3)]
    painter = job.painter()
    assert labels == [painter.draw(number).label for number in range(3)]
    share = sum(not painter.draw(number).label for number in range(120)) / 120
    assert 0.04 < share < 0.2
    assert SynthOptions(1).empty == 0.01


@pytest.mark.parametrize("style", STYLES)
def test_every_style_draws(synth, style):
    synth("words", "--count", 12, "--style", style, "--preview", "sheet.png")
    labels = [line.split(" ", 1)[1] for line in Path("words/annotations.txt").read_text("utf-8").splitlines()]
    assert len(set(labels)) >= 10
    assert opened("sheet.png").width > 1000


def test_the_command_names_all_styles():
    from aocr.cli.synth import STYLES as named

    assert named == tuple(STYLES)


def test_a_word_that_cannot_be_seen_is_drawn_again(fonts, monkeypatch):
    seen = []

    def noted(picture, mask):
        seen.append(contrast(picture, mask))
        return seen[-1]

    monkeypatch.setattr("aocr.synth.drawing.contrast", noted)
    painter = make_job(SynthOptions(1, empty=0), [str(fonts)], 1).painter()
    kept = []
    for number in range(60):
        painter.draw(number)
        kept.append(seen[-1])
    assert min(kept) >= 13 and len(seen) > 60
    monkeypatch.setattr("aocr.synth.drawing.contrast", lambda picture, mask: 0.0)
    with pytest.raises(Exception, match="cannot be seen"):
        painter.draw(0)


def test_texts_of_a_file(synth):
    Path("names.txt").write_text("Anna\nBert Brecht\nCarla\n", encoding="utf-8")
    synth("words", "--count", 30, "--texts", "names.txt")
    labels = {line.split(" ", 1)[1] for line in Path("words/annotations.txt").read_text("utf-8").splitlines()}
    assert labels - {""} == {"Anna", "Bert Brecht", "Carla"}


def test_texts_of_a_pattern_and_a_charset(synth):
    synth("a.tfrecords", "--count", 20, "--pattern", "[A-Z]{2}[0-9]{3}")
    labels = [example.label for example in read_examples("a.tfrecords")]
    assert all(len(label) == 5 and label[:2].isupper() and label[2:].isdigit() for label in labels if label)
    synth("b.tfrecords", "--count", 20, "--charset", "alphanumeric", "--max-length", 6)
    labels = "".join(example.label for example in read_examples("b.tfrecords"))
    assert set(labels) <= set(NAMES["alphanumeric"])


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow lays out no such scripts")
def test_scripts_that_are_shaped(synth):
    font = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
    if not font.exists():
        pytest.skip("needs DejaVu Sans")
    Path("arabic.txt").write_text("مرحبا\nכתובת\n", encoding="utf-8")
    synth("words", "--count", 12, "--texts", "arabic.txt", "--fonts", font)
    labels = {line.split(" ", 1)[1] for line in Path("words/annotations.txt").read_text("utf-8").splitlines()}
    assert labels - {""} == {"مرحبا", "כתובת"}


def test_fonts_are_listed(synth, fonts):
    out = synth("--list-fonts", "sheet.png")
    assert str(fonts / "plain.ttf") in out and "95" in out and "Fonts: 1; families: 1;" in out
    assert opened("sheet.png").height > 30


def test_a_preview_needs_no_output(synth):
    assert "84 images" in synth("--preview", "sheet.png", "--style", "display")
    assert "first 5 images" in synth("--preview", "sheet.png", "--style", "display", "--count", "5")
    assert os.listdir() == ["sheet.png"]


# Bad input: one line, and nothing half-written


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--fonts", "none"], "no such file or folder"),
        (["--fonts", "empty"], "holds no font"),
        (["--fonts", "text.ttf"], "none of 1 font files draws"),
        (["--charset", "cyrillic.txt"], "has 'Ж'"),
        (["--charset", "nonsense"], "neither a file nor one of"),
        (["--texts", "blank.txt"], "is empty"),
        (["--texts", "none.txt"], "cannot be read"),
        (["--texts", "latin1.txt"], "not UTF-8"),
        (["--texts", "cyrillic.txt"], "has 'Ж'"),
        (["--pattern", "[a-z"], "not a regular expression"),
        (["--pattern", "[a-z]{40}"], "--max-length 40"),
        (["--pattern", "Ж"], "charset"),
        (["--pattern", "a", "--texts", "text.ttf"], "Give one of them"),
        (["--shards", "2"], "a folder has none"),
    ],
)
def test_bad_input(synth, args, words):
    Path("empty").mkdir()
    Path("text.ttf").write_text("no font")
    Path("blank.txt").write_text("\n \n")
    Path("latin1.txt").write_bytes(b"Stra\xdfe\n")
    Path("cyrillic.txt").write_text("abcdefghijklmnopЖ", encoding="utf-8")
    before = sorted(os.listdir())
    line = synth("words", "--count", 5, *args, code=1)
    assert words in line
    assert sorted(os.listdir()) == before


def test_shaping_without_raqm(synth, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    Path("arabic.txt").write_text("مرحبا\n", encoding="utf-8")
    assert "Raqm" in synth("words", "--texts", "arabic.txt", code=1)


def test_bad_outputs(synth):
    Path("file").write_text("mine")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    Path("dir.tfrecords").mkdir()
    assert "is a file" in synth("file", code=1)
    assert "not empty" in synth("full", code=1)
    assert "is a folder" in synth("dir.tfrecords", code=1)
    assert "cannot be written" in synth("file/words", code=1)
    assert "cannot be written" in synth("--preview", "none/sheet.png", code=1)
    assert sorted(os.listdir()) == ["dir.tfrecords", "file", "full"] and os.listdir("full") == ["mine.txt"]


def test_without_an_output(synth, capsys):
    with pytest.raises(SystemExit) as stopped:
        synth()
    assert stopped.value.code == 2 and "OUTPUT is missing" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["words", "words.tfrecords"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk(synth, small_blocks, monkeypatch, output, after):
    write, written = json.dump, []

    def full(*args):
        written.append(args)
        if len(written) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*args)

    monkeypatch.setattr(json, "dump", full)
    line = synth(output, "--count", 40, code=1)
    assert "No space left" in line and "goes on" in line
    if after == 0:
        assert os.listdir() == []
    else:
        monkeypatch.setattr(json, "dump", write)
        assert "40 images" in synth(output, "--count", 40)


def test_a_worker_that_dies(synth, small_blocks, monkeypatch):
    def submit(pool, *args):
        future = Future()
        future.set_exception(BrokenProcessPool())
        return future

    monkeypatch.setattr(pipeline.ProcessPoolExecutor, "submit", submit)
    assert "a worker process was killed" in synth("words", "--count", 40, code=1, workers=2)
    assert os.listdir() == []
