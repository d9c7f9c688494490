"""The server of `aocr label`: its page, the state as JSON, and the images by index."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from aocr.data.images import canonical_image, read_file
from aocr.report.pictures import encode_image, load_image
from aocr.serving.labelling.labelling import Labelling
from aocr.serving.labelling.queue import QueuedImage
from aocr.serving.labelling.retraining import Retraining
from aocr.serving.web import HTTPError, ServerAccess, make_app, read_page

MAX_BYTES = 1 << 16
"""Size limit of a request: an index and a text."""
DEFAULT_THRESHOLD = "0.98"
MAX_WIDTH, MIN_HEIGHT = 1600, 150
"""Size in pixels of a picture that is scaled down: it is as wide, but not lower."""
NUM_AHEAD = 2
"""Pictures that the page fetches ahead."""


def make_label_app(
    access: ServerAccess, labelling: Labelling, retraining: Retraining, is_audit: bool
) -> web.Application:
    """Create the application of `aocr label`. A decision may start a retraining, which stops with the server."""
    app = make_app(access, read_page("label.html"), MAX_BYTES)
    model = retraining.init_from

    async def state(request: web.Request) -> web.Response:
        try:
            threshold = float(request.query.get("above", DEFAULT_THRESHOLD))
        except ValueError:
            threshold = math.nan
        if not math.isfinite(threshold):
            raise HTTPError(400, "'above' must be a number.")
        current = labelling.queue.current()
        values = {
            "image": _image_values(labelling, current) if current else None,
            "progress": labelling.progress(),
            "estimate": asdict(labelling.estimate(threshold)),
            "digest": labelling.digest(threshold),
            "checks": labelling.num_waiting_checks,
            "above": threshold,
            "upcoming": labelling.queue.upcoming(NUM_AHEAD),
            "offer": labelling.offer(),
            "next_command": "" if current or not labelling.texts else labelling.files.training_command(model),
            "can_go_back": bool(labelling.history),
            "audit": is_audit,
            "training": {
                "status": retraining.status,
                "is_running": retraining.is_running,
                "seconds_left": retraining.seconds_left,
            },
        }
        return web.json_response(values)

    async def image(request: web.Request) -> web.Response:
        index = int(request.match_info["index"])
        if index >= len(labelling.images):
            raise HTTPError(404, f"Image {index} does not exist.")
        is_whole = request.query.get("size") == "original"
        data = await asyncio.to_thread(_picture, labelling.images[index], is_whole)
        return web.Response(body=data, content_type="image/png" if data.startswith(b"\x89PNG") else "image/jpeg")

    def add_action(path: str, action: Callable[[dict[str, Any]], None]) -> None:
        async def handle(request: web.Request) -> web.Response:
            values = await _json_object(request)
            action(values)
            retraining.start_if_due()
            return await state(request)

        app.router.add_post(path, handle)

    app.router.add_get("/state", state)
    app.router.add_get(r"/images/{index:\d{1,9}}", image)
    add_action("/accept", lambda values: labelling.accept(_field(values, "index", int), _field(values, "text", str)))
    add_action("/unreadable", lambda values: labelling.mark_unreadable(_field(values, "index", int)))
    add_action("/skip", lambda values: labelling.skip(_field(values, "index", int), _field(values, "text", str)))
    add_action("/leave-out", lambda values: labelling.leave_out(_field(values, "is_on", bool)))
    add_action("/back", lambda values: labelling.back())
    add_action("/check", lambda values: labelling.check(_field(values, "above", float)))
    add_action(
        "/accept-all",
        lambda values: labelling.accept_all(_field(values, "above", float), _field(values, "digest", str)),
    )
    app.on_shutdown.append(lambda app: retraining.stop())
    return app


def _picture(path: str, is_whole: bool) -> bytes:
    """Return an image as PNG or JPEG, upright; scaled down to MAX_WIDTH unless it is to be whole or is a low line."""
    image = canonical_image(read_file(path), path)
    scale = max(MAX_WIDTH / image.width, MIN_HEIGHT / image.height)
    if is_whole or scale >= 1:
        return image.data
    picture = load_image(image.data, path).resize((round(image.width * scale), round(image.height * scale)))
    return encode_image(picture, "JPEG", quality=90)


def _image_values(labelling: Labelling, image: QueuedImage) -> dict[str, Any]:
    """Return the values that the page shows for an image."""
    reading = labelling.guesses[image.index].reading
    path = os.path.relpath(labelling.images[image.index])
    return {
        **asdict(image),
        "name": labelling.images[image.index] if path.startswith(os.pardir) else path,
        "text": labelling.suggested_text(image.index),
        "reading": reading.text,
        "confidence": reading.confidence,
        "characters": [asdict(character) for character in reading.characters],
        "width": reading.image_width,
        "height": reading.image_height,
    }


async def _json_object(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise HTTPError(415, "Send JSON (Content-Type: application/json).")
    try:
        values = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise HTTPError(400, "The body is not JSON.") from None
    if not isinstance(values, dict):
        raise HTTPError(400, "The body must be a JSON object.")
    return values


def _field(values: dict[str, Any], name: str, kind: type) -> Any:
    value = values.get(name)
    if kind is float and type(value) is int and abs(value) <= 1:
        return float(value)
    if type(value) is not kind:
        raise HTTPError(400, f"{name!r} must be of type {kind.__name__}.")
    return value
