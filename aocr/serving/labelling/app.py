"""The server behind `aocr label`: its page, the state of the labelling, and the images by their number."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from aocr.data.images import canonical_image, read_file
from aocr.serving.labelling.labelling import Changed, Labelling
from aocr.serving.labelling.queue import Shown
from aocr.serving.labelling.retraining import Retraining
from aocr.serving.web import HTTPError, ServerAccess, make_app, read_page

MAX_BYTES = 1 << 16
"""Of a request: an index and a text."""
USUAL_THRESHOLD = 0.98


def label_door(port: int) -> ServerAccess:
    """Where `aocr label` listens: reached from this machine only."""
    return ServerAccess("127.0.0.1", port)


def make_label_app(
    access: ServerAccess, labelling: Labelling, retraining: Retraining, is_audit: bool
) -> web.Application:
    """The server of a labelling.

    Args:
      access: of `label_door`.
      labelling: that is shown and changed.
      retraining: that is told of each decision, and stopped at the end.
      is_audit: whether labels that exist are looked at.
    """
    app = make_app(access, read_page("label.html"), MAX_BYTES)
    routes = _Routes(labelling, retraining, is_audit)
    app.router.add_get("/state", routes.state)
    app.router.add_get(r"/images/{index:\d{1,9}}", routes.image)
    for name in ("accept", "unreadable", "skip", "back", "accept-all"):
        app.router.add_post(f"/{name}", routes.changing(getattr(routes, name.replace("-", "_"))))

    async def stop(app: web.Application) -> None:
        await retraining.stop()

    app.on_shutdown.append(stop)
    return app


class _Routes:
    """What requests do. Every change is answered with the state after it."""

    def __init__(self, labelling: Labelling, retraining: Retraining, is_audit: bool):
        self.labelling, self.retraining, self.is_audit = labelling, retraining, is_audit

    def changing(self, change: Callable[[dict[str, Any]], None]):
        """The handler of a request that changes something."""

        async def handle(request: web.Request) -> web.Response:
            values = await _json_object(request)
            try:
                change(values)
            except Changed as error:
                raise HTTPError(409, str(error)) from None
            self.retraining.consider()
            return await self.state(request)

        return handle

    def accept(self, values: dict[str, Any]) -> None:
        self.labelling.accept(_field(values, "index", int), _field(values, "text", str))

    def unreadable(self, values: dict[str, Any]) -> None:
        self.labelling.mark_unreadable(_field(values, "index", int))

    def skip(self, values: dict[str, Any]) -> None:
        self.labelling.skip(_field(values, "index", int))

    def back(self, values: dict[str, Any]) -> None:
        self.labelling.back()

    def accept_all(self, values: dict[str, Any]) -> None:
        self.labelling.accept_all(_field(values, "above", float), _field(values, "count", int))

    async def state(self, request: web.Request) -> web.Response:
        """All that the page shows; `?above=0.98` is the threshold of the estimate."""
        threshold = _threshold(request.query.get("above", str(USUAL_THRESHOLD)))
        shown = self.labelling.current()
        values = {
            "image": self._image(shown) if shown else None,
            "progress": asdict(self.labelling.progress()),
            "estimate": asdict(self.labelling.estimate(threshold)),
            "above": threshold,
            "can_go_back": self.labelling.can_go_back,
            "audit": self.is_audit,
            "training": {"told": self.retraining.told, "is_running": self.retraining.is_running},
            "files": self.labelling.files.output,
        }
        return web.json_response(values)

    def _image(self, shown: Shown) -> dict[str, Any]:
        guess = self.labelling.guesses[shown.index]
        return {
            **asdict(shown),
            "name": self.labelling.name(shown.index),
            "text": self.labelling.filled_in(shown.index),
            "reading": guess.reading.text,
            "confidence": guess.reading.confidence,
            "characters": [asdict(character) for character in guess.reading.characters],
            "width": guess.reading.image_width,
        }

    async def image(self, request: web.Request) -> web.Response:
        """An image by its number, as png or jpeg, upright."""
        index = int(request.match_info["index"])
        if index >= len(self.labelling.images):
            raise HTTPError(404, f"There is no image {index}.")
        path = self.labelling.images[index]
        image = await asyncio.to_thread(lambda: canonical_image(read_file(path), path))
        kind = "image/png" if image.data.startswith(b"\x89PNG") else "image/jpeg"
        return web.Response(body=image.data, content_type=kind)


async def _json_object(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise HTTPError(415, "Send JSON (Content-Type: application/json).")
    try:
        values = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise HTTPError(400, "The request is no JSON.") from None
    if not isinstance(values, dict):
        raise HTTPError(400, "The request must be a JSON object.")
    return values


def _field(values: dict[str, Any], name: str, kind: type) -> Any:
    value = values.get(name)
    if kind is float and type(value) is int and abs(value) <= 1:
        return float(value)
    if type(value) is not kind:
        raise HTTPError(400, f"The request needs {name!r}, of type {kind.__name__}.")
    return value


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HTTPError(400, "'above' must be a number.")
    return value
