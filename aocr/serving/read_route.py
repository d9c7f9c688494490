"""The route `/read`: reads images, and answers with the JSON that `aocr predict --json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from aocr.config import ReadConfig
from aocr.errors import ConfigError, ImageError
from aocr.report.lines import prediction_json, refusal_json
from aocr.serving.web import HTTPError

if TYPE_CHECKING:
    from aocr.serving.app import Service

MAX_IMAGES = 256
"""Maximum number of images in a form."""
MAX_PARTS = 2 * MAX_IMAGES
"""Maximum number of fields in a form, including empty ones: each takes time."""
MAX_BEAM = 32
MAX_LEXICON_BYTES = 1 << 20
"""Maximum size of a form's lexicon; the server keeps recent ones in memory."""
CHUNK_BYTES = 1 << 16


def add_routes(app: web.Application, service: Service) -> None:
    """Add GET and POST /read to a server."""

    async def read(request: web.Request) -> web.Response:
        version = service.model(request.query.get("model")).find(None)
        is_form = request.content_type == "multipart/form-data"
        form_lexicon = None
        if is_form:
            files, form_lexicon = await _read_form(request)
        elif request.content_type.startswith("image/") or request.content_type == "application/octet-stream":
            files = [("image", await request.read())]
        else:
            raise HTTPError(415, "Send an image (Content-Type: image/png ...), or a form with images.")
        read_config = _read_config(request.query, form_lexicon, service.lexicons)
        min_confidence = _number(request.query, "min_confidence", float, None, 1)
        attention = _number(request.query, "attention", int, 0, 1) == 1
        try:
            results = await service.read(version, files, read_config)
        except ConfigError as error:
            raise HTTPError(400, str(error).removeprefix("--")) from None
        if not is_form and isinstance(results[0], ImageError):
            raise results[0]
        lines = [
            refusal_json(name, result)
            if isinstance(result, ImageError)
            else prediction_json(name, result, attention, min_confidence)
            for (name, _), result in zip(files, results, strict=True)
        ]
        return web.json_response(text=f"[{','.join(lines)}]" if is_form else lines[0])

    async def about(request: web.Request) -> web.Response:
        models = [{"name": model.name, "version": model.version.number} for model in service.models.values()]
        limits = {"bytes": request.client_max_size, "images": MAX_IMAGES, "beam": MAX_BEAM}
        limits["lexicon_bytes"] = MAX_LEXICON_BYTES
        return web.json_response({"models": models, "lexicons": sorted(service.lexicons), "limits": limits})

    app.router.add_post("/read", read)
    app.router.add_get("/read", about)


async def _read_form(request: web.Request) -> tuple[list[tuple[str, bytes]], tuple[str, ...] | None]:
    """Return names and contents of the files in a form, and the texts in its field `lexicon`, if any."""
    images: list[tuple[str, bytes]] = []
    lexicon = None
    num_bytes = num_parts = 0
    try:
        async for part in await request.multipart():
            num_parts += 1
            if not isinstance(part, BodyPartReader):
                raise HTTPError(400, "A form inside a form is not supported.")
            data = bytearray()
            while chunk := await part.read_chunk(CHUNK_BYTES):
                data += chunk
                num_bytes += len(chunk)
                if num_bytes > request.client_max_size:
                    raise web.HTTPRequestEntityTooLarge(request.client_max_size, num_bytes)
            if part.filename is not None:
                images.append((part.filename or f"image {len(images)}", bytes(data)))
            elif part.name == "lexicon":
                if len(data) > MAX_LEXICON_BYTES:
                    raise HTTPError(413, "A form's lexicon may have up to 1 MiB. Start the server with a larger one.")
                lexicon = tuple(line for line in data.decode().splitlines() if line.strip())
            if len(images) > MAX_IMAGES or num_parts > MAX_PARTS:
                raise HTTPError(413, f"A form may have up to {MAX_IMAGES} images. Split it into several.")
    except (HttpProcessingError, ValueError, AssertionError, RuntimeError, LookupError):  # aiohttp's parser
        raise HTTPError(400, "The form is damaged.") from None
    if not images:
        raise HTTPError(400, "The form has no file. Attach each image as a file.")
    return images, lexicon


def _read_config(
    query: Mapping[str, str], form_lexicon: tuple[str, ...] | None, lexicons: Mapping[str, str | tuple[str, ...]]
) -> ReadConfig:
    """Build the ReadConfig from a request's parameters."""
    name = query.get("lexicon")
    if name is not None and name not in lexicons:
        known = ", ".join(lexicons) or "none"
        raise HTTPError(400, f"lexicon: {name[:80]!r} does not exist on this server. Available: {known}.")
    if form_lexicon is not None and not form_lexicon:
        raise HTTPError(400, "lexicon: is empty. Write one text per line.")
    lexicon = lexicons.get(name or "") if form_lexicon is None else form_lexicon  # a str is `english`, never a path
    alternatives = _number(query, "alternatives", int, 0, MAX_BEAM - 1)
    beam = _number(query, "beam", int, 1, MAX_BEAM, minimum=1)
    return ReadConfig(beam, alternatives, query.get("pattern") or None, lexicon)


def _number(query: Mapping[str, str], name: str, kind: type, default, maximum, minimum=0):
    """Return a numeric parameter, checked against its range."""
    text = query.get(name, "")
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not minimum <= value <= maximum:
        raise HTTPError(400, f"{name} must be a number from {minimum} to {maximum}.")
    return value
