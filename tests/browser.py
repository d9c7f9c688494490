"""A headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import asyncio
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
    """`async with Browser() as page`: one tab. `complaints` collects script errors and policy violations."""

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
        """Send a command of the protocol and return its result."""
        self._number += 1
        self._answers[self._number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        value = await asyncio.wait_for(answer, 30)
        assert "error" not in value, value
        return value["result"]

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited if it is a promise."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        for _ in range(600):
            if await self.evaluate(expression):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{expression} is not true: {await self.evaluate('document.body.innerText')}")

    async def open(self, url: str, width: int = 1100, height: int = 800) -> None:
        """Load a page in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def choose(self, selector: str, *paths: Path) -> None:
        """Choose files in an input."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    async def drop(self, *paths: Path) -> None:
        """Drop files on the page."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=50, y=50, data=data)

    async def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        x, y = await self.evaluate(f"""(() => {{ const e = document.querySelector({selector!r});
            e.scrollIntoView({{block: "center"}}); const b = e.getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2]; }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def allow_clipboard(self) -> None:
        """Let the page read and write the clipboard."""
        await self.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])

    async def downloaded(self, selector: str, name: str, folder: Path) -> bytes:
        """Click on an element and return the file that it downloads."""
        await self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        await self.click(selector)
        for _ in range(600):
            if (folder / name).exists():
                return (folder / name).read_bytes()
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} was not downloaded")

    async def key(self, key: str) -> None:
        """Press Tab, Enter, Escape, the space bar, or Alt and a letter (such as `Alt+U`)."""
        codes, texts = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}, {"Enter": "\r", " ": " "}
        if key.startswith("Alt+"):
            event = {"modifiers": 1, "code": f"Key{key[-1]}", "key": key[-1].lower()}
        else:
            event = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
        text = {"text": texts[key]} if key in texts else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **event)
