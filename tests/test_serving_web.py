"""The HTTP server under `aocr serve` and `aocr label`: access control, errors as JSON, headers."""

import asyncio

import pytest

pytest.importorskip("aiohttp", reason="the extra serve is not installed")

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aocr.errors import ImageError
from aocr.serving.web import HTTPError, ServerAccess, make_app, page_policy

PAGE = b"<!doctype html><style>p{color:red}</style><p>hello</p><script>let a = 1</script>"


async def echo(request):
    return web.json_response({"bytes": len(await request.read())})


async def fail(request):
    raise {
        "image": ImageError("image 3", "is empty (0 bytes)."),
        "full": HTTPError(429, "Too many. Try again later."),
        "bug": ZeroDivisionError("secret"),
    }[request.match_info["error"]]


async def sleep(request):
    await asyncio.sleep(60)


def ask(method, path, access=None, **options):
    """Return status, error message or body, and headers."""

    async def run():
        app = make_app(ServerAccess(**{"host": "127.0.0.1", "port": 0, **(access or {})}), PAGE, max_bytes=100)
        app.router.add_post("/echo", echo)
        app.router.add_get("/fail/{error}", fail)
        app.router.add_get("/sleep", sleep)
        async with TestClient(TestServer(app)) as client, client.request(method, path, **options) as response:
            is_json = response.content_type == "application/json"
            body = await response.json() if is_json else await response.text()
            return response.status, body.get("error", body) if is_json else body, response.headers

    return asyncio.run(run())


def status(*args, **options):
    return ask(*args, **options)[0]


def test_page_runs_only_its_own_script_and_style():
    code, body, headers = ask("GET", "/")
    assert (code, body) == (200, PAGE.decode())
    policy = headers["Content-Security-Policy"]
    assert policy == page_policy(PAGE)
    assert "script-src 'sha256-" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert page_policy(PAGE.replace(b"= 1", b"= 2")) != policy


def test_errors_are_json(monkeypatch):
    monkeypatch.delenv("AOCR_DEBUG", raising=False)
    assert ask("POST", "/echo", data=b"x" * 100)[:2] == (200, {"bytes": 100})
    message = "The request has more than 100 bytes. Send less at a time."
    assert ask("POST", "/echo", data=b"x" * 101)[:2] == (413, message)
    assert ask("GET", "/nowhere")[:2] == (404, "/nowhere does not exist.")
    assert ask("GET", "/echo")[:2] == (405, "/echo accepts POST, not GET.")
    assert ask("GET", "/fail/image")[:2] == (400, "image 3: is empty (0 bytes).")
    assert ask("GET", "/fail/full")[:2] == (429, "Too many. Try again later.")
    code, message, headers = ask("GET", "/fail/bug")
    assert code == 500 and "secret" not in message and "default-src 'none'" in headers["Content-Security-Policy"]
    monkeypatch.setattr("aocr.serving.web.DEADLINE_SECONDS", 0.05)
    code, message, _ = ask("GET", "/sleep")
    assert code == 504 and "0.05 seconds" in message


def test_pages_of_other_sites_are_refused():
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://["):
        assert status("POST", "/echo", headers={"Origin": origin}) == 403, origin
    assert status("POST", "/echo", headers={"Origin": "http://me:1", "Host": "me:1"}, access={"token": "t"}) == 401
    assert status("POST", "/echo", headers={"Origin": "http://localhost:8", "Host": "localhost:8"}) == 200


def test_host_must_name_this_machine():
    for host in ("evil.example", "127.0.0.1.evil.example", "[::1", "0.0.0.0", ""):
        assert status("POST", "/echo", headers={"Host": host}) == 403, host
    for host in ("localhost", "127.0.0.1:80", "[::1]:8501", "127.1.2.3"):
        assert status("POST", "/echo", headers={"Host": host}) == 200, host


def test_token():
    access = {"token": "s3cret", "host": "0.0.0.0"}
    assert status("GET", "/", access=access) == 200
    for header in ("", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer s3cret2", "Bearer \udcff"):
        code, message, headers = ask("POST", "/echo", access=access, headers={"Authorization": header})
        assert code == 401 and "Bearer TOKEN" in message and headers["WWW-Authenticate"] == "Bearer", header
    assert status("POST", "/echo", access=access, headers={"Authorization": "Bearer s3cret"}) == 200
