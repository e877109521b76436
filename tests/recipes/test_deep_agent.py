"""The growing task graph: what lazy planning saves, what a repair leaves alone, and which mined tools get in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from everystep.environments.check import check_environment
from everystep.environments.places.workshop import Workshop
from everystep.environments.places.workshop_plan import whole
from everystep.evaluate.study import REPORT
from everystep.evolve.grower import LevelView
from everystep.evolve.routine import read_call, written_call
from everystep.evolve.skills import Skill, SkillStep
from everystep.models.scripted import Scripted
from everystep.recipes.deep_agent import AHEAD, LEVEL, WHOLE, Config, Crew, agent, learn, run, work
from everystep.run.bandit import Bandit, Choice
from everystep.run.decide import Way
from everystep.run.folder import create
from everystep.run.plan import Plan

SMALL = Workshop(parts=2, levels=2)


def means(world: Workshop, crew: Crew, count: int = 8) -> dict[str, float]:
    rows = [work(crew, world, world.task("test", i), i)[0] for i in range(count)]
    return {key: sum(row[key] for row in rows) / count for key in rows[0]}


def test_the_workshop_keeps_the_contract_of_worlds() -> None:
    assert check_environment(SMALL, tasks=2).broken == ()


def test_a_plan_of_the_whole_is_right_where_nothing_changes() -> None:
    world = Workshop(change=0.0, hidden=0.0, levels=3, parts=2)
    for index in range(5):
        environment = world.make()
        seen = environment.reset(world.task("train", index))
        for act in whole(seen.info, world.task("train", index).instruction):
            made = environment.step(environment.parse(act))
            assert made.valid, made.reason
        assert made.success


def test_without_change_and_error_no_plan_is_mended_and_a_level_is_a_call() -> None:
    world = Workshop(parts=2, levels=2, change=0.0, hidden=0.0)
    lazy = means(world, Crew(errors={LEVEL: 0.0}), 3)
    static = means(world, Crew(errors={WHOLE: 0.0}, everything=True), 3)
    assert (lazy["repairs"], lazy["planner_calls"], lazy["done"]) == (0, 4, 1)  # the top, two parts, assembly
    assert (static["repairs"], static["planner_calls"], static["done"]) == (0, 1, 1)
    assert lazy["steps"] == static["steps"]


def test_with_changes_lazy_plans_are_mended_less_and_written_shorter_than_static_ones() -> None:
    world = Workshop(parts=3, change=0.4)
    lazy = means(world, Crew(errors={LEVEL: 0.0}))
    static = means(world, Crew(errors={WHOLE: 0.0}, everything=True))
    single = means(world, Crew(errors={AHEAD.format(1): 0.0}), 3)
    assert lazy["done"] == static["done"] == single["done"] == 1.0
    assert lazy["repairs"] < static["repairs"]
    assert lazy["nodes_written"] < 0.6 * static["nodes_written"]
    assert lazy["planner_calls"] < 0.3 * single["planner_calls"]


def test_mined_tools_pass_a_trial_before_use_and_shorten_the_plans() -> None:
    world = Workshop(change=0.1)
    plain = Crew(errors={LEVEL: 0.0})
    runs = [work(plain, world, world.task("train", i), i)[1] for i in range(6)]
    tools = learn(world, runs, seed=0)
    assert tools
    assert all(one.tries >= 1 or one.support >= 5 for one in tools.values())
    assert not any(
        "clear" in one.description for one in tools.values()
    )  # seen often, but not always possible
    with_tools, _ = work(Crew(errors={LEVEL: 0.0}, skills=tools), world, world.task("test", 3), 3)
    without, _ = work(plain, world, world.task("test", 3), 3)
    assert with_tools["done"] == without["done"] == 1.0
    assert with_tools["nodes_written"] < 0.8 * without["nodes_written"]


def test_a_tool_that_has_another_effect_than_it_says_fails_its_node_and_the_level_is_mended() -> None:
    world = Workshop(parts=2, levels=1, change=0.0, hidden=0.0)
    broken = Skill(
        name="walk",
        description="walk",
        parameters=("a",),
        steps=(SkillStep(action=("go to ", 0), begins=("You fly",)),),
    )
    numbers, trajectory = work(
        Crew(errors={LEVEL: 0.0}, skills={"walk": broken}), world, world.task("test", 0), 0
    )
    assert numbers["repairs"] >= 190  # the planner insists, until its calls are used up
    assert numbers["done"] == 0.0
    assert trajectory.steps == ()  # what had another effect was taken back


def test_the_better_prompt_is_asked_more_often_with_every_task() -> None:
    world = Workshop(change=0.0, hidden=0.0)
    prompts = {f"{LEVEL} Badly.": 0.3, f"{LEVEL} Well.": 0.0}
    bandit = Bandit(list(prompts), choice=Choice.THOMPSON, seed=0)
    for i in range(6):
        work(Crew(errors=prompts, bandit=bandit), world, world.task("train", i), i)
    bad, good = bandit.arms.values()
    assert good.pulls > 2 * bad.pulls
    assert (good.mean or 0.0) > 0.9 > (bad.mean or 0.0)


def test_a_planner_that_writes_no_plan_is_told_why_and_asked_again() -> None:
    world = Workshop(parts=2, levels=1, change=0.0, hidden=0.0)
    told: list[str] = []
    seen = world.make().reset(world.task("test", 0))
    good = json.dumps(whole(seen.info, world.task("test", 0).instruction))

    def answer(request: object) -> str:
        told.append(json.loads(request.messages[1].content)["why"])  # type: ignore[attr-defined]
        tool = json.dumps([{"instruction": "x", "tool": "no_such_tool"}])
        return ("I would go to the bin.", tool, good)[len(told) - 1]

    _, grower = agent(
        planner={"p": (Way(sampler=Scripted(answer), context=LevelView(prompt="p")),)},
        operator=(Way(sampler=Scripted(lambda request: json.loads(request.messages[0].content)[0])),),
    )

    edits = asyncio.run(grower.expand(world.task("test", 0), Plan(), None, seen))
    assert [len(edit.nodes) for edit in edits] == [len(json.loads(good))]
    assert told[0] == ""
    assert "not json" in told[1]
    assert "no_such_tool" in told[2]


@pytest.mark.parametrize(
    "text", ["fetch", "fetch {", 'fetch {"a": 1}', 'fetch {"b": "x"}', "fetch []", 'other {"a": "x"}']
)
def test_what_is_no_right_call_of_a_skill_is_none(text: str) -> None:
    skill = Skill(name="fetch", description="", parameters=("a",), steps=())
    assert read_call(text, {"fetch": skill}) is None
    assert read_call(written_call(skill, {"a": "rod 1"}), {"fetch": skill}) == (skill, {0: "rod 1"})


def test_the_study_runs_and_writes_its_tables(tmp_path: Path) -> None:
    folder = create(tmp_path / "study", recipe="deep_agent", options={}, version="0")
    config = Config(changes=(0.1,), parts=2, tasks=1, learnt=2, seeds=2)
    found = run(config, folder)
    assert "What a trial is worth" in (folder.path / REPORT).read_text()
    assert found["Plans, change 0.1 a step: planner_calls one act at a time"] > 10


def test_a_run_repeats_to_the_bit() -> None:
    crew = Crew(errors={LEVEL: 0.1})
    first, again = (work(crew, SMALL, SMALL.task("test", 1), 5) for _ in range(2))
    assert first == again
