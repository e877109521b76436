"""Auto-Evolve (S49): a reasoning structure made for each family of questions, and refined by what it gets wrong.

Paper: Auto-Evolve: Enhancing Large Language Model's Performance via Self-Reasoning Framework (arXiv:2410.06328). Claims: modules that are generated for the task, with no
fixed list to begin with, gain 7 % on average over step-by-step prompting; refining several times gains 2.8 % over a single step.

Certain (abstract and reports): GENERATE modules from a few questions without answers, IMPLEMENT them as a JSON plan, REFINE the plan several times; then one plan answers every
instance. Inferred: the number of passes. Ours: no model is asked in this study. A structure is an executable plan over a typed library (``evolve.structures``), GENERATE and REFINE are a
search over it (``evolve.designing.Search``), and refinement is by failures on development questions, where the published passes ask a model what is missing. So it is studied whether
refinement carries over or over-fits, not what a language model gains. ``evolve.designing.Asked`` is the same with a model behind any endpoint. The library was written, and checked on
all questions, by somebody who knew the families: it can do 26 of 31, geometric_shapes in part, and nothing for disambiguation_qa, formal_fallacies, hyperbaton and snarks.

    EVERYSTEP_DATA=DATA everystep reproduce auto_evolve

needs DATA/procbench and DATA/bbh. All arms of a seed answer the same held-out questions, and try at most equally many structures a family.

Measured (5 seeds, commit 6db5586, 3.6 minutes of one core; docs/recipes/auto_evolve.md), held-out accuracy over 31 families: one structure for all 0.08, generated 0.20, refined 0.35, 0.48, 0.53 and 0.56
after 1, 4, 8 and 20 passes. What refinement saw is answered 0.015 better with 30 development questions, 0.073 with two; two cost 0.09 on BBH and nothing on ProcBench. Without GENERATE: 0.49.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from everystep.core.errors import ConfigError
from everystep.core.protocols import Logger
from everystep.environments.reasoning import bbh
from everystep.environments.reasoning.procbench_cases import load_cases
from everystep.evaluate.study import Trial, study
from everystep.evolve.designing import Search, Solved, accuracy, refined
from everystep.evolve.operations_procedure import PROCEDURE_OPERATIONS
from everystep.evolve.operations_text import TEXT_OPERATIONS
from everystep.evolve.structures import Library, Module, Structure, library_of, plain
from everystep.run.folder import RunFolder, write_json
from everystep.run.rollout import seed_of

LIBRARY: Library = library_of((*TEXT_OPERATIONS, *PROCEDURE_OPERATIONS))
SIMPLEST: Structure = (Module(op="line", option="last"),)
"""Where refinement begins without GENERATE: the last line of the question as the answer."""
SOLVED = 0.95
"""Held-out accuracy from which a family counts as solved."""
KNOWLEDGE = (
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
)
"""Families of BBH that ask what no structure of operations can know: names, languages, what things look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Structures for families of published questions, and passes of refinement."""

    cases: str = "published"
    """Cases of ProcBench: ``published``, or ``sample`` for the packaged ones, then without BBH."""
    examples: int = 5
    """Questions of a family that GENERATE sees, without answers."""
    development: int = 30
    """Questions of a family that REFINE sees, with answers."""
    heldout: int = 60
    """Questions of a family that only measure."""
    few: int = 2
    """Development questions of the arm that has few."""
    draws: int = 300
    """Structures that GENERATE draws."""
    edits: int = 60
    """Structures that a pass of REFINE tries."""
    passes: int = 20
    """Passes of refinement."""
    seeds: int = 5
    """Paired seeds: other questions in each role, other draws."""
    seed: int = 0
    """The first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Where the structure of a family comes from: ``generated`` or the shortest that answers, ``refined`` or not, on ``few`` questions; or one structure for ``all`` families."""

    generated: bool = True
    refined: bool = True
    few: bool = False
    one_for_all: bool = False


ARMS: Mapping[str, Arm] = {
    "one for all": Arm(generated=False, one_for_all=True),
    "generate": Arm(refined=False),
    "generate and refine": Arm(),
    "generate and refine, few": Arm(few=True),
    "refine": Arm(generated=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The questions of a family by role."""

    name: str
    examples: tuple[str, ...]
    development: tuple[Solved, ...]
    heldout: tuple[Solved, ...]


@lru_cache(maxsize=4)
def questions(cases: str) -> Mapping[str, tuple[Solved, ...]]:
    """Return the questions of all families with their answers; the answer to a procedure is its final state."""
    found: dict[str, list[Solved]] = {}
    for one in load_cases(cases):
        last = one.states[-1]
        told = " ".join(map(str, last)) if isinstance(last, list) else str(last)
        found.setdefault(f"procbench {one.family}", []).append(
            Solved(question=one.prompt, answer=plain(told))
        )
    for name in () if cases == "sample" else (one for one in bbh.FAMILIES if one not in KNOWLEDGE):
        found[f"bbh {name}"] = [
            Solved(question=asked, answer=plain(told)) for asked, told in bbh.questions_of(name)
        ]
    return {name: tuple(some) for name, some in found.items()}


def families(config: Config, seed: int) -> list[Family]:
    """Return every family with its questions shuffled into roles; no question has two, unless it stands twice in the data."""
    made = []
    for name, some in questions(config.cases).items():
        needed = config.examples + config.development + config.heldout
        if len(some) < needed:
            raise ConfigError(
                f"family {name!r} has {len(some)} questions, {needed} are asked for. Lower examples, development or heldout."
            )
        rng = np.random.default_rng(seed_of(seed, "families", name))
        order = [some[index] for index in rng.permutation(len(some))[:needed]]
        first, second = config.examples, config.examples + config.development
        made.append(
            Family(
                name=name,
                examples=tuple(one.question for one in order[:first]),
                development=tuple(order[first:second]),
                heldout=tuple(order[second:]),
            )
        )
    return made


def pooled(some: Sequence[Family]) -> Family:
    """Return all families as one."""
    return Family(
        name="all",
        examples=tuple(one for family in some for one in family.examples),
        development=tuple(one for family in some for one in family.development),
        heldout=(),
    )


def structures(config: Config, arm: Arm, family: Family, seed: int) -> list[Structure]:
    """Return the structure of a family before refinement and after each pass."""
    search = Search(LIBRARY, draws=config.draws, edits=config.edits, seed=seed_of(seed, family.name))
    start = search.generate(family.examples) if arm.generated else None
    if not arm.refined:
        return [start or SIMPLEST] * (config.passes + 1)
    seen = family.development[: config.few] if arm.few else family.development
    return refined(search, start or SIMPLEST, seen, passes=config.passes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A family's accuracy before refinement and after each pass, on held-out questions and on those that refinement saw; and its last structure."""

    heldout: tuple[float, ...]
    development: tuple[float, ...]
    structure: Structure


@lru_cache(maxsize=64)
def results(config: Config, arm: Arm, seed: int) -> Mapping[str, Result]:
    """Make the structures of one arm; return what they are worth by family."""
    some = families(config, seed)
    shared = structures(config, arm, pooled(some), seed) if arm.one_for_all else None
    found = {}
    for family in some:
        made = shared or structures(config, arm, family, seed)
        seen = family.development[: config.few] if arm.few else family.development
        found[family.name] = Result(
            heldout=_accuracies(made, family.heldout),
            development=_accuracies(made, seen),
            structure=made[-1],
        )
    return found


def _accuracies(made: Sequence[Structure], questions_: Sequence[Solved]) -> tuple[float, ...]:
    known = {one: accuracy(one, questions_, LIBRARY) for one in dict.fromkeys(made)}
    return tuple(known[one] for one in made)


def told_passes(passes: int) -> list[int]:
    """Return the passes that are reported: 0, then doubling, and the last.

    >>> told_passes(12)
    [0, 1, 2, 4, 8, 12]
    """
    return [0, *(2**n for n in range(passes.bit_length()) if 2**n < passes), passes]


def trial(config: Config, arm: Arm, seed: int) -> dict[str, float]:
    """Run one arm with one seed; return mean accuracies over families. ``gap`` is how much better the questions are answered that refinement saw."""
    found = results(config, arm, seed)
    last = {name: one.heldout[-1] for name, one in found.items()}
    seen = float(np.mean([one.development[-1] for one in found.values()]))
    heldout = {
        f"pass {n}": float(np.mean([one.heldout[n] for one in found.values()]))
        for n in told_passes(config.passes)
    }
    return heldout | {
        "development": seen,
        "gap": seen - float(np.mean(list(last.values()))),
        "solved": float(np.mean([value >= SOLVED for value in last.values()])),
        **{
            source: float(np.mean([value for name, value in last.items() if name.startswith(source)]))
            for source in sorted({name.split()[0] for name in last})
        },
    }


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return held-out accuracy after the last pass by arm. ``families.json`` has every family's, and its structures."""
    seeds = range(config.seed, config.seed + config.seeds)
    arms = {name: _trial(config, arm) for name, arm in ARMS.items()}
    result = study(arms, seeds=seeds, baseline="generate", folder=folder.path, loggers=loggers)
    write_json(folder.path / "families.json", by_family(config, seeds))
    return {f"accuracy {one.name}": one.means[f"pass {config.passes}"].value for one in result.arms}


def by_family(config: Config, seeds: Sequence[int]) -> dict[str, object]:
    """Return, for every family, the accuracy of each arm (mean over seeds) and the refined structure of the first seed."""
    found = {name: [results(config, arm, seed) for seed in seeds] for name, arm in ARMS.items()}
    structures_ = found["generate and refine"][0]
    return {
        family: {
            **{
                name: round(float(np.mean([one[family].heldout[-1] for one in some])), 4)
                for name, some in found.items()
            },
            "structure": [[one.op, one.option] for one in structures_[family].structure],
        }
        for family in structures_
    }


def _trial(config: Config, arm: Arm) -> Trial:
    return lambda seed: trial(config, arm, seed)
