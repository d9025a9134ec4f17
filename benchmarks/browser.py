"""A real headless Chromium, driven over its DevTools protocol through two pipes: no driver, no port, no library.

Protocol: https://chromedevtools.github.io/devtools-protocol; with `--remote-debugging-pipe` the browser reads commands
from file descriptor 3 and writes answers to 4, each a JSON object that ends in a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "BELLMARK_CHROMIUM"
MISSING = f"no Chromium found (looked for {', '.join(NAMES)} and ${VARIABLE}); on Debian: apt-get install chromium"
FLAGS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
)  # fmt: skip
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "ArrowUp": 38, "ArrowDown": 40}
Answer = dict[str, Any]


class BrowserError(Exception):
    """The browser said no, gave up, or a script threw."""


def find_chromium() -> str | None:
    """The browser's path: the one named by BELLMARK_CHROMIUM, else the first on the path; None where there is none."""
    return os.environ.get(VARIABLE) or next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    """One browser process with an empty profile of its own; a context manager that leaves nothing behind.

    Raises:
        BrowserError: there is no Chromium, or it does not answer.
    """

    def __init__(self) -> None:
        program = find_chromium()
        if program is None:
            raise BrowserError(MISSING)
        self._profile = tempfile.TemporaryDirectory(prefix="bellmark-chromium-", ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [program, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "chromium", *command],
            pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._rest, self._number, self.events = b"", 0, list[Answer]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its profile."""
        try:
            self.call("Browser.close", seconds=5)
        except (BrowserError, OSError):
            self._process.kill()
        self._process.wait(timeout=10)
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, session: str = "", *, seconds: float = 60.0, **parameters: Any) -> Answer:
        """Send a command and wait for its answer; events that arrive meanwhile are kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + seconds
        while True:
            answer = self._read(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self.events.append(answer)

    def wait(self, method: str, session: str, *, seconds: float = 60.0) -> Answer:
        """The next event of this kind, one that came already included."""
        deadline = time.monotonic() + seconds
        while True:
            for i, event in enumerate(self.events):
                if event.get("method") == method and event.get("sessionId") == session:
                    return dict(self.events.pop(i)["params"])
            self.events.append(self._read(deadline, method))

    def _read(self, deadline: float, what: str) -> Answer:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            if not data:
                raise BrowserError(f"{what}: Chromium {'ended' if ready else 'did not answer in time'}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def tab(self, width: int = 1280, height: int = 900, *, dark: bool = False, phone: bool = False) -> Tab:
        """A new tab of this size; `phone`: touch, two device pixels per pixel and the phone's own viewport rules."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        tab.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        return tab


class Tab:
    """One page of the browser."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target

    def call(self, method: str, **parameters: Any) -> Answer:
        """A DevTools command to this tab."""
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def open(self, url: str) -> float:
        """Go there and wait for the load event; returns the seconds from the command to the event."""
        self._forget("Page.loadEventFired")
        began = time.perf_counter()
        answer = self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        self._browser.wait("Page.loadEventFired", self._session)
        return time.perf_counter() - began

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            found = answer["exceptionDetails"]
            raise BrowserError(found.get("exception", {}).get("description") or found["text"])
        return answer["result"].get("value")

    def until(self, script: str, *, seconds: float = 10.0) -> None:
        """Return once an expression is true.

        Raises:
            BrowserError: it has not become true in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.run(f"!!({script})"):
                return
            time.sleep(0.02)
        raise BrowserError(f"not true within {seconds:g} s: {script}")

    def press(self, key: str) -> None:
        """A key, by its DOM name."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = KEYS.get(key, ord(key[0].upper()))
        for kind in ("keyDown", "keyUp"):
            down = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **down)

    def type(self, text: str) -> None:
        """Text into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """A real click in the middle of the first element that fits, scrolled to first."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        if found is None:
            raise BrowserError(f"nothing fits {selector}")
        self.hover(*found)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=found[0], y=found[1], button="left", clickCount=1)

    def hover(self, x: float, y: float) -> None:
        """Move the mouse there."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, file: Path, *, whole: bool = False) -> Path:
        """A screenshot as PNG of what is seen, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))
        return file

    def requests(self) -> list[str]:
        """Every URL that was asked for since the tab was opened."""
        return [e["params"]["request"]["url"] for e in self._events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Uncaught errors and what was logged as an error, since the tab was opened."""
        thrown = [e["params"]["exceptionDetails"] for e in self._events("Runtime.exceptionThrown")]
        logged = [e["params"]["entry"] for e in self._events("Log.entryAdded")]
        lines = [t.get("exception", {}).get("description") or t["text"] for t in thrown]
        return [*lines, *(f"{e['text']} {e.get('url', '')}" for e in logged if e["level"] == "error")]

    def _events(self, method: str) -> list[Answer]:
        self.run("0")  # what has happened by now has been read after this
        return [e for e in self._browser.events if e.get("method") == method and e.get("sessionId") == self._session]

    def _forget(self, method: str) -> None:
        kept = [e for e in self._browser.events if (e.get("method"), e.get("sessionId")) != (method, self._session)]
        self._browser.events[:] = kept
