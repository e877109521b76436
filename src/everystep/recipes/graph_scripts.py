"""Graph scripts (S32): from many orders of one task's steps, a graph of what may follow what, and what it foretells.

Paper: Non-Sequential Graph Script Induction via Multimedia Grounding (Zhou et al., ACL 2023, arXiv 2305.17542). Claims: a model of paths over the steps foretells the next step 17.5 points (F1@3) and
the rest of a sequence 13.8 points (accuracy) better than text and video baselines; people prefer its graph to the linear list by 48.8 points.

Certain (repository): 2,610 grounded paths of 17 tasks; adjacent pairs above a threshold are the edges; the measures (top choice among the right next steps, F1@3, completion equal to one of
the right ones, edit distance and similarity to the nearest); greedy decoding that never repeats a step. Ours: the split (the published test files are not in the repository; 80/20 by path
within each task), all foretellers (published: bart-base fine-tuned with a contrastive loss), and what a graph has beyond edges: order, optional, swappable, alternatives. Not done: the
grounding of videos, the human evaluation, BLEU.

    EVERYSTEP_DATA=DATA everystep reproduce graph_scripts

needs DATA/graph_scripts. Options of an arm are chosen on a validation part of its training paths, seed by seed, never on the test paths. The run's folder gets a graph of every task (``graphs/``).

Measured (5 seeds, commit a22fde5; docs/recipes/graph_scripts.md): F1@3 of the next step 0.506 (list), 0.558 (transitions), 0.565 (graph), 0.571 (learned), of at most 0.606; accuracy of the rest 0.286, 0.362, 0.409,
0.426; graph over list and over transitions is sure for both. With five paths a task it is not sure for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from random import Random

import numpy as np

from everystep.core.protocols import Logger
from everystep.environments.reasoning.graph_paths import Part, Procedure, Start, procedures, split, starts
from everystep.evaluate.sequences import completed, next_step
from everystep.evaluate.study import Trial, study
from everystep.evolve.next_steps import (
    Fit,
    Foretell,
    chance,
    completion,
    from_graph,
    learned,
    listed,
    mixed,
    rank,
    transitions,
)
from everystep.evolve.scripts import dot, induce, mermaid
from everystep.run.folder import RunFolder, write_json

Paths = Sequence[Sequence[str]]
Make = Callable[[Paths, Sequence[str]], Foretell]
BASELINE = "transitions"
WEIGHTS = (0.5, 0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Foretelling steps on the published paths."""

    paths: int = 0
    """Training paths of a task, 0 for all."""
    share: float = 0.2
    """Share of a task's paths that only measure."""
    validation: float = 0.25
    """Share of the training paths on which options are chosen."""
    seeds: int = 5
    """Paired seeds: other splits."""
    seed: int = 0
    """The first seed."""


def arms(seed: int) -> Mapping[str, Mapping[str, Make]]:
    """Return every arm with the options that it may choose from, by their description."""
    graphs: dict[str, Make] = {
        f"strength {strength:g}, precedence {precedence:g}": _graph(strength, precedence)
        for strength in (2.0, 4.0, 8.0)
        for precedence in (0.0, 0.25, 0.5)
    }
    models: dict[str, Make] = {f"penalty {penalty:g}": _learned(penalty) for penalty in (1.0, 3.0, 6.0)}
    return {
        "random": {"": lambda _, steps: chance(steps, seed)},
        "linear list": {"": lambda _, steps: listed(steps)},
        BASELINE: {f"strength {one:g}": _transitions(one) for one in (0.5, 1.0, 4.0)},
        "graph script": graphs,
        "learned": models,
        "graph and learned": {
            f"{weight:g} learned, penalty {penalty:g}": _both(weight, penalty)
            for weight in WEIGHTS
            for penalty in (3.0, 6.0)
        },
    }


def _transitions(strength: float) -> Make:
    return lambda paths, steps: transitions(paths, steps, strength=strength)


def _graph(strength: float, precedence: float) -> Make:
    return lambda paths, steps: from_graph(paths, steps, strength=strength, precedence=precedence)


def _learned(penalty: float) -> Make:
    return lambda paths, steps: learned(paths, steps, Fit(penalty=penalty))


def _both(weight: float, penalty: float) -> Make:
    return lambda paths, steps: mixed(
        [(weight, learned(paths, steps, Fit(penalty=penalty))), (1 - weight, from_graph(paths, steps))]
    )


def parts(config: Config, seed: int) -> list[Part]:
    """Return the training and test paths of every task."""
    made = split(procedures(), seed, share=config.share)
    if not config.paths:
        return made
    return [Part(procedure=one.procedure, train=one.train[: config.paths], test=one.test) for one in made]


def inner(part: Part, share: float, seed: int) -> Part:
    """Return the training paths of a part, split again: the test paths of the result are for validation."""
    order = list(part.train)
    Random(f"{seed} validation {part.procedure.name}").shuffle(order)
    count = max(1, round(share * len(order)))
    return Part(procedure=part.procedure, train=tuple(order[count:]), test=tuple(order[:count]))


def measured(make: Make, some: Sequence[Part]) -> dict[str, float]:
    """Return the published measures over all start sequences of the test paths, and the next step's over every place of every test path (``each``)."""
    rows: list[dict[str, float]] = []
    counts: list[int] = []
    for part in some:
        foretell = make(part.train, part.procedure.steps)
        for start in starts(part.test):
            rows.append(_row(foretell, start))
            counts.append(sum(start.next.values()))
    told = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "taken"}
    return told | {
        f"{key}, each": float(np.average([row[key] for row in rows], weights=counts))
        for key in ("taken", "f1@3")
    }


def _row(foretell: Foretell, start: Start) -> dict[str, float]:
    return next_step(rank(foretell, start.done), start) | completed(completion(foretell, start.done), start)


def chosen(options: Mapping[str, Make], some: Sequence[Part]) -> str:
    """Return the option with the best sum of F1@3 and completion accuracy on the test paths of ``some``, which must be validation paths."""
    if len(options) == 1:
        return next(iter(options))

    def worth(name: str) -> float:
        found = measured(options[name], some)
        return found["f1@3"] + found["accuracy"]

    return max(options, key=worth)


def trial(config: Config, arm: str, seed: int) -> dict[str, float]:
    """Choose the arm's options on validation paths, make it anew from all training paths, and measure it on the test paths."""
    options = arms(seed)[arm]
    some = parts(config, seed)
    best = chosen(options, [inner(part, config.validation, seed) for part in some])
    return measured(options[best], some)


def ceiling(some: Sequence[Part]) -> float:
    """Return the F1@3 of an oracle: three steps are always named (or all that are left), also where fewer are right."""
    return float(
        np.mean(
            [
                2
                * min(3, len(start.next))
                / (min(3, len(part.procedure.steps) - len(start.done)) + len(start.next))
                for part in some
                for start in starts(part.test)
            ]
        )
    )


def facts(some: Sequence[Procedure]) -> dict[str, float]:
    """Return what can be counted in the data: tasks, paths, the share of the adjacent pairs that are also seen reversed, and different next steps of a step."""
    pairs = {(one.name, *pair) for one in some for path in one.paths for pair in pairwise(path)}
    return {
        "tasks": float(len(some)),
        "paths": float(sum(len(one.paths) for one in some)),
        "reversed": float(np.mean([(name, after, before) in pairs for name, before, after in pairs])),
        "next steps": len(pairs) / len({pair[:2] for pair in pairs}),
    }


def draw(some: Sequence[Procedure], folder: RunFolder) -> None:
    """Write the script of every task, from all its paths: as JSON, as a Mermaid diagram and for Graphviz."""
    place = folder.path / "graphs"
    place.mkdir(exist_ok=True)
    for one in some:
        script = induce(one.paths)
        name = one.name.replace(" ", "_")
        write_json(
            place / f"{name}.json", {"task": one.name, **asdict(script), "branching": script.branching}
        )
        (place / f"{name}.mmd").write_text(mermaid(script), encoding="utf-8")
        (place / f"{name}.dot").write_text(dot(script), encoding="utf-8")


def run(config: Config, folder: RunFolder, loggers: Sequence[Logger] = ()) -> dict[str, float]:
    """Run the arms; return F1@3 of the next step and accuracy of the completion by arm."""
    seeds = range(config.seed, config.seed + config.seeds)
    known = procedures()
    draw(known, folder)
    limit = float(np.mean([ceiling(parts(config, seed)) for seed in seeds]))
    write_json(folder.path / "facts.json", {**facts(known), "f1@3 ceiling": limit})
    trials = {name: _trial(config, name) for name in arms(0)}
    result = study(trials, seeds=seeds, baseline=BASELINE, folder=folder.path, loggers=loggers)
    return {f"{key} {one.name}": one.means[key].value for one in result.arms for key in ("f1@3", "accuracy")}


def _trial(config: Config, arm: str) -> Trial:
    return lambda seed: trial(config, arm, seed)
