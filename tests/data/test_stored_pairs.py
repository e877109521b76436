from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from data.stored_steps import episode, journal_of
from everystep.core.errors import ConfigError, DataError, StoreError
from everystep.core.protocols import Sampling
from everystep.core.records import Level, Verdict
from everystep.core.trace import Kind
from everystep.data.pairs import make_pairs, read_pairs
from everystep.data.siblings import value_pairs
from everystep.environments.reasoning.stepmath import StepMath
from everystep.models.scripted import Scripted
from everystep.run.export import export
from everystep.run.hosts import LocalHosts
from everystep.run.journal import Journal
from everystep.run.rollout import Job, Limits
from everystep.run.search import search

ROOT = episode("root", ("x", "y"), outcome=0.0)
LEFT = episode("left", ("l",), outcome=1.0, prefix=ROOT.steps[:1])
RIGHT = episode("right", ("r",), outcome=0.5, prefix=ROOT.steps[:1])
OTHER = episode("other", ("x",), task="u", outcome=1.0)


def sides(folder: Path) -> list[tuple[str, str, float | None]]:
    return [(one.chosen, one.rejected, one.margin) for one in read_pairs(folder)]


def test_siblings_are_preferred_by_the_outcomes_they_led_to(tmp_path: Path) -> None:
    source = journal_of(tmp_path / "j.sqlite", [ROOT, LEFT, RIGHT, OTHER])
    done = make_pairs(source, tmp_path / "p", by="siblings")
    assert (done.pairs, done.contexts, done.level) == (3, 1, Level.STEP)
    assert sides(tmp_path / "p") == [
        ("left/1", "root/1", 1.0),
        ("left/1", "right/1", 0.5),
        ("right/1", "root/1", 0.5),
    ]
    assert {one.context for one in read_pairs(tmp_path / "p")} == {("root/0",)}
    written = export(
        [ROOT, LEFT, RIGHT], "trl-preference", tmp_path / "t.jsonl", pairs=read_pairs(tmp_path / "p")
    )
    assert (written.written, written.skipped) == (3, {})


def test_the_widest_margins_come_first_and_narrow_ones_not_at_all(tmp_path: Path) -> None:
    source = journal_of(tmp_path / "j.sqlite", [ROOT, LEFT, RIGHT])
    make_pairs(source, tmp_path / "one", by="siblings", most=1)
    assert sides(tmp_path / "one") == [("left/1", "root/1", 1.0)]
    done = make_pairs(source, tmp_path / "wide", by="siblings", margin=1.5)
    assert (done.pairs, dict(done.left_out)) == (0, {"the margin is too small": 1})


def test_a_stored_search_gives_the_pairs_of_its_tree(tmp_path: Path) -> None:
    world = StepMath(steps=3, mode="choose", choices=3, horizon=3)
    jobs = [Job(id=f"m{n}", task=world.task("train", n), group=f"m{n}", seed=n) for n in range(3)]
    sampler = Scripted(lambda request: Random(request.seed).choice(sorted(request.allowed or ())))
    trees = search(
        LocalHosts(world),
        sampler,
        jobs,
        iterations=40,
        width=6,
        sampling=Sampling(),
        limits=Limits(max_steps=3),
    )
    source = journal_of(tmp_path / "j.sqlite", [one for tree in trees for one in tree.simulations])
    counts = []
    for visits in (2, 4, 9):  # a step of a roll-out is visited once
        made = value_pairs(trees, margin=0.35, least_visits=visits).pairs
        folder = tmp_path / str(visits)
        make_pairs(source, folder, by="siblings", margin=0.35, visits=visits, most=99)
        stored = list(read_pairs(folder))
        assert {(one.context, one.chosen, one.rejected) for one in stored} == {
            (one.context, one.chosen, one.rejected) for one in made
        }
        assert sorted(one.margin or 0 for one in stored) == pytest.approx(
            sorted(one.margin or 0 for one in made)
        )
        counts.append(len(made))
    assert counts[0] > counts[1] > counts[2] > 0
    with pytest.raises(ConfigError, match="visits=2 is about siblings"):
        make_pairs(source, tmp_path / "q", by="groups", visits=2)


def test_verdicts_and_rewards_prefer_too(tmp_path: Path) -> None:
    verdicts = [("critic", "left/1", 0.1), ("critic", "right/1", 0.8)]
    source = journal_of(tmp_path / "j.sqlite", [ROOT, LEFT, RIGHT], verdicts=verdicts)
    make_pairs(source, tmp_path / "p", by="siblings", of="verdict/critic")
    ((chosen, rejected, margin),) = sides(tmp_path / "p")  # root/1 was not judged
    assert (chosen, rejected) == ("right/1", "left/1")
    assert margin == pytest.approx(0.7)
    with pytest.raises(DataError, match=r"has a value 'reward'"):
        make_pairs(source, tmp_path / "q", by="siblings", of="reward")


def test_groups_pair_whole_trajectories_of_one_task_that_begin_alike(tmp_path: Path) -> None:
    good, bad = episode("g", ("a", "b")), episode("b", ("c",), outcome=0.0)
    same, unknown = episode("s", ("a", "b"), outcome=0.2), episode("n", ("d",), outcome=None)
    source = journal_of(tmp_path / "j.sqlite", [good, bad, same, unknown, OTHER])
    make_pairs(source, tmp_path / "p", by="groups")
    assert sides(tmp_path / "p") == [("g", "b", 1.0), ("s", "b", 0.2)]  # g and s did the same: no pair
    assert {one.level for one in read_pairs(tmp_path / "p")} == {Level.TRAJECTORY}


def test_a_pairwise_judge_is_read(tmp_path: Path) -> None:
    source = journal_of(tmp_path / "j.sqlite", [ROOT, LEFT, RIGHT])
    with Journal.open(source) as journal:
        for first, second, score in (
            ("left/1", "root/1", 0.9),
            ("left/1", "right/1", 0.2),
            ("right/1", "root/1", 0.5),
        ):
            told = Verdict(level=Level.PAIR, targets=(first, second), judge="arena", score=score)
            journal.append(Kind.VERDICT, told)
    done = make_pairs(source, tmp_path / "p", by="verdicts", of="arena")
    assert [(one, two) for one, two, _ in sides(tmp_path / "p")] == [
        ("left/1", "root/1"),
        ("right/1", "left/1"),
    ]
    assert (done.level, dict(done.left_out)) == (Level.STEP, {"no preference, or a small one": 1})


def test_wrong_uses_are_refused(tmp_path: Path) -> None:
    source = journal_of(tmp_path / "j.sqlite", [ROOT, LEFT])
    make_pairs(source, tmp_path / "p", by="siblings")
    assert json.loads((tmp_path / "p" / "manifest.json").read_text())["pairs"] == 1
    assert not (tmp_path / "p" / ".work").exists()
    with pytest.raises(StoreError, match="holds pairs already"):
        make_pairs(source, tmp_path / "p", by="siblings")
    with pytest.raises(ConfigError, match="groups are paired by"):
        make_pairs(source, tmp_path / "q", by="groups", of="reward")
    with pytest.raises(ConfigError, match="margin"):
        make_pairs(source, tmp_path / "q", by="groups", margin=-1)
