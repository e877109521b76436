"""Talk to a child process through pipes without trusting it to read, to stop writing or to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

_CHUNK = 1 << 16


async def talk(
    line: Sequence[str], *, given: bytes, time_s: float, most_bytes: int, passed: Sequence[int] = ()
) -> tuple[str | None, bytes, bytes]:
    """Run ``line`` in a process group of its own; return why it was stopped (``time``, ``output``, ``None``), output, errors.

    It gets an empty environment, ``given`` as its input and the file descriptors ``passed``. The whole group is
    killed when the call ends, however it ends. Raises ``OSError`` where the program cannot be started.
    """
    process = subprocess.Popen(  # noqa: S603 -- the caller names the program
        list(line),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=passed,
        env={},
        cwd="/",
        start_new_session=True,
    )
    pump = _Pump(process, given, most_bytes)
    stopped: str | None = None
    try:
        async with asyncio.timeout(time_s):
            stopped = await pump.over
    except TimeoutError:
        stopped = "time"
    finally:
        pump.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return stopped, bytes(pump.read[0]), bytes(pump.read[1])


class _Pump:
    """Moves bytes between the pipes of a process and memory; ``over`` is done when the process ended or wrote too much."""

    def __init__(self, process: subprocess.Popen[bytes], given: bytes, most: int) -> None:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 -- all are pipes
        self.over: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.read = (bytearray(), bytearray())
        self._loop = asyncio.get_running_loop()
        self._files = (process.stdin, process.stdout, process.stderr)
        self._given = memoryview(given)
        self._left = most
        self._ended = os.pidfd_open(process.pid)
        for file in self._files:
            os.set_blocking(file.fileno(), False)
        self._loop.add_reader(self._ended, self._end)
        for part in (0, 1):
            self._loop.add_reader(self._files[part + 1], self._take, part)
        self._loop.add_writer(process.stdin, self._give)

    def close(self) -> None:
        self._loop.remove_reader(self._ended)
        os.close(self._ended)
        for file in self._files:
            if not file.closed:
                self._loop.remove_reader(file)
                self._loop.remove_writer(file)
                with suppress(OSError):
                    file.close()

    def _give(self) -> None:
        try:
            self._given = self._given[os.write(self._files[0].fileno(), self._given[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # it does not read
            self._given = memoryview(b"")
        if not self._given:
            self._loop.remove_writer(self._files[0])
            self._files[0].close()

    def _take(self, part: int) -> bool:
        """Read once; whether there may be more."""
        file = self._files[part + 1]
        if file.closed:
            return False
        try:
            chunk = os.read(file.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._loop.remove_reader(file)
            file.close()
        self.read[part].extend(chunk[: self._left])
        self._left -= len(chunk)
        if self._left < 0:
            self._left = 0
            self._decide("output")
        return bool(chunk)

    def _end(self) -> None:
        for part in (0, 1):
            while not self.over.done() and self._take(part):
                pass
        self._decide(None)

    def _decide(self, why: str | None) -> None:
        if not self.over.done():
            self.over.set_result(why)
