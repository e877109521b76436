"""R1-Router (S24): which sub-question to ask of which knowledge base, if of any, with a reward for each step.

Paper: R1-Router, Learning to Route Queries across Knowledge Bases for Step-wise Retrieval-Augmented Reasoning (arXiv 2505.22095). Claim: 7 % over
baselines, with fewer needless retrievals.

Certain (released code): steps of two kinds, at most three rounds and a final answer; both rewards (``verify.routing``); Step-GRPO: every step of
a teacher's chain is a prompt with a group of its own, so no sampled step changes a later prompt; advantages normalised in that group; the
divergence is computed and not used (here: none). Released form of a lone sample: its raw reward; groups are never of one here.
Ours: TriKB instead of Wikipedia, tables and images; a tiny model with one growing conversation (released: each prompt made anew, without the
passages); TF-IDF cosine instead of the embedder bge-m3; labels instead of tags, no thoughts; a warm start that imitates a router which
mostly asks the text; what the reference is off the teacher's way (the oracle's turn in that state). Left out: images themselves, chains by a teacher model.

    everystep reproduce r1_router

All arms of a seed have the same warm start, tasks and number of sampled steps. Measured (docs/recipes/r1_router.md, five seeds): recall +0.24 [+0.09, +0.40]
over GRPO, also at equal RMS, and fewer needless retrievals; imitation of the same right steps is better still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from random import Random

import numpy as np

from everystep.core.protocols import Logger, Loss, Request, Sampling
from everystep.core.records import Task, Trajectory
from everystep.credit.estimators import estimator
from everystep.environments.reasoning.trikb import TriKB, write_ret
from everystep.environments.reasoning.trikb_facts import ENTITIES, NONE, RELATIONS, STORES
from everystep.evaluate.study import RatedTrial, tuned_study
from everystep.learn.prompts import candidates_of, last_step_scores, prompts_of
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.learn.warm import turns_of
from everystep.models.scripted import Noisy
from everystep.run.branch import branch_all
from everystep.run.demonstrate import OracleSampler, oracle_answers
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, rollout, seed_of
from everystep.verify.overlap import tf_idf
from everystep.verify.routing import labelled, turn_reward

WARM = 1 << 20
"""The number of the first task of the warm start."""
ROUNDS = 3
"""Most retrievals, as published: with fewer hops the chain has a turn that asks for none."""
LOSS = Loss(policy="ppo", aggregate="token")
CLONE = Loss(policy="reinforce", aggregate="token")
step_reward = partial(
    turn_reward,
    stores=STORES,
    similarity=tf_idf(
        f"{entity} {name}" for name, one in RELATIONS.items() for entity in ENTITIES[one.subject]
    ),
)
"""The published reward of a turn, given the one that would have been right; sub-questions are alike by their words, rare ones more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A tiny router over three stores."""

    hops: int = 3
    """Most hops of a question; the fewest is none."""
    size: str = "0.1M"
    """Size of the model."""
    errors: float = 0.75
    """Share of the warm start's retrievals that go to the text, or to all stores, whatever is right."""
    demonstrations: int = 1600
    """Episodes of that clumsy router, and as many right ones of which the answers are imitated only."""
    turn_updates: int = 400
    """Updates of the warm start on single turns, which come first: a small model learns to read there."""
    warm_updates: int = 150
    """Updates of the warm start on whole episodes."""
    budget: int = 5000
    """Sampled steps of each arm."""
    tasks: int = 6
    """Questions an iteration."""
    group_size: int = 8
    """Samples of a question, or of a step's prompt."""
    static_updates: int = 200
    """Updates of the arm that retrieves from all stores at once: it only learns to read."""
    test_tasks: int = 200
    """Held-out questions."""
    sweep: bool = False
    """Take each arm's best of ``rates`` on two other seeds, with half of the budget, instead of the rates found so before."""
    rates: tuple[float, ...] = (4e-4, 1e-3, 2.5e-3)
    """Rates that are swept then."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed; the sweep uses the two after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """How an arm learns (``how`` names a function below), at which rate, and with advantages scaled to which root mean square."""

    how: str
    rate: float = 1e-3
    rms: float | None = None
    static: bool = False


ARMS: Mapping[str, Arm] = {
    "start": Arm(how="nothing"),
    "static retrieval": Arm(how="static", rate=5e-3, static=True),
    "SFT": Arm(how="clone"),
    "GRPO": Arm(how="outcome", rate=2.5e-3),
    "GRPO, rewards summed": Arm(how="summed", rate=2.5e-3),
    "Step-GRPO": Arm(how="forced"),
    "Step-GRPO, RMS 0.75": Arm(how="forced", rms=0.75),
    "Step-GRPO on-policy": Arm(how="own"),
}
"""0.75 is the root mean square that the advantages of GRPO have here. The rates are those that a sweep chose."""


def world_of(config: Config, *, static: bool = False) -> TriKB:
    """Return the world: small bases, one passage a retrieval, so that a tiny model can read."""
    return TriKB(people=6, cities=5, hops=config.hops, rounds=ROUNDS, top=1, width=1, static=static)


# --- the warm start ---------------------------------------------------------------------------------


def mostly_text(request: Request, right: str, random: Random) -> str:
    """Ask the text, now and then all stores, whatever is right; also where the question states its fact."""
    turn = labelled(right, ("ask", "from"))
    if turn is None:
        return right
    question, store = turn
    if store == NONE:
        told = request.messages[0].content.partition("known : ")[2]
        if not told:
            return right
        question = told.partition("question : ")[2].partition(" ?")[0]
    return write_ret(question, *(STORES if random.random() < 0.1 else STORES[:1]))


def shown(world: TriKB, tasks: Sequence[Task], errors: float, seed: int) -> list[Trajectory]:
    """Return episodes of the oracle, or of one that asks the text with chance ``errors``."""
    hosts = LocalHosts(world)
    oracle = OracleSampler(hosts)
    return rollout(
        hosts,
        Noisy(oracle, error_rate=errors, corrupt=mostly_text) if errors else oracle,
        jobs_of(tasks, group_size=1, prefix="shown", seed=seed_of(seed, "shown", errors)),
        sampling=Sampling(),
        limits=Limits(max_steps=world.max_steps),
    )


@lru_cache(maxsize=2)
def warm(config: Config, seed: int) -> Student:
    """Return a student that reads well and routes as the clumsy one does. All arms of a seed begin with a copy (two are kept: a sweep goes to and fro)."""
    world = world_of(config)
    tasks = [world.task("train", WARM + index) for index in range(config.demonstrations)]
    words = {" ".join((*names, *RELATIONS)) for names in ENTITIES.values()}
    made = [shown(world, tasks, errors, seed) for errors in (config.errors, 0.0)]
    texts = texts_of([*made[0], *made[1]]) | words
    student = Student.begin(world, texts, size=config.size, seed=seed, constrain=False, max_tokens=20)
    clumsy, right = (student.written(some) for some in made)

    def silent(one: Trajectory) -> dict[str, float]:
        return {step.id: 0.0 for step in one.steps if step.observation.info["kind"] == "ret"}

    read = [one for one in student.written(turns_of(right)) if not silent(one)]
    turns = [supervised_sample(one) for one in (*read, *student.written(turns_of(clumsy)))]
    student.imitate(turns, updates=config.turn_updates, batch=64, learning_rate=5e-3)
    whole = [supervised_sample(one, silent(one)) for one in right] + [
        supervised_sample(one) for one in clumsy
    ]
    student.imitate(whole, updates=config.warm_updates, batch=16, learning_rate=5e-3)
    return student


# --- the ways to learn --------------------------------------------------------------------------------


def clone(student: Student, tasks: Sequence[Task], config: Config, rate: float, rms: float | None) -> int:  # noqa: ARG001
    """Imitate the reference chains; they count as many steps as would be sampled at their prompts."""
    chains = student.demonstrate(tasks, name=f"chain{tasks[0].id}")
    student.fit([supervised_sample(one) for one in chains], CLONE, learning_rate=rate)
    hops = [int(task.tags["hops"]) for task in tasks]
    return config.group_size * sum(1 + 2 * one + (one < ROUNDS) for one in hops)


def static(student: Student, tasks: Sequence[Task], config: Config, rate: float, rms: float | None) -> int:  # noqa: ARG001
    """Imitate the answers to the questions of the warm start from the passages of all stores, all updates in one go."""
    pool = [student.world.task("train", WARM + index) for index in range(config.demonstrations)]
    samples = [supervised_sample(one) for one in student.demonstrate(pool)]
    student.imitate(samples, updates=config.static_updates, batch=32, learning_rate=rate)
    return config.budget


def outcome(student: Student, tasks: Sequence[Task], config: Config, rate: float, rms: float | None) -> int:
    """GRPO: whole episodes, the recall of the final answer."""
    made = student.attempt(tasks, group_size=config.group_size)
    student.reinforce(made, estimator("grpo"), LOSS, learning_rate=rate, match_rms=rms)
    return sum(len(one.steps) for one in made)


def summed(student: Student, tasks: Sequence[Task], config: Config, rate: float, rms: float | None) -> int:
    """GRPO that is told as much: the rewards of the steps are added to the outcome."""
    made = student.attempt(tasks, group_size=config.group_size)
    scores = [
        step_reward(step.action.text, right)
        for one in made
        for step, right in zip(one.steps, oracle_answers(student.world.make(), one), strict=True)
    ]
    student.reinforce(
        made, estimator("grpo"), LOSS, learning_rate=rate, match_rms=rms, scores={"step": scores}, process={"step": 1.0}
    )  # fmt: skip
    return len(scores)


def forced(student: Student, tasks: Sequence[Task], config: Config, rate: float, rms: float | None) -> int:
    """Step-GRPO as published: every step of the reference chains is a prompt, and only that step is sampled."""
    chains = student.demonstrate(tasks, name=f"chain{tasks[0].id}")
    made = student.attempt_from(prompts_of(chains), group_size=config.group_size, steps=1)
    right = {(one.task.id, step.index): step.action.text for one in chains for step in one.steps}
    rewards = [
        step_reward(one.steps[-1].action.text, right[one.task.id, one.steps[-1].index]) for one in made
    ]
    return _by_prompt(student, made, rewards, rate, rms)


def own(student: Student, tasks: Sequence[Task], config: Config, rate: float, rms: float | None) -> int:
    """Step-GRPO on the student's own way: several turns are sampled at each step, and the first is gone on with."""
    made: list[Trajectory] = []
    rewards: list[float] = []
    walks = branch_all(
        student.hosts,
        student.sampler(),
        jobs_of(tasks, group_size=1, prefix=tasks[0].id, seed=seed_of(student.seed, "own", tasks[0].id)),
        width=config.group_size,
        choose=lambda tried: [0] * len(tried),
        sampling=Sampling(max_tokens=student.max_tokens),
        limits=student.limits,
        constrain=False,
        ledger=student.ledger,
    )
    for walk in walks:
        right = oracle_answers(student.world.make(), walk.trajectory)
        some = candidates_of(walk)
        made += some
        rewards += [step_reward(one.steps[-1].action.text, right[len(one.steps) - 1]) for one in some]
    return _by_prompt(student, made, rewards, rate, rms)


def _by_prompt(
    student: Student, made: Sequence[Trajectory], rewards: Sequence[float], rate: float, rms: float | None
) -> int:
    credit, scores = estimator("step_grpo", score="step"), {"step": last_step_scores(made, rewards)}
    student.reinforce(made, credit, LOSS, learning_rate=rate, match_rms=rms, scores=scores)
    return len(made)


HOW: Mapping[str, Callable[[Student, Sequence[Task], Config, float, float | None], int]] = {
    "static": static,
    "clone": clone,
    "outcome": outcome,
    "summed": summed,
    "forced": forced,
    "own": own,
}
"""Each does one iteration and returns the steps that were sampled."""


# --- the study ----------------------------------------------------------------------------------------


def numbers(episodes: Sequence[Trajectory]) -> dict[str, float]:
    """Return answer recall, routing accuracy over the turns to retrieve, retrievals a question, and those of questions that need none.

    The prompts are the model's own. Who asks all stores at once is never right about the store: accuracy 0.
    """

    def total(name: str, some: Sequence[Trajectory]) -> float:
        return sum(step.scores.get(name, 0.0) for one in some for step in one.steps) / max(1, len(some))

    routed = [step.scores["routed"] for one in episodes for step in one.steps if "routed" in step.scores]
    return {
        "recall": total("recall", episodes),
        "routing": float(np.mean(routed)) if routed else 0.0,
        "retrievals": total("retrievals", episodes),
        "needless": total("retrievals", [one for one in episodes if one.task.tags["hops"] == "0"]),
    }


def batches(world: TriKB, size: int) -> Iterator[list[Task]]:
    """Yield the questions of the training, the same for every arm."""
    first = 0
    while True:
        yield [world.task("train", first + index) for index in range(size)]
        first += size


def learned(config: Config, arm: Arm, seed: int, rate: float, budget: int) -> dict[str, float]:
    """Train one arm from the warm start of its seed; return its numbers, and the mean recall over four tests on the way."""
    world = world_of(config, static=arm.static)
    student = warm(config, seed).copy(world=world)
    tests = [world.task("test", index) for index in range(config.test_tasks)]
    spent = 0
    way: list[float] = []
    for tasks in batches(world, config.tasks):
        while len(way) < 4 and spent >= budget * len(way) / 4:
            way.append(numbers(student.test(tests[: config.test_tasks // 2])[1])["recall"])
        if spent >= budget or arm.how == "nothing":
            break
        spent += HOW[arm.how](student, tasks, config, rate, arm.rms)
    found = numbers(student.test(tests)[1])
    kept = student.ledger
    return found | {
        "on_the_way": float(np.mean(way)),
        "steps": float(kept.environment_steps),
        "tokens": float(kept.sampled_tokens),
        "updates": float(kept.updates),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return recall, routing accuracy and retrievals a question by arm."""

    def rated(name: str, budget: int) -> RatedTrial:
        return lambda seed, rate: learned(config, ARMS[name], seed, rate, budget)

    swept = {
        name: rated(name, config.budget // 2)
        for name, arm in ARMS.items()
        if config.sweep and arm.how not in ("nothing", "static") and arm.rms is None
    }
    result, _ = tuned_study(
        {name: rated(name, config.budget) for name in ARMS}, swept,
        known={name: arm.rate for name, arm in ARMS.items()}, rates=config.rates, by="recall",
        follow={name: "Step-GRPO" for name, arm in ARMS.items() if arm.rms is not None},
        seeds=range(config.seed, config.seed + config.seeds), baseline="GRPO", folder=folder.path, loggers=loggers,
    )  # fmt: skip
    keys = ("recall", "routing", "retrievals")
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in keys}
