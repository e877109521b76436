"""Tree search: UCT on a fixed tree, values that converge to exact ones, and snapshots that leak nothing."""

from __future__ import annotations

import math
from random import Random
from statistics import mean
from typing import Any

import pytest

from everystep.core.errors import ConfigError, WorldError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Request, Sampling
from everystep.core.records import End, Step
from everystep.environments.places.keydoor import KeyDoor
from everystep.environments.reasoning.stepmath import StepMath
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.scripted import Scripted
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, rollout
from everystep.run.search import SearchTree, best_child, search, solved, uct
from fragile import Fragile, FragileEnvironment, task

MATHS = StepMath(steps=2, mode="choose", choices=3, horizon=2)
KEYS = KeyDoor(side=3, horizon=6)
SAMPLING = Sampling(max_tokens=4)


def anything(request: Request) -> str:
    """Any admissible action, evenly, by the request's seed."""
    return Random(request.seed).choice(sorted(request.allowed or ()))


def maths_jobs(count: int) -> list[Job]:
    return [Job(id=f"m{n}", task=MATHS.task("train", n), group=f"m{n}", seed=n) for n in range(count)]


def children(tree: SearchTree, parent: str | None) -> list[Step]:
    return [step for step in tree.steps if step.parent == parent]


def test_uct_adds_the_mean_and_what_is_not_known_yet() -> None:
    assert uct(3.0, 4, 16, 0.5) == pytest.approx(0.75 + 0.5 * math.sqrt(math.log(16) / 4))
    assert uct(0.0, 0, 16, 0.5) == math.inf
    assert uct(2.0, 2, 1, 5.0) == 1.0
    tree = [(3.0, 4), (0.0, 1), (2.0, 2)]  # total and visits of three children of a node with 7 visits
    assert [round(uct(total, visits, 7, 1.0), 4) for total, visits in tree] == [1.4475, 1.395, 1.9864]
    assert best_child(tree, 7, 0.0) == 2
    assert best_child(tree, 7, 3.0) == 1
    assert best_child([(1.0, 1), (0.0, 0), (0.0, 0)], 1, 0.0) == 1


def test_the_textbook_order_of_visits() -> None:
    """Two children, one wins: both are tried once, then the winner is taken until the other's bonus is larger."""

    def answer(request: Request) -> str:
        return "win" if request.session.endswith("~0") else "lose"

    job = Job(id="j", task=task("t"), group="g")
    [tree] = search(
        LocalHosts(Fragile()), Scripted(answer), [job], iterations=12, width=2, weight=1.0,
        sampling=SAMPLING, limits=Limits(max_steps=3),
    )  # fmt: skip
    wins = [one.success for one in tree.simulations]
    expected, visits, total = [], [0, 0], [0.0, 0.0]
    for _ in range(12):
        pick = best_child(list(zip(total, visits, strict=True)), sum(visits), 1.0)
        visits[pick] += 1
        total[pick] += 1.0 - pick
        expected.append(pick == 0)
    assert wins == expected
    assert sorted(tree.visits.values()) == sorted(visits)


def exact(job: Job, steps: list[str], fold: str) -> float:
    """The value behind ``steps``: of the best way on, or the mean over all ways, by trying everything."""
    environment = MATHS.make()
    seen = environment.reset(job.task)
    for text in steps:
        last = environment.step(environment.parse(text))
        seen = last.observation
        if last.terminated or last.truncated:
            return float(last.success is True)
    ways = [exact(job, [*steps, text], fold) for text in seen.admissible or ()]
    return max(ways) if fold == "best" else mean(ways)


def path(tree: SearchTree, step: Step) -> list[str]:
    by_id = {one.id: one for one in tree.steps}
    texts = [step.action.text]
    while step.parent is not None:
        step = by_id[step.parent]
        texts.insert(0, step.action.text)
    return texts


@pytest.mark.parametrize(("weight", "fold", "within"), [(0.5, "best", 0.12), (1e6, "mean", 0.06)])
def test_values_converge_to_the_exact_ones(weight: float, fold: str, within: float) -> None:
    """With little exploration a state is worth its best way on; with nothing but exploration, the mean over its ways."""
    jobs = maths_jobs(4)
    errors: dict[int, list[float]] = {}
    for iterations in (20, 400):
        trees = search(
            LocalHosts(MATHS), Scripted(anything), jobs, iterations=iterations, width=24, weight=weight,
            sampling=SAMPLING, limits=Limits(max_steps=2),
        )  # fmt: skip
        for job, tree in zip(jobs, trees, strict=True):
            for step in tree.steps:
                if tree.visits.get(step.id, 0) >= iterations / 10:
                    gap = abs(tree.values[step.id] - exact(job, path(tree, step), fold))
                    errors.setdefault(iterations, []).append(gap)
    assert len(errors[400]) >= 8
    assert max(errors[400]) < within
    assert mean(errors[400]) < mean(errors[20])


def test_values_and_visits_are_those_of_the_simulations(model: LocalModel) -> None:
    ledger, hosts, sampler = Ledger(), LocalHosts(KEYS), LocalSampler(model)
    jobs = [Job(id=f"k{n}", task=KEYS.task("train", n), group="g", seed=n) for n in range(2)]
    drive = {"iterations": 12, "width": 3, "sampling": SAMPLING, "limits": Limits(max_steps=4)}
    trees = search(hosts, sampler, jobs, ledger=ledger, **drive)  # type: ignore[arg-type]
    executed = 0
    for tree in trees:
        assert len(tree.simulations) == 12
        assert len({one.id for one in tree.simulations}) == 12
        parents = [None, *(step.id for step in tree.steps)]
        for step in tree.steps:
            through = [solved(one) for one in tree.simulations if step.id in [s.id for s in one.steps]]
            assert tree.visits.get(step.id, 0) == len(through)
            if through:
                assert tree.values[step.id] == pytest.approx(mean(one or 0.0 for one in through))
            assert step.parent in parents[: 1 + tree.steps.index(step)]
        assert len({step.id for step in tree.steps}) == len(tree.steps)
        for parent in parents:
            texts = [step.action.text for step in children(tree, parent)]
            assert len(texts) == len(set(texts)) <= 3
        tail = {s.id for one in tree.simulations for s in one.steps} - {s.id for s in tree.steps}
        executed += len(tree.steps) + len(tail)
    assert ledger.environment_steps == executed
    assert ledger.candidate_steps == sum(len(tree.steps) for tree in trees)
    assert sampler.live == 0
    assert not hosts._live
    alone = search(LocalHosts(KEYS), LocalSampler(model), jobs[1:], **drive)  # type: ignore[arg-type]
    assert [step.action.text for step in alone[0].steps] == [step.action.text for step in trees[1].steps]
    assert alone[0].values == trees[1].values


def test_what_was_tried_leaks_into_nothing(model: LocalModel) -> None:
    """Every simulation, replayed from the start in a fresh world behind its own tokens, goes exactly as it went in the tree."""
    job = Job(id="k", task=KEYS.task("train", 3), group="g", seed=5)
    limits = Limits(max_steps=5)
    [tree] = search(
        LocalHosts(KEYS), LocalSampler(model), [job], iterations=20, width=4, sampling=SAMPLING, limits=limits
    )
    assert max(step.index for step in tree.steps) >= 1  # it branched below the root
    again = rollout(
        LocalHosts(KEYS),
        LocalSampler(model),
        [
            Job(id=one.id, task=one.task, group="g", seed=one.seed, prefix=one.steps)
            for one in tree.simulations
        ],
        sampling=SAMPLING,
        limits=limits,
    )
    for one, fresh in zip(tree.simulations, again, strict=True):
        assert fresh.end is one.end
        assert (fresh.success, fresh.outcome, fresh.final) == (one.success, one.outcome, one.final)
    import torch

    for one in tree.simulations:
        ids = [token for step in one.steps for token in (step.tokens.ids if step.tokens else ())]
        with torch.inference_mode():
            logits = model.network(input_ids=torch.tensor([ids])).logits[0].float()
        place = 0
        for step in one.steps:
            assert step.tokens is not None
            assert step.tokens.allowed is not None
            sampled = [
                n for span in step.tokens.spans if span.kind == "sampled" for n in range(span.start, span.end)
            ]
            for at, allowed, logprob in zip(sampled, step.tokens.allowed, step.tokens.logprobs, strict=True):
                scores = torch.log_softmax(logits[place + at - 1][list(allowed)], -1)
                assert abs(float(scores[allowed.index(ids[place + at])]) - logprob) < 1e-4
            place += len(step.tokens.ids)


def test_what_the_world_remembers_is_the_path_alone() -> None:
    """A world that shows all that was ever done to it shows each candidate the steps before it, and nothing of its siblings."""
    sampler = Scripted(
        lambda request: "abc"[int(request.session.rpartition("~")[2] or 0)] if "~" in request.session else "a"
    )
    [tree] = search(
        LocalHosts(Fragile()), sampler, [Job(id="j", task=task("t"), group="g")], iterations=30, width=3,
        value=lambda one: 0.5, sampling=SAMPLING, limits=Limits(max_steps=4),
    )  # fmt: skip
    assert len(tree.steps) > 12
    for step in tree.steps:
        assert step.observation.text == " ".join(["t", *path(tree, step)[:-1]])
    for one in tree.simulations:
        assert one.final is not None
        assert one.final.text == " ".join(["t", *(step.action.text for step in one.steps)])


def test_a_candidate_that_breaks_is_dropped_and_a_tree_without_any_stops() -> None:
    def answer(request: Request) -> str:
        return "raise" if request.session.endswith("~0") else "win"

    job = Job(id="j", task=task("t"), group="g")
    drive = {"iterations": 5, "width": 2, "sampling": SAMPLING, "limits": Limits(max_steps=3)}
    [tree] = search(LocalHosts(Fragile()), Scripted(answer), [job], **drive)  # type: ignore[arg-type]
    assert [step.action.text for step in tree.steps] == ["win"]
    assert list(tree.visits.values()) == [5]
    ledger = Ledger()
    for broken, sampler in (
        (job, Scripted(["raise"])),
        (Job(id="b", task=task(broken=True), group="g"), Scripted(["a"])),
    ):
        [tree] = search(LocalHosts(Fragile()), sampler, [broken], ledger=ledger, **drive)  # type: ignore[arg-type]
        assert (tree.steps, tree.simulations, dict(tree.visits)) == ((), (), {})
    assert ledger.environment_steps == 0


def test_an_end_that_is_reached_again_costs_nothing_and_counts() -> None:
    ledger = Ledger()
    job = Job(id="j", task=task("t"), group="g")
    [tree] = search(
        LocalHosts(Fragile()), Scripted(["win"]), [job], iterations=7, width=4, ledger=ledger,
        sampling=SAMPLING, limits=Limits(max_steps=3),
    )  # fmt: skip
    assert (ledger.environment_steps, ledger.episodes) == (1, 0)
    assert list(tree.visits.values()) == [7]
    assert [one.end for one in tree.simulations] == [End.DONE] * 7


def test_a_simulation_that_breaks_counts_nowhere() -> None:
    answers = {"j~0": ["a"], "j~1": ["b"]}

    def answer(request: Request) -> str:
        return answers[request.session][0] if "~" in request.session else ("raise" if request.seed else "")

    [tree] = search(
        LocalHosts(Fragile()), Scripted(answer), [Job(id="j", task=task("t"), group="g")], iterations=6,
        width=2, sampling=SAMPLING, limits=Limits(max_steps=3),
    )  # fmt: skip
    assert len(tree.steps) == 2
    assert (dict(tree.visits), tree.simulations) == ({}, ())


class OneWay(Fragile):
    """A world that cannot be put back."""

    def make(self) -> Any:
        inner = FragileEnvironment()
        names = ("reset", "parse", "step", "close")
        return type("OneWayEnvironment", (), {name: getattr(inner, name) for name in names})


def test_what_cannot_search_says_so() -> None:
    hosts = LocalHosts(Fragile())
    job = Job(id="j", task=task("t"), group="g")
    drive = {"sampling": SAMPLING, "limits": Limits(max_steps=3)}
    with pytest.raises(ConfigError, match="iterations=0"):
        search(hosts, Scripted(["a"]), [job], iterations=0, **drive)  # type: ignore[arg-type]

    class Forgets:
        policy = "x"

    with pytest.raises(ConfigError, match="Forgets cannot continue"):
        search(hosts, Forgets(), [job], iterations=1, **drive)  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="has no snapshots"):
        search(LocalHosts(OneWay()), Scripted(["a"]), [job], iterations=1, **drive)  # type: ignore[arg-type]
