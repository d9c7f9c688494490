"""`/read`: image files in, all that is known of their readings out, as `aocr predict --json` prints it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from aocr.config import ReadConfig
from aocr.data.images import CanonicalImage, canonical_image
from aocr.errors import ConfigError, ImageError
from aocr.report.lines import prediction_json, refusal_json
from aocr.serving.web import MAX_BYTES, HTTPError

if TYPE_CHECKING:
    from aocr.serving.app import Service

MAX_IMAGES = 256
"""Of a form."""
MAX_PARTS = 2 * MAX_IMAGES
"""Of a form, empty ones too: each takes time."""
MAX_BEAM = 32
MAX_LEXICON_BYTES = 1 << 20
"""Of a form: ways of reading are kept ready, and their words with them."""
CHUNK_BYTES = 1 << 16


class Form(NamedTuple):
    """What a form holds.

    Attributes:
      images: (file name, file) of each.
      lexicon: words to expect; None: there was no such field.
    """

    images: list[tuple[str, bytes]]
    lexicon: tuple[str, ...] | None


def add(app: web.Application, service: Service) -> None:
    """Add the route to a server."""

    async def read(request: web.Request) -> web.Response:
        version = service.model(request.query.get("model")).find(None)
        kind = request.content_type
        if is_form := kind == "multipart/form-data":
            form = await _form(request)
        elif kind.startswith("image/") or kind == "application/octet-stream":
            form = Form([("image", await request.read())], None)
        else:
            raise HTTPError(415, "Send an image (Content-Type: image/png ...), or a form with images.")
        how = _how(request.query, form.lexicon, service.lexicons)
        # one by one: those that wait when the deadline has passed are not looked at
        checked = await asyncio.gather(*(service.check(_checked, name, data) for name, data in form.images))
        good = [image for image in checked if not isinstance(image, ImageError)]
        if bad := len(checked) - len(good):
            service.metrics.images.add("refused", count=bad)
        if not is_form and bad:
            raise checked[0]
        try:
            found = iter(await service.read(version, good, how))
        except ConfigError as error:
            raise HTTPError(400, str(error).removeprefix("--")) from None
        least = _number(request.query, "min_confidence", float, None, 1)
        attention = _number(request.query, "attention", int, 0, 1) == 1
        lines = [
            refusal_json(name, image) if isinstance(image, ImageError)
            else prediction_json(name, next(found), attention, least)
            for (name, _), image in zip(form.images, checked, strict=True)
        ]  # fmt: skip
        return web.json_response(text=f"[{','.join(lines)}]" if is_form else lines[0])

    async def about(request: web.Request) -> web.Response:
        models = [{"name": model.name, "version": model.version.number} for model in service.models.values()]
        limits = {
            "bytes": request.app[MAX_BYTES], "images": MAX_IMAGES, "beam": MAX_BEAM, "lexicon_bytes": MAX_LEXICON_BYTES,
        }  # fmt: skip
        return web.json_response({"models": models, "lexicons": sorted(service.lexicons), "limits": limits})

    app.router.add_post("/read", read)
    app.router.add_get("/read", about)


def _checked(name: str, data: bytes) -> CanonicalImage | ImageError:
    """An image, or why it cannot be read."""
    try:
        return canonical_image(data, name)
    except ImageError as error:
        return error


async def _form(request: web.Request) -> Form:
    """The files of a form, and its field `lexicon`.

    Raises:
      HTTPError: it is damaged, or has too many files.
    """
    images: list[tuple[str, bytes]] = []
    words, size, num_parts = None, 0, 0
    try:
        async for part in await request.multipart():
            if (num_parts := num_parts + 1) > MAX_PARTS:
                raise HTTPError(413, f"A form may hold {MAX_IMAGES} images. Send the rest in another.")
            if not isinstance(part, BodyPartReader):
                raise HTTPError(400, "A form may not hold another.")
            data = bytearray()
            while chunk := await part.read_chunk(CHUNK_BYTES):
                data += chunk
                if (size := size + len(chunk)) > request.app[MAX_BYTES]:
                    raise web.HTTPRequestEntityTooLarge(request.app[MAX_BYTES], size)
            if part.filename is not None:
                images.append((part.filename or f"image {len(images)}", bytes(data)))
            elif part.name == "lexicon":
                if len(data) > MAX_LEXICON_BYTES:
                    raise HTTPError(413, "A lexicon of a form may have 1 MiB. Start the server with a larger one.")
                words = tuple(line for line in data.decode().splitlines() if line.strip())
            if len(images) > MAX_IMAGES:
                raise HTTPError(413, f"A form may hold {MAX_IMAGES} images. Send the rest in another.")
    except (
        HttpProcessingError,
        ValueError,
        AssertionError,
        RuntimeError,
        LookupError,
    ):  # aiohttp's, of a form that is none
        raise HTTPError(400, "The form is damaged.") from None
    if not images:
        raise HTTPError(400, "The form holds no file. Send each image as a file of it.")
    return Form(images, words)


def _how(
    query: Mapping[str, str], words: tuple[str, ...] | None, lexicons: Mapping[str, tuple[str, ...]]
) -> ReadConfig:
    """How to read, of a request's parameters.

    Raises:
      HTTPError: one of them cannot be.
    """
    named = query.get("lexicon")
    if named is not None and named not in lexicons:
        raise HTTPError(400, f"lexicon: there is no list {named[:80]!r}; there are {', '.join(lexicons) or 'none'}.")
    if words is not None and not words:
        raise HTTPError(400, "lexicon: has no word. Write one a line.")
    alternatives = _number(query, "alternatives", int, 0, MAX_BEAM - 1)
    lexicon = words if words is not None else lexicons.get(named or "")
    beam = _number(query, "beam", int, 1, MAX_BEAM)
    if beam < 1:
        raise HTTPError(400, "beam must be 1 or more.")
    return ReadConfig(beam, alternatives, query.get("pattern") or None, lexicon)


def _number(query: Mapping[str, str], name: str, kind: type, default, most):
    """A parameter that is a number from 0 to `most`.

    Raises:
      HTTPError: it is none.
    """
    text = query.get(name, "")
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise HTTPError(400, f"{name} must be a number from 0 to {most}.")
    return value
