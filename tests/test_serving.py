"""`aocr serve`: what each route answers, batches, new versions, a real process and its page in a browser."""

import asyncio
import base64
import csv
import gc
import http.client
import io
import json
import re
import shutil
import signal
import subprocess
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import BLOCKED_AOCR, ROOT, assert_clean_failure, run_aocr, start_aocr
from PIL import Image

pytest.importorskip("aiohttp", reason="the extra serve is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import browser
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer

from aocr.config import ReadConfig
from aocr.data.annotations import parse_annotations
from aocr.folder.model_folder import ModelFolder
from aocr.folder.words import BOX
from aocr.onnx.file import write_graph
from aocr.report.lines import prediction_json
from aocr.serving.app import Service
from aocr.serving.models import Model, find_versions, name_of
from aocr.serving.web import ServerAccess

IMAGES = sorted((ROOT / "datasets/images").glob("testing_0*.jpg"))[:6]
B64 = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in IMAGES]
PREDICT = "/v1/models/aocr:predict"
JPEG = {"Content-Type": "image/jpeg"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}

in_browser = pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")


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


def serve(models, conversation, **access):
    """Run `conversation(send)` with a server in this process; `send` returns (status, JSON or text)."""

    async def run():
        service = Service(models, {"fruit": ("APPLE", "PEAR")}, batch_size=8)
        app = service.make_app(ServerAccess("127.0.0.1", 0, **access))
        async with TestClient(TestServer(app)) as client:

            async def send(method, path, **options):
                async with client.request(method, path, **options) as response:
                    is_json = response.content_type == "application/json"
                    return response.status, await response.json() if is_json else await response.text()

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
    assert reading.keys() == expected.keys()
    assert reading["text"] == expected["text"]
    assert reading["confidence"] == pytest.approx(expected["confidence"], abs=1e-3)
    for character, expected_character in zip(reading["characters"], expected["characters"], strict=True):
        assert character["char"] == expected_character["char"]
        assert character["x0"] == pytest.approx(expected_character["x0"], abs=1)
    assert len(reading["attention"]) == len(expected["attention"])


def test_read_returns_what_predict_prints(words, predicted):
    path = "/read?attention=1&alternatives=2"
    status, reading = ask([words], "POST", path, data=IMAGES[0].read_bytes(), headers=JPEG)
    assert status == 200
    assert_same_reading(reading, predicted[0])
    data = form(*((image.name, image.read_bytes()) for image in IMAGES))
    status, readings = ask([words], "POST", path, data=data)
    assert [reading["path"] for reading in readings] == [image.name for image in IMAGES]
    for reading, expected in zip(readings, predicted, strict=True):
        assert_same_reading(reading, expected)


def test_read_with_patterns_and_lexicons(words):
    image = ("a", IMAGES[0].read_bytes())
    for query, fields, pattern in (
        ("pattern=[0-9]%2B", {}, "[0-9]+"),
        ("lexicon=fruit", {}, "APPLE|PEAR"),
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
            ("POST", PREDICT, b"not JSON", {}, 400),
            ("POST", PREDICT, b'{"signature_name": "pixels", "instances": [1]}', {}, 400),
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
        for name, value in (
            ("pattern", "("),
            ("pattern", "(" * 3000),
            ("lexicon", "/etc/passwd"),
            ("beam", "0"),
            ("beam", "1000"),
            ("min_confidence", "nan"),
            ("alternatives", "x"),
        ):
            status, answer = await send("POST", f"/read?{name}={value}", data=IMAGES[0].read_bytes(), headers=JPEG)
            assert status == 400 and answer["error"].startswith(name), answer

    serve([words], conversation)


def test_model_routes(words):
    other = Model("words", "other", 8)

    async def conversation(send):
        status, answer = await send("GET", "/read")
        assert status == 200 and answer["lexicons"] == ["fruit"] and answer["limits"]["images"] == 256
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
        assert (await send("GET", "/v2/health/live")) == (200, {"live": True})
        status, page = await send("GET", "/")
        assert status == 200 and page.startswith("<!doctype html>")

    serve([words, other], conversation)


def test_a_token_is_required_except_on_public_routes(words):
    async def conversation(send):
        for path in ("/", "/v2/health/live", "/v2/health/ready", "/openapi.json"):
            assert (await send("GET", path))[0] == 200
        for path in ("/read", "/metrics", "/v1/models/words"):
            assert (await send("GET", path))[0] == 401
            assert (await send("GET", path, headers={"Authorization": "Bearer t0ken"}))[0] == 200

    serve([words], conversation, token="t0ken")


def test_concurrent_requests_share_batches(words, predicted):
    async def conversation(send):
        requests = [send("POST", PREDICT, json={"inputs": B64[i % len(B64)]}) for i in range(48)]
        for i, (_, answer) in enumerate(await asyncio.gather(*requests)):
            assert answer["outputs"]["output"] == predicted[i % len(B64)]["text"]
        _, metrics = await send("GET", "/metrics")
        count, total = (
            float(re.search(rf"^aocr_batch_size_{end} (\S+)$", metrics, re.M)[1]) for end in ("count", "sum")
        )
        assert total == 48 > count
        assert 'aocr_requests_total{route="/v1/models/{name}:predict",status="200"} 48\n' in metrics

    serve([words], conversation)


def test_openapi_describes_the_routes(words):
    async def conversation(send):
        _, answer = await send("GET", "/openapi.json")
        paths = ["/read", PREDICT, "/v1/models/aocr", "/v2/health/live", "/v2/health/ready", "/metrics"]
        assert {path.replace("aocr", "{name}") for path in paths} <= answer["paths"].keys()
        for path, methods in answer["paths"].items():
            for method in methods.keys() - {"parameters"}:
                status, _ = await send(method.upper(), path.replace("{name}", "aocr"))
                assert status not in (404, 405), path

    serve([words], conversation)


@pytest.mark.slow
def test_predict_answers_like_a_saved_model(words, tmp_path):
    import tensorflow as tf

    from aocr.exchange.formats import savedmodel
    from aocr.reading.predictor import load_network

    savedmodel.write(load_network("words"), str(tmp_path))
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    files = [path.read_bytes() for path in IMAGES]

    def expected(values, signature="serving_default"):
        result = signatures[signature](input=tf.constant(values))
        return decoded(np.array(result["output"].numpy(), object).tolist()), result["probability"].numpy()

    def decoded(value):
        return [decoded(item) for item in value] if isinstance(value, list) else value.decode()

    _, answer = ask([words], "POST", PREDICT, json={"inputs": [[value] for value in B64]})
    output, probability = expected([[data] for data in files])
    assert answer["outputs"]["output"] == output
    np.testing.assert_allclose(answer["outputs"]["probability"], probability, atol=1e-3)
    pixels = tf.io.decode_image(files[0], channels=3).numpy()[None].astype("float32")
    _, answer = ask([words], "POST", PREDICT, json={"signature_name": "pixels", "instances": pixels.tolist()})
    output, probability = expected(pixels, "pixels")
    assert answer["predictions"][0]["output"] == output[0]
    assert answer["predictions"][0]["probability"] == pytest.approx(probability[0], abs=1e-3)
    _, answer = ask([words], "GET", "/v1/models/aocr/metadata")
    dtypes = {"DT_STRING": "string", "DT_FLOAT": "float32", "DT_DOUBLE": "float64"}
    for name, signature in answer["metadata"]["signature_def"]["signature_def"].items():
        specs = {**signatures[name].structured_input_signature[1], **signatures[name].structured_outputs}
        for key, tensor in {**signature["inputs"], **signature["outputs"]}.items():
            shape = tensor["tensor_shape"]
            sizes = None if shape["unknown_rank"] else [int(dim["size"]) for dim in shape["dim"]]
            rank = specs[key].shape.rank
            assert sizes == (None if rank is None else [-1 if size is None else size for size in specs[key].shape])
            assert dtypes[tensor["dtype"]] == specs[key].dtype.name


# versions


@pytest.fixture(scope="module")
def graph():
    """An ONNX export of the reader in the box."""
    folder = ModelFolder(BOX)
    return write_graph(folder.read_weights(), folder.read_config(), folder.weights_info().temperature)


def put(folder, number, graph):
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "reader.onnx").write_bytes(graph)


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
    gc.disable()
    try:
        for _ in range(4):
            model.look_for_newer()
        assert model.version.number == 2 and reader() is None
    finally:
        gc.enable()


def test_a_version_in_training_is_not_loaded(graph, tmp_path):
    put(tmp_path, 1, graph)
    model = Model(str(tmp_path), "", 2)
    shutil.copytree(BOX, tmp_path / "2")
    with ModelFolder(tmp_path / "2").held():
        for _ in range(3):
            model.look_for_newer()
        assert model.version.number == Model(str(tmp_path), "", 2).version.number == 1
    for _ in range(2):
        model.look_for_newer()
    assert model.version.number == 2


def test_mistakes_are_reported_in_one_line(tmp_path, monkeypatch):
    import socket

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


# a process


class Server:
    """`aocr serve --port 0 ARGS` in its own process."""

    def __init__(self, *args, **options):
        self.process = start_aocr("serve", "--port", 0, *args, stderr=subprocess.PIPE, **options)
        self.log = ""
        while not (match := re.search(r"Open (http://127\.0\.0\.1:(\d+)/)", self.log)):
            line = self.process.stderr.readline()
            assert line, self.log
            self.log += line
        self.url, self.port = match[1], int(match[2])

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, self.log + rest


@pytest.mark.slow
def test_a_process_without_tensorflow_finishes_its_requests(graph, predicted, tmp_path):
    put(tmp_path / "plates", 1, graph)
    models = ("--model-dir", "words", "--model-dir", tmp_path / "plates", "--model-dir", BOX)
    options = ("--token", "t0ken", "--log-path", tmp_path / "log")
    server = Server(*models, *options, program=("-c", BLOCKED_AOCR))
    assert "#token=t0ken" in server.log and "t0ken" not in (tmp_path / "log").read_text()
    token = {"Authorization": "Bearer t0ken"}
    for name in ("words", "plates", "box"):
        path = f"/read?model={name}&attention=1&alternatives=2"
        status, reading = server.ask("POST", path, IMAGES[0].read_bytes(), **token, **JPEG)
        assert status == 200
        assert_same_reading(reading, predicted[0] | {"path": "image"})
    put(tmp_path / "plates", 2, graph)
    deadline = time.monotonic() + 60
    while server.ask("GET", "/v1/models/plates", **token)[1]["model_version_status"][0]["version"] != "2":
        assert time.monotonic() < deadline
        assert server.ask("POST", "/v1/models/plates:predict", json.dumps({"inputs": B64[0]}), **token)[0] == 200
    body = json.dumps({"instances": B64 * 30})
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(server.ask, "POST", "/v1/models/words:predict", body, **token)
        time.sleep(0.5)
        code, log = server.stop()
        assert request.result()[0] == 200 and len(request.result()[1]["predictions"]) == 180
    assert code == 0 and "Traceback" not in log, log


@pytest.mark.slow
def test_a_second_signal_stops_at_once():
    server = Server("--model-dir", "words")
    body = json.dumps({"instances": B64 * 100})
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(server.ask, "POST", PREDICT, body)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        code, _ = server.stop()
        assert isinstance(request.exception(), (OSError, http.client.HTTPException))
    assert code == 130


# the page


@pytest.fixture(scope="module")
def server():
    running = Server("--model-dir", "words")
    yield running
    code, log = running.stop()
    assert code == 0 and "Traceback" not in log and "internal error" not in log, log


def use_page(server, conversation):
    """Run `conversation(page)` with the page open in a browser."""

    async def use():
        async with browser.Browser() as page:
            await page.open(server.url)
            await page.until("document.getElementById('about').textContent.includes('words')")
            await conversation(page)
            assert page.complaints == []

    asyncio.run(use())


def all_read(count):
    return f"document.getElementById('count').textContent.startsWith('{count} of {count} read')"


TEXTS = "[...document.querySelectorAll('.text')].map(e => e.textContent)"
FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"
FITS = "document.documentElement.scrollWidth <= innerWidth"
CAMERA = "document.getElementById('shot').open && document.getElementById('video').videoWidth > 0"


@pytest.mark.slow
@in_browser
def test_page_shows_readings(server, predicted):
    async def conversation(page):
        await page.evaluate("document.getElementById('files').focus()")
        await page.choose("#files", *IMAGES[:2], ROOT / "setup.py")
        await page.until(all_read(3))
        texts = await page.evaluate(TEXTS)
        assert texts[:2] == [reading["text"] for reading in predicted[:2]] and "is not an image" in texts[2]
        boxes = await page.evaluate("document.querySelectorAll('.card')[0].querySelectorAll('.box').length")
        assert boxes == len(predicted[0]["text"])
        await page.key("Tab")  # past the file input, which is focused
        for name in ("camera", "paste", "Expected texts", "copy", "csv", "annotations", "clear", "Copy"):
            assert await page.evaluate(FOCUSED) == name
            assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", name
            await page.key("Tab")
        await page.until("document.activeElement.matches('.characters *') && !!document.querySelector('.heat')")
        await page.evaluate("document.getElementById('pattern').value = '[0-9]+'")
        await page.evaluate("document.getElementById('pattern').dispatchEvent(new Event('change'))")
        await page.until("/^[0-9]+$/.test(document.querySelector('.text').textContent)")
        assert await page.evaluate("document.querySelector('.card').classList.contains('unsure')")
        assert await page.evaluate(FITS)
        await page.open(server.url, width=390, height=800)
        assert await page.evaluate(FITS)
        labels = "[...document.querySelectorAll('input,select,textarea')].every(e => e.labels.length === 1)"
        assert await page.evaluate(labels)

    use_page(server, conversation)


@pytest.mark.slow
@in_browser
def test_images_are_dropped_pasted_and_taken_with_the_camera(server, predicted):
    expected = [reading["text"] for reading in predicted]
    copy = f"""(async () => {{
        const image = Object.assign(new Image(), {{ src: "data:image/jpeg;base64,{B64[1]["b64"]}" }});
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        canvas.getContext("2d").drawImage(image, 0, 0);
        await navigator.clipboard.write([new ClipboardItem({{ "image/png": await canvas.convertToBlob() }})]);
    }})()"""

    async def conversation(page):
        await page.drop(IMAGES[0], IMAGES[2])
        await page.until(all_read(2))
        assert await page.evaluate(TEXTS) == [expected[0], expected[2]]
        await page.allow_clipboard()
        await page.click("#clear")
        await page.evaluate(copy)
        await page.paste()
        await page.until(all_read(1))
        await page.click("#paste")
        await page.until(all_read(2))
        assert await page.evaluate(TEXTS) == [expected[1]] * 2
        await page.click("#camera")
        await page.until(CAMERA)
        await page.key("Escape")
        await page.until("!document.getElementById('shot').open && !document.getElementById('video').srcObject.active")
        await page.click("#camera")
        await page.until(CAMERA)
        await page.click("#take")
        await page.until(all_read(3))
        assert await page.evaluate("document.querySelector('.name').textContent") == "camera 3.png"

    use_page(server, conversation)


@pytest.mark.slow
@in_browser
def test_texts_are_copied_and_downloaded(server, predicted, tmp_path):
    formula = tmp_path / '=a "b", c.jpg'
    formula.write_bytes(IMAGES[0].read_bytes())

    async def conversation(page):
        await page.choose("#files", formula, IMAGES[1], ROOT / "setup.py")
        await page.until(all_read(3))
        await page.allow_clipboard()
        texts = [reading["text"] for reading in predicted[:2]]
        await page.click("#copy")
        await page.until(f"navigator.clipboard.readText().then(text => text === {json.dumps(chr(10).join(texts))})")
        rows = csv.DictReader(io.StringIO((await page.downloaded("#csv", "readings.csv", tmp_path)).decode()))
        for row, name, reading in zip(rows, ("'" + formula.name, IMAGES[1].name), predicted[:2], strict=True):
            assert (row["file"], row["text"]) == (name, reading["text"])
            assert float(row["confidence"]) == pytest.approx(reading["confidence"], abs=1e-3)
            assert row["unsure"] == ("yes" if reading["confidence"] < 0.9 else "no")
        lines = parse_annotations(await page.downloaded("#annotations", "labels.txt", tmp_path), "labels.txt")
        assert [(line.path, line.label) for line in lines] == [(formula.name, texts[0]), (IMAGES[1].name, texts[1])]

    use_page(server, conversation)
