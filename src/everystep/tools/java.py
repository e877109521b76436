"""A Java virtual machine of one's own that runs the classes of a jar, called with py4j: one for all engines of a kind in this process.

It listens on 127.0.0.1 only and answers nobody who does not show the secret that it gave to this process through a pipe; nothing listens here. It ends with that pipe, so also
when this process is killed. What does not answer in time is killed, and a ``WorldError`` says so; who comes next gets another one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import RLock, Thread
from typing import IO, Any, TypeVar

from py4j.java_gateway import GatewayClient, GatewayParameters, JavaGateway, find_jar_path
from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError

from everystep.core.errors import ConfigError, WorldError

T = TypeVar("T")

_START_S = 60.0
_FLAGS = (
    "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+IgnoreUnrecognizedVMOptions",
    # sets of objects are walked through in an order that hangs on this, and what an engine does on that: it must be the same in each machine
    "-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2",
)  # fmt: skip
_FATAL = ("OutOfMemoryError", "StackOverflowError", "NoClassDefFoundError", "ExceptionInInitializerError")
_REMEDY = "Install one (Debian: apt-get install default-jre-headless), or set JAVA_HOME."


@cache
def executable() -> str:
    """Return where ``java`` is: in ``JAVA_HOME``, else on the search path. ``ConfigError`` with the remedy where there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None:
        where = f"in JAVA_HOME ({home!r})" if home else "on the search path"
        raise ConfigError(f"there is no program 'java' {where}. {_REMEDY}")
    return found


@cache
def jar_of(package: str, name: str, install: str) -> Path:
    """Return the path of a package's jar, without importing the package. ``ConfigError`` with the remedy where it is missing."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise ConfigError(f"the package {package!r} with its {name} is not installed. Install it with: {install}")


class _Client(GatewayClient):  # type: ignore[misc]
    """Sends a command once; the package's own client logs a traceback on the root logger and tries again where the machine has ended."""

    def send_command(self, command: str, retry: bool = True, binary: bool = False) -> Any:  # noqa: ARG002
        connection = self._get_connection()
        try:
            answer = connection.send_command(command)
        except BaseException:
            connection.close(False)
            raise
        self._give_back_connection(connection)
        return answer


class Machine:
    """One virtual machine. An answer may take ``timeout_s``, that of a patient object ``patience_s``; ``heap_mb`` bounds its memory."""

    def __init__(
        self, jar: Path, *, timeout_s: float = 60.0, patience_s: float = 600.0, heap_mb: int = 2048
    ) -> None:
        self.lock = RLock()
        self._dropped: deque[Any] = deque()
        self._owner = os.getpid()
        command = [executable(), f"-Xmx{heap_mb}m", *_FLAGS, "-cp", f"{find_jar_path()}{os.pathsep}{jar}"]
        self._process = subprocess.Popen(  # noqa: S603 -- Java with a package's own jar
            [*command, "py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=jar.parent,
            process_group=0,  # Ctrl-C is not for it: a run that is stopped by it closes its worlds itself
        )  # fmt: skip
        try:
            port, secret = self._first_lines(2)
            self._clients = [
                JavaGateway(gateway_client=_Client(gateway_parameters=one), gateway_parameters=one)
                for one in (
                    GatewayParameters(
                        address="127.0.0.1", port=int(port), auth_token=secret, read_timeout=seconds,
                        enable_memory_management=False,  # it would talk to the machine whenever Python collects garbage
                    )
                    for seconds in (timeout_s, patience_s)
                )
            ]  # fmt: skip
        except BaseException:
            self.close()
            raise

    def _first_lines(self, count: int) -> list[str]:
        """Return the first lines that it prints; what comes later is thrown away."""
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 -- it is opened above
        told, end = b"", time.monotonic() + _START_S
        while told.count(b"\n") < count:
            ready = select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]
            data = os.read(pipe.fileno(), 1 << 16) if ready else b""
            if not data:
                why = "ended at once" if ready else f"said nothing for {_START_S:g} s"
                raise WorldError(f"Java {why}. Try: {executable()} -version")
            told += data
        Thread(target=_swallow, args=(pipe,), daemon=True).start()
        return told.decode().splitlines()[:count]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it runs, and was started by this process."""
        return self._owner == os.getpid() and self._process.poll() is None

    def make(self, name: str, *, patient: bool = False) -> Any:
        """Return a new object of the class ``name``."""
        while self._dropped:
            self.call("forgetting", self._clients[0].detach, self._dropped.popleft())
        return self.call(f"making a {name}", lambda: self._named(name, patient)())

    def static(self, name: str, field: str) -> Any:
        """Return what stands in a class's static field: the one object of a Scala ``object`` is ``MODULE$`` of the class with its name and ``$``."""
        return self.call(f"looking into {name}", lambda: getattr(self._named(name, False), field))

    def _named(self, name: str, patient: bool) -> Any:
        found = self._clients[patient].jvm
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def call(self, doing: str, function: Callable[..., T], *arguments: Any) -> T:
        """Return what a function of an object or class gives. ``WorldError`` where it raises; where it does not answer the machine is ended."""
        if not self.usable:
            raise WorldError(f"Java has ended ({doing}). The next episode gets another one.")
        try:
            return function(*arguments)
        except Py4JJavaError as error:
            what = self._raised(error)
            if any(name in what for name in _FATAL):
                self.close()
            raise WorldError(f"the engine failed ({doing}): {what}") from None
        except (Py4JError, OSError) as error:
            self.close()
            silent = isinstance(error, Py4JNetworkError) and isinstance(error.cause, TimeoutError)
            why = "did not answer and was ended" if silent else "ended"
            raise WorldError(f"Java {why} ({doing}). The next episode gets another one.") from None

    @staticmethod
    def _raised(error: Py4JJavaError) -> str:
        try:
            return str(error.java_exception.toString())[:300]
        except (Py4JError, OSError):
            return "an exception of Java"

    def lines(self, doing: str, function: Callable[..., Any], *arguments: Any) -> list[str]:
        """Return a Java list of texts in one answer; the texts have no line breaks."""
        found = self.call(doing, function, *arguments)
        told: str = self.call(doing, lambda: self._named("java.lang.String", False).join("\n", found))
        self.drop(found)
        return told.split("\n") if told else []

    def drop(self, one: Any) -> None:
        """Forget an object that was made or given: its memory there is free when the next one is made. It talks to nobody, so that it can be called at any time."""
        self._dropped.append(one)

    def close(self) -> None:
        """End it. It can be called again; a child of this process ends nothing."""
        if self._owner != os.getpid():
            return
        self._process.kill()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait()


def _swallow(pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError), pipe:
        while os.read(pipe.fileno(), 1 << 16):
            pass


# --- one for all of this process ------------------------------------------------------------------

Kind = tuple[Path, float, int]
"""A jar, how long it may be silent, and the number of its only holder or 0 where it is for all."""
_HOLDERS: dict[Kind, set[int]] = {}
_MACHINES: dict[Kind, Machine] = {}
_GUARD = RLock()  # a holder may let go while Python collects garbage, wherever that happens to be


def hold(kind: Kind, holder: int) -> Machine:
    """Return this process's machine of a kind, a new one where there is none that runs. It runs until every holder has let go."""
    with _GUARD:
        machine = _MACHINES.get(kind)
        if machine is None or not machine.usable:
            machine = _MACHINES[kind] = Machine(kind[0], timeout_s=kind[1])
        _HOLDERS.setdefault(kind, set()).add(holder)
        return machine


def let_go(kind: Kind, holder: int, *, end: bool = True) -> None:
    """Say that ``holder`` needs it no more; the last one ends it, or with ``end`` false leaves it for the next one and the end of this process."""
    with _GUARD:
        holders = _HOLDERS.get(kind, set())
        holders.discard(holder)
        if end and not holders and kind in _MACHINES:
            _MACHINES.pop(kind).close()


def running() -> tuple[int, ...]:
    """Return the process ids of the machines of this process."""
    return tuple(machine.pid for machine in _MACHINES.values() if machine.usable)


@atexit.register
def _end_all() -> None:
    for machine in _MACHINES.values():
        machine.close()
