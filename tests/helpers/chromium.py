"""A headless Chromium driven over a pipe by its own protocol (https://chromedevtools.github.io/devtools-protocol/)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)

FLAGS = (
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-default-apps", "--disable-sync", "--hide-scrollbars",
    # WebGL by software, for a machine without a graphics card.
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip


PATIENCE_S = 300
"""A machine that does other work too may be slow; only what fails takes as long."""


class Chromium:
    """One browser with one page; `requests` has the address of everything that the page asked for.

    Args:
      folder: for the profile and downloads; size: of the window, in pixels.
    """

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 1400)) -> None:
        # The browser's ends of the pipes are its descriptors 3 and 4; numbers from 10 on cannot be in their way.
        to_browser, self._out = map(_raised, os.pipe())
        self._in, from_browser = map(_raised, os.pipe())
        self.downloads = folder / "downloads"
        self._log = (folder / "chromium.log").open("wb")
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        window = f"--window-size={size[0]},{size[1]}"
        command = ["bash", "-c", shell, BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", window, "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(to_browser, from_browser), stdout=self._log, stderr=self._log
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._answers, self._number, self._session = b"", {}, 0, None
        self.requests: list[str] = []
        self.console: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM"):
            self.send(f"{domain}.enable")
        # Workers and frames of the page have sessions of their own, and ask for things too.
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_) -> None:
        os.close(self._out)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._log.close()

    def send(self, method: str, timeout_s: float = PATIENCE_S, **parameters) -> dict:
        """One command and its answer."""
        number = self._post(method, self._session, parameters)
        end = time.monotonic() + timeout_s
        while number not in self._answers:
            if time.monotonic() > end:
                raise TimeoutError(f"{method}: no answer in {timeout_s} s")
            self._read(0.2)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, address: str) -> None:
        """Begin to load a page."""
        self.send("Page.navigate", url=address)

    def reload(self, ready: str) -> None:
        """Load the page again, until an expression is true in the new one: the old one may answer for a while yet."""
        self.value("window.isOld = true")
        self.send("Page.reload")
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.wait(f"!window.isOld && {ready}", end - time.monotonic())
            except RuntimeError as error:  # asked in the moment between the two
                if "navigated" not in str(error):
                    raise

    def value(self, script: str):
        """What a JavaScript expression gives, awaited where it is a promise."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, script: str, timeout_s: float = PATIENCE_S) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + timeout_s
        while not self.value(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{script}: not true in {timeout_s} s; the page says {self.text()[-1500:]}")
            self._read(0.1)

    def click(self, selector: str) -> None:
        """Click the first element."""
        self.value(f"document.querySelector({selector!r}).click()")

    def text(self) -> str:
        """All that can be read on the page."""
        return self.value("document.body.innerText")

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to a file field, where the page has it at this moment."""
        field = self.send("Runtime.evaluate", expression=f"document.querySelector({selector!r})")["result"]
        if "objectId" in field:  # unlike the number of a node, it stays whatever the page makes of its parts meanwhile
            self.send("DOM.setFileInputFiles", files=[str(path)], objectId=field["objectId"])

    def drag(self, x: float, y: float, across: float) -> None:
        """Press at a place of the window, move to the right, let go."""
        for kind, place in (("mousePressed", x), ("mouseMoved", x + across / 2), ("mouseMoved", x + across)):
            self.send("Input.dispatchMouseEvent", type=kind, x=place, y=y, button="left", buttons=1, clickCount=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x + across, y=y, button="left", clickCount=1)

    def downloaded(self, name: str, timeout_s: float = PATIENCE_S) -> bytes:
        """A file of the download folder, once it is whole."""
        end = time.monotonic() + timeout_s
        while not (self.downloads / name).is_file():
            if time.monotonic() > end:
                raise TimeoutError(f"{name}: not downloaded; there are {list(self.downloads.glob('*'))}")
            self._read(0.1)
        return (self.downloads / name).read_bytes()

    def screenshot(self, clip: dict | None = None, beyond: bool = False) -> bytes:
        """A part {x, y, width, height} of the page as a .png; `beyond` also what the window does not show."""
        options = {"clip": clip | {"scale": 1}} if clip else {}
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=beyond, **options)
        return base64.b64decode(shot["data"])

    def _post(self, method: str, session: str | None, parameters: dict) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def _read(self, seconds: float) -> None:
        if not select.select([self._in], [], [], seconds)[0]:
            return
        data = os.read(self._in, 2**20)
        if not data:
            raise RuntimeError("the browser has ended")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._event(message["method"], message["params"])

    def _event(self, method: str, parameters: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(parameters["url"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.console.append(
                " ".join(str(item.get("value", item.get("description"))) for item in parameters["args"])
            )
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Target.attachedToTarget" and self._session and parameters["sessionId"] != self._session:
            self._post("Network.enable", parameters["sessionId"], {})


def _raised(descriptor: int) -> int:
    number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return number
