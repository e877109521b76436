"""R1-Router on a tiny setting: the rewards in TriKB, the clumsy start, equal budgets, and arms that differ as they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from everystep.environments.reasoning.trikb_facts import STORES
from everystep.recipes import r1_router
from everystep.recipes.r1_router import ARMS, Config, learned, numbers, shown, step_reward, warm, world_of
from everystep.run.demonstrate import oracle_answers
from everystep.run.folder import RunFolder

TINY = Config(
    size="0.02M", demonstrations=24, turn_updates=3, warm_updates=2, static_updates=2, budget=16, tasks=1, group_size=4, test_tasks=2, seeds=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reference", "reward"),
    [
        ("ask: ada home from: text", "ask: ada home from: text", 1.0),
        ("ask: home ada from: text", "ask: ada home from: text", 1.0),  # words, not their order
        ("ask: ada home from: table", "ask: ada home from: text", 0.5),
        ("ask: ada home from: text, table", "ask: ada home from: text", 0.5),
        ("ask: ada home from: text, none", "ask: ada home from: text", 0.0),
        ("ask: ada home from: web", "ask: ada home from: text", 0.0),
        ("ask: none from: none", "ask: none from: none", 1.0),
        ("ask: none from: none", "ask: ada home from: text", 0.0),
        ("ada home text", "ask: ada home from: text", 0.0),
        ("answer: lima", "ask: ada home from: text", 0.0),
        ("answer: lima", "answer: lima", 1.0),
        ("answer: oslo lima", "answer: lima", 1.0),  # recall, as published
        ("answer: none", "answer: none", 1.0),
        ("ask: ada home from: text", "answer: lima", 0.0),
    ],
)
def test_rewards(text: str, reference: str, reward: float) -> None:
    assert step_reward(text, reference) == pytest.approx(reward)


def test_a_likely_question_is_worth_a_part() -> None:
    rare = step_reward("ask: ada age from: text", "ask: ada home from: text")  # the entity is right
    common = step_reward("ask: bob home from: text", "ask: ada home from: text")
    assert 0.5 < common < 1.0
    assert 0.5 < rare < 1.0


def test_the_oracle_gets_full_marks_and_the_clumsy_router_does_not() -> None:
    world = world_of(TINY)
    tasks = [world.task("train", index) for index in range(60)]
    right, clumsy = shown(world, tasks, 0.0, 0), shown(world, tasks, TINY.errors, 0)
    for episodes, best in ((right, True), (clumsy, False)):
        rewards = [
            step_reward(step.action.text, told)
            for one in episodes
            for step, told in zip(one.steps, oracle_answers(world.make(), one), strict=True)
        ]
        assert (min(rewards) == 1.0) == best
    good, bad = numbers(right), numbers(clumsy)
    assert (good["recall"], good["routing"], good["needless"]) == (1.0, 1.0, 0.0)
    assert bad["routing"] < 0.6
    assert bad["needless"] > 0.3
    calls = [call.name for one in clumsy for step in one.steps for call in step.action.calls]
    assert calls.count("text") > 0.5 * len(calls)
    assert set(calls) <= set(STORES)


def test_all_arms_spend_as_much_and_leave_the_start_alone() -> None:
    start = warm(TINY, 0)
    before = [weight.clone() for weight in start.model.network.parameters()]
    spent = {name: learned(TINY, arm, 0, 1e-3, TINY.budget) for name, arm in ARMS.items()}
    assert warm(TINY, 0) is start
    assert all((one == two).all() for one, two in zip(before, start.model.network.parameters(), strict=True))
    sampled = {name: found["steps"] for name, found in spent.items() if "GRPO" in name}
    most = TINY.tasks * TINY.group_size * world_of(TINY).max_steps
    assert all(TINY.budget <= steps < TINY.budget + most for steps in sampled.values()), sampled
    assert spent["Step-GRPO"]["updates"] == spent["SFT"]["updates"]
    assert spent["SFT"]["steps"] == spent["start"]["steps"] == spent["start"]["updates"] == 0
    assert spent["static retrieval"]["retrievals"] == 3.0


@pytest.mark.slow
def test_the_study_sweeps_other_seeds_and_writes_its_table(tmp_path: Path) -> None:
    config = replace(
        TINY,
        budget=8,
        demonstrations=8,
        turn_updates=1,
        warm_updates=1,
        sweep=True,
        rates=(1e-3,),
        test_tasks=2,
    )
    told = r1_router.run(config, RunFolder(path=tmp_path))
    assert {"recall GRPO", "routing Step-GRPO", "retrievals static retrieval"} <= told.keys()
    report = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in report for name in ARMS)
    assert "seeds 1, 2" in (tmp_path / "sweep" / "report.md").read_text()
