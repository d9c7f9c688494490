"""A busy server: a full queue, a deadline that passes, a shutdown. The test decides when the model may read."""

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
from aocr.serving.app import Service
from aocr.serving.batching import Batcher
from aocr.serving.metrics import Metrics
from aocr.serving.web import HTTPError, ServerAccess

PREDICT = "/v1/models/slow:predict"


class SlowModel:
    """Stands for a model and its version; reads each image's width, once it may."""

    name, number, config = "slow", 1, SimpleNamespace(channels=1)

    def __init__(self):
        self.version = self
        self.has_started, self.may_read = threading.Event(), threading.Event()
        self.texts = []

    def find(self, number):
        return self

    def look_for_newer(self):
        pass

    def width(self, width, height):
        return width

    def reader(self, read_config):
        return self.read

    def read(self, images):
        self.has_started.set()
        assert self.may_read.wait(60)
        texts = [str(Image.open(io.BytesIO(data)).width) for data in images]
        self.texts += texts
        return [Prediction(text, 0.5) for text in texts]


def png(width):
    out = io.BytesIO()
    Image.new("L", (width, 8), 255).save(out, "PNG")
    return out.getvalue()


def serve(conversation, **access):
    """Run `conversation(model, client, ask)`; `ask(*widths)` returns (status, texts or error)."""

    async def run():
        model = SlowModel()
        app = Service([model], {}, batch_size=2).make_app(ServerAccess("127.0.0.1", 0, **access))
        async with TestClient(TestServer(app)) as client:

            async def ask(*widths):
                images = [{"b64": base64.b64encode(png(width)).decode()} for width in widths]
                async with client.post(PREDICT, json={"inputs": images}) as response:
                    answer = await response.json()
                    return response.status, answer["outputs"]["output"] if response.status == 200 else answer["error"]

            try:
                await conversation(model, client, ask)
            finally:
                model.may_read.set()

    asyncio.run(run())


async def start_request(ask, model):
    """Return a request whose image is being read."""
    task = asyncio.create_task(ask(10))
    assert await asyncio.to_thread(model.has_started.wait, 60)
    return task


def test_full_queue(monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING", 3)

    async def conversation(model, client, ask):
        first = await start_request(ask, model)
        others = [asyncio.create_task(ask(width)) for width in range(11, 16)]
        while sum(task.done() for task in others) < 2:
            await asyncio.sleep(0.01)
        refused = [task.result() for task in others if task.done()]
        assert refused == 2 * [(429, "3 images are waiting. Try again later, or send fewer at a time.")]
        model.may_read.set()
        assert await first == (200, ["10"])
        assert [status for status, _ in await asyncio.gather(*others)].count(200) == 3
        assert await ask(16, 17, 18) == (200, ["16", "17", "18"])
        assert (await ask(16, 17, 18, 19))[0] == 413
        async with client.get("/metrics") as response:
            text = await response.text()
        for status, count in ((200, 5), (413, 1), (429, 2)):
            assert f'status="{status}"}} {count}\n' in text

    serve(conversation)


def test_images_that_wait_at_the_deadline_are_not_read():
    async def conversation(model, client, ask):
        first = await start_request(ask, model)
        for status, _ in await asyncio.gather(first, ask(11)):
            assert status == 504
        model.may_read.set()
        assert await ask(12) == (200, ["12"])
        assert model.texts == ["10", "12"], "10 was being read, 11 waited"

    serve(conversation, deadline=1.0)


def test_images_of_a_form_that_wait_at_the_deadline_are_not_checked(monkeypatch):
    checked, may_finish = [], threading.Event()

    def check(data, name):
        checked.append(name)
        assert may_finish.wait(60)
        raise ImageError(name, "is damaged.")

    monkeypatch.setattr(read_route, "canonical_image", check)

    async def send(client, *names):
        form = FormData()
        for name in names:
            form.add_field("images", png(10), filename=name)
        async with client.post("/read", data=form) as response:
            return response.status

    async def conversation(model, client, ask):
        workers = os.cpu_count() or 1
        assert await send(client, *(f"{number}.png" for number in range(4 * workers))) == 504
        may_finish.set()
        assert await send(client, "after.png") == 200
        assert len(checked) == workers + 1 and checked[-1] == "after.png"

    serve(conversation, deadline=1.0)


def test_shutdown():
    async def conversation(model, client, ask):
        async with client.get("/v2/health/ready") as response:
            assert (response.status, await response.json()) == (200, {"ready": True})
        await client.server.app.shutdown()
        async with client.get("/v2/health/ready") as response:
            assert (response.status, await response.json()) == (503, {"ready": False})

    serve(conversation)


def test_images_that_wait_at_shutdown_are_refused():
    async def run():
        model, batcher = SlowModel(), Batcher(1, Metrics())
        batcher.start()
        first = asyncio.create_task(batcher.read([png(10)], [10], model.read))
        assert await asyncio.to_thread(model.has_started.wait, 60)
        second = asyncio.create_task(batcher.read([png(11)], [11], model.read))
        await asyncio.sleep(0)
        await batcher.stop()
        model.may_read.set()
        with pytest.raises(HTTPError) as caught:
            await second
        assert caught.value.status == 503
        first.cancel()

    asyncio.run(run())
