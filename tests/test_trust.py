"""Model folders from strangers: what their small files claim is checked before anything is built or read."""

import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import time
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from aocr.folder.checkpoints import Checkpoints, write_weights
from aocr.folder.compact import read_compact
from conftest import ROOT, assert_clean_failure, draw_numbers, run_aocr

from aocr import files
from aocr.cli.main import close_log, set_up_log
from aocr.config import LARGEST, ModelConfig
from aocr.data.images import canonical_image, read_file
from aocr.data.record_files import RecordWriter
from aocr.errors import AocrError, CheckpointError, ConfigError, ImageError, TrainingError
from aocr.folder.model_folder import ModelFolder
from aocr.folder.variables import weights_of
from aocr.folder.weights import read_weights
from aocr.model.recognizer import build_recognizer
from aocr.report.pictures import load_image
from aocr.synth.fonts.choice import font_files
from aocr.text.charset import MAX_SYMBOLS, Charset


def make_model(path):
    """A model folder as a training leaves it, of a network that has learnt nothing."""
    config = ModelConfig(Charset("0123456789"), attn_num_hidden=16, target_embedding_size=8, max_prediction=3)
    folder = ModelFolder(path)
    folder.write_config(config)
    model = build_recognizer(config)
    write_weights(folder, model, 7)
    tf.train.Checkpoint(averaged=weights_of(model)).write(folder.best_path(7))
    folder.write_best(7, 0.5, 0.25, False)
    folder.write_calibration(folder.best_path(7), 1.5, 10)


@pytest.fixture
def folder(shared, tmp_path):
    """A model folder to be spoilt."""
    return shutil.copytree(shared("untrained", make_model), tmp_path / "model")


@pytest.fixture
def numbers(tmp_path):
    """Annotation file of two images."""
    return draw_numbers(tmp_path / "n", 2)


@pytest.fixture
def image(numbers):
    return numbers.parent / "0.png"


def change(path, **values):
    """Set values of a json file; `Ellipsis` removes one."""
    found = {**json.loads(path.read_text("utf-8")), **values}
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not ...}), "utf-8")


def change_model(folder, **values):
    model = json.loads((folder / "model.json").read_text("utf-8"))
    model["model"].update(values)
    (folder / "model.json").write_text(json.dumps(model), "utf-8")


# model.json


@pytest.mark.parametrize(
    "values, told",
    [
        ({"attn_num_hidden": 2_000_000}, "attn_num_hidden = 2000000: must be at most 8,192 (a limit of aocr)"),
        ({"attn_num_layers": 100_000}, "attn_num_layers = 100000: must be at most 64"),
        ({"charset": "".join(map(chr, range(0x1000, 0xC000))) + "".join(map(chr, range(0x10000, 0x28000)))}, "100,000"),
        ({"max_width": 10**9}, "max_width = 1000000000: must be at most 100,000"),
        ({"max_width": 90_000, "max_height": 1}, "network_width = 2880000: must be at most 100,000"),
        ({"max_prediction": 10**9}, "max_prediction = 1000000000: must be at most 10,000"),
        ({"charset": "ab\ud800"}, "half of a surrogate pair"),
        ({"attn_num_hidden": 8_192}, "does not fit model.json: 'encoder/lstm"),
        ({"attn_num_layers": 64}, "does not fit model.json: 'decoder/cell63/recurrent_kernel' is missing"),
        ({"target_embedding_size": 8_192}, "does not fit model.json: 'decoder/embedding/embeddings' is"),
        ({"charset": "".join(map(chr, range(0x4E00, 0x9000)))}, "does not fit model.json: 'decoder/embedding"),
        ({"use_gru": True}, "does not fit model.json: 'decoder/cell0/recurrent_kernel' is"),
    ],
)
def test_a_network_that_is_too_large_is_refused_before_it_is_built(folder, image, monkeypatch, values, told):
    def build(*args):
        raise AssertionError("it was built")

    monkeypatch.setattr("aocr.model.recognizer.build_recognizer", build)
    change_model(folder, **values)
    before = time.monotonic()
    line = assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), str(folder), told)
    assert len(line) < 500
    assert time.monotonic() - before < 20


def test_a_training_does_not_go_on_with_weights_that_do_not_fit(folder, numbers):
    change_model(folder, attn_num_hidden=8_192)
    for place in (("--model-dir", folder), ("--model-dir", f"{folder}-new", "--init-from", folder)):
        assert_clean_failure(run_aocr("train", numbers, *place, "--num-epoch", "50"), "does not fit model.json")


def test_the_limits_hold_for_what_is_typed():
    for name, most in LARGEST.items():
        if name != "network_width":
            extra = {"max_height": most} if name == "max_width" else {}
            assert getattr(ModelConfig(Charset("a"), **{name: most}, **extra), name) == most
            with pytest.raises(ConfigError, match="a limit of aocr"):
                ModelConfig(Charset("a"), **{name: most + 1})
    with pytest.raises(ConfigError, match="a limit of aocr"):
        Charset("".join(map(chr, range(0x10000, 0x10001 + MAX_SYMBOLS))))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1, "model": ' * 50_000, "\0", '{"a": ' + "9" * 5000 + "}"])
def test_json_that_is_none_is_damaged(folder, image, text):
    (folder / "model.json").write_text(text)
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "model.json", "is damaged")


@pytest.mark.parametrize("model", ["", "x", [], [1], 5, None, True])
def test_a_model_without_settings_is_damaged(folder, model):
    (folder / "model.json").write_text(json.dumps({"format": 1, "model": model}))
    with pytest.raises(CheckpointError, match=r"model\.json is damaged"):
        ModelFolder(folder).find_config()


# calibration.json


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "x", None, ..., True, [1], 10**400, 1e-300])
def test_a_damaged_temperature(folder, image, value):
    change(folder / "calibration.json", temperature=value)
    line = assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "calibration.json", "is damaged")
    assert "or remove it" in line
    (folder / "calibration.json").unlink()
    assert run_aocr("predict", image, "--model-dir", folder).returncode == 0


@pytest.mark.parametrize("value", [5, ..., None])
def test_a_temperature_of_no_checkpoint(folder, image, value):
    change(folder / "calibration.json", checkpoint=value)
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "calibration.json", "is damaged")


def test_a_temperature_of_another_checkpoint_is_not_used(folder):
    change(folder / "calibration.json", checkpoint="best-1", temperature=3.0)
    assert ModelFolder(folder).choose().temperature == 1.0


# best.json and the file that names the newest


@pytest.mark.parametrize(
    "name", ["../model/best-{}", "/etc/passwd", "x", "best-1/../best-{}", "best-{}\n", 5, None, ..., ""]
)
def test_a_best_checkpoint_elsewhere_is_refused(folder, image, name):
    step = json.loads((folder / "best.json").read_text())["step"]
    change(folder / "best.json", checkpoint=name.format(step) if isinstance(name, str) else name)
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "best.json", "is damaged", "or remove it")


@pytest.mark.parametrize("key", ["step", "word_accuracy", "cer"])
@pytest.mark.parametrize("value", [..., None, "x", float("nan"), [], True, 10**400])
def test_odd_scores_of_the_best(folder, key, value):
    change(folder / "best.json", **{key: value})
    with pytest.raises(CheckpointError, match=f"best.json: is damaged .*{key} = "):
        ModelFolder(folder).choose()


@pytest.mark.parametrize(
    "entry", ['model_checkpoint_path: "{}"', 'model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "{}"']
)
@pytest.mark.parametrize("name", ["../other/ckpt-1", "{folder}/../other/ckpt-1", "sub/ckpt-1"])
def test_a_newest_checkpoint_elsewhere_is_refused(folder, numbers, tmp_path, entry, name):
    """TensorFlow removes the oldest checkpoints that this file names."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "ckpt-1.index").write_text("precious")
    (folder / "checkpoint").write_text(entry.format(name.format(folder=folder)) + "\n")
    (folder / "best.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint of it"):
        ModelFolder(folder).choose()
    done = run_aocr("train", numbers, "--model-dir", folder, "--num-epoch", "50")
    assert_clean_failure(done, "no checkpoint of it")
    assert (other / "ckpt-1.index").read_text() == "precious"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0", b"model_checkpoint_path: 5", b"x" * 10_000, b'model_checkpoint_path: ""']
)
def test_a_damaged_name_of_the_newest(folder, content):
    (folder / "checkpoint").write_bytes(content)
    (folder / "best.json").unlink()
    with pytest.raises(AocrError):
        ModelFolder(folder).choose()


@pytest.mark.parametrize(
    "points",
    [
        5,
        {"a": 1},
        ["x"],
        [{"step": "x", "loss": 1}],
        [{"steps": 1}],
        [{"step": 1, "loss": []}],
        [{"step": 1, "loss": 10**400}],
        [{"step": -(10**400), "loss": 1}],
    ],
)
def test_damaged_curves_begin_anew(folder, points, caplog):
    from aocr.training.history import History

    (folder / "history.json").write_text(json.dumps({"points": points}))
    (folder / "train.json").write_text(json.dumps({"datasets": 5}))
    assert History(ModelFolder(folder), 5).points == []


# a weights.npz from a stranger


def test_weights_with_python_objects_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.array([print], object))
    with pytest.raises(CheckpointError, match="damaged"):
        read_compact(str(tmp_path / "weights.npz"))


# a full disk


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_stops_nothing_and_is_told_once(capsys):
    set_up_log("/dev/full")
    try:
        for number in range(3):
            logging.getLogger("aocr").info("line %d", number)
    finally:
        close_log()
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "line" in line] == ["line 0", "line 1", "line 2"]
    rest = [line for line in told if "line" not in line]
    assert len(rest) == 1 and rest[0].startswith("warning: /dev/full: the log cannot be written")


# Images

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 32\n%%EndComments\n/x 1 def\nshowpage\n%%EOF\n"


@pytest.mark.skipif(os.name != "posix", reason="the program that must not run is a shell script")
@pytest.mark.parametrize("read", [canonical_image, load_image])
def test_no_image_starts_another_program(read, tmp_path, monkeypatch):
    """Pillow reads EPS, a language of its own, by Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n", "utf-8")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    with pytest.raises(ImageError, match=r"a\.png"):
        read(EPS, "a.png")
    assert not (tmp_path / "ran").exists()


def test_nothing_but_the_package_goes_into_the_docker_image():
    """`COPY . .` would keep every file of the folder in a layer: keys, data, models."""
    rules = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert rules[0] == "*" and rules[-1] == "**/__pycache__"
    needed = ["aocr", "LICENSE", "README.md", "pyproject.toml", "requirements.txt", "setup.py"]
    assert rules[1:-1] == [f"!{name}" for name in needed]
    assert all((ROOT / name).exists() for name in needed)
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    assert "USER aocr" in lines and lines.index("USER aocr") < lines.index('ENTRYPOINT ["aocr"]')


# what a stranger's folder may hold beside files


@pytest.mark.parametrize("name", ["model.json", "best.json", "checkpoint", "best-7.index"])
def test_a_pipe_in_a_model_folder_is_refused(folder, image, name):
    folder.joinpath(name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    told = assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), name)
    assert "is a pipe or a device" in told


def test_a_file_without_end_is_no_model(folder, image):
    folder.joinpath("model.json").unlink()
    folder.joinpath("model.json").symlink_to("/dev/zero")
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "is a pipe or a device")


@pytest.mark.parametrize(("name", "most"), [("model.json", 4), ("best.json", 4), ("history.json", 16)])
def test_lists_in_a_json_file_do_not_fill_the_memory(name, most, tmp_path):
    """Each takes three bytes there and 150 in memory: 64 MB, once allowed, took 3.3 GB and nine seconds."""
    (tmp_path / name).write_text(f'{{"a": [{"[]," * 2**19 * most}[]]}}')
    with pytest.raises(CheckpointError, match=f"more than {most} MiB"):
        ModelFolder(tmp_path).read_json(name)


def test_a_huge_file_is_not_taken_into_memory(folder, image, tmp_path):
    for path in (folder / "model.json", tmp_path / "huge.png", tmp_path / "weights.npz"):
        path.touch()
        os.truncate(path, 2**36)
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "more than 4 MiB")
    with pytest.raises(ImageError, match="more than 1024 MiB"):
        read_file(tmp_path / "huge.png")
    with pytest.raises(CheckpointError, match="more than 1024 MiB"):
        read_compact(str(tmp_path / "weights.npz"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_an_image_that_never_ends_is_not_read(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a pipe or a device, not a file"):
        read_file(tmp_path / "a.png")
    tmp_path.joinpath("a.txt").write_text("a.png A\n")
    assert "a pipe or a device" in run_aocr("dataset", tmp_path / "a.txt", tmp_path / "a.tfrecords").stderr


def test_a_font_that_never_ends_is_passed_over(tmp_path):
    os.mkfifo(tmp_path / "a.ttf")
    with pytest.raises(ConfigError, match="holds no font"):
        font_files([str(tmp_path)])


@pytest.mark.parametrize(
    "header", ["{'shape': (1L", "-" * 9000 + "1", "{'descr': '<f2', 'fortran_order': False, 'shape': (10**9,)}"]
)
def test_odd_headers_of_weights_are_told(tmp_path, header):
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        read_compact(str(tmp_path / "weights.npz"))


@pytest.mark.parametrize("value", [np.ones(3, complex), np.ones(3, np.int8), np.ones(3, [("a", np.float32)])])
def test_weights_that_are_no_floats_are_told(tmp_path, value):
    np.savez(tmp_path / "weights.npz", a=value)
    with pytest.raises(CheckpointError, match="holds no floats"):
        read_compact(str(tmp_path / "weights.npz"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_told(folder, tmp_path, value):
    """They read every image as an empty text of confidence NaN."""
    np.savez(tmp_path / "w.npz", w=np.array([0.5, value], np.float16))
    with pytest.raises(CheckpointError, match="'w' holds what is no number"):
        read_compact(str(tmp_path / "w.npz"))
    model = build_recognizer(ModelFolder(folder).read_config())
    weights = weights_of(model)
    next(iter(weights.values())).assign_add(tf.fill(next(iter(weights.values())).shape, value))
    tf.train.Checkpoint(averaged=weights).write(str(tmp_path / "spoilt"))
    with pytest.raises(CheckpointError, match="holds what is no number"):
        read_weights(str(tmp_path / "spoilt"))


def test_weights_that_are_no_arrays_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("a", "text")
    with pytest.raises(CheckpointError, match="holds no floats"):
        read_compact(str(tmp_path / "weights.npz"))


def test_weights_behind_a_password_or_badly_compressed_are_told(tmp_path):
    path = tmp_path / "weights.npz"
    for compression, at, damage in ((zipfile.ZIP_LZMA, 60, b"\xff" * 20), (zipfile.ZIP_STORED, 6, b"\x01")):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("a.npy", bytes(range(256)) * 4)
        data = bytearray(path.read_bytes())
        data[at : at + len(damage)] = damage
        if len(damage) == 1:
            data[data.rindex(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="missing or damaged"):
            read_compact(str(path))


@pytest.mark.parametrize("values", [{"height": 32.0}, {"channels": True}, {"channels": 1.0}])
def test_numbers_of_another_type_are_refused(values):
    with pytest.raises(ConfigError, match="must be a whole number"):
        ModelConfig.from_dict({"charset": "01", **values})


# what lies in the working directory is not run


HOSTILE = "from pathlib import Path\nPath({!r}).touch()\nraise ImportError('a stranger')\n"


def hostile_folder(tmp_path, *names):
    """A working directory with modules under these names, and the file that tells whether one was run."""
    folder, told = tmp_path / "hostile", tmp_path / "was-run"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.py").write_text(HOSTILE.format(str(told)))
    return folder, told


def test_drawing_runs_nothing_of_the_working_directory(tmp_path):
    folder, told = hostile_folder(tmp_path, "multiprocessing", "numpy", "pickle")
    start = tmp_path / "aocr"
    start.write_text("from aocr.__main__ import run\nif __name__ == '__main__':\n    run()\n")
    command = [sys.executable, start, "synth", tmp_path / "out", "--count", "4", "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert not told.exists()
    assert done.returncode == 0, done.stderr


# what is removed when a training starts anew


def test_only_files_of_a_training_are_removed(folder, tmp_path):
    others = ["best-photo.jpg", "ckpt-notes.txt", "thesis.tmp", "logs/precious.txt", "logs/sub/a.txt"]
    ours = ["ckpt-12.index", "ckpt-12.data-00000-of-00001", "best-3_temp/part", "model.json.77.tmp", "history.json"]
    ours += ["logs/events.out.tfevents.1.host.2.0.v2", "checkpoint.tmp12ab"]
    for name in others + ours:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    ModelFolder(folder).clear()
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == set(others)


def everything_in(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "aocr.log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    "name", ["train.json", "history.json", "curves.png", "weights.npz", "best-1.index", "checkpoint"]
)
@pytest.mark.parametrize("more", [(), ("--no-resume",)])
def test_a_first_training_writes_over_nothing_of_others(numbers, name, more):
    project = numbers.parent
    (project / name).write_text("mine")
    before = everything_in(project)
    done = run_aocr("train", numbers.name, "--model-dir", ".", *more, cwd=project)
    assert_clean_failure(done, f"{name} in it is not of a model of aocr", "Choose another folder")
    assert everything_in(project) == before


def test_a_model_of_another_program_is_not_written_over(numbers):
    project = numbers.parent
    (project / "model.json").write_text('{"class_name": "Sequential"}')
    before = everything_in(project)
    done = run_aocr("train", numbers.name, "--model-dir", ".", "--no-resume", cwd=project)
    assert_clean_failure(done, "model.json in it is not of a model of aocr")
    assert everything_in(project) == before


def test_folders_of_others_are_left_alone(folder):
    for name in ("checkpoint", "best-1.index", "reading.pb"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
        (folder / name / "precious.txt").write_text("x")
    ModelFolder(folder).clear()
    assert {path.parent.name for path in folder.rglob("precious.txt")} == {"checkpoint", "best-1.index", "reading.pb"}


def test_a_new_best_takes_the_place_of_the_best_before_alone(folder):
    for name in ("best-photo.jpg", "best-of/a.txt", "best-3.index", "best-3.data-00000-of-00001"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    ModelFolder(folder).write_best(7, 0.5, 0.25, False)
    left = {str(path.relative_to(folder)) for path in folder.rglob("best-*") if path.is_file()}
    assert left == {"best-photo.jpg", "best-7.index", "best-7.data-00000-of-00001"}
    assert (folder / "best-of/a.txt").exists()


def test_a_clearing_that_is_killed_can_be_done_again(folder, monkeypatch):
    remove, removed = files.remove, []

    def remove_two(path):
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path)
        remove(path)

    monkeypatch.setattr(files, "remove", remove_two)
    with pytest.raises(KeyboardInterrupt):
        ModelFolder(folder).clear()
    monkeypatch.undo()
    ModelFolder(folder).clear()
    assert not list(folder.iterdir())


def test_nothing_is_removed_through_a_link(folder, tmp_path):
    (tmp_path / "home").mkdir()
    for name in ("mine.txt", "events.out.tfevents.1"):
        (tmp_path / "home" / name).write_text("x")
    (folder / "logs").symlink_to(tmp_path / "home")
    ModelFolder(folder).clear()
    assert len(list((tmp_path / "home").iterdir())) == 2


def test_the_log_of_a_training_is_no_link(folder, numbers, tmp_path):
    (tmp_path / "rc").write_text("x")
    (folder / "aocr.log").symlink_to(tmp_path / "rc")
    assert_clean_failure(run_aocr("train", numbers, "--model-dir", folder), "aocr.log", "is a link")
    assert (tmp_path / "rc").read_text() == "x"


@pytest.mark.parametrize("name", ["logs", "best.json", "ckpt-7.index", "best-7.data-00000-of-00001", "ckpt-7_temp"])
def test_a_training_writes_to_no_link(folder, tmp_path, name):
    (tmp_path / "rc").mkdir()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "rc")
    (folder / "data").symlink_to(tmp_path / "rc")  # of a person's own, perhaps
    with pytest.raises(TrainingError, match=f"{name}: is a link"), ModelFolder(folder).held():
        pass
    (folder / name).unlink()
    with ModelFolder(folder).held():
        pass


def test_the_log_of_a_training_is_no_pipe(folder, numbers, monkeypatch):
    os.mkfifo(folder / "aocr.log")
    monkeypatch.setattr("aocr.cli.main.set_up_log", lambda path: pytest.fail("it would wait for ever"))
    assert_clean_failure(run_aocr("train", numbers, "--model-dir", folder), "aocr.log", "is a pipe")


@pytest.mark.parametrize(
    "argv", ["predict {image} --model-dir {pipe}.onnx", "dataset {pipe} o", "test {pipe} --model-dir words"]
)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_in_place_of_what_is_read_does_not_hold_it(image, tmp_path, argv, make):
    make(tmp_path / "pipe.onnx")
    make(tmp_path / "pipe")
    done = run_aocr(*argv.format(image=image, pipe=tmp_path / "pipe").split(), cwd=tmp_path)
    assert_clean_failure(done, "pipe", "cannot be read (a pipe or a device, not a file)")


def test_labels_are_not_written_to_a_pipe(image, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = run_aocr("label", image, "--output", tmp_path / "pipe")
    assert_clean_failure(done, "--output", "must be a file on this machine's disk")


def test_a_checkpoint_that_is_cut_off_is_told(folder, image):
    path = next(folder.glob("best-7.data-*"))
    os.truncate(path, path.stat().st_size // 2)
    assert_clean_failure(run_aocr("predict", image, "--model-dir", folder), "missing or damaged")


def test_an_import_looks_at_the_index_first(folder, tmp_path):
    index = folder / "best-7.index"
    index.write_bytes(index.read_bytes()[:-60] + index.read_bytes()[-48:])
    done = run_aocr("import", folder / "best-7", "--model-dir", tmp_path / "imported")
    assert_clean_failure(done, "best-7", "missing or damaged")


def test_checkpoints_are_not_written_through_links(tmp_path):
    folder, target, elsewhere = tmp_path / "m", tmp_path / "precious", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir()
    target.write_text("mine")
    for prefix in ("ckpt-7", "best-7"):
        (folder / f"{prefix}.index").symlink_to(target)
        (folder / f"{prefix}.data-00000-of-00001").symlink_to(target)
        (folder / f"{prefix}_temp").symlink_to(elsewhere)
    (folder / f"best.json.{os.getpid()}.tmp").symlink_to(target)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    averages = {"a": tf.Variable(1.0)}
    checkpoints = Checkpoints(ModelFolder(folder), model, averages, keras.optimizers.SGD(), {"step": tf.Variable(7)})
    checkpoints.save(7)
    checkpoints.save_best(7, 0.5, 0.5)
    assert (target.read_text(), list(elsewhere.iterdir())) == ("mine", [])
    assert read_weights(str(folder / "best-7")) == {"a": 1.0}


def test_records_are_not_written_through_a_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / f"o.{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
    with RecordWriter(str(tmp_path / "o")):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("name", ["run[1]", "run*"])
def test_a_folder_that_tensorflow_takes_for_a_pattern(folder, numbers, name):
    """In `run[1]` it found no checkpoint, and a training there removed those of `run1`."""
    beside = folder.rename(folder.with_name("run1"))
    before = {path.name: path.read_bytes() for path in beside.iterdir()}
    odd = beside.with_name(name)
    tiny = "--attn-num-hidden 16 --look-alikes 0 --init-from none --steps-per-checkpoint 1 --batch-size 2"
    for epochs in (3, 5):
        done = run_aocr("train", numbers, "--model-dir", odd, "--num-epoch", epochs, *tiny.split())
        assert done.returncode == 0, done.stderr
    names = ModelFolder(odd).newest_names()
    assert names == ["ckpt-4", "ckpt-5"] == sorted(path.stem for path in odd.glob("*.index"))
    assert {path.name: path.read_bytes() for path in beside.iterdir()} == before


def test_a_pointer_of_any_size_is_not_read(folder):
    """TensorFlow read it whole, and ended the process where there was no memory."""
    os.truncate(folder / "checkpoint", 2**21)
    with pytest.raises(CheckpointError, match="has more than 1 MiB"):
        ModelFolder(folder).newest()


@pytest.mark.parametrize("name", ["\\033[31mckpt-7", "*", "ckpt-7*", "best-7"])
def test_a_pointer_names_checkpoints_of_a_training_alone(folder, name):
    """TensorFlow printed the name as it stood, and would have removed all that fits it."""
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "ckpt-7"\nall_model_checkpoint_paths: "{name}"\n')
    with pytest.raises(CheckpointError, match=r"checkpoint: names .*Restore the folder whole"):
        ModelFolder(folder).newest()


def test_a_checkpoint_that_is_not_there_is_none(folder, capfd):
    (folder / "ckpt-7.index").unlink()
    assert ModelFolder(folder).newest() is None
    assert not capfd.readouterr().err
