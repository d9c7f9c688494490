"""`aocr serve` in a process of its own: what it answers, how it batches, reloads and ends."""

import asyncio
import base64
import csv
import gc
import http.client
import io
import json
import re
import signal
import subprocess
import sys
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import BLOCKED_AOCR, ROOT, assert_clean_failure, run_aocr, start_aocr
from PIL import Image

pytest.importorskip("aiohttp", reason="the extra serve is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import browser

from aocr.config import ReadConfig
from aocr.data.annotations import parse_annotations
from aocr.folder.checkpoints import write_weights
from aocr.folder.model_folder import ModelFolder
from aocr.reading.predictor import load
from aocr.serving.models import Model

IMAGES = sorted((ROOT / "datasets/images").glob("testing_0*.jpg"))[:6]
B64 = [{"b64": base64.b64encode(path.read_bytes()).decode()} for path in IMAGES]
PREDICT = "/v1/models/aocr:predict"

in_browser = pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")


class Server:
    """`aocr serve --port 0 ARGS`, ready."""

    def __init__(self, *args, **options):
        self.process = start_aocr("serve", "--port", 0, *args, stderr=subprocess.PIPE, **options)
        self.log = ""
        while not (match := re.search(r"Open (http://127\.0\.0\.1:(\d+)/)", self.log)):
            line = self.process.stderr.readline()
            assert line, self.log
            self.log += line
        self.url, self.port = match[1], int(match[2])
        for _ in range(600):
            if self.ask("GET", "/v2/health/ready")[0] == 200:
                return
            time.sleep(0.05)
        raise AssertionError("the server is not ready")

    def ask(self, method, path, body=None, **headers):
        """(status, what was answered)."""
        if isinstance(body, dict):
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text
        finally:
            connection.close()

    def form(self, path, *files, **fields):
        mark = uuid.uuid4().hex
        parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
        parts += [f'name="image"; filename="{name}"\r\n\r\n'.encode() + data for name, data in files]
        head = f"--{mark}\r\nContent-Disposition: form-data; ".encode()
        body = b"".join(head + part + b"\r\n" for part in parts) + f"--{mark}--\r\n".encode()
        return self.ask("POST", path, body, Content_Type=f"multipart/form-data; boundary={mark}")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, self.log + rest


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    words = tmp_path_factory.mktemp("lexicon") / "fruit.txt"
    words.write_text("APPLE\nPEAR\n")
    running = Server("--model-dir", "words", "--lexicon", f"fruit={words}")
    yield running
    code, log = running.end()
    assert code == 0, log
    assert "Traceback" not in log and "unexpected" not in log, log


@pytest.fixture(scope="module")
def predicted():
    """What `aocr predict --json` prints of the images."""
    done = run_aocr("predict", "--model-dir", "words", "--json", "--attention", "--alternatives", "2", *IMAGES)
    return [json.loads(line) for line in done.stdout.splitlines()]


def same(found, expected):
    """Whether two readings agree."""
    assert found.keys() == expected.keys() - {"path"} | {"path"}
    assert found["text"] == expected["text"]
    assert found["confidence"] == pytest.approx(expected["confidence"], abs=1e-3)
    for mine, its in zip(found["characters"], expected["characters"], strict=True):
        assert mine["char"] == its["char"] and mine["x0"] == pytest.approx(its["x0"], abs=1)
    assert len(found["attention"]) == len(expected["attention"])


def test_the_requests_of_tensorflow_serving_get_its_answers(server, tmp_path):
    """The same through `tf.saved_model` on an export of the model."""
    import tensorflow as tf

    import aocr
    from aocr.exchange.formats import savedmodel

    savedmodel.write(aocr.load("words"), str(tmp_path))
    signatures = tf.saved_model.load(str(tmp_path)).signatures
    files = [path.read_bytes() for path in IMAGES]

    def expected(values, signature="serving_default"):
        result = signatures[signature](input=tf.constant(values))
        return texts(np.array(result["output"].numpy(), object).tolist()), result["probability"].numpy()

    def texts(value):
        return [texts(item) for item in value] if isinstance(value, list) else value.decode()

    code, answer = server.ask("POST", PREDICT, {"signature_name": "serving_default", "inputs": {"input": B64[0]}})
    text, probability = expected(files[0])
    assert (code, answer["outputs"]["output"]) == (200, text)
    assert answer["outputs"]["probability"] == pytest.approx(probability, abs=1e-3)

    _, answer = server.ask("POST", PREDICT, {"inputs": [[value] for value in B64]})
    output, probability = expected([[data] for data in files])
    assert answer["outputs"]["output"] == output
    np.testing.assert_allclose(answer["outputs"]["probability"], probability, atol=1e-3)

    _, answer = server.ask("POST", PREDICT, {"instances": [{"input": value} for value in B64]})
    output, probability = expected(files)
    assert [row["output"] for row in answer["predictions"]] == output
    assert [row["probability"] for row in answer["predictions"]] == pytest.approx(probability, abs=1e-3)

    pixels = tf.io.decode_image(files[0], channels=3).numpy()[None].astype("float32")
    code, answer = server.ask("POST", PREDICT, {"signature_name": "pixels", "instances": pixels.tolist()})
    output, probability = expected(pixels, "pixels")
    assert (code, answer["predictions"][0]["output"]) == (200, output[0])
    assert answer["predictions"][0]["probability"] == pytest.approx(probability[0], abs=1e-3)

    _, told = server.ask("GET", "/v1/models/aocr/metadata")
    for name, signature in told["metadata"]["signature_def"]["signature_def"].items():
        for mine, theirs in (
            (signature["inputs"], signatures[name].structured_input_signature[1]),
            (signature["outputs"], signatures[name].structured_outputs),
        ):
            for key, tensor in mine.items():
                shape = tensor["tensor_shape"]
                dims = None if shape["unknown_rank"] else [max(int(dim["size"]), -1) for dim in shape["dim"]]
                rank = theirs[key].shape.rank
                known = None if rank is None else [-1 if size is None else size for size in theirs[key].shape]
                assert dims == known, (name, key)
                assert (
                    tensor["dtype"]
                    == {"string": "DT_STRING", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}[theirs[key].dtype.name]
                )


def test_read_answers_what_predict_prints(server, predicted):
    query = "/read?attention=1&alternatives=2"
    code, found = server.ask("POST", query, IMAGES[0].read_bytes(), Content_Type="image/jpeg")
    assert code == 200
    same(found, predicted[0])
    code, many = server.form(query, *((path.name, path.read_bytes()) for path in IMAGES))
    assert [one["path"] for one in many] == [path.name for path in IMAGES]
    for one, expected in zip(many, predicted, strict=True):
        same(one, expected)


def test_read_takes_patterns_words_and_lists(server):
    image = IMAGES[0].read_bytes()
    for query, fields, pattern in (
        ("pattern=[0-9]%2B", {}, "[0-9]+"),
        ("lexicon=fruit", {}, "APPLE|PEAR"),
        ("", {"lexicon": "ONE\nTWO\n"}, "ONE|TWO"),
        ("pattern=T.*", {"lexicon": "ONE\nTWO\n"}, "TWO"),
    ):
        code, (found,) = server.form(f"/read?{query}&min_confidence=1", ("a", image), **fields)
        assert code == 200 and re.fullmatch(pattern, found["text"]) and found["sure"] is False, query


@pytest.mark.parametrize(
    "query, told",
    [
        ("pattern=(", "pattern = '(': "),
        ("pattern=" + "(" * 3000, "pattern = "),
        ("lexicon=/etc/passwd", "there is no list '/etc/passwd'; there are fruit."),
        ("beam=0", "beam"),
        ("beam=1000", "beam must be a number from 0 to 32"),
        ("min_confidence=nan", "min_confidence must be"),
        ("alternatives=x", "alternatives must be"),
    ],
)
def test_parameters_that_cannot_be_are_told(server, query, told):
    code, answer = server.ask("POST", f"/read?{query}", IMAGES[0].read_bytes(), Content_Type="image/jpeg")
    assert code == 400 and told in answer["error"], answer


def bomb():
    out = io.BytesIO()
    Image.new("1", (6000, 6000)).save(out, "PNG")
    return out.getvalue()


def test_a_bad_image_fails_alone(server):
    good = IMAGES[0].read_bytes()
    code, answer = server.form("/read", ("a", good), ("b", b"no image"), ("c", good[:300]), ("d", bomb()))
    assert code == 200 and [("error" in one) for one in answer] == [False, True, True, True]
    assert "more than 20,000,000 pixels" in answer[3]["error"]
    code, answer = server.ask("POST", PREDICT, {"instances": [B64[0], {"b64": "AAAA"}]})
    assert code == 400 and answer["error"].startswith("instances[1]: is not an image")


MANY_PARTS = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 600 + b"--x--\r\n"
"""A form of empty fields: small, but each field costs the server time."""
MANY_WORDS = b'--x\r\nContent-Disposition: form-data; name="lexicon"\r\n\r\n' + b"WORD\n" * 210_000 + b"\r\n--x--\r\n"


def test_what_cannot_be_answered_is_told(server):
    for method, path, body, headers, expected in (
        ("POST", PREDICT, b"x" * (33 << 20), {}, 413),
        ("POST", "/read", b"", {"Content_Type": "text/plain"}, 415),
        ("POST", "/read", b"", {"Content_Type": "multipart/form-data; boundary=x"}, 400),
        ("POST", "/read", b"--x\r\n", {"Content_Type": "multipart/form-data"}, 400),
        ("POST", "/read", b"--x\r\n\xff: a\r\n\r\n--x--", {"Content_Type": "multipart/form-data; boundary=x"}, 400),
        ("POST", "/read", MANY_PARTS, {"Content_Type": "multipart/form-data; boundary=x"}, 413),
        ("POST", "/read", MANY_WORDS, {"Content_Type": "multipart/form-data; boundary=x"}, 413),
        ("GET", "/v1/models/aocr/versions/7", None, {}, 404),
        ("GET", "/etc/passwd", None, {}, 404),
        ("GET", "/..%2f..%2fetc/passwd", None, {}, 404),
        ("GET", PREDICT, None, {}, 405),
        ("POST", PREDICT, {"inputs": B64[0]}, {"Origin": "https://other.example"}, 403),
    ):
        try:
            code, answer = server.ask(method, path, body, **headers)
        except (ConnectionError, http.client.HTTPException):  # a body that is not read to its end
            assert expected == 413
        else:
            assert code == expected and answer["error"], (path, answer)


def test_many_clients_get_their_own_answers_in_shared_batches(server, predicted):
    expected = [one["text"] for one in predicted]

    def ask(number):
        which = number % len(B64)
        return which, server.ask("POST", PREDICT, {"inputs": B64[which]})[1]["outputs"]["output"]

    with ThreadPoolExecutor(12) as pool:
        for which, text in pool.map(ask, range(72)):
            assert text == expected[which]
    metrics = server.ask("GET", "/metrics")[1]
    count, total = (float(re.search(rf"^aocr_batch_size_{end} (\S+)$", metrics, re.M)[1]) for end in ("count", "sum"))
    assert total > count
    assert re.search(r'^aocr_requests_total\{route="/v1/models/\{name\}:predict",status="200"\} \d+$', metrics, re.M)


def test_openapi_names_the_routes(server):
    _, told = server.ask("GET", "/openapi.json")
    paths = ["/read", PREDICT, "/v1/models/aocr", "/v2/health/live", "/v2/health/ready", "/metrics"]
    assert told["openapi"] == "3.1.0" and {path.replace("aocr", "{name}") for path in paths} <= told["paths"].keys()
    for path, methods in told["paths"].items():
        for method in methods.keys() - {"parameters"}:
            code, _ = server.ask(method.upper(), path.replace("{name}", "aocr"), b"" if method == "post" else None)
            assert code not in (404, 405), path


@pytest.fixture(scope="module")
def graph():
    """An ONNX export of the reader in the box."""
    from aocr.folder.compact import read_compact
    from aocr.folder.words import open_folder
    from aocr.onnx.file import write_graph

    folder = open_folder("words")
    chosen = folder.choose()
    return write_graph(read_compact(chosen.prefix), folder.read_config(), chosen.temperature)


def put(folder, number, data):
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "reader.onnx").write_bytes(data)


def version(server, token):
    _, told = server.ask("GET", "/v1/models/plates", Authorization=f"Bearer {token}")
    return told["model_version_status"][0]["version"]


def test_words_folders_and_exports_are_served_without_tensorflow(graph, predicted, tmp_path):
    put(tmp_path / "plates", 1, graph)
    words, folder = load("words"), ModelFolder(tmp_path / "meters")
    write_weights(folder, words.reader.model, 1)
    folder.write_config(words.config)
    folder.write_calibration(folder.choose().prefix, words.chosen.temperature, 1)
    models = ("--model-dir", "words", "--model-dir", tmp_path / "plates", "--model-dir", tmp_path / "meters")
    server = Server(*models, program=("-c", BLOCKED_AOCR))
    for name in ("words", "plates", "meters"):
        query = f"/read?model={name}&attention=1&alternatives=2"
        code, found = server.ask("POST", query, IMAGES[0].read_bytes(), Content_Type="image/jpeg")
        assert code == 200
        same(found, predicted[0])
    code, log = server.end()
    assert code == 0 and "Traceback" not in log, log


def test_versions_are_taken_up_and_the_end_waits_for_answers(graph, tmp_path):
    put(tmp_path / "plates", 1, graph)
    server = Server("--model-dir", tmp_path / "plates", "--token", "t0ken", "--log-path", tmp_path / "log")
    assert server.ask("GET", "/read")[0] == 401
    kept = (tmp_path / "log").read_text()
    assert "Open http" in kept and "t0ken" not in kept
    assert "#token=t0ken" in server.log and version(server, "t0ken") == "1"
    put(tmp_path / "plates", 2, graph)
    put(tmp_path / "plates", 3, b"no graph")
    (tmp_path / "plates" / "4").mkdir()
    answers, patience = set(), time.monotonic() + 60
    while version(server, "t0ken") != "2":
        assert time.monotonic() < patience
        answers.add(server.ask("POST", PREDICT, {"inputs": B64[0]}, Authorization="Bearer t0ken")[0])
    assert answers == {200}
    body = json.dumps({"instances": B64 * 30})
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(server.ask, "POST", PREDICT, body, Authorization="Bearer t0ken")
        time.sleep(0.5)
        code, log = server.end()
        assert under_way.result()[0] == 200 and len(under_way.result()[1]["predictions"]) == 180
    assert code == 0 and "Version 3 is not taken up" in log and "Traceback" not in log, log


def test_a_version_that_is_replaced_is_freed_at_once(graph, tmp_path):
    put(tmp_path, 1, graph)
    model = Model(str(tmp_path), "", 2)
    reader = weakref.ref(model.version.reading(ReadConfig()).__self__.reader)
    put(tmp_path, 2, graph)
    gc.disable()
    try:
        for _ in range(2):
            model.look_for_newer()
        assert model.version.number == 2 and reader() is None
    finally:
        gc.enable()


def test_a_version_in_training_is_not_taken_up(graph, tmp_path):
    """It was, half trained, and then never again."""
    put(tmp_path, 1, graph)
    words, trained = load("words"), ModelFolder(tmp_path / "2")
    code = (
        "import sys; from aocr.folder.model_folder import ModelFolder\n"
        "with ModelFolder(sys.argv[1]).held(): print('held', flush=True); input()"
    )
    trained_by = [sys.executable, "-c", code, trained.path]
    model = Model(str(tmp_path), "", 2)
    write_weights(trained, words.reader.model, 1)
    trained.write_config(words.config)
    with subprocess.Popen(trained_by, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout.readline() == "held\n"
        for _ in range(3):
            model.look_for_newer()
        assert model.version.number == Model(str(tmp_path), "", 2).version.number == 1
        training.communicate("\n")
    for _ in range(2):
        model.look_for_newer()
    assert model.version.number == 2


def test_a_second_signal_ends_at_once(graph, tmp_path):
    (tmp_path / "plates.onnx").write_bytes(graph)
    server = Server("--model-dir", tmp_path / "plates.onnx")
    body = json.dumps({"instances": B64 * 100})
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(server.ask, "POST", PREDICT, body)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        code, log = server.end()
        assert isinstance(under_way.exception(), (OSError, http.client.HTTPException))
    assert code == 130 and "ended at once" in log


def test_slips_are_told_in_a_line(server, tmp_path):
    for args, told in (
        (("--model-dir", tmp_path / "none"), "does not exist"),
        (("--model-dir", "words", "--port", server.port), "cannot listen"),
        (("--model-dir", "words", "--model-dir", "words"), "two models have this name"),
        (("--model-dir", "words", "--name", "a", "--name", "b"), "1 models and 2 names"),
        (("--model-dir", "words", "--lexicon", f"a={tmp_path}/none.txt"), "--lexicon"),
    ):
        done = run_aocr("serve", *args)
        assert done.returncode == 1 and told in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_port_in_use_is_told_before_models_are_loaded(server, monkeypatch):
    def load(*args):
        raise AssertionError("a model was loaded first")

    monkeypatch.setattr("aocr.serving.app.Model", load)
    assert_clean_failure(run_aocr("serve", "--model-dir", "words", "--port", server.port), "cannot listen")


@in_browser
def test_the_page_in_a_browser(server, predicted):
    async def use():
        async with browser.Browser() as page:
            await page.open(server.url)
            await page.until("document.getElementById('about').textContent.includes('words')")
            await page.choose("#files", *IMAGES[:2], ROOT / "setup.py")
            await page.until("document.getElementById('count').textContent.startsWith('3 of 3 read')")
            texts = await page.evaluate("[...document.querySelectorAll('.text')].map(e => e.textContent)")
            assert texts[:2] == [one["text"] for one in predicted[:2]] and "is not an image" in texts[2]
            boxes = await page.evaluate("document.querySelectorAll('.card')[0].querySelectorAll('.box').length")
            assert boxes == len(predicted[0]["text"])
            await page.evaluate("document.querySelector('.card .row button').focus()")
            await page.key("Tab")  # from the copy button to the first character
            await page.until(
                "document.activeElement.matches('.characters *') && document.querySelectorAll('.heat').length > 0"
            )
            await page.evaluate("document.getElementById('options').open = true")
            await page.evaluate("document.getElementById('pattern').value = '[0-9]+'")
            await page.evaluate("document.getElementById('pattern').dispatchEvent(new Event('change'))")
            await page.until("/^[0-9]+$/.test(document.querySelector('.text').textContent)")
            assert await page.evaluate("document.querySelector('.card').classList.contains('unsure')")
            wide = "document.documentElement.scrollWidth <= innerWidth"
            assert await page.evaluate(wide)
            await page.open(server.url, width=390, height=800)
            assert await page.evaluate(wide)
            assert await page.evaluate(
                "[...document.querySelectorAll('input,select,textarea')].every(e => e.labels.length === 1)"
            )
            assert page.complaints == []

    asyncio.run(use())


async def use_page(server, conversation):
    """Run `conversation(page)` with the page open and its models told."""
    async with browser.Browser() as page:
        await page.open(server.url)
        await page.until("document.getElementById('about').textContent.includes('words')")
        await conversation(page)
        assert page.complaints == []


def read_all(count):
    return f"document.getElementById('count').textContent.startsWith('{count} of {count} read')"


TEXTS = "[...document.querySelectorAll('.text')].map(e => e.textContent)"
FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"


@in_browser
def test_images_are_dropped_pasted_and_taken_with_the_camera(server, predicted):
    expected = [one["text"] for one in predicted]
    copy = f"""(async () => {{
        const image = Object.assign(new Image(), {{ src: "data:image/jpeg;base64,{B64[1]["b64"]}" }});
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        canvas.getContext("2d").drawImage(image, 0, 0);
        await navigator.clipboard.write([new ClipboardItem({{ "image/png": await canvas.convertToBlob() }})]);
    }})()"""

    async def talk(page):
        await page.drop(IMAGES[0], IMAGES[2])
        await page.until(read_all(2))
        assert await page.evaluate(TEXTS) == [expected[0], expected[2]]
        assert not await page.evaluate("document.getElementById('drop').classList.contains('over')")
        await page.allow_clipboard()
        await page.evaluate("document.getElementById('clear').click()")
        await page.evaluate(copy)
        await page.paste()
        await page.until(read_all(1))
        await page.click("#paste")
        await page.until(read_all(2))
        assert await page.evaluate(TEXTS) == [expected[1]] * 2
        names = await page.evaluate("[...document.querySelectorAll('.name')].map(e => e.textContent)")
        assert names == ["pasted 2.png", "image.png"]
        await page.click("#camera")
        await page.until("document.getElementById('shot').open && document.getElementById('video').videoWidth > 0")
        await page.key("Escape")
        await page.until("!document.getElementById('shot').open && !document.getElementById('video').srcObject.active")
        await page.click("#camera")
        await page.until("document.getElementById('shot').open && document.getElementById('video').videoWidth > 0")
        await page.click("#take")
        await page.until(read_all(3))
        assert (await page.evaluate("document.querySelector('.name').textContent")) == "camera 3.png"

    asyncio.run(use_page(server, talk))


@in_browser
def test_texts_are_copied_and_downloaded(server, predicted, tmp_path):
    odd = tmp_path / '=a "b", c.jpg'
    odd.write_bytes(IMAGES[0].read_bytes())

    async def talk(page):
        await page.choose("#files", odd, IMAGES[1], ROOT / "setup.py")
        await page.until(read_all(3))
        await page.allow_clipboard()
        both = [one["text"] for one in predicted[:2]]
        for selector, text in (("#copy", "\n".join(both)), (".card .row button", both[0])):
            await page.evaluate("navigator.clipboard.writeText('')")
            await page.click(selector)
            await page.until(f"navigator.clipboard.readText().then(text => text === {json.dumps(text)})")
        rows = csv.DictReader(io.StringIO((await page.downloaded("#csv", "readings.csv", tmp_path)).decode()))
        for row, name, one in zip(rows, ("'" + odd.name, IMAGES[1].name), predicted[:2], strict=True):
            assert (row["file"], row["text"]) == (name, one["text"])
            assert float(row["confidence"]) == pytest.approx(one["confidence"], abs=1e-3)
            assert row["unsure"] == ("yes" if one["confidence"] < 0.9 else "no")
        labels = parse_annotations(await page.downloaded("#annotations", "labels.txt", tmp_path), "labels.txt")
        assert [(line.path, line.label) for line in labels] == list(zip((odd.name, IMAGES[1].name), both, strict=True))

    asyncio.run(use_page(server, talk))


@in_browser
def test_the_page_is_used_by_keyboard(server):
    async def talk(page):
        await page.choose("#files", IMAGES[1])
        await page.until(read_all(1))
        characters = await page.evaluate("document.querySelectorAll('.characters button').length")
        order = ["files", "camera", "paste", "What texts to expect", "copy", "csv", "annotations", "clear", "Copy"]
        for name in order + ["a character"] * characters:
            await page.key("Tab")
            assert name == "a character" or await page.evaluate(FOCUSED) == name
            ring = "getComputedStyle(document.activeElement.closest('.button') || document.activeElement).outlineStyle"
            assert await page.evaluate(ring) == "solid", name
        assert await page.evaluate("document.activeElement.matches('.characters li:last-child button')")
        await page.evaluate("document.querySelector('summary').focus()")
        await page.key(" ")
        for name in ("pattern", "words", "lexicon", "least"):
            await page.key("Tab")
            assert await page.evaluate(FOCUSED) == name
        await page.evaluate("document.getElementById('clear').focus()")
        await page.key("Enter")
        assert await page.evaluate("document.querySelectorAll('.card').length") == 0
        assert await page.evaluate(FOCUSED) == "files"

    asyncio.run(use_page(server, talk))


@in_browser
def test_the_inputs_of_the_page_are_fit_for_a_phone(server):
    async def talk(page):
        files = "document.getElementById('files')"
        assert await page.evaluate(f"[{files}.type, {files}.accept, {files}.multiple]") == ["file", "image/*", True]
        video = "document.getElementById('video')"
        assert await page.evaluate(f"[{video}.playsInline, {video}.muted]") == [True, True], "it plays where it stands"
        assert await page.evaluate("document.getElementById('shot').getAttribute('aria-label')") == "Camera"
        for name in ("camera", "paste", "take", "leave"):
            button = f"document.getElementById('{name}')"
            assert await page.evaluate(f"[{button}.type, {button}.textContent.trim() !== '']") == ["button", True]

    asyncio.run(use_page(server, talk))
