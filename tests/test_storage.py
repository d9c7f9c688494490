"""Files on any file system that TensorFlow supports (here ram://, which lives in one process), written atomically."""

import json
import os
import subprocess

import pytest
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr

import tensorflow as tf  # isort: skip
from aocr import files
from aocr.errors import AocrError
from aocr.folder.model_folder import ModelFolder

gfile = tf.io.gfile


def run(*args) -> str:
    """Standard output and error of a command that succeeds."""
    done = run_aocr(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_write_replaces_and_leaves_nothing_else():
    files.write("ram://files/a", b"1")
    files.write("ram://files/a", b"2")
    assert files.read("ram://files/a") == b"2"
    assert gfile.listdir("ram://files") == ["a"]


def test_failed_write_keeps_the_old_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OSError):
        files.write(tmp_path / "file" / "below", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_file_system_that_cannot_replace_files(tmp_path, monkeypatch):
    """Some network file systems refuse to rename a file over another."""
    numbers, out = draw_numbers(tmp_path / "n", 3), tmp_path / "out" / "d.tfrecords"
    assert f"Made the folder {tmp_path / 'out'}\n" in run("dataset", numbers, out)
    before = out.read_bytes()

    def refuse(path, to, overwrite):
        raise FileExistsError(17, "File exists", str(to))

    monkeypatch.setattr(files._LOCAL, "rename", refuse)
    assert_clean_failure(run_aocr("dataset", numbers, out), "cannot be written", "File exists")
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["d.tfrecords"]


def test_copy_tree(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"c")
    (tmp_path / "a" / "main").write_bytes(b"m")
    files.copy_tree(str(tmp_path / "a"), "ram://copies/a", last="main")
    assert files.read("ram://copies/a/b/c") == b"c" and files.read("ram://copies/a/main") == b"m"


def test_files_of_another_type_are_not_replaced(tmp_path):
    files.write_picture(tmp_path / "a.png", files.PNG)
    files.write_picture(tmp_path / "a.png", files.PNG + b"2")
    (tmp_path / "b.png").write_text("text")
    with pytest.raises(AocrError):
        files.write_picture(tmp_path / "b.png", files.PNG)
    assert (tmp_path / "b.png").read_text() == "text"


def test_clearing_a_model_folder_removes_only_its_files(folder, monkeypatch):
    others = ["best-photo.jpg", "ckpt-notes.txt", "thesis.tmp", "logs/mine.txt"]
    ours = ["ckpt-12.index", "ckpt-12.data-00000-of-00001", "model.json.77.tmp", "logs/events.out.tfevents.1.host"]
    for name in others + ours:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    remove = files.remove

    def remove_once(path):
        remove(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "remove", remove_once)
    with pytest.raises(KeyboardInterrupt):
        ModelFolder(folder).clear()
    monkeypatch.undo()
    ModelFolder(folder).clear()  # what was killed can be done again
    rest = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert rest == {*others, "aocr.log"}


# ram:// in place of the cloud


@pytest.fixture(scope="module")
def cloud(shared, numbers, tmp_path_factory):
    """A folder of ram:// with images, records, and a model trained there."""
    base = "ram://cloud"
    for path in draw_numbers(tmp_path_factory.mktemp("local"), 60, seed=4).parent.iterdir():
        files.write(f"{base}/images/{path.name}", path.read_bytes())
    run("dataset", f"{base}/images/numbers.txt", f"{base}/out/numbers.tfrecords", "--shards", 2,
        "--report", f"{base}/left-out.txt", "--preview", f"{base}/preview.png")  # fmt: skip
    run("train", f"{base}/out/numbers.tfrecords-*", "--validation", numbers,
        "--model-dir", f"{base}/model", *SMALL, "--num-epoch", 2, "--init-from", "none")  # fmt: skip
    return base


@pytest.mark.slow
def test_dataset_and_training(cloud):
    shards = ["numbers.tfrecords-00000-of-00002", "numbers.tfrecords-00001-of-00002"]
    assert sorted(gfile.listdir(f"{cloud}/out")) == shards
    assert files.read(f"{cloud}/preview.png").startswith(files.PNG)
    names = gfile.listdir(f"{cloud}/model")
    assert {"model.json", "weights.npz", "train.json", "history.json", "curves.png"} <= set(names)
    assert not [name for name in names if name.endswith(".tmp")]
    flags = ("--model-dir", f"{cloud}/model", *SMALL, "--num-epoch", 3, "--output-dir", f"{cloud}/pages")
    output = run("train", f"{cloud}/out/numbers.tfrecords-*", *flags)
    assert "Resuming from ram://cloud/model/ckpt-" in output


@pytest.mark.slow
def test_test_with_visualize_and_report(cloud):
    flags = ("--visualize", "--output-dir", f"{cloud}/results", "--report", f"{cloud}/report.html", "--json")
    done = run_aocr("test", f"{cloud}/out/numbers.tfrecords-*", "--model-dir", f"{cloud}/model", *flags)
    assert json.loads(done.stdout)["num_images"] == 60
    assert files.read(f"{cloud}/report.html").startswith(b"<!DOCTYPE html>")
    verdicts = {name.rstrip("/") for name in gfile.listdir(f"{cloud}/results")}
    assert len(verdicts) > 1 and verdicts <= {"correct", "incorrect", "index.html"}


@pytest.mark.slow
def test_export_to_the_folders_of_vertex_ai(cloud, monkeypatch):
    monkeypatch.setenv("AIP_CHECKPOINT_DIR", f"{cloud}/model")
    run("export", f"{cloud}/saved")
    serve = tf.saved_model.load(f"{cloud}/saved/1").signatures["serving_default"]
    assert serve(input=tf.constant(files.read(f"{cloud}/images/0.png")))["output"].dtype == tf.string
    monkeypatch.setenv("AIP_MODEL_DIR", f"{cloud}/vertex")  # Vertex AI expects the model there, without a number
    run("export")
    assert "saved_model.pb" in gfile.listdir(f"{cloud}/vertex")


@pytest.mark.slow
def test_tensorboard_folder_of_vertex_ai(cloud, monkeypatch, numbers, tmp_path):
    monkeypatch.setenv("AIP_TENSORBOARD_LOG_DIR", f"{cloud}/board")
    monkeypatch.setenv("AIP_CHECKPOINT_DIR", f"{tmp_path}/model")
    run("train", numbers, *SMALL, "--num-epoch", 1)
    assert any("tfevents" in name for name in gfile.listdir(f"{cloud}/board"))
    assert (tmp_path / "model" / "model.json").exists() and not (tmp_path / "model" / "logs").exists()


@pytest.mark.parametrize(
    "line",
    [
        "train nofs://bucket/data.tfrecords",
        "train NUMBERS --model-dir nofs://bucket/model",
        "test NUMBERS --model-dir nofs://bucket/model",
        "dataset NUMBERS nofs://bucket/out.tfrecords",
        "train NUMBERS --log-path nofs://bucket/log.txt",
    ],
)
def test_unknown_file_system(line, numbers, tmp_path):
    assert_clean_failure(run_aocr(*line.replace("NUMBERS", str(numbers)).split(), cwd=tmp_path), "nofs")


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of the given size."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size):
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            pytest.skip("needs root to mount a small disk")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
        if done.returncode:
            pytest.skip("this machine does not allow mounting a small disk")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_full_disk_while_training_loses_nothing(numbers, small_disk):
    model_dir = small_disk("44m") / "m"
    flags = ("--model-dir", model_dir, *SMALL, "--steps-per-checkpoint", "5")
    done = run_aocr("train", numbers, *flags, "--num-epoch", "3")
    assert_clean_failure(done, "cannot be written", "Free space")
    run("predict", numbers.parent / "0.png", "--model-dir", model_dir)
