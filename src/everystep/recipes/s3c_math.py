"""S3c-Math (S28): correct solutions into which a wrong step, a reflection and the improved step are spliced; the loss leaves the wrong step out.

Paper: S3c-Math, Spontaneous Step-level Self-correction Makes Large Language Models Better Mathematical Reasoners (Yan et al. 2024, arXiv:2409.01524). Claim: a
model that is tuned on such solutions notices and mends its own wrong steps while it reasons.

From third parties (no authors' code was found): alternatives of the model at a step of an existing correct solution, wrong ones of them, a reflection and an
improved step by a stronger model, loss 0 on the wrong step; as many ordinary solutions are mixed in (the share is ours). Ours: the world checks the
steps (StepMath; a wrong step is one that leads away from the answer), its oracle is the corrector: the reflection says the right equation and the step is taken
``back``, then the improved step follows. The sampler of wrong steps is the model that all arms start from, at a higher temperature; forced errors at test time
are not its own but those that the world lists. Without reflection text the thought before ``back`` is empty. ``data.teachers.AskedTeacher`` takes any endpoint.

    everystep reproduce s3c_math

Arms have as many solutions, updates and rows an update. Measured (docs/recipes/s3c_math.md, five seeds): the model takes back 21 % of forced wrong steps, more
with the mask than without; but it solves fewer problems (-0.28), and least of all with reflections in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from everystep.core.errors import DataError
from everystep.core.protocols import Logger, Sampling
from everystep.core.records import Action, Task
from everystep.data.corrected import spelled, without
from everystep.data.corrections import Corrected, Remark, Watched, correct
from everystep.data.segments import MASKED, UNMASKED, Part, Segment
from everystep.data.slips import Slips, once
from everystep.data.teachers import OracleTeacher, lost_ground
from everystep.environments.reasoning.stepmath import StepMath
from everystep.evaluate.recovery import Start, forced_errors, recovery
from everystep.evaluate.study import RatedTrial, tuned_study
from everystep.learn.samples import supervised_sample
from everystep.learn.setup import texts_of
from everystep.learn.student import Student
from everystep.models.tiny import Shape
from everystep.run.demonstrate import OracleSampler
from everystep.run.folder import RunFolder
from everystep.run.hosts import LocalHosts
from everystep.run.rollout import Limits, jobs_of, seed_of

CLEAN, SPLICED, FIRST = 0, 10_000_000, 20_000_000
"""Where the numbers of the problems begin: of the clean solutions, of the spliced ones, and of what all arms start from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Chains of sums and differences, and a tiny model of four layers: to see that a step is wrong it must work out the right one first."""

    steps: int = 3
    """Steps of a solution."""
    operations: str = "+-"
    """Operations that occur."""
    solutions: int = 1600
    """Solutions of an arm; half of them spliced where there are such."""
    base_updates: int = 350
    """Updates of the model that all arms start from, on clean solutions of other problems."""
    updates: int = 250
    """Updates of each arm."""
    sweep_updates: int = 80
    """Updates of each trial of the sweep."""
    batch: int = 24
    """Solutions of an update."""
    heat: float = 1.4
    """Temperature at which the model writes alternatives."""
    width: int = 8
    """Alternatives at a step."""
    layers: int = 4
    """Layers of the model."""
    hidden: int = 48
    """Its width, a multiple of 32 or of 16 with an odd number of heads."""
    test_tasks: int = 150
    """Held-out problems, and forced errors."""
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
    """What an arm imitates: the share of spliced solutions, whether their wrong steps are masked, whether their reflections have words."""

    spliced: float = 0.5
    masked: bool = True
    words: bool = True


ARMS: Mapping[str, Arm] = {
    "clean": Arm(spliced=0.0),
    "corrections, unmasked": Arm(masked=False),
    "corrections, masked": Arm(),
    "corrections, masked, no text": Arm(words=False),
}
BASELINE = "clean"


def world_of(config: Config) -> StepMath:
    """Return the world: any text is taken, a written step can be taken back."""
    return StepMath(steps=config.steps, operations=config.operations)


def limits_of(config: Config) -> Limits:
    """Return the step limit."""
    return Limits(max_steps=world_of(config).max_steps)


# --- data -----------------------------------------------------------------------------------------


def equation(text: str) -> str:
    """Return what is behind ``step:``, without surplus space.

    >>> equation("thought: add 5\\nstep: 7 + 5 = 1 2")
    '7 + 5 = 1 2'
    """
    return " ".join(text.rpartition("step:")[2].split())


def flagged(action: Action) -> bool:
    """Say whether a turn takes the last step back."""
    return equation(action.text) == "back"


def says_right(watched: Watched) -> str:
    """Return the reflection: the last step was wrong, and the right equation."""
    return f" that was wrong , {equation(watched.best or '')}"


def take_back(remark: Remark) -> tuple[Segment, ...]:
    """Return the turn of a correction: the reflection is its thought."""
    return (
        Segment(part=Part.CORRECTED, text="thought:"),
        Segment(part=Part.REFLECTION, text=remark.reflection),
        Segment(part=Part.CORRECTED, text="\nstep: back"),
    )


def wrong_step(right: str, other: str) -> bool:
    """Say whether another text is a step, and not the right one."""
    action = StepMath().parse(other)
    return action.valid and not flagged(action) and equation(other) != equation(right)


TEACHER = OracleTeacher(wrong=lost_ground, reflect=says_right)


def tasks_of(config: Config, first: int, count: int, seed: int) -> list[Task]:
    """Return ``count`` training problems, others for each seed."""
    return [world_of(config).task("train", first + seed * 20_000 + index) for index in range(count)]


def solved(config: Config, first: int, count: int, seed: int) -> list[Corrected]:
    """Return clean solutions."""
    hosts = LocalHosts(world_of(config))
    jobs = jobs_of(tasks_of(config, first, count, seed), group_size=1, prefix=f"clean{first}", seed=seed)
    return list(correct(hosts, OracleSampler(hosts), TEACHER, jobs, limits=limits_of(config)).kept)


@lru_cache(maxsize=2)  # the sweep goes back and forth between two seeds
def base_of(config: Config, seed: int) -> Student:
    """Return the model that all arms of a seed start from, and that writes the wrong steps: it has imitated clean solutions of other problems."""
    shown = solved(config, FIRST, config.solutions, seed)
    texts = texts_of([one.trajectory for one in shown]) | {
        "thought: that was wrong , 1\nstep: back",
        "taken back .",
    }
    shape = Shape(layers=config.layers, width=config.hidden, heads=config.hidden // 16)
    student = Student.begin(world_of(config), texts, size=shape, seed=seed, constrain=False)
    rows = [supervised_sample(one) for one in student.written([one.trajectory for one in shown])]
    student.imitate(rows, updates=config.base_updates, batch=32, learning_rate=4e-3)
    return student


@lru_cache(maxsize=2)
def spliced(config: Config, seed: int) -> tuple[Corrected, ...]:
    """Return half as many solutions as an arm has, each with one wrong step of the model, the reflection and the improved step."""
    wanted = config.solutions // 2
    hosts = LocalHosts(world_of(config))
    tasks = tasks_of(config, SPLICED, wanted + wanted // 2 + 20, seed)
    agent = Slips(
        OracleSampler(hosts),
        base_of(config, seed).sampler(),
        when=once(config.steps - 1, seed),  # the last step ends the solution
        sampling=Sampling(temperature=config.heat, max_tokens=32),
        wrong=wrong_step,
        width=config.width,
    )
    jobs = jobs_of(tasks, group_size=1, prefix="spliced", seed=seed)
    made = correct(hosts, agent, TEACHER, jobs, limits=limits_of(config), write=take_back).kept
    bent = [one for one in made if one.mistakes]
    if len(bent) < wanted:
        raise DataError(
            f"{len(tasks)} problems gave {len(bent)} wrong steps, {wanted} are wanted. Raise heat, now {config.heat!r}, or width."
        )
    return tuple(bent[:wanted])


def data_of(config: Config, arm: Arm, seed: int) -> list[Corrected]:
    """Return what an arm imitates. Spliced solutions take the places of clean ones."""
    bent = round(arm.spliced * config.solutions)
    some = spliced(config, seed)[:bent]
    return [
        *solved(config, CLEAN, config.solutions - bent, seed),
        *(some if arm.words else map(without, some)),
    ]


# --- the study ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def starts_of(config: Config) -> tuple[Start, ...]:
    """Return the forced errors, on held-out problems: slips and wrong operations that the world lists as choices."""
    world = world_of(config)
    listing = replace(world, mode="choose", choices=8)
    tasks = [listing.task("test", index) for index in range(config.test_tasks)]
    plain = {each.id: world.task("test", index) for index, each in enumerate(tasks)}
    found = forced_errors(LocalHosts(listing), tasks, limits=limits_of(config))
    return tuple(replace(one, task=plain[one.task.id]) for one in found)


def numbers_of(config: Config, student: Student) -> dict[str, float]:
    """Return what a student does on held-out problems and behind forced errors, greedily and sampled."""
    tasks = [world_of(config).task("test", index) for index in range(config.test_tasks)]
    found: dict[str, float] = {}
    for name, temperature in (("", 0.0), ("sampled ", 1.0)):
        tested, _ = student.test(tasks, temperature=temperature)
        told = recovery(
            student.hosts, student.sampler(), starts_of(config), limits=limits_of(config), constrain=False,
            sampling=Sampling(temperature=temperature, max_tokens=32), flagged=flagged,
            seed=seed_of(student.seed, name),
        )  # fmt: skip
        found |= {
            f"{name}accuracy": tested["success"],
            f"{name}after error": told.recovered,
            f"{name}recall": told.noticed or 0.0,
            f"{name}false alarms": told.false_alarms or 0.0,
        }
    return found


def trained(config: Config, name: str, seed: int, rate: float, updates: int) -> Student:
    """Return a student that imitated an arm's solutions."""
    student = base_of(config, seed).copy()
    weights = MASKED if ARMS[name].masked else UNMASKED
    data = data_of(config, ARMS[name], seed)
    rows = [supervised_sample(spelled(one, student.model.template, weights)) for one in data]
    student.imitate(rows, updates=updates, batch=config.batch, learning_rate=rate)
    return student


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return accuracy, recall of forced errors and accuracy after them by arm."""
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
        for key in ("accuracy", "recall", "after error")
    }
