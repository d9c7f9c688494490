"""Checkpoints of aocr 0.7.6, under both spellings of their names, become model folders."""

import os

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, assert_clean_failure, run_aocr

from aocr.errors import CheckpointError, ConfigError
from aocr.exchange.aocr_0_7_6 import import_checkpoint
from aocr.folder.model_folder import ModelFolder
from aocr.reading.predictor import load
from aocr.text.charset import NAMES, Charset

UPSTREAM = ROOT.parent / "shared" / "upstream"
LIMITS = {"max_width": 160, "max_height": 60, "max_prediction": 8}
DECODER = "embedding_attention_decoder/attention_decoder"
CELL = f"{DECODER}/multi_rnn_cell/cell_0"


def old_variables(hidden=8, layers=2, embedding=10, vocabulary=39, channels=1, gru=False, port=False):
    """Random weights with the names of the released program, or of its TensorFlow 2 port."""
    rng = np.random.default_rng(0)
    units = hidden * layers
    variables = {}

    def put(name, *shape):
        variables[name] = rng.normal(0, 0.3, shape).astype(np.float32)

    filters, inputs = (64, 128, 256, 256, 512, 512, 512), channels
    for i, outputs in enumerate(filters, 1):
        put(f"conv_conv{i}/W", *((2, 2) if i == 7 else (3, 3)), inputs, outputs)
        inputs = outputs
    norm = "batch_normalization" if port else "BatchNorm"
    for i in (3, 5, 7):
        for part in ("beta", "gamma", "moving_mean"):
            put(f"conv_conv{i}/{norm}/{part}", filters[i - 1])
        variables[f"conv_conv{i}/{norm}/moving_variance"] = rng.uniform(0.1, 2, filters[i - 1]).astype(np.float32)
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
    variables["Variable"] = np.array(1234, np.int32)
    return variables


def write_old(folder, variables):
    """Write a checkpoint as TensorFlow 1's Saver does, with one of Adadelta's slots."""
    folder.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {**variables, "conv_conv1/W/Adadelta": np.zeros((3, 3), np.float32)}
        by_name = {name: tf.compat.v1.Variable(value) for name, value in variables.items()}
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(by_name)
        saver.save(session, str(folder / "model.ckpt"), global_step=1234, write_meta_graph=False)
    return folder


def import_to(old, model_dir, charset="alphanumeric", **typed):
    return import_checkpoint(str(old), str(model_dir), Charset(NAMES[charset]), {**LIMITS, **typed})


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return write_old(tmp_path_factory.mktemp("old"), old_variables())


CASES = {"lstm": {}, "gru": {"gru": True, "layers": 3, "channels": 3, "embedding": 7}}


@pytest.mark.parametrize("case", CASES)
def test_both_spellings_give_the_same_model(case, tmp_path):
    settings = CASES[case]
    weights = []
    for port in (False, True):
        old = write_old(tmp_path / f"old{port}", old_variables(port=port, **settings))
        config, step = import_to(old, tmp_path / f"new{port}")
        weights.append(ModelFolder(tmp_path / f"new{port}").read_weights())
    assert step == 1234
    assert (config.attn_num_hidden, config.attn_num_layers) == (8, settings.get("layers", 2))
    assert (config.use_gru, config.channels) == (settings.get("gru", False), settings.get("channels", 1))
    assert config.target_embedding_size == settings.get("embedding", 10)
    assert sorted(os.listdir(tmp_path / "newTrue")) == ["model.json", "weights.npz"]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])


@pytest.mark.slow
def test_imported_model_is_tested_exported_and_fine_tuned(old, numbers, tmp_path):
    model = tmp_path / "m"
    done = run_aocr("import", old, "--model-dir", model)
    assert done.returncode == 0, done.stderr
    assert "Read the weights of step 1234: 2 layers of 8 LSTM units" in done.stderr
    assert run_aocr("test", numbers, "--model-dir", model, "--json").returncode == 0
    done = run_aocr("export", tmp_path / "e", "--model-dir", model)
    assert done.returncode == 0, done.stderr
    tuned = ("train", numbers, "--init-from", model, "--model-dir", tmp_path / "t", "--max-time", "1s")
    done = run_aocr(*tuned, "--batch-size", "8")
    assert done.returncode == 0, done.stderr


def test_flags_of_the_network_are_checked(tmp_path):
    old = write_old(tmp_path / "old", old_variables(gru=True, channels=3, layers=3))
    for name, value in {"channels": 1, "attn_num_layers": 2, "attn_num_hidden": 128, "use_gru": False}.items():
        with pytest.raises(ConfigError):
            import_to(old, tmp_path / "m", **{name: value})
    assert not (tmp_path / "m").exists()
    right = ("--color", "--use-gru", "--attn-num-layers=3", "--attn-num-hidden=8", "--target-embedding-size=10")
    done = run_aocr("import", old, "--model-dir", tmp_path / "m", *right)
    assert done.returncode == 0, done.stderr


def test_wrong_charset(old, tmp_path):
    with pytest.raises(ConfigError, match=r"95 symbols.* reads 36"):
        import_to(old, tmp_path / "m", "full-ascii")


def test_existing_files_are_kept(old, tmp_path):
    import_to(old, tmp_path)
    with pytest.raises(CheckpointError, match="holds a model already"):
        import_to(old, tmp_path)
    (tmp_path / "model.json").unlink()  # the rest may be anybody's
    with pytest.raises(CheckpointError, match=r"weights\.npz"):
        import_to(old, tmp_path)
    with pytest.raises(CheckpointError):
        import_to(old, old)


def test_folder_that_was_copied_from_another_machine(tmp_path):
    old = write_old(tmp_path / "old", old_variables())
    (old / "checkpoint").write_text('model_checkpoint_path: "/home/elsewhere/model.ckpt-1234"')
    assert import_to(old, tmp_path / "m")[1] == 1234


def test_missing_and_cut_checkpoints_are_one_line(tmp_path):
    assert_clean_failure(run_aocr("import", tmp_path, "--model-dir", tmp_path / "m"), "holds no checkpoint")
    cut = write_old(tmp_path / "cut", old_variables())
    next(cut.glob("*.data-*")).unlink()
    assert_clean_failure(run_aocr("import", cut, "--model-dir", tmp_path / "m"), "Copy the whole folder")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "name, value",
    [("conv_conv3/W", np.zeros((3, 3, 64, 128), np.float32)), (f"{DECODER}/AttnV_0", np.zeros(3, np.float32))],
)
def test_checkpoints_of_other_networks(name, value, tmp_path):
    old = write_old(tmp_path / "old", {**old_variables(), name: value})
    with pytest.raises(CheckpointError, match="has shape"):
        import_to(old, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_checkpoint_of_another_program(tmp_path):
    other = write_old(tmp_path / "other", {"w": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"is not a checkpoint of aocr 0\.7\.6"):
        import_to(other, tmp_path / "m")


@pytest.mark.skipif(not UPSTREAM.exists(), reason="the released program's reference is not on this machine")
def test_released_program_is_read_the_same(tmp_path):
    import_to(UPSTREAM / "model", tmp_path / "m")
    reference = np.load(UPSTREAM / "reference.npz")
    paths = [UPSTREAM / "images" / f"{str(name).removesuffix('.png')}.png" for name in reference["names"]]
    texts = [prediction.text for prediction in load(str(tmp_path / "m")).predict(paths)]
    assert texts == [str(text) for text in reference["prediction"]]
