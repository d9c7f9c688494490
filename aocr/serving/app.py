"""`aocr serve`: TensorFlow Serving's REST API, the richer route `/read`, and a page for trying a model."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp import web
from PIL import Image

import aocr
from aocr.config import ReadConfig
from aocr.data.images import CanonicalImage, canonical_image
from aocr.errors import ConfigError, ImageError
from aocr.results import Prediction
from aocr.serving import protocol, read_route
from aocr.serving.batching import Batcher
from aocr.serving.metrics import Metrics
from aocr.serving.models import Model, Version
from aocr.serving.web import HTTPError, ServerAccess, listening, make_app, read_page, run_app

log = logging.getLogger("aocr")

MAX_BYTES = 32 << 20
"""Size limit of a request's body."""
RELOAD_SECONDS = 2.0
"""How often the server checks for newer versions."""


class Service:
    """The request handlers of `aocr serve`, with its models (the first is the default) and its lexicons by name."""

    def __init__(self, models: Sequence[Model], lexicons: Mapping[str, str | tuple[str, ...]], batch_size: int):
        self.models, self.lexicons = {model.name: model for model in models}, lexicons
        self.metrics = Metrics()
        self._batcher = Batcher(batch_size, self.metrics)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "aocr-check")
        self._is_ready = True  # the models were loaded and have read an image

    def make_app(self, access: ServerAccess) -> web.Application:
        """Create the web application."""
        app = make_app(access, read_page("read.html"), MAX_BYTES)
        name, number = "{name:[^/:]+}", r"{number:\d{1,18}}"
        add_get = app.router.add_get
        for model in (f"/v1/models/{name}", f"/v1/models/{name}/versions/{number}"):
            app.router.add_post(f"{model}:predict", self._predict)
            add_get(model, self._status)
            add_get(f"{model}/metadata", self._metadata)
        add_get("/v2/health/live", self._live, name="public-live")
        add_get("/v2/health/ready", self._ready, name="public-ready")
        add_get("/openapi.json", self._openapi, name="public-openapi")
        add_get("/metrics", self._send_metrics)
        read_route.add_routes(app, self)
        app.on_response_prepare.append(self._count)
        app.on_shutdown.append(self._drain)
        app.cleanup_ctx.append(self._lifetime)
        return app

    async def _lifetime(self, app: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._batcher.run()), asyncio.create_task(self._reload())]
        yield
        for task in tasks:
            task.cancel()

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            for model in self.models.values():
                await asyncio.to_thread(model.look_for_newer)

    async def _drain(self, app: web.Application) -> None:
        self._is_ready = False

    def model(self, name: str | None) -> Model:
        """Return the model that a request names; if only one is served, any name is accepted."""
        if name is None or len(self.models) == 1:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPError(404, f"Model {name[:80]!r} does not exist. Available: {', '.join(self.models)}.")
        return self.models[name]

    async def _check(self, name: str, data: bytes) -> CanonicalImage | ImageError:
        start = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, canonical_image, data, name)
        except ImageError as error:
            self.metrics.images["refused"] += 1
            return error
        finally:
            self.metrics.seconds["check"].observe(time.perf_counter() - start)

    async def read(
        self, version: Version, images: Sequence[tuple[str, bytes]], read_config: ReadConfig
    ) -> list[Prediction | ImageError]:
        """Check and read images, given as (name, encoded image); the result of an invalid one is its ImageError."""
        self._batcher.check_room(len(images))
        reader = await asyncio.to_thread(version.reader, read_config)
        # one task per image: those that have not started at the deadline are cancelled
        checked = await asyncio.gather(*(self._check(name, data) for name, data in images))
        valid = [image for image in checked if not isinstance(image, ImageError)]
        widths = [version.width(image.width, image.height) for image in valid]
        predictions = iter(await self._batcher.read([image.data for image in valid], widths, reader))
        self.metrics.images["read"] += len(valid)
        return [image if isinstance(image, ImageError) else next(predictions) for image in checked]

    def _version(self, request: web.Request) -> Version:
        return self.model(request.match_info["name"]).find(request.match_info.get("number"))

    async def _predict(self, request: web.Request) -> web.Response:
        version = self._version(request)
        body = await request.read()
        parsed = await asyncio.to_thread(protocol.parse_request, body, version.config.channels)
        if parsed.pixels is not None:
            num_images, height, width, _ = parsed.shape
            widths = [version.width(width, height)] * num_images
            predictions = await self._batcher.read(list(parsed.pixels), widths, version.read_pixels)
        else:
            predictions = []
            for result in await self.read(version, parsed.images, ReadConfig()):
                if isinstance(result, ImageError):
                    raise result
                predictions.append(result)
        dumps = partial(json.dumps, ensure_ascii=False)
        return web.json_response(protocol.answer(parsed, predictions), dumps=dumps)

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(protocol.status(self._version(request).number))

    async def _metadata(self, request: web.Request) -> web.Response:
        model, version = self.model(request.match_info["name"]), self._version(request)
        return web.json_response(protocol.metadata(model.name, version.number, version.config.channels))

    async def _live(self, request: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        return web.json_response({"ready": self._is_ready}, status=200 if self._is_ready else 503)

    async def _send_metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _openapi(self, request: web.Request) -> web.Response:
        text = read_page("openapi.json").decode()
        return web.json_response(text=text.replace("VERSION", aocr.__version__))

    async def _count(self, request: web.Request, response: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        self.metrics.requests[resource.canonical if resource else "none", response.status] += 1


def serve(
    paths: Sequence[str],
    names: Sequence[str],
    access: ServerAccess,
    lexicons: Mapping[str, str | tuple[str, ...]],
    batch_size: int,
) -> None:
    """Serve the models in `paths` until Ctrl-C or SIGTERM.

    Without `names`, each model is named after its folder.

    Raises:
      ConfigError: two models have the same name, or the server cannot listen on the address.
      AocrError: a model cannot be loaded.
    """
    Image.MAX_IMAGE_PIXELS = protocol.MAX_PIXELS
    with listening(access) as sockets:  # first: loading models takes seconds
        models = [Model(path, name, batch_size) for path, name in zip(paths, names or [""] * len(paths), strict=True)]
        used = [model.name for model in models]
        duplicates = sorted(name for name in used if used.count(name) > 1)
        if duplicates:
            raise ConfigError("--name", duplicates[0], "two models have this name. Give each its own --name.")
        for model in models:
            log.info("%s, version %d: %s", model.name, model.version.number, model.version.predictor.source)
        run_app(Service(models, lexicons, batch_size).make_app(access), sockets)
