"""The tree of errors: its shape, its drawing, and messages of one line."""

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

RAISED = [
    errors.AocrError("what went wrong."),
    errors.AnnotationError("labels.txt", 17, "has no label."),
    errors.CharsetError("é", "café"),
    errors.ImageError("a.png", "is empty (0 bytes)."),
    errors.DatasetError("a.tfrecords", "is damaged."),
    errors.ConfigError("batch_size", 0, "must be a whole number of 1 or more."),
    errors.CheckpointError("checkpoints", "there is no model.json."),
    errors.TrainingError("the loss is not finite."),
    errors.ExportError("it does not equal the model."),
]


def drawn_tree() -> dict[str, list[str]]:
    """Class -> names of its arguments, as the module's docstring draws them."""
    lines = re.findall(r"^[├└]── (\w+)(?:\(([^)]*)\))?", errors.__doc__, re.MULTILINE)
    return {name: [argument.strip() for argument in arguments.split(",") if argument] for name, arguments in lines}


def test_the_drawn_tree_is_the_tree():
    assert set(drawn_tree()) == {cls.__name__ for cls in CLASSES if cls is not AocrError}
    assert all(cls.__base__ is AocrError for cls in CLASSES if cls is not AocrError)
    assert AocrError.__base__ is Exception


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_the_drawn_arguments_are_attributes(error):
    for name in drawn_tree().get(type(error).__name__, []):
        assert hasattr(error, name)


def test_every_class_is_raised_here():
    assert {type(error) for error in RAISED} == set(CLASSES)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_a_message_is_one_line_and_a_sentence(error):
    message = str(error)
    assert len(message.splitlines()) == 1
    assert message.endswith(".")
    assert inspect.getdoc(type(error)).splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.AnnotationError("labels.txt", 17, "no label."), "labels.txt:17: no label."),
        (errors.AnnotationError("labels.txt", None, "is empty."), "labels.txt: is empty."),
        (errors.ImageError("a.png", "is empty."), "a.png: is empty."),
        (errors.DatasetError("a.tfrecords", "is damaged."), "a.tfrecords: is damaged."),
        (errors.ConfigError("arch", "big", "unknown."), "arch = 'big': unknown."),
        (errors.CheckpointError("m", "is empty."), "m: is empty."),
        (
            errors.CharsetError("é", "café"),
            "'café' has a character outside the charset: 'é'. Retrain with --charset, or drop the line.",
        ),
        (errors.CharsetError("é&", "é&", "Drop it."), "'é&' has characters outside the charset: 'é', '&'. Drop it."),
    ],
)
def test_messages_say_where_what_and_what_to_do(error, message):
    assert str(error) == message


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "a\0b", "\ud800"])
def test_hostile_texts_and_values_stay_on_one_printable_line(text):
    for error in (errors.CharsetError(text, text), errors.ConfigError("charset", text, "no.")):
        assert str(error).isprintable()


def test_paths_may_be_path_objects(tmp_path):
    error = errors.ImageError(tmp_path / "a.png", "is empty.")
    assert error.name == str(tmp_path / "a.png") and error.reason == "is empty."


def test_one_except_catches_them_all():
    for error in RAISED:
        with pytest.raises(AocrError):
            raise error


def test_plain_errors_survive_pickling():
    assert str(pickle.loads(pickle.dumps(errors.TrainingError("no.")))) == "no."


def test_names_in_messages_and_log_lines_cannot_control_the_terminal(capsys, tmp_path):
    name = "\x1b[2J\u202e\n.png"
    told = "\\x1b[2J\\u202e\\n.png"
    assert str(errors.ImageError(name, "is empty.")) == f"{told}: is empty."
    main.set_up_log(str(tmp_path / "log"))
    logging.getLogger("aocr").info("Checking %s", name)
    main.close_log()
    assert capsys.readouterr().err == f"Checking {told}\n"
    assert (tmp_path / "log").read_text("utf-8").endswith(f"Checking {told}\n")
