"""Mistakes of users: each ends in one line that says what and where, an exit code, and nothing lost."""

import json
import os
import signal
import subprocess
import time

import pytest
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr
from synth_fonts import write_font


def fails(*args, words=(), code=1, **options) -> str:
    """Run a command that must fail cleanly; return its one line."""
    return assert_clean_failure(run_aocr(*args, **options), *words, code=code)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Data


def test_annotation_files_without_usable_lines(tmp_path):
    path, output = tmp_path / "a.txt", tmp_path / "o"
    fails("dataset", path, output, words=["a.txt", "no such file"])
    fails("dataset", write(path, "\n \n"), output, words=["a.txt", "empty"])
    fails("dataset", write(path, "x.png A\n"), output, words=["no usable line", "x.png"])
    fails("dataset", "--strict", path, output, words=["a.txt:1", "x.png"])
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("command", ["train", "test", "dataset"])
def test_truncated_record_file(tmp_path, command):
    path = tmp_path / "cut.tfrecords"
    run_aocr("dataset", draw_numbers(tmp_path / "n", 30), path)
    path.write_bytes(path.read_bytes()[:-100])
    flags = {"train": ("--model-dir", tmp_path / "m"), "test": ("--model-dir", "words"), "dataset": (tmp_path / "o",)}
    fails(command, path, *flags[command], words=["cut.tfrecords", "cut off"])
    assert not (tmp_path / "o").exists() and not (tmp_path / "m" / "model.json").exists()


def test_missing_records(tmp_path):
    fails("test", tmp_path / "none*.tfrecords", "--model-dir", "words", words=["none", "no such file"])
    fails("train", "gs://bucket/none.tfrecords", "--model-dir", tmp_path / "m", words=["gs"])


# Model folders


def test_unusable_model_folders(trained, tmp_path):
    image = write(tmp_path / "i.png", "")

    def folder(name, **files):
        path = tmp_path / name
        path.mkdir()
        for file, text in files.items():
            (path / file.replace("_json", ".json")).write_text(text)
        return path

    model = json.loads((trained / "model.json").read_text("utf-8"))
    cases = {
        tmp_path / "nowhere": "does not exist",
        folder("empty"): "empty",
        folder("half", model_json='{"format": 2, "mo'): "damaged",
        folder("other", model_json='{"name": "resnet"}'): "not written by aocr",
        folder("newer", model_json=json.dumps({**model, "format": 99, "aocr": "9.9"})): "newer aocr (9.9)",
        folder("typo", model_json=json.dumps({**model, "model": {**model["model"], "chanels": 1}})): "channels",
        folder("untrained", model_json=json.dumps(model)): "no weights",
        folder("saved", **{"saved_model.pb": ""}): "SavedModel",
    }
    for path, words in cases.items():
        for command in (("predict", image), ("test", image), ("export", tmp_path / "e")):
            fails(*command, "--model-dir", path, words=[str(path), words])
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--max-prediction", "9"), "--max-prediction = 9: the model in {} has 3. Leave the flag out."),
        (("--color",), "--color = True: the model in {} has grey. Leave the flag out."),
        (("--full-ascii",), "--full-ascii = True: the model in {} has '0123456789'. Leave the flag out."),
    ],
)
def test_flag_that_contradicts_the_folder(trained, numbers, flags, line):
    for command in (("test", numbers), ("predict", numbers), ("export", "never")):
        assert fails(*command, "--model-dir", trained, *flags) == f"aocr: {line.format(trained)}"


def test_impossible_charsets(numbers, tmp_path):
    flags = ("--model-dir", tmp_path / "m", "--charset")
    fails("train", numbers, *flags, "uppercase", words=["outside the charset", "--charset"])
    fails("train", numbers, *flags, "klingon", words=["klingon", "alphanumeric"])
    fails("train", numbers, "--target-vocab-size", "9", *flags[:2], words=["target"])
    assert not (tmp_path / "m" / "model.json").exists()


def test_no_resume_with_bad_data_keeps_the_old_model(folder, tmp_path):
    before = sorted(os.listdir(folder))
    for data in (tmp_path / "none.txt", write(tmp_path / "a.txt", "x.png 1\n")):
        fails("train", data, "--no-resume", "--model-dir", folder)
    assert sorted(os.listdir(folder)) == before


# Standard input


def test_standard_input_of_predict(trained):
    done = run_aocr("predict", "--model-dir", trained, input="")
    assert done.returncode == 1 and done.stderr.startswith("aocr: no image")
    fails("predict", "-", input="\x89PNG\r\n\0\0\nx", words=["IMAGE"])


def test_output_dir_without_visualize(numbers, trained, tmp_path):
    done = run_aocr("test", numbers, "--model-dir", trained, "--output-dir", tmp_path / "out")
    assert done.returncode == 0 and "warning: --output-dir" in done.stderr
    assert not (tmp_path / "out").exists()


# Files that would be overwritten


@pytest.mark.parametrize("flag", ["OUTPUT", "--report", "--preview", "--log-path"])
def test_data_is_not_overwritten(tmp_path, flag):
    numbers, output = draw_numbers(tmp_path / "n", 2), tmp_path / "d.tfrecords"
    before = contents(tmp_path)
    (tmp_path / "link.txt").symlink_to(numbers)
    for path in (numbers, tmp_path / "link.txt"):
        args = (path,) if flag == "OUTPUT" else (output, flag, path)
        fails("dataset", numbers, *args, words=[f"{flag} = ", "Name another file"])
    if flag != "OUTPUT":
        fails("dataset", numbers, output, flag, output, words=[f"{flag} = "])
    (tmp_path / "link.txt").unlink()
    assert contents(tmp_path) == before


def test_other_commands_do_not_overwrite_what_they_read(tmp_path):
    numbers = draw_numbers(tmp_path / "n", 2)
    fails("test", numbers.parent / "*.txt", "--model-dir", "words", "--report", numbers, words=["--report = "])
    fails("synth", "--texts", numbers, "--preview", numbers, words=["--preview = "])


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_are_not_overwritten(numbers, tmp_path, shards):
    assert run_aocr("dataset", numbers, "d", "--shards", shards, cwd=tmp_path).returncode == 0
    before = contents(tmp_path)
    for source in ("d", "d-*", f"d-00001-of-{shards:05d}"):
        fails("dataset", source, "d", "--shards", shards, "--charset", "digits", cwd=tmp_path, words=["OUTPUT = 'd'"])
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("line", "words"), [
    ("dataset a.txt o --preview 0.png", ["0.png", "overwritten"]),
    ("dataset a.txt o --report 0.png", ["0.png", "overwritten"]),
    ("test . --model-dir words --report 0.png", ["0.png: already exists"]),
    ("synth o.tfrecords --like a.txt --preview 0.png", ["0.png", "overwritten"]),
    ("synth o.tfrecords --like . --preview 0.png --label-from-filename", ["0.png", "overwritten"]),
])  # fmt: skip
def test_images_are_not_overwritten(numbers, tmp_path, line, words):
    image = tmp_path / "0.png"
    image.write_bytes((numbers.parent / "0.png").read_bytes())
    before = image.read_bytes()
    write(tmp_path / "a.txt", "0.png 1\n")
    fails(*line.split(), cwd=tmp_path, words=words)
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    "line", ["synth --list-fonts FILE", "synth --preview FILE --count 1", "dataset NUMBERS o --preview FILE"]
)
def test_pictures_replace_only_pictures(numbers, tmp_path, line):
    text, picture = write(tmp_path / "words.txt", "alpha\nbeta\n"), write(tmp_path / "sheet.png", "")
    words = line.replace("NUMBERS", str(numbers)).split()
    words += ["--fonts", str(write_font(tmp_path / "fonts")), "--workers", "1"] if words[0] == "synth" else []
    fails(*(text if word == "FILE" else word for word in words), cwd=tmp_path, words=["words.txt: already exists"])
    assert text.read_text() == "alpha\nbeta\n"
    for _ in range(2):
        assert run_aocr(*(picture if word == "FILE" else word for word in words), cwd=tmp_path).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_devices_are_written_to(tmp_path):
    numbers, null = draw_numbers(tmp_path / "n", 2), tmp_path / "null"
    null.symlink_to(os.devnull)
    done = run_aocr("dataset", numbers, tmp_path / "d.tfrecords", "--report", null, "--log-path", null)
    assert done.returncode == 0 and null.is_symlink()


@pytest.mark.parametrize("flags", [(), ("--no-resume",)])
@pytest.mark.parametrize("name", ["train.json", "weights.npz", "model.json"])
def test_first_training_overwrites_no_file_of_another_program(numbers, tmp_path, name, flags):
    write(tmp_path / name, '{"class_name": "Sequential"}')
    fails("train", numbers, "--model-dir", ".", *flags, cwd=tmp_path, words=[name, "not written by aocr"])
    assert (tmp_path / name).read_text() == '{"class_name": "Sequential"}'


# Interruption, permissions


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "test", "predict", "export", "dataset"])
@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_ctrl_c_in_each_command(command, seconds, trained, tmp_path):
    data = draw_numbers(tmp_path / "n", 400)
    args = {
        "train": (data, "--model-dir", tmp_path / "m", *SMALL),
        "test": (data, "--model-dir", trained, "--visualize", "--output-dir", tmp_path / "r"),
        "predict": ("--model-dir", trained),
        "export": (tmp_path / "e", "--model-dir", trained),
        "dataset": (data, tmp_path / "o.tfrecords"),
    }[command]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start_aocr(command, *args, **pipes)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert "Traceback" not in err, err
    # Python ends by the signal if it came while a library executed code from a string; a shell reports 130 too
    interrupted = (130, -signal.SIGINT)
    if command == "dataset" and (tmp_path / "o.tfrecords").exists():  # it was finished, or just about to be
        assert process.returncode in (0, *interrupted), err
    else:
        assert process.returncode in interrupted, err
        assert "interrupted" in err or "Saved at step" in err
    assert set(os.listdir(tmp_path)) <= {"n", "m", "r", "o.tfrecords"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(numbers, tmp_path):
    tmp_path.chmod(0o500)
    fails("train", numbers, "--model-dir", tmp_path / "m", words=["m"])
    fails("dataset", numbers, tmp_path / "o", words=["o"])


def test_file_in_place_of_a_folder(numbers, tmp_path):
    write(tmp_path / "file", "")
    fails("train", numbers, "--model-dir", tmp_path / "file" / "m", words=["file"])
    fails("dataset", numbers, tmp_path / "file" / "o", words=["file"])


def test_control_characters_in_file_names_are_escaped(tmp_path):
    fonts = write_font(tmp_path / "fonts", "plain\x1b[31m.ttf")
    for words in (["--list-fonts"], ["--preview", "s\x1b.png"], ["o\x1b.tfrecords"]):
        done = run_aocr("synth", *words, "--count", "1", "--fonts", fonts, "--workers", "1", cwd=tmp_path)
        assert done.returncode == 0 and "\x1b" not in done.stdout + done.stderr and "\\x1b" in done.stdout
