"""`aocr label` as a server and as a page: requests, retraining, a real process and a real browser."""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

import browser
from aiohttp.test_utils import TestClient, TestServer
from conftest import assert_clean_failure, draw_numbers, run_aocr, start_aocr
from PIL import Image

from aocr.cli.label import _learnt_by, _tell_end
from aocr.data.automatic import split_key
from aocr.folder.model_folder import ModelFolder
from aocr.results import Character, Prediction
from aocr.serving.labelling.app import label_door, make_label_app
from aocr.serving.labelling.guesses import guess_reading
from aocr.serving.labelling.label_files import Kind, LabelFiles
from aocr.serving.labelling.labelling import Labelling
from aocr.serving.labelling.retraining import Retraining, model_beside
from aocr.training.seen import NOTHING_SEEN, Role, write_seen

NUM_IMAGES = 20


def guesses_of(sureness):
    """Each image's number is read, its last digit with doubt."""
    return [
        guess_reading(Prediction(f"{i:02}", sure, (Character("0", 1.0, 0, 9), Character("1", sure, 9, 20)), None, 30))
        for i, sure in enumerate(sureness)
    ]


@pytest.fixture
def work(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(NUM_IMAGES)]
    for path in paths:
        Image.new("L", (30, 20), 255).save(path)
    sureness = [0.5 + i / 50 for i in range(NUM_IMAGES)]
    return Labelling([os.path.realpath(path) for path in paths], guesses_of(sureness), LabelFiles(f"{tmp_path}/l.txt"))


def serve(work, conversation, retraining=None):
    """Run `conversation(get, post)` with the server of a labelling; `get` and `post` give (status, JSON or bytes)."""

    async def run():
        training = retraining or Retraining(work, "words", None, lambda model: [])
        app = make_label_app(label_door(0), work, training, False)
        async with TestClient(TestServer(app)) as client:

            async def ask(method, path, **options):
                async with client.request(method, path, **options) as answer:
                    is_json = answer.content_type == "application/json"
                    return answer.status, await answer.json() if is_json else await answer.read()

            async def post(path, values=None, **options):
                return await ask("POST", path, **(options or {"json": values or {}}))

            await conversation(lambda path: ask("GET", path), post)

    asyncio.run(run())


def test_each_answer_tells_the_state_after_it(work):
    async def talk(get, post):
        status, state = await get("/state?above=0.7")
        assert status == 200 and state["image"]["text"] == "00" and not state["can_go_back"]
        assert state["image"]["characters"][1] == {"char": "1", "confidence": 0.5, "x0": 9, "x1": 20}
        assert state["estimate"] == {"images": 10, "sample": 0, "wrong": 0, "errors": None, "at_most": 10}
        status, state = await post("/accept", {"index": 0, "text": "typed"})
        assert state["image"]["index"] == 1 and state["progress"]["changed"] == 1 and state["can_go_back"]
        status, state = await post("/unreadable", {"index": 1})
        status, state = await post("/skip", {"index": 2})
        assert state["image"]["index"] == 3
        assert (state["progress"]["unreadable"], state["progress"]["skipped"]) == (1, 1)
        status, state = await post("/back")
        assert state["image"]["index"] == 2
        status, state = await post("/accept-all", {"above": 0.7, "count": 10})
        assert status == 200 and state["progress"]["labelled"] == 11

    serve(work, talk)


def test_images_are_given_by_number_and_never_by_path(work, tmp_path):
    (tmp_path / "secret.txt").write_text("s3cr3t", encoding="utf-8")
    Image.new("RGB", (30, 20)).save(work.images[1], "TIFF")  # no browser shows these

    async def talk(get, post):
        assert (await get("/images/0"))[1].startswith(b"\x89PNG")
        assert (await get("/images/1"))[1].startswith(b"\x89PNG")
        for path in (f"/images/{NUM_IMAGES}", "/images/-1", "/images/0.png", "/images/..%2Fsecret.txt", "/secret.txt",
                     f"/images/{tmp_path}/secret.txt", "/images/99999999999"):  # fmt: skip
            status, answer = await get(path)
            assert status == 404 and "s3cr3t" not in str(answer), path

    serve(work, talk)


@pytest.mark.parametrize(("values", "expected"), [
    ({"index": 1, "text": "x"}, 409), ({"index": 0}, 400), ({"index": 0, "text": ""}, 400), ({"text": "x"}, 400),
    ({"index": "0", "text": "x"}, 400), ({"index": True, "text": "x"}, 400), ([], 400),
    ({"index": 0, "text": "x" * 70_000}, 413), ({"index": 10**400, "text": "x"}, 409),
])  # fmt: skip
def test_a_bad_request_changes_nothing(work, values, expected):
    async def talk(get, post):
        status, answer = await post("/accept", json=values)
        assert status == expected and answer["error"]

    serve(work, talk)
    assert not work.texts and not os.path.exists(work.files.output)


def test_only_this_page_may_decide(work):
    body = json.dumps({"index": 0, "text": "x"})

    async def talk(get, post):
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            assert (await post("/accept", data=body, headers={**headers, "Content-Type": "application/json"}))[0] == 403
        assert (await post("/accept", data=body, headers={"Content-Type": "text/plain"}))[0] == 415
        assert (await post("/accept-all", {"above": 10**400, "count": 0}))[0] == 400
        assert (await get("/state?above=nan"))[0] == 400
        forwarded = {"Host": "localhost:9000", "Origin": "http://localhost:9000", "Content-Type": "application/json"}
        assert (await post("/accept", data=body, headers=forwarded))[0] == 200, "as through ssh -L 9000:localhost:8502"

    serve(work, talk)


def test_retraining_orders_the_rest_anew(work, monkeypatch):
    async def train(self):
        return "model"

    monkeypatch.setattr(Retraining, "_train", train)
    read = []

    def read_again(model):
        read.append(model)
        return guesses_of([1 - i / 50 for i in range(NUM_IMAGES)])

    retraining = Retraining(work, "words", 3, read_again)

    async def talk(get, post):
        for index in range(3):
            assert not read
            await post("/accept", {"index": index, "text": "x"})
        while retraining.is_running:
            await asyncio.sleep(0.01)
        _, state = await get("/state")
        assert read == ["model"] and "trained on 3 labels" in state["training"]["told"]
        assert state["image"]["index"] == 3, "what is shown stays"
        _, state = await post("/accept", {"index": 3, "text": "x"})
        assert state["image"]["index"] == NUM_IMAGES - 1, "now the least sure one"

    serve(work, talk, retraining)


def test_a_training_that_fails_is_told_and_labelling_goes_on(work, tmp_path):
    retraining = Retraining(work, str(tmp_path / "no-model"), 2, lambda model: [])

    async def talk(get, post):
        await post("/accept", {"index": 0, "text": "x"})
        _, state = await post("/accept", {"index": 1, "text": "x"})
        assert state["training"]["is_running"]
        while retraining.is_running:
            await asyncio.sleep(0.05)
        _, state = await post("/accept", {"index": 2, "text": "x"})
        assert state["progress"]["labelled"] == 3
        assert re.match(r"The training on 2 labels failed: .*no-model.* Labelling goes on", state["training"]["told"])

    serve(work, talk, retraining)
    assert not os.path.exists(model_beside(work.files.output))


def test_a_training_is_ended_with_the_program(work, monkeypatch):
    started = []

    async def sleep(*argv, **options):
        started.append(await create("sleep", "600", **options))
        return started[0]

    create = asyncio.create_subprocess_exec
    monkeypatch.setattr(asyncio, "create_subprocess_exec", sleep)

    async def talk(get, post):
        await post("/accept", {"index": 0, "text": "x"})
        while not started:
            await asyncio.sleep(0.01)

    retraining = Retraining(work, "words", 1, lambda model: [])
    serve(work, talk, retraining)
    assert started[0].returncode == -signal.SIGTERM
    assert retraining.told == "Training on 1 label ..."  # it did not fail


@pytest.mark.parametrize(("model", "start"), [("words", " --init-from words"), ("my reader.onnx", "")])
def test_what_to_type_next_can_be_typed(work, model, start, capsys):
    """It started from an ONNX export, which no training takes."""
    work.files.append(Kind.TRAINING, [(work.images[0], "00")])
    work.files.append(Kind.VALIDATION, [(work.images[1], "01")])
    labelling = Labelling(work.images, work.guesses, work.files)
    labels = work.files.paths[Kind.TRAINING]
    _tell_end(argparse.Namespace(labels=labels), labelling, 2, model)
    held_out = work.files.paths[Kind.VALIDATION]
    told = f"Next: aocr train {labels} --validation {held_out}{start} --model-dir DIR\n"
    assert capsys.readouterr().out == f"2 new labels; 2 of 20 images have one.\n{told}"


def test_what_a_model_has_learnt_from_is_known_by_its_folder(work, tmp_path):
    Image.new("L", (31, 20), 9).save(tmp_path / "other.png")
    place = int(split_key((tmp_path / "0.png").read_bytes()))
    write_seen(ModelFolder(tmp_path), NOTHING_SEEN.but(np.array([place]), Role.LEARNT))
    is_learnt = _learnt_by(str(tmp_path))
    assert [is_learnt(str(tmp_path / name)) for name in ("0.png", "other.png", "none.png")] == [True, False, False]
    for knows_nothing in ("words", "x.onnx"):
        assert not _learnt_by(knows_nothing)(work.images[0])


def test_slips_are_told_in_one_line(tmp_path, numbers):
    output = tmp_path / "labels.txt"
    assert_clean_failure(run_aocr("label", "--port", 0, "--output", output), "IMAGE", "--audit ANNOTATIONS")
    assert_clean_failure(
        run_aocr("label", "--port", 0, "x.png", "--audit", numbers, "--output", output), "and not both"
    )
    assert_clean_failure(
        run_aocr("label", "--port", 0, "--audit", numbers, "--output", numbers), "labels are never changed"
    )
    assert_clean_failure(
        run_aocr("label", "--port", 0, "--audit", "nowhere.txt", "--output", output), "there is no such file"
    )
    assert_clean_failure(
        run_aocr("label", "--port", 0, tmp_path / "no.png", "--output", output), "no image that can be read"
    )
    assert_clean_failure(run_aocr("label", "--port", 0, "x.png", "--output", tmp_path), "--output")
    assert list(tmp_path.iterdir()) == [], "nothing half-written is left"


def test_what_stands_in_the_way_is_told_before_images_are_read(tmp_path, numbers, monkeypatch):
    from aocr.serving.labelling import guesses

    def read_images(*args):
        raise AssertionError("images were read first")

    monkeypatch.setattr(guesses, "read_images", read_images)
    output = tmp_path / "labels.txt"
    argv = ("label", numbers.parent, "--model-dir", "words", "--output", output)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_clean_failure(run_aocr(*argv, "--port", port), f"127.0.0.1:{port}", "cannot listen")
    assert_clean_failure(run_aocr(*argv, "--port", 65536), "between 0 and 65535")
    assert not output.exists()
    output.write_text("3.png\n")
    assert_clean_failure(run_aocr(*argv, "--port", 0), "labels.txt:1", "has no label")
    output.write_text("")
    (tmp_path / "labels.unreadable.txt").mkdir()
    assert_clean_failure(run_aocr(*argv, "--port", 0), "labels.unreadable.txt", "cannot be written")
    (tmp_path / "labels.unreadable.txt").rmdir()
    for name in ("labels.model", "labels.model.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "diary.txt").touch()
        assert_clean_failure(run_aocr(*argv, "--port", 0, "--retrain", 5), name, "is no model folder")
        assert (tmp_path / name / "diary.txt").exists()
        (tmp_path / name / "diary.txt").rename(tmp_path / name / "model.json")
        (tmp_path / name).rename(tmp_path / f"{name}.away")
        (tmp_path / name).symlink_to(f"{name}.away")
        assert_clean_failure(run_aocr(*argv, "--port", 0, "--retrain", 5), name, "is no model folder")
        (tmp_path / name).unlink()


async def press_alt(page, letter):
    for kind in ("rawKeyDown", "keyUp"):
        await page.call("Input.dispatchKeyEvent", type=kind, modifiers=1, code=f"Key{letter}", key=letter.lower())


async def label_in_browser(address, numbers):
    """Accept, correct, put off, mark and take back with the keyboard alone; the numbers of the images shown."""
    seen = []
    async with browser.Browser() as page:

        async def escape_control():
            return await page.evaluate("state.image.index")

        async def then(press, *keys):
            before = len(seen)
            seen.append(await escape_control())
            await press(*keys)
            await page.until(f"state.image.index !== {seen[before]} && !busy")

        await page.open(address)
        await page.until("state && document.activeElement.id === 'text'")
        await then(page.key, "Enter")
        await page.evaluate("document.querySelector('#text').select()")
        await page.call("Input.insertText", text="typed by hand")
        await then(page.key, "Enter")
        await then(page.key, "Escape")
        await then(press_alt, page, "U")
        last = await escape_control()
        await press_alt(page, "Z")
        await page.until(f"state.image.index === {seen[-1]} && !busy")
        await then(press_alt, page, "U")
        assert await escape_control() == last
        assert await page.evaluate("document.querySelector('#picture').naturalWidth") > 0
        assert await page.evaluate("document.querySelectorAll('.mark').length") == await page.evaluate(
            "state.image.characters.length"
        )
        counts = await page.evaluate("document.querySelector('#counts').textContent")
        assert counts.startswith(f"2 of {numbers} labelled") and "1 unreadable · 1 for later" in counts, counts
        assert "1 of the 2 of this session corrected" in counts
        for width, dark in ((360, True), (1100, False)):
            await page.open(address, width=width, dark=dark)
            await page.until("state")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.complaints == []
    return seen


@pytest.mark.slow
@pytest.mark.skipif(not browser.PROGRAM, reason="there is no chromium")
def test_labelling_in_a_browser_with_the_keyboard(tmp_path):
    draw_numbers(tmp_path / "n", 12)
    output = tmp_path / "labels.txt"
    argv = ("label", tmp_path / "n", "--output", output, "--model-dir", "words", "--port", "0")
    with start_aocr(*argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if address := re.search(r"Open (http://\S+)", line):
                break
        assert process.poll() is None, "".join(said)
        accepted, corrected, _, unreadable, _ = asyncio.run(label_in_browser(address[1], 12))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and "Traceback" not in err, err
    assert "2 new labels; 2 of 12 images have one." in out
    images = sorted(os.path.realpath(path) for path in (tmp_path / "n").glob("*.png"))
    labels = LabelFiles(str(output)).labels(Kind.TRAINING)
    assert set(labels) == {images[accepted], images[corrected]} and labels[images[corrected]] == "typed by hand"
    assert list(LabelFiles(str(output)).labels(Kind.UNREADABLE)) == [images[unreadable]]


def test_an_audit_finds_the_wrong_labels_first(tmp_path):
    from aocr.serving.labelling.guesses import read_labels

    annotations = draw_numbers(tmp_path / "n", 30, seed=5)
    lines = annotations.read_text("utf-8").splitlines()
    for i in (7, 21):
        path, label = lines[i].split()
        lines[i] = f"{path} {label[::-1] if label != label[::-1] else label + '9'}"
    annotations.write_text("\n".join(lines), encoding="utf-8")
    found = sorted(read_labels("words", str(annotations)), key=lambda item: item[1].rank)
    assert {"7.png", "21.png"} <= {name for name, _ in found[:6]}
    assert dict(found)["7.png"].text == lines[7].split()[1], "the label that stands is filled in"
