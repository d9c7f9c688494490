"""The small web server under `aocr serve` and `aocr label`: who may ask, how a failure is told, how it starts and ends.

    access = ServerAccess("127.0.0.1", 8501)
    app = make_app(access, read_page("label.html"), max_bytes=1 << 20)
    app.router.add_post("/decision", decide)
    with listening(access) as sockets:
        run_app(app, sockets)                      # until Ctrl-C or SIGTERM

The page is whole in one file: the browser knows its style and its script by their digests, and runs nothing else.
"""

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
from aocr.errors import AocrError, ConfigError, escape_control
from aocr.interrupts import deferred

log = logging.getLogger("aocr")

MAX_PORT = 65535
POLL_SECONDS = 0.1
"""How soon a signal is noticed."""
DRAIN_SECONDS = 60.0
"""How long the requests under way may take once the server is to end."""
DEADLINE_SECONDS = 60.0
"""From the head of a request to its answer."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "aocr",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""
NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of what is no page."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HTTPError(AocrError):
    """A request that is answered with an error.

    Args:
      status: of HTTP.
      message: what is wrong, and what to do.
    """

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


@dataclass(frozen=True)
class ServerAccess:
    """Where the server listens and who may come in.

    Attributes:
      host, port: to listen at; port 0 is any free one.
      token: that every request but that for the page must bear; empty: none.
      deadline: seconds from the head of a request to its answer.
    """

    host: str
    port: int
    token: str = ""
    deadline: float = DEADLINE_SECONDS

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        return _is_loopback(self.host)

    def check(self, request: web.Request) -> None:
        """Let a request in.

        A page of another site can send requests here with its visitor's browser: these name that site in `Origin`,
        or, where it pretends that its own name is this machine, in `Host`.

        Raises:
          HTTPError: it does not bear the token, or a page of another site sent it.
        """
        origin = request.headers.get("Origin")
        if origin is not None and _place_of(origin) != request.host:
            raise HTTPError(403, "Pages of other sites may not ask this server.")
        if self.is_loopback and not self.token and not _is_loopback(_host_name(request.host)):
            raise HTTPError(403, "This server answers to the names of this machine only. --token opens it to others.")
        if self.token and not hmac.compare_digest(_bearer(request), self.token.encode()):
            raise HTTPError(401, "Send the server's token: Authorization: Bearer TOKEN.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _place_of(origin: str) -> str | None:
    """Host and port of an `Origin` header; None where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """A `Host` header without its port; empty where it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _bearer(request: web.Request) -> bytes:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""


ACCESS = web.AppKey("access", ServerAccess)
MAX_BYTES = web.AppKey("max_bytes", int)


def read_page(name: str) -> bytes:
    """A page of `pages/`."""
    return resources.files("aocr.serving").joinpath("pages", name).read_bytes()


def make_app(access: ServerAccess, page: bytes, max_bytes: int) -> web.Application:
    """A server that gives a page at `/` and answers in JSON. Errors are `{"error": text}`.

    A handler raises `HTTPError` with a status, or any AocrError, which is told with 400.

    Args:
      access: where it listens and who may come in.
      page: HTML, whole in itself.
      max_bytes: of a request's body; more is told with 413.
    """
    app = web.Application(client_max_size=max_bytes, middlewares=[_answered, _let_in])
    app[ACCESS], app[MAX_BYTES] = access, max_bytes
    headers = {"Content-Security-Policy": page_policy(page)}

    async def give_page(request: web.Request) -> web.Response:
        return web.Response(body=page, content_type="text/html", charset="utf-8", headers=headers)

    app.router.add_get("/", give_page, name="public-page")
    return app


def page_policy(body: bytes) -> str:
    """The Content-Security-Policy of a page: its own style and script, this server, pictures it made itself."""

    def digests(tag: bytes) -> str:
        parts = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), body, re.DOTALL)
        hashes = (base64.b64encode(hashlib.sha256(part).digest()).decode() for part in parts)
        return " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"

    rules = {
        "default-src": "'none'",
        "script-src": digests(b"script"),
        "style-src": digests(b"style"),
        "img-src": "'self' blob: data:",
        "media-src": "blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error as it is told."""
    return web.json_response({"error": message}, status=status, headers=headers)


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns errors into answers, and gives every answer the common headers."""
    try:
        response = await asyncio.wait_for(handler(request), request.app[ACCESS].deadline)
    except HTTPError as error:
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        response = failure(error.status, str(error), headers)
    except AocrError as error:
        response = failure(400, str(error))
    except web.HTTPException as error:
        response = failure(error.status, _told(request, error), _kept(error))
    except TimeoutError:
        response = failure(
            504, f"There was no answer within {request.app[ACCESS].deadline:g} seconds. Try again later."
        )
    except (ConnectionError, web.RequestPayloadError):
        response = failure(400, "The request ended before its time.")
    except Exception as error:
        if os.environ.get("AOCR_DEBUG"):
            raise
        log.warning("unexpected %s: %s (AOCR_DEBUG=1 shows where)", type(error).__name__, files.one_line(error))
        response = failure(500, "The server failed at this request. Its log says more.")
    if not response.prepared:
        for name, value in {**HEADERS, "Content-Security-Policy": NOTHING}.items():
            response.headers.setdefault(name, value)
    return response


def _told(request: web.Request, error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return f"The request has more than {request.app[MAX_BYTES]:,} bytes. Send less at a time."
    if isinstance(error, web.HTTPNotFound):
        return f"There is no {escape_control(request.path[:100])} here."
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return f"{escape_control(request.path[:100])} takes {allowed}, not {error.method}."
    return error.text or error.reason


def _kept(error: web.HTTPException) -> dict[str, str]:
    return {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}


@web.middleware
async def _let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keeps out whom the access keeps out. A route named `public-...` is no secret; the page asks for the token."""
    if not (request.match_info.route.name or "").startswith("public-"):
        request.app[ACCESS].check(request)
    if (size := request.content_length or 0) > request.app[MAX_BYTES]:  # not worth taking in
        raise web.HTTPRequestEntityTooLarge(request.app[MAX_BYTES], size)
    return await handler(request)


@contextmanager
def listening(access: ServerAccess) -> Iterator[list[socket.socket]]:
    """Sockets that listen at a access; who knocks waits for `run_app`.

    Raises:
      ConfigError: the server cannot listen there.
    """
    if access.port > MAX_PORT:
        raise ConfigError("--port", access.port, f"must be between 0 and {MAX_PORT}.")
    with ExitStack() as stack:
        try:
            found = socket.getaddrinfo(
                access.host or None, access.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
            sockets = [stack.enter_context(socket.create_server(at[:2], family=family)) for family, at in addresses]
        except (OSError, UnicodeError) as error:  # a port in use, a name that is no address of this machine
            reason = f"the server cannot listen there ({files.one_line(error)}). Choose another."
            raise ConfigError("host and port", f"{access.host}:{access.port}", reason) from None
        yield sockets


def run_app(app: web.Application, sockets: Sequence[socket.socket]) -> None:
    """Serve until Ctrl-C or SIGTERM; then finish what was asked and return. A second one ends the process at once.

    Args:
      app: of `make_app`.
      sockets: of `listening`.
    """
    with deferred("answering what was asked, then ending. A second signal ends it at once.") as interrupts:
        asyncio.run(_serve(app, sockets, lambda: interrupts.caught is not None))


async def _serve(app: web.Application, sockets: Sequence[socket.socket], is_over: Callable[[], bool]) -> None:
    unsaid = logging.Logger("unsaid", logging.CRITICAL)  # aiohttp tells what is no HTTP with a traceback
    logger = server_logger if os.environ.get("AOCR_DEBUG") else unsaid
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS, logger=logger)
    await runner.setup()
    try:
        for one in sockets:
            await web.SockSite(runner, one).start()
        _tell_address(app[ACCESS], *sockets[0].getsockname()[:2])
        while not is_over():
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await runner.cleanup()


def _tell_address(access: ServerAccess, host: str, port: int) -> None:
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    log.info("Open %s%s", place, f"#token={access.token}" if access.token else "")  # log files leave it out
    if access.is_loopback:
        log.info("Only programs of this machine reach it.")
    elif not access.token:
        log.warning("Whoever reaches this machine may use it. --token keeps others out.")
