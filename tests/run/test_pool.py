"""A pool gives exactly one result an item, whatever its workers do; the same for every kind of pool."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.errors import ConfigError
from everystep.run.pool import Failure, Limits, Pool, Processes, Progress, Result, Tasks, ordered

ENDLESS = 3600.0


def square(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


async def square_later(number: int) -> int:
    await asyncio.sleep(0)
    return square(number)


def fated(item: tuple[int, str, str]) -> int:
    """Do what the item says: answer, raise, die or hang, the last two only as often as its file has letters."""
    number, fate, folder = item
    book = Path(folder) / f"{number}"
    with book.open("a") as file:
        file.write("x")
    tries = len(book.read_text())
    if tries > len(fate):
        return number
    match fate[tries - 1]:
        case "k":
            os.kill(os.getpid(), signal.SIGKILL)
        case "e":
            sys.exit(3)
        case "h":
            time.sleep(ENDLESS)
        case "r":
            raise RuntimeError("on purpose")
    return number


def all_of(pool: Pool, work: Callable[..., object], items: list[object]) -> list[Result[object]]:
    return asyncio.run(ordered(pool.each(work, items)))


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def eventually(holds: Callable[[], bool]) -> bool:
    for _ in range(400):
        if holds():
            return True
        time.sleep(0.05)
    return False


POOLS = [Tasks(Limits(workers=3)), Processes(Limits(workers=2))]


@pytest.mark.parametrize("pool", POOLS, ids=["tasks", "processes"])
@pytest.mark.parametrize("work", [square, square_later])
def test_every_item_has_one_result_under_its_number(pool: Pool, work: Callable[[int], object]) -> None:
    found = all_of(pool, work, [3, -1, 4, *range(20)])
    assert [one.index for one in found] == list(range(23))
    assert [one.value for one in found] == [9, None, 16, *(n * n for n in range(20))]
    assert [one.failure for one in found if one.index == 1] == [Failure.RAISED]
    assert found[1].error.startswith("ValueError: -1 is negative")
    assert {one.tries for one in found} == {1}


@pytest.mark.parametrize("pool", POOLS, ids=["tasks", "processes"])
def test_no_items_give_no_results(pool: Pool) -> None:
    assert all_of(pool, square, []) == []


@settings(max_examples=4, deadline=None)
@given(
    fates=st.lists(st.sampled_from(["", "", "k", "e", "kk", "kkk", "ke", "r", "kr"]), max_size=8),
    workers=st.integers(1, 3),
)
def test_no_item_is_lost_and_none_is_there_twice_though_workers_die(
    tmp_path_factory: pytest.TempPathFactory, fates: list[str], workers: int
) -> None:
    folder = str(tmp_path_factory.mktemp("fates"))
    seen: list[Progress] = []
    pool = Processes(Limits(workers=workers, tries=3))
    items = [(number, fate, folder) for number, fate in enumerate(fates)]

    async def run() -> list[Result[int]]:
        return [one async for one in pool.each(fated, items, progress=seen.append)]

    found = asyncio.run(run())
    assert Counter(one.index for one in found) == Counter(range(len(fates)))
    for one in found:
        fate = fates[one.index]
        started = len((Path(folder) / str(one.index)).read_text())
        if fate.endswith("r"):
            assert (one.failure, one.tries, one.value) == (Failure.RAISED, len(fate), None)
        elif len(fate) >= 3:
            assert (one.failure, one.tries, one.value) == (Failure.DIED, 3, None)
        else:
            assert (one.failure, one.tries, one.value) == (None, len(fate) + 1, one.index)
        assert started == one.tries
    if fates:
        last = seen[-1]
        failed = sum(one.failure is not None for one in found)
        assert (last.done, last.failed, last.running) == (len(fates), failed, 0)
        assert last.lost_tries == sum(len(fate.replace("r", "")) for fate in fates)
        assert max(one.running for one in seen) <= workers


def test_a_hanging_process_costs_its_item_only(tmp_path: Path) -> None:
    pool = Processes(Limits(workers=2, tries=2, timeout_s=3.0))
    fates = ["", "hh", "", "", "h"]
    found = all_of(pool, fated, [(n, fate, str(tmp_path)) for n, fate in enumerate(fates)])
    assert [one.value for one in found] == [0, None, 2, 3, 4]
    assert (found[1].failure, found[1].tries) == (Failure.TIMEOUT, 2)
    assert found[4].tries == 2


async def stubborn(number: int) -> int:
    await asyncio.sleep(ENDLESS if number == 1 else 0)
    return number


def stuck(number: int) -> int:
    time.sleep(ENDLESS if number == 1 else 0)
    return number


@pytest.mark.parametrize("work", [stubborn, stuck])
def test_a_task_that_takes_too_long_is_left_behind(work: Callable[[int], object]) -> None:
    found = all_of(Tasks(Limits(workers=2, tries=2, timeout_s=0.5)), work, [0, 1, 2])
    assert [(one.value, one.failure, one.tries) for one in found] == [
        (0, None, 1),
        (None, Failure.TIMEOUT, 2),
        (2, None, 1),
    ]


def test_at_most_so_many_are_in_work_and_items_are_drawn_when_there_is_room() -> None:
    at_work, most, drawn, done = 0, 0, 0, 0

    def items() -> object:
        nonlocal drawn
        for number in range(40):
            drawn += 1
            assert drawn <= done + 2 * 4 + 1
            yield number

    async def work(number: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(random.Random(number).random() / 200)
        at_work -= 1
        return number

    async def run() -> set[int]:
        nonlocal done
        found = set()
        async for one in Tasks(Limits(workers=4)).each(work, items()):  # type: ignore[arg-type]
            done += 1
            found.add(one.index)
        return found

    assert asyncio.run(run()) == set(range(40))
    assert most == 4


def test_results_come_as_they_are_there() -> None:
    async def work(number: int) -> int:
        if number == 0:
            await go.wait()
        return number

    async def run() -> list[int]:
        global go
        go, found = asyncio.Event(), []
        async for one in Tasks(Limits(workers=2)).each(work, range(5)):
            found.append(one.index)
            if len(found) == 4:
                go.set()
        return found

    assert asyncio.run(run()) == [1, 2, 3, 4, 0]


def announce(item: tuple[str, int]) -> None:
    folder, number = item
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({ENDLESS})"])
    (Path(folder) / str(number)).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(ENDLESS)


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_whoever_stops_listening_stops_the_processes_and_what_they_started(tmp_path: Path, how: str) -> None:
    def pids() -> list[int]:
        return [int(pid) for one in tmp_path.iterdir() for pid in one.read_text().split()]

    async def listen() -> None:
        pool = Processes(Limits(workers=2))
        items = [(str(tmp_path), n) for n in range(3)]
        async with aclosing(pool.each(announce, items)) as results:
            coming = asyncio.ensure_future(anext(results))
            try:
                while len(pids()) < 4:
                    await asyncio.sleep(0.05)
            finally:
                coming.cancel()
                await asyncio.wait([coming])

    async def run() -> None:
        listening = asyncio.create_task(listen())
        if how == "cancelled":
            while len(pids()) < 4:
                await asyncio.sleep(0.05)
            listening.cancel()
        await asyncio.wait([listening])

    asyncio.run(run())
    assert len(pids()) >= 4
    assert eventually(lambda: all(gone(pid) for pid in pids()))


def test_what_cannot_be_sent_fails_its_item_and_nothing_else() -> None:
    found = all_of(Processes(Limits(workers=1)), identity, [1, threading.Lock(), 2])
    assert [one.value for one in found] == [1, None, 2]
    assert "cannot be sent to another process" in found[1].error
    found = all_of(Processes(Limits(workers=1)), make_lock, [1])
    assert (found[0].failure, "pickle" in found[0].error) == (Failure.RAISED, True)


def identity(item: object) -> object:
    return item


def make_lock(item: object) -> object:
    return threading.Lock()


def test_a_broken_source_or_listener_ends_the_pool() -> None:
    def items() -> object:
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        all_of(Tasks(), square, items())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"tries": 0}, {"timeout_s": 0.0}, {"start_s": -1.0}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="of a pool is"):
        Limits(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_same_on_a_real_ray_cluster(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    from everystep.run.pool_ray import RayActors

    with pytest.raises(ConfigError, match="no Ray cluster"):
        RayActors().each(square, [1])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    try:
        pool = RayActors(Limits(workers=2, tries=3, timeout_s=60.0))
        assert [one.value for one in all_of(pool, square_later, [2, 3])] == [4, 9]
        fates = ["", "k", "r", "e", "", "kkk", "", "kk"]
        found = all_of(pool, fated, [(n, fate, str(tmp_path)) for n, fate in enumerate(fates)])
        assert [one.index for one in found] == list(range(8))
        assert [one.value for one in found] == [0, 1, None, 3, 4, None, 6, 7]
        assert [one.tries for one in found] == [1, 2, 1, 2, 1, 3, 1, 3]
        assert (found[2].failure, found[5].failure) == (Failure.RAISED, Failure.DIED)
        hanging = RayActors(
            Limits(workers=4, tries=1, timeout_s=5.0)
        )  # more workers than the cluster has room for
        found = all_of(
            hanging, fated, [(n, fate, str(tmp_path)) for n, fate in enumerate(("h", "", ""), start=100)]
        )
        assert [one.failure for one in found] == [Failure.TIMEOUT, None, None]
        assert all_of(pool, identity, [threading.Lock()])[0].failure is Failure.RAISED
    finally:
        ray.shutdown()
