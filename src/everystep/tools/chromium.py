"""A Chromium of one's own, driven over two pipes with the DevTools protocol: no driver, no port, no further package.

Protocol: https://chromedevtools.github.io/devtools-protocol/. The browser has a fresh profile, resolves no host names, and ends with its pipes, so also when this
process is killed. What does not answer in time is killed, and a ``WorldError`` says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

from everystep.core.errors import ConfigError, WorldError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows", "--mute-audio", "--hide-scrollbars",
    "--disable-features=Translate,MediaRouter,OptimizationHints", "--password-store=basic", "--use-mock-keychain", "--disable-popup-blocking",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=500,400", "--force-device-scale-factor=1",
)  # fmt: skip
_START_S = 60.0


Answer = Callable[[str, str, str], tuple[int, Mapping[str, str], str]]
"""Answers a request of a page: method, address and body give status, headers and body."""


class Left(Exception):  # noqa: N818 -- an event that callers expect, not a failure
    """The page that an expression ran in is gone: it went to another document."""


def executable(path: str = "") -> str:
    """Return where the browser is: ``path``, or the first known name. ``ConfigError`` with the remedy where there is none."""
    found = shutil.which(path) if path else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ConfigError(
            f"there is no browser {path or NAMES[0]!r}. Install one (Debian: apt-get install chromium), or give the path of a Chromium or Chrome."
        )
    return found


class Page:
    """One browser with one page. ``timeout_s`` bounds every answer."""

    def __init__(self, path: str = "", *, headless: bool = True, timeout_s: float = 30.0) -> None:
        self.timeout_s = timeout_s
        self._pid = 0
        self._owner = os.getpid()
        self._profile = tempfile.TemporaryDirectory(prefix="everystep-chromium-", ignore_cleanup_errors=True)
        self._buffer, self._count, self._session = b"", 0, ""
        self._events: list[dict[str, Any]] = []
        self._replies: dict[int, dict[str, Any]] = {}
        self._unasked: set[int] = set()
        self._answer: Answer | None = None
        self._moving = False
        flags = [flag for flag in FLAGS if headless or not flag.startswith("--headless")]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium refuses to start for root otherwise
        there_in, self._out = _pipe()
        self._in, there_out = _pipe()
        program = executable(path)
        try:
            self._pid = os.posix_spawn(
                "/bin/sh",  # it outlives the browser and deletes the profile, also when this process was killed
                ["sh", "-c", '"$@"; rm -rf -- "$0"', self._profile.name, program, *flags, f"--user-data-dir={self._profile.name}", "about:blank"],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, there_in, 3), (os.POSIX_SPAWN_DUP2, there_out, 4),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                setpgroup=0,
            )  # fmt: skip
        finally:
            os.close(there_in)
            os.close(there_out)
        try:
            made = self.send("Target.createTarget", {"url": "about:blank"}, timeout_s=_START_S)
            joined = self.send(
                "Target.attachToTarget", {"targetId": made["targetId"], "flatten": True}, timeout_s=_START_S
            )
            self._session = joined["sessionId"]
            self.send("Page.enable")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The browser's process id, 0 when it is closed."""
        return self._pid

    @property
    def usable(self) -> bool:
        """Whether it is open, and was opened by this process."""
        return bool(self._pid) and self._owner == os.getpid()

    def send(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Return what a command gives; a refusal, an end of the browser and silence raise ``WorldError``."""
        number = self.post(method, params)
        return self.reply(number, method, timeout_s)

    def post(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a command without waiting; return its number for ``reply``."""
        if not self.usable:
            raise WorldError("the browser is closed. Open another one.")
        self._count += 1
        told: dict[str, Any] = {"id": self._count, "method": method, "params": dict(params or {})}
        if self._session:
            told["sessionId"] = self._session
        try:
            data = json.dumps(told).encode() + b"\0"
            while data:
                data = data[os.write(self._out, data) :]
        except OSError as error:
            self.close()
            raise WorldError(f"the browser ended ({error}). The next episode gets another one.") from None
        return self._count

    def reply(self, number: int, method: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the answer to a command that was sent."""
        end = time.monotonic() + (timeout_s or self.timeout_s)
        while number not in self._replies:
            self._read(end, method)
        told = self._replies.pop(number)
        if "error" in told:
            raise WorldError(f"the browser refused {method}: {told['error'].get('message')!r}")
        result: dict[str, Any] = told.get("result", {})
        return result

    def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives, awaited, as JSON. ``Left`` where the page went away meanwhile."""
        number = self.post(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True, "userGesture": True},
        )
        try:
            told = self.reply(number, "Runtime.evaluate")
        except WorldError as error:
            if self.usable and ("navigated" in str(error) or "context" in str(error)):
                raise Left(str(error)) from None
            raise
        if "exceptionDetails" in told:
            what = told["exceptionDetails"]
            raise Left(str(what.get("exception", {}).get("description", what.get("text", "")))[:300])
        return told.get("result", {}).get("value")

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._events.clear()
        told = self.send("Page.navigate", {"url": url})
        if told.get("errorText"):
            raise WorldError(f"the browser could not open {url!r}: {told['errorText']}")
        end = time.monotonic() + self.timeout_s
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read(end, f"loading {url!r}")

    def serve(self, answer: Answer | None) -> None:
        """Let ``answer`` answer all that pages ask for, so that sites need no server and no port; ``None`` ends that. It must not raise."""
        self._answer = answer
        self.send("Fetch.enable" if answer else "Fetch.disable", {"patterns": [{"urlPattern": "*"}]} if answer else {})  # fmt: skip

    def settle(self) -> None:
        """Wait until what was set off by an input is done: tasks that are due, and another page where the page went to one."""
        end = time.monotonic() + self.timeout_s
        while True:
            try:
                self.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
            except Left:
                self._moving = True
            if not self._moving:
                return
            while self._moving:
                self._read(end, "loading the next page")

    def close(self) -> None:
        """End the browser with all its processes, and delete its profile."""
        if not self._pid or self._owner != os.getpid():
            return
        pid, self._pid = self._pid, 0
        for end in (self._out, self._in):
            with contextlib.suppress(OSError):
                os.close(end)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        self._profile.cleanup()

    def _read(self, end: float, doing: str) -> None:
        left = end - time.monotonic()
        if left <= 0 or not select.select([self._in], [], [], left)[0]:
            self.close()
            raise WorldError(
                f"the browser did not answer in time ({doing}) and was ended. The next episode gets another one."
            )
        data = os.read(self._in, 1 << 16)
        if not data:
            self.close()
            raise WorldError(f"the browser ended ({doing}). The next episode gets another one.")
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for message in messages:
            told = json.loads(message)
            if "id" in told:
                if told["id"] not in self._unasked:
                    self._replies[told["id"]] = told
                self._unasked.discard(told["id"])
            elif told["method"] == "Page.javascriptDialogOpening":
                self._unasked.add(self.post("Page.handleJavaScriptDialog", {"accept": True}))
            elif told["method"] == "Fetch.requestPaused":
                self._fulfil(told["params"])
            elif told["method"] in ("Page.frameRequestedNavigation", "Page.frameStartedNavigating"):
                self._moving = True
            elif told["method"] == "Inspector.targetCrashed":
                self.close()
                raise WorldError(f"the page crashed ({doing}). The next episode gets another browser.")
            elif told["method"] == "Page.loadEventFired":
                self._moving = False
                self._events.append(told)

    def _fulfil(self, asked: Mapping[str, Any]) -> None:
        request = asked["request"]
        if self._answer is None:
            self._unasked.add(self.post("Fetch.continueRequest", {"requestId": asked["requestId"]}))
            return
        status, headers, body = self._answer(request["method"], request["url"], request.get("postData", ""))
        told = {
            "requestId": asked["requestId"], "responseCode": status, "body": b64encode(body.encode()).decode(),
            "responseHeaders": [{"name": name, "value": value} for name, value in headers.items()],
        }  # fmt: skip
        self._unasked.add(self.post("Fetch.fulfillRequest", told))


def _pipe() -> tuple[int, int]:
    """Return a pipe whose ends lie above the numbers that the browser wants its own at."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
