"""Exports for OpenVINO and LiteRT read like the model; quantised ones about as well, or they are refused."""

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
def test_export_reads_like_the_model(kind, trained, tmp_path):
    for package in exporter.FORMATS[kind].NEEDED:
        pytest.importorskip(package)
    done = run_aocr("export", tmp_path / "e", "--format", kind, "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == FILES[kind]


def test_files_of_others_are_not_overwritten(tmp_path):
    """`aocr export .` in a project that has a `reader.json` of its own."""
    made, target = tmp_path / "made", tmp_path / "project"
    form = SimpleNamespace(IS_FOLDER=False, MAIN_FILE="reader.tflite")
    for folder, text in ((made, "ours"), (target, "mine")):
        folder.mkdir()
        (folder / "reader.json").write_text(text)
    (made / "reader.tflite").write_text("main")
    with pytest.raises(ExportError, match=r"reader\.json: already exists"):
        exporter._move(str(made), str(target), form)
    assert [path.read_text() for path in target.iterdir()] == ["mine"]
    (target / "reader.tflite").write_text("an earlier export")
    exporter._move(str(made), str(target), form)
    assert (target / "reader.json").read_text() == "ours"


def test_openvino_sends_no_telemetry(monkeypatch):
    def stop(*args):
        raise InterruptedError

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=stop))
    for call in (lambda: next(openvino.read_back("folder", None)), lambda: openvino.write(None, "folder")):
        monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
        monkeypatch.delitem(sys.modules, "openvino_telemetry")
        with pytest.raises((InterruptedError, AttributeError)):
            call()
        assert sys.modules["openvino_telemetry"] is None


def test_quantised_export_reports_both_accuracies(trained, numbers, tmp_path):
    pytest.importorskip("ai_edge_litert")
    flags = ("--format", "litert", "--quantize", "int8", "--check", numbers)
    done = run_aocr("export", tmp_path / "e", *flags, "--model-dir", trained)
    assert done.returncode == 0, done.stderr
    assert "% before" in done.stderr and "% after" in done.stderr
    assert (tmp_path / "e" / "reader.tflite").stat().st_size < 2_500_000


def test_quantised_export_that_loses_too_much_is_refused(trained, numbers, monkeypatch, caplog):
    predictor = load(str(trained))
    caplog.set_level(logging.INFO, "aocr")
    logging.getLogger("aocr").propagate = True

    def evaluate(predictor, dataset, **options):
        samples = [SimpleNamespace(label=label, image=image) for label, image in examples]
        return SimpleNamespace(word_accuracy=1.0), samples

    def misread(indices):
        results = [("?" if i in indices else label, 1.0) for i, (label, _) in enumerate(examples)]
        monkeypatch.setattr(exporter, "_read_elsewhere", lambda *args: results)

    examples = [(str(i), (numbers.parent / "0.png").read_bytes()) for i in range(240)]
    monkeypatch.setattr(exporter, "evaluate", evaluate)
    with open_dataset([str(numbers)]) as dataset:
        misread({7})
        exporter.compare(predictor, "folder", "litert", dataset)
        assert "on 240 images" in caplog.text
        misread(set(range(0, 240, 10)))
        with pytest.raises(ExportError, match=r"loses more than 1%: .* before, .* after"):
            exporter.compare(predictor, "folder", "litert", dataset)


@pytest.mark.parametrize("kind, quantize, has_dataset", [
    ("onnx", "int8", True), ("litert", "int8", False), ("litert", None, True),
])  # fmt: skip
def test_flags_that_do_not_fit(kind, quantize, has_dataset):
    with pytest.raises(ConfigError):
        exporter.check_choice(kind, quantize, has_dataset)


def test_format_whose_package_is_missing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_package", lambda name: name == "tensorflow")
    done = run_aocr("export", tmp_path / "e", "--format", "onnx", "--model-dir", trained)
    assert_clean_failure(done, "The onnx format needs", "pip install 'aocr[onnx]'")
    assert not (tmp_path / "e").exists()


def test_text_too_long_for_litert():
    config = ModelConfig(Charset("ab"), max_prediction=290)
    with pytest.raises(ExportError, match=r"has 315 steps.* up to 300"):
        litert._function(SimpleNamespace(config=config))
