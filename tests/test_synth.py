"""`aocr synth`: the whole command, in process."""

import errno
import io
import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from PIL import Image, features
from synth_fonts import ASCII, write_font

from aocr import files
from aocr.cli.main import main
from aocr.cli.synth import STYLES as CLI_STYLES
from aocr.data.records import read_examples
from aocr.errors import ConfigError, DatasetError
from aocr.synth import pipeline
from aocr.synth.drawing import Painter
from aocr.synth.pipeline import SynthOptions, make_job
from aocr.synth.writer import open_writer
from aocr.text.charset import NAMES


@pytest.fixture(scope="module")
def fonts(tmp_path_factory):
    return write_font(tmp_path_factory.mktemp("fonts"))


@pytest.fixture
def synth(fonts, capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder; return its output, or its error line if it must fail."""
    monkeypatch.chdir(tmp_path)

    def run(*args, code=0, workers=1):
        font_args = [] if "--fonts" in args else ["--fonts", fonts]
        returned = main(["synth", *map(str, args), *map(str, font_args), "--workers", str(workers)])
        captured = capsys.readouterr()
        assert returned == code and "Traceback" not in captured.err, captured.err
        if code == 0:
            return captured.out
        (line,) = [line for line in captured.err.splitlines() if line.startswith("aocr: ")]
        return line

    return run


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pipeline, "BLOCK", 8)


def read_folder(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def read_annotations(folder="words"):
    return [line.split(" ", 1) for line in Path(folder, "annotations.txt").read_text("utf-8").splitlines()]


def read_labels(folder="words"):
    return [label for _, label in read_annotations(folder)]


def test_records_and_folder_have_the_same_images(synth):
    assert "25 images drawn in words" in synth("words", "--count", 25)
    synth("words.tfrecords", "--count", 25)
    synth("shards.tfrecords", "--count", 25, "--shards", 3)
    assert sorted(os.listdir("words")) == ["annotations.txt", "images"]
    examples = list(read_examples("words.tfrecords"))
    shards = [list(read_examples(f"shards.tfrecords-0000{i}-of-00003")) for i in range(3)]
    assert [shards[i % 3][i // 3] for i in range(25)] == examples
    for example, (path, label) in zip(examples, read_annotations(), strict=True):
        assert example.label == label and set(label) <= set(ASCII)
        assert example.image == Path("words", path).read_bytes()
        image = Image.open(io.BytesIO(example.image))
        assert image.format == "JPEG" and image.mode == "RGB" and 32 <= image.height <= 64
        assert image.size == (example.width, example.height)


def test_images_do_not_depend_on_workers(synth, small_blocks):
    synth("alone", "--count", 20, "--seed", 3)
    synth("parallel", "--count", 20, "--seed", 3, workers=2)
    synth("other", "--count", 20, "--seed", 4)
    assert read_folder("alone") == read_folder("parallel")
    assert read_folder("alone") != read_folder("other")


@pytest.mark.parametrize("output", ["words", "words.tfrecords"])
def test_stopped_run_resumes_to_the_same_bytes(synth, small_blocks, monkeypatch, output):
    options = ["--count", 40, *(["--shards", 2] if output.endswith(".tfrecords") else [])]
    Path("whole").mkdir()
    synth(f"whole/{output}", *options)
    draw, numbers = Painter.draw, []

    def stop_at_20(painter, number):
        if number == 20:
            raise KeyboardInterrupt
        return draw(painter, number)

    Path("stopped").mkdir()
    monkeypatch.setattr(Painter, "draw", stop_at_20)
    synth(f"stopped/{output}", *options, code=130)
    temporary = list(Path("stopped").rglob("*.0.tmp"))
    assert temporary
    for path in temporary:  # a killed run leaves part of a block
        with path.open("ab") as file:
            file.write(b"torn")
    assert "16 images of a stopped run" in synth(f"stopped/{output}", *options, "--seed", 1, code=1)
    monkeypatch.setattr(Painter, "draw", lambda painter, number: (numbers.append(number), draw(painter, number))[1])
    synth(f"stopped/{output}", *options)
    assert numbers == list(range(16, 40))
    assert read_folder("stopped") == read_folder("whole")


@pytest.mark.parametrize("output, shards", [("words", 1), ("words.tfrecords", 1), ("words.tfrecords", 3)])
def test_two_runs_with_the_same_output(tmp_path, monkeypatch, output, shards):
    monkeypatch.chdir(tmp_path)
    with open_writer(output, shards, "settings") as first:
        for _ in range(2):
            before = read_folder(".")
            with pytest.raises(DatasetError), open_writer(output, shards, "settings"):
                pass
            assert read_folder(".") == before
            first.write([])
        first.finish()


def test_invalid_state_starts_over(synth):
    Path("words.tfrecords.0.tmp").write_bytes(b"torn")
    Path("words.tfrecords.synth.json").write_text('{"num_done": 7}')
    synth("words.tfrecords", "--count", 2)
    assert len(list(read_examples("words.tfrecords"))) == 2


def test_only_older_records_are_replaced(synth):
    synth("w.tfrecords", "--count", 5)
    before = Path("w.tfrecords").read_bytes()
    synth("w.tfrecords", "--count", 6)
    assert Path("w.tfrecords").read_bytes().startswith(before)
    Path("letter.tfrecords").write_text("Dear Ann, ...")
    synth("letter.tfrecords", "--count", 5, code=1)
    assert Path("letter.tfrecords").read_text() == "Dear Ann, ..."


def test_images_without_text(fonts, monkeypatch):
    monkeypatch.setattr("aocr.synth.drawing.BLANK_SHARE", 0.1)
    painter = make_job(SynthOptions(120), [str(fonts)], 1).painter()
    labels = [painter.draw(number).label for number in range(120)]
    assert 0.04 < labels.count("") / 120 < 0.2
    assert labels[:3] == [painter.draw(number).label for number in range(3)]


@pytest.mark.parametrize("style", CLI_STYLES)
def test_every_style_draws(synth, style):
    synth("words", "--count", 12, "--style", style, "--preview", "sheet.png")
    assert len(set(read_labels())) >= 10


def test_invisible_text_is_drawn_again(fonts, monkeypatch):
    monkeypatch.setattr("aocr.synth.drawing.BLANK_SHARE", 0)
    painter = make_job(SynthOptions(1), [str(fonts)], 1).painter()
    contrasts = [0.0, 12.0, 50.0, 50.0]
    monkeypatch.setattr("aocr.synth.drawing.contrast", lambda picture, mask: contrasts.pop(0))
    painter.draw(0)
    assert contrasts == [50.0]
    monkeypatch.setattr("aocr.synth.drawing.contrast", lambda picture, mask: 0.0)
    with pytest.raises(ConfigError, match="not visible"):
        painter.draw(0)


def test_texts_of_a_file_pattern_or_charset(synth):
    Path("names.txt").write_text("Anna\nBert Brecht\nCarla\n", encoding="utf-8")
    synth("words", "--count", 30, "--texts", "names.txt")
    assert {*read_labels()} - {""} == {"Anna", "Bert Brecht", "Carla"}
    synth("a", "--count", 20, "--pattern", "[A-Z]{2}[0-9]{3}")
    assert all(len(label) == 5 and label[:2].isupper() and label[2:].isdigit() for label in read_labels("a") if label)
    synth("b", "--count", 20, "--charset", "alphanumeric", "--max-length", 6)
    assert {*"".join(read_labels("b"))} <= {*NAMES["alphanumeric"]}


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no Raqm")
def test_scripts_that_need_shaping(synth):
    font = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
    if not font.exists():
        pytest.skip("needs DejaVu Sans")
    Path("texts.txt").write_text("مرحبا\nכתובת\n", encoding="utf-8")
    synth("words", "--count", 12, "--texts", "texts.txt", "--fonts", font)
    assert {*read_labels()} - {""} == {"مرحبا", "כתובת"}


def test_sheets_without_output(synth, fonts):
    out = synth("--list-fonts", "fonts.png")
    assert str(fonts / "plain.ttf") in out and "95" in out and "Fonts: 1; families: 1;" in out
    assert Image.open(io.BytesIO(Path("fonts.png").read_bytes())).height > 30
    assert "5 images" in synth("--preview", "sheet.png", "--style", "display", "--count", "5")
    assert Image.open(io.BytesIO(Path("sheet.png").read_bytes())).width > 1000
    assert sorted(os.listdir()) == ["fonts.png", "sheet.png"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--fonts", "text.ttf"], "--fonts"),
        (["--charset", "cyrillic.txt"], "'Ж'"),
        (["--texts", "blank.txt"], "is empty"),
        (["--texts", "missing.txt"], "cannot be read"),
        (["--texts", "latin1.txt"], "not UTF-8"),
        (["--pattern", "[a-z]{40}"], "--max-length 40"),
        (["--pattern", "a", "--texts", "text.ttf"], "--texts"),
        (["--shards", "2"], "--shards"),
    ],
)
def test_invalid_arguments(synth, args, words):
    Path("text.ttf").write_text("not a font")
    Path("blank.txt").write_text("\n \n")
    Path("latin1.txt").write_bytes(b"Stra\xdfe\n")
    Path("cyrillic.txt").write_text("abcdefghijklmnopЖ", encoding="utf-8")
    before = sorted(os.listdir())
    assert words in synth("words", "--count", 5, *args, code=1)
    assert sorted(os.listdir()) == before


def test_shaping_without_raqm(synth, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    Path("arabic.txt").write_text("مرحبا\n", encoding="utf-8")
    assert "Raqm" in synth("words", "--texts", "arabic.txt", code=1)


def test_invalid_outputs(synth, capsys):
    Path("file").write_text("mine")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    Path("dir.tfrecords").mkdir()
    for args in (["file"], ["full"], ["dir.tfrecords"], ["file/words"], ["--preview", "missing/sheet.png"]):
        synth(*args, code=1)
    assert sorted(os.listdir()) == ["dir.tfrecords", "file", "full"] and os.listdir("full") == ["mine.txt"]
    with pytest.raises(SystemExit) as stopped:
        synth()
    assert stopped.value.code == 2 and "OUTPUT is missing" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["words", "words.tfrecords"])
@pytest.mark.parametrize("num_written", [0, 2])
def test_full_disk(synth, small_blocks, monkeypatch, output, num_written):
    write, paths = files.write, []

    def fail(path, data):
        paths.append(path)
        if len(paths) > num_written:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(files, "write", fail)
    line = synth(output, "--count", 40, code=1)
    assert "No space left" in line and "resume" in line
    monkeypatch.setattr(files, "write", write)
    if num_written == 0:
        assert os.listdir() == []
    assert "40 images" in synth(output, "--count", 40)


def test_killed_worker(synth, small_blocks, monkeypatch):
    def submit(pool, *args):
        future = Future()
        future.set_exception(BrokenProcessPool())
        return future

    monkeypatch.setattr(pipeline.ProcessPoolExecutor, "submit", submit)
    assert "worker process" in synth("words", "--count", 40, code=1, workers=2)
    assert os.listdir() == []
