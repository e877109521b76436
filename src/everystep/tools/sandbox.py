"""Run a program where it can do no harm: no network, no files but its own, limits on everything.

Each run gets new namespaces, a filter of system calls and a root folder that shows the system's programs read-only and a
scratch folder in memory. The scratch folder is filled from a folder of ours before and copied back after a program
that ended by itself; one that was stopped leaves our folder as it was. Hostile code never touches our file system.
Nothing here works without the kernel's help: where neither bubblewrap nor user namespaces can be had, it refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from everystep.core.errors import ConfigError, ToolError
from everystep.tools.carry import pack, unpack
from everystep.tools.pump import talk

BACKENDS = ("bubblewrap", "namespaces")
"""The ways to build the walls, in the order in which they are tried."""

_GONE_S = 20.0
_TRIAL_S = 20.0
_INSIDE = 1000
_NOBODY = 65534
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
_SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_OURS = ("/dev", "/proc", "/tmp", "/old", "/new")  # noqa: S108 -- what a sandbox has at the top besides
_JAIL = Path(__file__).with_name("jail.py")


class Ended(StrEnum):
    """How a run in the sandbox came to its end."""

    EXITED = "exited"  # by itself, or by a signal of its own
    TIME = "time"  # stopped: it took too long
    MEMORY = "memory"  # stopped: its processes held too much
    OUTPUT = "output"  # stopped: it wrote too much
    FILES = "files"  # its scratch folder grew too large or too deep, and was not kept
    KILLED = "killed"  # something outside, the kernel say, ended it


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may use. All are positive.

    ``time_s`` of the clock; ``memory_bytes`` held by all processes together (looked at 20 times a second) and
    mapped by each one; ``processes`` and threads at a time; ``scratch_bytes`` and ``entries`` of the scratch folder, and as much in
    ``/tmp`` and in ``/dev/shm``, which are not kept; ``output_bytes`` written to standard output and error together.
    """

    time_s: float = 10.0
    memory_bytes: int = 512 << 20
    processes: int = 32
    scratch_bytes: int = 64 << 20
    entries: int = 4096
    output_bytes: int = 1_000_000
    open_files: int = 256

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"limit {name!r} is {getattr(self, name)!r}; expected more than 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program did. ``status`` is its exit status, ``-n`` for signal ``n``, ``None`` where it was stopped.

    ``left_out`` names entries of the scratch folder that were not copied back: links that lead out of it, sockets, pipes.
    """

    ended: Ended
    status: int | None
    output: bytes = b""
    errors: bytes = b""
    left_out: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the program ended by itself with status 0."""
        return self.ended is Ended.EXITED and self.status == 0


class Sandbox:
    """A place to run programs in, with ``folder`` as their scratch folder, which they see at ``home`` and begin in.

    ``readable`` are further files and folders that programs may read, at the same paths. ``backend`` is one of
    ``BACKENDS``; ``None`` takes the first that works. The environment of a program is ``environment`` and a few plain
    settings, never ours. Run as root, the programs belong to the user ``nobody``. Runs of one event loop follow one another.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        readable: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        backend: str | None = None,
        home: str = "/scratch",
    ) -> None:
        if re.fullmatch(r"/[a-z][a-z0-9_]{0,30}", home) is None or Path(home).exists() or home in _OURS:
            raise ConfigError(
                f"home {home!r}: expected a folder at the top that this machine does not have, such as '/scratch'."
            )
        if backend is not None and backend not in BACKENDS:
            raise ConfigError(f"sandbox backend {backend!r}; expected one of {', '.join(BACKENDS)}, or None.")
        self.folder = Path(folder)
        self.limits = limits or Limits()
        self._readable, self._links = _visible(readable)
        crowded = any(path.startswith("/tmp/") for path in self._readable)  # noqa: S108
        self._home = home
        self._rooms = [home, "/dev/shm", *(() if crowded else ("/tmp",))]  # noqa: S108
        prefix = os.path.realpath(sys.prefix)
        self._environment = {
            "PATH": f"{prefix}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": home,
            "TMPDIR": self._rooms[-1],
            "LANG": "C.UTF-8",
            "USER": "user",
            **(environment or {}),
        }
        self._wanted = BACKENDS if backend is None else (backend,)
        self._backend: str | None = None
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def backend(self) -> str:
        """Return the backend that is used, found by trying. Raises ``ToolError`` where none works."""
        if self._backend is None:
            reasons = []
            for name in self._wanted:
                try:
                    await self._once(name, ("true",), b"", None, trial=True)
                except ToolError as error:
                    reasons.append(f"{name}: {error}")
                else:
                    self._backend = name
                    break
            else:
                raise ToolError(
                    "programs cannot be run safely on this machine, so they are not run. "
                    f"{' '.join(reasons)} Install bubblewrap (apt-get install bubblewrap) or allow user "
                    "namespaces (sysctl user.max_user_namespaces=10000; in a container, a profile that permits them)."
                )
        return self._backend

    async def run(
        self,
        program: Sequence[str],
        *,
        given: bytes = b"",
        keeping: Callable[[], None] | None = None,
    ) -> Outcome:
        """Run ``program`` (a path or a name, and its arguments) with ``given`` as its standard input.

        ``keeping`` is called after the program has ended by itself, before our folder is changed. Raises ``ToolError`` where no backend works, the program does not exist or the folder is too large.
        """
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = (loop, asyncio.Lock())
        async with self._turn[1]:
            name = await self.backend()
            return await self._once(name, tuple(program), given, keeping)

    async def _once(
        self,
        name: str,
        program: Sequence[str],
        given: bytes,
        keeping: Callable[[], None] | None,
        *,
        trial: bool = False,
    ) -> Outcome:
        if sys.platform != "linux":
            raise ToolError(f"needs Linux, and this is {sys.platform!r}.")
        with ExitStack() as stack:
            listen, status = os.pipe()
            stack.callback(os.close, listen)
            theirs: list[IO[bytes]] = [stack.enter_context(os.fdopen(status, "wb"))]
            alive, held = os.pipe()  # it is over when nobody holds this end any more, whatever became of us
            theirs.append(stack.enter_context(os.fdopen(alive, "rb")))
            ours = stack.enter_context(os.fdopen(held, "wb"))
            files = [stack.enter_context(os.fdopen(os.memfd_create("x"), "w+b")) for _ in range(3)]
            orders, unpacked, packed = files
            if not trial:
                most, entries = self.limits.scratch_bytes, self.limits.entries
                await asyncio.to_thread(pack, self.folder, unpacked, most_bytes=most, most_entries=entries)
            else:
                unpacked.write(bytes(10240))  # an empty tar file
            numbers = {"status": status, "alive": alive, "unpack": unpacked.fileno(), "pack": packed.fileno()}
            orders.write(json.dumps(self._orders(name, program) | numbers).encode())
            for written in (orders, unpacked):
                written.flush()
                written.seek(0)
            line = [sys.executable, "-I", "-S", "-c", _JAIL.read_text(), str(orders.fileno())]
            if name == "bubblewrap":
                line = self._bubblewrap() + line
            try:
                why, output, errors = await talk(
                    line,
                    given=given,
                    time_s=_TRIAL_S if trial else self.limits.time_s,
                    most_bytes=self.limits.output_bytes,
                    passed=(orders.fileno(), *numbers.values()),
                )
            except OSError as error:
                raise ToolError(f"cannot start {line[0]!r}: {error.strerror}.") from None
            finally:
                for file in (*theirs, ours):
                    file.close()
                said = await _said(listen)
            stopped = why or said.get("ended")
            if stopped is not None:
                return Outcome(ended=Ended(stopped), status=None, output=output, errors=errors)
            if "refused" in said:
                raise ToolError(f"{said['refused']}. Nothing was run.")
            if "exit" not in said and "signal" not in said:
                broken = said.get("broken") or errors.decode("utf-8", "replace").strip()[-300:]
                if not trial and "broken" not in said:
                    return Outcome(ended=Ended.KILLED, status=None, output=output, errors=errors)
                raise ToolError(f"the sandbox could not be built: {broken or 'it ended at once'}.")
            left_out: tuple[str, ...] = ()
            if not trial:
                if keeping is not None:
                    keeping()
                packed.seek(0)
                left_out = await asyncio.to_thread(unpack, packed, self.folder)
            code = said["exit"] if "exit" in said else -said["signal"]
            return Outcome(ended=Ended.EXITED, status=code, output=output, errors=errors, left_out=left_out)

    def _orders(self, name: str, program: Sequence[str]) -> dict[str, Any]:
        limits = self.limits
        return {
            "mode": "inside" if name == "bubblewrap" else "namespaces",
            "uid": _INSIDE,
            "nobody": _NOBODY if os.geteuid() == 0 else None,
            "program": list(program),
            "environment": self._environment,
            "readable": self._readable,
            "links": self._links,
            "home": self._home,
            "rooms": self._rooms,
            "scratch_bytes": limits.scratch_bytes,
            "entries": limits.entries,
            "memory_bytes": limits.memory_bytes,
            "limits": {
                "CORE": 0,
                "DATA": limits.memory_bytes,
                "AS": 8 * limits.memory_bytes,
                "FSIZE": limits.scratch_bytes,
                "NOFILE": limits.open_files,
                "NPROC": limits.processes + 1,  # the first process is not the program's
                "MSGQUEUE": 0,
                "MEMLOCK": 0,
                "RTPRIO": 0,
            },
        }

    def _bubblewrap(self) -> list[str]:
        found = shutil.which("bwrap")
        if found is None:
            raise ToolError("the program 'bwrap' is not installed.")
        line = [found, "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--cap-drop", "ALL"]
        line += [f"--unshare-{one}" for one in ("ipc", "pid", "net", "uts", "cgroup")]
        line += ["--hostname", "sandbox"]
        needed = ["SYS_ADMIN", "SETPCAP"]  # until the first process inside has mounted its file systems
        if os.geteuid() == 0:
            needed += ["SETUID", "SETGID"]
        else:
            line += ["--unshare-user", "--uid", str(_INSIDE), "--gid", str(_INSIDE)]
        for one in needed:
            line += ["--cap-add", f"CAP_{one}"]
        for path, target in self._links:
            line += ["--symlink", target, path]
        for path in self._readable:
            for above in reversed(Path(path).parents[:-1]):
                line += ["--dir", str(above)]
            line += ["--ro-bind", path, path]
        line += ["--proc", "/proc", "--dir", "/dev"]
        for device in ("null", "zero", "full", "random", "urandom"):
            line += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        for link, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            line += ["--symlink", f"/proc/self/fd{target}", f"/dev/{link}"]
        for folder in ("/dev/shm", "/tmp", self._home):  # noqa: S108
            line += ["--dir", folder]
        return [*line, "--remount-ro", "/", "--"]


async def _said(listen: int) -> dict[str, Any]:
    """Return what the first process of the sandbox reported, the earliest word of a kind first, when it is gone."""
    data = bytearray()
    loop = asyncio.get_running_loop()
    gone = loop.create_future()

    def hear() -> None:
        chunk = os.read(listen, 65536)
        data.extend(chunk)
        if not chunk and not gone.done():
            gone.set_result(None)

    loop.add_reader(listen, hear)
    try:
        async with asyncio.timeout(_GONE_S):
            await gone
    except TimeoutError:
        raise ToolError(f"a program in the sandbox did not end within {_GONE_S} s of being killed.") from None
    finally:
        loop.remove_reader(listen)
    said: dict[str, Any] = {}
    for line in data.splitlines():
        with suppress(ValueError):
            said = json.loads(line) | said
    return said


def _visible(readable: Sequence[Path]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the paths that a program may read, without those below another one, and links to be made."""
    links = [(path, os.readlink(path)) for path in _SYSTEM if os.path.islink(path)]
    paths = [path for path in (*_SYSTEM, *_SETTINGS) if os.path.exists(path) and not os.path.islink(path)]
    paths += [os.path.realpath(one) for one in (sys.prefix, sys.base_prefix)]
    for one in readable:
        if not one.exists():
            raise ConfigError(f"readable {str(one)!r} does not exist.")
        paths.append(os.path.realpath(one))
    kept: list[str] = []
    for path in sorted(set(paths)):
        if path in ("/", "/proc", "/dev", "/tmp"):  # noqa: S108
            raise ConfigError(
                f"readable {path!r} cannot be shown in a sandbox. Name the folder that is needed."
            )
        if not any(path.startswith(f"{other}/") for other in kept):
            kept.append(path)
    return kept, links
