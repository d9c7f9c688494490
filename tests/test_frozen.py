"""The frozen graph that `aocr predict` keeps reads as the network does, for its own checkpoint, from a safe place."""

import json
import os
import shutil
import stat

import numpy as np
import pytest
import tensorflow as tf
from conftest import run_aocr

from aocr import machine
from aocr.config import ModelConfig, ReadConfig
from aocr.folder.checkpoints import write_weights
from aocr.folder.model_folder import ModelFolder
from aocr.model.recognizer import build_recognizer
from aocr.reading import cache, frozen
from aocr.reading.network import NetworkReader
from aocr.reading.predictor import load
from aocr.text.charset import Charset


@pytest.fixture(autouse=True)
def without_onnxruntime(home, monkeypatch):
    """The frozen graph is kept where there is no onnxruntime."""
    monkeypatch.setattr(machine, "has_package", lambda name: name != "onnxruntime")


@pytest.fixture
def images(numbers):
    return [str(numbers.parent / f"{i}.png") for i in range(30)]


def key_of(folder, precision="float32"):
    model = ModelFolder(folder)
    return frozen.key_of(model, model.choose(), precision)


def kept(folder, precision="float32"):
    return frozen.kept_reader(key_of(folder, precision), ModelFolder(folder).read_config())


def keep(folder):
    predictor = load(str(folder), quick=True)
    predictor.close()
    return predictor


def is_frozen(predictor):
    return isinstance(predictor.reader, frozen.FrozenReader)


def test_the_second_call_reads_the_same_without_the_network(folder, images):
    before = sorted(os.listdir(folder))
    args = ("predict", *images, "--model-dir", folder, "--json", "--attention", "--precision", "float32")
    assert kept(folder) is None
    first = run_aocr(*args)
    assert kept(folder) is not None
    second = run_aocr(*args)
    assert first.returncode == second.returncode == 0
    for one, two in zip(first.stdout.splitlines(), second.stdout.splitlines(), strict=True):
        one, two = json.loads(one), json.loads(two)
        assert one["text"] == two["text"] and one["confidence"] == pytest.approx(two["confidence"], abs=1e-5)
        np.testing.assert_allclose(one["attention"], two["attention"], atol=1.1e-4)  # told to 4 decimals
    assert sorted(os.listdir(folder)) == before


def test_batches_errors_and_other_formats(folder, images, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no")
    network = keep(folder)
    graph = load(str(folder), quick=True, batch_size=7)
    assert is_frozen(graph) and not is_frozen(network)
    assert [p.text for p in graph.predict(images)] == [p.text for p in network.predict(images)]
    *good, bad = graph.predict_each([images[0], np.zeros((20, 30), np.uint8), str(tmp_path / "bad.png")])
    assert good[0].text == network.predict(images[:1])[0].text
    assert "bad.png" in str(bad)


@pytest.mark.parametrize("change", ["weights", "temperature", "damage", "precision"])
def test_it_is_of_this_checkpoint_or_not_used(folder, home, change):
    model_folder = ModelFolder(folder)
    chosen = model_folder.choose()
    keep(folder)
    assert kept(folder) is not None
    if change == "weights":  # the same name, another training
        model = load(str(folder)).reader.model
        model.ctc.kernel.assign(model.ctc.kernel * 2.0)
        step = json.loads((folder / "best.json").read_text())["step"]
        for path in folder.glob("best-*.*"):
            path.unlink()
        other = folder / "other"
        write_weights(ModelFolder(other), model, step)
        for path in other.iterdir():
            suffix = path.name.partition(".")[2]
            if suffix:
                shutil.copy(path, f"{chosen.prefix}.{suffix}")
    elif change == "temperature":
        model_folder.write_calibration(chosen.prefix, 2.0, 10)
    elif change == "damage":
        path = home / key_of(folder)
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        assert kept(folder, "bfloat16") is None
        return
    assert kept(folder) is None


def test_other_ways_of_reading_need_the_network(folder):
    keep(folder)
    assert not is_frozen(load(str(folder), quick=True, how=ReadConfig(beam=2)))
    assert not is_frozen(load(str(folder)))


NETWORKS = {
    "default": {"height": 48},
    "classic": {"arch": "classic", "attn_num_layers": 2, "channels": 3},
    "gru": {"use_gru": True, "attn_num_layers": 2},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_graphs_of_every_network_hold_harmless_operations_only(network, precision):
    config = ModelConfig(Charset("ab"), attn_num_hidden=8, target_embedding_size=8, **NETWORKS[network])
    reader = NetworkReader(build_recognizer(config, machine.POLICIES[precision]), config, temperature=1.3)
    assert frozen.foreign_operations(frozen.frozen_graph(reader)) == set()


def hostile_graph(victim):
    """A graph with the right ends that writes a file when it reads."""

    def transform(data):
        with tf.control_dependencies([tf.io.write_file(str(victim), "owned")]):
            return tf.zeros((1, 32, 32, 1)), tf.constant([32]), tf.constant([1.0])

    with tf.Graph().as_default() as graph:
        data = tf.compat.v1.placeholder(tf.string, (None,), "transform_in0")
        for value, name in zip(transform(data), frozen.OUTPUTS["transform"], strict=True):
            tf.identity(value, name)
    return graph.as_graph_def()


def test_a_graph_that_touches_files_is_not_run(folder, images, tmp_path):
    definition = hostile_graph(tmp_path / "victim")
    assert frozen.foreign_operations(definition) == {"WriteFile"}
    (folder / "reading.pb").write_bytes(definition.SerializeToString())  # where versions before 1.0 looked
    cache.write(key_of(folder), definition.SerializeToString())
    assert cache.read(key_of(folder)) is not None
    predictor = load(str(folder), quick=True)
    assert not is_frozen(predictor)
    predictor.predict(images[:1])
    assert not (tmp_path / "victim").exists()
    ModelFolder(folder).clear()
    assert not (folder / "reading.pb").exists()


def test_operations_inside_functions_are_looked_at():
    @tf.function
    def inner(path):
        return tf.io.read_file(path)

    graph = tf.function(lambda path: tf.identity(inner(path))).get_concrete_function(tf.TensorSpec((), tf.string)).graph
    assert "ReadFile" in frozen.foreign_operations(graph.as_graph_def())


# the cache


def test_what_is_kept_is_the_users_alone(home):
    old = os.umask(0)
    try:
        cache.write("key", b"data")
    finally:
        os.umask(old)
    assert cache.read("key") == b"data" and cache.read("other") is None
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()] == [0o600]


@pytest.mark.parametrize("fault", ["folder", "file", "link to a file", "link to a folder", "owner"])
def test_what_another_could_have_written_is_not_read(home, monkeypatch, fault):
    cache.write("key", b"data")
    if fault == "folder":
        home.chmod(0o770)
    elif fault == "file":
        (home / "key").chmod(0o606)
    elif fault == "link to a file":
        (home / "key").rename(home / "other")
        (home / "key").symlink_to(home / "other")
    elif fault == "link to a folder":
        home.rename(home.with_name("other"))
        home.symlink_to(home.with_name("other"))
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.read("key") is None
    if fault in ("folder", "link to a folder", "owner"):
        cache.write("second", b"data")
        assert not (home / "second").exists()


def test_few_are_kept_and_the_one_used_longest_ago_goes(home, monkeypatch):
    monkeypatch.setattr(cache, "MAX_FILES", 2)
    for time, key in enumerate(("a", "b")):
        cache.write(key, b"data")
        os.utime(home / key, (time, time))
    cache.read("a")
    cache.write("c", b"data")
    assert sorted(os.listdir(home)) == ["a", "c"]
    monkeypatch.setattr(cache, "MAX_BYTES", 100)
    cache.write("d", bytes(200))
    assert os.listdir(home) == []


def test_without_a_cache_nothing_is_kept_and_nothing_fails(home, tmp_path, monkeypatch):
    monkeypatch.setenv("AOCR_CACHE", "off")
    cache.write("key", b"data")
    assert cache.read("key") is None and not home.exists()
    monkeypatch.delenv("AOCR_CACHE")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache.write("key", b"data")
    assert cache.read("key") is None
