"""`aocr label` as a server and as a page: requests, retraining, the command line, a real browser."""

import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import threading

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

import browser
from aiohttp.test_utils import TestClient, TestServer
from conftest import assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image

from aocr.cli.label import _print_summary, _training_images
from aocr.data.automatic import split_key
from aocr.folder.model_folder import ModelFolder
from aocr.reading.symbols import SymbolFilter
from aocr.results import Character, Prediction
from aocr.serving.labelling import app as label_app
from aocr.serving.labelling import label_files
from aocr.serving.labelling.app import make_label_app
from aocr.serving.labelling.guesses import guess_reading, read_labels
from aocr.serving.labelling.label_files import Kind, LabelFiles
from aocr.serving.labelling.labelling import Labelling
from aocr.serving.labelling.retraining import Retraining, retrained_model
from aocr.serving.web import ServerAccess

NUM_IMAGES = 20


def guesses_of(scores):
    """Each image's number is read; the last digit has the image's score."""
    return [
        guess_reading(Prediction(f"{i:02}", score, (Character("0", 1.0, 0, 9), Character("1", score, 9, 20)), None, 30))
        for i, score in enumerate(scores)
    ]


@pytest.fixture
def work(tmp_path):
    paths = [os.path.realpath(tmp_path / f"{i}.png") for i in range(NUM_IMAGES)]
    for path in paths:
        Image.new("L", (30, 20), 255).save(path)
    return Labelling(paths, guesses_of([0.5 + i / 50 for i in range(NUM_IMAGES)]), LabelFiles(f"{tmp_path}/l.txt"))


def serve(work, conversation, retraining=None):
    """Run `conversation(get, post)` with the server of a labelling; `get` and `post` return (status, JSON or bytes)."""

    async def run():
        training = retraining or Retraining(work, "words", None, lambda model: [])
        app = make_label_app(ServerAccess("127.0.0.1", 0), work, training, False)
        async with TestClient(TestServer(app)) as client:

            async def ask(method, path, **options):
                async with client.request(method, path, **options) as response:
                    is_json = response.content_type == "application/json"
                    return response.status, await response.json() if is_json else await response.read()

            async def post(path, values=None, **options):
                return await ask("POST", path, **(options or {"json": values or {}}))

            await conversation(lambda path: ask("GET", path), post)

    asyncio.run(run())


def test_each_answer_is_the_new_state(work):
    async def conversation(get, post):
        status, state = await get("/state?above=0.7")
        assert status == 200 and state["image"]["text"] == "00" and not state["can_go_back"]
        assert state["image"]["characters"][1] == {"char": "1", "confidence": 0.5, "x0": 9, "x1": 20, "y0": 0, "y1": 0}
        assert state["estimate"] == {"images": 10, "sample": 0, "wrong": 0, "errors": None, "at_most": 10}
        _, state = await post("/accept", {"index": 0, "text": "typed"})
        assert state["image"]["index"] == 1 and state["progress"]["changed"] == 1 and state["can_go_back"]
        await post("/unreadable", {"index": 1})
        _, state = await post("/skip", {"index": 2, "text": "half"})
        assert state["image"]["index"] == 3 and state["upcoming"] == [4, 5]
        assert (state["progress"]["unreadable"], state["progress"]["skipped"]) == (1, 1)
        _, state = await post("/back")
        assert (state["image"]["index"], state["image"]["text"], state["upcoming"]) == (2, "half", [3, 4])
        assert (await post("/accept-all", {"above": 0.6, "digest": state["digest"]}))[0] == 409, "not what was shown"
        _, state = await get("/state?above=0.7")
        status, state = await post("/accept-all", {"above": 0.7, "digest": state["digest"]})
        assert status == 200 and state["progress"]["labelled"] == 11

    serve(work, conversation)


def test_images_are_served_by_number_only(work, tmp_path):
    (tmp_path / "secret.txt").write_text("s3cr3t", encoding="utf-8")
    Image.new("RGB", (30, 20)).save(work.images[1], "TIFF")  # browsers cannot show it

    async def conversation(get, post):
        for index in (0, 1):
            assert (await get(f"/images/{index}"))[1].startswith(b"\x89PNG")
        for path in (f"/images/{NUM_IMAGES}", "/images/-1", "/images/0.png", "/images/..%2Fsecret.txt", "/secret.txt",
                     f"/images/{tmp_path}/secret.txt", "/images/99999999999"):  # fmt: skip
            status, answer = await get(path)
            assert status == 404 and "s3cr3t" not in str(answer), path

    serve(work, conversation)


def test_invalid_requests_change_nothing(work):
    body = json.dumps({"index": 0, "text": "x"})

    async def conversation(get, post):
        for values, expected in (
            ({"index": 1, "text": "x"}, 409), ({"index": 10**400, "text": "x"}, 409), ({"index": 0}, 400),
            ({"index": 0, "text": ""}, 400), ({"text": "x"}, 400), ({"index": "0", "text": "x"}, 400),
            ({"index": True, "text": "x"}, 400), ([], 400), ({"index": 0, "text": "x" * 70_000}, 413),
        ):  # fmt: skip
            status, answer = await post("/accept", json=values)
            assert status == expected and answer["error"], values
        for headers, expected in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 403),
                                  ({"Content-Type": "text/plain"}, 415)):  # fmt: skip
            headers = {"Content-Type": "application/json", **headers}
            assert (await post("/accept", data=body, headers=headers))[0] == expected
        assert (await post("/accept", data=b"{", headers={"Content-Type": "application/json"}))[0] == 400
        assert (await post("/accept-all", {"above": 10**400, "digest": ""}))[0] == 400
        assert (await get("/state?above=nan"))[0] == 400
        assert not work.texts and not os.path.exists(work.files.output)
        forwarded = {"Host": "localhost:9000", "Origin": "http://localhost:9000", "Content-Type": "application/json"}
        assert (await post("/accept", data=body, headers=forwarded))[0] == 200, "as through ssh -L 9000:localhost:8502"

    serve(work, conversation)


def test_retraining_reorders_the_rest(work, monkeypatch):
    async def train(self):
        return "model"

    monkeypatch.setattr(Retraining, "_train", train)
    models = []

    def read_again(model):
        models.append(model)
        return guesses_of([1 - i / 50 for i in range(NUM_IMAGES)])

    retraining = Retraining(work, "words", 3, read_again)

    async def conversation(get, post):
        for index in range(3):
            assert not models
            await post("/accept", {"index": index, "text": "x"})
        while retraining.is_running:
            await asyncio.sleep(0.01)
        _, state = await get("/state")
        assert models == ["model"] and "trained on 3 labels" in state["training"]["status"]
        assert state["image"]["index"] == 3, "the current image stays"
        _, state = await post("/accept", {"index": 3, "text": "x"})
        assert state["image"]["index"] == NUM_IMAGES - 1, "now the least certain one"

    serve(work, conversation, retraining)


@pytest.mark.slow
def test_failed_training_does_not_stop_the_labelling(work, tmp_path):
    retraining = Retraining(work, str(tmp_path / "no-model"), 2, lambda model: [])

    async def conversation(get, post):
        await post("/accept", {"index": 0, "text": "x"})
        _, state = await post("/accept", {"index": 1, "text": "x"})
        assert state["training"]["is_running"]
        while retraining.is_running:
            await asyncio.sleep(0.05)
        _, state = await post("/accept", {"index": 2, "text": "x"})
        assert state["progress"]["labelled"] == 3
        assert re.match(r"Training on 2 labels failed: .*no-model", state["training"]["status"])

    serve(work, conversation, retraining)
    assert not os.path.exists(retrained_model(work.files.output))


def test_training_stops_with_the_server(work, monkeypatch):
    started = []
    create = asyncio.create_subprocess_exec

    async def sleep(*argv, **options):
        started.append(await create("sleep", "600", **options))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", sleep)

    async def conversation(get, post):
        await post("/accept", {"index": 0, "text": "x"})
        while not started:
            await asyncio.sleep(0.01)

    retraining = Retraining(work, "words", 1, lambda model: [])
    serve(work, conversation, retraining)
    assert started[0].returncode == -signal.SIGTERM
    assert retraining.status == "Training on 1 label ..."  # not reported as failed


@pytest.mark.parametrize(
    ("model", "start"), [("words", ""), ("my-model", " --init-from my-model"), ("my reader.onnx", "")]
)
@pytest.mark.parametrize(("num_random", "flag"), [(0, None), (5, ""), (label_files.MIN_VALIDATION, "--validation ")])
def test_summary_names_a_command_to_paste(work, model, start, num_random, flag, capsys):
    work.files.append(Kind.TRAINING, [work.images[0]], ["00"])
    work.files.append(Kind.VALIDATION, [f"{path}.copy" for path in work.images][:num_random], ["01"] * num_random)
    labels, validation = work.files.paths[Kind.TRAINING], work.files.paths[Kind.VALIDATION]
    _print_summary(Labelling(work.images, work.guesses, work.files), 1, model)
    data = labels if flag is None else f"{labels} {flag}{validation}"
    command = f"aocr train {data}{start} --model-dir {os.path.splitext(labels)[0]}-model"
    assert capsys.readouterr().out == f"1 new label; 1 of 20 images have one.\nNext: {command}\n"


def test_a_large_picture_is_sent_scaled_down(work):
    Image.effect_noise((4000, 1000), 50).save(work.images[0])
    Image.effect_noise((4000, 64), 50).save(work.images[1])

    async def conversation(get, post):
        sizes = []
        for path in ("/images/0", "/images/0?size=original", "/images/1"):
            sizes.append(Image.open(io.BytesIO((await get(path))[1])).size)
        assert sizes == [(1600, 400), (4000, 1000), (4000, 64)], "a low line would become illegible"

    serve(work, conversation)


def test_what_no_label_contains_can_be_left_out(tmp_path):
    paths = [os.path.realpath(tmp_path / f"{i}.png") for i in range(30)]
    texts = [f"a-{i} b" for i in range(30)]
    guesses = [guess_reading(Prediction(text, 0.5, tuple(Character(c, 0.9, 0, 9) for c in text))) for text in texts]
    work = Labelling(paths, guesses, LabelFiles(f"{tmp_path}/l.txt"))

    async def conversation(get, post):
        for i in range(10):
            _, state = await get("/state")
            assert state["offer"] is None
            _, state = await post("/accept", {"index": state["image"]["index"], "text": f"A{i}B"})
        assert state["offer"] == {"kinds": ["spaces", "punctuation", "small letters"], "changes": 20, "is_on": False}
        _, state = await post("/leave-out", {"is_on": True})
        index = state["image"]["index"]
        assert state["offer"]["is_on"] and state["image"]["text"] == f"A{index}B"
        _, state = await post("/accept", {"index": index, "text": f"A-{index}B"})
        index = state["image"]["index"]
        assert state["offer"]["kinds"] == ["spaces", "small letters"] and state["image"]["text"] == f"A-{index}B"
        work.renew(guesses[::-1])
        assert work.guesses[0].text == "A-29B"
        _, state = await post("/leave-out", {"is_on": False})
        assert not state["offer"]["is_on"] and " " in state["image"]["text"]

    serve(work, conversation)
    capital = SymbolFilter(frozenset("AB0123456789"), spaces=False)
    fixed = Labelling(paths, guesses, work.files, symbol_filter=capital)
    assert fixed.guesses[3].text == "A3B" and fixed.offer() is None
    assert Labelling(paths, guesses, work.files, symbol_filter=SymbolFilter()).guesses == guesses, "as in an audit"


def test_training_images_are_known_from_the_model_folder(tmp_path):
    for value, name in enumerate(("trained.png", "other.png")):
        Image.new("L", (30 + value, 20), 9).save(tmp_path / name)
    digest = int(split_key((tmp_path / "trained.png").read_bytes()))
    ModelFolder(tmp_path).write_learnt(np.array([digest]))
    was_trained_on = _training_images(str(tmp_path))
    assert [was_trained_on(str(tmp_path / name)) for name in ("trained.png", "other.png", "none.png")] == [1, 0, 0]
    for model in ("words", "x.onnx"):
        assert not _training_images(model)(str(tmp_path / "trained.png"))


def test_mistakes_are_reported_before_images_are_read(tmp_path, numbers, monkeypatch):
    def read_images(*args):
        raise AssertionError("images were read first")

    output = tmp_path / "labels.txt"
    argv = ("label", "x.png", "--model-dir", "words", "--output", output)
    assert_clean_failure(run_aocr(*argv, "--port", 0), "IMAGE = 'x.png'")
    monkeypatch.setattr("aocr.serving.labelling.guesses.read_images", read_images)
    for args, word in (
        (("--output", output), "IMAGE"),
        (("x.png", "--audit", numbers, "--output", output), "IMAGE"),
        (("--audit", numbers, "--output", numbers), "--output"),
        (("--audit", "nowhere.txt", "--output", output), "nowhere.txt"),
        (("x.png", "--output", tmp_path), "--output"),
        (("x.png", "--output", output, "--retrain", 5, "--model-dir", "x.onnx"), "--retrain"),
        (("x.png", "--output", output, "--port", 65536), "--port"),
    ):
        assert_clean_failure(run_aocr("label", "--port", 0, *args), word)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_clean_failure(run_aocr(*argv, "--port", port), f"127.0.0.1:{port}", "--port")
    assert list(tmp_path.iterdir()) == []
    output.write_text("")
    for name in ("labels.model", "labels.model.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "diary.txt").touch()
        assert_clean_failure(run_aocr(*argv, "--port", 0, "--retrain", 5), name)
        (tmp_path / name / "diary.txt").rename(tmp_path / name / "model.json")


async def label_in_browser(address):
    """Accept, correct, skip, mark, undo and mark again with the keyboard; return the numbers of the images."""
    indexes = []
    async with browser.Browser() as page:

        async def press(key):
            await page.until("!document.querySelector('.loading')")
            indexes.append(await page.evaluate("state.image.index"))
            await page.key(key)
            await page.until(f"state.image.index !== {indexes[-1]} && !busy")

        await page.open(address, width=360)
        await page.until("state && document.activeElement.id === 'text'")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await press("Enter")
        await page.evaluate("document.querySelector('#text').select()")
        await page.call("Input.insertText", text="typed by hand")
        for key in ("Enter", "Escape", "Alt+U", "Alt+Z", "Alt+U"):
            await press(key)
        await page.until("document.querySelectorAll('.mark').length === state.image.characters.length")
        assert await page.evaluate("document.querySelector('#picture').naturalWidth") > 0
        counts = await page.evaluate("document.querySelector('#counts').textContent")
        assert counts.startswith("2 of 12 labelled") and "1 unreadable · 1 for later" in counts, counts
        assert "1 of 2 corrected in this session" in counts
        names = await page.evaluate("[...document.querySelectorAll('#current button')].map(b => b.innerText)")
        tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
        spoken = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "button"]
        assert len(names) == 5 and spoken[:2] == ["Accept", "Later"], spoken
        assert page.complaints == []
    return indexes


@pytest.mark.slow
@pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")
def test_labelling_in_a_browser_with_the_keyboard(tmp_path):
    draw_numbers(tmp_path / "n", 12)
    output = tmp_path / "labels.txt"
    argv = ("label", tmp_path / "n", "--output", output, "--model-dir", "words", "--port", "0")
    with start_aocr(*argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        address = next(match[1] for line in process.stderr if (match := re.search(r"Open (http://\S+)", line)))
        accepted, corrected, _, unreadable, _, again = asyncio.run(label_in_browser(address))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err, err
    assert "2 new labels; 2 of 12 images have one." in out
    images = sorted(os.path.realpath(path) for path in (tmp_path / "n").glob("*.png"))
    labels = LabelFiles(str(output)).labels(Kind.TRAINING)
    assert set(labels) == {images[accepted], images[corrected]} and labels[images[corrected]] == "typed by hand"
    assert list(LabelFiles(str(output)).labels(Kind.UNREADABLE)) == [images[unreadable]] and again == unreadable


async def label_slowly(work, released):
    app = make_label_app(ServerAccess("127.0.0.1", 0), work, Retraining(work, "words", None, lambda model: []), False)
    async with TestServer(app) as server, browser.Browser() as page:
        shown = "document.querySelector('#picture').naturalWidth"
        await page.open(str(server.make_url("/")))
        await page.until("state && !document.querySelector('.loading')")
        assert await page.evaluate(shown) == 30

        # while the second picture is on its way, none is shown, and its text cannot be accepted
        await page.key("Enter")
        await page.until("state.image.index === 1 && !busy")
        assert await page.evaluate(f"{shown} === 0 && getComputedStyle(document.querySelector('#frame')).visibility")
        await page.key("Enter")
        assert await page.evaluate("state.image.index === 1 && !busy")
        released.set()
        await page.until(f"{shown} === 31")
        await page.until("pictures.has(2) && pictures.has(3) && pictures.size === 3")

        # Escape keeps what was typed, and leaves the threshold alone
        await page.evaluate("document.querySelector('#text').select()")
        await page.call("Input.insertText", text="half")
        await page.key("Escape")
        await page.until("state.image.index === 2 && !document.querySelector('.loading')")
        await page.click("#above")
        await page.key("Escape")
        assert await page.evaluate("document.activeElement.id") == "text"
        assert await page.evaluate("state.image.index") == 2

        # what is accepted is what the button says
        button, estimate = ("document.querySelector('#acceptAll')", "document.querySelector('#estimate').textContent")

        async def type_threshold(text):
            await page.evaluate("document.querySelector('#above').select()")
            await page.call("Input.insertText", text=text)

        await page.click("#above")
        for wrong, expected in (("950", "from 0 to 100"), ("0.95", "in percent: 95")):
            await type_threshold(wrong)
            assert await page.evaluate(f"{button}.disabled") and expected in await page.evaluate(estimate)
        await type_threshold("85")
        await page.until(f"!{button}.disabled && {button}.textContent === 'Accept these 2 images'")
        assert "too few to say" in await page.evaluate("document.querySelector('#basis').textContent")
        await type_threshold("80")
        await page.click("#acceptAll")  # before the new number is there
        await page.until(f"!{button}.disabled && {button}.textContent === 'Accept these 5 images'")
        assert len(work.texts) == 1
        await page.click("#acceptAll")
        await page.until("document.querySelector('#said').textContent.startsWith('5 texts accepted; Alt+Z')")
        assert sorted(work.texts) == [0, 15, 16, 17, 18, 19]
        assert await page.evaluate("document.activeElement.id") == "text"
        await page.key("Alt+Z")
        await page.until("state.progress.labelled === 1")

        # Tab goes to the next doubtful character, then to the next field
        selected = "[text.selectionStart, text.selectionEnd, document.activeElement.id].join()"
        await page.evaluate("text.setSelectionRange(0, 0)")
        await page.key("Tab")
        assert await page.evaluate(selected) == "1,2,text"
        await page.key("Tab")
        assert await page.evaluate("document.activeElement.id") == "accept"
        await page.click("#reading span")
        assert await page.evaluate(selected) == "0,1,text"

        while await page.evaluate("!!state.image"):
            await page.evaluate("actions.unreadable()" if len(work.unreadable) < 17 else "actions.accept()")
            await page.until("!busy && !(state.image && document.querySelector('.loading'))")
        assert work.texts[1] == "half"
        command = await page.evaluate("document.querySelector('#command').innerText")
        assert command == work.files.training_command("words")
        assert page.complaints == []


async def look_at_boxes(work):
    app = make_label_app(ServerAccess("127.0.0.1", 0), work, Retraining(work, "words", None, lambda model: []), False)
    place = """[...document.querySelectorAll(".mark.box")].map((mark) => {
        const box = mark.getBoundingClientRect(), image = document.querySelector("#picture").getBoundingClientRect();
        return [(box.left - image.left) / image.width, (box.top - image.top) / image.height, box.width / image.width,
            box.height / image.height].map((share) => Math.round(100 * share)); })"""
    async with TestServer(app) as server, browser.Browser() as page:
        await page.open(str(server.make_url("/")))
        await page.until("document.querySelectorAll('.mark.box').length === 2")
        assert await page.evaluate(place) == [[10, 0, 20, 50], [20, 50, 30, 40]]
        await page.evaluate("actions.check()")
        await page.until("state.checks === 1 && document.querySelector('#check').hidden")
        assert "Being checked: 1" in await page.evaluate("document.querySelector('#basis').textContent")
        await page.key("Enter")
        await page.until("state.image.index === 2 && !busy && !document.querySelector('.loading')")
        assert await page.evaluate("document.querySelectorAll('.mark.box').length") == 0, "a single line has bars"
        await page.key("Escape")
        await page.until("state.image.index === 1 && !busy && !document.querySelector('.loading')")
        assert await page.evaluate("document.querySelector('#picture').clientHeight") > 300, "upright text is not tiny"
        assert await page.evaluate("document.querySelector('#about').textContent.includes('reads no text')")
        assert page.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")
def test_boxes_of_several_lines_and_upright_images(tmp_path):
    characters = (Character("A", 1.0, 10, 30, 0, 50), Character("1", 0.5, 20, 50, 50, 90))
    several = Prediction("A1", 0.5, characters, None, 100, image_height=100)
    single = Prediction("7", 0.99, (Character("7", 1.0, 0, 20, 0, 20),), None, 30, image_height=20)
    paths = [os.path.realpath(tmp_path / f"{i}.png") for i in range(3)]
    for path, size in zip(paths, ((100, 100), (40, 400), (30, 20)), strict=True):
        Image.new("L", size, 255).save(path)
    guesses = [guess_reading(reading) for reading in (several, Prediction("", 0.99), single)]
    asyncio.run(look_at_boxes(Labelling(paths, guesses, LabelFiles(f"{tmp_path}/l.txt"))))


@pytest.mark.slow
@pytest.mark.skipif(not browser.PROGRAM, reason="chromium is not installed")
def test_labelling_over_a_slow_network(work, monkeypatch):
    released, send = threading.Event(), label_app._picture
    Image.new("L", (31, 20), 255).save(work.images[1])

    def send_late(path, is_whole):
        assert path != work.images[1] or released.wait(30)
        return send(path, is_whole)

    monkeypatch.setattr(label_app, "_picture", send_late)
    asyncio.run(label_slowly(work, released))


@pytest.mark.slow
def test_audit_ranks_wrong_labels_first(tmp_path):
    annotations = draw_numbers(tmp_path / "n", 30, seed=5)
    lines = annotations.read_text("utf-8").splitlines()
    for i in (7, 21):
        path, label = lines[i].split()
        lines[i] = f"{path} {label[::-1] if label != label[::-1] else label + '9'}"
    annotations.write_text("\n".join(lines), encoding="utf-8")
    guesses = sorted(read_labels("words", str(annotations)), key=lambda item: item[1].rank)
    assert {"7.png", "21.png"} <= {name for name, _ in guesses[:6]}
    assert dict(guesses)["7.png"].text == lines[7].split()[1]
