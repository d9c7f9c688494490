"""The small server: who may ask, how errors are told, what headers answers bear."""

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
        "fault": ZeroDivisionError("secret"),
    }[request.match_info["how"]]


async def sleep(request):
    await asyncio.sleep(60)


def ask(*requests, **access):
    """(status, headers, JSON or text) of each request: (method, path, options)."""

    async def run():
        app = make_app(ServerAccess(**{"host": "127.0.0.1", "port": 0, **access}), PAGE, max_bytes=100)
        app.router.add_post("/echo", echo)
        app.router.add_get("/fail/{how}", fail)
        app.router.add_get("/sleep", sleep)
        async with TestClient(TestServer(app)) as client:
            answers = []
            for method, path, options in requests:
                async with client.request(method, path, **options) as answer:
                    is_json = answer.content_type == "application/json"
                    body = await answer.json() if is_json else await answer.text()
                    answers.append((answer.status, answer.headers, body))
            return answers

    return asyncio.run(run())


def status(method, path, access=None, **options):
    ((code, _, body),) = ask((method, path, options), **(access or {}))
    return code, body.get("error", body) if isinstance(body, dict) else body


def test_the_page_runs_only_its_own_script_and_style():
    ((code, headers, body),) = ask(("GET", "/", {}))
    assert (code, body) == (200, PAGE.decode())
    policy = headers["Content-Security-Policy"]
    assert policy == page_policy(PAGE)
    assert "script-src 'sha256-" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert page_policy(PAGE.replace(b"= 1", b"= 2")) != policy


def test_errors_are_told_as_json():
    assert status("POST", "/echo", data=b"x" * 100) == (200, {"bytes": 100})
    told = "The request has more than 100 bytes. Send less at a time."
    assert status("POST", "/echo", data=b"x" * 101) == (413, told)
    assert status("GET", "/nowhere") == (404, "There is no /nowhere here.")
    assert status("GET", "/echo") == (405, "/echo takes POST, not GET.")
    assert status("GET", "/fail/image") == (400, "image 3: is empty (0 bytes).")
    assert status("GET", "/fail/full") == (429, "Too many. Try again later.")


def test_an_answer_that_takes_too_long_is_given_up():
    code, error = status("GET", "/sleep", access={"deadline": 0.05})
    assert code == 504 and "0.05 seconds" in error


def test_a_fault_is_told_without_its_details(monkeypatch):
    monkeypatch.delenv("AOCR_DEBUG", raising=False)
    code, error = status("GET", "/fail/fault")
    assert code == 500 and "secret" not in error


def test_pages_of_other_sites_may_not_ask():
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert status("POST", "/echo", headers={"Origin": origin})[0] == 403, origin
    assert status("POST", "/echo", headers={"Origin": "http://me:1", "Host": "me:1"}, access={"token": "t"})[0] == 401
    assert status("POST", "/echo", headers={"Origin": "http://localhost:8", "Host": "localhost:8"})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::1", "0.0.0.0", ""])
def test_a_foreign_name_of_this_machine_is_refused(host):
    assert status("POST", "/echo", headers={"Host": host})[0] == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8501", "127.1.2.3"])
def test_the_names_of_this_machine_are_known(host):
    assert status("POST", "/echo", headers={"Host": host})[0] == 200


def test_the_token_opens_all_and_the_page_needs_none():
    access = {"token": "s3cret", "host": "0.0.0.0"}
    assert status("GET", "/", access=access)[0] == 200
    for header in ("", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer s3cret2", "Bearer \udcff"):
        code, error = status("POST", "/echo", access=access, headers={"Authorization": header})
        assert code == 401 and "Bearer TOKEN" in error, header
    assert status("POST", "/echo", access=access, headers={"Authorization": "Bearer s3cret"})[0] == 200


def test_an_origin_that_is_none_is_another_sites():
    assert status("GET", "/fail/image", headers={"Origin": "http://["})[0] == 403
