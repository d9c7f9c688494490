"""`aocr train --config`, completion, `aocr info` and `aocr check`."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import SMALL, assert_clean_failure, draw_numbers, run_aocr
from PIL import Image

from aocr.cli.config_file import FILE, HEADER, read_config, write_config
from aocr.cli.main import make_parser
from aocr.errors import AocrError, ConfigError
from aocr.folder.model_folder import ModelFolder, WeightsInfo
from aocr.folder.words import BOX

PARSER = next(action for action in make_parser()._actions if isinstance(action.choices, dict)).choices["train"]


def read(text: str, tmp_path) -> tuple[list[str], list[str]]:
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(str(path), PARSER)


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("max-time = '10m'", ["--max-time=10m"]),
        ("max_time = 90", ["--max-time=90"]),
        ("color = true", ["--color"]),
        ("color = false", ["--no-color"]),
        ("augment = false", ["--no-augment"]),
        ("resume = false", ["--no-resume"]),
        ("resume = true", []),
        ("no-resume = true", ["--no-resume"]),
        ("no-resume = false", []),
        ("deterministic = false", []),
        ("gpu-id = -1", ["--gpu-id=-1"]),
        ("validation = ['a', 'b']", ["--validation", "a", "b"]),
    ],
)
def test_flags_of_a_file(line, argv, tmp_path):
    assert read(line, tmp_path) == ([], argv)


def test_datasets_of_a_file(tmp_path):
    assert read("datasets = 'a.txt'", tmp_path)[0] == ["a.txt"]
    assert read("datasets = ['a b.txt', 'c.txt']", tmp_path)[0] == ["a b.txt", "c.txt"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("num-epok = 3", "a.toml: there is no such flag. Did you mean num-epoch?"),
        ("[train]\nseed = 1", "train"),
        ("seed = ", "cannot be read"),
        ("seed = 1\nseed = 2", "cannot be read"),
    ],
)
def test_files_that_are_refused(text, words, tmp_path):
    with pytest.raises((AocrError, ConfigError), match=words):
        read(text, tmp_path)


def test_a_typed_flag_wins_and_values_are_checked(tmp_path):
    """The first error of the command shows which value was used."""
    path = tmp_path / "a.toml"
    path.write_text("datasets = 'nosuch.txt'\npatience = 3\n", encoding="utf-8")
    assert_clean_failure(run_aocr("train", "--config", path), "nosuch.txt: there is no such file")
    assert_clean_failure(run_aocr("train", "other.txt", "--config", path), "other.txt: there is no such file")
    path.write_text("patience = 0", encoding="utf-8")
    done = run_aocr("train", "a.txt", "--config", path)
    assert done.returncode == 2 and "argument --patience: must be 1 or more" in done.stderr
    assert_clean_failure(run_aocr("train", "--config", tmp_path / "none.toml"), "cannot be read")
    done = run_aocr("train")
    assert done.returncode == 2 and "the following arguments are required: DATASET" in done.stderr


EVERYTHING = (
    "a.txt 'b c.txt' --validation v.txt w.txt --max-time 1h --color --no-augment --no-gradient-clipping --seed 0 "
    "--gpu-id 0 --no-resume --config x.toml --augment-strength 0.5 --charset digits --label-from-filename (.+)_1 "
    "--use-gru --patience 4"
)


def test_written_flags_are_read_back(tmp_path):
    args = PARSER.parse_args([word.strip("'") for word in EVERYTHING.replace("b c", "b_c").split()])
    write_config(str(tmp_path), PARSER, args)
    datasets, flags = read_config(str(tmp_path / FILE), PARSER)
    again = PARSER.parse_args(flags)
    expected = vars(args) | {"resume": True, "config": None, "datasets": []}
    assert vars(again) == expected and datasets == args.datasets


def test_a_file_of_the_user_is_kept(tmp_path):
    (tmp_path / FILE).write_text("seed = 1\n")
    write_config(str(tmp_path), PARSER, PARSER.parse_args(["a.txt", "--seed", "2"]))
    assert (tmp_path / FILE).read_text() == "seed = 1\n"


@pytest.mark.slow
def test_a_training_leaves_its_flags_and_can_be_repeated(tmp_path):
    data = draw_numbers(tmp_path / "n", 24)
    flags = (*SMALL, "--num-epoch", "1", "--init-from", "none")
    assert run_aocr("train", data, "--model-dir", tmp_path / "m", *flags).returncode == 0
    written = tmp_path / "m" / FILE
    assert written.read_text("utf-8").startswith(HEADER) and "num-epoch = 1\n" in written.read_text("utf-8")
    done = run_aocr("train", "--config", written, "--model-dir", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    weights = [(tmp_path / name / "weights.npz").read_bytes() for name in ("m", "again")]
    assert weights[0] == weights[1]


# Completion


def complete(*words: str) -> set[str]:
    script = run_aocr("--completion", "bash").stdout
    script += f'COMP_WORDS=({" ".join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _aocr aocr "" ""\n'
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_completion():
    assert complete("aocr", "tr") == {"train"}
    assert {"train", "predict", "--version"} <= complete("aocr", "")
    assert complete("aocr", "train", "--max-w") == {"--max-width"}
    assert complete("aocr", "predict", "--max-ti") == set()
    assert complete("aocr", "train", "--arch", "") == {"default", "classic"}
    assert complete("aocr", "train", "") == set()  # files
    assert run_aocr("--completion", "zsh").stdout.startswith("autoload")


# info


def rows_of(*args) -> dict[str, str]:
    done = run_aocr("info", *args)
    assert done.returncode == 0, done.stderr
    return {line.split("  ")[0]: line.split("  ")[-1].strip() for line in done.stdout.splitlines()}


def test_info(tmp_path):
    shutil.copytree(BOX, tmp_path / "m")
    folder = ModelFolder(tmp_path / "m")
    folder.write_learnt(np.arange(1234))
    folder.write_json("train.json", {"datasets": ["a.txt"]})
    folder.write_config(folder.read_config(), WeightsInfo(7, 0.5, 0.25, temperature=2.0, num_calibration_images=9))
    rows = rows_of(folder)
    assert rows["charset"].startswith(f"{len(folder.read_config().charset)} symbols: ")
    assert "parameters" in rows["size"] and "onnx" in rows["formats"]
    assert (rows["trained on"], rows["datasets"]) == ("1,234 images", "a.txt")
    assert "word accuracy 50.00%" in rows["weights"] and rows["confidence"] == "temperature 2.00, fitted to 9 images"


def test_info_of_no_model(tmp_path):
    assert_clean_failure(run_aocr("info", tmp_path), "not a model folder")


# check


def test_check(tmp_path):
    """Two labels are wrong: one of them shows nothing."""
    numbers = draw_numbers(tmp_path / "n", 12, seed=5)
    lines = numbers.read_text("utf-8").splitlines(keepends=True)
    lines[3] = "3.png 98765\n"
    Image.new("L", (40, 32), 200).save(numbers.parent / "blank.png")
    numbers.write_text("".join(lines) + "blank.png 77\nnone.png 1\n", "utf-8")
    before = set(tmp_path.rglob("*"))
    done = run_aocr("check", numbers, "--model-dir", "words")
    assert done.returncode == 0 and before == set(tmp_path.rglob("*"))
    assert f"13 images from {numbers}\n" in done.stdout and "missing file" in done.stdout
    assert "shows nothing (one colour), but its label is '77'" in done.stderr
    doubted = done.stdout.partition("The model contradicts")[2].splitlines()
    assert sum(line.startswith(("3.png  label '98765'", "blank.png  label '77'")) for line in doubted[1:4]) == 2


def test_check_writes_a_report(tmp_path):
    (tmp_path / "a.txt").write_text("none.png 1\n")
    done = run_aocr("check", tmp_path / "a.txt")
    assert_clean_failure(done, "has no usable line")
