"""TF_CONFIG: who is who in a cluster. No TensorFlow here."""

import json

import pytest
from conftest import assert_clean_failure, run_aocr

from aocr.cli import options
from aocr.cli.main import main
from aocr.errors import ConfigError
from aocr.tf_config import Task, current_task, task_from


def config(cluster, kind, index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"})


BOTH = {"chief": ["c:1"], "worker": ["w:1", "w:2"], "ps": ["p:1"]}


@pytest.mark.parametrize(
    ("text", "task"),
    [
        (None, None),
        ("", None),
        ("{}", None),
        (config({}, "chief"), None),
        (config({"worker": ["a:1", "b:1"]}, "worker", 1), Task(("a:1", "b:1"), 1)),
        (config(BOTH, "chief"), Task(("c:1", "w:1", "w:2"), 0)),
        (config(BOTH, "worker", 1), Task(("c:1", "w:1", "w:2"), 2)),
        (config({"master": ["m:1"], "worker": ["w:1"]}, "master"), Task(("m:1", "w:1"), 0)),  # ML Engine's name
        (config(BOTH, "ps"), Task(("c:1", "w:1", "w:2"), -1)),
        (config(BOTH, "evaluator"), Task(("c:1", "w:1", "w:2"), -1)),
    ],
)
def test_task(text, task):
    assert task_from(text) == task


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": ["a"]}',
        config({"worker": "a:1"}, "worker"),
        config({"worker": ["a:1"]}, "worker", 1),
        config({"worker": ["a:1"]}, "worker", -1),
        config({"worker": ["a:1"]}, "chief"),
        config({"worker": ["a:1"]}, "cook"),
        config({"worker": ["a:1"]}, "worker", float("inf")),
        "[" * 60_000,
        json.dumps({"cluster": {"worker": ["a:1"]}}),
    ],
)
def test_damaged_values_are_named(text):
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        task_from(text)


def test_one_process_alone_is_no_cluster(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config({"chief": ["c:1"]}, "chief"))
    assert current_task() is None
    monkeypatch.setenv("TF_CONFIG", config({"chief": ["c:1"], "ps": ["p:1"]}, "ps"))
    assert current_task().index == -1


def test_a_damaged_value_is_one_line(tmp_path):
    assert_clean_failure(run_aocr("train", tmp_path, env={"TF_CONFIG": "{"}), "TF_CONFIG", "JSON")


def test_a_parameter_server_has_nothing_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TF_CONFIG", config(BOTH, "ps"))
    assert main(["train", str(tmp_path), "--model-dir", str(tmp_path / "m")]) == 0
    assert "Nothing to do" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(("text", "value"), [("all", "all"), ("2", "2"), ("0,2", "0,2"), ("3,", "3,")])
def test_devices(text, value):
    assert options.devices(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "some", "1,1", "1,x", ""])
def test_wrong_devices(text):
    import argparse

    with pytest.raises(argparse.ArgumentTypeError):
        options.devices(text)
