"""``everystep compare``: recipes against each other, by the protocol of a fair comparison.

Every seed has one warm start that all arms begin from. Each arm's learning rate is chosen on selection seeds; the
reported seeds are others, paired over arms. The control arms rescale all advantages to one root mean
square, at the baseline's rate. An arm is a recipe, with options of its own where it has any.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from everystep import __version__
from everystep.app.arms import Arm, check_arms, options_of, read_arm
from everystep.app.flags import checked, parse
from everystep.core.errors import ConfigError
from everystep.core.records import Json
from everystep.core.trace import Kind
from everystep.evaluate.compare import Curve, best_rate, curve_of, horizon, results, table
from everystep.evaluate.plot import plot_curves
from everystep.recipes.catalog import RECIPES, recipe
from everystep.run.folder import RunFolder, create, open_run, write_json
from everystep.run.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Compare recipes: equal environment steps, paired seeds, swept learning rates, an equal-RMS control.

    Run it again with the same folder to go on after a stop: finished runs are kept.
    """

    recipes: tyro.conf.Positional[tuple[str, ...]]
    """The arms, RECIPE[:KEY=VALUE[,KEY=VALUE...]], such as grpo:process.closer=1; an arm's own options override --set. The first is the baseline."""
    environment: str | None = None
    """The environment; by default the recipes' own."""
    set: dict[str, Json] = field(default_factory=dict)
    """Options for all arms and their common start, such as iterations=60 model=tiny:0.1M; nested: options.level=GoToLocal."""
    seeds: int = 5
    """Reported seeds."""
    selection_seeds: int = 2
    """Seeds on which learning rates are chosen; others than the reported ones."""
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """The sweep."""
    rms: float | None = 1.0
    """Root mean square of the control arms' advantages; none leaves the control out."""
    workers: int = 1
    """Runs at a time, each on one thread."""
    out: Path = Path("runs/compare")
    """Folder of the comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One run of the comparison."""

    recipe: str
    folder: Path
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared: the arms by their labels, the first of them the baseline, and what they share."""

    asked: Ask
    arms: dict[str, Arm]
    shared: dict[str, Json]

    @property
    def baseline(self) -> str:
        return next(iter(self.arms))

    def warm(self, seed: int) -> Planned:
        """Return the run that only imitates: the common start of a seed."""
        name = self.arms[self.baseline].recipe
        options = {**options_of(name, self.shared), "seed": seed, "iterations": 0}
        return Planned(recipe=name, folder=self.asked.out / "runs" / f"warm-{seed}", options=options)

    def run(self, arm: Arm, rate: float, seed: int, match_rms: float | None = None) -> Planned:
        """Return the run of an arm from the common start of a seed."""
        told = re.sub(r"[^\w.=,-]+", "_", arm.text.replace(":", "-", 1))
        name = f"{told}-{rate:g}-{seed}" + (f"-rms{match_rms:g}" if match_rms else "")
        options = {
            **options_of(arm.recipe, self.shared, arm.own),
            "seed": seed,
            "learning_rate": rate,
            "match_rms": match_rms,
            "model": str(self.asked.out / "runs" / f"warm-{seed}" / "model"),
            "demonstrations": 0,
            "warm_updates": 0,
        }
        return Planned(recipe=arm.recipe, folder=self.asked.out / "runs" / name, options=options)


def compare(words: Sequence[str]) -> int:
    """Run the comparison and write ``results.json``, ``results.md`` and ``curves.svg``."""
    asked = parse(Ask, words, command="compare")
    if not asked.recipes:
        raise ConfigError(f"name two recipes or more. Known: {', '.join(RECIPES)}.")
    if min(asked.seeds, asked.selection_seeds, asked.workers, len(asked.learning_rates)) < 1:
        raise ConfigError("seeds, selection_seeds, workers and learning_rates must each be 1 or more.")
    plan = plan_of(asked)
    try:
        return _compare(plan)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped. Finished runs are kept: give the same command again to go on.\n")
        raise


def plan_of(asked: Ask) -> Plan:
    """Read the arms and refuse what is wrong before the first run, which may take long."""
    arms = [read_arm(text) for text in asked.recipes]
    labels = [arm.label() for arm in arms]
    if len(set(labels)) < len(arms):
        labels = [arm.label(full=True) for arm in arms]
    shared = dict(asked.set)
    if asked.environment is not None:
        shared["environment"] = asked.environment
    plan = Plan(asked=asked, arms=dict(zip(labels, arms, strict=True)), shared=shared)
    check_arms(arms, shared, lambda arm: _config(plan.run(arm, asked.learning_rates[0], 0)))
    return plan


def _compare(plan: Plan) -> int:
    asked, baseline = plan.asked, plan.baseline
    console = Console(stderr=True)
    selection = [1000 + number for number in range(asked.selection_seeds)]
    reported = list(range(asked.seeds))
    swept = len(asked.learning_rates) > 1
    seeds = (*selection, *reported) if swept else reported
    _do(plan, console, "warm starts", [plan.warm(seed) for seed in seeds])
    rates, sweep = dict.fromkeys(plan.arms, asked.learning_rates[0]), {}
    if swept:
        plans = {
            (name, rate, seed): plan.run(arm, rate, seed)
            for name, arm in plan.arms.items()
            for rate in asked.learning_rates
            for seed in selection
        }
        _do(plan, console, "learning-rate sweep", list(plans.values()))
        found = {key: _curve(one) for key, one in plans.items()}
        steps = horizon(list(found.values()))
        for name in plan.arms:
            by_rate = {rate: [found[name, rate, seed] for seed in selection] for rate in asked.learning_rates}
            rates[name] = best_rate(by_rate, steps)
            sweep[name] = {f"{rate:g}": [asdict(curve) for curve in by_rate[rate]] for rate in by_rate}
    arms = {name: [plan.run(arm, rates[name], seed) for seed in reported] for name, arm in plan.arms.items()}
    if asked.rms is not None:
        for name, arm in plan.arms.items():
            label = f"{name}, RMS {asked.rms:g}"
            rates[label] = rates[baseline]
            arms[label] = [plan.run(arm, rates[baseline], seed, match_rms=asked.rms) for seed in reported]
    _do(plan, console, "reported seeds", [one for some in arms.values() for one in some])
    curves = {name: [_curve(one) for one in some] for name, some in arms.items()}
    return _report(plan, curves, rates, sweep)


def _report(
    plan: Plan, curves: dict[str, list[Curve]], rates: dict[str, float], sweep: dict[str, Any]
) -> int:
    out = plan.asked.out
    steps, arms = results(curves, rates, baseline=plan.baseline)
    text = table(steps, arms)
    out.joinpath("results.md").write_text(text, encoding="utf-8")
    write_json(
        out / "results.json",
        {
            "steps": steps,
            "arms": [asdict(arm) for arm in arms],
            "curves": {name: [asdict(curve) for curve in some] for name, some in curves.items()},
            "sweep": sweep,
            "command": " ".join(["everystep", *sys.argv[1:]]),
            "version": __version__,
        },
    )
    plot_curves(curves, out / "curves.svg", title=_config(plan.warm(0)).environment, steps=steps)
    Console().print(Markdown(text))
    sys.stdout.write(f"written: {out}/results.md, results.json, curves.svg\n")
    return 0


def _do(plan: Plan, console: Console, what: str, plans: Sequence[Planned]) -> None:
    """Run what is not finished yet, ``workers`` at a time."""
    for one in plans:
        if (one.folder / "config.json").exists():
            _folder(one, asdict(_config(one)))  # a run with other options is not taken for this one
    left = [one for one in plans if not (one.folder / "model").exists()]
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=len(plans), completed=len(plans) - len(left))
        for done in _execute(left, plan.asked.workers):
            progress.advance(bar)
            if not console.is_terminal:
                console.print(f"{what}: {done.folder.name}", highlight=False)


def _execute(plans: Sequence[Planned], workers: int) -> Iterator[Planned]:
    if workers == 1:
        for plan in plans:
            execute(plan)
            yield plan
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = {pool.submit(execute, plan): plan for plan in plans}
        try:
            for future in as_completed(waiting):
                future.result()
                yield waiting[future]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def execute(plan: Planned) -> None:
    """Do one run, or go on with it. It runs on one thread, so that it can be repeated to the bit."""
    import torch

    torch.set_num_threads(1)
    config = _config(plan)
    recipe(plan.recipe).run(config, _folder(plan, asdict(config)))


def _config(plan: Planned) -> Any:
    """Return the config of a run; an option that its recipe does not have is refused."""
    return checked(recipe(plan.recipe).Config, plan.options, source="the arm")


def _folder(plan: Planned, options: dict[str, Any]) -> RunFolder:
    if not (plan.folder / "config.json").exists():
        return create(plan.folder, recipe=plan.recipe, options=options, version=__version__)
    folder = open_run(plan.folder)
    stored = folder.config()["options"]
    if json.loads(json.dumps(options)) != stored:
        differs = sorted(
            name for name in options if stored.get(name) != json.loads(json.dumps(options[name]))
        )
        raise ConfigError(
            f"{str(plan.folder)!r} was run with other options ({', '.join(differs)}). Choose another --out."
        )
    return folder


def _curve(plan: Planned) -> Curve:
    with Journal.read(open_run(plan.folder).journal) as journal:
        return curve_of([event.body for event in journal.events(kinds=(Kind.METRICS,))])
