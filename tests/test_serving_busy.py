"""A busy server: the queue is full, an answer takes too long, the server ends. The model reads when it is let."""

import asyncio
import base64
import io
import os
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from aocr.errors import ImageError
from aocr.results import Prediction
from aocr.serving import batching, read_route
from aocr.serving.app import Service, make_service
from aocr.serving.batching import Batcher
from aocr.serving.metrics import Metrics
from aocr.serving.web import HTTPError, ServerAccess

PREDICT = "/v1/models/slow:predict"


class SlowModel:
    """Reads each image's width, once it is let; stands for a model and its version."""

    name, number, config = "slow", 1, SimpleNamespace(channels=1)

    def __init__(self):
        self.version = self
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        self.texts = []

    def find(self, number):
        return self

    def look_for_newer(self):
        pass

    def width(self, width, height):
        return width

    def reading(self, how):
        return self.read

    def read(self, images):
        self.has_begun.set()
        assert self.may_go_on.wait(60)
        texts = [str(Image.open(io.BytesIO(data)).width) for data in images]
        self.texts += texts
        return [Prediction(text, 0.5) for text in texts]


def png(width):
    out = io.BytesIO()
    Image.new("L", (width, 8), 255).save(out, "PNG")
    return out.getvalue()


def serve(conversation, **access):
    """Run `conversation(model, client, ask)`; `ask(width, ...)` gives (status, texts or what is told)."""

    async def run():
        model = SlowModel()
        app = make_service(Service([model], {}, batch_size=2), ServerAccess("127.0.0.1", 0, **access))
        async with TestClient(TestServer(app)) as client:

            async def ask(*widths):
                images = [{"b64": base64.b64encode(png(width)).decode()} for width in widths]
                async with client.post(PREDICT, json={"inputs": images}) as answer:
                    told = await answer.json()
                    return answer.status, told["outputs"]["output"] if answer.status == 200 else told["error"]

            try:
                await conversation(model, client, ask)
            finally:
                model.may_go_on.set()

    asyncio.run(run())


async def begun(ask, model):
    """A request whose image is being read."""
    task = asyncio.create_task(ask(10))
    assert await asyncio.to_thread(model.has_begun.wait, 60)
    return task


def test_a_full_queue_is_told_and_what_waits_is_read(monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING", 3)

    async def talk(model, client, ask):
        first = await begun(ask, model)
        others = {width: asyncio.create_task(ask(width)) for width in range(11, 16)}
        refused = {}
        while len(refused) < 2:
            await asyncio.wait([task for task in others.values() if task not in refused.values()],
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            refused = {width: task for width, task in others.items() if task.done()}
        assert len(refused) == 2
        for task in refused.values():
            assert task.result() == (429, "3 images wait to be read. Try again later, or send fewer at a time.")
        model.may_go_on.set()
        assert await first == (200, ["10"])
        for width in others.keys() - refused.keys():
            assert await others[width] == (200, [str(width)])
        assert await ask(16, 17, 18) == (200, ["16", "17", "18"])
        told = (413, "A request may hold 3 images. Send the rest in another.")
        assert await ask(16, 17, 18, 19) == told
        async with client.get("/metrics") as answer:
            text = await answer.text()
        for status, count in ((200, 5), (413, 1), (429, 2)):
            assert f'status="{status}"}} {count}\n' in text

    serve(talk)


def test_who_has_waited_too_long_is_told_and_the_image_is_not_read():
    async def talk(model, client, ask):
        first = await begun(ask, model)
        for code, error in await asyncio.gather(first, ask(11)):
            assert code == 504 and error == "There was no answer within 2 seconds. Try again later."
        model.may_go_on.set()
        assert await ask(12) == (200, ["12"])
        assert model.texts == ["10", "12"], "10 was being read, 11 waited"

    serve(talk, deadline=2.0)


def test_images_of_a_form_that_wait_at_the_deadline_are_not_looked_at(monkeypatch):
    looked_at, may_go_on = [], threading.Event()

    def check(data, name):
        looked_at.append(name)
        assert may_go_on.wait(60)
        raise ImageError(name, "is damaged.")

    monkeypatch.setattr(read_route, "canonical_image", check)

    async def send(client, *names):
        form = FormData()
        for name in names:
            form.add_field("images", png(10), filename=name)
        async with client.post("/read", data=form) as answer:
            return answer.status

    async def talk(model, client, ask):
        workers = os.cpu_count() or 1
        assert await send(client, *(f"{number}.png" for number in range(4 * workers))) == 504
        may_go_on.set()
        assert await send(client, "after.png") == 200
        assert len(looked_at) == workers + 1 and looked_at[-1] == "after.png"

    serve(talk, deadline=2.0)


def test_a_server_that_ends_is_not_ready():
    async def talk(model, client, ask):
        async with client.get("/v2/health/ready") as answer:
            assert (answer.status, await answer.json()) == (200, {"ready": True})
        await client.server.app.shutdown()
        async with client.get("/v2/health/ready") as answer:
            assert (answer.status, await answer.json()) == (503, {"ready": False})

    serve(talk)


def test_what_still_waits_at_the_end_is_told():
    async def run():
        model, batcher = SlowModel(), Batcher(1, Metrics())
        batcher.start()
        first = asyncio.create_task(batcher.read([png(10)], [10], model.read))
        assert await asyncio.to_thread(model.has_begun.wait, 60)
        second = asyncio.create_task(batcher.read([png(11)], [11], model.read))
        await asyncio.sleep(0)  # it waits now
        await batcher.stop()
        model.may_go_on.set()
        with pytest.raises(HTTPError, match="The server ends") as caught:
            await second
        assert caught.value.status == 503
        first.cancel()

    asyncio.run(run())
