"""Exports for OpenVINO and LiteRT read as the model does; rounded ones about as well, or they are refused."""

import logging
import sys
from types import SimpleNamespace

import pytest
from conftest import assert_clean_failure, run_aocr

from aocr import machine
from aocr.config import ModelConfig
from aocr.data.datasets import open_dataset
from aocr.errors import ConfigError, ExportError
from aocr.exchange import export as exporter
from aocr.exchange.formats import litert, openvino
from aocr.reading.predictor import load
from aocr.text.charset import Charset

FILES = {"openvino": ["reader.bin", "reader.xml"], "litert": ["reader.json", "reader.tflite"]}


@pytest.mark.parametrize("kind", FILES)
def test_an_export_is_proved(kind, trained, tmp_path):
    for package in exporter.FORMATS[kind].NEEDED:
        pytest.importorskip(package)
    done = run_aocr("export", tmp_path / "e", "--format", kind, "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == FILES[kind]


@pytest.mark.parametrize("names", FILES.values(), ids=FILES)
def test_files_of_others_are_not_replaced(names, tmp_path):
    """`aocr export .` in a project that has a `reader.json` of its own."""
    made, target = tmp_path / "made", tmp_path / "project"
    form = SimpleNamespace(IS_FOLDER=False, MAIN_FILE=names[1])
    for folder, text in ((made, "ours"), (target, "mine")):
        folder.mkdir()
        (folder / names[0]).write_text(text)
    (made / names[1]).write_text("main")
    with pytest.raises(ExportError, match=f"{names[0]}: already exists, and is of no export"):
        exporter._put(str(made), str(target), form)
    assert [path.read_text() for path in target.iterdir()] == ["mine"]
    (target / names[1]).write_text("an earlier export")
    exporter._put(str(made), str(target), form)
    assert (target / names[0]).read_text() == "ours"


def test_openvino_reports_to_nobody(monkeypatch):
    """Its packages tell their maker of each model that is converted, unless the one that does cannot be imported."""

    def stop(*args):
        raise InterruptedError

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=stop))
    for call in (lambda: next(openvino.read_back("folder", None)), lambda: openvino.write(None, "folder")):
        monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
        monkeypatch.delitem(sys.modules, "openvino_telemetry")
        with pytest.raises((InterruptedError, AttributeError)):
            call()
        assert sys.modules["openvino_telemetry"] is None


def test_a_rounded_export_tells_both_accuracies(trained, numbers, tmp_path):
    pytest.importorskip("ai_edge_litert")
    flags = ("--format", "litert", "--quantize", "int8", "--check", numbers)
    done = run_aocr("export", tmp_path / "e", *flags, "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert "% before" in done.stderr and "% after" in done.stderr
    assert (tmp_path / "e" / "reader.tflite").stat().st_size < 2_500_000


@pytest.fixture
def read_as(monkeypatch):
    """Lets a made-up export read what it is told to."""

    def set_texts(change):
        def read(predictor, folder, kind, images, batches):
            return [(change(i, p.text), 1.0) for i, p in enumerate(predictor.predict(images))]

        monkeypatch.setattr(exporter, "_read_elsewhere", read)

    return set_texts


def test_what_loses_too_much_is_refused(trained, numbers, read_as, caplog):
    predictor = load(str(trained))
    caplog.set_level(logging.INFO, "aocr")
    logging.getLogger("aocr").propagate = True
    with open_dataset([str(numbers)]) as dataset:
        read_as(lambda i, text: "?" if i == 7 else text)  # one of 240
        exporter.compare(predictor, "folder", "litert", dataset)
        assert "on 240 images" in caplog.text
        read_as(lambda i, text: "?" if i % 10 == 7 else text)
        with pytest.raises(ExportError, match=r"loses more than 1%: .* before, .* after. Nothing was kept"):
            exporter.compare(predictor, "folder", "litert", dataset)


@pytest.mark.parametrize("kind, quantize, has_dataset, told", [
    ("onnx", "int8", True, "Use --format litert"),
    ("litert", "int8", False, "--check DATASET go together"),
    ("litert", None, True, "--check DATASET go together"),
])  # fmt: skip
def test_flags_that_do_not_fit(kind, quantize, has_dataset, told):
    with pytest.raises(ConfigError, match=told):
        exporter.check_choice(kind, quantize, has_dataset)


@pytest.mark.parametrize("kind", ["onnx", "openvino", "litert"])
def test_without_the_package_it_says_so(kind, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_package", lambda name: name == "tensorflow")
    done = run_aocr("export", tmp_path / "e", "--format", kind, "--model-dir", trained)
    assert_clean_failure(done, f"The {kind} format needs", f"pip install 'aocr[{kind}]'")
    assert not (tmp_path / "e").exists()


def test_long_texts_cannot_be_written_out():
    config = ModelConfig(Charset("ab"), max_prediction=290)
    with pytest.raises(ExportError, match=r"takes 315 steps.* 300 at the most. Use --format onnx"):
        litert._function(SimpleNamespace(config=config))


def test_no_saved_model_is_written_where_tensorflow_would_not_find_it(tmp_path):
    """It takes a path for a pattern, and told of devices instead."""
    with pytest.raises(ExportError, match="for a pattern"):
        exporter.export(None, str(tmp_path / "e[1]"), "savedmodel")
    assert not list(tmp_path.iterdir())
