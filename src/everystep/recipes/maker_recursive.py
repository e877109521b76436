"""MAKER's recursive variant (S40): who decomposes, who judges the decomposition, who solves, who judges the answers: four roles, votes at each.

Paper: Solving a Million-Step LLM Task with Zero Errors (arXiv 2511.09030), algorithm 4. Claim: products of two 5-digit numbers come out right
in every case, 6-digit ones in about 0.95, as the margin grows.

Certain (paper and released code): the four roles, N = 2k - 1 candidates at each place, a judge votes by index, first to k wins, else the most
frequent; a problem that is not decomposed is solved at once. Ours: products are split by the digits of the longer factor; the roles are scripted: a solver
is right with probability (1 - error)^(digits x digits), decomposers and judges err at a stated rate, so the *mechanism* is measured.

    everystep reproduce maker_recursive

Measured: docs/recipes/maker.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from everystep.core.protocols import Candidate, Generation, Logger, Request, Sampling, Situation
from everystep.core.records import Message, Observation, Stop, Task
from everystep.environments.reasoning.thinking import Thinking
from everystep.evaluate.study import Trial, study
from everystep.run.decide import AtCap, Decider, Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import scratch
from everystep.run.loop import Runner
from everystep.run.nodes import Edit, Node, NodeKind
from everystep.run.parts import Parts
from everystep.run.plan import Plan
from everystep.run.rollout import seed_of
from everystep.run.vote import FirstTo, Judged, Single

_PRODUCT = re.compile(r"(\d+) \* (\d+)")
_SUM = re.compile(r"(\d+) \* 10\^(\d+) \+ (\d+)")
_SPLIT = re.compile(r"(\d+) \* (\d+) ; (\d+) \* (\d+) ; (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Products by recursive decomposition, with scripted roles of stated errors."""

    digits: int = 6
    """Digits of both factors."""
    error: float = 0.05
    """A solver's chance of an error for one digit by one digit; also the chance that a sum is wrong."""
    split_error: float = 0.1
    """Chance that a decomposition is wrong."""
    judge_error: float = 0.15
    """Chance that a judge's vote is drawn at random."""
    margins: tuple[int, ...] = (1, 2, 3)
    """Margins k; 2k - 1 candidates at each place."""
    depth: int = 5
    """Levels of decomposition at most."""
    seeds: int = 40
    """Paired seeds; each is one product."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """The view of any role: what is asked, and what is to be judged."""

    window: int = 0

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """Return the question; a sum is asked for with the results that the node needs."""
        results = [note.partition(": ")[2] for note in situation.notes]
        goal = situation.goal.format(*results) if results else situation.goal
        return (Message(role="user", content=goal),)


def answer(question: str) -> str:
    """Return the right answer to a product or a sum."""
    found = _SUM.search(question)
    if found is not None:
        return str(int(found[1]) * 10 ** int(found[2]) + int(found[3]))
    found = _PRODUCT.search(question)
    return str(int(found[1]) * int(found[2])) if found else ""


def split(question: str) -> str:
    """Return the right decomposition of a product: ``high * b ; low * b ; digits of low``, "" where both factors have one digit."""
    found = _PRODUCT.search(question)
    if found is None:
        return ""
    a, b = sorted((found[1], found[2]), key=len, reverse=True)
    half = len(a) // 2
    return f"{a[:-half]} * {b} ; {int(a[-half:])} * {b} ; {half}" if half else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A solver, a decomposer (``splits``) with stated errors; the error of a product grows with its size."""

    error: float
    splits: bool = False
    policy: str = "scripted"

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:  # noqa: ARG002
        """Answer all requests."""
        return [Generation(text=self._text(one), stop=Stop.STOP) for one in requests]

    def release(self, sessions: Sequence[str]) -> None:
        """Nothing is kept."""

    def _text(self, request: Request) -> str:
        question, rng = request.messages[-1].content, Random(request.seed)
        found = None if self.splits else _PRODUCT.fullmatch(question)
        size = len(found[1]) * len(found[2]) if found else 1
        right = split(question) if self.splits else answer(question)
        if not right or rng.random() < (1 - self.error) ** size:
            return right
        digits = [place for place, letter in enumerate(right) if letter.isdigit()]
        place = rng.choice(digits)
        return f"{right[:place]}{(int(right[place]) + rng.randrange(1, 10)) % 10}{right[place + 1 :]}"


@dataclass(slots=True, kw_only=True)
class Judge:
    """Votes by index among candidates: first to ``k``, else the most frequent; a vote is drawn at random with probability ``error``."""

    k: int
    error: float
    seed: int
    calls: int = 0

    async def pick(self, situation: Situation, candidates: Sequence[Candidate]) -> int | None:
        """Return the index of the chosen candidate."""
        return self.choose(
            situation.step, situation.goal, situation.notes, [one.action.text for one in candidates]
        )

    def choose(self, step: str, goal: str, notes: Sequence[str], texts: Sequence[str]) -> int:
        """Vote until somebody has ``k``, at most 2k - 1 times."""
        question = goal.format(*(note.partition(": ")[2] for note in notes)) if notes else goal
        right = {answer(question), split(question)}
        best = next((i for i, text in enumerate(texts) if text in right), 0)
        counts = [0] * len(texts)
        for vote in range(2 * self.k - 1):
            self.calls += 1
            rng = Random(seed_of(self.seed, step, vote))
            counts[rng.randrange(len(texts)) if rng.random() < self.error else best] += 1
            if max(counts) >= self.k:
                break
        return counts.index(max(counts))


@dataclass(slots=True, kw_only=True)
class Decomposes:
    """The planner: a composite product becomes two smaller ones and their sum, as the decomposers propose and the judge picks."""

    role: Role
    judge: Judge
    decider: Decider
    candidates: int
    depth: int
    calls: int = field(default=0)

    async def expand(
        self, task: Task, plan: Plan, node: Node | None, observation: Observation
    ) -> Sequence[Edit]:
        """Return the nodes under a product."""
        assert node is not None  # noqa: S101 -- the plan begins with the product
        situation = Situation(
            run="r",
            task=task,
            node=node.id,
            goal=node.instruction,
            step=node.id,
            index=0,
            observation=observation,
        )
        drawn = [await self.decider.draw(self.role, situation, number) for number in range(self.candidates)]
        self.calls += len(drawn)
        texts = list(dict.fromkeys(one.action.text for one in drawn))
        index = self.judge.choose(node.id, node.instruction, (), texts) if len(texts) > 1 else 0
        return [plan.expanded(node.id, self._nodes(node.id, texts[index], node.instruction))]

    async def repair(
        self, task: Task, plan: Plan, node: Node, why: str, observation: Observation
    ) -> Sequence[Edit]:
        """Nothing is repaired: a node that cannot be solved fails."""
        del task, plan, node, why, observation
        return ()

    def _nodes(self, name: str, text: str, question: str) -> list[Node]:
        found = _SPLIT.fullmatch(text)
        if found is None:
            return [Node(id=f"{name}.1", instruction=question)]
        high, low = f"{found[1]} * {found[2]}", f"{found[3]} * {found[4]}"
        needs = (f"{name}.1", f"{name}.2")
        return [
            self._node(needs[0], high),
            self._node(needs[1], low),
            Node(id=f"{name}.3", instruction=f"{{}} * 10^{found[5]} + {{}}", needs=needs),
        ]

    def _node(self, name: str, question: str) -> Node:
        deeper = bool(split(question)) and name.count(".") < self.depth
        return Node(id=name, instruction=question, kind=NodeKind.COMPOSITE if deeper else NodeKind.ATOMIC)


def multiply(config: Config, seed: int, *, k: int, decompose: bool) -> dict[str, float]:
    """Work out one product; return whether it is right and how many calls it took."""
    rng = Random(seed_of("product", seed))
    low, high = 10 ** (config.digits - 1), 10**config.digits - 1
    question = f"{rng.randint(low, high)} * {rng.randint(low, high)}"
    judge = Judge(k=k, error=config.judge_error, seed=seed)
    solver = Way(sampler=Scripted(error=config.error), context=Says())
    vote = Judged(2 * k - 1, judge.pick) if decompose else FirstTo(k, cap=2 * k - 1)
    role = Role(name="solver", ways=(solver,), vote=vote, at_cap=AtCap.BEST)
    splits = Way(sampler=Scripted(error=config.split_error, splits=True), context=Says())
    planner = Decomposes(
        role=Role(name="decomposer", ways=(splits,), vote=Single()),
        judge=judge,
        decider=Decider(seed=seed),
        candidates=2 * k - 1,
        depth=config.depth,
    )
    kind = NodeKind.COMPOSITE if decompose else NodeKind.ATOMIC
    with scratch() as journal:
        runner = Runner(
            run="product",
            task=Task(id=question, instruction=question, environment="thinking"),
            environment=Thinking(),
            parts=Parts(operator=role, planner=planner, finish=lambda action: action.text),
            journal=journal,
            seed=seed,
            plan=Plan([Node(id="0", instruction=question, kind=kind)]),
        )
        outcome = asyncio.run(runner.run())
        said = runner.plan.result("0") if runner.plan is not None else ""
    calls = outcome.cost.get("samples", 0.0) + planner.calls + judge.calls
    return {"right": float(said == answer(question)), "calls": calls}


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the share of right products by arm."""

    def arm(k: int, *, decompose: bool) -> Trial:
        return lambda seed: multiply(config, seed, k=k, decompose=decompose)

    arms = {f"at once, k={k}": arm(k, decompose=False) for k in config.margins}
    arms |= {f"recursive, k={k}": arm(k, decompose=True) for k in config.margins}
    seeds = range(config.seed, config.seed + config.seeds)
    result = study(arms, seeds=seeds, baseline=next(iter(arms)), folder=folder.path, loggers=loggers)
    return {f"right {one.name}": one.means["right"].value for one in result.arms}
