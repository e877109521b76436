#!/usr/bin/env python3
"""ProcBench's published cases as voted steps with known truth: counts and success against the forecast, family by family.

    python benchmarks/procbench.py                         the packaged sample of cases
    EVERYSTEP_DATA=... python benchmarks/procbench.py --cases published --per-family 40

Every state of a case is known, so each step's vote can be judged. The policy knows the next state and errs with a stated probability, always
in the same way: the worst case of the formulas. The forecast comes from other cases of the same family than those that are run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

from everystep.core.protocols import Environment, Generation, Oracle, Request, Sampling, Situation
from everystep.core.records import Stop, Task
from everystep.environments.reasoning.procbench import ProcBench
from everystep.environments.reasoning.procbench_cases import FAMILIES
from everystep.run.context import Window
from everystep.run.decide import Decider, Role, Way
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.measure import wilson
from everystep.run.parts import Parts
from everystep.run.rollout import seed_of
from everystep.run.vote import AheadBy, Single
from everystep.verify.calibrate import Tally, calibrate
from everystep.verify.flags import BadFormat
from everystep.verify.forecast import forecast
from everystep.verify.probe import probe
from everystep.verify.race import expected_votes


class Knows:
    """Answers with the true next state; errs with probability ``error``; ``ill`` of the answers are not JSON."""

    policy = "knows"

    def __init__(self, environment: Environment, error: float, ill: float) -> None:
        self.environment, self.error, self.ill = environment, error, ill

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        assert isinstance(self.environment, Oracle)
        right = self.environment.oracle()
        return [Generation(text=self._text(right, Random(one.seed)), stop=Stop.STOP) for one in requests]

    def _text(self, right: str, rng: Random) -> str:
        if rng.random() < self.ill:
            return "I think that the next state is as follows"
        return wrong(right) if rng.random() < self.error else right

    def release(self, sessions: Sequence[str]) -> None:
        pass


def wrong(right: str) -> str:
    """Return one other answer of the same form."""
    final, text = (right[:6], right[6:]) if right.startswith("FINAL ") else ("", right)
    value = json.loads(text)
    if isinstance(value, list):
        value = [*value, "x"]
    else:
        value = value + 1 if isinstance(value, int | float) else f"{value}x"
    return final + json.dumps(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="sample")
    parser.add_argument("--per-family", type=int, default=2, help="cases that are run in each family")
    parser.add_argument("--error", type=float, default=0.15)
    parser.add_argument("--ill", type=float, default=0.05)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    print(
        "| family | cases | steps | margin | solved, one sample | solved, voted | by the formula | samples a step | by the formula | wrong votes won |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    total = Total()
    for family in FAMILIES.values():
        try:
            row = one_family(asked, family, total)
        except Exception as error:
            print(f"| {family} | none: {str(error).split('.')[0]} |")
            continue
        print(row, flush=True)
    low, high = wilson(total.solved / total.runs, total.runs)
    print(
        f"\nall: {total.solved} of {total.runs} runs solved, {total.solved / total.runs:.3f} [{low:.3f}, {high:.3f}]; expected "
        f"{total.expected / total.runs:.3f}. {total.samples / total.steps:.3f} samples a step, expected {total.foreseen / total.steps:.3f}."
    )


class Total:
    """Sums over the families."""

    runs = solved = steps = 0
    samples = expected = foreseen = 0.0


def one_family(asked: argparse.Namespace, family: str, total: Total) -> str:
    world = ProcBench(cases=asked.cases, family=family)
    environment = world.make()
    knows = Knows(environment, asked.error, asked.ill)
    tasks = [world.task("test", i) for i in range(min(asked.per_family, world.size("test") or 0))]
    others = [world.task("train", i) for i in range(min(asked.per_family, world.size("train") or 0))]
    if not tasks or not others:
        raise ValueError("no cases of this family in the set")
    lengths = [steps_of(environment, task) for task in tasks]
    found = asyncio.run(look(environment, others, knows))
    seen = calibrate(found)
    said = forecast(seen, steps=max(lengths), target=asked.target)
    chance, steps_total, samples, solved, alone = 0.0, 0, 0.0, 0, 0
    wrong_won = 0
    for task, length in zip(tasks, lengths, strict=True):
        for repeat in range(asked.repeats):
            good, used, _ = solve(environment, knows, task, said.used, repeat)
            single, _, _ = solve(environment, knows, task, 1, repeat + 1000)
            solved, alone, samples, steps_total = (
                solved + good,
                alone + single,
                samples + used[0],
                steps_total + used[1],
            )
            wrong_won += not good
            told = forecast(seen, steps=length, target=asked.target, k=said.used)
            chance += told.chance.value
    runs = len(tasks) * asked.repeats
    valid = 1 - asked.ill
    per_step = expected_votes(1 - asked.error, said.used) / valid
    total.runs, total.solved, total.steps = (
        total.runs + runs,
        total.solved + solved,
        total.steps + steps_total,
    )
    total.samples, total.expected, total.foreseen = (
        total.samples + samples,
        total.expected + chance,
        total.foreseen + per_step * steps_total,
    )
    return (
        f"| {family} | {len(tasks)} | {sum(lengths)} | {said.used} | {alone}/{runs} | {solved}/{runs} | {chance / runs:.3f} | "
        f"{samples / steps_total:.3f} | {per_step:.3f} | {wrong_won} |"
    )


def steps_of(environment: Environment, task: Task) -> int:
    assert isinstance(environment, Oracle)
    environment.reset(task)
    count, over = 0, False
    while not over:
        done = environment.step(environment.parse(environment.oracle()))
        count, over = count + 1, done.terminated or done.truncated
    return count


async def look(environment: Environment, tasks: Sequence[Task], knows: Knows) -> list[Tally]:
    """Sample every step of the right path of some cases."""
    assert isinstance(environment, Oracle)
    role, decider, tallies = role_of(knows, 1), Decider(seed=99), []
    for task in tasks:
        seen, index, over = environment.reset(task), 0, False
        while not over:
            right = environment.oracle()
            situation = Situation(
                run="probe",
                task=task,
                node="main",
                goal="",
                step=f"{task.id}/{index}",
                index=index,
                observation=seen,
            )
            tallies += await probe(
                [situation],
                lambda one, sample: decider.draw(role, one, sample, parse=environment.parse),
                samples=20,
                truth=lambda _one, candidate, right=right: candidate.action.text.strip() == right,
                name=lambda one: one.step,
            )
            done = environment.step(environment.parse(right))
            seen, index, over = done.observation, index + 1, done.terminated or done.truncated
    return tallies


def role_of(knows: Knows, k: int) -> Role:
    way = Way(sampler=knows, context=Window(steps=0))
    return Role(name="agent", ways=(way,), flags=(BadFormat(),), vote=Single() if k == 1 else AheadBy(k))


def solve(
    environment: Environment, knows: Knows, task: Task, k: int, seed: int
) -> tuple[bool, tuple[float, int], str]:
    with tempfile.TemporaryDirectory() as folder, Journal.create(Path(folder) / "j", {}) as journal:
        runner = Runner(
            run="p",
            task=task,
            environment=environment,
            parts=Parts(operator=role_of(knows, k)),
            journal=journal,
            seed=seed_of(seed, task.id),
        )
        outcome = asyncio.run(runner.run())
    return outcome.success is True, (outcome.cost.get("samples", 0.0), outcome.steps), outcome.why


if __name__ == "__main__":
    main()
