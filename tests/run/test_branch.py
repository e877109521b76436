"""Branching: siblings of one state, a chosen one that goes on from its own snapshot, and nothing that leaks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import mean

import pytest

from everystep.core.errors import ConfigError
from everystep.core.ledger import Ledger
from everystep.core.protocols import Request, Sampling
from everystep.core.records import End
from everystep.environments.places.keydoor import KeyDoor
from everystep.models.local import LocalModel, LocalSampler
from everystep.models.scripted import Scripted
from everystep.run.branch import Tried, branch, branch_all, fork, tree
from everystep.run.demonstrate import OracleSampler
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, rollout
from fragile import Fragile, task

WORLD = KeyDoor(side=3, horizon=6)
SAMPLING, LIMITS = Sampling(max_tokens=4), Limits(max_steps=4)
DRIVE = {"sampling": SAMPLING, "limits": LIMITS}


def by_number(request: Request) -> str:
    """Candidate 0 answers a, 1 answers b, 2 answers c; a session that is no candidate answers a."""
    _, sign, number = request.session.rpartition("~")
    return "abc"[int(number)] if sign else "a"


def last(tried: Sequence[Tried]) -> list[int]:
    return [len(one.steps) - 1 for one in tried]


def test_siblings_share_their_parent_and_the_chosen_one_goes_on() -> None:
    hosts, ledger = LocalHosts(Fragile()), Ledger()
    job = Job(id="j", task=task("t"), group="g")
    found = branch(hosts, Scripted(by_number), job, width=3, choose=last, ledger=ledger, **DRIVE)  # type: ignore[arg-type]
    one = found.trajectory
    assert [step.action.text for step in one.steps] == ["c"] * 4
    assert [step.observation.text for step in one.steps] == [
        "t",
        "t c",
        "t c c",
        "t c c c",
    ]  # its own snapshot
    assert one.end is End.TRUNCATED
    assert len(found.candidates) == 4
    for step in one.steps:
        siblings = found.candidates[step.parent]
        assert step in siblings
        assert {sibling.parent for sibling in siblings} == {step.parent}
        assert all(sibling.observation == step.observation for sibling in siblings)
        assert [sibling.action.text for sibling in siblings] == ["a", "b", "c"]
        assert len({sibling.id for sibling in siblings}) == 3
    assert (ledger.environment_steps, ledger.candidate_steps, ledger.episodes) == (12, 12, 1)
    assert not hosts._live


def test_a_candidate_that_breaks_is_left_out_and_harms_no_other() -> None:
    def answer(request: Request) -> str:
        return "raise" if request.session.endswith("~0") else "b"

    hosts = LocalHosts(Fragile())
    found = branch(
        hosts, Scripted(answer), Job(id="j", task=task("t"), group="g"), width=2, choose=last, **DRIVE
    )  # type: ignore[arg-type]
    assert [step.action.text for step in found.trajectory.steps] == ["b"] * 4
    assert all(len(siblings) == 1 for siblings in found.candidates.values())


def test_when_every_candidate_breaks_the_episode_is_an_error() -> None:
    hosts = LocalHosts(Fragile())
    found = branch(
        hosts, Scripted(["raise"]), Job(id="j", task=task("t"), group="g"), width=2, choose=last, **DRIVE
    )  # type: ignore[arg-type]
    assert found.trajectory.end is End.ERROR
    assert found.trajectory.outcome is None
    assert not hosts._live


def test_discarded_candidates_leak_nothing_into_the_model(model: LocalModel) -> None:
    hosts, sampler, ledger = LocalHosts(WORLD), LocalSampler(model), Ledger()
    job = Job(id="j", task=WORLD.task("train", 0), group="g", seed=3)
    found = branch(hosts, sampler, job, width=3, choose=last, ledger=ledger, **DRIVE)  # type: ignore[arg-type]
    assert sampler.live == 0
    assert not hosts._live
    assert ledger.sampled_tokens > 0
    steps = found.trajectory.steps
    # The chosen path alone, replayed: the model gives each sampled token the probability that was recorded.
    again = branch(LocalHosts(WORLD), LocalSampler(model), job, width=3, choose=last, **DRIVE)  # type: ignore[arg-type]
    assert [step.action for step in again.trajectory.steps] == [step.action for step in steps]
    import torch

    ids = [token for step in steps for token in (step.tokens.ids if step.tokens else ())]
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([ids])).logits[0].float()
    place = 0
    for step in steps:
        assert step.tokens is not None
        assert step.tokens.allowed is not None
        sampled = [
            n for span in step.tokens.spans if span.kind == "sampled" for n in range(span.start, span.end)
        ]
        for at, allowed, logprob in zip(sampled, step.tokens.allowed, step.tokens.logprobs, strict=True):
            scores = torch.log_softmax(logits[place + at - 1][list(allowed)], -1)
            assert abs(float(scores[allowed.index(ids[place + at])]) - logprob) < 1e-4
        place += len(step.tokens.ids)


def test_what_cannot_branch_says_so(model: LocalModel) -> None:
    job = Job(id="j", task=task("t"), group="g")
    hosts = LocalHosts(Fragile())
    with pytest.raises(ConfigError, match="OracleSampler cannot fork"):
        branch(hosts, OracleSampler(hosts), job, width=2, choose=last, **DRIVE)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="width"):
        branch(hosts, Scripted(["a"]), job, width=0, choose=last, **DRIVE)  # type: ignore[arg-type]


def test_candidates_come_with_what_they_led_to() -> None:
    job = Job(id="j", task=task("t"), group="g")
    found = branch(LocalHosts(Fragile()), Scripted(by_number), job, width=3, choose=last, **DRIVE)  # type: ignore[arg-type]
    second = found.tried[1]
    assert [step.action.text for step in second.before] == ["c"]
    assert [one.text for one in second.results] == ["t c a", "t c b", "t c c"]
    assert second.task is job.task


def test_jobs_that_are_branched_together_do_not_touch_each_other(model: LocalModel) -> None:
    jobs = [Job(id=f"j{n}", task=WORLD.task("train", n), group=f"g{n}", seed=n) for n in range(3)]
    together = branch_all(LocalHosts(WORLD), LocalSampler(model), jobs, width=2, choose=last, **DRIVE)  # type: ignore[arg-type]
    for job, found in zip(jobs, together, strict=True):
        alone = branch(LocalHosts(WORLD), LocalSampler(model), job, width=2, choose=last, **DRIVE)  # type: ignore[arg-type]
        assert [step.action for step in found.trajectory.steps] == [
            step.action for step in alone.trajectory.steps
        ]
        assert [one.results for one in found.tried] == [one.results for one in alone.tried]


def test_a_world_that_does_not_start_costs_its_own_job() -> None:
    hosts = LocalHosts(Fragile())
    jobs = [Job(id=name, task=task(name, broken=name == "b"), group=name) for name in "ab"]
    good, bad = branch_all(hosts, Scripted(by_number), jobs, width=2, choose=last, **DRIVE)  # type: ignore[arg-type]
    assert good.trajectory.end is End.TRUNCATED
    assert (bad.trajectory.end, bad.tried) == (End.ERROR, ())
    assert not hosts._live


def test_a_chooser_that_picks_what_there_is_not_is_refused() -> None:
    job = Job(id="j", task=task("t"), group="g")
    for pick in (-1, 2):
        choose = partial(lambda number, _: [number], pick)
        with pytest.raises(ConfigError, match="picked candidate"):
            branch(LocalHosts(Fragile()), Scripted(by_number), job, width=2, choose=choose, **DRIVE)  # type: ignore[arg-type]


def test_forks_keep_the_trunk_and_estimate_the_value() -> None:
    hosts = LocalHosts(Fragile())
    trunk = rollout(hosts, Scripted(["a", "b", "win"]), [Job(id="j", task=task("t"), group="g")], **DRIVE)[0]  # type: ignore[arg-type]
    outcomes = {"j^2.0": "win", "j^2.1": "lose", "j^2.2": "win"}
    sampler = Scripted({name: ["-", "-", word] for name, word in outcomes.items()})  # primed behind two turns
    copies = fork(hosts, sampler, trunk, 2, copies=3, seed=0, **DRIVE)  # type: ignore[arg-type]
    assert all(one.steps[:2] == trunk.steps[:2] for one in copies)
    assert [one.outcome for one in copies] == [4.0, 2.0, 4.0]
    assert mean(one.success is True for one in copies) == pytest.approx(2 / 3)
    assert len({one.steps[2].id for one in (trunk, *copies)}) == 4
    assert {one.steps[2].parent for one in (trunk, *copies)} == {trunk.steps[1].id}


def test_a_fork_at_the_end_is_the_trunk_and_beyond_it_is_refused() -> None:
    hosts = LocalHosts(Fragile())
    trunk = rollout(hosts, Scripted(["a", "win"]), [Job(id="j", task=task("t"), group="g")], **DRIVE)[0]  # type: ignore[arg-type]
    copies = fork(hosts, Scripted(["a"]), trunk, 2, copies=2, seed=0, **DRIVE)  # type: ignore[arg-type]
    assert [(one.steps, one.end, one.outcome) for one in copies] == [(trunk.steps, End.DONE, 3.0)] * 2
    with pytest.raises(ConfigError, match="cannot fork at step 3"):
        fork(hosts, Scripted(["a"]), trunk, 3, copies=2, seed=0, **DRIVE)  # type: ignore[arg-type]


def test_a_tree_has_width_to_the_depth_leaves_and_shares_its_prefixes(model: LocalModel) -> None:
    hosts, sampler = LocalHosts(WORLD), LocalSampler(model)
    job = Job(id="j", task=WORLD.task("train", 1), group="g", seed=1)
    leaves = tree(hosts, sampler, job, width=2, depth=2, **DRIVE)  # type: ignore[arg-type]
    assert len(leaves) == 4
    assert {one.group for one in leaves} == {"g"}
    assert len({one.id for one in leaves}) == 4
    assert len({one.steps[0].id for one in leaves}) == 2
    assert len({one.steps[1].id for one in leaves}) == 4
    parents: dict[str, str | None] = {}
    for step in (step for one in leaves for step in one.steps):
        assert parents.setdefault(step.id, step.parent) == step.parent
    assert sampler.live == 0
    assert not hosts._live
