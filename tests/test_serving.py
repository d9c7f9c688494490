"""`aocr serve`: what each route answers, batches, new versions, a real process and its page in a browser."""

import asyncio
import base64
import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.request import Request, urlopen

import numpy as np
import pytest
from conftest import BLOCKED_AOCR, ROOT, assert_clean_failure, run_aocr, start_aocr
from PIL import Image

pytest.importorskip("aiohttp", reason="the extra serve is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import browser
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer

from aocr.config import ModelConfig, ReadConfig
from aocr.data.annotations import parse_annotations
from aocr.errors import ImageError
from aocr.folder.model_folder import ModelFolder
from aocr.folder.words import BOX
from aocr.onnx.file import write_graph
from aocr.report.lines import prediction_json
from aocr.results import Prediction
from aocr.serving import app, batching, web
from aocr.serving.models import Model, Version, find_versions, name_of
from aocr.text.charset import Charset

IMAGES = sorted((ROOT / "datasets/images").glob("testing_0*.jpg"))[:6]
B64 = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in IMAGES]
PREDICT = "/v1/models/aocr:predict"
JPEG = {"Content-Type": "image/jpeg"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture(scope="module")
def words():
    return Model("words", "", 8)


@pytest.fixture(scope="module")
def predicted(words):
    """What `aocr predict --json` prints for the images."""
    read = words.version.reader(ReadConfig(alternatives=2))
    return [
        json.loads(prediction_json(path.name, prediction, attention=True))
        for path, prediction in zip(IMAGES, read([path.read_bytes() for path in IMAGES]), strict=True)
    ]


def serve(models, conversation, token=""):
    """Run `conversation(send)` with a server in this process; `send` returns (status, JSON or text)."""

    async def run():
        service = app.Service(models, {"english": "english", "fruit": ("APPLE", "PEAR")}, batch_size=8)
        server = service.make_app(web.ServerAccess("127.0.0.1", 0, token))
        async with TestClient(TestServer(server)) as client:

            async def send(method, path, **options):
                async with client.request(method, path, **options) as response:
                    is_json = response.content_type == "application/json"
                    return response.status, await response.json() if is_json else await response.text()

            send.app = server
            return await conversation(send)

    return asyncio.run(run())


def ask(models, method, path, **options):
    return serve(models, lambda send: send(method, path, **options))


def form(*files, **fields):
    data = FormData(fields)
    for name, content in files:
        data.add_field("image", content, filename=name)
    return data


def assert_same_reading(reading, expected):
    assert reading.keys() == expected.keys() and len(reading["attention"]) == len(expected["attention"])
    assert reading["confidence"] == pytest.approx(expected["confidence"], abs=1e-3)
    assert [character["char"] for character in reading["characters"]] == list(expected["text"])
    assert reading["characters"][-1]["x1"] == pytest.approx(expected["characters"][-1]["x1"], abs=1)


def test_read_returns_what_predict_prints(words, predicted):
    path = "/read?attention=1&alternatives=2"
    status, reading = ask([words], "POST", path, data=IMAGES[0].read_bytes(), headers=JPEG)
    assert status == 200
    assert_same_reading(reading, predicted[0])
    _, readings = ask([words], "POST", path, data=form(*((image.name, image.read_bytes()) for image in IMAGES)))
    for reading, expected in zip(readings, predicted, strict=True):
        assert reading["path"] == expected["path"]
        assert_same_reading(reading, expected)


def test_upright_words_are_read_turned_as_by_predict(words):
    with Image.open(IMAGES[0]) as image:
        buffer = io.BytesIO()
        image.rotate(90, expand=True).save(buffer, "PNG")
    (expected,) = words.version.predictor.predict([buffer.getvalue()])
    for query in ("", "&pattern=.*"):
        _, reading = ask([words], "POST", f"/read?attention=1{query}", data=buffer.getvalue(), headers=JPEG)
        assert (reading["text"], reading["turn"]) == (expected.text, "right")


def test_read_with_patterns_and_lexicons(words):
    image = ("a", IMAGES[0].read_bytes())
    for query, fields, pattern in (
        ("pattern=[0-9]%2B", {}, "[0-9]+"),
        ("lexicon=fruit", {}, "APPLE|PEAR"),
        ("lexicon=english", {}, ".+"),
        ("", {"lexicon": "ONE\nTWO\n"}, "ONE|TWO"),
        ("pattern=T.*", {"lexicon": "ONE\nTWO\n"}, "TWO"),
    ):
        status, (reading,) = ask([words], "POST", f"/read?{query}&min_confidence=1", data=form(image, **fields))
        assert status == 200 and re.fullmatch(pattern, reading["text"]) and reading["sure"] is False, query


def test_a_bad_image_fails_alone(words, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000_000)
    out = io.BytesIO()
    Image.new("1", (6000, 6000)).save(out, "PNG")
    good = IMAGES[0].read_bytes()
    data = form(("a", good), ("b", b"no image"), ("c", good[:300]), ("d", out.getvalue()))
    status, answer = ask([words], "POST", "/read", data=data)
    assert status == 200 and ["error" in result for result in answer] == [False, True, True, True]
    assert "20,000,000 pixels" in answer[3]["error"]
    status, answer = ask([words], "POST", PREDICT, json={"instances": [B64[0], {"b64": "AAAA"}]})
    assert status == 400 and answer["error"].startswith("instances[1]: ")
    assert ask([words], "POST", "/read", data=b"no image", headers=JPEG)[0] == 400


MANY_PARTS = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 600 + b"--x--\r\n"
MANY_WORDS = b'--x\r\nContent-Disposition: form-data; name="lexicon"\r\n\r\n' + b"WORD\n" * 210_000 + b"\r\n--x--\r\n"
NO_WORDS = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n'
NO_WORDS += b'--x\r\nContent-Disposition: form-data; name="lexicon"\r\n\r\n\r\n--x--\r\n'
NESTED = b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n\r\n--y--\r\n--x--\r\n"


def test_invalid_requests_are_refused(words):
    async def conversation(send):
        for method, path, body, headers, expected in (
            ("POST", PREDICT, b"x" * (33 << 20), {}, 413),
            ("POST", "/read", b"", {"Content-Type": "text/plain"}, 415),
            ("POST", "/read", b"", FORM, 400),
            ("POST", "/read", b"--x--\r\n", FORM, 400),
            ("POST", "/read", b"--x\r\n", {"Content-Type": "multipart/form-data"}, 400),
            ("POST", "/read", b"--x\r\n\xff: a\r\n\r\n--x--", FORM, 400),
            ("POST", "/read", MANY_PARTS, FORM, 413),
            ("POST", "/read", MANY_WORDS, FORM, 413),
            ("POST", "/read", NO_WORDS, FORM, 400),
            ("POST", "/read", NESTED, FORM, 400),
            ("GET", "/v1/models/aocr/versions/7", b"", {}, 404),
            ("GET", "/etc/passwd", b"", {}, 404),
            ("GET", "/..%2f..%2fetc/passwd", b"", {}, 404),
            ("GET", PREDICT, b"", {}, 405),
            ("POST", PREDICT, b"{}", {"Origin": "https://other.example"}, 403),
        ):
            status, answer = await send(method, path, data=io.BytesIO(body), headers=headers)
            assert status == expected and answer["error"], (path, answer)
        for name, value in (("pattern", "("), ("pattern", "(" * 3000), ("lexicon", "/etc/passwd"), ("beam", "0"),
                            ("beam", "1000"), ("min_confidence", "nan"), ("alternatives", "x")):  # fmt: skip
            status, answer = await send("POST", f"/read?{name}={value}", data=IMAGES[0].read_bytes(), headers=JPEG)
            assert status == 400 and answer["error"].startswith(name), answer
        status, answer = await send("POST", "/read?patern=x", data=IMAGES[0].read_bytes(), headers=JPEG)
        assert status == 400 and "Did you mean pattern?" in answer["error"]

    serve([words], conversation)


def test_what_texts_consist_of_holds_for_all_requests(words):
    usual = ReadConfig(symbols="lowercase", spaces=False)
    service = app.Service([Model("words", "", 8, usual)], {}, 8, usual).make_app(web.ServerAccess("127.0.0.1", 0))

    async def ask_all():
        async with TestClient(TestServer(service)) as client:
            image = {"inputs": {"input": {"b64": base64.b64encode(IMAGES[0].read_bytes()).decode()}}}
            async with client.post(PREDICT, json=image) as response:
                assert (await response.json())["outputs"]["output"] == "htfgvh"
            async with client.post("/read?beam=2", data=IMAGES[0].read_bytes(), headers=JPEG) as response:
                assert (await response.json())["text"] == "htfgvh"
            pixels = np.asarray(Image.open(IMAGES[0]).convert("RGB"))[None].tolist()
            body = {"signature_name": "pixels", "instances": pixels}
            async with client.post(PREDICT, json=body) as response:
                assert (await response.json())["predictions"][0]["output"] == "htfgvh"

    asyncio.run(ask_all())


def test_model_routes(words):
    other = Model("words", "other", 8)

    async def conversation(send):
        status, answer = await send("GET", "/read")
        assert status == 200 and answer["lexicons"] == ["english", "fruit"] and answer["limits"]["images"] == 256
        assert answer["models"] == [{"name": "words", "version": 1}, {"name": "other", "version": 1}]
        for path in ("/v1/models/other", "/v1/models/other/versions/1"):
            _, answer = await send("GET", path)
            assert answer["model_version_status"][0]["state"] == "AVAILABLE"
            _, answer = await send("GET", f"{path}/metadata")
            assert answer["model_spec"]["name"] == "other" and answer["model_spec"]["version"] == "1"
            status, answer = await send("POST", f"{path}:predict", json={"inputs": B64[0]})
            assert status == 200 and answer["outputs"]["output"] == "HTFGVH"
        assert (await send("GET", "/v1/models/third"))[0] == 404
        assert (await send("POST", "/read?model=third", data=b"", headers=JPEG))[0] == 404
        pixels = np.asarray(Image.open(IMAGES[0]).convert("RGB"))[None].tolist()
        request = {"signature_name": "pixels", "instances": pixels}
        _, answer = await send("POST", "/v1/models/other:predict", json=request)
        assert answer["predictions"][0]["output"] == "HTFGVH"

    serve([words, other], conversation)


def test_concurrent_requests_share_batches(words, predicted):
    async def conversation(send):
        requests = [send("POST", PREDICT, json={"inputs": B64[i % len(B64)]}) for i in range(48)]
        for i, (_, answer) in enumerate(await asyncio.gather(*requests)):
            assert answer["outputs"]["output"] == predicted[i % len(B64)]["text"]
        _, metrics = await send("GET", "/metrics")
        assert "aocr_batch_size_sum 48\n" in metrics and "aocr_batch_size_count 48\n" not in metrics
        assert 'aocr_requests_total{route="/v1/models/{name}:predict",status="200"} 48\n' in metrics

    serve([words], conversation)


def test_openapi_describes_the_routes_and_which_need_a_token(words):
    async def conversation(send):
        _, answer = await send("GET", "/openapi.json")
        paths = ["/read", PREDICT, "/v1/models/aocr", "/v2/health/live", "/v2/health/ready", "/metrics"]
        assert {path.replace("aocr", "{name}") for path in paths} <= answer["paths"].keys()
        for path, methods in answer["paths"].items():
            for method in methods.keys() - {"parameters"}:
                arguments = method.upper(), path.replace("{name}", "aocr")
                status, _ = await send(*arguments)
                assert status == (200 if methods[method].get("security") == [] else 401), path
                status, _ = await send(*arguments, headers={"Authorization": "Bearer t0ken"})
                assert status in (200, 400, 415), path
        assert (await send("GET", "/"))[0] == 200

    serve([words], conversation, token="t0ken")


@pytest.mark.slow
def test_answers_and_signatures_are_those_of_a_saved_model(words, tmp_path):
    import tensorflow as tf

    from aocr.exchange.formats import savedmodel
    from aocr.reading.predictor import load_network

    savedmodel.write(load_network("words"), str(tmp_path))
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    result = signatures["serving_default"](input=tf.constant([[path.read_bytes()] for path in IMAGES]))
    _, answer = ask([words], "POST", PREDICT, json={"inputs": [[value] for value in B64]})
    np.testing.assert_allclose(answer["outputs"]["probability"], result["probability"], atol=1e-3)
    _, answer = ask([words], "GET", "/v1/models/aocr/metadata")
    dtypes = {"DT_STRING": tf.string, "DT_FLOAT": tf.float32, "DT_DOUBLE": tf.float64}
    for name, signature in answer["metadata"]["signature_def"]["signature_def"].items():
        specs = {**signatures[name].structured_input_signature[1], **signatures[name].structured_outputs}
        for key, tensor in {**signature["inputs"], **signature["outputs"]}.items():
            sizes = [None if dim["size"] == "-1" else int(dim["size"]) for dim in tensor["tensor_shape"]["dim"]]
            assert specs[key].shape == tf.TensorShape(None if tensor["tensor_shape"]["unknown_rank"] else sizes)
            assert dtypes[tensor["dtype"]] == specs[key].dtype


# versions


@pytest.fixture(scope="module")
def graph():
    """An ONNX export of the reader in the box."""
    folder = ModelFolder(BOX)
    return write_graph(folder.read_weights(), folder.read_config(), folder.weights_info().temperature)


def put(folder, number, graph):
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "reader.onnx").write_bytes(graph)


@pytest.mark.parametrize("turn, width", [("none", 8), ("left", 128)])
def test_width_of_an_upright_image(turn, width):
    """The server reads images of similar width together."""
    version = SimpleNamespace(config=ModelConfig(Charset("ab"), turn=turn, max_width=160, max_height=32))
    assert Version.width(version, 16, 64) == width


def test_names_and_versions_of_models(tmp_path):
    assert [name_of(path) for path in ("a/plates/", "a/plates.onnx", "a/plates/reader.onnx")] == ["plates"] * 3
    put(tmp_path, 1, b"")
    put(tmp_path, 12, b"")
    (tmp_path / "13").mkdir()
    assert find_versions(str(tmp_path)) == {n: str(tmp_path / str(n) / "reader.onnx") for n in (1, 12)}
    assert find_versions("words") == {1: "words"}


def test_a_new_version_is_loaded_and_the_old_one_freed(graph, tmp_path):
    put(tmp_path, 1, graph)
    model = Model(str(tmp_path), "", 2)
    reader = weakref.ref(model.version.reader(ReadConfig()).__self__.reader)
    put(tmp_path, 2, graph)
    put(tmp_path, 3, b"damaged")
    (tmp_path / "4").mkdir()
    shutil.copytree(BOX, tmp_path / "5")
    with ModelFolder(tmp_path / "5").held():  # a training is running in it
        for _ in range(4):
            model.look_for_newer()
        assert model.version.number == 2 and reader() is None
        shutil.rmtree(tmp_path / "3")
        assert Model(str(tmp_path), "", 2).version.number == 2
    for _ in range(2):
        model.look_for_newer()
    assert model.version.number == 5


def test_mistakes_are_reported_in_one_line(tmp_path, monkeypatch):
    def load(*args):
        raise AssertionError("a model was loaded first")

    with socket.create_server(("127.0.0.1", 0)) as taken, monkeypatch.context() as patched:
        patched.setattr("aocr.serving.app.Model", load)
        port = taken.getsockname()[1]
        assert_clean_failure(run_aocr("serve", "--model-dir", "words", "--port", port), f"127.0.0.1:{port}")
    for args, word in (
        (("--model-dir", tmp_path / "none"), "none"),
        (("--model-dir", "words", "--model-dir", "words", "--port", 0), "--name"),
        (("--model-dir", "words", "--name", "a", "--name", "b"), "--name"),
        (("--model-dir", "words", "--token", " "), "--token"),
        (("--model-dir", "words", "--port", 65536), "--port"),
        (("--model-dir", "words", "--lexicon", f"a={tmp_path}/none.txt"), "--lexicon"),
    ):
        assert_clean_failure(run_aocr("serve", *args), word)


# a busy server


@pytest.fixture
def slow_model():
    """Stands for a model and its version; reads each image's width, once the test allows it."""

    def read(images):
        model.has_started.set()
        assert model.may_read.wait(60)
        texts = [str(Image.open(io.BytesIO(data)).width) for data in images]
        model.texts += texts
        return [Prediction(text, 0.5) for text in texts]

    model = SimpleNamespace(name="slow", number=1, config=SimpleNamespace(channels=1), texts=[])
    model.has_started, model.may_read = threading.Event(), threading.Event()
    model.find = lambda number: model
    model.width = lambda width, height: width
    model.reader = lambda read_config: read
    yield model
    model.may_read.set()


def png(width):
    out = io.BytesIO()
    Image.new("L", (width, 8), 255).save(out, "PNG")
    return out.getvalue()


async def predict(send, *widths):
    """Return status and texts (or the error) of a request with images of these widths."""
    images = [{"b64": base64.b64encode(png(width)).decode()} for width in widths]
    status, answer = await send("POST", PREDICT, json={"inputs": images})
    return status, answer["outputs"]["output"] if status == 200 else answer["error"]


async def start_request(send, model):
    """Return a request whose image is being read."""
    task = asyncio.create_task(predict(send, 10))
    assert await asyncio.to_thread(model.has_started.wait, 60)
    return task


def test_full_queue(slow_model, monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING", 3)

    async def conversation(send):
        first = await start_request(send, slow_model)
        others = [asyncio.create_task(predict(send, width)) for width in range(11, 16)]
        while sum(task.done() for task in others) < 2:
            await asyncio.sleep(0.01)
        refused = [task.result() for task in others if task.done()]
        assert refused == 2 * [(429, "3 images are waiting. Try again later, or send fewer at a time.")]
        slow_model.may_read.set()
        assert await first == (200, ["10"])
        assert [status for status, _ in await asyncio.gather(*others)].count(200) == 3
        assert await predict(send, 16, 17, 18) == (200, ["16", "17", "18"])
        assert (await predict(send, 16, 17, 18, 19))[0] == 413

    serve([slow_model], conversation)


def test_images_that_wait_at_the_deadline_are_not_read(slow_model, monkeypatch):
    monkeypatch.setattr(web, "DEADLINE_SECONDS", 2.0)

    async def conversation(send):
        first = await start_request(send, slow_model)
        for status, _ in await asyncio.gather(first, predict(send, 11)):
            assert status == 504
        slow_model.may_read.set()
        assert await predict(send, 12) == (200, ["12"])
        assert slow_model.texts == ["10", "12"], "10 was being read, 11 waited"

    serve([slow_model], conversation)


def test_images_that_wait_at_the_deadline_are_not_checked(slow_model, monkeypatch):
    checked, may_finish = [], threading.Event()

    def check(data, name):
        checked.append(name)
        assert may_finish.wait(60)
        raise ImageError(name, "is damaged.")

    monkeypatch.setattr(app, "canonical_image", check)
    monkeypatch.setattr(web, "DEADLINE_SECONDS", 2.0)

    async def conversation(send):
        workers = os.cpu_count() or 1
        images = [(f"{number}.png", png(10)) for number in range(4 * workers)]
        assert (await send("POST", "/read", data=form(*images)))[0] == 504
        may_finish.set()
        assert (await send("POST", "/read", data=form(("after.png", png(10)))))[0] == 200
        assert len(checked) == workers + 1 and checked[-1] == "after.png"

    serve([slow_model], conversation)


def test_server_is_not_ready_once_it_shuts_down(slow_model):
    async def conversation(send):
        assert await send("GET", "/v2/health/ready") == (200, {"ready": True})
        await send.app.shutdown()
        assert await send("GET", "/v2/health/ready") == (503, {"ready": False})

    serve([slow_model], conversation)


# a process and a browser


@pytest.mark.slow
def test_a_process_without_tensorflow_finishes_its_requests(graph, predicted, tmp_path):
    put(tmp_path / "plates", 1, graph)
    argv = ("serve", "--model-dir", "words", "--model-dir", tmp_path / "plates", "--model-dir", BOX, "--port", 0)
    argv += ("--token", "t0ken", "--log-path", tmp_path / "log")
    process = start_aocr(*argv, program=("-c", BLOCKED_AOCR), stderr=subprocess.PIPE)
    port = next(
        match[1] for line in process.stderr if (match := re.search(r"Open http://\S+:(\d+)/#token=t0ken", line))
    )
    assert "t0ken" not in (tmp_path / "log").read_text()

    def send(path, body=None):
        headers = {"Authorization": "Bearer t0ken", **JPEG}
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", body, headers), timeout=60) as response:
            return json.loads(response.read())

    for name in ("words", "plates", "box"):
        reading = send(f"/read?model={name}&attention=1&alternatives=2", IMAGES[0].read_bytes())
        assert_same_reading(reading, predicted[0])
    put(tmp_path / "plates", 2, graph)
    deadline = time.monotonic() + 60
    while send("/v1/models/plates")["model_version_status"][0]["version"] != "2":
        assert time.monotonic() < deadline
        send("/v1/models/plates:predict", json.dumps({"inputs": B64[0]}).encode())
    with ThreadPoolExecutor(1) as pool:
        body = json.dumps({"instances": B64 * 30}).encode()
        request = pool.submit(send, "/v1/models/words:predict", body)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert len(request.result()["predictions"]) == 180
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in log, log


def all_read(count):
    return f"document.getElementById('count').textContent.startsWith('{count} of {count} read')"


FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"
FITS = "document.documentElement.scrollWidth <= innerWidth"


async def use_page(words, predicted, tmp_path):
    formula = tmp_path / '=a "b", c.jpg'
    formula.write_bytes(IMAGES[0].read_bytes())
    expected = [reading["text"] for reading in predicted]
    service = app.Service([words], {}, batch_size=8).make_app(web.ServerAccess("127.0.0.1", 0))
    async with TestServer(service) as server, browser.Browser() as page:
        url = str(server.make_url("/"))
        await page.open(url)
        await page.until("document.getElementById('about').textContent.includes('words')")
        await page.evaluate("document.getElementById('files').focus()")
        await page.choose("#files", formula, IMAGES[1], ROOT / "setup.py")
        count = "document.getElementById('count').textContent"
        await page.until(f"{count}.startsWith('2 of 3 read') && {count}.endsWith('1 refused')")
        texts = await page.evaluate("[...document.querySelectorAll('.text')].map(e => e.textContent)")
        assert texts[:2] == expected[:2] and "is not an image" in texts[2]
        assert (await page.evaluate("document.querySelector('.card.bad').innerText")).count("setup.py") == 1
        boxes = await page.evaluate("document.querySelectorAll('.card')[0].querySelectorAll('.box').length")
        assert boxes == len(expected[0])

        await page.key("Tab")
        for name in ("camera", "paste", "Expected texts", "copy", "csv", "annotations", "clear", texts[0], "Copy"):
            assert await page.evaluate(FOCUSED) == name
            assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", name
            await page.key("Tab")
        await page.until("document.activeElement.matches('.characters *') && !!document.querySelector('.heat')")

        await page.allow_clipboard()
        await page.click("#copy")
        await page.until(
            f"navigator.clipboard.readText().then(text => text === {json.dumps(chr(10).join(expected[:2]))})"
        )
        rows = list(csv.DictReader(io.StringIO((await page.downloaded("#csv", "readings.csv", tmp_path)).decode())))
        assert rows[2]["file"] == "setup.py" and "is not an image" in rows.pop()["error"]
        for row, name, reading in zip(rows, ("'" + formula.name, IMAGES[1].name), predicted[:2], strict=True):
            assert (row["file"], row["text"]) == (name, reading["text"])
            assert float(row["confidence"]) == pytest.approx(reading["confidence"], abs=1e-3)
            assert row["unsure"] == ("yes" if reading["confidence"] < 0.9 else "no")
        await page.evaluate("document.getElementById('threshold').value = 100")
        await page.evaluate("document.getElementById('threshold').dispatchEvent(new Event('input'))")
        await page.until(f"{count} === '2 of 3 read, 2 unsure, 1 refused'")
        await page.click(".text")
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('.text'))")
        await page.call("Input.insertText", text="typed by hand")
        assert await page.evaluate(count) == "2 of 3 read, 1 unsure, 1 refused"
        lines = parse_annotations(await page.downloaded("#annotations", "labels.txt", tmp_path), "labels.txt")
        expected_lines = [(formula.name, "typed by hand"), (IMAGES[1].name, texts[1])]
        assert [(line.path, line.label) for line in lines] == expected_lines
        assert "1 of 2 texts is unsure and stands last" in await page.evaluate(
            "document.getElementById('note').textContent"
        )
        await page.click("#clear")

        await page.choose("#files", IMAGES[0], IMAGES[1])
        await page.until(all_read(2))
        large = tmp_path / "large.png"
        Image.new("L", (7000, 3500), 255).save(large)
        await page.drop(large)
        await page.until(all_read(3))
        width = "(await createImageBitmap(items.find(i => i.name === 'large.png').file)).width"
        assert await page.evaluate(f"(async () => {width})()") == 6324
        await page.click("#camera")
        await page.until("document.getElementById('video').videoWidth > 0")
        await page.click("#take")
        await page.until(all_read(4))
        await page.until("!document.getElementById('video').srcObject.active")

        # a wrong pattern is reported once, at its field, and earlier readings stay
        before = await page.evaluate("[...document.querySelectorAll('.text')].map(e => e.textContent)")
        await page.evaluate("document.getElementById('pattern').value = '[0-9]{3'")
        await page.evaluate("document.getElementById('pattern').dispatchEvent(new Event('change'))")
        await page.until("document.getElementById('pattern-error').textContent.includes('is not closed')")
        await page.until("!running && !waiting.length")
        assert await page.evaluate("[...document.querySelectorAll('.text')].map(e => e.textContent)") == before
        assert await page.evaluate(count + ".startsWith('4 of 4 read')")
        page.complaints[:] = [text for text in page.complaints if "400" not in text]
        await page.evaluate("document.getElementById('pattern').value = '[0-9]+'")
        change = "document.getElementById('pattern').dispatchEvent(new Event('change'))"
        assert (await page.evaluate(f"({change}, {count})")).endswith("reading 4 again…")
        assert await page.evaluate("document.querySelectorAll('.card.again').length") == 4
        await page.until(f"!{count}.includes('again') && !document.querySelector('.again')")
        await page.until("/^[0-9]+$/.test(document.querySelector('.text').textContent)")
        await page.until("!document.getElementById('pattern-error').textContent")
        assert await page.evaluate("document.querySelector('.card').classList.contains('unsure')")
        assert await page.evaluate(FITS)
        await page.open(url, width=390, height=800)
        assert await page.evaluate(FITS)
        labels = "[...document.querySelectorAll('input,select,textarea')].every(e => e.labels.length === 1)"
        assert await page.evaluate(labels)
        assert page.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")
def test_page(words, predicted, tmp_path):
    asyncio.run(use_page(words, predicted, tmp_path))


SEVERAL_LINES = """(() => {
  const at = (char, x0, y0) => ({ char, confidence: 0.95, x0, x1: x0 + 40, y0, y1: y0 + 40 });
  const usual = { confidence: 1, alternatives: [], column_width: 10 };
  const column = (n, i) => Array.from({ length: n }, (_, k) => +(k === i));
  const bands = { ...usual, bands: 3, turn: "none", text: "AB1",
    characters: [at("A", 0, 0), at("B", 60, 0), at("1", 0, 60)],
    attention: [column(30, 2), column(30, 8), column(30, 22)] };
  const upright = (turn) => ({ ...usual, bands: 1, turn, text: "ab", characters: [at("a", 60, 0), at("b", 60, 50)],
    attention: [column(12, 2), column(12, 7)] });
  const empty = { ...bands, text: "", characters: [], attention: [column(30, 2)] };
  [bands, upright("left"), upright("right"), empty, { ...upright("none"), slope: 90 }]
    .forEach((result, i) => { items[i].result = result; show(items[i]); });
})()"""
HEAT = """(n, c) => { const card = items[n].card, image = card.querySelector("img").getBoundingClientRect();
  card.querySelectorAll(".characters button")[c].dispatchEvent(new Event("pointerenter"));
  const box = card.querySelector(".heat[fill-opacity='0.650']").getBoundingClientRect();
  return [box.left - image.left, box.top - image.top, box.right - image.left, box.bottom - image.top]
    .map((edge, i) => Math.round(100 * edge / [image.width, image.height][i % 2])); }"""


async def look_at_several_lines(words, tmp_path):
    for i in range(5):
        Image.new("L", (100, 120 if i in (1, 2) else 100), 200 + i).save(tmp_path / f"{i}.png")
    service = app.Service([words], {}, batch_size=8).make_app(web.ServerAccess("127.0.0.1", 0))
    async with TestServer(service) as server, browser.Browser() as page:
        await page.open(str(server.make_url("/")))
        await page.until("document.getElementById('about').textContent.includes('words')")
        await page.choose("#files", *(tmp_path / f"{i}.png" for i in range(5)))
        await page.until("items.length === 5 && !running && !waiting.length")
        await page.evaluate(SEVERAL_LINES)
        await page.until("items.slice(0, 2).every(({ card }) => card.querySelector('.strip span').style.left)")
        strip = "[...items[0].card.querySelectorAll('.strip span')].map((e) => e.textContent + e.style.top)"
        assert await page.evaluate(strip) == ["A0rem", "B0rem", "11.5rem"], "a row for each line"
        assert await page.evaluate("getComputedStyle(items[1].card.querySelector('.strip')).display") == "none"
        assert await page.evaluate(f"({HEAT})(0, 0)") == [20, -30, 30, 50], "lower than the bands"
        assert await page.evaluate(f"({HEAT})(0, 2)") == [20, 50, 30, 130]
        assert await page.evaluate(f"({HEAT})(1, 1)") == [0, 58, 100, 67]
        assert await page.evaluate(f"({HEAT})(2, 1)") == [0, 33, 100, 42], "text that runs upwards"
        assert await page.evaluate(f"({HEAT})(4, 1)") == [0, 70, 100, 80], "rotated by its slope"
        rows = "[...items[4].card.querySelectorAll('.strip span')].map((e) => e.style.top)"
        assert await page.evaluate(rows) == ["0rem", "0rem"], "one row for a line that slopes"
        empty = "getComputedStyle(items[3].card.querySelector('.text'), '::before').content"
        assert "no text" in await page.evaluate(empty)
        assert page.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")
def test_page_of_several_lines_and_upright_text(words, tmp_path):
    asyncio.run(look_at_several_lines(words, tmp_path))
