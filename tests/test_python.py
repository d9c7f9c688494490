"""aocr in other programs: one image or many, arrays, threads, forks, the commands as functions, the notebook."""

import inspect
import io
import json
import logging
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, draw_numbers, run_aocr, run_blocked
from PIL import Image, ImageDraw, ImageFont

import aocr
from aocr import machine
from aocr.cli.main import make_parser
from aocr.config import ModelConfig
from aocr.errors import AocrError, ConfigError, ImageError
from aocr.folder.words import BOX
from aocr.reading.predictions import to_predictions
from aocr.reading.predictor import Predictor, load_network
from aocr.reading.reader import Pixels
from aocr.reading.symbols import KEEP_ALL
from aocr.report.lines import prediction_json, prediction_line
from aocr.results import Reading
from aocr.text.charset import EOS, Charset


def draw(text="Hello42", ink=(200, 30, 30), ground=(255, 255, 255), mode="RGB") -> Image.Image:
    font = ImageFont.load_default(30)
    image = Image.new(mode, (int(font.getlength(text)) + 20, 48), ground)
    ImageDraw.Draw(image).text((10, 6), text, ink, font=font)
    return image


RGB = np.asarray(draw())
PNG = io.BytesIO()
draw().save(PNG, "PNG")


@pytest.fixture(scope="module")
def reader():
    return aocr.load("words")


def texts(predictions) -> list[str]:
    return [prediction.text for prediction in predictions]


# One image or many


class Tensor:
    """Looks like torch's: an array that is no numpy array."""

    ndim = 3

    def __array__(self, dtype=None, copy=None):
        return RGB


ONE = {
    "a PIL image": lambda: draw(),
    "an array": lambda: RGB,
    "a grey array": lambda: RGB[..., 1],
    "a grey array of one channel": lambda: RGB[..., 1:2],
    "RGBA": lambda: np.asarray(draw().convert("RGBA")),
    "bytes": PNG.getvalue,
    "a bytearray": lambda: bytearray(PNG.getvalue()),
    "a memoryview": lambda: memoryview(PNG.getvalue()),
    "a file object": lambda: io.BytesIO(PNG.getvalue()),
    "a tensor": Tensor,
    "16 bits": lambda: RGB[..., 1].astype(np.uint16) * 257,
    "int64": lambda: RGB.astype(np.int64),
    "bool": lambda: RGB[..., 1] > 128,
    "floats to 1": lambda: RGB / 255,
}


@pytest.mark.parametrize("name", ONE)
def test_one_image_gives_one_prediction(reader, name):
    assert texts(reader.predict(ONE[name]())) == ["Hello42"]
    assert texts(reader.predict_each(ONE[name]())) == ["Hello42"]
    assert texts(reader.predict([ONE[name](), RGB])) == ["Hello42"] * 2


def test_one_path(reader, tmp_path):
    draw().save(tmp_path / "a.png")
    assert texts(reader.predict(tmp_path / "a.png")) == texts(reader.predict(str(tmp_path / "a.png"))) == ["Hello42"]


def test_many_images(reader):
    assert texts(reader.predict(np.stack([RGB] * 3))) == ["Hello42"] * 3
    assert texts(reader.predict(RGB for _ in range(2))) == ["Hello42"] * 2
    assert reader.predict([]) == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "Was the file found"),
        ([None], "Was the file found"),
        (io.BytesIO(b""), "is empty"),
        (io.StringIO("text"), "binary mode"),
        (RGB.transpose(2, 0, 1), "channels seem to come first"),
        (RGB[10:10], "has no pixels"),
        (RGB[..., 0].astype(np.uint16) * 16, "go from 3200 to 4080"),
        (RGB.astype(np.float32), "Divide by 255"),
        ([[1, 2, 3], [4]], "is not an image"),
        (np.array(5), "is not an image"),
        (RGB.astype("U4"), "is not an image"),
    ],
)
def test_what_is_not_an_image(reader, image, words):
    with pytest.raises(ImageError, match=words) as caught:
        reader.predict(image)
    assert "\n" not in str(caught.value)


def test_channels_of_opencv(reader, monkeypatch):
    seen = []
    monkeypatch.setattr(reader, "read_encoded", lambda images: seen.extend(images) or [])
    bgra = np.asarray(draw().convert("RGBA"))[..., [2, 1, 0, 3]]
    for image, colour in ((RGB, "rgb"), (RGB[..., ::-1], "bgr"), (bgra, "bgr")):
        with pytest.raises(ValueError, match="shorter"):  # nothing was read
            reader.predict(image, colour=colour)
    assert all((np.asarray(Image.open(io.BytesIO(data))) == RGB).all() for data in seen) and len(seen) == 3
    with pytest.raises(ConfigError, match="rgb or bgr"):
        reader.predict(RGB, colour="hsv")


# Cut texts


def reading_of(ids: list[int], last: float) -> Reading:
    ids = np.array([ids], np.int32)
    probabilities = np.full(ids.shape, 0.99, np.float32)
    probabilities[0, -1] = last
    attention = np.full((*ids.shape, 4), 0.25, np.float32)
    one = np.ones((1,), np.float32)
    return Reading(ids, probabilities, attention, one, np.zeros((1, 1, 2), np.float32), ids[:, None])


@pytest.mark.parametrize(
    ("ids", "last", "cut"),
    [
        ([3, 4, 3, EOS], 0.01, True),  # the end is forced at the limit
        ([3, 4, 3, EOS], 0.9, False),
        ([3, 4, EOS], 0.01, False),
        ([3, 4, 3, 4, 3], 0.9, True),  # the classic network need not end
    ],
)
def test_texts_at_the_limit(ids, last, cut):
    config = ModelConfig(Charset("ab"), max_prediction=3)
    pixels = Pixels(np.zeros((1, 32, 16, 1), np.float32), np.array([16]), np.ones(1))
    reader = SimpleNamespace(config=config, num_alternatives=0, symbol_filter=KEEP_ALL)
    (prediction,) = to_predictions(reading_of(ids, last), pixels, reader)
    assert prediction.cut is cut
    assert ("unsure" in prediction_line("p", prediction)) is cut
    value = json.loads(prediction_json("p", prediction, min_confidence=0.5))
    assert (value["cut"], value["sure"]) == (cut, not cut)


@pytest.fixture
def short(tmp_path) -> Path:
    """Model folder of `words`, limited to three characters."""
    shutil.copytree(BOX, tmp_path / "short")
    model = (tmp_path / "short" / "model.json").read_text("utf-8")
    (tmp_path / "short" / "model.json").write_text(re.sub(r'("max_prediction": )\d+', r"\g<1>3", model), "utf-8")
    return tmp_path / "short"


@pytest.mark.parametrize("load", [aocr.load, load_network])
def test_long_texts_are_marked_and_warned_of_once(short, load, caplog):
    image = np.asarray(draw("1234567", (0, 0, 0)).convert("L"))
    reader = load(str(short))
    with caplog.at_level(logging.WARNING, "aocr"):
        first, second = (reader.predict(image)[0] for _ in range(2))
        Predictor(reader.reader, warns=False).predict(image)
    assert first.cut and second.cut and len(first.text) == 3
    assert len(caplog.records) == 1 and "--max-prediction" in caplog.text and "3 characters" in caplog.text


def test_long_texts_on_the_command_line(short, tmp_path):
    draw("1234567", (0, 0, 0)).save(tmp_path / "long.png")
    done = run_aocr("predict", tmp_path / "long.png", tmp_path / "long.png", "--model-dir", short)
    assert done.returncode == 0 and all(line.endswith("unsure") for line in done.stdout.splitlines())
    assert done.stderr.count("--max-prediction") == 1


# Threads and processes


@pytest.mark.parametrize("load", [aocr.load, load_network])
def test_threads(load):
    reader = load("words")
    images = [np.asarray(draw(text)) for text in ("Hello42", "Berlin", "SERVER", "1234567", "total")] * 4
    alone = texts(reader.predict(images))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda image: reader.predict(image)[0].text, images)) == alone


def in_fork(call) -> str:
    """Result, or error, of a function that is called in a forked child; it must not hang."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def work():
        try:
            results.put(call())
        except AocrError as error:
            results.put(str(error))
        os._exit(0)

    process = context.Process(target=work)
    process.start()
    process.join(30)
    hangs = process.is_alive()
    process.kill()
    assert not hangs and not process.exitcode
    return results.get()


def test_onnx_runtime_reads_after_a_fork(reader):
    assert reader.predict(RGB)
    assert in_fork(lambda: reader.predict(RGB)[0].text) == "Hello42"


FORK = """
import os, sys, time
import numpy as np
import aocr
reader = aocr.load("words")
child = os.fork()
if not child:
    reader.predict(np.zeros((9, 9), np.uint8))
    sys.exit(7)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    if os.waitpid(child, os.WNOHANG)[1] == 7 << 8:
        sys.exit()
    time.sleep(0.05)
os.kill(child, 9)
sys.exit("the child does not end")
"""


def test_a_forked_child_of_onnx_runtime_ends():
    """Ending a session would wait for its threads, which a fork does not copy."""
    done = run_blocked(code=FORK)
    assert done.returncode == 0, done.stderr


def test_tensorflow_says_so_after_a_fork():
    network = load_network("words")
    assert texts(network.predict(RGB)) == ["Hello42"]
    assert "Load it in each worker" in in_fork(lambda: network.predict(RGB)[0].text)
    assert "Load it in each worker" in in_fork(lambda: load_network("words").source)


def test_tensorflow_in_a_child_of_a_process_that_only_imported_it(monkeypatch):
    monkeypatch.setattr(machine, "_tensorflow_process", 0)
    assert in_fork(lambda: machine.check_not_forked() or "fine") == "fine"


APP = """
import numpy as np
from aocr.reading.predictor import load{0} as load
reader = load("words")
def app(environ, start):
    try:
        text = "read " + repr(reader.predict(np.full((48, 160), 255, np.uint8))[0].text)
    except Exception as error:
        text = str(error)
    start("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("", "read ''"), ("_network", "Load it in each worker")])
def test_gunicorn_preload(kind, words, tmp_path):
    pytest.importorskip("gunicorn")
    pytest.importorskip("onnxruntime")
    (tmp_path / "app.py").write_text(APP.format(kind))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ("--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}")
    command = [sys.executable, "-m", "gunicorn", *flags, "app:app"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    server = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as response:
                    assert words in response.read().decode()
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        else:
            pytest.fail("no answer")
    finally:
        server.terminate()
        server.wait(timeout=25)  # less than gunicorn waits for a worker that hangs


# The commands as functions

ONLY_TYPED = {"help", "log_path", "json", "log_step", "config", "verbose"}
"""Flags of the command line that functions do not need."""
ONLY_PYTHON = {"progress"}


@pytest.mark.parametrize("command", ["dataset", "train", "test", "export"])
def test_functions_have_the_flags_and_defaults_of_their_commands(command):
    sub = next(action for action in make_parser()._actions if isinstance(action.choices, dict)).choices[command]
    network = set(ModelConfig.__dataclass_fields__) | {"full_ascii", "lines"}
    ignored = ONLY_TYPED | (network if command in ("test", "export") else set())
    assert "bands" in network  # typed as --lines
    parameters = inspect.signature(getattr(aocr, command)).parameters
    flags = {action.dest for action in sub._actions} - ignored
    assert flags == set(parameters) - ONLY_PYTHON
    for name in flags - {"datasets", "annotations"} - ({"model_dir"} if command == "test" else set()):
        default = parameters[name].default
        typed = sub.get_default(name)
        assert typed in (default, "==SUPPRESS==") or (typed == [] and default == ()), name


def test_types_are_those_of_the_public_names():
    stub = (ROOT / "aocr/__init__.pyi").read_text("utf-8")
    names = {name: module for module, name in re.findall(r"from ([\w.]+) import (\w+) as \2\n", stub)}
    assert names == aocr._MODULES and (ROOT / "aocr/py.typed").exists()


def test_dataset_and_test_return_results(tmp_path, capsys):
    numbers = draw_numbers(tmp_path / "n", 6, seed=4)
    report = aocr.dataset(numbers, tmp_path / "o.tfrecords", report=str(tmp_path / "left-out.txt"))
    assert report.num_images == 6 and report.paths == [str(tmp_path / "o.tfrecords")]
    scores, samples = aocr.test(tmp_path / "o.tfrecords", model_dir="words")
    assert scores.num_images == len(samples) == 6 and scores.word_accuracy > 0.5
    assert aocr.dataset(numbers, None).paths == [] and not capsys.readouterr().out


def test_wrong_arguments():
    with pytest.raises(ConfigError, match="--unlabeled"):
        aocr.train("a.txt", exclude="b.txt")
    with pytest.raises(ConfigError, match="patience"):
        aocr.train("a.txt", patience=0)
    with pytest.raises(ConfigError, match="words"):
        aocr.export("words")
    with pytest.raises(TypeError, match="num_epochs"):
        aocr.train("a.txt", num_epochs=3)


@pytest.mark.slow
def test_the_notebook(tmp_path, monkeypatch):
    """Every code cell, in order, with a short training."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    monkeypatch.chdir(tmp_path / "docs")
    cells = json.loads((ROOT / "docs/aocr.ipynb").read_text("utf-8"))["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]).replace("max_time=60", "max_time=3"), names)
            assert cell["outputs"] == []
    assert names["scores"].num_images == len(names["samples"]) > 0
    assert (names["folder"] / "exported/1/saved_model.pb").exists()
    assert Path(names["folder"] / "model/weights.npz").exists()
