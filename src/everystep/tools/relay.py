"""Run a program and pass its standard output on, but end it when one line gets too long; of its errors only the first part.

It is run as a script of its own (``python -I -S -c``) around an MCP server, whose client keeps a line in memory until it is whole.
Arguments: the longest line in bytes, then the program and its arguments.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import IO

_MOST_ERRORS = 1_000_000


def main() -> None:
    """Relay until the program ends, then end with its status; 122 where a line was too long."""
    longest = int(sys.argv[1])
    program = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    signal.signal(signal.SIGTERM, lambda *_: program.kill())
    assert program.stdout is not None  # noqa: S101 -- it is a pipe
    assert program.stderr is not None  # noqa: S101
    threading.Thread(target=_errors, args=(program.stderr,), daemon=True).start()
    length = 0
    while chunk := os.read(program.stdout.fileno(), 1 << 16):
        first, _, rest = chunk.partition(b"\n")
        length += len(first)
        if length > longest:
            program.kill()
            print(f"relay: a line is longer than {longest} bytes; the server was ended", file=sys.stderr)  # noqa: T201
            sys.exit(122)
        if len(first) != len(chunk):
            length = len(rest.rpartition(b"\n")[2])
        _write(1, chunk)
    sys.exit(program.wait())


def _errors(source: IO[bytes]) -> None:
    left = _MOST_ERRORS
    while chunk := os.read(source.fileno(), 1 << 16):
        _write(2, chunk[:left])
        left -= min(left, len(chunk))


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


if __name__ == "__main__":
    main()
