"""Every path may lie on any file system that TensorFlow knows. Here: ram://, which lives in one process."""

import json

import pytest
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr

import tensorflow as tf  # isort: skip
from aocr import files
from aocr.cli.main import main

gfile = tf.io.gfile


def run(*args) -> int:
    return main([str(arg) for arg in args])


def read(path: str) -> bytes:
    with gfile.GFile(path, "rb") as file:
        return file.read()


def test_write_file_replaces_and_leaves_nothing_else():
    files.write("ram://files/a", b"1")
    files.write("ram://files/a", b"2")
    assert read("ram://files/a") == b"2"
    assert gfile.listdir("ram://files") == ["a"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OSError):
        files.write(tmp_path / "file" / "below", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_copy_tree(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"c")
    (tmp_path / "a" / "main").write_bytes(b"m")
    files.copy_tree(str(tmp_path / "a"), "ram://copies/a", last="main")
    assert read("ram://copies/a/b/c") == b"c" and read("ram://copies/a/main") == b"m"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A folder of ram:// with images, annotations and a model trained there from records there."""
    base = "ram://cloud"
    local = draw_numbers(tmp_path_factory.mktemp("local"), 60)
    held = draw_numbers(tmp_path_factory.mktemp("held"), 60, seed=9)
    for name, images in (("images", local.parent), ("held", held.parent)):
        for path in images.iterdir():
            files.write(f"{base}/{name}/{path.name}", path.read_bytes())
    assert run("dataset", f"{base}/images/numbers.txt", f"{base}/out/numbers.tfrecords", "--shards", 2,
               "--report", f"{base}/left-out.txt", "--preview", f"{base}/preview.png") == 0  # fmt: skip
    assert run("train", f"{base}/out/numbers.tfrecords-*", "--validation", f"{base}/held/numbers.txt",
               "--model-dir", f"{base}/model", *SMALL, "--num-epoch", 2, "--output-dir", f"{base}/pages",
               ) == 0  # fmt: skip
    return base


def test_dataset_and_training(cloud):
    assert sorted(gfile.listdir(f"{cloud}/out")) == [
        "numbers.tfrecords-00000-of-00002",
        "numbers.tfrecords-00001-of-00002",
    ]
    assert read(f"{cloud}/preview.png").startswith(b"\x89PNG")
    assert read(f"{cloud}/pages/report.html").startswith(b"<!DOCTYPE html>")
    names = gfile.listdir(f"{cloud}/model")
    assert {"model.json", "train.json", "best.json", "history.json", "curves.png", "checkpoint"} <= set(names)
    assert not [name for name in names if name.endswith(".tmp")]
    assert json.loads(read(f"{cloud}/model/model.json"))["format"] == 1


def test_resume(cloud, capsys):
    flags = ("--model-dir", f"{cloud}/model", *SMALL, "--num-epoch", 3)
    assert run("train", f"{cloud}/out/numbers.tfrecords-*", *flags) == 0
    assert "Resuming from ram://cloud/model/ckpt-" in capsys.readouterr().err


def test_test_visualize_and_report(cloud, capsys):
    flags = ("--visualize", "--output-dir", f"{cloud}/results", "--report", f"{cloud}/report.html", "--json")
    assert run("test", f"{cloud}/out/numbers.tfrecords-*", "--model-dir", f"{cloud}/model", *flags) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 60
    assert read(f"{cloud}/report.html").startswith(b"<!DOCTYPE html>")
    kinds = [name.rstrip("/") for name in gfile.listdir(f"{cloud}/results")]
    assert set(kinds) <= {"correct", "incorrect"} and kinds


@pytest.mark.parametrize("kind", ["savedmodel", "frozengraph"])
def test_export(cloud, kind, monkeypatch):
    assert run("export", f"{cloud}/{kind}", "--format", kind, "--model-dir", f"{cloud}/model") == 0
    if kind == "frozengraph":
        assert gfile.listdir(f"{cloud}/{kind}") == ["frozen_graph.pb"]
        return
    serve = tf.saved_model.load(f"{cloud}/{kind}/1").signatures["serving_default"]
    assert serve(input=tf.constant(read(f"{cloud}/images/0.png")))["output"].dtype == tf.string
    monkeypatch.setenv("AIP_MODEL_DIR", f"{cloud}/vertex")  # where Vertex AI looks for the model, without a number
    monkeypatch.setenv("AIP_CHECKPOINT_DIR", f"{cloud}/model")
    assert run("export") == 0
    assert "saved_model.pb" in gfile.listdir(f"{cloud}/vertex")


def test_tensorboard_where_vertex_ai_names_a_folder(cloud, monkeypatch, numbers, tmp_path):
    monkeypatch.setenv("AIP_TENSORBOARD_LOG_DIR", f"{cloud}/board")
    monkeypatch.setenv("AIP_CHECKPOINT_DIR", f"{tmp_path}/model")
    assert run("train", numbers, *SMALL, "--num-epoch", 1) == 0
    assert any("tfevents" in name for name in gfile.listdir(f"{cloud}/board"))
    assert (tmp_path / "model" / "model.json").exists() and not (tmp_path / "model" / "logs").exists()


def test_a_folder_of_named_images(cloud, capsys):
    assert run("dataset", f"{cloud}/images", f"{cloud}/named.tfrecords", "--label-from-filename") == 0
    assert "60 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ("train", "nofs://bucket/data.tfrecords"),
        ("train", "{numbers}", "--model-dir", "nofs://bucket/model"),
        ("test", "{numbers}", "--model-dir", "nofs://bucket/model"),
        ("dataset", "{numbers}", "nofs://bucket/out.tfrecords"),
    ],
)
def test_a_file_system_that_is_not_there(command, numbers, tmp_path):
    args = [arg.format(numbers=numbers) for arg in command]
    assert_clean_failure(run_aocr(*args, cwd=tmp_path), "nofs")


def test_the_log_is_a_local_file(numbers):
    assert_clean_failure(run_aocr("train", numbers, "--log-path", "gs://bucket/log.txt"), "--log-path", "local")
