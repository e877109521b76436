"""Rolling out: order, seeds, prefixes, ends, and episodes that break without taking others down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from everystep.core.budget import Budget
from everystep.core.errors import ConfigError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Generation, Request, Sampling, Turn
from everystep.core.records import End, Step, Stop, Trajectory
from everystep.environments.places.keydoor import KeyDoor
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.scripted import Scripted
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout, rollout_async
from fragile import Fragile, task

WORLD = KeyDoor(side=3, horizon=6)
SAMPLING, LIMITS = Sampling(max_tokens=4), Limits(max_steps=6)


def play(scripts: dict[str, list[str]], *, limits: Limits = LIMITS, **options: object) -> list[Trajectory]:
    hosts = LocalHosts(Fragile())
    jobs = [Job(id=name, task=task(name, broken=script == ["broken"]), group="g") for name, script in scripts.items()]  # fmt: skip
    return rollout(hosts, Scripted(scripts), jobs, sampling=SAMPLING, limits=limits, **options)  # type: ignore[arg-type]


def sampled(model: LocalModel, jobs: Sequence[Job], **options: object) -> list[Trajectory]:
    return rollout(LocalHosts(WORLD), LocalSampler(model), jobs, sampling=SAMPLING, limits=LIMITS, **options)  # type: ignore[arg-type]


def told(trajectories: Sequence[Trajectory]) -> list[tuple[object, ...]]:
    """What must not depend on what else ran: everything but log-probabilities, which carry float noise."""
    return [
        (one.id, one.end, one.outcome, [(s.id, s.parent, s.observation, s.action, s.reward, s.tokens and s.tokens.ids) for s in one.steps])
        for one in trajectories
    ]  # fmt: skip


@pytest.fixture
def jobs() -> list[Job]:
    return jobs_of([WORLD.task("train", n) for n in range(4)], group_size=3, prefix="x", seed=5)


# --- order and seeds -----------------------------------------------------------------------------


def test_results_come_in_job_order_whatever_ends_first() -> None:
    scripts = {f"j{n}": ["a"] * (5 - n) + ["win"] for n in range(6)}
    for slots in (1, 2, 100):
        done = play(scripts, slots=slots)
        assert [one.id for one in done] == list(scripts)
        assert [len(one.steps) for one in done] == [6, 5, 4, 3, 2, 1]


def test_an_episode_depends_on_its_job_only(model: LocalModel, jobs: list[Job]) -> None:
    whole = told(sampled(model, jobs))
    assert told(sampled(model, jobs, slots=2)) == whole
    assert told(sampled(model, jobs[::-1]))[::-1] == whole
    assert told(sampled(model, jobs[5:6])) == whole[5:6]
    assert len({str([step[3] for step in one[3]]) for one in whole[:3]}) > 1  # samples of a group differ


def test_other_seeds_give_other_episodes(model: LocalModel, jobs: list[Job]) -> None:
    assert told(sampled(model, [replace(job, seed=job.seed + 1) for job in jobs])) != told(
        sampled(model, jobs)
    )


def test_seeds_follow_task_and_sample_and_never_repeat() -> None:
    tasks = [WORLD.task("train", n) for n in (0, 1)]
    seeds = [job.seed for job in jobs_of(tasks, group_size=2, prefix="x", seed=0)]
    assert seeds == [job.seed for job in jobs_of(tasks, group_size=2, prefix="y", seed=0)]
    assert seeds[2:] == [job.seed for job in jobs_of(tasks[1:], group_size=2, prefix="z", seed=0)]
    again = jobs_of([tasks[0]] * 3, group_size=2, prefix="x", seed=0)
    assert len({job.seed for job in again}) == 6  # a task that comes again is not the same episode again


def test_the_instruction_is_said_once() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> str:
        asked.append(request)
        return "a" if len(asked) < 3 else "win"

    rollout(LocalHosts(Fragile()), Scripted(answer), [Job(id="j", task=task("t"), group="g")], sampling=SAMPLING, limits=LIMITS)  # fmt: skip
    texts = [[message.content for message in request.messages] for request in asked]
    assert texts == [["obey\nt"], ["t a"], ["t a a"]]
    assert all(request.allowed == ("a", "b", "c") for request in asked)


# --- ends ----------------------------------------------------------------------------------------


def test_every_end_is_its_own_value() -> None:
    done = play(
        {
            "win": ["a", "win"],
            "lose": ["lose"],
            "over": ["over"],
            "cut": ["a", "cut"],
            "long": ["a"] * 9,
            "mute": ["a"],
        }
    )
    found = {one.id: (one.end, one.outcome, one.success) for one in done}
    assert found == {
        "win": (End.DONE, 3.0, True),
        "lose": (End.FAILED, 0.0, False),
        "over": (End.DONE, 0.5, None),
        "cut": (End.TRUNCATED, 2.0, None),
        "long": (End.TRUNCATED, 6.0, None),
        "mute": (End.ERROR, None, None),
    }
    assert "asked for one more" in (done[-1].error or "")


def test_invalid_actions_in_a_row_end_an_episode() -> None:
    limits = Limits(max_steps=9, invalid=2)
    done = play({"row": ["bad", "a", "bad", "bad", "a"], "mixed": ["bad", "a", "bad", "win"]}, limits=limits)
    assert [(one.end, one.success, len(one.steps)) for one in done] == [
        (End.FAILED, False, 4),
        (End.DONE, True, 4),
    ]
    assert [step.action.valid for step in done[0].steps] == [False, True, False, False]
    assert done[0].steps[0].action.reason == "not a word"


def test_a_broken_environment_costs_its_episode_only() -> None:
    done = play(
        {
            "fine": ["a", "win"],
            "reset": ["broken"],
            "step": ["a", "raise"],
            "parse": ["garble"],
            "also": ["win"],
        }
    )
    assert [one.end for one in done] == [End.DONE, End.ERROR, End.ERROR, End.ERROR, End.DONE]
    assert [len(one.steps) for one in done] == [2, 0, 1, 0, 1]
    for one, word in zip(
        done[1:4], ("RuntimeError: no floor", "ZeroDivisionError", "ValueError"), strict=True
    ):
        assert one.outcome is None
        assert word in (one.error or "")


def test_nothing_is_left_behind(model: LocalModel, jobs: list[Job]) -> None:
    hosts, sampler = LocalHosts(WORLD), LocalSampler(model)
    rollout(hosts, sampler, jobs, sampling=SAMPLING, limits=LIMITS, slots=3)
    assert sampler.live == 0
    assert not hosts._live

    def stop(job: Job, step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollout(hosts, sampler, jobs, sampling=SAMPLING, limits=LIMITS, on_step=stop)
    assert sampler.live == 0
    assert not hosts._live


def test_the_ledger_counts_what_happened() -> None:
    ledger, steps = Ledger(), []
    play({"a": ["a", "win"], "b": ["raise"]}, ledger=ledger, on_step=lambda job, step: steps.append(step.id))
    assert (ledger.environment_steps, ledger.episodes) == (2, 2)
    assert steps == ["a/0", "a/1"]


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"jobs": 2}, {"limits": 0}])
def test_what_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    job = Job(id="j", task=task(), group="g")
    with pytest.raises(ConfigError):
        rollout(
            LocalHosts(Fragile()),
            Scripted(["win"]),
            [job] * wrong.get("jobs", 1),
            sampling=SAMPLING,
            limits=Limits(max_steps=wrong.get("limits", 3)),
            slots=wrong.get("slots", 5),
        )


# --- prefixes ------------------------------------------------------------------------------------


def test_a_replayed_prefix_goes_on_as_the_undisturbed_episode_did(model: LocalModel, jobs: list[Job]) -> None:
    whole = sampled(model, jobs)
    assert max(len(one.steps) for one in whole) > 3
    for cut in (1, 2, 3):
        again = [
            replace(job, prefix=one.steps[:cut])
            for job, one in zip(jobs, whole, strict=True)
            if len(one.steps) > cut
        ]
        same = [one for one in whole if len(one.steps) > cut]
        assert told(sampled(model, again, slots=5)) == told(same)


def test_a_prefix_that_ends_the_episode_is_not_played_on(model: LocalModel, jobs: list[Job]) -> None:
    whole = sampled(model, jobs)
    again = [replace(job, prefix=one.steps) for job, one in zip(jobs, whole, strict=True)]
    assert told(sampled(model, again)) == told(whole)


def test_a_job_may_end_after_some_steps_behind_its_prefix(model: LocalModel, jobs: list[Job]) -> None:
    whole = sampled(model, jobs)
    for cut, more in ((0, 1), (1, 1), (2, 3)):
        some = [(job, one) for job, one in zip(jobs, whole, strict=True) if len(one.steps) > cut]
        short = sampled(model, [replace(job, prefix=one.steps[:cut], steps=more) for job, one in some])
        for made, (_, one) in zip(short, some, strict=True):
            assert [step.id for step in made.steps] == [step.id for step in one.steps[: cut + more]]
            cut_off = cut + more < len(one.steps)
            assert made.end is (End.TRUNCATED if cut_off else one.end)
    with pytest.raises(ConfigError, match="1 or more"):
        sampled(model, [replace(jobs[0], steps=0)])


def test_a_prefix_of_another_task_is_an_error_of_that_episode(model: LocalModel, jobs: list[Job]) -> None:
    whole = sampled(model, jobs)
    hosts = LocalHosts(WORLD)
    wrong = replace(jobs[0], prefix=whole[-1].steps)
    done = rollout(hosts, LocalSampler(model), [wrong, jobs[1]], sampling=SAMPLING, limits=LIMITS)
    assert done[0].end is End.ERROR
    assert "replay differs" in (done[0].error or "")
    assert told(done[1:]) == told(whole[1:2])
    assert not hosts._live


# --- remote models -------------------------------------------------------------------------------


class Remote:
    """Answers each request on its own, after some turns of the loop; notes how many wait at once."""

    policy = "remote"

    def __init__(self, scripts: dict[str, list[str]], *, stuck: bool = False) -> None:
        self.scripts, self.stuck = scripts, stuck
        self.turns: dict[str, int] = {}
        self.waiting = self.most = 0
        self.released: list[str] = []

    async def sample_one(self, request: Request, sampling: Sampling) -> Generation:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            for _ in range(1 + len(request.session) % 3):
                await asyncio.sleep(0)
            if self.stuck:
                await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        turn = self.turns.get(request.session, 0)
        self.turns[request.session] = turn + 1
        script = self.scripts[request.session]
        if turn >= len(script):
            return Generation(text="", stop=Stop.ERROR, error="no more")
        return Generation(text=script[turn], stop=Stop.STOP)

    def release(self, sessions: Sequence[str]) -> None:
        self.released += sessions

    def prime(self, session: str, turns: Sequence[Turn]) -> None:
        self.turns[session] = len(turns)


def remote(sampler: Remote, hosts: LocalHosts, **options: object) -> list[Trajectory]:
    jobs = [Job(id=name, task=task(name), group="g") for name in sampler.scripts]
    return asyncio.run(rollout_async(hosts, sampler, jobs, sampling=SAMPLING, limits=LIMITS, **options))  # type: ignore[arg-type]


def test_remote_episodes_run_at_their_own_pace_within_the_slots() -> None:
    scripts = {f"{'j' * (n + 1)}": ["a"] * n + ["win"] for n in range(5)} | {"broken": ["raise"], "mute": []}
    sampler, hosts, ledger = Remote(scripts), LocalHosts(Fragile()), Ledger()
    done = remote(sampler, hosts, slots=3, ledger=ledger)
    assert [one.id for one in done] == list(scripts)
    assert [one.end for one in done] == [End.DONE] * 5 + [End.ERROR] * 2
    assert sampler.most == 3
    assert sorted(sampler.released) == sorted(scripts)
    assert ledger.environment_steps == 1 + 2 + 3 + 4 + 5
    assert not hosts._live


def test_remote_and_local_drivers_make_the_same_trajectories() -> None:
    scripts = {"p": ["a", "b", "win"], "q": ["bad", "lose"]}
    assert told(remote(Remote(scripts), LocalHosts(Fragile()))) == told(play(scripts))


def test_cancelling_frees_everything() -> None:
    sampler, hosts = Remote({"p": [], "q": []}, stuck=True), LocalHosts(Fragile())
    jobs = [Job(id=name, task=task(name), group="g") for name in sampler.scripts]

    async def go() -> None:
        running = asyncio.create_task(rollout_async(hosts, sampler, jobs, sampling=SAMPLING, limits=LIMITS))
        for _ in range(9):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(go())
    assert sampler.waiting == 0
    assert sorted(sampler.released) == ["p", "q"]
    assert not hosts._live


def test_a_budget_ends_episodes_and_is_never_exceeded() -> None:
    chosen = KeyDoor(horizon=20)
    hosts = LocalHosts(chosen)
    budget = Budget({"steps": 7})
    jobs = jobs_of([chosen.task("train", index) for index in range(3)], group_size=1, prefix="b", seed=0)
    sampler = Scripted(lambda request: "north")
    made = rollout(hosts, sampler, jobs, sampling=Sampling(), limits=Limits(max_steps=20), budget=budget)
    assert [one.end for one in made] == [End.BUDGET] * 3
    assert sum(len(one.steps) for one in made) == budget.used("steps") == 7
    assert all(one.outcome is None and "budget" in (one.error or "") for one in made)
