"""What users get wrong: each ends in one line that says what and where, a code, and nothing lost."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from conftest import ROOT, SMALL, assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image
from synth_fonts import write_font

from aocr.cli.main import main


@pytest.fixture
def run(capsys):
    """The command line in this process: (code, stdout, stderr)."""

    def call(*args):
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def failure(result, *words, code=1):
    """The one line of a failure."""
    found, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("aocr: ")]
    assert found == code and len(lines) == 1, result
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def png(width=40, height=32, mode="L") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 60).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A png whose header promises 60,000 x 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + png()[33:]


def jpeg(mode="RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


BAD_IMAGES = {
    "text.png": b"this is a text file",
    "empty.png": b"",
    "cut.jpg": jpeg()[:500],
    "cut.png": png()[:200],
    "bomb.png": bomb(),
}


def odd_images() -> dict[str, bytes]:
    """Images that look wrong but can be read."""

    def save(image, kind, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    grey = Image.effect_noise((50, 40), 60)
    rgba = grey.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(grey.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "one.png": png(1, 1),
        "tall.png": png(1, 3000),
        "wide.png": png(3000, 1),
        "deep.png": save(Image.fromarray((np.arange(2000).reshape(40, 50) * 30).astype(np.uint16)), "PNG"),
        "palette.png": save(grey.convert("P"), "PNG"),
        "bits.png": save(grey.convert("1"), "PNG"),
        "cmyk.jpg": jpeg("CMYK"),
        "alpha.png": save(rgba, "PNG"),
        "moving.gif": save(grey, "GIF", save_all=True, append_images=[grey.rotate(90), grey.rotate(180)]),
        "turned.jpg": save(grey.convert("RGB"), "JPEG", exif=exif),
        "plain.bmp": save(grey.convert("RGB"), "BMP"),
        "page.tif": save(grey, "TIFF"),
        "web.webp": save(grey.convert("RGB"), "WEBP"),
    }


# dataset


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_an_empty_annotation_file(run, tmp_path):
    failure(run("dataset", write(tmp_path / "a.txt", "\n \n"), tmp_path / "o"), "a.txt", "empty")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_annotation_file_is_not_overwritten(run, tmp_path):
    path = draw_numbers(tmp_path / "n", 3)
    before = path.read_bytes()
    failure(run("dataset", path, path), "numbers.txt", "Name another file")
    assert path.read_bytes() == before


def test_a_missing_annotation_file(run, tmp_path):
    failure(run("dataset", tmp_path / "none.txt", tmp_path / "o"), "none.txt", "no such file")


def test_a_latin_1_annotation_file(run, tmp_path):
    path = write(tmp_path / "a.txt", "a.png abc\nb.png caf\xe9\n", "latin-1")
    failure(run("dataset", path, tmp_path / "o"), "a.txt: has no usable line", "not UTF-8: 1")
    failure(run("dataset", "--strict", write(path, "b.png caf\xe9\n", "latin-1"), tmp_path / "o"), "a.txt:1", "UTF-8")
    assert not (tmp_path / "o").exists()


def test_every_line_that_cannot_be_used_is_named(run, tmp_path):
    for name, data in BAD_IMAGES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.png").write_bytes(png())
    names = list(BAD_IMAGES)
    lines = [f"{name} AB" for name in names] + [
        "none.png AB",
        "good.png",
        "good.png AB",
        "good.png \u20ac",
        "good.png ABCDEF",
    ]
    path = write(tmp_path / "a.txt", "\n".join(lines))
    args = ("--charset", "uppercase", "--max-prediction", "5")
    code, out, _ = run("dataset", path, tmp_path / "o", *args, "--report", tmp_path / "r.txt")
    assert code == 0
    assert out.startswith("1 image from")
    report = (tmp_path / "r.txt").read_text("utf-8").splitlines()
    numbers = [int(line.removeprefix(f"{path}:").split(":")[0]) for line in report]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 9, 10]
    for number, reason in ((1, "not an image"), (6, "missing file"), (7, "no label"), (9, "charset"), (10, "longer")):
        assert reason in report[numbers.index(number)]
    assert "0 bytes" in report[1] and "pixels" in report[4]
    failure(run("dataset", path, tmp_path / "s", *args, "--strict"), "a.txt:1", "text.png")
    assert not (tmp_path / "s").exists()


def test_no_usable_line_is_an_error(run, tmp_path):
    failure(run("dataset", write(tmp_path / "a.txt", "x.png A\n"), tmp_path / "o"), "no usable line", "x.png")


def test_odd_images_are_taken_and_read(run, tmp_path, trained):
    images = odd_images()
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    path = write(tmp_path / "a.txt", "".join(f"{name} 1\n" for name in images))
    code, out, _ = run("dataset", path, tmp_path / "o.tfrecords")
    assert code == 0 and out.startswith(f"{len(images)} images"), out
    code, out, err = run("test", tmp_path / "o.tfrecords", "--model-dir", trained, "--json")
    assert code == 0, err
    assert json.loads(out)["num_images"] == len(images)
    code, out, err = run("predict", *(tmp_path / name for name in images), "--model-dir", trained)
    assert code == 0, err
    assert len(out.splitlines()) == len(images)


def test_equal_images_with_different_labels_are_warned_of(run, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    path = write(tmp_path / "a.txt", "a.png ONE\nb.png TWO\na.png ONE\n")
    code, out, err = run("dataset", path, tmp_path / "o")
    assert code == 0
    assert f"{path}:1 and :2" in err and "'ONE'" in err and "'TWO'" in err
    assert "Repeated: 1" in out


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, run):
    from aocr.data import builder

    data = draw_numbers(tmp_path / "n", 20)
    monkeypatch.setattr(builder, "examine", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    failure(run("dataset", data, tmp_path / "out" / "o", "--shards", "3"), "interrupted", code=130)
    assert os.listdir(tmp_path / "out") == []


# records


@pytest.fixture
def records(run, tmp_path):
    path = tmp_path / "r.tfrecords"
    assert run("dataset", draw_numbers(tmp_path / "n", 30), path)[0] == 0
    return path


@pytest.mark.parametrize("place", ["middle", "head"])
@pytest.mark.parametrize("command", ["train", "test", "dataset"])
def test_a_record_file_cut_off(run, records, tmp_path, trained, command, place):
    cut, data = tmp_path / "cut.tfrecords", records.read_bytes()
    second = int.from_bytes(data[:8], "little") + 16
    cut.write_bytes(data[: second + 5 if place == "head" else len(data) * 2 // 3])
    more = {"train": ("--model-dir", tmp_path / "m"), "test": ("--model-dir", trained), "dataset": (tmp_path / "o",)}
    failure(run(command, cut, *more[command]), "cut.tfrecords", "cut off")
    assert not (tmp_path / "o").exists() and not (tmp_path / "m" / "model.json").exists()


def test_records_of_aocr_0_7_6_are_taken(run, tmp_path, trained):
    import tensorflow as tf

    from aocr.data.records import read_examples

    path = str(tmp_path / "old.tfrecords")
    with tf.io.TFRecordWriter(path) as writer:
        for label, image in ((b"12", png()), ("caf\xe9".encode("latin-1"), png()), (b"3", b"no image")):
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in (("image", image), ("label", label), ("comment", b""))
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    code, out, _ = run("dataset", path, tmp_path / "new.tfrecords")
    assert code == 0 and "Left out: 1 (not an image)" in out and f"{path}:3" in out
    assert [e.label for e in read_examples(str(tmp_path / "new.tfrecords"))] == ["12", "caf\xe9"]
    code, out, err = run("test", path, "--model-dir", trained, "--json")
    assert code == 0, err
    assert json.loads(out)["num_images"] == 2 and json.loads(out)["skipped"] == {"not an image": 1}


@pytest.mark.parametrize("command", ["train", "test"])
def test_records_of_something_else(run, tmp_path, trained, command):
    import tensorflow as tf

    path = str(tmp_path / "other.tfrecords")
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature={"age": feature})).SerializeToString())
    more = ("--model-dir", tmp_path / "m") if command == "train" else ("--model-dir", trained)
    failure(run(command, path, *more), "other.tfrecords", "age", "aocr dataset")


def test_a_dataset_that_is_not_there(run, trained, tmp_path):
    failure(run("test", tmp_path / "none*.tfrecords", "--model-dir", trained), "none", "no such file")
    failure(run("train", "gs://bucket/none.tfrecords", "--model-dir", tmp_path / "m"), "gs")


# model folders


def test_model_folders_that_cannot_be_used(run, trained, tmp_path):
    image = tmp_path / "i.png"
    image.write_bytes(png())

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
        folder("half", model_json='{"format": 1, "mo'): "damaged",
        folder("other", model_json='{"name": "resnet"}'): "not of aocr",
        folder("newer", model_json=json.dumps({**model, "format": 99, "aocr": "9.9"})): "newer aocr (9.9)",
        folder("typo", model_json=json.dumps({**model, "model": {**model["model"], "chanels": 1}})): "channels",
        folder("untrained", model_json=json.dumps(model)): "no checkpoint",
        folder("saved", **{"saved_model.pb": ""}): "SavedModel",
    }
    for path, word in cases.items():
        for command in (("predict", image), ("test", image), ("export", tmp_path / "e")):
            line = failure(run(*command, "--model-dir", path), word)
            assert str(path) in line
    assert not (tmp_path / "e").exists()


def test_a_checkpoint_with_a_missing_file(run, trained, tmp_path):
    import shutil

    copy = tmp_path / "m"
    shutil.copytree(trained, copy)
    for path in copy.glob("best-*.data*"):
        path.unlink()
    image = tmp_path / "i.png"
    image.write_bytes(png())
    failure(run("predict", image, "--model-dir", copy), "missing or damaged")


@pytest.mark.parametrize(
    "flag, named",
    [
        (("--max-prediction", "9"), "--max-prediction = 9: the model in {} has 3. Leave the flag out."),
        (("--color",), "--color = True: the model in {} has grey. Leave the flag out."),
        (("--full-ascii",), "--full-ascii = True: the model in {} has '0123456789'. Leave the flag out."),
    ],
)
def test_a_flag_that_contradicts_the_folder(run, trained, numbers, flag, named):
    for command in (("test", numbers), ("predict", numbers), ("export", "never")):
        line = failure(run(*command, "--model-dir", trained, *flag))
        assert line == f"aocr: {named.format(trained)}"


def test_a_label_outside_the_charset(run, numbers, tmp_path):
    result = run("train", numbers, "--charset", "uppercase", "--model-dir", tmp_path / "m")
    failure(result, "outside the charset", "--charset")
    assert not (tmp_path / "m" / "model.json").exists()


def test_no_resume_with_bad_data_keeps_the_old_model(run, trained, tmp_path):
    import shutil

    copy = tmp_path / "m"
    shutil.copytree(trained, copy)
    before = sorted(os.listdir(copy))
    failure(run("train", tmp_path / "none.txt", "--no-resume", "--model-dir", copy), "none.txt")
    failure(run("train", write(tmp_path / "a.txt", "x.png 1\n"), "--no-resume", "--model-dir", copy), "no usable line")
    assert sorted(os.listdir(copy)) == before


def test_a_wrong_charset_name(run, numbers, tmp_path):
    failure(run("train", numbers, "--charset", "klingon", "--model-dir", tmp_path / "m"), "klingon", "alphanumeric")


# interruption and rights


def interrupt(*args, after):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start_aocr(*args, **pipes)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "test", "predict", "export", "dataset"])
@pytest.mark.parametrize("after", [1.0, 3.0])
def test_ctrl_c_in_each_command(command, after, trained, tmp_path):
    data = draw_numbers(tmp_path / "n", 400)
    args = {
        "train": (data, "--model-dir", tmp_path / "m", *SMALL),
        "test": (data, "--model-dir", trained, "--visualize", "--output-dir", tmp_path / "r"),
        "predict": ("--model-dir", trained),
        "export": (tmp_path / "e", "--model-dir", trained),
        "dataset": (data, tmp_path / "o.tfrecords"),
    }[command]
    code, err = interrupt(command, *args, after=after)
    assert "Traceback" not in err, err
    # Python itself ends by the signal where it came while a library ran code from a string; a shell sees 130 too
    ended = (130, -signal.SIGINT)
    if command == "dataset" and (tmp_path / "o.tfrecords").exists():  # it may have been done, or just about to end
        assert code in (0, *ended), err
    else:
        assert code in ended, err
        assert "interrupted" in err or "Saved at step" in err
    left = [name for name in os.listdir(tmp_path) if name not in ("n", "m", "r", "o.tfrecords")]
    assert left == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(run, numbers, tmp_path):
    tmp_path.chmod(0o500)
    failure(run("train", numbers, "--model-dir", tmp_path / "m"), "m")
    failure(run("dataset", numbers, tmp_path / "o"), "o")


def test_a_folder_where_a_file_is_in_the_way(run, numbers, tmp_path):
    (tmp_path / "file").write_text("")
    failure(run("train", numbers, "--model-dir", tmp_path / "file" / "m"), "file")
    failure(run("dataset", numbers, tmp_path / "file" / "o"), "file")


def test_predict_with_nothing_to_read(trained):
    done = run_aocr("predict", "--model-dir", trained, input="")
    assert done.returncode == 1 and "no image to read" in done.stderr


@pytest.mark.parametrize("flag", ["--report", "--preview", "--log-path"])
def test_what_is_read_is_not_written_over(run, tmp_path, flag):
    numbers, output = draw_numbers(tmp_path / "n", 2), tmp_path / "d.tfrecords"
    before = numbers.read_bytes()
    (tmp_path / "link.txt").symlink_to(numbers)
    for path in (numbers, tmp_path / "link.txt", output):
        failure(run("dataset", numbers, output, flag, path), f"{flag} = ", "Name another file")
    assert numbers.read_bytes() == before and not output.exists()


def test_a_device_is_written_to_and_stays_one(run, tmp_path):
    numbers, null = draw_numbers(tmp_path / "n", 2), tmp_path / "null"
    null.symlink_to(os.devnull)
    assert run("dataset", numbers, tmp_path / "d.tfrecords", "--report", null, "--log-path", null)[0] == 0
    assert null.is_symlink()


def test_a_report_does_not_take_the_place_of_what_is_tested(run, tmp_path):
    numbers = draw_numbers(tmp_path / "n", 2)
    pattern = str(numbers.parent / "*.txt")
    failure(run("test", pattern, "--model-dir", "words", "--report", numbers), "--report = ", "Name another file")
    failure(run("synth", "--texts", numbers, "--preview", numbers), "Name another file")


@pytest.mark.parametrize("token", ["", " "])
def test_an_empty_token_does_not_open_the_server(run, token):
    failure(run("serve", "--token", token), "--token", "is empty")


@pytest.mark.parametrize("flag", ["--preview", "--report"])
def test_an_image_that_is_to_be_learnt_is_not_written_over(run, numbers, tmp_path, flag):
    image = tmp_path / "0.png"
    image.write_bytes((numbers.parent / "0.png").read_bytes())
    before = image.read_bytes()
    annotations = write(tmp_path / "a.txt", "0.png 1\n")
    failure(run("dataset", annotations, tmp_path / "o", flag, image), "a.txt:1", "0.png", "written over")
    assert image.read_bytes() == before


@pytest.mark.parametrize(("argv", "told"), [
    ("test {} --model-dir words --report {}", ("0.png", "is no page")),
    ("synth o.tfrecords --like {} --preview {}", (":1", "0.png", "written over")),
])  # fmt: skip
@pytest.mark.parametrize("source", ["a.txt", "."])
def test_an_image_that_is_read_is_not_written_over(run, numbers, tmp_path, monkeypatch, argv, told, source):
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "0.png"
    image.write_bytes((numbers.parent / "0.png").read_bytes())
    before = image.read_bytes()
    write(tmp_path / "a.txt", "0.png 1\n")
    failure(run(*argv.format(source, "0.png").split()), *told)
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    "argv", ["synth --list-fonts {}", "synth --preview {} --count 1", "dataset {n} o --preview {}"]
)
def test_a_sheet_takes_the_place_of_a_png_alone(run, numbers, tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    fonts = write_font(tmp_path / "fonts")
    path = write(tmp_path / "words.txt", "alpha\nbeta\n")
    words = [word.format(path, n=numbers) for word in argv.split()]
    words += ["--fonts", str(fonts), "--workers", "1"] if words[0] == "synth" else []
    failure(run(*words), "words.txt: already exists and is no png")
    assert path.read_text() == "alpha\nbeta\n"
    sheet = write(tmp_path / "sheet.png", "")
    words = [str(sheet) if word == str(path) else word for word in words]
    for _ in range(2):
        assert run(*words)[0] == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_that_are_read_are_not_written_over(run, numbers, tmp_path, monkeypatch, shards):
    monkeypatch.chdir(tmp_path)
    assert run("dataset", numbers, "d", "--shards", shards)[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for source in ("d", "d-*", f"d-00001-of-{shards:05d}"):
        failure(run("dataset", source, "d", "--shards", shards, "--charset", "digits"), "OUTPUT = 'd'", "is read")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_settings_of_keras_for_other_programs_change_nothing(tmp_path):
    settings = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}
    write(tmp_path / "keras.json", json.dumps(settings))
    code = "from aocr import machine; machine.start_tensorflow(); import keras.config as c; "
    code += "print(c.backend(), c.floatx(), c.image_data_format())"
    for env in ({"KERAS_HOME": str(tmp_path)}, {"KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"}):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True
        )
        assert done.stdout == "tensorflow float32 channels_last\n", done.stderr


def test_names_of_files_cannot_control_the_terminal(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fonts = write_font(tmp_path / "fonts", "plain\x1b[31m.ttf")
    for words in (["--list-fonts"], ["--preview", "s\x1b.png"], ["o\x1b.tfrecords"]):
        code, out, err = run("synth", *words, "--count", "1", "--fonts", fonts, "--workers", "1")
        assert code == 0 and "\x1b" not in out + err and "\\x1b" in out


def test_an_image_on_standard_input_is_told_from_paths(tmp_path):
    assert_clean_failure(run_aocr("predict", "-", input="\x89PNG\r\n\0\0\nx"), "standard input holds no paths")


def test_the_folder_of_an_export_is_told_from_a_model(numbers, tmp_path):
    (tmp_path / "reader.onnx").touch()
    done = run_aocr("predict", numbers.parent / "0.png", "--model-dir", tmp_path)
    assert_clean_failure(done, f"holds an export, no model. Give --model-dir {tmp_path}/reader.onnx")


def test_a_folder_for_pictures_that_are_not_drawn_is_told(numbers, trained, tmp_path):
    done = run_aocr("test", numbers, "--model-dir", trained, "--output-dir", tmp_path / "out")
    assert done.returncode == 0 and "--output-dir is for --visualize: nothing is drawn" in done.stderr
    assert not (tmp_path / "out").exists()
