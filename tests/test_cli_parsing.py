"""The command line up to the point where a command runs: flags, defaults, older spellings, wrong usage."""

import argparse
import re
import subprocess
import sys

import pytest
from conftest import ROOT, assert_clean_failure, run_aocr

from aocr.cli import legacy, options
from aocr.cli.main import COMMANDS, command_first, main, make_parser
from aocr.cli.train import train_config
from aocr.config import OPTIMIZERS, ReadConfig, TrainConfig
from aocr.errors import ConfigError


def parse(*argv: str) -> argparse.Namespace:
    return make_parser().parse_args(command_first(list(argv)))


def parse_line(line: str) -> argparse.Namespace:
    return parse(*line.split())


def parse_legacy(*argv: str) -> argparse.Namespace:
    assert legacy.is_legacy(list(argv))
    return parse(*legacy.translate(list(argv)))


# Types of values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("45s", 45), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1h2m3s", 3723), (" 5m ", 300)],
)
def test_duration(text, seconds):
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "m", "10 m", "1.5h", "-5", "5d", "30m1h", "0", "0h0m", "ten", "9" * 400])
def test_not_a_duration(text):
    with pytest.raises(argparse.ArgumentTypeError):
        options.duration(text)


def test_positive():
    assert options.positive("1") == 1
    for text in ("0", "-3"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be 1 or more"):
            options.positive(text)
    with pytest.raises(ValueError, match="invalid literal"):
        options.positive("1.5")


def test_numbers_that_fill_any_memory():
    assert options.batch("65536") == 65536
    for allowed, text in ((options.batch, str(10**21)), (options.batch, "0"), (options.length, "301")):
        with pytest.raises(argparse.ArgumentTypeError, match="must be 1 to"):
            allowed(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf"])
def test_above_zero(text):
    assert options.above_zero("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="must be above 0"):
        options.above_zero(text)


# Flags before the command, as scripts for aocr 0.7.6 may have them


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("train f", "train f"),
        ("--model-dir D train f", "train --model-dir D f"),
        ("--model-dir=D train f", "train --model-dir=D f"),
        ("--no-resume train f", "train --no-resume f"),
        ("--model-dir train train f", "train --model-dir train f"),
        ("--model-dir test predict a.png", "predict --model-dir test a.png"),
        ("--max-width 90 --color test f --visualize", "test --max-width 90 --color f --visualize"),
        ("--help", "--help"),
        ("--version", "--version"),
        ("serve test", "serve test"),
        ("tarin train", "tarin train"),
        ("", ""),
    ],
)
def test_command_first(argv, expected):
    assert command_first(argv.split()) == expected.split()


def test_a_dataset_named_like_a_command():
    assert parse("train", "test").datasets == ["test"]
    assert parse("--no-resume", "train", "train").datasets == ["train"]


def test_flags_before_the_command_have_their_effect():
    args = parse("--model-dir", "D", "--max-width", "90", "train", "f", "--batch-size", "8")
    assert (args.command, args.datasets, args.model_dir, args.max_width, args.batch_size) == (
        "train",
        ["f"],
        "D",
        90,
        8,
    )


# Flags of aocr 0.7.6


def test_train_takes_every_flag_of_0_7_6():
    args = parse_line(
        "train f.tfrecords --steps-per-checkpoint 7 --batch-size 3 --num-epoch 2 --no-resume --max-width 90 "
        "--max-height 40 --max-prediction 5 --full-ascii --color --use-gru --attn-num-layers 3 "
        "--attn-num-hidden 16 --initial-learning-rate 0.5 --job-dir J --target-embedding-size 4 "
        "--output-dir O --max-gradient-norm 2 --no-gradient-clipping --gpu-id 1 --log-path L --no-distance "
        "--target-vocab-size 99"
    )
    assert options.typed_network(args) == {
        "channels": 3,
        "max_width": 90,
        "max_height": 40,
        "max_prediction": 5,
        "attn_num_hidden": 16,
        "attn_num_layers": 3,
        "target_embedding_size": 4,
        "use_gru": True,
    }
    assert options.typed_charset(args) == "full-ascii"
    assert (args.resume, args.model_dir, args.output_dir, args.gpu_id) == (False, "J", "O", 1)
    assert (args.log_path, args.use_distance, args.target_vocab_size) == ("L", False, 99)
    assert train_config(args) == TrainConfig(
        batch_size=3,
        num_epoch=2,
        steps_per_checkpoint=7,
        optimizer="adadelta",
        initial_learning_rate=0.5,
        max_gradient_norm=2.0,
        clip_gradients=False,
    )


def test_test_takes_every_flag_of_0_7_6():
    args = parse_line(
        "test f.tfrecords --visualize --output-dir O --model-dir D --max-width 90 --max-height 40 --color "
        "--full-ascii --max-prediction 5 --gpu-id 0 --no-distance --log-path L --use-gru"
    )
    assert (args.visualize, args.output_dir, args.model_dir, args.use_distance) == (True, "O", "D", False)
    assert options.typed_network(args) == {
        "channels": 3,
        "max_width": 90,
        "max_height": 40,
        "max_prediction": 5,
        "use_gru": True,
    }


def test_dataset_takes_every_flag_of_0_7_6():
    args = parse("dataset", "a.txt", "out.tfrecords", "--log-step", "9", "--no-force-uppercase", "--save-filename")
    assert (args.annotations, args.output, args.log_step) == ("a.txt", "out.tfrecords", 9)
    assert (args.force_uppercase, args.save_filename) == (False, True)
    assert parse("dataset", "a.txt", "--force-uppercase").force_uppercase is True


def test_export_and_predict_take_the_words_of_0_7_6():
    args = parse("export", "--format=frozengraph", "exported", "--max-height", "40")
    assert (args.format, args.export_dir, args.max_height) == ("frozengraph", "exported", 40)
    assert parse("predict").images == []
    assert parse("predict", "a.png", "-").images == ["a.png", "-"]


# Defaults, and what counts as typed


def test_defaults_are_those_of_the_config():
    assert train_config(parse("train", "f")) == TrainConfig()


def test_only_typed_flags_count():
    assert options.typed_network(parse("train", "f")) == {}
    assert options.typed_charset(parse("train", "f")) is None
    assert options.typed_network(parse("train", "f", "--max-width", "160")) == {"max_width": 160}
    assert options.typed_network(parse("predict", "a.png", "--arch", "classic")) == {"arch": "classic"}
    assert options.typed_charset(parse("train", "f", "--charset", "digits")) == "digits"


@pytest.mark.parametrize(
    ("argv", "optimizer", "rate"),
    [
        ("", "adamw", None),
        ("--initial-learning-rate 1.0", "adadelta", 1.0),
        ("--initial-learning-rate 0.1", "adadelta", 0.1),
        ("--initial-learning-rate 0.0999", "adamw", 0.0999),
        ("--initial-learning-rate 1.0 --optimizer adamw", "adamw", 1.0),
        ("--initial-learning-rate 1e-3 --optimizer adadelta", "adadelta", 1e-3),
        ("--optimizer sgd", "sgd", None),
    ],
)
def test_a_large_learning_rate_means_adadelta(argv, optimizer, rate):
    config = train_config(parse("train", "f", *argv.split()))
    assert (config.optimizer, config.initial_learning_rate) == (optimizer, rate)
    assert config.learning_rate == (rate or OPTIMIZERS[optimizer])


def test_training_flags_reach_the_config():
    args = parse_line("train f --max-time 10m --patience 3 --no-augment --seed 5 --precision bfloat16")
    config = train_config(args)
    assert (config.max_time, config.patience, config.augment, config.seed) == (600.0, 3, False, 5)
    assert config.precision == "bfloat16"


# The interface of the original Attention-OCR

TRAIN = ("--phase=train", "--data-path=train.txt", "--data-base-dir=B", "--log-path=log.txt", "--no-load-model")
TEST = (
    *("--phase=test", "--visualize", "--data-path=test.txt", "--data-base-dir=B", "--log-path=log.txt"),
    *("--load-model", "--model-dir=M", "--output-dir=R"),
)


def underscores(words):
    return [word[:2] + word[2:].replace("-", "_") for word in words]


def one_dash(words):
    return [word[1:] for word in words]


@pytest.mark.parametrize("spelling", [list, underscores, one_dash])
def test_legacy_training(spelling):
    args = parse_legacy(*spelling(TRAIN))
    assert (args.command, args.datasets, args.data_base_dir, args.log_path) == ("train", ["train.txt"], "B", "log.txt")
    assert args.resume is False
    assert options.typed_network(args) == {}


@pytest.mark.parametrize("spelling", [list, underscores, one_dash])
def test_legacy_testing(spelling):
    args = parse_legacy(*spelling(TEST))
    assert (args.command, args.datasets, args.data_base_dir, args.log_path) == ("test", ["test.txt"], "B", "log.txt")
    assert (args.visualize, args.model_dir, args.output_dir) == (True, "M", "R")


def test_legacy_flags_with_the_value_apart():
    args = parse_legacy("--phase", "train", "--data-path", "my_train-set.txt", "--model-dir", "a_b", "--gpu-id", "-1")
    assert (args.datasets, args.model_dir, args.gpu_id) == (["my_train-set.txt"], "a_b", -1)


def test_legacy_values_keep_their_underscores():
    args = parse_legacy("--phase=train", "--data_path=my_data/a_b.txt", "--model_dir=my_model")
    assert (args.datasets, args.model_dir) == (["my_data/a_b.txt"], "my_model")


OPTIMIZATION = (
    *("--num-epoch=3", "--batch-size=4", "--initial-learning-rate=1.0", "--steps-per-checkpoint=6"),
    *("--target-embedding-size=20", "--attn-use-lstm", "--attn-num-hidden=32", "--attn-num-layers=2"),
    "--target-vocab-size=39",
)


@pytest.mark.parametrize("spelling", [list, underscores])
def test_legacy_training_flags_have_their_effect(spelling):
    args = parse_legacy(*spelling([*TRAIN, *OPTIMIZATION]))
    config = train_config(args)
    assert (config.num_epoch, config.batch_size, config.steps_per_checkpoint) == (3, 4, 6)
    assert (config.optimizer, config.learning_rate) == ("adadelta", 1.0)
    network = {"target_embedding_size": 20, "attn_num_hidden": 32, "attn_num_layers": 2}
    assert options.typed_network(args) == network
    assert args.target_vocab_size == 39


@pytest.mark.parametrize("apart", [False, True])
def test_legacy_testing_passes_over_training_flags(apart):
    words = [*TEST, *OPTIMIZATION]
    if apart:
        words = [part for word in words for part in word.split("=")]
    args = parse_legacy(*words)
    assert (args.command, args.datasets, args.model_dir) == ("test", ["test.txt"], "M")
    network = {"target_embedding_size": 20, "attn_num_hidden": 32, "attn_num_layers": 2}
    assert options.typed_network(args) == network


@pytest.mark.parametrize("flag", ["--use-gru", "--no-attn-use-lstm"])
def test_legacy_gru(flag):
    for words in (TRAIN, TEST):
        assert options.typed_network(parse_legacy(*words, flag)) == {"use_gru": True}


def test_legacy_resumes_unless_told_otherwise():
    assert parse_legacy("--phase=train", "--data-path=f").resume is True
    assert parse_legacy("--phase=train", "--data-path=f", "--load-model").resume is True
    assert parse_legacy("--phase=test", "--data-path=f", "--no-visualize").visualize is False


def test_legacy_drawing_belongs_to_testing():
    assert parse_legacy(*TRAIN, "--visualize").command == "train"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--phase=train", "--data-path=f", "--old-model-version"), "Train anew"),
        (("--phase=test", "--data-path=f", "--no-load-model"), "needs a trained model"),
    ],
)
def test_legacy_requests_without_meaning(argv, words):
    with pytest.raises(ConfigError, match=words):
        legacy.translate(list(argv))
    assert legacy.translate(["--phase=test", "--data-path=f", "--no-old-model-version"]) == ["test", "f"]


def test_not_legacy():
    assert not legacy.is_legacy(["train", "phase.txt"])
    assert not legacy.is_legacy([])


# Wrong usage


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "tarin f",
        "tarin train",
        "train",
        "test",
        "dataset",
        "train f --no-such-flag",
        "train f --batch-size 0",
        "train f --batch-size many",
        "train f --max-time soon",
        "train f --optimizer lion",
        "train f --arch old",
        "train f --initial-learning-rate -1",
        "train f --initial-learning-rate nan",
        "train f --seed x",
        "train f --charset-policy maybe",
        "dataset a b c",
        "dataset a --shards 0",
        "dataset a --shards 100000",
        "synth o.tfrecords --shards 100000",
        "export --format onnxx",
        "predict a.png --precision int1",
        "--phase=dance --data-path=f",
        "--phase=train",
    ],
)
def test_wrong_usage_exits_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv.split())
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("aocr") and captured.err.count("\n") == 1
    assert "--help shows the usage" in captured.err
    assert "Traceback" not in captured.err


def test_wrong_usage_as_a_program():
    done = subprocess.run([sys.executable, "-m", "aocr", "train"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_error_is_one_line(capsys):
    assert main(["--phase=test", "--data-path=f", "--no-load-model"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("aocr:")
    assert captured.err.count("\n") == 1


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("aocr")


def test_no_flag_is_taken_for_another():
    """Flags mean the same in each command that has them."""
    sub = next(action for action in make_parser()._actions if action.choices)
    for command in COMMANDS:
        flags = {f: a.dest for a in sub.choices[command]._actions for f in a.option_strings}
        if command not in ("dataset", "synth"):
            assert flags["--model-dir"] == flags["--job-dir"] == "model_dir"
        assert flags["--log-path"] == "log_path"


def test_the_page_of_flags_has_every_flag_that_help_shows():
    table = (ROOT / "docs/flags.md").read_text("utf-8").partition("\n## ")[0]
    told = set(re.findall(r"--[a-z-]+", table))
    sub = next(action for action in make_parser()._actions if action.choices)
    for command in COMMANDS:
        actions = (a for a in sub.choices[command]._actions if a.help != argparse.SUPPRESS)
        shown = {flag for action in actions for flag in action.option_strings if flag.startswith("--")}
        assert shown <= told, f"aocr {command}: {sorted(shown - told)}"


@pytest.mark.parametrize(
    "words, meant",
    [
        (["predict", "--modle-dir", "x"], "--model-dir"),
        (["train", "x", "--batchsize=3"], "--batch-size"),
        (["test", "x", "--visualise"], "--visualize"),
    ],
)
def test_a_misspelt_flag_is_named_in_one_line_with_the_one_that_was_meant(words, meant, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and f"Did you mean {meant}?" in lines[0]


@pytest.mark.parametrize("command", ["train", "test"])
def test_a_missing_dataset_is_told_before_tensorflow_starts(command, tmp_path, capsys):
    missing = str(tmp_path / "nosuch.txt")
    assert main([command, missing, "--model-dir", str(tmp_path / "model")]) == 1
    assert capsys.readouterr().err == (
        f"aocr: {missing}: there is no such file. Check the path; make records with aocr dataset.\n"
    )


@pytest.mark.parametrize("command", ["train", "test"])
def test_a_model_folder_is_no_dataset(command, tmp_path):
    """It holds one image, curves.png, which would be read as `curves`."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}")
    done = run_aocr(command, tmp_path / "m", "--model-dir", tmp_path / "n")
    assert_clean_failure(done, f"{tmp_path / 'm'}: is the folder of a model", "--model-dir")


def test_a_report_takes_the_place_of_a_page_alone(tmp_path, numbers):
    model = tmp_path / "model.json"
    model.write_text("{}")
    done = run_aocr("test", numbers, "--model-dir", tmp_path, "--report", model)
    assert_clean_failure(done, "model.json: already exists and is no page")
    assert model.read_text() == "{}"


def test_no_export_hides_the_reader_in_the_box():
    assert_clean_failure(run_aocr("export", "words"), "hide", "aocr export DIR --model-dir words")


def test_a_beam_that_fills_any_memory():
    for how in ({"beam": 10**8}, {"alternatives": 1000}):
        with pytest.raises(ConfigError, match="must be less than 1,000"):
            ReadConfig(**how)
    assert ReadConfig(beam=999).width == 999


@pytest.mark.parametrize("words", [["train", "DATA"], ["test", "DATA"], ["predict"], ["export"]])
def test_a_model_dir_that_is_a_file_is_told(words, tmp_path, capsys):
    data = tmp_path / "data.txt"
    data.write_text("a.png A\n")
    words = [str(data) if word == "DATA" else word for word in words]
    assert main([*words, "--model-dir", str(data)]) == 1
    assert "is a file. Give the folder of the model." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["-\x1b[31mx.png", "--no\x1b[31m", "--j\u202eson=\x07"])
def test_what_is_no_flag_is_told_without_control_characters(name, capsys):
    """A glob gives files of any name to a command."""
    with pytest.raises(SystemExit):
        main(["predict", name])
    told = capsys.readouterr().err
    assert "unrecognized arguments" in told and told.count("\n") == 1 and told[:-1].isprintable()
