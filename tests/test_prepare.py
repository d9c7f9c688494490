"""What a training refuses before it begins, and what it leaves behind then."""

import math

import pytest
from conftest import draw_numbers

from aocr.cli.main import main
from aocr.folder.model_folder import ModelFolder
from aocr.results import number


def test_a_wrong_path_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "nothing.txt"]) == 1
    assert "no such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_all_empty_are_told(tmp_path, monkeypatch, capsys):
    data = draw_numbers(tmp_path / "n", 4)
    data.write_text("".join(f"{i}.png \n" for i in range(4)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", str(data), "d.tfrecords"]) == 0
    assert "every label is empty" in capsys.readouterr().err
    for flags in ([], ["--charset", "digits"]):
        assert main(["train", "d.tfrecords", *flags]) == 1
        assert "every label is empty" in capsys.readouterr().err
    assert not (tmp_path / "checkpoints").exists()


def test_only_the_last_folder_of_an_output_is_made(tmp_path, capsys):
    data = draw_numbers(tmp_path / "n", 2)
    assert main(["dataset", str(data), str(tmp_path / "typo" / "x" / "y")]) == 1
    assert f"there is no folder {tmp_path / 'typo'}" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
    assert main(["dataset", str(data), str(tmp_path / "new" / "y")]) == 0


def test_the_lock_is_taken_when_the_folder_is_made(tmp_path):
    pytest.importorskip("fcntl")
    first, second = ModelFolder(tmp_path / "m"), ModelFolder(tmp_path / "m")
    with first.held(), second.held():
        first._make()
        with pytest.raises(Exception, match="another training is at work"):
            second._make()
    with second.held():
        pass


def test_a_flag_of_another_command_is_not_called_misspelt(capsys):
    with pytest.raises(SystemExit):
        main(["dataset", "a.txt", "--color"])
    err = capsys.readouterr().err
    assert "It is a flag of train" in err and "Did you mean" not in err


def test_a_score_of_nothing_is_a_dash():
    assert number(math.nan, ".3f") == "-"
    assert number(1.5, ".3f") == "1.500"
