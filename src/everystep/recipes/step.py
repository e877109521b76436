"""STeP (S03): trajectories that hold a mistake, a reflection and a correction; the loss leaves the mistake out.

Paper: Training LLM-based agents with synthetic self-reflected trajectories and partial masking (Chen et al. 2025, arXiv:2505.20023). Claim: better than
imitation of expert trajectories alone, with less data.

From third parties (no authors' code was found): a base agent acts, a teacher watches each step, reflects and corrects; loss 0 on the steps that were judged wrong, 1 on
reflections, corrections and right steps. Ours: what is kept (episodes that succeed and hold a mistake), one golden trajectory for each reflected one, the model
that all arms start from (it has imitated single moves of other tasks: a model without weights cannot read), the form of a turn
(``that was wrong``, then ``action: MOVE``). The mistake is executed, so the correction answers what it led to. Left out: an agent and a teacher that are language
models (the agent is the oracle with random moves, the teacher the oracle); ``data.teachers.AskedTeacher`` takes any endpoint.

    everystep reproduce step

Arms have as many trajectories (but the half), updates and rows an update. Measured (docs/recipes/step.md, five seeds): recovery after a forced mistake +0.28
[+0.15, +0.37] over golden trajectories; without the mask the mistakes are learned too. Success from the start is no better, and half of the data is worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from everystep.core.errors import DataError
from everystep.core.protocols import Logger, Sampling
from everystep.core.records import Action, Task
from everystep.data.corrected import spelled
from everystep.data.corrections import Corrected, Watched, correct, said_before
from everystep.data.segments import MASKED, UNMASKED
from everystep.data.teachers import OracleTeacher, lost_ground
from everystep.environments.places.keydoor import KeyDoor
from everystep.environments.reflecting import MARK, Reflecting
from everystep.evaluate.recovery import Recovery, Start, forced_errors, recovery
from everystep.evaluate.study import RatedTrial, tuned_study
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.learn.warm import turns_of
from everystep.run.demonstrate import demonstrator
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, seed_of

SAID = "that was wrong"
GOLDEN, REFLECTED, FIRST = 0, 10_000_000, 20_000_000
"""Where the numbers of the tasks begin: of the golden set, of the reflected one, and of what all arms start from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """KeyDoor, an agent with random moves, the oracle as the teacher, a tiny model."""

    side: int = 3
    """Cells a side of the grid."""
    error: float = 0.2
    """Share of random moves of the agent that is corrected."""
    trajectories: int = 200
    """Trajectories of an arm; half of them reflected where there are such."""
    base_tasks: int = 1500
    """Tasks whose single moves are imitated before the arms part."""
    base_updates: int = 300
    """Updates on them, of 64 moves each."""
    updates: int = 300
    """Updates of each arm."""
    sweep_updates: int = 120
    """Updates of each trial of the sweep."""
    batch: int = 16
    """Trajectories of an update."""
    size: str = "0.05M"
    """Size of the model."""
    test_tasks: int = 150
    """Held-out tasks, and forced mistakes."""
    learning_rate: float = 0.0
    """Of all arms; 0 takes each arm's best of ``rates`` on other seeds."""
    rates: tuple[float, ...] = (2e-3, 4e-3, 8e-3)
    """Rates that are swept."""
    seeds: int = 5
    """Paired seeds."""
    seed: int = 0
    """The first seed; the sweep uses the two after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm imitates: the share of its trajectories that are reflected, whether mistakes are masked, and the share of all that it gets."""

    reflected: float = 0.5
    masked: bool = True
    share: float = 1.0


ARMS: Mapping[str, Arm] = {
    "golden": Arm(reflected=0.0),
    "reflected, unmasked": Arm(masked=False),
    "reflected, masked": Arm(),
    "reflected, masked, half": Arm(share=0.5),
}
BASELINE = "golden"


def limits_of(config: Config) -> Limits:
    """Return the step limit: enough for some mistakes on the longest way."""
    return Limits(max_steps=5 * config.side)


def world_of(config: Config) -> Reflecting:
    """Return the world in which a move may be put behind the reflection."""
    inner = KeyDoor(side=config.side, horizon=limits_of(config).max_steps)
    return Reflecting(world=inner, sayings=(SAID,))


def said(_: Watched) -> str:
    """Return the reflection."""
    return SAID


def flagged(action: Action) -> bool:
    """Say whether a turn begins with the reflection."""
    return action.text.startswith(f"{SAID}{MARK}")


# --- data -----------------------------------------------------------------------------------------


def watched(config: Config, tasks: Sequence[Task], *, error: float, seed: int) -> list[Corrected]:
    """Let the agent with this share of random moves do ``tasks`` under the eyes of the oracle; return what ends well."""
    hosts = LocalHosts(Reflecting(world=world_of(config).world))  # the agent moves, it does not reflect
    jobs = jobs_of(tasks, group_size=1, prefix=f"e{error:g}", seed=seed)
    teacher = OracleTeacher(wrong=lost_ground, reflect=said)
    agent = demonstrator(hosts, error_rate=error)
    made = correct(hosts, agent, teacher, jobs, limits=limits_of(config), write=said_before(MARK))
    return list(made.kept)


def tasks_of(config: Config, first: int, count: int, seed: int) -> list[Task]:
    """Return ``count`` training tasks, others for each seed."""
    return [world_of(config).task("train", first + seed * 20_000 + index) for index in range(count)]


@lru_cache(maxsize=2)  # the sweep goes back and forth between two seeds
def golden(config: Config, seed: int) -> tuple[Corrected, ...]:
    """Return trajectories without mistakes."""
    return tuple(watched(config, tasks_of(config, GOLDEN, config.trajectories, seed), error=0.0, seed=seed))


@lru_cache(maxsize=2)
def reflected(config: Config, seed: int) -> tuple[Corrected, ...]:
    """Return half as many that hold a mistake at least, and its correction."""
    wanted = config.trajectories // 2
    tasks = tasks_of(config, REFLECTED, 3 * wanted + 20, seed)
    made = [one for one in watched(config, tasks, error=config.error, seed=seed) if one.mistakes]
    if len(made) < wanted:
        raise DataError(
            f"{len(tasks)} episodes gave {len(made)} with a mistake, {wanted} are wanted. Raise error, now {config.error!r}."
        )
    return tuple(made[:wanted])


def data_of(config: Config, arm: Arm, seed: int) -> list[Corrected]:
    """Return what an arm imitates. Reflected trajectories take the places of golden ones."""
    count = round(arm.share * config.trajectories)
    bent = round(arm.reflected * count)
    return [*golden(config, seed)[: count - bent], *reflected(config, seed)[:bent]]


# --- the study ------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def base_of(config: Config, seed: int) -> Student:
    """Return the model that all arms of a seed start from: it can read the world, and has seen single moves of the oracle."""
    tasks = tasks_of(config, FIRST, config.base_tasks, seed)
    moves = [one.trajectory for one in watched(config, tasks, error=0.0, seed=seed)]
    texts = texts_of(moves) | texts_of([one.trajectory for one in reflected(config, seed)])
    student = Student.begin(world_of(config), texts, size=config.size, seed=seed)
    rows = [supervised_sample(one) for one in student.written(turns_of(moves))]
    student.imitate(rows, updates=config.base_updates, batch=64, learning_rate=5e-3)
    return student


@lru_cache(maxsize=1)
def starts_of(config: Config) -> tuple[Start, ...]:
    """Return the forced mistakes, on held-out tasks."""
    world = Reflecting(world=world_of(config).world)
    tasks = [world.task("test", index) for index in range(config.test_tasks)]
    return tuple(forced_errors(LocalHosts(world), tasks, limits=limits_of(config)))


def numbers_of(config: Config, student: Student) -> dict[str, float]:
    """Return what a student does on held-out tasks and behind forced mistakes, greedily and sampled.

    ``imitated``: the share of its moves behind right ones that come no closer, which is what the agent's random moves are.
    """
    tasks = [world_of(config).task("test", index) for index in range(config.test_tasks)]
    found: dict[str, float] = {}
    for name, temperature in (("", 0.0), ("sampled ", 1.0)):
        tested, _ = student.test(tasks, temperature=temperature)
        told: Recovery = recovery(
            student.hosts, student.sampler(), starts_of(config), limits=limits_of(config),
            sampling=Sampling(temperature=temperature), flagged=flagged, seed=seed_of(student.seed, name),
        )  # fmt: skip
        wrong = [step.scores["progress"] <= 0 for step in told.after_right]
        found |= {
            f"{name}success": tested["success"],
            f"{name}recovery": told.recovered,
            f"{name}imitated": sum(wrong) / len(wrong),
        }
    return found | {"noticed": told.noticed or 0.0, "false alarms": told.false_alarms or 0.0}


def trained(config: Config, name: str, seed: int, rate: float, updates: int) -> Student:
    """Return a student that imitated an arm's trajectories."""
    student = base_of(config, seed).copy()
    weights = MASKED if ARMS[name].masked else UNMASKED
    data = data_of(config, ARMS[name], seed)
    rows = [supervised_sample(spelled(one, student.model.template, weights)) for one in data]
    student.imitate(rows, updates=updates, batch=config.batch, learning_rate=rate)
    return student


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return success and recovery by arm."""

    tasks = [world_of(config).task("test", index) for index in range(config.test_tasks)]

    def rated(name: str) -> RatedTrial:
        return lambda seed, rate: trained(config, name, seed, rate, config.sweep_updates).test(tasks)[0]

    def settled(name: str) -> RatedTrial:
        return lambda seed, rate: numbers_of(config, trained(config, name, seed, rate, config.updates))

    result, _ = tuned_study(
        {name: settled(name) for name in ARMS},
        {} if config.learning_rate else {name: rated(name) for name in ARMS},
        known=dict.fromkeys(ARMS, config.learning_rate), rates=config.rates, by="success",
        seeds=range(config.seed, config.seed + config.seeds), baseline=BASELINE, folder=folder.path, loggers=loggers,
    )  # fmt: skip
    return {
        f"{key} {one.name}": one.means[key].value
        for one in result.arms
        for key in ("success", "recovery", "sampled imitated")
    }
