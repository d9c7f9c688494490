"""The HTTP server of `aocr serve` and `aocr label`: access control, errors as JSON, start and shutdown."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.log import server_logger

from aocr import files
from aocr.errors import AocrError, ConfigError
from aocr.interrupts import deferred

log = logging.getLogger("aocr")

MAX_PORT = 65535
POLL_SECONDS = 0.1
"""How often the server checks for a signal."""
DRAIN_SECONDS = 60.0
"""Maximum time for requests under way to finish after a signal."""
DEADLINE_SECONDS = 60.0
"""Maximum time from the head of a request to its answer."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "aocr",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer; the page has its own Content-Security-Policy."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HTTPError(AocrError):
    """An error that a request is answered with: an HTTP status and a message."""

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class ServerAccess:
    """Where the server listens and who may use it."""

    host: str
    """Address to listen on."""
    port: int
    """Port to listen on; 0 picks any free one."""
    token: str = ""
    """Secret that every request must carry, except for public routes; if empty, none is required."""

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return _is_loopback(self.host)

    def check(self, request: web.Request) -> None:
        """Refuse requests without the token and requests from pages of other sites.

        A page of another site can send requests here through its visitor's browser. The browser then names that
        site in `Origin`, or in `Host` if the site's name was made to resolve to this machine.
        """
        origin = request.headers.get("Origin")
        if origin is not None and _split(origin).netloc != request.host:
            raise HTTPError(403, "Requests from pages of other sites are refused.")
        if self.is_loopback and not self.token and not _is_loopback(_split(f"//{request.host}").hostname or ""):
            raise HTTPError(403, "The Host header must name this machine (localhost). Set --token to allow others.")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        sent = token.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
        if self.token and not hmac.compare_digest(sent, self.token.encode()):
            raise HTTPError(401, "Send the server's token: Authorization: Bearer TOKEN.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _split(url: str):
    """Split a URL; an invalid one has no host."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


ACCESS = web.AppKey("access", ServerAccess)


def read_page(name: str) -> bytes:
    """Read a file from `pages/`."""
    return resources.files("aocr.serving").joinpath("pages", name).read_bytes()


def make_app(access: ServerAccess, page: bytes, max_bytes: int) -> web.Application:
    """Create an application that serves a page at `/` and answers errors as JSON, `{"error": message}`.

    A handler raises `HTTPError`, or any other AocrError for status 400. Requests of more than `max_bytes` get 413.
    Routes named `public-...` need no token.
    """
    app = web.Application(client_max_size=max_bytes, middlewares=[_answer_errors, _check_access])
    app[ACCESS] = access
    headers = {"Content-Security-Policy": page_policy(page)}

    async def send_page(request: web.Request) -> web.Response:
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)

    app.router.add_get("/", send_page, name="public-page")
    return app


def page_policy(page: bytes) -> str:
    """Return the Content-Security-Policy of a page; it allows only the page's own scripts and styles, by digest."""

    def digests(tag: bytes) -> str:
        parts = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(part).digest()).decode() for part in parts]
        return " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"

    sources = f"script-src {digests(b'script')}; style-src {digests(b'style')}; img-src 'self' blob: data:"
    rest = "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"default-src 'none'; {sources}; {rest}"


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into JSON answers, and add the common headers to every answer."""

    def failure(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
        return web.json_response({"error": message}, status=status, headers=headers)

    try:
        response = await asyncio.wait_for(handler(request), DEADLINE_SECONDS)
    except HTTPError as error:
        response = failure(error.status, str(error), {"WWW-Authenticate": "Bearer"} if error.status == 401 else None)
    except AocrError as error:
        response = failure(400, str(error))
    except web.HTTPException as error:
        headers = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
        response = failure(error.status, _message(request, error), headers)
    except TimeoutError:
        response = failure(504, f"There was no answer within {DEADLINE_SECONDS:g} seconds. Try again later.")
    except (ConnectionError, web.RequestPayloadError):
        response = failure(400, "The request ended before it was complete.")
    except Exception as error:
        if os.environ.get("AOCR_DEBUG"):
            raise
        reason = files.one_line(error)
        log.warning("internal error (%s): %s. Set AOCR_DEBUG=1 for a traceback.", type(error).__name__, reason)
        response = failure(500, "Internal error. See the server's log.")
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


def _message(request: web.Request, error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return f"The request has more than {request.client_max_size:,} bytes. Send less at a time."
    if isinstance(error, web.HTTPNotFound):
        return f"{request.path[:100]} does not exist."
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{request.path[:100]} accepts {', '.join(sorted(error.allowed_methods))}, not {error.method}."
    return error.text or error.reason


@web.middleware
async def _check_access(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not (request.match_info.route.name or "").startswith("public-"):
        request.app[ACCESS].check(request)
    size = request.content_length or 0
    if size > request.client_max_size:  # refused before it is read
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, size)
    return await handler(request)


@contextmanager
def listening(access: ServerAccess) -> Iterator[list[socket.socket]]:
    """Open the sockets to listen on; clients that connect wait for `run_app`.

    Raises:
      ConfigError: the server cannot listen on the address.
    """
    if access.port > MAX_PORT:
        raise ConfigError("--port", access.port, f"must be between 0 and {MAX_PORT}.")
    with ExitStack() as stack:
        try:
            infos = socket.getaddrinfo(
                access.host or None, access.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            addresses = dict.fromkeys((family, address[:2]) for family, _, _, _, address in infos)
            sockets = [stack.enter_context(socket.create_server(at, family=family)) for family, at in addresses]
        except (OSError, UnicodeError) as error:  # a port in use, or a name that is not an address of this machine
            reason = f"the server cannot listen there ({files.one_line(error)}). Choose another port with --port."
            raise ConfigError("host and port", f"{access.host}:{access.port}", reason) from None
        yield sockets


def run_app(app: web.Application, sockets: Sequence[socket.socket]) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish the requests under way. A second signal ends the process at once."""
    message = "finishing the requests under way. A second signal stops the server at once."
    with deferred(message) as interrupts:
        asyncio.run(_serve(app, sockets, lambda: interrupts.caught is not None))


async def _serve(app: web.Application, sockets: Sequence[socket.socket], is_over: Callable[[], bool]) -> None:
    silent = logging.Logger("silent", logging.CRITICAL)  # aiohttp logs malformed requests with a traceback
    logger = server_logger if os.environ.get("AOCR_DEBUG") else silent
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS, logger=logger)
    await runner.setup()
    try:
        for sock in sockets:
            await web.SockSite(runner, sock).start()
        _log_address(app[ACCESS], *sockets[0].getsockname()[:2])
        while not is_over():
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await runner.cleanup()


def _log_address(access: ServerAccess, host: str, port: int) -> None:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    log.info("Open %s%s", url, f"#token={access.token}" if access.token else "")  # log files omit the token
    if access.is_loopback:
        log.info("Only programs on this machine can connect.")
    elif not access.token:
        log.warning("Anyone who can reach this machine can use the server. Set --token to restrict access.")
