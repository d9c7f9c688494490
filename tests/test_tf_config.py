"""TF_CONFIG: the tasks of a cluster."""

import json

import pytest
from conftest import assert_clean_failure, run_aocr

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
def test_damaged_values(text):
    with pytest.raises(ConfigError) as caught:
        task_from(text)
    assert caught.value.field == "TF_CONFIG"


def test_single_process_is_not_a_cluster(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config({"chief": ["c:1"]}, "chief"))
    assert current_task() is None
    monkeypatch.setenv("TF_CONFIG", config({"chief": ["c:1"], "ps": ["p:1"]}, "ps"))
    assert current_task().index == -1


def test_damaged_value_is_one_line(tmp_path):
    assert_clean_failure(run_aocr("train", tmp_path, env={"TF_CONFIG": "{"}), "TF_CONFIG", "JSON")


def test_parameter_server_has_nothing_to_do(tmp_path):
    done = run_aocr("train", tmp_path, "--model-dir", tmp_path / "m", env={"TF_CONFIG": config(BOTH, "ps")})
    assert done.returncode == 0 and "Nothing to do" in done.stderr
    assert not (tmp_path / "m").exists()
