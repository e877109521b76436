"""MAKER (S40): a million dependent steps without an error, by extreme decomposition, votes and red flags.

Paper: Solving a Million-Step LLM Task with Zero Errors (arXiv 2511.09030). Claim: Towers of Hanoi with 20 disks, 1,048,575 steps, no error
with gpt-4.1-mini, a margin of 3, each step decided by a micro-agent that sees the previous move and the state only.

Certain (paper and released notebook): the prompt's content, the answer (move and next state), the vote on the pair, first-to-ahead-by-k, the red
flags (length, strict format), the formulas. Ours: the model is ``Stepper``, which follows the prompt's strategy and errs at a stated
rate, so the *mechanism* is measured, not a language model; hard states and rambling answers imitate correlated errors;
decorrelation mixes three wordings of the prompt, which the paper proposes and does not test.

    everystep reproduce maker
    everystep reproduce maker --disks 8 --error 0.02

Measured: docs/recipes/maker.md, with the million-step run of ``benchmarks/million.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from everystep.core.protocols import Candidate, Logger, Situation, VoteRule
from everystep.core.records import Action, Task
from everystep.environments.places.hanoi import Hanoi
from everystep.environments.places.hanoi_micro import (
    Micro,
    Stepper,
    next_move,
    pegs_move,
    pegs_of,
    read_answer,
    situations,
    turn_of,
)
from everystep.evaluate.study import Trial, study
from everystep.run.decide import Decider, Role, Way
from everystep.run.folder import RunFolder
from everystep.run.journal import Journal
from everystep.run.loop import Runner
from everystep.run.parts import Bounds, Parts
from everystep.run.vote import AheadBy, Single
from everystep.verify.calibrate import Tally, calibrate
from everystep.verify.flags import BadFormat, TooLong
from everystep.verify.forecast import Forecast, forecast
from everystep.verify.mend import mend
from everystep.verify.probe import probe

_MOST_CHARS = 400


def answer_key(action: Action, text: str) -> str:  # noqa: ARG001
    """Votes are for the whole pair of move and next state."""
    return text[max(0, text.find("move = ")) :].strip()


def agent(
    stepper: Any, vote: VoteRule, *, turn: int, flags: bool = True, wordings: Sequence[int] = (0,)
) -> Role:
    """Return the micro-agent: any sampler will do in place of the stepper. Several wordings are asked in turn."""
    ways = tuple(Way(sampler=stepper, context=Micro(turn=turn, wording=one)) for one in wordings)
    kept = (TooLong(max_chars=_MOST_CHARS), BadFormat()) if flags else (BadFormat(),)
    parse = read_answer if flags else lambda text: read_answer(text[text.find("move = ") :])
    return Role(name="micro", ways=ways, cycle=True, parse=parse, flags=kept, key=answer_key, vote=vote)


# --- the study ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """MAKER on Towers of Hanoi with a policy of stated errors."""

    disks: int = 10
    """Disks; the task has 2^disks - 1 steps."""
    error: float = 0.1
    """Chance that one sample is wrong."""
    hard: float = 0.005
    """Share of hard states in the arms that have them."""
    hard_error: float = 0.6
    """Chance that a sample is wrong at a hard state: above one half no margin helps."""
    ramble: float = 0.15
    """Share of over-long samples in the arms that have them."""
    target: float = 0.95
    """Chance of an errorless run that the margin is chosen for."""
    probed: int = 1023
    """Steps of the path that are sampled for the calibration."""
    samples: int = 20
    """Samples at each of them."""
    seeds: int = 20
    """Paired seeds."""
    seed: int = 0
    """The first seed."""


async def tallies(
    role: Role, world: Hanoi, task: Task, *, count: int, samples: int, seed: int
) -> list[Tally]:
    """Sample ``role`` at ``count`` steps of the right path, whose moves are known."""
    decider = Decider(seed=seed)
    turn = turn_of(world, task)

    def right(situation: Situation, candidate: Candidate) -> bool:
        before = pegs_move(situation.recent[-1].action.text) if situation.recent else None
        move = next_move(pegs_of(situation.observation), before, turn)
        return candidate.action.valid and pegs_move(candidate.action.text) == move

    return await probe(
        situations(world, task, count=count, seed=seed),
        lambda situation, sample: decider.draw(role, situation, sample),
        samples=samples,
        truth=right,
        name=lambda situation: situation.step,
    )


def solve(role: Role, world: Hanoi, task: Task, journal: Journal, *, seed: int) -> dict[str, float]:
    """Run one voted solution; return whether it is right and what it took."""
    steps = (1 << world.disks) - 1
    runner = Runner(
        run="maker",
        task=task,
        environment=world.make(),
        parts=Parts(operator=role),
        journal=journal,
        bounds=Bounds(max_steps=steps),
        seed=seed,
    )
    outcome = asyncio.run(runner.run())
    good = outcome.success is True and outcome.steps == steps
    return {
        "solved": float(good),
        "samples_per_step": outcome.cost.get("samples", 0.0) / max(1, outcome.steps),
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return the share of solved runs by arm."""
    world = Hanoi(disks=config.disks, start_from="full")
    task = world.task("train", 0)
    turn = turn_of(world, task)
    plain = Stepper(error=config.error)
    hard = replace(plain, hard=config.hard, hard_error=config.hard_error)
    rambling = replace(plain, ramble=config.ramble)
    steps = (1 << config.disks) - 1

    def look(stepper: Stepper, **how: Any) -> list[Tally]:
        role = agent(stepper, Single(), turn=turn, **how)
        return asyncio.run(
            tallies(role, world, task, count=config.probed, samples=config.samples, seed=config.seed + 10_000)
        )

    def told(found: list[Tally], k: int | None = None) -> Forecast:
        return forecast(calibrate(found), steps=steps, target=config.target, k=k)

    first, bad = look(plain), look(hard)
    mix = mend({"0": bad, "1": look(hard, wordings=(1,)), "2": look(hard, wordings=(2,))}, slots=9)
    mixed = tuple(int(one) for one in mix.ways)
    looked = {
        "one sample": first,
        "voted": first,
        "hard states": bad,
        "hard states, three wordings": look(hard, wordings=mixed),
        "rambling, no flags": look(rambling, flags=False),
        "rambling, flags": look(rambling),
    }
    usual = told(first).used
    margins = dict.fromkeys(looked, usual) | {"one sample": 1}
    margins["hard states, three wordings"] = told(looked["hard states, three wordings"]).used
    expected = {name: told(found, margins[name]) for name, found in looked.items()}

    def role(name: str, stepper: Stepper, **how: Any) -> Role:
        return agent(stepper, AheadBy(margins[name], cap=1000), turn=turn, **how)

    roles = {
        "one sample": role("one sample", plain),
        "voted": role("voted", plain),
        "hard states": role("hard states", hard),
        "hard states, three wordings": role("hard states, three wordings", hard, wordings=mixed),
        "rambling, no flags": role("rambling, no flags", rambling, flags=False),
        "rambling, flags": role("rambling, flags", rambling),
    }

    def arm(name: str) -> Trial:
        def trial(seed: int) -> dict[str, float]:
            with Journal.create(folder.path / "journals" / f"{name}-{seed}.sqlite", {"arm": name}) as journal:
                numbers = solve(roles[name], world, task, journal, seed=seed)
            said = expected[name]
            return {
                **numbers,
                "margin": float(margins[name]),
                "forecast_solved": said.chance.value,
                "forecast_samples": said.samples_per_step,
                "lost_states_found": float(len(said.doomed)),
            }

        return trial

    seeds = range(config.seed, config.seed + config.seeds)
    result = study(
        {name: arm(name) for name in roles},
        seeds=seeds,
        baseline="one sample",
        folder=folder.path,
        loggers=loggers,
    )
    return {f"solved {one.name}": one.means["solved"].value for one in result.arms}
