"""Checkpoints of aocr 0.7.6, under both spellings of their names, become model folders."""

import os

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, assert_clean_failure, run_aocr

from aocr.errors import CheckpointError, TrainingError
from aocr.exchange.aocr_0_7_6 import import_checkpoint
from aocr.folder.variables import weights_of
from aocr.reading.predictor import load
from aocr.text.charset import NAMES, Charset

UPSTREAM = ROOT.parent / "shared" / "upstream"
LIMITS = {"max_width": 160, "max_height": 60, "max_prediction": 8}
DECODER = "embedding_attention_decoder/attention_decoder"
CELL = f"{DECODER}/multi_rnn_cell/cell_0"


def old_variables(hidden=8, layers=2, embedding=10, vocabulary=39, channels=1, gru=False, port=False, seed=0):
    """Random weights under the names of the released program, or of its TensorFlow 2 port."""
    rng = np.random.default_rng(seed)
    units = hidden * layers
    found = {}

    def put(name, *shape):
        found[name] = rng.normal(0, 0.3, shape).astype(np.float32)

    filters, before = (64, 128, 256, 256, 512, 512, 512), channels
    for i, after in enumerate(filters, 1):
        put(f"conv_conv{i}/W", *((2, 2) if i == 7 else (3, 3)), before, after)
        before = after
    for i in (3, 5, 7):
        for part in ("beta", "gamma", "moving_mean", "moving_variance"):
            put(f"conv_conv{i}/{'batch_normalization' if port else 'BatchNorm'}/{part}", filters[i - 1])
            found[f"conv_conv{i}/{'batch_normalization' if port else 'BatchNorm'}/{part}"] += part != "beta"
        name = f"conv_conv{i}/{'batch_normalization' if port else 'BatchNorm'}/moving_variance"
        found[name] = np.abs(found[name]) + 0.1
    for way in ("fw", "bw"):
        put(f"bidirectional_rnn/{way}/basic_lstm_cell/kernel", 512 + units, 4 * units)
        put(f"bidirectional_rnn/{way}/basic_lstm_cell/bias", 4 * units)
    kernel, bias = ("weights", "biases") if port else ("kernel", "bias")
    memory, state = 2 * units, units * (1 if gru else 2)
    for name, rows, columns in (
        (DECODER, embedding + memory, hidden),
        (f"{DECODER}/Attention_0", state, memory),
        (f"{DECODER}/AttnOutputProjection", hidden + memory, vocabulary),
    ):
        put(f"{name}/{kernel}", rows, columns)
        put(f"{name}/{bias}", columns)
    put(f"{DECODER}/AttnW_0", 1, 1, memory, memory)
    put(f"{DECODER}/AttnV_0", memory)
    put("embedding_attention_decoder/embedding", vocabulary, embedding)
    gates = {"gru_cell/gates": 2, "gru_cell/candidate": 1} if gru else {"basic_lstm_cell": 4}
    for cell, count in gates.items():
        put(f"{CELL}/{cell}/kernel", 2 * hidden, count * hidden)
        put(f"{CELL}/{cell}/bias", count * hidden)
    found["Variable"] = np.array(1234, np.int32)
    return found


def write_old(folder, variables, slots=True):
    """A checkpoint as TensorFlow 1's Saver writes it, with Adadelta's slots."""
    folder.mkdir(parents=True, exist_ok=True)
    more = {f"{name}/Adadelta": np.zeros_like(value) for name, value in variables.items() if slots and value.ndim}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = {}
        for name, value in {**variables, **more}.items():
            made[name] = tf.compat.v1.Variable(value, name=name.replace("/", "_"))
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(made)
        saver.save(session, str(folder / "model.ckpt"), global_step=1234, write_meta_graph=False)
    return folder


CASES = {"lstm": {}, "gru": {"gru": True}, "three layers of colour": {"layers": 3, "channels": 3, "embedding": 7}}


@pytest.mark.parametrize("case", CASES)
def test_both_spellings_give_the_same_model(case, tmp_path):
    settings = CASES[case]
    results = []
    for port in (False, True):
        old = write_old(tmp_path / f"old{port}", old_variables(port=port, **settings))
        config, step = import_checkpoint(str(old), str(tmp_path / f"new{port}"), Charset(NAMES["alphanumeric"]), LIMITS)
        assert step == 1234
        results.append(load(str(tmp_path / f"new{port}")))
    assert (config.attn_num_hidden, config.attn_num_layers) == (8, settings.get("layers", 2))
    assert (config.use_gru, config.channels) == (settings.get("gru", False), settings.get("channels", 1))
    assert config.target_embedding_size == settings.get("embedding", 10)
    image = np.random.default_rng(1).integers(0, 256, (40, 90, 3)).astype(np.uint8)
    one, other = (reader.predict([image])[0] for reader in results)
    assert one.text == other.text
    np.testing.assert_allclose(one.attention, other.attention, atol=1e-6)
    for a, b in zip(*(weights_of(predictor.reader.model).values() for predictor in results), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.slow
def test_an_imported_model_is_tested_exported_and_tuned(numbers, tmp_path):
    write_old(tmp_path / "old", old_variables())
    model = tmp_path / "m"
    done = run_aocr("import", tmp_path / "old", "--model-dir", model)
    assert done.returncode == 0, done.stderr
    assert "Read the weights of step 1234: 2 layers of 8 LSTM units" in done.stderr
    assert run_aocr("test", numbers, "--model-dir", model, "--json").returncode == 0
    done = run_aocr("export", tmp_path / "e", "--model-dir", model)
    assert done.returncode == 0, done.stderr
    tuned = ("train", numbers, "--init-from", model, "--model-dir", tmp_path / "t", "--max-time", "1s")
    done = run_aocr(*tuned, "--batch-size", "8")
    assert done.returncode == 0, done.stderr
    assert "classic network" in done.stderr
    assert_clean_failure(run_aocr("import", tmp_path / "old", "--model-dir", model), "holds a model already")


def test_flags_of_the_network_are_checked_against_the_checkpoint(tmp_path):
    old = write_old(tmp_path / "old", old_variables(gru=True, channels=3, layers=3))
    model = tmp_path / "m"
    wrong = {
        ("--no-color",): ("--no-color", "colour"),
        ("--attn-num-layers", "2"): ("--attn-num-layers = 2", "has 3"),
        ("--attn-num-hidden", "128"): ("--attn-num-hidden = 128", "has 8"),
        ("--target-embedding-size", "11"): ("--target-embedding-size = 11", "has 10"),
    }
    for flags, words in wrong.items():
        assert_clean_failure(run_aocr("import", old, "--model-dir", model, *flags), *words)
    assert not model.exists()
    right = ("--color", "--use-gru", "--attn-num-layers=3", "--attn-num-hidden=8", "--target-embedding-size=10")
    done = run_aocr("import", old, "--model-dir", model, *right)
    assert done.returncode == 0, done.stderr
    old = write_old(tmp_path / "lstm", old_variables())
    done = run_aocr("import", old, "--model-dir", tmp_path / "n", "--use-gru")
    assert_clean_failure(done, "--use-gru", "LSTM cells")


def test_wrong_input_is_one_line(tmp_path):
    assert_clean_failure(run_aocr("import", tmp_path, "--model-dir", tmp_path / "m"), "no complete checkpoint")
    variables = old_variables()
    other = write_old(tmp_path / "other", {"w": np.zeros(3, np.float32)}, slots=False)
    assert_clean_failure(run_aocr("import", other, "--model-dir", tmp_path / "m"), "not a checkpoint of aocr 0.7.6")
    cut = write_old(tmp_path / "cut", variables, slots=False)
    next(cut.glob("*.data-*")).unlink()
    assert_clean_failure(run_aocr("import", cut, "--model-dir", tmp_path / "m"), "damaged", "Copy the whole folder")
    whole = write_old(tmp_path / "whole", variables, slots=False)
    done = run_aocr("import", whole, "--model-dir", tmp_path / "m", "--full-ascii")
    assert_clean_failure(done, "95 symbols", "reads 36")
    assert not (tmp_path / "m").exists()


def test_odd_checkpoints_are_one_line(tmp_path):
    """One that another program made, or a stranger by hand."""
    odd = {
        "embedding_attention_decoder/embedding": np.zeros(39, np.float32),
        f"{DECODER}/kernel": np.zeros((42, 0), np.float32),
        "conv_conv1/W": np.zeros((3, 3), np.float32),
        "conv_conv3/W": np.array("x"),
        "conv_conv5/W": np.full((3, 3, 256, 512), np.nan, np.float32),
        "bidirectional_rnn/bw/basic_lstm_cell/kernel": np.zeros((3, 7), np.float32),
        f"{DECODER}/AttnV_0": np.float32(1),
        "Variable": np.float32("inf"),
    }
    for number, (name, value) in enumerate([*odd.items(), ("Variable", np.int64(10**18))]):
        old = write_old(tmp_path / f"{number}", {**old_variables(), name: value}, slots=False)
        line = assert_clean_failure(run_aocr("import", old, "--model-dir", tmp_path / "m"), str(old))
        assert "unexpected" not in line, line
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["checkpoint", "model.ckpt-1234.index", "model.ckpt-1234.data-00000-of-00001"])
@pytest.mark.parametrize("endless", ["pipe", "/dev/zero"])
def test_a_pipe_in_an_old_folder_holds_no_import(endless, name, tmp_path):
    old = write_old(tmp_path / "old", old_variables(), slots=False)
    (old / name).unlink()
    os.mkfifo(old / name) if endless == "pipe" else (old / name).symlink_to(endless)
    assert_clean_failure(run_aocr("import", old, "--model-dir", tmp_path / "m"), "no complete checkpoint")


def test_an_old_folder_names_nothing_outside(tmp_path):
    """Its file `checkpoint` tells where it lay on another machine, or whatever a stranger likes."""
    old = write_old(tmp_path / "old", old_variables(), slots=False)
    (old / "checkpoint").write_text('model_checkpoint_path: "ram://elsewhere/model.ckpt-1234"')
    assert run_aocr("import", old, "--model-dir", tmp_path / "m").returncode == 0


def test_an_import_removes_nothing(tmp_path):
    """TensorFlow's manager of checkpoints removes those that a file `checkpoint` in its folder names."""
    old = write_old(tmp_path / "old", old_variables(), slots=False)
    (tmp_path / "other.index").write_text("a book's index")
    paths = [tmp_path / "other", old / "model.ckpt-1234"]
    lines = [f'model_checkpoint_path: "{paths[1]}"', *(f'all_model_checkpoint_paths: "{path}"' for path in paths)]
    pointer = "\n".join([*lines, "all_model_checkpoint_timestamps: 1", "all_model_checkpoint_timestamps: 2"])
    (old / "checkpoint").write_text(pointer)
    assert_clean_failure(run_aocr("import", old, "--model-dir", old), "choose another folder")
    assert (old / "checkpoint").read_text() == pointer and (old / "model.ckpt-1234.index").exists()
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "checkpoint").write_text(pointer)
    assert_clean_failure(run_aocr("import", old, "--model-dir", tmp_path / "m"), "checkpoint in it is not of a model")
    assert (tmp_path / "other.index").exists() and (tmp_path / "m" / "checkpoint").read_text() == pointer


def test_an_import_spares_checkpoints_of_another_program(tmp_path):
    """They are called as ours are: the next `train --no-resume` in the folder would remove them."""
    old, model = write_old(tmp_path / "old", old_variables(), slots=False), tmp_path / "m"
    import_checkpoint(str(old), str(model), Charset(NAMES["alphanumeric"]), LIMITS)
    (model / "model.json").unlink()  # as if it had broken off
    import_checkpoint(str(old), str(model), Charset(NAMES["alphanumeric"]), LIMITS)
    (model / "model.json").unlink()
    for name in ("ckpt-7.index", "train.json"):
        (model / name).write_text("mine")
        with pytest.raises(CheckpointError, match=f"{name} in it is not of a model of aocr"):
            import_checkpoint(str(old), str(model), Charset(NAMES["alphanumeric"]), LIMITS)
        (model / name).unlink()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_import_that_broke_off_can_be_done_again(error, tmp_path, monkeypatch):
    old, model = write_old(tmp_path / "old", old_variables(), slots=False), tmp_path / "m"

    def break_off(weights, path):
        os.makedirs(f"{path}_temp")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "write", break_off)
        with pytest.raises((TrainingError, KeyboardInterrupt)) as raised:
            import_checkpoint(str(old), str(model), Charset(NAMES["alphanumeric"]), LIMITS)
    if isinstance(error, OSError):
        assert "m: the weights cannot be written (No space left on device)" in str(raised.value)
    assert not list(model.iterdir())
    done = run_aocr("import", old, "--model-dir", model)
    assert done.returncode == 0, done.stderr
    assert load(str(model)).predict([np.zeros((40, 90), np.uint8)])


@pytest.mark.slow
@pytest.mark.skipif(not UPSTREAM.exists(), reason="the released program's reference is not on this machine")
def test_the_command_reads_the_released_programs_checkpoint(tmp_path):
    done = run_aocr("import", UPSTREAM / "model", "--model-dir", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    reference = np.load(UPSTREAM / "reference.npz")
    names = [str(name) for name in reference["names"]]
    paths = [str(next((UPSTREAM / "images").glob(f"{name.removesuffix('.png')}.png"))) for name in names]
    texts = [prediction.text for prediction in load(str(tmp_path / "m")).predict(paths)]
    assert texts == [str(text) for text in reference["prediction"]]
