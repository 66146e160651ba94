"""A headless Chromium, driven by its DevTools protocol: opens pages from disk, clicks, types."""

import asyncio
import base64
import json
import shutil
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "Tab": 9}
_LARGEST = 512 * 2**20


def found():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One page in one browser. `errors` are what its console and its scripts complain of.

    Attributes:
        errors: texts, in order.
        requests: addresses that the page asked for.
    """

    def __init__(self, folder: Path, width: int = 1280, height: int = 1000) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._answers: dict[int, dict] = {}
        self._sent = 0
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        arguments += ["--remote-debugging-port=0", f"--user-data-dir={folder}"]
        self._process = subprocess.Popen(
            [found(), *arguments, f"--window-size={width},{height}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._socket = self._loop.run_until_complete(self._connected(folder))
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.shape(width, height)
        except BaseException:
            self.close()
            raise

    async def _connected(self, folder: Path):
        port_file, end = folder / "DevToolsActivePort", time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().count("\n")):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the browser did not start")
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        with urlopen(f"http://127.0.0.1:{port}/json/list") as pages:
            page = next(one for one in json.load(pages) if one["type"] == "page")
        return await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=_LARGEST)

    def close(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()
        self._process.terminate()
        self._process.wait(30)
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    def call(self, method: str, timeout: float = 120, **parameters):
        """Send a command, and return its answer."""
        self._sent += 1
        number = self._sent
        message = {"id": number, "method": method, "params": parameters}
        return self._loop.run_until_complete(
            asyncio.wait_for(self._answered(number, json.dumps(message)), timeout)
        )

    async def _answered(self, number: int, message: str):
        await self._socket.write_message(message)
        while number not in self._answers:
            received = await self._socket.read_message()
            if received is None:
                raise RuntimeError("the browser has gone away")
            self._take(json.loads(received))
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{message[:200]}: {answer['error']}")
        return answer["result"]

    def _take(self, message: dict) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        told = message["params"]
        match message["method"]:
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.errors.append(
                    str(details.get("exception", details).get("description", details))
                )
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.errors.append(str([one.get("value") for one in told["args"]]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.errors.append(told["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])

    def open(self, page: Path, timeout: float = 120) -> float:
        """Open a page to explore from disk; seconds until it is ready."""
        started = time.perf_counter()
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.documentElement?.dataset.ready === 'yes'", timeout)
        return time.perf_counter() - started

    def wait(self, condition: str, timeout: float = 60) -> None:
        end = time.monotonic() + timeout
        while not self.value(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"never: {condition}; errors: {self.errors}")
            time.sleep(0.03)

    def value(self, code: str):
        """The value of an expression in the page, a promise awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{code}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key as a user does."""
        text = {} if key in KEYS else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=KEYS.get(key, 0),
                **(text if kind == "keyDown" else {}),
            )

    def move(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def shape(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the window a size, and the system light or dark colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Write a picture of the page, or of what is in the window."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(taken["data"]))
