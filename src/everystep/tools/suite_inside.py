"""Runs inside the sandbox: the tests of a project on some variants of its files, each in a process of its own, and tells what each test did.

Standard library and pytest only; read as text by ``suite`` and never imported by it.
"""

from __future__ import annotations

import binascii
import contextlib
import json
import os
import select
import signal
import sys
import time
from typing import Any

_TOLD = 6000
_MOST = 12


class Watch:
    """Notes the outcome of every test, and the texts of the first failures."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.told: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note one phase of a test; a failure in any of them counts."""
        now = "failed" if report.failed else "skipped" if report.skipped else "passed"
        told = report.when == "call" or now != "passed"
        if told and self.outcomes.get(report.nodeid) != "failed":
            self.outcomes[report.nodeid] = now
        if report.failed:
            self._tell(report.nodeid, report.longreprtext)

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file whose tests cannot be collected."""
        if report.failed:
            self.outcomes[report.nodeid] = "failed"
            self._tell(report.nodeid, report.longreprtext)

    def _tell(self, name: str, text: str) -> None:
        if len(self.told) < _MOST:
            self.told.setdefault(name, text[-_TOLD:])


def put(files: dict[str, str]) -> None:
    """Write files; each gets a time made of its content, so that stored bytecode is never taken for another's."""
    for path, text in files.items():
        data = text.encode("latin-1")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        when = binascii.crc32(data) >> 1
        os.utime(path, (when, when))


def run_one(pytest: Any, orders: dict[str, Any], only: list[str], end: int) -> None:
    """Run the tests in this process, which is the child's, and write what came of it to ``end``."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    watch = Watch()
    line = [*(only or orders["tests"]), *orders["arguments"]]
    if orders["first"]:
        line.append("-x")
    status = int(pytest.main(line, plugins=[watch]))
    with os.fdopen(end, "w") as file:
        json.dump({"status": status, "outcomes": watch.outcomes, "told": watch.told}, file)


def fork(pytest: Any, orders: dict[str, Any], variant: dict[str, Any]) -> Any:
    """Run one variant in a child; return what it told, or why it told nothing."""
    listen, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run_one(pytest, orders, variant["only"], end)
        finally:
            os._exit(0)
    os.close(end)
    data, until = b"", time.monotonic() + orders["time_s"]
    while True:
        left = until - time.monotonic()
        ready = select.select([listen], [], [], max(0, left))[0] if left > 0 else []
        if not ready:
            break
        more = os.read(listen, 1 << 16)
        if not more:
            break
        data += more
    late = time.monotonic() >= until
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    os.close(listen)
    os.waitpid(child, 0)
    try:
        return json.loads(data)
    except ValueError:
        return {"ended": "time" if late else "died", "outcomes": {}, "told": {}}


def main() -> None:
    """Read the orders, run the variants one behind the other, print a line for each."""
    orders = json.loads(sys.stdin.readline())
    sys.path[:0] = [os.path.abspath(one) for one in orders["roots"]]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    for variant in orders["variants"]:
        before: dict[str, str | None] = {}
        for path in variant["files"]:
            try:
                with open(path, "rb") as file:
                    before[path] = file.read().decode("latin-1")
            except OSError:
                before[path] = None
        put(variant["files"])
        said = fork(pytest, orders, variant)
        put({path: text for path, text in before.items() if text is not None})
        for path in (path for path, text in before.items() if text is None):
            os.remove(path)
        os.write(1, (json.dumps(said) + "\n").encode())


if __name__ == "__main__":
    main()
