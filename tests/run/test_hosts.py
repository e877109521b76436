"""Hosts: a killed, hung or broken worker costs its own episodes and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.protocols import Sampling
from everystep.core.records import End, Observation, Step, Trajectory
from everystep.models.scripted import Scripted
from everystep.run.hosts import Acted, Hosts, LocalHosts, WorkerHosts
from everystep.run.rollout import Job, Limits, rollout
from fragile import Fragile, task


def play(hosts: Hosts, scripts: dict[str, list[str]], **options: object) -> list[Trajectory]:
    jobs = [Job(id=name, task=task(name), group="g") for name in scripts]
    return rollout(hosts, Scripted(scripts), jobs, sampling=Sampling(), limits=Limits(max_steps=9), **options)  # type: ignore[arg-type]


FINE = {f"f{n}": ["a", "b", "win"] for n in range(4)}


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerHosts]:
    hosts = WorkerHosts(Fragile(), workers=2, timeout_s=1.0)
    yield hosts
    hosts.close()


def check_fine(hosts: WorkerHosts) -> None:
    assert play(hosts, FINE) == play(LocalHosts(Fragile()), FINE)
    assert not any(worker.slots for worker in hosts._workers)
    assert not hosts._of


def test_workers_do_what_this_process_does(workers: WorkerHosts) -> None:
    scripts = {"win": ["a", "win"], "raise": ["a", "raise"], "parse": ["garble"], "bad": ["bad", "lose"]}
    assert play(workers, scripts) == play(LocalHosts(Fragile()), scripts)
    check_fine(workers)


def test_a_killed_worker_costs_its_episodes_only(workers: WorkerHosts) -> None:
    victim, lost = workers.processes[0], workers.lost

    def kill(job: Job, step: Step) -> None:
        if step.id == "f0/1":
            os.kill(victim, signal.SIGKILL)

    ends = [one.end for one in play(workers, FINE, on_step=kill)]
    assert sorted(ends) == [End.DONE, End.DONE, End.ERROR, End.ERROR]
    assert workers.lost == lost + 1
    assert victim not in workers.processes
    check_fine(workers)


@pytest.mark.parametrize("word", ["die", "hang"])
def test_a_worker_that_dies_or_hangs_in_an_action_is_replaced(workers: WorkerHosts, word: str) -> None:
    done = play(workers, {"p": ["a", "win"], "q": ["a", word], "r": ["a", "win"], "s": ["a", "b", "win"]})
    by_name = {one.id: one for one in done}
    assert by_name["q"].end is End.ERROR
    assert ("was silent" if word == "hang" else "died") in (by_name["q"].error or "")
    assert by_name["p"].end is End.DONE  # it lives in the other worker
    check_fine(workers)


def test_a_broken_start_occupies_no_worker(workers: WorkerHosts) -> None:
    jobs = [Job(id=f"b{n}", task=task(f"b{n}", broken=True), group="g") for n in range(3)]
    done = rollout(workers, Scripted(["a"]), jobs, sampling=Sampling(), limits=Limits(max_steps=2))
    assert [one.end for one in done] == [End.ERROR] * 3
    check_fine(workers)


def test_snapshots_cross_processes(workers: WorkerHosts) -> None:
    workers.start([("s", task("s"))])
    workers.act([("s", "a")])
    state = workers.snapshot("s")
    workers.act([("s", "b")])
    assert workers.restore("s", state).text == "s a"
    acted = workers.act([("s", "c")])[0]
    assert isinstance(acted, Acted)
    assert acted.transition.observation.text == "s a c"
    assert workers.restore("other", state).text == "s a"
    workers.stop(["s", "other", "never"])
    with pytest.raises(WorldError):
        workers.snapshot("s")


def test_unknown_and_doubled_slots_answer_errors_in_both_kinds(workers: WorkerHosts) -> None:
    for hosts in (LocalHosts(Fragile()), workers):
        assert isinstance(hosts.act([("nobody", "a")])[0], WorldError)
        assert isinstance(hosts.oracle(["nobody"])[0], WorldError)
        assert isinstance(hosts.start([("d", task("d"))])[0], Observation)
        assert isinstance(hosts.start([("d", task("d"))])[0], WorldError)
        assert isinstance(hosts.oracle(["d"])[0], WorldError)  # this world has none
        hosts.stop(["d"])


def test_environments_are_used_again_and_closed() -> None:
    hosts = LocalHosts(Fragile())
    hosts.start([("x", task("x"))])
    first = hosts._live["x"]
    hosts.stop(["x"])
    hosts.start([("y", task("y"))])
    assert hosts._live["y"] is first
    hosts.act([("y", "raise")])
    assert first.closed  # type: ignore[attr-defined]
    hosts.start([("z", task("z"))])
    assert hosts._live["z"] is not first
    hosts.close()


def test_closing_ends_the_processes() -> None:
    hosts = WorkerHosts(Fragile(), workers=1)
    hosts.start([("x", task("x"))])
    process = hosts._workers[0].process
    hosts.close()
    process.join(5)
    assert not process.is_alive()
    with pytest.raises(ConfigError):
        WorkerHosts(Fragile(), workers=0)
