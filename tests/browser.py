"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu", "--hide-scrollbars",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """`async with Browser() as page`: one tab. Errors of its script and what its policy forbids are collected.

    Attributes:
      complaints: what the console told as errors.
    """

    async def __aenter__(self) -> Browser:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [PROGRAM, *FLAGS, *sandbox, f"--user-data-dir={self.folder.name}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": self.folder.name},
        )  # fmt: skip
        port_file = Path(self.folder.name, "DevToolsActivePort")
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert self._process.poll() is None, "chromium ended"
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
            tab = next(tab for tab in await answer.json() if tab["type"] == "page")
        self._socket = await self._session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=1 << 26)
        self._answers: dict[int, asyncio.Future] = {}
        self._number = 0
        self.complaints: list[str] = []
        self._listening = asyncio.create_task(self._listen())
        await self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        for domain in ("Page", "Runtime", "Log", "DOM"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *error) -> None:
        await self._socket.close()
        await self._listening
        await self._session.close()
        self._process.terminate()
        self._process.wait()
        self.folder.cleanup()

    async def _listen(self) -> None:
        async for message in self._socket:
            value = json.loads(message.data)
            if "id" in value:
                self._answers.pop(value["id"]).set_result(value)
            elif value["method"] == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(value["params"]["exceptionDetails"]))
            elif value["method"] == "Log.entryAdded" and value["params"]["entry"]["level"] == "error":
                self.complaints.append(value["params"]["entry"]["text"])

    async def call(self, method: str, **params: Any) -> dict:
        """One command of the protocol."""
        self._number += 1
        number = self._number
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        value = await asyncio.wait_for(answer, 30)
        assert "error" not in value, value
        return value["result"]

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        found = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str, seconds: float = 30) -> Any:
        """Wait for an expression to be true."""
        for _ in range(int(seconds / 0.05)):
            if value := await self.evaluate(expression):
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(f"{expression} is not true: {await self.evaluate('document.body.innerText')}")

    async def open(self, url: str, width: int = 1100, height: int = 800, dark: bool = False) -> None:
        """Load a page in a window of this size."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                        mobile=width < 600)  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def choose(self, selector: str, *paths: Path) -> None:
        """Choose files in an input."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    async def key(self, key: str) -> None:
        """Press a key."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    async def picture(self) -> bytes:
        """PNG of what is seen."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])
