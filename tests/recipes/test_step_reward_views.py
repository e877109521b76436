"""Step reward views on a tiny setting: problems with one way to the right end, words that change and expressions that do not, arms that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from everystep.core.protocols import Evidence, Sampling
from everystep.core.records import Task
from everystep.data.siblings import value_pairs
from everystep.models.scripted import Scripted
from everystep.recipes.step_reward_views import (
    FULL,
    LOOKS,
    MATHS,
    NEXT_THOUGHT,
    Config,
    clear_tasks,
    evidence_of,
    guided,
    kind_of,
    pair_accuracy,
    reworded,
    run,
    ways,
    world_of,
)
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits
from everystep.run.search import SearchTree, search
from everystep.verify.choose import by_score
from everystep.verify.views import parts_of

TINY = Config(
    size="0.02M", facts=2, solutions=2, demonstrations=8, policy_updates=2, tasks=4, test_tasks=4, iterations=12,
    margin=0.05, epochs=1, minibatches=2, seeds=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def trees() -> Sequence[SearchTree]:
    """Trees of a policy that picks any candidate."""
    world = world_of(TINY)
    sampler = Scripted(lambda request: Random(request.seed).choice(sorted(request.allowed or ())))
    jobs = [
        Job(id=f"j{n}", task=task, group=f"{n}", seed=n)
        for n, task in enumerate(clear_tasks(world, "train", 0, 4))
    ]
    return search(
        LocalHosts(world), sampler, jobs, iterations=150, width=12, weight=0.2,
        sampling=Sampling(), limits=Limits(max_steps=TINY.steps),
    )  # fmt: skip


def right_steps(task: Task) -> list[str]:
    world = world_of(TINY)
    state, found = world.start(task), []
    for _ in range(TINY.steps):
        found.append(world.oracle(state))
        state = world.advance(state, world.parse(found[-1])).state
    return found


def test_clear_problems_have_one_way() -> None:
    world = world_of(TINY)
    tasks = clear_tasks(world, "train", 0, 8)
    assert [ways(world, world.start(task)) for task in tasks] == [1] * 8
    assert max(ways(world, world.start(world.task("train", n))) for n in range(20)) > 1


def test_pairs_of_the_search_prefer_the_right_step(trees: Sequence[SearchTree]) -> None:
    pairs = value_pairs(trees).pairs
    evidence = evidence_of(trees)
    assert len(pairs) > 5
    kinds = set()
    for pair in pairs:
        one = evidence[pair.chosen]
        assert one.step.action.text == right_steps(one.task)[len(one.before)]
        kinds.add(kind_of(one, evidence[pair.rejected]))
    assert kinds <= {"drift", "operation", "stale"}
    assert len(kinds) > 1


def test_rewording_changes_thoughts_only(trees: Sequence[SearchTree]) -> None:
    for one in list(evidence_of(trees).values())[:40]:
        for thoughts in ("filler", "hedged"):
            other = reworded(one, world_of(TINY, thoughts))
            assert MATHS.tell(other) == MATHS.tell(one)
            assert FULL.tell(other) != FULL.tell(one)
        assert (
            parts_of(NEXT_THOUGHT.tell(reworded(one, world_of(TINY, "filler"))).splitlines()[-1])[""]
            == "now the next step"
        )
        assert reworded(one, world_of(TINY)) == one


def knows(evidence: Sequence[Evidence]) -> list[float]:
    return [float(one.step.action.text == right_steps(one.task)[len(one.before)]) for one in evidence]


def test_accuracy_and_guidance_of_known_scores(trees: Sequence[SearchTree]) -> None:
    config = replace(TINY, margin=0.7)
    assert set(pair_accuracy(config, trees, knows).values()) == {1.0}
    assert set(pair_accuracy(config, trees, lambda evidence: [0.0] * len(evidence)).values()) == {0.5}
    assert pair_accuracy(config, trees, lambda evidence: [-one for one in knows(evidence)])["pairs"] == 0.0
    best = guided(TINY, 0, by_score(knows, LOOKS))
    assert best >= guided(TINY, 0, lambda tried: [0 for _ in tried])
    worst = guided(TINY, 0, by_score(lambda evidence: [-one for one in knows(evidence)], LOOKS))
    assert worst <= best


def test_all_arms_run(tmp_path: Path) -> None:
    told = run(TINY, RunFolder(path=tmp_path / "r"))
    assert told["pairs knows the right step"] == 1.0
    assert told["pairs next thought, filler"] == 0.5  # it says the same of every candidate
    assert 0.0 <= told["pairs maths only"] <= 1.0
    assert "p full context = maths only, pairs" in told
    assert "within 0.05" in (tmp_path / "r" / "equivalence.txt").read_text()
