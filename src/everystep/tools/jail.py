"""The first process of a sandbox: it builds the walls around itself, runs one program, and reports.

This file is run as a script of its own by the interpreter (``python -I -S``), before and inside of the walls, so
it needs the standard library only and imports nothing of Everystep. It reads its orders as JSON from an
inherited file. ``mode`` is ``namespaces`` (make namespaces and a root folder of our own) or ``inside`` (bubblewrap has
made them). Then, in both: small file systems in memory with a size, the scratch folder filled, no
capabilities, limits, a filter of system calls, the program; when it ends, everything that it left behind is
killed and the scratch folder is packed. What it reports goes through a pipe that the program cannot reach.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
_LIBC.syscall.restype = ctypes.c_long

# --- mount(2), unshare(2), prctl(2), linux/capability.h ---------------------------------------------
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_NEW_USER = 0x10000000
_NEW_ALL = _NEW_USER | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
_PDEATHSIG, _DUMPABLE, _SECCOMP, _CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT = 1, 4, 22, 24, 38, 47
_AT_RECURSIVE, _MOUNT_SETATTR = 0x8000, 442
_WATCH_S = 0.05

# --- system calls that a program in here may not make, by machine ----------------------------------
# Mounts, namespaces, other processes' memory, keys, modules; and memory that no limit counts: memfd, System V.
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 447)
_MACHINES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "audit": 0xC000003E,
        "pivot_root": 155,
        "socket": 41,
        "clone": 56,
        "refused": (
            *(
                165,
                166,
                155,
                161,
                272,
                308,
                101,
                310,
                311,
                312,
                248,
                249,
                250,
                321,
                298,
                323,
                319,
                29,
                30,
                64,
                68,
            ),
            *(
                246,
                320,
                175,
                313,
                176,
                303,
                304,
                300,
                179,
                163,
                167,
                168,
                169,
                103,
                135,
                172,
                173,
                134,
                240,
                237,
            ),
            *(238, 256, 279, 164, 227, 159, 305, 153),
        ),
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "pivot_root": 41,
        "socket": 198,
        "clone": 220,
        "refused": (
            *(
                40,
                39,
                41,
                51,
                97,
                268,
                117,
                270,
                271,
                272,
                217,
                218,
                219,
                280,
                241,
                282,
                279,
                194,
                196,
                190,
                186,
            ),
            *(
                104,
                294,
                105,
                273,
                106,
                264,
                265,
                262,
                60,
                89,
                224,
                225,
                142,
                116,
                92,
                180,
                235,
                237,
                238,
                239,
            ),
            *(170, 112, 171, 266, 58),
        ),
    },
}
_CLONE3 = 435
_FAMILIES = (
    1,
    2,
    10,
    16,
)  # unix, inet, inet6, netlink: vsock, for one, would reach past the network namespace


class _Broken(Exception):  # noqa: N818
    """A wall could not be built."""


def main() -> None:
    """Read the orders from the file descriptor in the last argument, and carry them out."""
    with open(int(sys.argv[-1]), "rb") as file:
        orders = json.load(file)
    status = orders["status"]
    for one in (status, orders["pack"], orders["unpack"], orders["alive"]):
        os.set_inheritable(one, False)
    try:
        if orders["mode"] == "namespaces":
            _enter(orders)
        _inside(orders)
    except (_Broken, OSError, KeyError, ValueError, tarfile.TarError) as error:
        _say(status, {"broken": f"{error}"})
        os._exit(125)


# --- walls of our own -------------------------------------------------------------------------------


def _enter(orders: dict[str, Any]) -> None:
    """Become the first process of new namespaces with a root folder that shows only what was ordered."""
    _prctl(_PDEATHSIG, signal.SIGKILL)
    if orders["nobody"] is None:
        _new_user(orders["uid"], _NEW_ALL)
    else:
        _check(_LIBC.unshare(_NEW_ALL & ~_NEW_USER), "make namespaces (unshare)")
    child = os.fork()
    if child:
        _, ended = os.waitpid(child, 0)
        os._exit(0 if ended == 0 else 125)
    _prctl(_PDEATHSIG, signal.SIGKILL)
    _check(_LIBC.sethostname(b"sandbox", 7), "name the host")
    _build_root(orders)


def _new_user(inside: int, flags: int) -> None:
    """Make a user namespace (and others) in which the present user is called ``inside``, and is the only one."""
    uid, gid = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(flags), "make a user namespace (unshare)")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{inside} {uid} 1")
    _write("/proc/self/gid_map", f"{inside} {gid} 1")


def _build_root(orders: dict[str, Any]) -> None:
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")  # noqa: S108
    os.mkdir("/tmp/old")  # noqa: S108
    os.mkdir("/tmp/new")  # noqa: S108
    _pivot("/tmp", "/tmp/old")  # noqa: S108
    os.chdir("/")
    _mount("tmpfs", "/new", "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for path, target in orders["links"]:
        os.symlink(target, f"/new{path}")
    for path in orders["readable"]:
        _show(f"/old{path}", f"/new{path}")
        _lock(f"/new{path}")
    for folder in ("proc", "dev", "dev/shm", "tmp", orders["home"][1:]):
        os.makedirs(f"/new/{folder}", exist_ok=True)
    _mount("proc", "/new/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for name in ("null", "zero", "full", "random", "urandom"):
        _show(f"/old/dev/{name}", f"/new/dev/{name}")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"/new/dev/{name}")
    _check(_LIBC.umount2(b"/old", _DETACH), "let go of the old root")
    os.chdir("/new")
    _pivot(".", ".")
    _check(_LIBC.umount2(b".", _DETACH), "let go of the stage")
    os.chdir("/")
    _mount("tmpfs", "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)


def _show(source: str, target: str) -> None:
    """Bind ``source`` to ``target``, which is made."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "x"):
            pass
    _mount(source, target, None, _BIND | _REC)


def _lock(target: str) -> None:
    """Make a mount and all below it read-only, without devices and set-user-id programs (mount_setattr(2))."""
    attributes = struct.pack("=QQQQ", _RDONLY | _NOSUID | _NODEV, 0, 0, 0)
    at, flags, size = ctypes.c_long(-100), ctypes.c_long(_AT_RECURSIVE), ctypes.c_size_t(len(attributes))
    done = _LIBC.syscall(ctypes.c_long(_MOUNT_SETATTR), at, target.encode(), flags, attributes, size)
    _check(done, f"make {target[4:]} read-only")


# --- inside -----------------------------------------------------------------------------------------


def _inside(orders: dict[str, Any]) -> None:
    room = f"size={orders['scratch_bytes']},nr_inodes={orders['entries']},mode=700"
    nobody = orders["nobody"]
    if nobody is not None:
        room += f",uid={nobody},gid={nobody}"
    for folder in orders["rooms"]:
        _mount("tmpfs", folder, "tmpfs", _NOSUID | _NODEV, room)
    if nobody is not None:  # we are root: stop being it, and count processes for this sandbox alone
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
        os.setresuid(nobody, nobody, nobody)
        _prctl(_DUMPABLE, 1)  # or /proc/self would not be ours
        _new_user(orders["uid"], _NEW_USER)
        _prctl(_PDEATHSIG, signal.SIGKILL)  # a change of user forgets it
    with open(orders["unpack"], "rb") as file, tarfile.open(fileobj=file, mode="r:") as packed:
        packed.extraction_filter = lambda member, _: member  # we packed it; 3.11.0 to 3.11.3 have no filters
        packed.extractall(orders["home"])  # noqa: S202
    os.chdir(orders["home"])
    _drop_capabilities()
    _prctl(_DUMPABLE, 0)  # the program must not read or write this process
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    program = os.fork()
    if program == 0:
        _run(orders)
    for standard in (0, 1, 2):
        os.close(standard)
    ended = _watch(program, orders["memory_bytes"], orders["alive"])
    _kill_all()
    if "ended" not in ended and not _pack(orders["pack"], orders["home"], orders["scratch_bytes"]):
        ended = {"ended": "files"}
    _say(orders["status"], ended)
    os._exit(0)


def _run(orders: dict[str, Any]) -> None:
    """Put on the limits and become the program."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(
                number, signal.SIG_DFL
            )  # Python ignores or catches them, and exec would hand that on
        os.setsid()
        for name, most in orders["limits"].items():
            kind = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(kind)[1]
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (least, least))
        os.closerange(3, orders["status"])
        os.closerange(orders["status"] + 1, 65536)
        _filter()
        os.execvpe(orders["program"][0], orders["program"], orders["environment"])  # noqa: S606
    except OSError as error:
        _say(orders["status"], {"refused": f"cannot run {orders['program'][0]!r}: {error.strerror}"})
    except BaseException as error:
        _say(orders["status"], {"broken": f"{error}"})
    os._exit(125)


def _watch(program: int, memory_bytes: int, alive: int) -> dict[str, int | str]:
    """Wait for the program; end early when its processes hold too much memory, or who gave the orders is gone."""
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, _WATCH_S)
        while True:
            try:
                one, how = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if one == 0:
                break
            if one == program:
                return {"signal": os.WTERMSIG(how)} if os.WIFSIGNALED(how) else {"exit": os.WEXITSTATUS(how)}
        if _held() > memory_bytes:
            return {"ended": "memory"}
        if select.select([alive], [], [], 0)[0]:  # the other end was closed
            return {"ended": "killed"}


def _held() -> int:
    """Return the bytes of memory that all processes in here but this one hold, files not counted."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                with open(f"/proc/{name}/status", "rb") as file:
                    lines = file.read().split(b"\n")
            except OSError:
                continue  # it has ended
            total += sum(
                int(line.split()[1]) for line in lines if line.startswith((b"RssAnon:", b"RssShmem:"))
            )
    return total * 1024


def _kill_all() -> None:
    while True:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        try:
            while os.waitpid(-1, 0):
                pass
        except ChildProcessError:
            return


def _pack(target: int, home: str, most_bytes: int) -> bool:
    """Write the scratch folder as a tar file; ``False`` where it says to be larger than its room, or nests too deep."""
    total = 0
    try:
        with open(target, "wb") as file, tarfile.open(fileobj=file, mode="w:") as packed:
            for path, is_folder in _walk(home):
                info = packed.gettarinfo(path, arcname=os.path.relpath(path, home))
                if is_folder or info is None or info.issym():
                    if info is not None:
                        packed.addfile(info)
                    continue
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    continue
                os.chmod(path, 0o700 if info.mode & 0o100 else 0o600)
                with open(path, "rb") as source:
                    info.type, info.linkname, info.size = (
                        tarfile.REGTYPE,
                        "",
                        os.fstat(source.fileno()).st_size,
                    )
                    total += info.size
                    if total > most_bytes:  # holes and hard links count as what they stand for
                        return False
                    packed.addfile(info, source)
    except (OSError, tarfile.TarError, ValueError):
        return False
    return True


def _walk(top: str) -> Iterator[tuple[str, bool]]:
    """Yield all paths below ``top`` and whether they are folders, a folder before what is in it."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        os.chmod(folder, 0o700)  # the program may have shut it
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            is_folder = entry.is_dir(follow_symlinks=False)
            yield entry.path, is_folder
            if is_folder:
                waiting.append(entry.path)


def _drop_capabilities() -> None:
    for capability in range(64):
        _LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one that this kernel has
    _prctl(_CAP_AMBIENT, 4)  # clear all
    header = struct.pack("=Ii", 0x20080522, 0)
    _check(_LIBC.capset(header, bytes(24)), "drop capabilities")
    _prctl(_NO_NEW_PRIVS, 1)


# --- the filter of system calls: linux/filter.h, linux/seccomp.h --------------------------------------


def _filter() -> None:
    program = _bpf(os.uname().machine)
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    kept = ctypes.create_string_buffer(head, len(head))
    _check(_LIBC.prctl(_SECCOMP, 2, ctypes.addressof(kept), 0, 0), "filter system calls")


def _bpf(machine: str) -> bytes:
    """Return the filter as classic BPF: refused calls give EPERM, ``clone3`` ENOSYS so that libc uses ``clone``."""
    if machine not in _MACHINES:
        raise _Broken(f"no filter of system calls for {machine!r} machines; known: {', '.join(_MACHINES)}")
    numbers = _MACHINES[machine]
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse = 0x7FFF0000, 0x80000000, 0x00050000
    code = [(load, 0, 0, 4), (equal, 1, 0, numbers["audit"]), (give, 0, 0, kill), (load, 0, 0, 0)]
    code += [(at_least, 0, 1, 0x40000000), (give, 0, 0, refuse | errno.EPERM)]
    code += [(equal, 0, 1, _CLONE3), (give, 0, 0, refuse | errno.ENOSYS)]
    for number in (*numbers["refused"], *_EVERYWHERE):
        code += [(equal, 0, 1, number), (give, 0, 0, refuse | errno.EPERM)]
    code += [(equal, 0, 4, numbers["clone"]), (load, 0, 0, 16)]
    code += [(any_bit, 0, 1, _NEW_ALL), (give, 0, 0, refuse | errno.EPERM), (give, 0, 0, allow)]
    code += [(equal, 0, 2 + len(_FAMILIES), numbers["socket"]), (load, 0, 0, 16)]
    code += [(equal, len(_FAMILIES) - at, 0, family) for at, family in enumerate(_FAMILIES)]
    code += [(give, 0, 0, refuse | errno.EAFNOSUPPORT), (give, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *line) for line in code)


# --- calls into libc ----------------------------------------------------------------------------------


def _check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise _Broken(f"cannot {what}: {errno.errorcode.get(number, number)} ({os.strerror(number)})")


def _prctl(option: int, value: int) -> None:
    _check(_LIBC.prctl(option, value, 0, 0, 0), f"set process control {option}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    done = _LIBC.mount(
        source.encode(),
        target.encode(),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _check(done, f"mount {source} at {target}")


def _pivot(new: str, old: str) -> None:
    number = _MACHINES.get(os.uname().machine, {}).get("pivot_root")
    if number is None:
        raise _Broken(f"{os.uname().machine!r} machines are not known")
    _check(_LIBC.syscall(ctypes.c_long(number), new.encode(), old.encode()), "change the root folder")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _say(status: int, what: dict[str, Any]) -> None:
    os.write(status, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
