"""The exception tree: its shape, its drawing in the docstring, and one-line messages."""

from __future__ import annotations

import inspect
import logging
import pickle
import re

import pytest

from aocr import errors
from aocr.cli import main
from aocr.errors import AocrError

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]

MESSAGES = [
    (errors.AocrError("what happened."), "what happened."),
    (errors.AnnotationError("labels.txt", 17, "no label."), "labels.txt:17: no label."),
    (errors.AnnotationError("labels.txt", None, "is empty."), "labels.txt: is empty."),
    (errors.ImageError("a.png", "is empty."), "a.png: is empty."),
    (errors.DatasetError("a.tfrecords", "is damaged."), "a.tfrecords: is damaged."),
    (errors.ConfigError("arch", "big", "unknown."), "arch = 'big': unknown."),
    (errors.CheckpointError("m", "is empty."), "m: is empty."),
    (errors.TrainingError("the loss is not finite."), "the loss is not finite."),
    (errors.ExportError("it differs from the model."), "it differs from the model."),
    (
        errors.CharsetError("é", "café"),
        "'café' has a character outside the charset: 'é'. Retrain with --charset, or drop the line.",
    ),
    (errors.CharsetError("é&", "é&", "Drop it."), "'é&' has characters outside the charset: 'é', '&'. Drop it."),
]


@pytest.mark.parametrize(("error", "message"), MESSAGES)
def test_messages(error, message):
    assert str(error) == message


def test_tree_in_the_docstring():
    drawn = dict(re.findall(r"^[├└]── (\w+)(?:\(([^)]*)\))?", errors.__doc__, re.MULTILINE))
    assert set(drawn) == {cls.__name__ for cls in CLASSES if cls is not AocrError}
    assert all(cls.__base__ is AocrError for cls in CLASSES if cls is not AocrError)
    assert AocrError.__base__ is Exception
    assert {type(error) for error, _ in MESSAGES} == set(CLASSES)
    for error, _ in MESSAGES:
        for name in filter(None, drawn.get(type(error).__name__, "").split(", ")):
            assert hasattr(error, name)


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "a\0b", "\ud800"])
def test_messages_stay_on_one_printable_line(text):
    for error in (errors.CharsetError(text, text), errors.ConfigError("charset", text, "no.")):
        assert str(error).isprintable()


def test_paths_may_be_path_objects(tmp_path):
    error = errors.ImageError(tmp_path / "a.png", "is empty.")
    assert error.name == str(tmp_path / "a.png") and error.reason == "is empty."


def test_pickling():
    assert str(pickle.loads(pickle.dumps(errors.TrainingError("no.")))) == "no."


def test_control_characters_are_escaped_in_messages_and_log(capsys, tmp_path):
    name, escaped = "\x1b[2J\u202e\n.png", "\\x1b[2J\\u202e\\n.png"
    assert str(errors.ImageError(name, "is empty.")) == f"{escaped}: is empty."
    main.set_up_log(str(tmp_path / "log"))
    logging.getLogger("aocr").info("Checking %s", name)
    main.close_log()
    assert capsys.readouterr().err == f"Checking {escaped}\n"
    assert (tmp_path / "log").read_text("utf-8").endswith(f"Checking {escaped}\n")
