"""Step reward models and their views (S17): what do they read, the words or the mathematics?

Paper: What Are Step-Level Reward Models Rewarding? (arXiv 2412.15904). Claim: trained on preferences of a tree search, they judge as well without
the thoughts (maths only = full context), worse from the newest expression alone, and next to nothing from the next thought before its expression.

Certain (full text): a step is a thought and an expression; UCT, 6 candidates, pairs of siblings whose values differ by more than 0.7; the four
views; the contrastive loss; greedy search among 5 candidates. Ours: StepMath with three kinds of mistakes (a slip of 1 or 10, another operation, a value that is
no longer the current one), the weight of UCT, fewer iterations and tasks, a model of 0.1 M parameters that has learned additions by heart in place of
7B ones, the same for the policy and all views; the task is told to every view. Thoughts come in three kinds over the same trees: they name the operation, say
nothing, or also say how sure they are (rightly in four of five): the last is the control, in which the words do tell more than the expressions.

    everystep reproduce step_reward_views

Measured: docs/recipes/step_reward_views.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from everystep.core.protocols import Evidence, Logger, Looks, Sampling
from everystep.core.records import Sample, Task
from everystep.data.siblings import value_pairs
from everystep.environments.reasoning.numerals import spell
from everystep.environments.reasoning.stepmath import State, StepMath
from everystep.evaluate.equivalence import Equivalence, equivalence
from everystep.evaluate.study import Study, Trial, study
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.step_reward import RANKING, ranking_samples
from everystep.learn.student import Student
from everystep.models.local import LocalModel
from everystep.run.branch import Chooser, Tried, branch_all
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Job, Limits, jobs_of, rollout, seed_of
from everystep.run.search import SearchTree, search
from everystep.verify.choose import Score, by_score
from everystep.verify.estimators import Labels, log_odds
from everystep.verify.evidence import tree_evidence
from everystep.verify.views import EXPRESSION, FULL, MATHS, NEWEST, NEXT_THOUGHT, StepView, parts_of

LOOKS = Looks(actions=None, observations=0)
VIEWS = (FULL, MATHS, NEWEST, NEXT_THOUGHT)
ASK, GOOD, BAD = "right ?", "yes", "no"
KINDS = ("drift", "operation", "stale")
FIRST = {"train": 2_000, "test": 1_000}
"""How far apart the problems of two seeds begin."""
_SIDES = re.compile(r"(.*\d) ([-+]) \d+ =")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A search annotates steps; models that see parts of them learn its preferences and guide a policy."""

    steps: int = 3
    """Steps of a problem."""
    size: str = "0.1M"
    """Parameters of the policy and of each reward model."""
    facts: int = 500
    """Updates in which the model that all begin from learns sums by heart."""
    solutions: int = 700
    """Updates in which it then learns right solutions."""
    demonstrations: int = 300
    """Problems that the policy is shown."""
    errors: float = 0.3
    """Share of the steps that are mistakes there."""
    policy_updates: int = 60
    policy_rate: float = 2e-3
    tasks: int = 240
    """Problems that are searched for training pairs."""
    test_tasks: int = 80
    """Problems for held-out pairs, and for the guided search."""
    iterations: int = 60
    """Simulations a problem."""
    width: int = 10
    """Candidates of a leaf; those that say the same are one."""
    temperature: float = 1.5
    """Temperature of the search's candidates, so that they differ."""
    weight: float = 0.2
    """Weight of what is not known yet in the choice of the next simulation."""
    margin: float = 0.7
    """Siblings whose values differ by more make a pair."""
    least_visits: int = 1
    epochs: int = 3
    minibatches: int = 60
    rate: float = 2e-3
    """Learning rate of the reward models."""
    equivalent: float = 0.05
    """Accuracies that differ by less are taken to be the same; fixed before the runs."""
    seeds: int = 5
    seed: int = 0
    """The first seed."""


def world_of(config: Config, thoughts: str = "operation") -> StepMath:
    """Return the world: every step stands, and one of seven candidates is right."""
    return StepMath(
        steps=config.steps, horizon=config.steps, operations="+-", mode="choose", choices=7, undo=False,
        mistakes=",".join(KINDS), thoughts=thoughts,
    )  # fmt: skip


@lru_cache(maxsize=64)
def clear_tasks(world: StepMath, split: str, first: int, count: int) -> tuple[Task, ...]:
    """Return problems of which one way alone leads to the right end; in others mistakes cancel, and a wrong step can be worth more than the right one."""
    found: list[Task] = []
    while len(found) < count:
        task = world.task(split, first)
        first += 1
        if ways(world, world.start(task)) == 1:
            found.append(task)
    return tuple(found)


def ways(world: StepMath, state: State) -> int:
    """Count the ways from a state to the right end."""
    found = 0
    for text in world.observe(state).admissible or ():
        outcome = world.advance(state, world.parse(text))
        found += outcome.success is True if outcome.over else ways(world, outcome.state)
    return found


# --- the model that all begin from, the policy, the trees ------------------------------------------


@lru_cache(maxsize=1)
def base_of(config: Config) -> Student:
    """Return a model that knows the words of the world and, by heart, its additions and subtractions. It is the same for every seed."""
    told = {ASK, GOOD, BAD, ";"}
    for thoughts in ("operation", "filler", "hedged"):
        world = world_of(config, thoughts)
        hosts = LocalHosts(world)
        jobs = jobs_of([world.task("train", index) for index in range(100)], group_size=1, prefix="d", seed=0)
        shown = rollout(
            hosts,
            demonstrator(hosts, error_rate=0.5),
            jobs,
            sampling=Sampling(),
            limits=Limits(max_steps=config.steps),
        )
        told |= texts_of(shown)
    student = Student.begin(world_of(config), told, size=config.size)
    student.imitate(equations(student), updates=config.facts, batch=64, learning_rate=6e-3)
    right = student.demonstrate(
        [world_of(config).task("train", 100_000 + n) for n in range(4 * config.solutions)]
    )
    student.imitate([supervised_sample(one) for one in right], updates=config.solutions, learning_rate=4e-3)
    return student


def equations(student: Student) -> list[Sample]:
    """Return every sum and difference that the problems can need, the result to be written."""
    template, rows = student.model.template, []
    for left in range(-9, 46):
        for right in range(2, 10):
            for operation, result in (("+", left + right), ("-", left - right)):
                asked = template.encode(f"{spell(left)} {operation} {spell(right)} =")
                ids = (
                    *template.encode(f"{spell(left)} {operation} {spell(right)} = {spell(result)}"),
                    *template.end,
                )
                rows.append(
                    Sample(
                        ids=ids, supervised_weight=tuple(float(at >= len(asked)) for at in range(len(ids)))
                    )
                )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What all views of a seed share."""

    base: Student
    policy: Student
    trees: tuple[SearchTree, ...]
    held_out: tuple[SearchTree, ...]


@lru_cache(maxsize=1)
def prepared(config: Config, seed: int) -> Prepared:
    """Return the policy of a seed and the trees that it grew."""
    base = base_of(config)
    world = world_of(config)
    policy = base.copy()
    policy.seed = seed
    shown = policy.demonstrate(
        [world.task("train", 10_000 * (1 + seed) + n) for n in range(config.demonstrations)],
        error_rate=config.errors,
    )
    rows = [supervised_sample(one, restrict=True) for one in shown]
    policy.imitate(rows, updates=config.policy_updates, learning_rate=config.policy_rate)

    def grow(split: str, count: int) -> tuple[SearchTree, ...]:
        jobs = [
            Job(id=f"{split}{seed}.{n}", task=task, group=f"{n}", seed=seed_of(seed, split, n))
            for n, task in enumerate(clear_tasks(world, split, FIRST[split] * seed, count))
        ]
        return tuple(
            search(
                policy.hosts, policy.sampler(), jobs, iterations=config.iterations, width=config.width, weight=config.weight,
                sampling=Sampling(temperature=config.temperature), limits=policy.limits, ledger=policy.ledger,
            )
        )  # fmt: skip

    return Prepared(
        base=base, policy=policy, trees=grow("train", config.tasks), held_out=grow("test", config.test_tasks)
    )


# --- views over reworded steps ---------------------------------------------------------------------


def reworded(evidence: Evidence, world: StepMath) -> Evidence:
    """Return the same expressions with the thoughts of another world."""
    steps = (*evidence.before, evidence.step)
    expressions = tuple(parts_of(step.action.text)[EXPRESSION] for step in steps)
    texts = thoughts_of(world, evidence.task.seed, expressions)
    told = [
        replace(step, action=replace(step.action, text=text)) for step, text in zip(steps, texts, strict=True)
    ]
    return replace(evidence, before=tuple(told[:-1]), candidates=((told[-1],),))


@lru_cache(maxsize=1 << 16)
def thoughts_of(world: StepMath, seed: int, expressions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the steps with these expressions as ``world`` lists them in the problem of ``seed``."""
    state = world.start(Task(id="", instruction="", environment=world.name, seed=seed))
    texts: list[str] = []
    for expression in expressions:
        listed = world.observe(state).admissible or ()
        texts.append(next(text for text in listed if parts_of(text)[EXPRESSION] == expression))
        state = world.advance(state, world.parse(texts[-1])).state
    return tuple(texts)


def form_of(model: LocalModel, view: StepView, world: StepMath) -> Labels:
    """Return how a step is written for a reward model that reads ``view``."""
    return Labels(
        encode=model.template.encode, tell=lambda evidence: view.tell(reworded(evidence, world)),
        ask=ASK, good=GOOD, bad=BAD,
    )  # fmt: skip


# --- arms ------------------------------------------------------------------------------------------


def trained(config: Config, seed: int, view: StepView, thoughts: str) -> Score:
    """Train a reward model that reads ``view`` on the pairs of the seed's trees."""
    common = prepared(config, seed)
    student = common.base.copy()
    student.seed = seed
    form = form_of(student.model, view, world_of(config, thoughts))
    made = value_pairs(common.trees, margin=config.margin, least_visits=config.least_visits)
    rows = ranking_samples(made.pairs, evidence_of(common.trees), form)
    student.fit(
        rows, RANKING, learning_rate=config.rate, epochs=config.epochs, minibatches=config.minibatches
    )
    return lambda evidence: log_odds(student.learner, form, evidence)


def evidence_of(trees: Iterable[SearchTree]) -> dict[str, Evidence]:
    """Return the evidence about every step of the trees, by id."""
    return {one.targets[0]: one for tree in trees for one in tree_evidence(tree, LOOKS)}


def pair_accuracy(config: Config, trees: Sequence[SearchTree], score: Score) -> dict[str, float]:
    """Return the share of pairs that are scored in order, a tie counting half, of all and by the kind of mistake."""
    pairs = value_pairs(trees, margin=config.margin, least_visits=config.least_visits).pairs
    evidence = evidence_of(trees)
    names = sorted({name for pair in pairs for name in (pair.chosen, pair.rejected)})
    scores = dict(zip(names, score([evidence[name] for name in names]), strict=True))
    found: dict[str, list[float]] = {"pairs": [], **{kind: [] for kind in KINDS}}
    for pair in pairs:
        gap = scores[pair.chosen] - scores[pair.rejected]
        hit = 0.5 if gap == 0 else float(gap > 0)
        found["pairs"].append(hit)
        found[kind_of(evidence[pair.chosen], evidence[pair.rejected])].append(hit)
    return {name: float(np.mean(hits)) if hits else 0.5 for name, hits in found.items()}


def kind_of(right: Evidence, wrong: Evidence) -> str:
    """Return what kind of mistake a step is beside the right one."""
    sides = [_SIDES.match(parts_of(one.step.action.text)[EXPRESSION]) for one in (right, wrong)]
    (left, operation), (other, other_operation) = (side.groups() if side else ("", "") for side in sides)
    return "stale" if left != other else "operation" if operation != other_operation else "drift"


def guided(config: Config, seed: int, choose: Chooser) -> float:
    """Return the share of held-out problems that the policy solves when ``choose`` picks among 5 candidates a step."""
    policy = prepared(config, seed).policy
    tasks = clear_tasks(world_of(config), "test", FIRST["test"] * seed, config.test_tasks)
    jobs = [
        Job(id=f"g{n}", task=task, group=f"{n}", seed=seed_of(seed, "guided", n))
        for n, task in enumerate(tasks)
    ]
    found = branch_all(
        policy.hosts, policy.sampler(), jobs, width=5, choose=choose, sampling=Sampling(), limits=policy.limits,
    )  # fmt: skip
    return float(np.mean([one.trajectory.success is True for one in found]))


def by_progress(tried: Sequence[Tried]) -> list[int]:
    """Pick the candidate that the world knows to be nearest to the right end."""
    return [max(range(len(one.steps)), key=lambda n: one.steps[n].scores["progress"]) for one in tried]


def measured(config: Config, seed: int, view: StepView, thoughts: str) -> dict[str, float]:
    """Train one reward model; return how it orders held-out pairs and how far it guides the policy."""
    score = trained(config, seed, view, thoughts)
    pairs = pair_accuracy(config, prepared(config, seed).held_out, score)
    return {**pairs, "search": guided(config, seed, by_score(score, LOOKS))}


ARMS: Mapping[str, tuple[StepView, str]] = {
    "full context": (FULL, "operation"),
    "maths only": (MATHS, "operation"),
    "newest expression": (NEWEST, "operation"),
    "next thought": (NEXT_THOUGHT, "operation"),
    "full context, filler": (FULL, "filler"),
    "next thought, filler": (NEXT_THOUGHT, "filler"),
    "full context, hedged": (FULL, "hedged"),
}
"""The view and what the thoughts say; maths only and the newest expression read none."""


def compared(result: Study, margin: float) -> dict[str, Equivalence]:
    """Test each full context for equivalence with maths only."""
    maths = result.arm("maths only")
    return {
        f"{arm.name} = maths only, {key}": equivalence(arm.values[key], maths.values[key], margin=margin)
        for arm in result.arms
        for key in ("pairs", "search")
        if arm.name.startswith("full context")
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run all views with every seed; return accuracies by arm, and the p-values of the equivalence tests."""

    def trial_of(view: StepView, thoughts: str) -> Trial:
        return lambda seed: measured(config, seed, view, thoughts)

    def chance(seed: int) -> dict[str, float]:
        search_ = guided(config, seed, lambda tried: [0 for _ in tried])
        return {**dict.fromkeys(("pairs", *KINDS), 0.5), "search": search_}

    def knows(seed: int) -> dict[str, float]:
        return {**dict.fromkeys(("pairs", *KINDS), 1.0), "search": guided(config, seed, by_progress)}

    arms: dict[str, Trial] = {"policy alone": chance}
    arms |= {name: trial_of(*arm) for name, arm in ARMS.items()}
    arms["knows the right step"] = knows
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline="maths only", folder=folder.path, loggers=loggers)
    told = {f"{key} {arm.name}": arm.means[key].value for arm in result.arms for key in ("pairs", "search")}
    if config.seeds > 1:
        tests = compared(result, config.equivalent)
        lines = [
            f"{name}: {one.difference} (90 % interval), p {one.p:.3f}: {'' if one.equivalent else 'not '}shown to be within {one.margin:g}"
            for name, one in tests.items()
        ]
        (folder.path / "equivalence.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        told |= {f"p {name}": one.p for name, one in tests.items()}
    return told
