"""SPORT (S15): try several steps in one state, let a verifier that sees what they led to choose, go on from there, and tune on the choices.

Paper: Iterative Tool Usage Exploration for Multimodal Agents via Step-wise Preference Tuning (arXiv 2504.21561). Claim: +6.41 points on GTA, +3.64 on GAIA.

Certain (released code): every candidate is executed; a list-wise verifier sees task, history, candidates and their results; the first candidate wins where
it fails; the pair filters (errors, at most 2 of them, and candidates whose character BLEU-4 to the chosen one is below 0.3); sampling and tuning take turns.
Ours: candidates start from one snapshot and leak nothing (in the source they share an interpreter); ToolChain in place of images and tools; the
verifier is a rule that knows the progress of each candidate and names a wrong one at a stated rate, where the source asks a 7B model; 5
candidates; DPO with beta 0.1 against the model before the round (the source's values are not known). The task synthesiser is left out.

The other arms judge whole chains by their outcome, with errors at the same rate. Knowing progress is more than knowing outcomes, so ``chosen steps, imitated``
uses SPORT's data without preferences: what is left between these two arms is the loss.

    everystep reproduce sport

Measured (docs/recipes/sport.md, five seeds): all arms learn from their tries; the verifier's choices, imitated, teach the choice of tools best; preferences add
nothing to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from everystep.core.protocols import Evidence, Logger, Looks, Loss, Sampling
from everystep.core.records import Level, PreferencePair, Sample, Step, Task, Trajectory
from everystep.data.siblings import choice_pairs
from everystep.environments.tooluse.toolchain import ToolChain
from everystep.evaluate.preferences import agreement
from everystep.evaluate.study import Trial, study
from everystep.learn.pairs import pair_samples, with_reference
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.run.branch import Branched, branch_all
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout, seed_of
from everystep.verify.choose import Best, Choosing
from everystep.verify.evidence import trajectory_evidence
from everystep.verify.noise import Noise
from everystep.verify.rule import Rule, Said

DPO = Loss(preference="sigmoid", preference_beta=0.1)
IMITATION = Loss(policy="reinforce", aggregate="token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Rounds of sampling and tuning, with the same number of executed candidates in every arm."""

    turns: int = 3
    """Tool calls that a task needs."""
    size: str = "0.1M"
    demonstrations: int = 400
    errors: float = 0.2
    """Share of the demonstrated steps that are mistakes."""
    warm_updates: int = 450
    warm_rate: float = 4e-3
    rounds: int = 3
    executed: int = 2400
    """Candidates that are executed in a round."""
    block: int = 20
    """Tasks that are sampled at a time; a round ends with the block in which its candidates are spent."""
    width: int = 5
    """Candidates of a state, or chains of a task."""
    wrong: float = 0.1
    """How often a verifier errs."""
    rate_steps: float = 3e-4
    """Learning rate of DPO on steps."""
    rate_chains: float = 1e-4
    """Learning rate of DPO on whole chains."""
    rate_best: float = 3e-4
    """Learning rate of the imitation of the best of n."""
    rate_chosen: float = 1e-3
    """Learning rate of the imitation of chosen steps."""
    minibatches: int = 12
    """Updates of a round."""
    test_tasks: int = 150
    seeds: int = 5
    seed: int = 0
    """The first seed."""


def world_of(config: Config, mode: str = "free") -> ToolChain:
    """Return the world: free text, the state told in every observation, three steps to spare."""
    return ToolChain(
        turns=config.turns, digits=1, items=4, mode=mode, notes=True, rules=False, horizon=config.turns + 4
    )


@lru_cache(maxsize=1)
def warm(config: Config, seed: int) -> Student:
    """Return the student that all arms of a seed begin from: it has imitated a clumsy teacher."""
    listed = world_of(
        config, "choose"
    )  # a clumsy teacher errs among listed actions; the student writes free text
    hosts = LocalHosts(listed)
    tasks = [listed.task("train", 1_000_000 * (1 + seed) + n) for n in range(config.demonstrations)]
    shown = rollout(
        hosts,
        demonstrator(hosts, error_rate=config.errors),
        jobs_of(tasks, group_size=1, prefix="demo", seed=seed_of(seed, "demo")),
        sampling=Sampling(),
        limits=Limits(max_steps=listed.max_steps),
    )
    student = Student.begin(
        world_of(config),
        texts_of(shown) | ERRORS,
        size=config.size,
        seed=seed,
        constrain=False,
        max_tokens=24,
    )
    rows = [supervised_sample(one) for one in student.written(shown)]
    student.imitate(rows, updates=config.warm_updates, learning_rate=config.warm_rate)
    return student


ERRORS = {
    "nothing happens : error expected: call TOOL ( NAME = VALUE , ... ) or answer NUMBER",
    "nothing happens : error there is no tool",
    "nothing happens : error the table has no such item",
    "nothing happens : error lookup takes item",
    "nothing happens : error add takes a , b must be a number",
}
"""What the world says to steps that cannot be executed, so that the student has words for it."""


# --- verifiers -------------------------------------------------------------------------------------


def progress(evidence: Evidence) -> Said:
    """Score an executed step: best a step towards the end, then one that was executed for nothing, then an error; a wrong answer is worst."""
    scores = evidence.step.scores
    if scores.get("answer", 1.0) == 0.0:
        return 0.0
    return 1.0 if scores.get("progress", 0.0) > 0 else 0.5 if evidence.step.action.valid else 0.25


def ended_well(evidence: Evidence) -> Said:
    """Score a chain by its outcome."""
    return float(evidence.outcomes[0] == 1.0)


def step_verifier(config: Config, seed: int) -> Choosing:
    """Return the verifier of candidates: it sees the executed results, and errs at the stated rate."""
    rule = Rule(name="progress", function=progress, looks=Looks(actions=None, result=True))
    return Choosing(judge=Noise(of=Best(of=rule), wrong_choice=config.wrong, seed=seed))


def judged_good(config: Config, seed: int, chains: Sequence[Trajectory]) -> list[bool]:
    """Return what the verifier of whole chains says of each: whether it ended well, with errors at the stated rate."""
    rule = Rule(
        name="ended well",
        function=ended_well,
        looks=Looks(outcome=True),
        levels=frozenset({Level.TRAJECTORY}),
    )
    judge = Noise(of=rule, false_positive=config.wrong, false_negative=config.wrong, seed=seed)

    async def all_() -> list[bool]:
        found = [
            await judge.judge(Level.TRAJECTORY, trajectory_evidence((one,), judge.looks)) for one in chains
        ]
        return [one[0].score == 1.0 for one in found]

    return asyncio.run(all_())


# --- one round of each arm -------------------------------------------------------------------------

Round = Callable[[Config, Student, int, int], tuple[int, int]]
"""Samples and tunes once; returns how many labels were made and how many of them are right."""


def fresh(config: Config, student: Student, number: int, seed: int, used: int) -> list[Task]:
    """Return the next block of the round's tasks, the same in every arm; none once the round's candidates are executed."""
    if student.ledger.environment_steps >= (number + 1) * config.executed:
        return []
    first = 100_000 * (1 + seed) + 1_000 * number + used
    return [student.world.task("train", first + n) for n in range(config.block)]


def chains_of(config: Config, student: Student, number: int, seed: int) -> list[list[Trajectory]]:
    """Return groups of chains until the round's candidates are executed."""
    groups: dict[str, list[Trajectory]] = {}
    while tasks := fresh(config, student, number, seed, len(groups)):
        for one in student.attempt(tasks, group_size=config.width):
            groups.setdefault(one.group, []).append(one)
    return list(groups.values())


def best_of_n(config: Config, student: Student, number: int, seed: int) -> tuple[int, int]:
    """Imitate one chain of each task: the first of those that are judged good."""
    kept = []
    for group in chains_of(config, student, number, seed):
        good = [one for one, said in zip(group, judged_good(config, seed, group), strict=True) if said]
        kept += good[:1]
    imitate(config, student, [supervised_sample(one) for one in kept], config.rate_best)
    return len(kept), sum(one.success is True for one in kept)


def chain_preferences(config: Config, student: Student, number: int, seed: int) -> tuple[int, int]:
    """DPO on whole chains: of each task, those judged good against those judged bad, one to one."""
    groups = chains_of(config, student, number, seed)
    pairs = []
    for group in groups:
        said = judged_good(config, seed, group)
        sides = [
            [one.id for one, good in zip(group, said, strict=True) if good is side] for side in (True, False)
        ]
        pairs += [
            PreferencePair(context=(), chosen=one, rejected=other, level=Level.TRAJECTORY, source="outcome")
            for one, other in zip(*sides, strict=False)
        ]
    flat = [one for group in groups for one in group]
    prefer(config, student, list(pair_samples(pairs, flat).samples), config.rate_chains)
    found = agreement(pairs, {one.id: float(one.success is True) for one in flat})
    return found.pairs, found.right


def sampled_steps(
    config: Config, student: Student, number: int, seed: int
) -> tuple[list[Branched], Choosing]:
    """Branch at every step until the round's candidates are executed."""
    choose, found = step_verifier(config, seed), list[Branched]()
    while tasks := fresh(config, student, number, seed, len(found)):
        jobs = [
            Job(
                id=f"r{number}.{len(found) + n}",
                task=task,
                group=f"{n}",
                seed=seed_of(seed, number, len(found) + n),
            )
            for n, task in enumerate(tasks)
        ]
        found += branch_all(
            student.hosts, student.sampler(), jobs, width=config.width, choose=choose, ledger=student.ledger,
            sampling=Sampling(max_tokens=student.max_tokens), limits=student.limits, constrain=False,
        )  # fmt: skip
    return found, choose


def sport(config: Config, student: Student, number: int, seed: int) -> tuple[int, int]:
    """DPO on the verifier's choices among siblings."""
    found, choose = sampled_steps(config, student, number, seed)
    tried = [state for one in found for state in one.tried]
    pairs = choice_pairs(tried, choose.verdicts).pairs
    steps = {step.id: step for state in tried for step in state.steps}
    rows = pair_samples(pairs, [one.trajectory for one in found], siblings=steps.values()).samples
    prefer(config, student, list(rows), config.rate_steps)
    labels = agreement(pairs, {name: worth(step) for name, step in steps.items()})
    return labels.pairs, labels.right


def chosen_imitated(config: Config, student: Student, number: int, seed: int) -> tuple[int, int]:
    """Imitate the chains of chosen steps: SPORT's data without its preferences."""
    found, _ = sampled_steps(config, student, number, seed)
    chains = [one.trajectory for one in found if one.trajectory.steps]
    imitate(config, student, [supervised_sample(one) for one in chains], config.rate_chosen)
    return len(chains), sum(one.success is True for one in chains)


def worth(step: Step) -> float:
    """Return how good the branch behind a step is, beside its siblings': steps nearer to the end; a wrong answer is worse than any."""
    return -1.0 if step.scores.get("answer", 1.0) == 0.0 else step.scores.get("progress", 0.0)


def prefer(config: Config, student: Student, rows: Sequence[Sample], rate: float) -> None:
    """Tune on pairs, against the model as it is now."""
    if rows:
        told = with_reference(rows, student.learner.score(rows))
        student.fit(told, DPO, learning_rate=rate, minibatches=config.minibatches)


def imitate(config: Config, student: Student, rows: Sequence[Sample], rate: float) -> None:
    """Tune on chains by cross-entropy."""
    student.fit(rows, IMITATION, learning_rate=rate, minibatches=config.minibatches)


ARMS: Mapping[str, Round] = {
    "best of n, imitated": best_of_n,
    "chosen steps, imitated": chosen_imitated,
    "DPO on chains": chain_preferences,
    "SPORT": sport,
}


def in_one_round(config: Config) -> Config:
    """Return the same amount of work in one round."""
    executed, minibatches = config.rounds * config.executed, config.rounds * config.minibatches
    return replace(config, rounds=1, executed=executed, minibatches=minibatches)


def trained(config: Config, arm: Round, seed: int, *, once: bool = False) -> dict[str, float]:
    """Run the rounds of one arm, or all of its work in one; return its numbers."""
    student = warm(config, seed).copy()
    config = in_one_round(config) if once else config
    tasks = [student.world.task("test", n) for n in range(config.test_tasks)]
    before = tested(student, tasks)
    labels = right = 0
    for number in range(config.rounds):
        made, good = arm(config, student, number, seed)
        labels, right = labels + made, right + good
    after = tested(student, tasks)
    return {
        "success": after["success"],
        "tool_choice": after["tool_choice"],
        "labels_right": right / labels if labels else 0.0,
        "labels": float(labels),
        "executed": float(student.ledger.environment_steps),
        "success_before": before["success"],
        "tool_choice_before": before["tool_choice"],
    }


def tested(student: Student, tasks: Sequence[Task]) -> dict[str, float]:
    """Return success, and the share of steps that are towards the end."""
    numbers, tried = student.test(tasks, temperature=1.0)
    forward = [step.scores.get("progress", 0.0) > 0 for one in tried for step in one.steps]
    return {"success": numbers["success"], "tool_choice": float(np.mean(forward))}


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return success, tool choice and the share of right labels by arm."""

    def trial_of(arm: Round) -> Trial:
        return lambda seed: trained(config, arm, seed)

    arms = {name: trial_of(arm) for name, arm in ARMS.items()}
    arms["SPORT, one round"] = lambda seed: trained(config, sport, seed, once=True)
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="best of n, imitated", folder=folder.path, loggers=loggers)
    keys = ("success", "tool_choice", "labels_right")
    return {f"{key} {arm.name}": arm.means[key].value for arm in result.arms for key in keys}
