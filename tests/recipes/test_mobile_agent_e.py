"""Mobile-Agent-E on a tiny setting: the roles, the stop rules, experience that pays, and going on after a pause."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everystep.core.protocols import Generation, Request, Sampling
from everystep.core.records import End, Stop
from everystep.core.trace import Kind
from everystep.environments.phone.crew import Errors, crew
from everystep.environments.phone.screens import Screens
from everystep.evolve.library import SkillLibrary
from everystep.evolve.memory import Memory, Sort
from everystep.evolve.shortcuts import Shortcuts
from everystep.evolve.team import ROLES, Done, Rules, Shared, Team
from everystep.models.scripted import Scripted
from everystep.recipes import mobile_agent_e
from everystep.recipes.mobile_agent_e import ARMS, sequence
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal, scratch
from everystep.run.loop import Runner
from everystep.run.parts import Outcome
from everystep.run.plan import Plan
from everystep.run.resume import take_up

WORLD = Screens(kinds="alarm,contact,note,reply,lookup,switch", goals=2, declare=True, horizon=500)
PERFECT = Errors(unseen=0, slip=0, habit=0, careless=0, misjudge=0, flaw=0)


def team(memory: Memory, index: int = 0, *, world: Screens = WORLD, **more: object) -> Team:
    task = world.task("train", index)
    samplers = more.pop("samplers", crew(PERFECT))
    return Team(samplers=samplers, world=Shortcuts(world.make()), memory=memory, task=task, run="r", **more)  # type: ignore[arg-type]


def test_experience_pays_and_a_missing_reflector_costs() -> None:
    config = mobile_agent_e.Config(tasks=6, goals=1)
    rows = {
        name: [row for seed in range(4) for row in asyncio.run(sequence(config, ARMS[name], seed))[2:]]
        for name in ("none", "both", "both, no reflector")
    }

    def mean(name: str, key: str) -> float:
        return sum(row[key] for row in rows[name]) / len(rows[name])

    assert mean("both", "calls") < 0.8 * mean("none", "calls")
    assert mean("both", "uses") > 0.2
    assert mean("both, no reflector", "success") < mean("both", "success")


def test_the_study_writes_its_table_and_its_plot(tmp_path: Path) -> None:
    config = mobile_agent_e.Config(tasks=1, goals=1, seeds=1)
    told = mobile_agent_e.run(config, RunFolder(path=tmp_path))
    assert {f"success {name}" for name in ARMS} <= set(told)
    assert (tmp_path / "calls.svg").stat().st_size > 1000


@pytest.mark.parametrize("index", range(8))
def test_a_team_without_errors_does_every_task_and_each_member_is_asked(index: int) -> None:
    with Memory.open() as memory, scratch() as journal:
        one = team(memory, index)
        outcome = asyncio.run(mobile_agent_e.work(one, journal))
        kinds = [event.kind for event in journal.events()]
    assert (outcome.end, one.shared.finished) == (End.DONE, True)
    calls = one.shared.calls
    assert outcome.cost["samples"] == sum(calls.values())
    assert calls["manager"] == outcome.steps + 1
    assert calls["operator"] == calls["reflector"] == calls["notetaker"] == outcome.steps
    assert kinds.count(Kind.STEP) == outcome.steps
    assert kinds.count(Kind.VERDICT) == outcome.steps


def test_a_lookup_goes_through_the_notes() -> None:
    world = Screens(kinds="lookup", declare=True, horizon=200)
    with Memory.open() as memory, scratch() as journal:
        one = team(memory, world=world)
        asyncio.run(mobile_agent_e.work(one, journal))
        notes = [item.text for item in memory.items((Sort.NOTE,))]
    assert one.shared.finished
    assert len(notes) == 1
    assert "the number of" in notes[0]


@pytest.mark.parametrize(
    ("outcomes", "actions", "why"),
    [
        ("AABBB", "abcde", "3 failed actions in a row"),
        ("BBA", "abc", ""),
        ("AAA", "xxx", "3 times 'x'"),
        ("AAA", ("swipe up",) * 3, ""),
        ("A" * 40, [str(n) for n in range(40)], "40 iterations"),
    ],
)
def test_stop_rules(outcomes: str, actions: Sequence[str], why: str) -> None:
    done = (Done(action=action, outcome=label) for action, label in zip(actions, outcomes, strict=True))
    shared = Shared(history=tuple(done))
    assert Rules().stop(shared) == why


def test_a_team_that_only_fails_stops_after_three_actions() -> None:
    samplers = {**crew(PERFECT), "operator": Scripted(lambda request: "tap nothing")}
    with Memory.open() as memory, scratch() as journal:
        one = team(memory, samplers=samplers)
        outcome = asyncio.run(mobile_agent_e.work(one, journal))
    assert (outcome.end, outcome.steps) == (End.FAILED, 3)
    assert "3 failed actions in a row" in outcome.why
    assert not one.shared.finished


def test_any_endpoint_can_play_and_nonsense_ends_the_run() -> None:
    asked: list[str] = []

    def answer(request: Request) -> str:
        asked.append(request.messages[0].content)
        assert isinstance(json.loads(request.messages[1].content), dict)
        return "whatever you say"

    with Memory.open() as memory, scratch() as journal:
        one = team(memory, samplers={"*": Scripted(answer)})
        outcome = asyncio.run(mobile_agent_e.work(one, journal))
    assert outcome.end is End.FAILED
    assert "cannot be read" in outcome.why
    assert asked == [ROLES["perceptor"], ROLES["manager"]]


_PARTS = (
    "",
    "A",
    "B: x",
    '{"plan": ["add Ada"]}',
    '{"plan": 3}',
    "use x {}",
    "[[[",
    "tap add",
    "\x00\ud800",
    "none",
    "{" * 50,
    "A" * 9000,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(_PARTS) | st.text(max_size=30), min_size=1, max_size=8))
def test_whatever_the_members_say_the_run_ends_and_learning_does(said: list[str]) -> None:
    config = mobile_agent_e.Config(trials=1)
    asked = count()
    samplers = {"*": Scripted(lambda request: said[next(asked) % len(said)])}
    with Memory.open() as memory, scratch() as journal:
        one = team(memory, samplers=samplers)
        outcome = asyncio.run(mobile_agent_e.work(one, journal))
        one.shared.finished = True
        asyncio.run(mobile_agent_e.learn(one, config, mobile_agent_e.ARMS["both"], helped=False))
    assert outcome.end is not None
    assert outcome.steps <= 40


def test_one_shortcut_a_task_no_name_twice_and_kept_only_after_its_trial() -> None:
    config = mobile_agent_e.Config(trials=10)
    world = Screens(kinds="alarm", goals=1, declare=True, horizon=200)
    flawed = Errors(unseen=0, slip=0, habit=0, careless=0, misjudge=0, flaw=1, inner=1)
    arm = mobile_agent_e.ARMS["both"]
    for errors, kept in ((PERFECT, 1), (flawed, 0)):
        with Memory.open() as memory, scratch() as journal:
            for index in range(3):
                one = team(memory, index, world=world, samplers=crew(errors), seed=index)
                one.run = f"r{index}"
                asyncio.run(mobile_agent_e.work(one, journal))
                asyncio.run(mobile_agent_e.learn(one, config, arm, helped=True))
            assert len(SkillLibrary(memory).names()) == kept


class Dies:
    """A member that stops answering after ``calls`` calls."""

    def __init__(self, inner: object, calls: int) -> None:
        self.inner, self.left, self.policy = inner, calls, "dies"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        self.left -= 1
        if self.left < 0:
            return [Generation(text="", stop=Stop.ERROR, error="down")] * len(requests)
        answers: list[Generation] = self.inner.sample(requests, sampling)  # type: ignore[attr-defined]
        return answers

    def release(self, sessions: Sequence[str]) -> None:
        pass


async def instantly(seconds: float) -> None:
    del seconds


@pytest.mark.parametrize("who", ["manager", "operator", "reflector", "perceptor"])
def test_a_run_goes_on_after_a_pause_as_if_there_had_been_none(tmp_path: Path, who: str) -> None:
    noisy = Errors(slip=0.1, misjudge=0.1)

    def once(name: str, *, dies: bool) -> tuple[Outcome, list[str]]:
        members: dict[str, object] = dict(crew(noisy))
        if dies:
            members[who] = Dies(members[who], 4)
        with Memory.open(tmp_path / f"{name}.memory") as memory, Journal.open(tmp_path / name) as journal:
            one = team(memory, 3, samplers=members, sleep=instantly)
            runner = Runner(
                run="r", task=one.task, environment=one.world, parts=one.parts, journal=journal, plan=Plan(), sleep=instantly
            )  # fmt: skip

            async def go() -> Outcome:
                await take_up(runner)
                return await runner.run()

            outcome = asyncio.run(go())
            steps = [event.body["action"]["text"] for event in journal.events(kinds={Kind.STEP})]
        return outcome, steps

    for name in ("whole", "cut"):
        Journal.create(tmp_path / name, {}).close()
    whole, wanted = once("whole", dies=False)
    paused, _ = once("cut", dies=True)
    assert paused.end is None
    again, steps = once("cut", dies=False)
    assert steps == wanted
    assert (again.end, again.steps) == (whole.end, whole.steps)
