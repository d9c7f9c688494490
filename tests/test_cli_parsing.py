"""The command line before a command runs: flags, defaults, older spellings, wrong usage."""

import argparse
import re

import pytest
from conftest import ROOT, assert_clean_failure, run_aocr

from aocr.cli import legacy, options, train
from aocr.cli.main import COMMANDS, command_first, main, make_parser
from aocr.config import OPTIMIZERS, TrainConfig, typed_charset, typed_network, typed_settings
from aocr.errors import ConfigError
from aocr.training.command import train_config

SUBPARSERS = next(a for a in make_parser()._actions if isinstance(a.choices, dict)).choices


def parse(line: str) -> argparse.Namespace:
    return make_parser().parse_args(command_first(line.split()))


def parse_legacy(*argv: str) -> argparse.Namespace:
    assert legacy.is_legacy(list(argv))
    return make_parser().parse_args(legacy.translate(list(argv)))


# Types of values


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("45s", 45), ("10m", 600), ("2h", 7200), ("1h2m3s", 3723), (" 5m ", 300)]
)
def test_duration(text, seconds):
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 m", "1.5h", "-5", "5d", "30m1h", "0", "0h0m", "ten", "9" * 400])
def test_invalid_duration(text):
    with pytest.raises(argparse.ArgumentTypeError):
        options.duration(text)


@pytest.mark.parametrize(
    ("kind", "valid", "invalid"),
    [
        (options.positive, "1", ["0", "-3"]),
        (options.batch, "65536", ["0", str(10**21)]),
        (options.length, "300", ["301"]),
        (options.shards, "99999", ["0", "100000"]),
        (options.share, "0.5", ["-0.1", "1.1", "nan"]),
        (options.above_zero, "0.5", ["0", "-1", "nan", "inf"]),
        (options.devices, "all", ["0", "-1", "some", "1,1", "1,x", ""]),
    ],
)
def test_ranges_of_numbers(kind, valid, invalid):
    kind(valid)
    for text in invalid:
        with pytest.raises(argparse.ArgumentTypeError):
            kind(text)


@pytest.mark.parametrize("text", ["all", "2", "0,2", "3,"])
def test_devices(text):
    assert options.devices(text) == text


# Flags before the command, as in scripts for aocr 0.7.6


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("train f", "train f"),
        ("--model-dir D train f", "train --model-dir D f"),
        ("--model-dir=D train f", "train --model-dir=D f"),
        ("--no-resume train train", "train --no-resume train"),
        ("--model-dir train train f", "train --model-dir train f"),
        ("--max-width 90 --color test f --visualize", "test --max-width 90 --color f --visualize"),
        ("--help", "--help"),
        ("serve test", "serve test"),
        ("tarin train", "tarin train"),
        ("", ""),
    ],
)
def test_command_first(argv, expected):
    assert command_first(argv.split()) == expected.split()


# Flags of aocr 0.7.6


def test_train_flags_of_0_7_6():
    args = parse(
        "train f.tfrecords --steps-per-checkpoint 7 --batch-size 3 --num-epoch 2 --no-resume --max-width 90 "
        "--max-height 40 --max-prediction 5 --full-ascii --color --use-gru --attn-num-layers 3 "
        "--attn-num-hidden 16 --initial-learning-rate 0.5 --job-dir J --target-embedding-size 4 "
        "--output-dir O --max-gradient-norm 2 --no-gradient-clipping --gpu-id 1 --log-path L --no-distance "
        "--target-vocab-size 99"
    )
    assert typed_network(vars(args)) == {
        "channels": 3,
        "max_width": 90,
        "max_height": 40,
        "max_prediction": 5,
        "attn_num_hidden": 16,
        "attn_num_layers": 3,
        "target_embedding_size": 4,
        "use_gru": True,
    }
    assert typed_charset(vars(args)) == "full-ascii"
    assert (args.resume, args.model_dir, args.output_dir, args.gpu_id) == (False, "J", "O", 1)
    assert (args.log_path, args.use_distance, args.target_vocab_size) == ("L", False, 99)
    assert train_config(vars(args)) == TrainConfig(
        batch_size=3,
        num_epoch=2,
        steps_per_checkpoint=7,
        optimizer="adadelta",
        initial_learning_rate=0.5,
        max_gradient_norm=2.0,
        clip_gradients=False,
    )


def test_other_flags_of_0_7_6():
    args = parse(
        "test f.tfrecords --visualize --output-dir O --model-dir D --max-width 90 --max-height 40 --color "
        "--full-ascii --max-prediction 5 --gpu-id 0 --no-distance --log-path L --use-gru"
    )
    assert (args.visualize, args.output_dir, args.model_dir, args.use_distance) == (True, "O", ["D"], False)
    network = {"channels": 3, "max_width": 90, "max_height": 40, "max_prediction": 5, "use_gru": True}
    assert typed_network(vars(args)) == network
    args = parse("dataset a.txt out.tfrecords --log-step 9 --no-force-uppercase --save-filename")
    assert (args.annotations, args.output, args.log_step) == ("a.txt", "out.tfrecords", 9)
    assert (args.force_uppercase, args.save_filename) == (False, True)
    assert parse("dataset a.txt --force-uppercase").force_uppercase is True
    args = parse("export --format=frozengraph exported --max-height 40")
    assert (args.format, args.export_dir, args.max_height) == ("frozengraph", "exported", 40)
    assert parse("predict a.png -").images == ["a.png", "-"]


# Defaults, and which flags were typed


def test_defaults_are_those_of_the_config():
    assert train_config(vars(parse("train f"))) == TrainConfig()


def test_only_typed_network_flags_are_attributes():
    assert typed_network(vars(parse("train f"))) == {}
    assert typed_charset(vars(parse("train f"))) is None
    assert typed_network(vars(parse("train f --max-width 160"))) == {"max_width": 160}
    assert typed_network(vars(parse("predict a.png --arch classic"))) == {"arch": "classic"}
    assert typed_settings(vars(parse("train f --charset digits")))["charset"].symbols == "0123456789"
    assert typed_settings(vars(parse("train f --charset auto"))) == {}


@pytest.mark.parametrize(
    ("flags", "optimizer", "rate"),
    [
        ("", "adamw", None),
        ("--initial-learning-rate 0.1", "adadelta", 0.1),
        ("--initial-learning-rate 0.0999", "adamw", 0.0999),
        ("--initial-learning-rate 1.0 --optimizer adamw", "adamw", 1.0),
        ("--optimizer sgd", "sgd", None),
    ],
)
def test_large_learning_rate_selects_adadelta(flags, optimizer, rate):
    config = train_config(vars(parse(f"train f {flags}")))
    assert (config.optimizer, config.initial_learning_rate) == (optimizer, rate)
    assert config.learning_rate == (rate or OPTIMIZERS[optimizer])


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
def test_legacy_spellings(spelling):
    args = parse_legacy(*spelling(TRAIN))
    assert (args.command, args.datasets, args.data_base_dir, args.log_path) == ("train", ["train.txt"], "B", "log.txt")
    assert args.resume is False
    assert typed_network(vars(args)) == {}
    args = parse_legacy(*spelling(TEST))
    assert (args.command, args.datasets, args.data_base_dir, args.log_path) == ("test", ["test.txt"], "B", "log.txt")
    assert (args.visualize, args.model_dir, args.output_dir) == (True, ["M"], "R")


def test_legacy_values_keep_their_underscores_and_dashes():
    args = parse_legacy("--phase", "train", "--data_path", "my_train-set.txt", "--model_dir=a_b", "--gpu-id", "-1")
    assert (args.datasets, args.model_dir, args.gpu_id) == (["my_train-set.txt"], "a_b", -1)


OPTIMIZATION = (
    *("--num-epoch=3", "--batch-size=4", "--initial-learning-rate=1.0", "--steps-per-checkpoint=6"),
    *("--target-embedding-size=20", "--attn-use-lstm", "--attn-num-hidden=32", "--attn-num-layers=2"),
    "--target-vocab-size=39",
)
NETWORK = {"target_embedding_size": 20, "attn_num_hidden": 32, "attn_num_layers": 2}


def test_legacy_training_flags():
    args = parse_legacy(*TRAIN, *OPTIMIZATION)
    config = train_config(vars(args))
    assert (config.num_epoch, config.batch_size, config.steps_per_checkpoint) == (3, 4, 6)
    assert (config.optimizer, config.learning_rate) == ("adadelta", 1.0)
    assert typed_network(vars(args)) == NETWORK
    assert args.target_vocab_size == 39


@pytest.mark.parametrize("apart", [False, True])
def test_legacy_testing_ignores_training_flags(apart):
    words = [*TEST, *OPTIMIZATION]
    if apart:
        words = [part for word in words for part in word.split("=")]
    args = parse_legacy(*words)
    assert (args.command, args.datasets, args.model_dir) == ("test", ["test.txt"], ["M"])
    assert typed_network(vars(args)) == NETWORK


def test_legacy_switches():
    for flag in ("--use-gru", "--no-attn-use-lstm"):
        for words in (TRAIN, TEST):
            assert typed_network(vars(parse_legacy(*words, flag))) == {"use_gru": True}
    assert parse_legacy("--phase=train", "--data-path=f").resume is True
    assert parse_legacy("--phase=test", "--data-path=f", "--no-visualize").visualize is False
    assert parse_legacy(*TRAIN, "--visualize").command == "train"
    assert legacy.translate(["--phase=test", "--data-path=f", "--no-old-model-version"]) == ["test", "f"]


@pytest.mark.parametrize(("phase", "flag"), [("train", "--old-model-version"), ("test", "--no-load-model")])
def test_unsupported_legacy_requests(phase, flag):
    with pytest.raises(ConfigError) as caught:
        legacy.translate([f"--phase={phase}", "--data-path=f", flag])
    assert caught.value.field == flag


def test_not_legacy():
    assert not legacy.is_legacy(["train", "phase.txt"])
    assert not legacy.is_legacy([])


# Wrong usage


@pytest.mark.parametrize(
    "line",
    [
        "",
        "tarin train",
        "train",
        "train f --no-such-flag",
        "train f --batch-size many",
        "train f --max-time soon",
        "train f --arch old",
        "train f --charset-policy maybe",
        "dataset a b c",
        "dataset a --shards 0",
        "export --format onnxx",
        "predict a.png --precision int1",
        "--phase=dance --data-path=f",
        "--phase=train",
        "synth",
    ],
)
def test_wrong_usage_exits_2(line, capsys):
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("aocr") and captured.err.count("\n") == 1
    assert "--help shows the usage" in captured.err


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("predict --modle-dir x", "--model-dir"),
        ("train x --batchsize=3", "--batch-size"),
        ("test x --visualise", "--visualize"),
        ("trian x", "train"),
    ],
)
def test_misspelt_flag_or_command_gets_a_suggestion(line, flag, capsys):
    with pytest.raises(SystemExit):
        main(line.split())
    assert f"Did you mean {flag}?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["-\x1b[31mx.png", "--no\x1b[31m", "--j\u202eson=\x07"])
def test_control_characters_of_an_unknown_flag_are_escaped(name, capsys):
    """A glob can pass files of any name to a command."""
    with pytest.raises(SystemExit):
        main(["predict", name])
    message = capsys.readouterr().err
    assert "unrecognized arguments" in message and message.count("\n") == 1 and message[:-1].isprintable()


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_that_parses(command):
    last = SUBPARSERS[command].format_help().rpartition("\n\n")[2]
    example = re.fullmatch(r"Example: aocr (.*)\n", last.replace("\n  ", " "))
    assert parse(example[1]).command == command


def test_train_shows_its_everyday_flags_first():
    text = SUBPARSERS["train"].format_help()
    everyday = text.partition("everyday flags:")[2].partition("other flags:")[0]
    flags = re.findall(r"^  (--[a-z-]+)", everyday, re.MULTILINE)
    assert flags == list(train.EVERYDAY) and len(flags) == 7
    titles = re.findall(r"^(\S.*):$", text.partition("other flags:")[2], re.MULTILINE)
    assert len(titles) > 4 and all(title.startswith("for experts: ") for title in titles)


@pytest.mark.parametrize("command", ["predict", "test", "export"])
def test_flags_of_the_network_are_accepted_and_hidden(command):
    text = SUBPARSERS[command].format_help()
    assert "--attn" not in text and "--max-width" not in text and "network" not in text
    rest = {"predict": "a.png", "test": "f"}.get(command, "")
    assert parse(f"{command} {rest} --attn-num-hidden 64 --full-ascii").attn_num_hidden == 64


def test_flags_have_the_same_name_in_every_command():
    for command in COMMANDS:
        flags = {flag: action.dest for action in SUBPARSERS[command]._actions for flag in action.option_strings}
        assert flags["--log-path"] == "log_path"
        if command not in ("dataset", "synth", "info"):
            assert flags["--model-dir"] == flags["--job-dir"] == "model_dir"


def test_docs_list_every_flag():
    table = (ROOT / "docs/flags.md").read_text("utf-8").partition("\n## ")[0]
    documented = set(re.findall(r"--[a-z-]+", table))
    for command in COMMANDS:
        actions = [action for action in SUBPARSERS[command]._actions if action.help != argparse.SUPPRESS]
        flags = {flag for action in actions for flag in action.option_strings if flag.startswith("--")}
        assert flags <= documented, f"aocr {command}: {sorted(flags - documented)}"


# Mistakes that are reported before TensorFlow starts


@pytest.mark.parametrize("command", ["train", "test"])
def test_missing_dataset(command, tmp_path):
    missing = tmp_path / "nosuch.txt"
    done = run_aocr(command, missing, "--model-dir", tmp_path / "model")
    assert_clean_failure(done, f"{missing}: there is no such file.")


@pytest.mark.parametrize("command", ["train", "test"])
def test_model_folder_given_as_data(command, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}")
    done = run_aocr(command, tmp_path / "m", "--model-dir", tmp_path / "n")
    assert_clean_failure(done, f"{tmp_path / 'm'}: is a model folder", "--model-dir")


@pytest.mark.parametrize("line", ["train DATA", "test DATA", "predict", "export"])
def test_model_dir_that_is_a_file(line, tmp_path):
    data = tmp_path / "data.txt"
    data.write_text("a.png A\n")
    done = run_aocr(*line.replace("DATA", str(data)).split(), "--model-dir", data)
    assert_clean_failure(done, "is a file. Give the folder of the model.")


def test_folder_of_an_export_given_as_model(tmp_path):
    (tmp_path / "reader.onnx").touch()
    done = run_aocr("predict", "a.png", "--model-dir", tmp_path)
    assert_clean_failure(done, f"Give --model-dir {tmp_path}/reader.onnx")


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("train DATA --exclude DATA", "--exclude"),
        ("train DATA --gpu-id 0 --devices 2", "--devices"),
        ("serve --token=", "--token"),
        ("serve --name a --name b", "--name"),
        ("export words", "DIR"),
        ("synth o --shards 2", "--shards"),
        ("synth o --data-base-dir d", "--data-base-dir"),
        ("synth o --like DATA --texts DATA", "--like"),
    ],
)
def test_flags_that_contradict_each_other(line, flag, tmp_path):
    data = tmp_path / "data.txt"
    data.write_text("a.png A\n")
    assert_clean_failure(run_aocr(*line.replace("DATA", str(data)).split(), cwd=tmp_path), flag)
