"""What a hostile program in the sandbox can and cannot do, with each backend that this machine has."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from everystep.core.errors import ConfigError, ToolError
from everystep.tools.sandbox import BACKENDS, Ended, Limits, Outcome, Sandbox

SMALL = Limits(
    time_s=8, memory_bytes=128 << 20, processes=12, scratch_bytes=4 << 20, entries=200, output_bytes=50_000
)


BEST = "bubblewrap" if shutil.which("bwrap") else "namespaces"
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in BACKENDS if name != BEST]


@pytest.fixture(params=[BEST, *OTHERS], scope="module")
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    sandbox = Sandbox(tmp_path_factory.mktemp("probe"), backend=request.param)
    try:
        return asyncio.run(sandbox.backend())
    except ToolError as error:
        pytest.skip(str(error))


def run(
    backend: str, folder: Path, *program: str, limits: Limits = SMALL, given: bytes = b"", **more: object
) -> Outcome:
    sandbox = Sandbox(folder, limits=limits, backend=backend, **more)  # type: ignore[arg-type]
    return asyncio.run(sandbox.run(program, given=given))


def python(backend: str, folder: Path, code: str, **more: object) -> Outcome:
    return run(backend, folder, "python", "-I", "-c", textwrap.dedent(code), **more)  # type: ignore[arg-type]


def test_a_program_gets_its_input_and_gives_output_status_and_files(backend: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("seven")
    outcome = run(
        backend, tmp_path, "sh", "-c", "cat; cat in.txt; mkdir d; echo x > d/out; exit 3", given=b"up "
    )
    assert (outcome.ended, outcome.status, outcome.output) == (Ended.EXITED, 3, b"up seven")
    assert (tmp_path / "d" / "out").read_text() == "x\n"
    outcome = run(backend, tmp_path, "sh", "-c", "cat d/out; rm -r d in.txt; kill -9 $$")
    assert (outcome.status, outcome.output) == (-9, b"x\n")
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_does_not_exist_is_an_error_that_names_it(backend: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot run 'no-such-program'"):
        run(backend, tmp_path, "no-such-program")


def test_our_files_are_not_there(backend: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("planted")
    outcome = python(
        backend,
        tmp_path / "scratch",
        f"""
        import os
        for path in ("/etc/shadow", "/etc/passwd", {str(secret)!r}, {str(Path.home() / ".bashrc")!r}, {__file__!r},
                     "/proc/1/root/etc/shadow", "/proc/1/environ", "/proc/1/mem", "/sys/kernel", "/run", "/var", "/dev/vda",
                     "/proc/self/cwd/../../../etc/shadow"):
            try:
                os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(10)
                print("READ", path)
            except OSError:
                pass
        print(sorted(os.listdir("/home")) if os.path.exists("/home") else "no home")
        """,
    )
    assert outcome.output == b"no home\n", outcome


def test_our_environment_is_not_there(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "sk-planted-1234")
    outcome = run(
        backend,
        tmp_path,
        "sh",
        "-c",
        "env; cat /proc/1/environ /proc/[0-9]*/cmdline",
        environment={"GIVEN": "yes"},
    )
    assert b"planted-1234" not in outcome.output + outcome.errors
    assert b"GIVEN=yes" in outcome.output


def test_there_is_no_network_not_even_our_own(backend: str, tmp_path: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0everystep-{os.getpid()}")
    abstract.listen()
    outcome = python(
        backend,
        tmp_path,
        f"""
        import socket
        def tried(what, function):
            try:
                function()
                print("REACHED", what)
            except OSError as error:
                pass
        tried("loopback", lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2))
        tried("outside", lambda: socket.create_connection(("1.1.1.1", 53), 2))
        tried("name", lambda: socket.getaddrinfo("pypi.org", 443))
        tried("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\\0everystep-{os.getpid()}"))
        tried("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
        tried("packet", lambda: socket.socket(17, socket.SOCK_RAW))
        print(sorted(name for _, name in socket.if_nameindex()))
        """,
    )
    server.close()
    abstract.close()
    assert outcome.output == b"['lo']\n", outcome


CROWDED = any(prefix.startswith("/tmp/") for prefix in (sys.prefix, sys.base_prefix))  # noqa: S108
"""Where Python itself lives below /tmp, that folder is not a room of its own in the sandbox."""
ROOMS = () if CROWDED else ("/tmp/x",)  # noqa: S108


def test_nothing_can_be_written_but_the_scratch_folder(backend: str, tmp_path: Path) -> None:
    outcome = python(
        backend,
        tmp_path / "scratch",
        f"""
        import os
        for path in ("/x", "/usr/x", "/usr/bin/python3", "/etc/x", "/dev/x", "/proc/sys/kernel/hostname", "/root/x",
                     {sys.prefix!r} + "/x", {str(tmp_path / "x")!r}, "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"):
            try:
                open(path, "ab").close()
                print("WROTE", path)
            except OSError:
                pass
        for path in ("/scratch/x", *{ROOMS!r}, "/dev/shm/x", "/dev/null"):
            open(path, "ab").close()
        """,
    )
    assert outcome.output == b"", outcome
    assert outcome.ok
    assert sorted(one.name for one in (tmp_path / "scratch").iterdir()) == ["x"]


def test_the_walls_cannot_be_taken_down_from_inside(backend: str, tmp_path: Path) -> None:
    outcome = python(
        backend,
        tmp_path,
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def tried(what, result):
            if result != -1:
                print("DONE", what, result)
        tried("unshare user", libc.unshare(0x10000000))
        tried("unshare mount", libc.unshare(0x00020000))
        tried("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
        tried("remount", libc.mount(b"none", b"/usr", None, 32 | 4096, None))
        tried("umount", libc.umount2(b"/usr", 2))
        tried("chroot", libc.chroot(b"/scratch"))
        tried("ptrace", libc.ptrace(16, 1, 0, 0))
        tried("setuid", libc.setuid(0))
        tried("memfd", libc.memfd_create(b"x", 0))
        tried("shm", libc.shmget(1, 4096, 0o1600))
        tried("clone user", libc.syscall(56 if os.uname().machine == "x86_64" else 220, 0x10000011, 0, 0, 0, 0))
        tried("keys", libc.syscall(250 if os.uname().machine == "x86_64" else 219, 0, -3, 1))
        for path, mode in (("/proc/1/mem", "r+b"), ("/proc/1/fd", None), ("/proc/1/root", None)):
            try:
                open(path, mode) if mode else os.listdir(path)
                print("OPENED", path)
            except OSError:
                pass
        """,
    )
    assert (outcome.output, outcome.status) == (b"", 0), outcome


def test_signals_do_not_reach_us(backend: str, tmp_path: Path) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    try:
        outcome = python(
            backend,
            tmp_path,
            f"""
            import os, signal
            for pid in ({os.getpid()}, {os.getppid()}):
                try:
                    os.kill(pid, signal.SIGUSR1)
                    print("SENT", pid)
                except OSError:
                    pass
            os.kill(1, signal.SIGKILL)  # the first process of the sandbox does not hear it from inside
            os.kill(1, signal.SIGSTOP)
            print(os.getppid())
            """,
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (got, outcome.output) == ([], b"1\n"), outcome


def test_a_fork_bomb_stays_small(backend: str, tmp_path: Path) -> None:
    limits = Limits(time_s=1, processes=12)
    outcome = run(backend, tmp_path, "sh", "-c", "f() { f | f & }; f; sleep 60", limits=limits)
    assert outcome.ended in (Ended.TIME, Ended.EXITED)
    outcome = python(
        backend,
        tmp_path,
        """
        import os, time
        made = 0
        try:
            while made < 1000:
                if os.fork() == 0:
                    time.sleep(60)
                made += 1
        except BlockingIOError:
            print("most", made)
        """,
    )
    assert outcome.output == b"most 11\n", outcome


def test_a_memory_bomb_is_stopped(backend: str, tmp_path: Path) -> None:
    alone = python(backend, tmp_path, "x = bytearray(10**9)")
    assert b"MemoryError" in alone.errors
    together = python(
        backend,
        tmp_path,
        """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                x = bytearray(os.urandom(1 << 20)) * 60
                time.sleep(60)
        time.sleep(60)
        """,
    )
    assert (together.ended, together.status) == (Ended.MEMORY, None)
    shared = python(
        backend,
        tmp_path,
        """
        import mmap, time
        kept = [mmap.mmap(-1, 50 << 20) for _ in range(8)]
        for one in kept:
            one.write(bytes(50 << 20))
        time.sleep(60)
        """,
    )
    assert shared.ended is Ended.MEMORY


def test_endless_output_is_cut(backend: str, tmp_path: Path) -> None:
    outcome = run(backend, tmp_path, "yes")
    assert outcome.ended is Ended.OUTPUT
    assert len(outcome.output) == SMALL.output_bytes
    outcome = run(backend, tmp_path, "sh", "-c", "yes >&2")
    assert (outcome.ended, len(outcome.errors)) == (Ended.OUTPUT, SMALL.output_bytes)


def test_what_hangs_is_stopped_and_leaves_our_folder_as_it_was(backend: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("as it was")
    outcome = run(backend, tmp_path, "sh", "-c", "echo changed > kept; sleep 100", limits=Limits(time_s=1))
    assert (outcome.ended, outcome.status) == (Ended.TIME, None)
    assert (tmp_path / "kept").read_text() == "as it was"


def test_no_daemon_survives(backend: str, tmp_path: Path) -> None:
    mark = f"everystep_{os.urandom(6).hex()}"
    outcome = run(
        backend, tmp_path, "sh", "-c", f"(setsid sh -c 'sleep 300 #{mark}' >/dev/null 2>&1 &) ; echo gone"
    )
    assert outcome.output == b"gone\n"
    assert not _running(mark)


def test_a_cancelled_run_leaves_nothing_behind(backend: str, tmp_path: Path) -> None:
    mark = f"everystep_{os.urandom(6).hex()}"

    async def cancelled() -> None:
        sandbox = Sandbox(tmp_path, backend=backend)
        await sandbox.backend()
        running = asyncio.create_task(sandbox.run(("sh", "-c", f"setsid sleep 300 & sleep 300 #{mark}")))
        while not _running(mark):
            await asyncio.sleep(0.02)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for _ in range(200):
            if not _running(mark):
                return
            await asyncio.sleep(0.02)

    asyncio.run(cancelled())
    assert not _running(mark)


def test_a_full_scratch_folder_is_full_also_when_files_are_unlinked(backend: str, tmp_path: Path) -> None:
    outcome = python(
        backend,
        tmp_path,
        """
        import os
        written = 0
        kept = []
        try:
            for number in range(50):
                kept.append(open(f"{number}", "wb", buffering=0))
                os.unlink(f"{number}")
                written += kept[-1].write(bytes(1 << 20))
                written += kept[-1].write(bytes(1 << 20))
        except OSError as error:
            print(error.strerror, written <= 4 << 20)
        """,
    )
    assert outcome.output in (b"No space left on device True\n", b"File too large True\n"), outcome
    outcome = python(
        backend,
        tmp_path,
        """
        made = 0
        try:
            while True:
                open(f"f{made}", "w").close()
                made += 1
        except OSError as error:
            print(error.strerror, made < 200)
        """,
    )
    assert outcome.output == b"No space left on device True\n"


def test_holes_and_depth_do_not_blow_up_what_comes_back(backend: str, tmp_path: Path) -> None:
    holes = python(
        backend, tmp_path, "import os\nfor n in '12345': open(n, 'w').close(), os.truncate(n, 4 << 20)"
    )
    assert (holes.ended, list(tmp_path.iterdir())) == (Ended.FILES, [])
    deep = python(
        backend,
        tmp_path,
        """
        import os
        for _ in range(150):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        """,
    )
    assert (deep.ended, list(tmp_path.iterdir())) == (Ended.FILES, [])


def test_links_pipes_and_shut_folders_in_the_scratch_folder(backend: str, tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    outside = tmp_path / "outside"
    outside.mkdir()
    outcome = run(
        backend,
        folder,
        "sh",
        "-c",
        f"ln -s /etc/passwd a; ln -s ../outside b; ln -s . c; ln -s c/.. d; mkfifo e; ln -s {outside} f; "
        "mkdir g; echo in > g/h; ln -s ../g/h g/i; chmod 000 g/h g; ln g/h j 2>/dev/null; printf x > k; ln k l; "
        "python3 -c \"open(b'm\\\\xff\\\\n', 'w')\"",
    )
    assert outcome.ended is Ended.EXITED
    assert set(outcome.left_out) == {"a", "b", "d", "f"}
    found = {one.relative_to(folder).as_posix() for one in folder.rglob("*")}
    assert found == {"c", "g", "g/h", "g/i", "k", "l", "m\udcff\n"}
    assert (folder / "g" / "i").read_text() == "in\n"
    again = run(backend, folder, "sh", "-c", "cat g/i; find . -maxdepth 1 | tr -d -c . | wc -c")
    assert again.output == b"in\n6\n", again
    # A link of ours is not followed, on the way in or out.
    (folder / "k").unlink()
    (folder / "k").symlink_to(outside)
    run(backend, folder, "sh", "-c", "mkdir k && echo x > k/planted")
    assert list(outside.iterdir()) == []
    assert (folder / "k" / "planted").read_text() == "x\n"


def test_a_folder_that_is_too_large_is_refused(backend: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(5 << 20))
    with pytest.raises(ToolError, match="holds more than 4194304 bytes"):
        run(backend, tmp_path, "true")


def test_named_folders_can_be_read(backend: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "table").write_text("1")
    outcome = run(
        backend, tmp_path / "scratch", "sh", "-c", f"cat {data}/table; echo 2 > {data}/table", readable=[data]
    )
    assert outcome.output == b"1"
    assert (data / "table").read_text() == "1"


def test_two_sandboxes_run_side_by_side_and_do_not_see_each_other(backend: str, tmp_path: Path) -> None:
    async def both() -> list[Outcome]:
        one, two = (Sandbox(tmp_path / name, backend=backend) for name in ("one", "two"))
        code = "echo x > mine; sleep 0.3; ls /scratch /dev/shm; ls -d /proc/[0-9]* | wc -l"
        return await asyncio.gather(*(box.run(("sh", "-c", code)) for box in (one, two)))

    for outcome in asyncio.run(both()):
        *files, processes = outcome.output.split()
        assert sorted(files) == [b"/dev/shm:", b"/scratch:", b"mine"], outcome
        assert int(processes) <= 4  # the first one, the shell, ls and wc


def test_it_works_from_a_thread_that_has_its_own_loop(backend: str, tmp_path: Path) -> None:
    got: list[Outcome] = []
    thread = threading.Thread(target=lambda: got.append(run(backend, tmp_path, "echo", "yes")))
    thread.start()
    thread.join()
    assert got[0].output == b"yes\n"


def test_where_no_wall_can_be_built_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError, match=r"not run.*'bwrap' is not installed.*Install bubblewrap"):
        asyncio.run(Sandbox(tmp_path, backend="bubblewrap").run(("touch", "made")))
    assert list(tmp_path.iterdir()) == []


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of"):
        Sandbox(tmp_path, backend="none")
    with pytest.raises(ConfigError, match="more than 0"):
        Limits(time_s=0)
    with pytest.raises(ConfigError, match="cannot be shown"):
        Sandbox(tmp_path, readable=[Path("/")])
    with pytest.raises(ConfigError, match="does not exist"):
        Sandbox(tmp_path, readable=[tmp_path / "nothing"])


def _running(mark: str) -> bool:
    for one in Path("/proc").iterdir():
        try:
            if one.name.isdigit() and mark.encode() in (one / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def test_when_we_are_killed_the_sandbox_dies_too(backend: str, tmp_path: Path) -> None:
    mark = f"everystep_{os.urandom(6).hex()}"
    code = f"""
        import asyncio
        from pathlib import Path
        from everystep.tools.sandbox import Sandbox
        box = Sandbox(Path({str(tmp_path)!r}), backend={backend!r})
        asyncio.run(box.run(("sh", "-c", "setsid sleep 300 & sleep 300 #{mark}")))
    """
    ours = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    while not _running(f"300 #{mark}"):
        assert ours.poll() is None
        time.sleep(0.02)
    ours.kill()
    ours.wait()
    for _ in range(200):
        if not _running(mark):
            return
        time.sleep(0.02)
    pytest.fail("it lives on")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_an_ordinary_user_has_the_same_walls(backend: str) -> None:
    python3 = "/usr/bin/python3"
    told = subprocess.run(
        [python3, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True
    )
    if told.stdout != b"True\n":
        pytest.skip("an ordinary user has no Python 3.11 here")
    ours = Path(__file__).parents[2] / "src"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ours, folder / "src", ignore=shutil.ignore_patterns("__pycache__", "data", "assets"))
        code = f"""
            import asyncio
            from pathlib import Path
            from everystep.tools.sandbox import Limits, Sandbox
            box = Sandbox(Path({name!r}) / "w" / "s", backend={backend!r}, limits=Limits(processes=9))
            text = "id -u; cat /etc/shadow {name}/src; mkdir a; echo x > a/b; " + \\
                "python3 -c 'import os\\nn = 0\\ntry:\\n  while os.fork(): n += 1\\n  os._exit(0)\\nexcept OSError: print(n)'"
            print(asyncio.run(box.run(("sh", "-s"), given=text.encode())).output.split())
        """
        (folder / "w").mkdir()
        for one in (folder, *folder.rglob("*")):
            one.chmod(0o755)
        os.chown(folder / "w", 12345, 12345)
        done = subprocess.run(
            [python3, "-c", textwrap.dedent(code)],
            env={"PYTHONPATH": f"{name}/src", "PATH": os.environ["PATH"]},
            user=12345,
            group=12345,
            extra_groups=(),
            capture_output=True,
            text=True,
        )
        assert done.stdout.startswith("[b'1000', b'"), done.stderr
        assert int(done.stdout.split("'")[3]) < 9
        assert (folder / "w" / "s" / "a" / "b").stat().st_uid == 12345


def test_the_scratch_folder_is_seen_where_one_says(tmp_path: Path, backend: str) -> None:
    box = Sandbox(tmp_path, home="/testbed", backend=backend)
    outcome = asyncio.run(
        box.run(("sh", "-c", "pwd; echo x > /testbed/made; find /testbed -type f; echo $HOME"))
    )
    assert outcome.output.decode().split() == ["/testbed", "/testbed/made", "/testbed"]
    assert (tmp_path / "made").read_text() == "x\n"
    for wrong in ("/usr", "/dev", "scratch", "/a/b", "/../x"):
        with pytest.raises(ConfigError, match="home"):
            Sandbox(tmp_path, home=wrong)
