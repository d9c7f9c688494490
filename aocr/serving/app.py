"""`aocr serve`: TensorFlow Serving's REST, our own richer route, and a page to try the reader on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from typing import Any

from aiohttp import web
from PIL import Image

import aocr
from aocr.config import ReadConfig
from aocr.data.images import CanonicalImage, canonical_image
from aocr.errors import ConfigError, ImageError
from aocr.serving import protocol, read_route
from aocr.serving.batching import Batcher
from aocr.serving.metrics import Metrics
from aocr.serving.models import Model, Version
from aocr.serving.web import HTTPError, ServerAccess, listening, make_app, read_page, run_app

log = logging.getLogger("aocr")

MAX_BYTES = 32 << 20
"""Of a request's body."""
MAX_PIXELS = 20_000_000
"""Of an image."""
LOOK_SECONDS = 2.0
"""How often newer versions are looked for."""


class Service:
    """What the routes of `aocr serve` do.

    Args:
      models: to read with, the first where a request names none.
      lexicons: name -> words, lists that a request may name.
      batch_size: images read together at the most.
    """

    def __init__(self, models: Sequence[Model], lexicons: Mapping[str, tuple[str, ...]], batch_size: int):
        self.models, self.lexicons = {model.name: model for model in models}, lexicons
        self.metrics = Metrics()
        self._batcher = Batcher(batch_size, self.metrics)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "aocr-check")
        self._is_ready = True  # each model has read an image

    # the life of the server

    async def lifetime(self, app: web.Application) -> AsyncIterator[None]:
        """Around the time in which requests are answered."""
        self._batcher.start()
        looking = asyncio.create_task(self._look())
        yield
        looking.cancel()
        await self._batcher.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for model in self.models.values():
                await asyncio.to_thread(model.look_for_newer)

    async def drain(self, app: web.Application) -> None:
        """The server is to end: send nothing more here."""
        self._is_ready = False

    async def _in_pool(self, call: Callable, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *args)

    # reading

    def model(self, name: str | None) -> Model:
        """The model that a request names; where one is served, any name is its.

        Raises:
          HTTPError: there is none.
        """
        if name is None or len(self.models) == 1:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPError(404, f"There is no model {name[:80]!r}; there are {', '.join(self.models)}.")
        return self.models[name]

    async def check(self, call: Callable, *args: Any) -> Any:
        """Call what checks a request's images, in a thread and timed."""
        start = time.perf_counter()
        try:
            return await self._in_pool(call, *args)
        except ImageError:
            self.metrics.images.add("refused")
            raise
        finally:
            self.metrics.seconds.observe(time.perf_counter() - start, "check")

    async def read(self, version: Version, images: Sequence[CanonicalImage], how: ReadConfig) -> list:
        """Predictions of checked images."""
        read = await self._in_pool(version.reading, how) if how != ReadConfig() else version.reading(how)
        widths = [version.width(image.width, image.height) for image in images]
        found = await self._batcher.read([image.data for image in images], widths, read)
        self.metrics.images.add("read", count=len(images))
        return found

    # TensorFlow Serving's routes

    async def predict(self, request: web.Request) -> web.Response:
        """POST /v1/models/NAME[/versions/N]:predict."""
        version = self._version(request)
        body = await request.read()
        asked, images = await self.check(_understood, body, version.config.channels)
        if asked.pixels is not None:
            width = version.width(*asked.pixels.shape[2:0:-1])
            found = await self._batcher.read(list(asked.pixels), [width] * len(asked.pixels), version.read_pixels)
        else:
            found = await self.read(version, images, ReadConfig())
        return web.json_response(protocol.answer(asked, found), dumps=partial(json.dumps, ensure_ascii=False))

    def _version(self, request: web.Request) -> Version:
        return self.model(request.match_info["name"]).find(request.match_info.get("number"))

    async def status(self, request: web.Request) -> web.Response:
        """GET /v1/models/NAME[/versions/N]."""
        return web.json_response(protocol.status(self._version(request).number))

    async def metadata(self, request: web.Request) -> web.Response:
        """GET /v1/models/NAME[/versions/N]/metadata."""
        version, model = self._version(request), self.model(request.match_info["name"])
        return web.json_response(protocol.metadata(model.name, version.number, version.config.channels))

    # about the server

    async def live(self, request: web.Request) -> web.Response:
        """GET /v2/health/live."""
        return web.json_response({"live": True})

    async def ready(self, request: web.Request) -> web.Response:
        """GET /v2/health/ready."""
        return web.json_response({"ready": self._is_ready}, status=200 if self._is_ready else 503)

    async def give_metrics(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        return web.Response(text=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def openapi(self, request: web.Request) -> web.Response:
        """GET /openapi.json."""
        text = resources.files("aocr.serving").joinpath("pages", "openapi.json").read_text("utf-8")
        return web.json_response(text=text.replace("VERSION", aocr.__version__))

    async def count(self, request: web.Request, response: web.StreamResponse) -> None:
        """Count an answer."""
        resource = request.match_info.route.resource
        self.metrics.requests.add(resource.canonical if resource else "none", str(response.status))


def _understood(body: bytes, channels: int) -> tuple[protocol.PredictRequest, list[CanonicalImage]]:
    """A request for predictions and its images, checked.

    Raises:
      HTTPError, ImageError: it is none, or one of its images cannot be read.
    """
    asked = protocol.parse_request(body)
    if asked.pixels is not None:
        if len(asked.shape) != 4 or asked.shape[3] != channels or asked.shape[1] * asked.shape[2] > MAX_PIXELS:
            raise HTTPError(400, f"{asked.key}: pixels must be of the shape (batch, height, width, {channels}).")
        return asked, []
    return asked, [canonical_image(image, asked.place(i)) for i, image in enumerate(asked.images)]


def make_service(service: Service, access: ServerAccess) -> web.Application:
    """The server of `aocr serve`."""
    app = make_app(access, read_page("read.html"), MAX_BYTES)
    name, number = "{name:[^/:]+}", r"{number:\d{1,18}}"
    add = app.router
    for model in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{number}"):
        add.add_post(f"{model}:predict", service.predict)
        add.add_get(model, service.status)
        add.add_get(f"{model}/metadata", service.metadata)
    add.add_get("/v2/health/live", service.live, name="public-live")
    add.add_get("/v2/health/ready", service.ready, name="public-ready")
    add.add_get("/openapi.json", service.openapi, name="public-openapi")
    add.add_get("/metrics", service.give_metrics)
    read_route.add(app, service)
    app.on_response_prepare.append(service.count)
    app.on_shutdown.append(service.drain)
    app.cleanup_ctx.append(service.lifetime)
    return app


def serve(
    paths: Sequence[str],
    names: Sequence[str],
    access: ServerAccess,
    lexicons: Mapping[str, tuple[str, ...]],
    batch_size: int,
) -> None:
    """Serve models until Ctrl-C or SIGTERM.

    Args:
      paths: of the models.
      names: of the models in requests; empty: their folders'.
      access: where to listen.
      lexicons: name -> words.
      batch_size: images read together at the most.

    Raises:
      ConfigError: two models have one name, or the server cannot listen there.
      AocrError: a model cannot be loaded.
    """
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    with listening(access) as sockets:  # before models are loaded, which takes long
        models = [Model(path, name, batch_size) for path, name in zip(paths, names or [""] * len(paths), strict=True)]
        taken = [model.name for model in models]
        if doubled := {name for name in taken if taken.count(name) > 1}:
            raise ConfigError("--name", sorted(doubled)[0], "two models have this name. Give each its own --name.")
        for model in models:
            log.info("%s, version %d: %s", model.name, model.version.number, model.version.about)
        run_app(make_service(Service(models, lexicons, batch_size), access), sockets)
